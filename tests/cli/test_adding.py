"""``oban-sqla jobs add`` and ``oban-sqla workers``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import Engine, select, text

from oban_sqla.models.job import jobs
from tests.processes import finished

SHOP = """
from oban_sqla import Unique, job, worker
from sqlalchemy.ext.asyncio import AsyncSession

@job(queue="mail", max_attempts=3, unique=Unique(), timeout=5, cron="@daily")
async def send(session: AsyncSession, user_id: int = 7, *, note: str = "") -> None: ...

@worker
class Classic:
    def process(self, job) -> None: ...
"""


@pytest.fixture
def call(tmp_path: Path, database_url: str, clean_tables: None) -> Any:
    """Calls the command in a directory with ``shop.py``."""
    (tmp_path / "shop.py").write_text(SHOP)

    def call(*arguments: str) -> tuple[int, str, str]:
        done = finished(["-m", "oban_sqla", *arguments], tmp_path, {"OBAN_DATABASE_URL": database_url})
        return done.returncode, done.stdout, done.stderr

    return call


def stored(engine: Engine, job_id: int) -> Any:
    with engine.begin() as connection:
        return connection.execute(select(jobs).where(jobs.c.id == job_id)).one()


def test_arguments_with_letters_that_the_locale_lacks_are_read_as_utf_8(run: Any, sync_engine: Engine) -> None:
    as_in_ascii = [one.encode().decode("ascii", "surrogateescape") for one in ("grüße", '{"名": "ü"}', "größe")]
    result: Result = run("jobs", "add", as_in_ascii[0], "--args", as_in_ascii[1], "--queue", as_in_ascii[2], "--json")
    assert result.exit_code == 0, result.output
    row = stored(sync_engine, json.loads(result.stdout)["id"])
    assert (row.worker, row.args, row.queue) == ("grüße", {"名": "ü"}, "größe")


def test_a_job_is_enqueued_by_name_without_its_code(run: Any, sync_engine: Engine) -> None:
    result: Result = run(
        "jobs", "add", "app.report", "--args", '{"days": 7}', "--queue", "slow", "--priority", "2", "--tag", "a",
        "--tag", "b", "--schedule-in", "60", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    row = stored(sync_engine, told["id"])
    assert (told["queue"], told["state"], told["conflict"]) == ("slow", "scheduled", False)
    assert (row.worker, row.args, row.queue, row.priority, row.tags) == (
        "app.report", {"days": 7}, "slow", 2, ["a", "b"],
    )  # fmt: skip


def test_what_was_enqueued_is_said(run: Any) -> None:
    result: Result = run("jobs", "add", "app.report")
    assert result.stdout.startswith("job ")
    assert result.stdout.endswith(" is available in queue default\n")


@pytest.mark.parametrize("args", ["7", "{", '"x"'])
def test_arguments_that_are_not_an_object_are_a_usage_error(run: Any, args: str) -> None:
    assert run("jobs", "add", "app.report", "--args", args).exit_code == 2


def test_with_a_module_the_worker_checks_and_its_options_count(call: Any, sync_engine: Engine) -> None:
    code, _, said = call("jobs", "add", "shop.send", "--module", "shop", "--args", '{"user_id": "x"}')
    assert code == 1
    assert said.startswith("Error: send: user_id: Input should be a valid integer")
    code, out, _ = call("jobs", "add", "shop.send", "--module", "shop", "--args", '{"user_id": 8}', "--json")
    assert code == 0
    job_id = json.loads(out)["id"]
    row = stored(sync_engine, job_id)
    assert (row.queue, row.max_attempts, row.args) == ("mail", 3, {"user_id": 8})
    _, out, _ = call("jobs", "add", "shop.send", "--module", "shop", "--args", '{"user_id": 8}')
    assert out == f"job {job_id} is the same: it is unique, and was enqueued before\n"
    with sync_engine.begin() as connection:
        assert [*connection.scalars(text("SELECT jobs FROM oban_audit ORDER BY id"))] == [1, 0]


def test_the_module_in_the_settings_counts_where_none_is_given(call: Any, tmp_path: Path, sync_engine: Engine) -> None:
    (tmp_path / "oban.toml").write_text('module = "shop"\n')
    code, out, said = call("jobs", "add", "shop.send", "--args", '{"user_id": 8}', "--json")
    assert (code, json.loads(out)["queue"]) == (0, "mail"), said
    code, out, said = call("jobs", "add", "shop.sned")
    assert (code, out.endswith("is available in queue default\n")) == (0, True), said
    assert said == (
        "The arguments are not checked: shop registers no worker named 'shop.sned'; did you mean 'shop.send'?\n"
    )
    assert call("workers")[1].startswith("WORKER")
    code, out, said = call("check")
    assert (code, "shop.sned" in out) == (1, True), said


def test_without_a_module_it_says_that_nothing_is_checked(call: Any, sync_engine: Engine) -> None:
    code, out, said = call("jobs", "add", "shop.sned", "--json")
    assert (code, json.loads(out)["worker"]) == (0, "shop.sned")
    assert said == "Nothing is checked, because no module is given that defines shop.sned: --module\n"


def test_a_worker_that_the_module_does_not_have_is_told_the_nearest(call: Any) -> None:
    code, _, said = call("jobs", "add", "shop.sned", "--module", "shop")
    assert (code, said) == (
        1, "Error: shop registers no worker named 'shop.sned'; did you mean 'shop.send'?\n",
    )  # fmt: skip


def test_the_workers_of_a_module_are_listed_with_their_options(call: Any) -> None:
    code, out, _ = call("workers", "shop")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "user_id: int = 7" in lines["shop.send"]
    assert "session" not in lines["shop.send"], "it is injected"
    assert lines["shop.send"].split()[-5:] == ["mail", "async", "3", "5.0", "@daily"]
    assert "(a class)" in lines["shop.Classic"]


def test_as_json_they_have_the_schema_of_their_arguments(call: Any) -> None:
    code, out, _ = call("workers", "shop", "--json")
    assert code == 0
    classic, send = json.loads(out)
    assert (send["worker"], send["queue"], send["max_attempts"], send["cron"]) == ("shop.send", "mail", 3, "@daily")
    assert send["args"]["properties"]["user_id"]["type"] == "integer"
    assert "session" not in send["args"]["properties"]
    assert (classic["worker"], classic["args"]) == ("shop.Classic", None)


def test_a_module_without_workers_says_so(call: Any) -> None:
    code, _, said = call("workers", "json")
    assert (code, said) == (1, "Error: json registers no workers; name the module with your @job functions\n")
