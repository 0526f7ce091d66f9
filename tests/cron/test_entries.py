"""What may stand in a crontab, and how it is told when it may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import Cron, InvalidOption, JobSpec, Oban, Unique, job, later, worker
from oban_sqla.workers.cron import by_name, copied, packed
from oban_sqla.workers.registry import workers


@job(name="entries.report")
async def report(day: str = "today") -> None: ...


@job(name="entries.needy")
async def needy(user_id: int) -> None: ...


@worker(name="entries.Build", queue="builds")
class Build:
    async def process(self, job: Any) -> None: ...


@pytest.fixture(autouse=True)
def forget_new_workers() -> Iterator[None]:
    before = set(workers)
    yield
    workers.remove(set(workers) - before)


def test_a_worker_is_enough_when_it_needs_no_arguments() -> None:
    assert json.loads(Cron("@daily", report).row()["spec"])["args"] == {}
    assert json.loads(Cron("@daily", Build).row()["spec"])["queue"] == "builds"


def test_the_name_is_the_workers_unless_it_is_given() -> None:
    assert Cron("@daily", report).key == "entries.report"
    assert Cron("@daily", report.new()).key == "entries.report"
    assert Cron("@daily", JobSpec("elsewhere.worker")).key == "elsewhere.worker"
    assert Cron("@daily", report, name="mine").key == "mine"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Cron("* * * *", report), "five fields"),
        (lambda: Cron("@reboots", report), "did you mean '@reboot'"),
        (lambda: Cron("@daily", report, timezone="Europe/Pari"), "did you mean 'Europe/Paris'"),
        (lambda: Cron("@daily", needy), "'user_id' is missing"),
        (lambda: Cron("@daily", "entries.report"), "expected a spec .* or a worker"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", report.options(scheduled_at=datetime.now(UTC)).new()), "one instant"),
        (lambda: Cron("@daily", needy.new(user_id=later(lambda: 1))), "no flush"),
        (lambda: Cron("@daily", report, name=" "), "name must be a string"),
        (lambda: Cron("@daily", report, paused=1), "paused must be True or False"),  # type: ignore[arg-type]
        (lambda: Cron("@daily").row(), "it has no job; give one"),
        (lambda: job(cron="@dialy")(_plain), "did you mean '@daily'"),
        (lambda: job(cron=Cron("@daily", report))(_plain), "takes no spec"),
        (lambda: job(cron=60)(_plain), "an expression or Cron"),  # type: ignore[call-overload]
        (lambda: job(cron="@daily")(_needy), "needs arguments, and a cron entry has none"),
    ],
)
def test_what_can_not_work_is_refused_where_it_is_written(make: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        make()


async def _plain() -> None: ...


async def _needy(user_id: int) -> None: ...


def test_a_refused_cron_leaves_no_worker_behind() -> None:
    with pytest.raises(InvalidOption):
        job(name="entries.refused", cron="@dialy")(_plain)
    assert workers.get("entries.refused") is None


@pytest.mark.parametrize(
    ("crontab", "says"),
    [
        ([Cron("@daily", report), Cron("@hourly", report.new("x"))], "two entries are named 'entries.report'"),
        ([Cron("@daily")], "it has no job; give one"),
        (["@daily"], "got '@daily' in it"),
        (Cron("@daily", report), "a list of Cron"),
        ({"@daily": report}, "a list of Cron"),
    ],
)
def test_a_crontab_is_checked_when_the_runtime_is_made(crontab: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        Oban(create_async_engine("postgresql+asyncpg://nowhere/x"), crontab=crontab)


def test_what_the_crontab_says_counts_over_the_worker() -> None:
    own, listed = Cron("@daily", report), Cron("@hourly", report)
    assert by_name([own], [listed]) == {"entries.report": listed}


def test_every_option_of_a_spec_survives_the_way_through_json() -> None:
    unique = Unique(period=timedelta(hours=1), fields=["worker", "args"], keys=["day"], states="all")
    spec = JobSpec(
        "w", {"day": [1, None]}, queue="q", priority=3, max_attempts=4, tags=["a"], meta={"b": 1}, unique=unique
    )  # fmt: skip
    tick = datetime(2026, 1, 1, tzinfo=UTC)
    copy = copied(json.loads(packed(spec)), {"cron": True}, tick)
    for name in ("worker", "queue", "priority", "max_attempts", "tags", "args_json"):
        assert getattr(copy, name) == getattr(spec, name), name
    assert copy.meta == {"b": 1, "cron": True}
    assert copy.scheduled_at == tick
    assert copy.unique is not None
    assert copy.unique.mask == unique.mask
    keys = [one.key("w", "q", '{"day": 1}', "{}", 3_600_000_000) for one in (copy.unique, unique)]
    assert keys[0] == keys[1]


def test_a_synchronous_engine_is_not_asked_for_its_crontab() -> None:
    with pytest.raises(InvalidOption, match="synchronous"):
        Oban(create_engine("postgresql+psycopg://nowhere/x"), crontab=[Cron("@daily", report)])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
async def test_a_name_that_the_database_can_not_store_is_refused_by_name(name: str) -> None:
    crons = Oban(create_async_engine("postgresql+asyncpg://localhost:1/nowhere")).crons
    with pytest.raises(InvalidOption, match="Cron: name: a NUL or a lone surrogate"):
        Cron("@daily", report, name=name)
    for call in (crons.put(name, "@daily", report), crons.delete(name)):
        with pytest.raises(InvalidOption, match="name of a cron entry: a NUL or a lone surrogate"):
            await call
    with pytest.raises(InvalidOption, match="Cron: name: at most 255 characters, got 256"):
        Cron("@daily", report, name="n" * 256)
    with pytest.raises(InvalidOption, match="name of a cron entry: at most 255 characters"):
        await crons.put("x" * 3_000, "@daily", report)
