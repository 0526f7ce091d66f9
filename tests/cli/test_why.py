"""``oban-sqla why`` on a real database; what the answers are is tested with ``Oban.why``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from oban_sqla import migrations
from oban_sqla.cli import main
from tests.cli.test_schema import execute


def why(*arguments: str, url: str | None = None) -> Result:
    return CliRunner().invoke(main, ["why", *arguments], env={"OBAN_DATABASE_URL": url, "COLUMNS": "100"})


def insert(engine: Engine, columns: str, values: str) -> str:
    with engine.begin() as connection:
        sql = f"INSERT INTO oban_jobs (worker, queue, {columns}) VALUES ('shop.send', 'media', {values}) RETURNING id"
        return str(connection.execute(text(sql)).scalar_one())


def test_people_read_the_reasons_and_the_next_step(database_url: str, sync_engine: Engine) -> None:
    job_id = insert(sync_engine, "priority", "9")
    result = why(job_id, url=database_url)
    assert (result.exit_code, result.output) == (
        0,
        f"job {job_id} (shop.send) of queue media is available\n"
        "  no living node runs the queue 'media', or any other queue\n"
        "    -> oban-sqla start ... --queues media=10, or oban-sqla queues start media --limit 10\n",
    )


def test_long_sentences_are_wrapped(database_url: str, sync_engine: Engine) -> None:
    job_id = insert(sync_engine, "state, attempted_by", "'executing', '{there,00000000-0000-0000-0000-000000000001}'")
    lines = why(job_id, url=database_url).output.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].startswith("  its producer 00000000-0000-0000-0000-000000000001 is unknown: ")


def test_programs_read_json(database_url: str, sync_engine: Engine) -> None:
    job_id = insert(sync_engine, "state, scheduled_at", "'scheduled', 'infinity'")
    result = why(job_id, "--json", url=database_url)
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert [reason["code"] for reason in found.pop("reasons")] == ["scheduled", "no_node"]
    assert found == {"id": int(job_id), "state": "scheduled", "queue": "media", "worker": "shop.send"}


def test_a_job_that_is_not_there_is_exit_code_1(database_url: str, sync_engine: Engine) -> None:
    result = why("999999999", url=database_url)
    assert result.exit_code == 1
    assert result.output.startswith("job 999999999\n  there is no such job")
    assert json.loads(why("999999999", "--json", url=database_url).stdout)["state"] is None


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_it_finds_the_tables_in_a_schema(empty_database: str, driver: str) -> None:
    execute(empty_database, ";".join(migrations.up_statements(None, "jobs")))
    execute(empty_database, "INSERT INTO jobs.oban_jobs (worker) VALUES ('shop.send')")
    url = empty_database.replace("+asyncpg", f"+{driver}")
    assert "no living node" in why("1", "--schema", "jobs", url=url).output
    without = why("1", url=url)
    assert (without.exit_code, without.output.count("\n")) == (1, 1)
    assert "run `oban-sqla migrate` first" in without.output


def test_what_the_settings_say_of_pruning_counts(
    database_url: str, sync_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job_id = insert(sync_engine, "state, completed_at", "'completed', timezone('UTC', now() - interval '90 s')")
    assert "prunes it in 23 h 58 min" in why(job_id, url=database_url).output
    (tmp_path / "oban.toml").write_text("[prune]\nmax_age = 3600\n")
    assert "prunes it in 58 min" in why(job_id, url=database_url).output


def test_settings_that_turn_pruning_off_count(
    database_url: str, sync_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "oban.toml").write_text("prune = false\n")
    job_id = insert(sync_engine, "state, completed_at", "'completed', timezone('UTC', now())")
    assert "a node with these options prunes no jobs" in why(job_id, url=database_url).output


@pytest.mark.parametrize("arguments", [[], ["x"], ["1", "2"]])
def test_anything_but_an_id_is_a_usage_error(arguments: list[str]) -> None:
    assert why(*arguments).exit_code == 2
