"""How long the jobs of the last hour would have waited with another rate."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from click.testing import CliRunner
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla.cli import main
from tests.runtime.helpers import execute

HISTORY = """
INSERT INTO oban_jobs (queue, worker, args, meta, state, attempt, inserted_at, scheduled_at, attempted_at, completed_at)
SELECT 'calls', 'w', jsonb_build_object('t', i % 2), '{meta}', 'completed', 1,
       at, at, at + interval '0.5 s', at + interval '1 s'
  FROM generate_series(0, {jobs} - 1) i,
       LATERAL (SELECT timezone('UTC', now()) - interval '{age}' + i * interval '{apart}' AS at) x
"""


async def simulated(url: str, *arguments: str) -> dict[str, Any]:
    given = ["limits", "simulate", "calls", *arguments, "--json", "--database-url", url]
    result = await asyncio.to_thread(CliRunner().invoke, main, given)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


async def test_a_rate_below_the_arrivals_makes_jobs_wait(engine: AsyncEngine, database_url: str) -> None:
    """100 jobs, one each second, of which a minute may have 30: the last starts in the fourth minute."""
    await execute(engine, HISTORY.format(meta="{}", jobs=100, age="30 min", apart="1 s"))
    found = await simulated(database_url, "--rate", "30/60")
    assert (found["jobs"], found["busiest"], found["held"]) == (100, 60, 70)
    # The last is due after 99 s. 30 start in each minute: at 0 … 29, 60 … 89, 120 … 149, and from 180 on.
    assert round(found["then"]["longest"]) == 90
    assert found["now"]["longest"] == 0.5
    assert (await simulated(database_url, "--rate", "60/60"))["held"] == 0


async def test_each_key_has_the_rate_and_a_weight_counts(engine: AsyncEngine, database_url: str) -> None:
    await execute(engine, HISTORY.format(meta='{"weight": 2}', jobs=60, age="30 min", apart="1 s"))
    assert (await simulated(database_url, "--rate", "60/60"))["held"] == 30
    found = await simulated(database_url, "--rate", "60/60", "--by", "args.t")
    assert (found["held"], found["busiest"]) == (0, 60)
    assert (await simulated(database_url, "--rate", "58/60", "--by", "args.t, worker"))["held"] == 2


async def test_what_is_older_or_of_another_queue_does_not_count(engine: AsyncEngine, database_url: str) -> None:
    await execute(engine, HISTORY.format(meta="{}", jobs=10, age="2 h", apart="1 s"))
    assert (await simulated(database_url, "--rate", "1/60"))["jobs"] == 0
    assert (await simulated(database_url, "--rate", "1/60", "--last", "10000"))["jobs"] == 10


async def test_it_is_printed_in_sentences(engine: AsyncEngine, database_url: str) -> None:
    await execute(engine, HISTORY.format(meta="{}", jobs=100, age="30 min", apart="1 s"))
    arguments = ["limits", "simulate", "calls", "--rate", "30/60", "--database-url", database_url]
    said = (await asyncio.to_thread(CliRunner().invoke, main, arguments)).output
    assert "held back by 30/60: 70, 70%" in said
    assert "would have waited for the rate: median " in said
    for rate, hint in (("often", "got 'often'\n"), ("10/m", "got '10/m'; write \"10/60\"\n")):
        arguments[4] = rate
        refused = await asyncio.to_thread(CliRunner().invoke, main, arguments)
        assert refused.exit_code == 1
        assert 'such as "100/60"' in refused.output
        assert refused.output.endswith(hint)
