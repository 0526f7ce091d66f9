"""Programs whose own module has process workers: what a child imports, and what it can't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from oban_sqla import InvalidOption, Oban, job
from oban_sqla.executors.setup import sessionmaker_names

PROGRAM = """
import asyncio, os
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from oban_sqla import Oban, Processes, job

engine = create_async_engine(os.environ["OBAN_TEST_CHILD_URL"])
Session = async_sessionmaker(engine)

@job(executor="process", queue="one_file", recorded=True)
async def adds(session: AsyncSession, number: int) -> int:
    return (await session.execute(text("SELECT 40 + :number"), {"number": number})).scalar_one()

async def main():
    async with Oban(engine, queues={"one_file": 1}, sessionmaker=Session, processes=Processes(size=1)) as oban:
        [spec] = await oban.enqueue(adds.new(2))
        print("got", await oban.result(spec, timeout=30))

"""
GUARDED = 'if __name__ == "__main__":\n    asyncio.run(main())\n'


def run(arguments: list[str], url: str) -> str:
    """What ``python arguments…`` prints, in both of its streams."""
    environment = {"OBAN_TEST_CHILD_URL": url, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_a_program_of_one_file_runs_its_jobs_with_its_sessions_in_children(
    database_url: str, clean_tables: None, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM + GUARDED)
    said = run([str(tmp_path / "program.py")], database_url)
    assert "got 42" in said


def test_a_program_that_starts_when_it_is_imported_is_told_how_to_guard_its_start(
    database_url: str, clean_tables: None, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM + "asyncio.run(main())\n")
    said = run([str(tmp_path / "program.py")], database_url)
    assert 'under if __name__ == "__main__"' in said
    assert "got" not in said


def test_what_stands_at_a_prompt_is_refused_at_the_start(database_url: str, clean_tables: None) -> None:
    named = PROGRAM.replace('queue="one_file"', 'queue="one_file", name="adds"')
    said = run(["-c", named + "asyncio.run(main())\n"], database_url)
    assert "'adds' is defined in a notebook, with python -c or at a prompt" in said


async def test_what_no_child_can_import_or_find_is_refused_at_the_start(engine: AsyncEngine) -> None:
    @job(name="programs.nested", executor="process", queue="nested")
    def _nested() -> None: ...

    with pytest.raises(InvalidOption, match="is defined inside a function"):
        await Oban(engine, queues={"nested": 1}).start()


def test_a_sessionmaker_is_found_in_a_module_that_is_called_like_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    module, maker = ModuleType("oban_sqla_shop"), async_sessionmaker[AsyncSession]()
    monkeypatch.setattr(module, "Session", maker, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert sessionmaker_names([maker], None, []) == ["oban_sqla_shop:Session"]


async def test_a_node_whose_queues_have_no_process_workers_starts_no_children(engine: AsyncEngine) -> None:
    for queues in ({"programs": 1}, None):
        async with Oban(engine, queues=queues, sessionmaker=async_sessionmaker(engine, class_=AsyncSession)) as oban:
            assert oban._life.places is not None
            assert oban._life.places.pids == []
