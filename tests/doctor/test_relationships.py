"""The doctor and the indexes of ``job_relationship``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from click.testing import CliRunner
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import job_relationship, migrations
from oban_sqla.cli import main
from oban_sqla.doctor import Finding, examine
from oban_sqla.models import relationship


async def finding(engine: AsyncEngine) -> Finding:
    [found] = [one for one in await examine(engine) if one.check == "relationships"]
    return found


def _operations(connection: Connection) -> Operations:
    return Operations(MigrationContext.configure(connection))


async def test_the_doctor_names_a_relationship_without_an_index(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relationship, "_paths", {})
    assert (await finding(engine)).status == "ok"
    job_relationship("args.doctor.order")
    missing = await finding(engine)
    assert missing.status == "warning"
    assert "args.doctor.order" in missing.found
    assert "index_jobs(op, 'args.doctor.order'" in missing.advice
    async with engine.begin() as connection:
        await connection.run_sync(lambda c: migrations.index_jobs(_operations(c), "args.doctor.order"))
    try:
        assert (await finding(engine)).status == "ok"
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(lambda c: migrations.drop_index_jobs(_operations(c), "args.doctor.order"))


async def test_the_command_learns_of_them_from_the_modules_that_it_is_given(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(relationship, "_paths", {})
    (tmp_path / "doctored_models.py").write_text(
        "from oban_sqla import job_relationship\njobs = job_relationship('args.command.order')\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    url = engine.url.render_as_string(hide_password=False)
    done = await asyncio.to_thread(CliRunner().invoke, main, ["doctor", "doctored_models", "--database-url", url])
    assert "args.command.order" in done.output
