"""The README and the documentation speak of public names only, and of all of them."""

from __future__ import annotations

import logging
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from oban_sqla.telemetry import loggers
from tests.processes import ROOT
from tests.public.modules import MODULES

# Documents for users. Those of the design are for contributors, and name what they are about.
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LOGGERS = {logger.name for logger in vars(loggers).values() if isinstance(logger, logging.Logger)}
PUBLIC = {*MODULES, *LOGGERS, "oban_sqla.__version__", "oban_sqla.errors", "oban_sqla.mypy", "oban_sqla.testing.plugin"}
DOTTED = re.compile(r"(?<![\w.])oban_sqla(?:\.\w+)+")


def exported(name: str) -> bool:
    """Whether `name` is a public module or a logger, or something that one exports (or an attribute of that)."""
    if name in PUBLIC:
        return True
    module, _, attribute = name.rpartition(".")
    if module in MODULES:
        return attribute in import_module(module).__all__
    return module not in PUBLIC and "." in module and exported(module) and hasattr(_found(module), attribute)


def _found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_no_internal_path(page: Path) -> None:
    internal = [name for name in DOTTED.findall(page.read_text()) if not exported(name)]
    assert internal == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_imports_public_names_only(page: Path) -> None:
    for module, names in re.findall(r"^ *from (oban_sqla[\w.]*) import ([\w, ]+)", page.read_text(), re.MULTILINE):
        for name in names.split(","):
            assert exported(f"{module}.{name.strip()}"), f"{module} does not export {name.strip()}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_no_file_of_the_package_and_no_machine(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"\boban_sqla/\w", text)
    assert not re.search(r"/(?:work|tmp|root)/", text)


def test_every_exported_name_is_in_the_reference() -> None:
    text = "\n".join((ROOT / "docs" / page).read_text() for page in ("reference.md", "testing.md"))
    documented = set(DOTTED.findall(text))
    for module in re.findall(r"\.\. automodule:: (\S+)\n +:members: (.*)", text):
        documented |= {f"{module[0]}.{name.strip()}" for name in module[1].split(",")}
    errors = re.findall(r"\* (\w+)", import_module("oban_sqla.errors").__doc__ or "")
    documented |= {*MODULES, *(f"oban_sqla.{error}" for error in errors)}
    for module in MODULES:
        names = import_module(module).__all__
        assert [name for name in names if not {f"{module}.{name}", f"oban_sqla.{name}"} & documented] == []
