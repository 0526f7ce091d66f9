"""What is shown of the arguments of a job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..insight.json_text import parsed
from ..insight.search import contained, is_loaded
from ..models import Job
from ..options.encryption import is_sealed
from ..runtime.once_a_minute import OnceAMinute
from ..telemetry import node_logger as logger
from ..telemetry.log_error import log_error
from .ask import Redact
from .words import is_sealed_text

LONGEST_READ = 50_000
"""Characters of JSON that is shown with its structure; what is longer is text."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a job's arguments.

    :ivar kind: ``"plain"``: `value` is shown; ``"text"``: `value` is the beginning of JSON that is too long or too deep
        to be read; ``"redacted"``, ``"encrypted"`` or ``"large"``: only this word is shown.
    :ivar value: the value, as read from JSON, or the text.
    :ivar length: characters of the whole text, for ``"text"``.
    """

    kind: Literal["plain", "text", "redacted", "encrypted", "large"]
    value: Any = None
    length: int = 0


failures = OnceAMinute()
"""The failures of `redact` that were logged, by the function and the class of the error."""


def shown(job: Job, redact: Redact | None) -> Shown:
    """What is shown of the arguments of `job`: nothing when `redact` fails."""
    if not is_loaded(job, "args"):
        return Shown("large")
    if is_sealed(job.args):
        return Shown("encrypted")
    if redact is None:
        return Shown("plain", job.args)
    try:
        value = redact(job)
        if value is None:
            return Shown("redacted")
        return Shown("plain", json.loads(json.dumps(value, default=str)))
    except Exception as error:
        # Not each time: a page has fifty jobs, and is refreshed every two seconds.
        if failures.is_due((id(redact), type(error))):
            said = "dashboard: redact failed for job %d, so its arguments are not shown; this is told once a minute"
            log_error(logger, error, said, job.id)
        return Shown("redacted")


def of_text(text: str, length: int) -> Shown:
    """What is shown of JSON that is not redacted.

    :param text: the JSON, or its beginning.
    :param length: characters of the whole JSON.
    """
    if is_sealed_text(text):
        return Shown("encrypted")
    try:
        if len(text) == length <= LONGEST_READ:
            return Shown("plain", parsed(text))
    except ValueError:
        pass
    return Shown("text", text, length)


def cut(given: Shown, most: int) -> Shown:
    """`given`, or the beginning of it as text if it is longer than `most` characters."""
    if given.kind != "plain":
        return given
    text = json.dumps(given.value, ensure_ascii=False)
    return given if len(text) <= min(most, LONGEST_READ) else Shown("text", text[:most], len(text))


def matches(given: Shown, wanted: tuple[tuple[str, str], ...]) -> bool:
    """Whether what is shown contains these keys and values. A search must not find what is not shown."""
    return given.kind == "plain" and all(_within(given.value, contained(key, text)) for key, text in wanted)


def _within(value: object, part: object) -> bool:
    if isinstance(part, dict) and isinstance(value, Mapping):
        given = cast(Mapping[str, object], value)
        return all(key in given and _within(given[key], one) for key, one in cast("dict[str, object]", part).items())
    return value == part
