"""Numbers, times and JSON as the pages show them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import cast

from markupsafe import Markup, escape

from ..insight.glance import Count
from ..insight.json_text import Exact
from ..insight.words import span as length
from ..options.encryption import MARK

SEALED = '{"' + MARK + '": "gAAAA'
"""How the text of an encrypted value begins."""
LONGEST_ARGS = 300
"""Characters of arguments in a list."""
LONGEST_ERROR = 2_000
"""Characters of an error on the page of a job."""


def is_sealed_text(text: str | None) -> bool:
    """Whether the text of a JSON value is that of an encrypted value."""
    return text is not None and text.startswith(SEALED)


def number(value: object) -> str:
    """``138,678``; for a :class:`Count` that is not exact, ``≈ 1.7 M`` or ``10,000+``."""
    if isinstance(value, Count):
        if value.kind == "about":
            return f"≈ {short(value.number)}"
        return f"{value.number:,}" + ("+" if value.kind == "more" else "")
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def short(value: float) -> str:
    """``1.7 M`` or ``130,012``: numbers from a million up are shortened."""
    for size, unit in ((1e9, " G"), (1e6, " M")):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return f"{round(value):,}"


def rate(per_second: float) -> str:
    """``40/s``, ``2.1/s`` or ``3/min``."""
    if per_second <= 0:
        return "0"
    if per_second >= 10:
        return f"{round(per_second):,}/s"
    return f"{per_second:.1f}/s" if per_second >= 0.95 else f"{per_second * 60:.1f}".removesuffix(".0") + "/min"


def span(seconds: float | None) -> str:
    """A length of time, or a dash for None and an infinite one."""
    return "–" if seconds is None or not math.isfinite(seconds) else length(seconds)


def moment(at: datetime | None) -> Markup:
    """A time as HTML, in words relative to now: ``9 s ago``, ``in 2 days``."""
    if at is None:
        return Markup("–")
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    try:
        away = (at - datetime.now(UTC)).total_seconds()
    except OverflowError:
        return Markup("–")
    words = f"in {span(away)}" if away > 0 else f"{span(-away)} ago"
    stamp = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z" if 1 < at.year < 9999 else str(at)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(stamp, stamp.replace("T", " "), words)


def clock(at: datetime) -> str:
    """A time in UTC: ``13:54:12`` today, with its date on other days."""
    at = at.astimezone(UTC)
    return f"{at:%H:%M:%S}" if at.date() == datetime.now(UTC).date() else f"{at:%Y-%m-%d %H:%M:%S}"


def shortened(text: str, most: int) -> str:
    """`text`, cut to at most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def one_line(value: object) -> str:
    """JSON in one line, shortened."""
    return shortened(json.dumps(value, ensure_ascii=False, default=str), LONGEST_ARGS)


def as_html(value: object, depth: int = 0) -> Markup:
    """JSON in lines as HTML, with a CSS class for each kind of value. Everything in it is escaped."""
    inside, end = "  " * (depth + 1), "  " * depth
    match value:
        case dict() if value:
            pairs = cast("dict[object, object]", value).items()
            lines = [
                Markup('{}<span class="k">{}</span>: {}').format(inside, _text(str(key)), as_html(one, depth + 1))
                for key, one in pairs
            ]
            return Markup("{{\n{}\n{}}}").format(Markup(",\n").join(lines), end)
        case list() if value:
            items = cast("list[object]", value)
            lines = [Markup("{}{}").format(inside, as_html(one, depth + 1)) for one in items]
            return Markup("[\n{}\n{}]").format(Markup(",\n").join(lines), end)
        case dict() | list():
            return escape(json.dumps(value))
        case Exact():
            return Markup('<span class="n">{}</span>').format(str(value))
        case str():
            return Markup('<span class="s">{}</span>').format(_text(value))
        case bool() | None:
            return Markup('<span class="n">{}</span>').format(json.dumps(value))
        case _:
            return Markup('<span class="n">{}</span>').format(str(value))


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def plural(count: int, noun: str) -> str:
    """``1 job``, ``3 jobs``."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def listed(names: Iterable[str]) -> str:
    """``a, b and c``."""
    every = list(names)
    return every[0] if len(every) == 1 else ", ".join(every[:-1]) + (f" and {every[-1]}" if every else "")
