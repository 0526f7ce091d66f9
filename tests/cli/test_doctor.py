"""``oban-sqla doctor``: what it prints, and how it exits. What it finds is tested in ``tests/doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from oban_sqla.cli import main
from oban_sqla.workers.registry import workers
from tests.cli.test_schema import execute, oban_sqla


def doctor(*arguments: str, url: str | None = None) -> Result:
    result = CliRunner().invoke(main, ["doctor", *arguments], env={"OBAN_DATABASE_URL": url, "COLUMNS": "100"})
    assert "skipped" not in result.output, "a statement failed, or a privilege is missing"
    return result


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor also looks at what its process knows; the modules of other tests are not meant."""
    monkeypatch.setattr(workers, "encrypted", set[str]())
    monkeypatch.setattr("oban_sqla.models.relationship._paths", {})


@pytest.fixture
def healthy(migrated_database: str) -> str:
    return migrated_database


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_new_database_is_well(healthy: str, driver: str) -> None:
    result = doctor("--strict", url=healthy.replace("+asyncpg", f"+{driver}"))
    assert result.exit_code == 0, result.output
    *checks, summary = result.output.splitlines()
    assert summary == f"{len(checks)} ok"
    assert all(line.startswith("ok       ") for line in checks)


def test_a_warning_counts_only_when_strict(healthy: str) -> None:
    execute(healthy, "ALTER TABLE oban_jobs RESET (fillfactor)")
    result = doctor(url=healthy)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1].startswith("1 warning, ")
    assert (
        "warning  table settings: settings of the jobs table are missing, or laxer than the migration made\n"
        "         them: fillfactor\n"
        "         with the server's defaults a fifth of the table is dead before it is vacuumed\n"
        "         -> ALTER TABLE oban_jobs SET (fillfactor = 85)\n"
    ) in result.output
    assert doctor("--strict", url=healthy).exit_code == 1


def test_a_problem_is_exit_code_1(healthy: str) -> None:
    execute(healthy, "DROP TRIGGER oban_jobs_release_unique ON oban_jobs")
    result = doctor(url=healthy)
    assert result.exit_code == 1
    assert "problem  triggers: the trigger oban_jobs_release_unique is missing\n" in result.output
    assert result.output.splitlines()[-1].startswith("1 problem, ")
    assert max(map(len, result.output.splitlines())) <= 100


def test_programs_read_json(healthy: str) -> None:
    execute(healthy, "DROP INDEX oban_jobs_staging_index")
    result = doctor("--json", url=healthy)
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"]) == (1, False)
    [finding] = [finding for finding in found["findings"] if finding["status"] != "ok"]
    assert (finding["check"], finding["status"]) == ("indexes", "problem")
    assert set(finding) == {"check", "status", "found", "why", "advice"}
    execute(healthy, finding["advice"].removeprefix("create it: ").replace(" CONCURRENTLY", ""))
    assert json.loads(doctor("--json", url=healthy).stdout)["ok"] is True


def test_it_looks_at_the_tables_of_a_schema(empty_database: str) -> None:
    oban_sqla("migrate", "--database-url", empty_database)
    oban_sqla("migrate", "--database-url", empty_database, "--schema", "jobs")
    execute(empty_database, "DROP INDEX jobs.oban_jobs_fetch_index")
    assert doctor(url=empty_database).exit_code == 0
    result = doctor("--schema", "jobs", url=empty_database)
    assert result.exit_code == 1
    assert "CONCURRENTLY oban_jobs_fetch_index ON jobs.oban_jobs (queue," in " ".join(result.output.split())


def test_missing_tables_are_one_line(empty_database: str) -> None:
    result = doctor(url=empty_database)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "run `oban-sqla migrate` first" in result.output


def test_the_heartbeat_of_the_settings_counts(healthy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says when a node that keeps silent about it is stale: four times as long for one without a lock."""
    monkeypatch.chdir(tmp_path)
    silent = "gen_random_uuid(), 'theirs', 'a', timezone('UTC', now()) - interval '5 m'"
    execute(healthy, f"INSERT INTO oban_producers (uuid, node, queue, updated_at) VALUES ({silent})")
    assert "died, and no node leads" in doctor(url=healthy).output
    (tmp_path / "oban.toml").write_text("[heartbeat]\nstale_after = 120\n")
    assert "living nodes: 1 node, 1 of another program: theirs" in doctor(url=healthy).output
