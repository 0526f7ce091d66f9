"""Commands on this worker's database, and jobs in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, insert

from oban_sqla.cli import main
from oban_sqla.models.job import jobs
from tests.cli.helpers import Insert


@pytest.fixture
def run(database_url: str, clean_tables: None) -> Callable[..., Result]:
    """Runs the command on the test's database."""

    def run(*arguments: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=answer, env={"OBAN_DATABASE_URL": database_url})

    return run


@pytest.fixture
def add(sync_engine: Engine) -> Insert:
    """Writes a job as it is given, in whatever state."""

    def add(**values: Any) -> int:
        with sync_engine.begin() as connection:
            written = insert(jobs).values({"worker": "app.worker", **values}).returning(jobs.c.id)
            return connection.scalars(written).one()

    return add
