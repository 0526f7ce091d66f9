"""Templates, and the links between the pages.

All links are relative, because some frameworks and proxies hide the path under which the dashboard is mounted. Only the
depth of a page inside the dashboard is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import __version__
from . import charts, words

HERE = Path(__file__).parent
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

Link = Callable[..., str]


@cache
def files() -> Mapping[str, tuple[bytes, str]]:
    """The contents and the type of each static file. Its name has a digest, which changes with the contents."""
    found: dict[str, tuple[bytes, str]] = {}
    for path in sorted((HERE / "static").iterdir()):
        if path.suffix in TYPES:
            found[_digested(path)] = (path.read_bytes(), TYPES[path.suffix])
    return found


def _digested(path: Path) -> str:
    return f"{path.name.removesuffix(path.suffix)}.{hashlib.sha256(path.read_bytes()).hexdigest()[:10]}{path.suffix}"


@cache
def _file(name: str) -> str:
    return _digested(HERE / "static" / name)


@cache
def environment() -> Environment:
    """The environment of Jinja. It escapes everything, and a missing name is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "number": words.number,
        "short": words.short,
        "rate": words.rate,
        "span": words.span,
        "moment": words.moment,
        "clock": words.clock,
        "json_html": words.as_html,
        "one_line": words.one_line,
        "shortened": words.shortened,
        "plural": words.plural,
    }
    for name, function in filters.items():
        made.filters[name] = function
    given: dict[str, Any] = {"static": _file, "version": __version__, "spark": charts.spark}
    for name, thing in given.items():
        made.globals[name] = thing
    sealed: Any = words.is_sealed_text
    made.tests["sealed"] = sealed
    return made


def links(depth: int, always: Iterable[tuple[str, str]]) -> Link:
    """A function that makes links from a page `depth` levels below the root.

    :param always: parameters that every link carries.
    """
    up = "../" * depth or "./"

    def link(path: str = "", pairs: Iterable[tuple[str, str]] = (), **params: object) -> str:
        given = [*always, *pairs, *((name, str(value)) for name, value in params.items() if value is not None)]
        query = urlencode(given)
        return up + path + (f"?{query}" if query and not path.startswith("static/") else "")

    return link


def rendered(template: str, context: Mapping[str, Any]) -> str:
    """The HTML of a template."""
    return environment().get_template(template).render(context)


def digest(html: str) -> str:
    """A short text that differs between two contents."""
    return hashlib.sha256(html.encode()).hexdigest()[:16]
