"""``oban-sqla bench`` as a process: that it measures, and leaves nothing behind. How fast is no test's business."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla.embedded import EmbeddedError
from oban_sqla.embedded.binaries import find
from tests.cli.test_demo import NOWHERE, schemas
from tests.cli.test_schema import execute
from tests.processes import finished, running
from tests.support import eventually

BENCH = ["-m", "oban_sqla", "bench"]
SMALL = ["--jobs", "20"]


def test_it_measures_its_own_server_whatever_the_environment_says() -> None:
    try:
        find()
    except EmbeddedError as error:
        pytest.skip(str(error))  # this machine has no server's programs, and the suite's server is elsewhere
    done = finished([*BENCH, *SMALL, "--concurrency", "5"], environment=NOWHERE)
    assert (done.returncode, done.stderr) == (0, "starting a PostgreSQL in a temporary directory\n")
    server, client, empty, head, *rows = done.stdout.splitlines()
    assert server.startswith("PostgreSQL 1")
    assert ": fsync on, synchronous_commit on, round trip " in server
    assert server.endswith(" ms")
    assert client.startswith("oban-sqla ")
    assert (empty, head.split()) == ("", ["JOBS", "JOBS/S", "P50", "MS", "P99", "MS"])
    assert [row.partition("  ")[0] for row in rows] == [
        "enqueue in bulk",
        "enqueue one by one, a transaction each",
        "run, 5 at once",
        "commit to start, same process",
        "commit to start, by notification",
    ]
    assert all(row.partition("  ")[2].split()[0] == "20" for row in rows)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_programs_read_json_and_a_database_is_left_as_it_was(empty_database: str, driver: str) -> None:
    execute(empty_database, "CREATE TABLE oban_jobs (precious int)")
    url = empty_database.replace("asyncpg", driver)
    chosen = ["--concurrency", "20", "--concurrency", "3"]
    done = finished([*BENCH, *SMALL, *chosen, "--json", "--database-url", url], environment=NOWHERE)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert set(found["server"]) == {"version", "fsync", "synchronous_commit", "round_trip_ms"}
    assert found["client"]["driver"].startswith(driver)
    assert [(run["concurrency"], run["jobs"]) for run in found["run"]] == [(20, 20), (3, 20)]
    assert set(found["commit_to_start"]) == {"same_process", "by_notification"}
    rates = [found["enqueue"]["bulk"], found["enqueue"]["single"], *found["run"]]
    assert all(rate["jobs_per_second"] > 0 for rate in rates)
    spreads = [found["enqueue"]["single"], *found["commit_to_start"].values()]
    assert all(0 < spread["p50_ms"] <= spread["p99_ms"] for spread in spreads)
    assert not asyncio.run(schemas(empty_database))
    execute(empty_database, "DO $$ BEGIN ASSERT (SELECT count(precious) = 0 FROM oban_jobs); END $$")


async def has_jobs(database_url: str) -> bool:
    """Whether it has begun to measure."""
    engine = create_async_engine(database_url)
    try:
        async with engine.connect() as connection:
            return await connection.scalar(text("SELECT count(*) FROM oban_bench.oban_jobs")) > 0
    except ProgrammingError:  # there is no table yet
        return False
    finally:
        await engine.dispose()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_stopped_halfway_it_drops_its_schema(tmp_path: Path, empty_database: str, number: signal.Signals) -> None:
    many = ["--jobs", "200000", "--database-url", empty_database]
    # Also where the tests run under nohup.
    heeding = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); from oban_sqla.cli import main; main()"
    with running(["-c", heeding, "bench", *many], tmp_path / "log") as process:
        await eventually(lambda: has_jobs(empty_database), 30)
        process.signal(number)
        assert await process.ended() == 1
        assert process.text == "Aborted!\n"
    assert not await schemas(empty_database)


def test_a_schema_that_is_there_is_refused_and_left_alone(empty_database: str) -> None:
    execute(empty_database, "CREATE SCHEMA oban_bench")
    done = finished([*BENCH, "--database-url", empty_database])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the schema oban_bench exists already; ")
    assert asyncio.run(schemas(empty_database)) == ["oban_bench"]


def test_a_role_that_may_not_create_a_schema_is_told(empty_database: str) -> None:
    execute(empty_database, "DROP ROLE IF EXISTS oban_bench_guest; CREATE ROLE oban_bench_guest LOGIN")
    try:
        url = empty_database.replace("postgres@", "oban_bench_guest@")
        if url == empty_database:
            pytest.skip("the server's roles need passwords")  # the URL has that of postgres, not of the guest
        done = finished([*BENCH, "--database-url", url])
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert done.stderr.startswith("Error: the database says: permission denied for database ")
    finally:
        execute(empty_database, "DROP ROLE oban_bench_guest")


@pytest.mark.parametrize("wrong", [["--jobs", "0"], ["--concurrency", "0"], ["--jobs", "many"]])
def test_numbers_that_mean_nothing_are_usage_errors(wrong: list[str]) -> None:
    assert finished([*BENCH, *wrong]).returncode == 2
