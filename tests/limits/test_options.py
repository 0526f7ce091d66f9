"""What limits can be, in Python, in settings and in the environment; and where they do not count."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Chain, InvalidOption, JobSpec, Oban, Partition, Queue, RateLimit, job
from oban_sqla.cli.settings import Settings, SettingsError
from oban_sqla.cli.settings.sources import read
from oban_sqla.options.limits import rate_limit_of
from oban_sqla.testing import drain
from tests.limits import jobs
from tests.limits.helpers import nodes
from tests.limits.jobs import brief
from tests.runtime.helpers import execute, insert
from tests.support import eventually


def other(value: Any) -> Any:
    """A value that type checkers would refuse."""
    return value


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"global_limit": 0}, "global_limit must be a number of jobs from 1 to 1,000,000, got 0"),
        ({"global_limit": True}, "global_limit must be a number of jobs"),
        ({"rate_limit": 5}, r"rate_limit must be RateLimit\(…\), got 5"),
        ({"partition": "worker"}, r"partition must be Partition\(…\), got 'worker'"),
        ({"global_limit": 5, "prefetch": 5}, "prefetch=5 with global_limit.*leave out prefetch"),
        ({"rate_limit": RateLimit(1, 1), "prefetch": 5}, "leave out prefetch"),
        ({"partition": Partition("worker"), "prefetch": 5}, "leave out prefetch"),
        ({"partition": Partition("worker", limit=1, burst=True)}, "burst=True.*needs a global_limit"),
    ],
)
def test_a_queue_refuses_limits_that_can_not_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        Queue(**options)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: RateLimit(0, 1), "allowed must be a number of jobs from 1 to 1,000,000, got 0"),
        (lambda: RateLimit(1, 0.001), "period must be 0.01 seconds to 31 days, got 0.001"),
        (lambda: RateLimit(1, timedelta(days=32)), "period must be 0.01 seconds to 31 days"),
        (lambda: RateLimit(1, 1, other("fixed")), 'algorithm must be "sliding" or "token_bucket", got \'fixed\''),
        (lambda: Partition("tenant"), 'by must be "worker", "args.…" or "meta.…".*got \'tenant\''),
        (lambda: Partition([]), "by must be"),
        (lambda: Partition("args."), "by must be"),
        (lambda: Partition("args.a, worker"), r"are several fields; give a sequence of them: \['args\.a', 'worker'\]"),
        (lambda: Chain("meta.a,args.b"), "Chain: by: 'meta.a,args.b' are several fields"),
        (lambda: Partition("worker", limit=0), "limit must be a number of jobs"),
        (lambda: Partition("worker", rate_limit=other(5)), r"rate_limit must be RateLimit\(…\), got 5"),
        (lambda: Partition("worker", burst=True), "burst=True needs a limit"),
        (lambda: JobSpec("w", weight=0), "weight: expected 1 to 1,?000,?000.*got 0"),
        (lambda: job(weight=other("heavy"))(lambda: None), "weight: expected 1 to"),
    ],
)
def test_a_limit_refuses_what_it_can_not_be(made: Any, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        made()


async def test_a_scale_refuses_what_a_queue_can_not_have(engine: AsyncEngine) -> None:
    oban = Oban(engine, queues={"default": 10})
    refused: list[tuple[dict[str, Any], str]] = [
        ({}, "expected limit=… or one of global_limit, rate_limit, partition, got none of them"),
        ({"global_limit": 0}, "global_limit must be"),
        ({"limit": "3"}, "limit must be a number of jobs from 1 to 10,000, got '3'"),
        ({"rate_limit": "3/4"}, "rate_limit must be"),
        (
            {"global_limit": 3, "node": "a"},
            "global_limit: a limit of the whole cluster, which can't be one node's; leave out node='a'",
        ),
    ]
    for given, said in refused:
        with pytest.raises(InvalidOption, match=said):
            await oban.scale_queue("default", **given)


def test_a_weight_is_kept_in_the_meta_and_each_spec_may_say_its_own() -> None:
    heavy = job(name="limits.heavy", weight=3, meta={"a": 1})(lambda: None)
    assert heavy.new().meta == {"a": 1, "weight": 3}
    assert heavy.options(weight=5).new().meta == {"a": 1, "weight": 5}
    assert heavy.options(meta={"b": 2}).new().meta == {"b": 2, "weight": 3}
    assert "weight" not in JobSpec("w").meta


@pytest.mark.parametrize(
    "rate",
    [
        RateLimit(100, 60),
        RateLimit(100, 60, "token_bucket"),
        RateLimit(1, 0.1),
        RateLimit(5, 30 * 86_400),
        RateLimit(5, 86_400.5),
    ],
    ids=str,
)
def test_a_rate_is_read_as_it_is_shown(rate: RateLimit) -> None:
    assert rate_limit_of(str(rate), "rate").as_json == rate.as_json


TOML = """
[queues]
plain = 3
calls = { limit = 20, global_limit = 50, rate_limit = "100/60" }
mails = { partition = { by = ["worker", "args.to"], limit = 2, rate_limit = { allowed = 5, period = 0.5 } } }
fair = { partition = "args.tenant_id" }
"""
QUEUES = {
    "plain": Queue(3),
    "calls": Queue(20, global_limit=50, rate_limit=RateLimit(100, 60.0)),
    "mails": Queue(partition=Partition(["worker", "args.to"], limit=2, rate_limit=RateLimit(5, 0.5))),
    "fair": Queue(partition=Partition("args.tenant_id")),
}


def test_limits_are_read_from_a_file_of_settings(tmp_path: Any) -> None:
    file = tmp_path / "oban.toml"
    file.write_text(TOML)
    assert read(file, {}).value("queues") == QUEUES


def test_limits_are_read_from_the_environment() -> None:
    inline = ", ".join(line for line in TOML.splitlines() if "=" in line)
    assert Settings({}, {"OBAN_QUEUES": f"{{{inline}}}"}).value("queues") == QUEUES


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        ('rate_limit = "often"', "a.rate_limit: .*such as \"100/60\", got 'often'"),
        ('rate_limit = "0/60"', "a.rate_limit: .*allowed must be a number of jobs"),
        ("rate_limit = { allowed = 3 }", "a.rate_limit: .*period is missing"),
        ('partition = { by = "worker", limits = 3 }', "did you mean 'limit'"),
        ('partition = "tenant"', "a.partition: .*by must be"),
        ("global_limit = 3\nprefetch = 3", "leave out prefetch"),
    ],
)
def test_a_limit_in_a_file_that_can_not_be_is_refused_with_its_place(tmp_path: Any, queue: str, said: str) -> None:
    file = tmp_path / "oban.toml"
    file.write_text(f"[queues.a]\n{queue}\n")
    with pytest.raises(SettingsError, match=said):
        read(file, {})


def test_what_is_not_a_table_in_the_environment_is_refused() -> None:
    with pytest.raises(SettingsError, match="OBAN_QUEUES.*is not a table of TOML"):
        Settings({}, {"OBAN_QUEUES": "{a = }"}).value("queues")


async def test_a_drain_ignores_limits(engine: AsyncEngine, database_url: str) -> None:
    jobs.reset()
    limits = Queue(limit=2, rate_limit=RateLimit(1, 3600), partition=Partition("worker", limit=1))
    async with nodes(database_url, limits) as [oban]:
        await oban.pause_queue("default")
        await insert(engine, *(brief.new() for _ in range(5)))
        async with AsyncSession(engine) as session:
            drained = await drain(session)
        assert drained["completed"] == 5
        assert await oban.limiter("default").available() == 1


async def test_a_node_reports_its_limits_with_its_heartbeat(engine: AsyncEngine, database_url: str) -> None:
    limits = Queue(limit=7, global_limit=9, rate_limit=RateLimit(5, 60), partition=Partition(["args.a"], limit=2))
    async with nodes(database_url, limits):

        async def meta() -> Any:
            rows = await execute(engine, "SELECT meta FROM oban_producers WHERE queue = 'default'")
            return rows and rows[0][0]

        told = await eventually(meta)
    assert told["local_limit"] == 7
    assert Queue(limit=7).with_limits({name: told[name] for name in limits.limits}) == limits
