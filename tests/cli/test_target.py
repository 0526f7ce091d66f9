"""What ``start`` is pointed at, and how it says that it can't find or use it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from oban_sqla import Oban
from oban_sqla.cli.target import TargetError, load

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module into the current directory, which is the test's own; what was imported is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refused(target: str) -> str:
    with pytest.raises(TargetError) as error:
        load(target)
    assert "\n" not in error.value.message
    return error.value.message


def test_the_current_directory_can_be_imported_from(write: Write) -> None:
    write("shop/__init__.py", "")
    write("shop/jobs.py", "here = True")
    assert load("shop.jobs") is None
    assert sys.modules["shop.jobs"].here


@pytest.mark.parametrize("target", ["script", "script.jobs"])
def test_a_module_that_ends_the_program_is_named(write: Write, target: str) -> None:
    write("script/__init__.py", "import sys\nsys.exit(0)\n")
    write("script/jobs.py", "")
    where = os.path.join("script", "__init__.py")
    assert refused(target) == (
        f"can't import script: SystemExit: 0 ({where}, line 2); it ends the program: put that under "
        "if __name__ == '__main__'"
    )


def test_what_is_behind_the_colon_is_found(write: Write) -> None:
    write(
        "backend.py",
        "from sqlalchemy.ext.asyncio import create_async_engine, async_sessionmaker\n"
        "from oban_sqla import Oban\n"
        "class state:\n"
        "    engine = create_async_engine('postgresql+asyncpg://h/d')\n"
        "Session = async_sessionmaker(state.engine)\n"
        "oban = Oban(state.engine)\n",
    )
    assert refused("backend:nope") == "backend has no 'nope'; it has Session, oban"
    assert refused("backend:session") == "backend has no 'session'; did you mean 'Session'?"
    assert refused("backend:stat.engine") == "backend has no 'stat.engine'; did you mean 'state'?"
    assert isinstance(load("backend:oban"), Oban)
    assert isinstance(load("backend:Session"), async_sessionmaker)
    assert isinstance(load("backend:state.engine"), AsyncEngine)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "shop/jobs.py",
            "'shop/jobs.py' is not a valid module name: did you mean shop.jobs? (Python imports it by that name)",
        ),
        ("./shop/jobs.py:oban", "did you mean shop.jobs:oban?"),
        ("shop.jobs:", "expected a dotted name such as app.jobs, or app.main:oban"),
        ("shop jobs", "expected a dotted name"),
        ("-m", "expected a dotted name"),
        ("", "expected a dotted name"),
    ],
)
def test_an_invalid_dotted_name_is_refused_with_the_valid_one(write: Write, target: str, said: str) -> None:
    assert said in refused(target)


def test_a_module_that_there_is_not_is_told_the_nearest_one(write: Write, tmp_path: Path) -> None:
    write("shop/__init__.py", "")
    write("shop/jobs.py", "")
    assert refused("shop.jbos") == "there is no module 'jbos' in shop; did you mean shop.jobs?"
    assert refused("shpo.jobs") == f"there is no module 'shpo' in {tmp_path}, nor installed; did you mean shop?"
    assert refused("zzz") == f"there is no module 'zzz' in {tmp_path}, nor installed"


def test_an_attribute_written_as_a_module_is_told_the_colon(write: Write) -> None:
    write("single.py", "oban = None")
    assert refused("single.oban") == (
        "single is a module, not a package, so there is no single.oban; did you mean single:oban?"
    )


def test_a_module_that_imports_a_missing_one_is_not_missing_itself(write: Write) -> None:
    write("needy.py", "\nimport no_such_package\n")
    assert refused("needy") == (
        "can't import needy: ModuleNotFoundError: No module named 'no_such_package' (needy.py, line 2)"
    )


def test_whatever_an_import_raises_is_one_line_with_its_place(write: Write) -> None:
    write("raising/__init__.py", "")
    write("raising/deep.py", "def fail():\n    raise ValueError('several\\nlines')\n")
    write("raising/jobs.py", "from .deep import fail\nfail()\n")
    assert refused("raising.jobs") == ("can't import raising.jobs: ValueError: several lines (raising/deep.py, line 2)")
    write("importlib_demo/__init__.py", "raise ValueError('no')")
    assert refused("importlib_demo").endswith("(importlib_demo/__init__.py, line 1)")
    write("broken/__init__.py", "1 / 0")
    assert "can't import broken: ZeroDivisionError: division by zero (broken/__init__.py" in refused("broken.x")
    write("wrong.py", "def (:")
    assert "can't import wrong: SyntaxError: invalid syntax (wrong.py, line 1)" in refused("wrong")


def test_an_error_of_ours_names_the_line_of_theirs(write: Write) -> None:
    write("misspelt.py", "from oban_sqla import job\n@job(queu='mail')\nasync def f(): ...\n")
    assert refused("misspelt") == (
        "can't import misspelt: InvalidOption: unknown option 'queu' for @job: did you mean 'queue'? "
        "(misspelt.py, line 2)"
    )


def test_an_attribute_that_there_is_not_or_of_another_kind(write: Write) -> None:
    write("odd/__init__.py", "from . import part\nengine_url = 'x'\n")
    write("odd/part.py", "")
    assert refused("odd:engine_urk") == "odd has no 'engine_urk'; did you mean 'engine_url'?"
    said = "odd:engine_url: expected an Oban, an engine or a sessionmaker, got str; for its workers alone name the "
    assert refused("odd:engine_url") == f"{said}module: odd"
    assert refused("odd:nope") == "odd has no 'nope'; it has no Oban, engine or sessionmaker; " + (
        "name the module alone to run its workers"
    )
    assert refused("odd:part") == "odd:part is a module; write odd.part"
