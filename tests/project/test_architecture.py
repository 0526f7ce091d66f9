"""docs/design/architecture.md describes the tree as it is."""

from __future__ import annotations

import re
import tomllib

from tests.processes import ROOT

PAGE = (ROOT / "docs/design/architecture.md").read_text()
PACKAGE = ROOT / "oban_sqla"
PICTURE = PAGE.partition("```text\n")[2].partition("```")[0]
LAYERS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]


def chapter(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def paths(text: str) -> set[str]:
    """What the last column of the tables of `text` names, without code."""
    cells = re.findall(r"^\|.*\| (.*) \|$", text, re.MULTILINE)
    return {path for cell in cells for path in re.findall(r"`([\w./-]+(?:\.\w+|/))`", cell)}


def exists(path: str) -> bool:
    return (PACKAGE / path).exists() or (ROOT / path).exists()


def test_every_place_that_it_names_is_there() -> None:
    named = paths(chapter("The life of a job")) | paths(chapter("Where does X go?"))
    assert len(named) > 50
    assert sorted(path for path in named if not exists(path)) == []


def test_every_folder_of_the_package_is_named_as_a_place_for_something() -> None:
    named = {path.partition("/")[0] for path in paths(chapter("Where does X go?"))}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders - named == {"embedded"}, "embedded knows nothing of jobs; the chapter about the wings says so"


def test_every_folder_and_every_public_module_is_in_the_picture() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert (modules | folders) - set(re.findall(r"\w+", PICTURE)) == set()


def test_the_picture_has_the_order_of_the_import_contract() -> None:
    places = [
        min(PICTURE.index(name) for name in re.findall(r"\w+", layer))
        for layer in LAYERS
        if layer not in ("__main__", "testing", "oban") and not layer.startswith("doctor")
    ]
    assert places == sorted(places)
