"""Sphinx's configuration: ``make docs``."""

from __future__ import annotations

import inspect
import re
import shutil
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

project = "oban-sqla"
copyright = "the authors of oban-sqla"
release = version = version_of("oban-sqla")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_theme_options = {"light_css_variables": {"code-font-size": "80%"}}
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_extra_path = ["llms.txt"]
html_title = f"oban-sqla {release}"

linkcheck_ignore = [r"http://(127\.0\.0\.1|prometheus)[:/]"]  # the reader's own

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"  # beside what the docstrings say of units and defaults
autodoc_typehints_description_target = "documented_params"

_FIELD = re.compile(r"^:(ivar|param) (\w+): ?")
_MAPPED = re.compile(r"^(?:UTC)?Mapped\[(.*)\]$")


def show_types(_app: Any, what: str, _name: str, documented: Any, _options: Any, lines: list[str]) -> None:
    """Give each attribute and parameter of a class its type: of `Job` those of the mapping, without ``Mapped``."""
    if what != "class":
        return
    types = {
        name: _MAPPED.sub(r"\1", annotation)
        for one in reversed(documented.__mro__)
        for name, annotation in inspect.get_annotations(one).items()
        if isinstance(annotation, str)
    }
    types |= {
        name: str(hint)
        for name, given in inspect.getmembers(documented, lambda member: isinstance(member, property))
        if (hint := getattr(given.fget, "__annotations__", {}).get("return")) is not None
    }
    init = documented.__dict__.get("__init__")
    taken = {} if init is None else {name: str(hint) for name, hint in getattr(init, "__annotations__", {}).items()}
    made: list[str] = []
    for line in lines:
        if (found := _FIELD.match(line)) and (hint := (types | taken if found[1] == "param" else types).get(found[2])):
            kind = "vartype" if found[1] == "ivar" else "type"
            made.append(f":{kind} {found[2]}: {hint}")
        made.append(line)
    lines[:] = made


def copy_sources(app: Any, error: Exception | None) -> None:
    """Put the Markdown of the pages beside them, where llms.txt links to it."""
    for page in [] if error else Path(app.srcdir).glob("*.md"):
        shutil.copy(page, app.outdir)


def setup(app: Any) -> None:
    """Connect the hooks."""
    app.connect("autodoc-process-docstring", show_types)
    app.connect("build-finished", copy_sources)
