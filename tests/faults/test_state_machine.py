"""One job through its life, by the real statements on a real connection, beside a model of what must become of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from oban_sqla.runtime.acks import Ack, failure, parameters
from oban_sqla.statements.ack import acknowledge, complete
from oban_sqla.statements.fetch import fetch
from oban_sqla.statements.rescue import reconcile
from oban_sqla.statements.stage import stage_own
from oban_sqla.statements.statement import Statement

NODES = ("one", "two")
MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Run:
    """What a node holds of a fetched job; it keeps it even when the job was taken from it."""

    attempt: int
    producer: str
    attempted_at: datetime

    def ack(self, job_id: int, state: str = "completed", **more: Any) -> Ack:
        return Ack(
            job_id, self.attempt, self.producer, self.attempted_at, state,
            queue="model", max_attempts=MAX_ATTEMPTS, **more,
        )  # fmt: skip


class Life(RuleBasedStateMachine):
    """The model: state, attempt, number of errors, and which run the job belongs to."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.engine = create_async_engine(self.url)
        self.connection: AsyncConnection = self._await(self.engine.connect())
        self._await(self.connection.execution_options(isolation_level="AUTOCOMMIT"))
        self.producers = {name: str(uuid4()) for name in NODES}
        self.runs: list[Run] = []
        self.current: Run | None = None

    def teardown(self) -> None:
        self._execute("DELETE FROM oban_jobs WHERE queue = 'model'")
        self._await(self.connection.close())
        self._await(self.engine.dispose())
        self.loop.close()

    def _await(self, work: Coroutine[Any, Any, Any] | Any) -> Any:
        return self.loop.run_until_complete(_awaited(work))

    def _execute(self, sql: str, **given: Any) -> Any:
        result = self._await(self.connection.execute(text(sql), given))
        return result.all() if result.returns_rows else None

    def _run(self, statement: Statement, **given: Any) -> list[Any]:
        return self._await(self.connection.run_sync(lambda c: statement.execute(c, **given).all()))

    @initialize(scheduled=st.booleans())
    def insert(self, scheduled: bool) -> None:
        self.state = "scheduled" if scheduled else "available"
        [(self.id,)] = self._execute(
            "INSERT INTO oban_jobs (worker, queue, max_attempts, state, scheduled_at) "
            "VALUES ('w', 'model', :most, CAST(:state AS oban_job_state), timezone('UTC', now()) - interval '1 hour') "
            "RETURNING id",
            most=MAX_ATTEMPTS,
            state=self.state,
        )
        self.due = True
        self.attempt = 0
        self.errors = 0
        self.snoozed = 0

    @rule(node=st.sampled_from(NODES))
    def fetch(self, node: str) -> None:
        producer = self.producers[node]
        rows = self._run(fetch, queue="model", limit=5, attempted_by=[node, producer], unknown=[])
        if self.state != "available" or self.attempt >= MAX_ATTEMPTS:
            assert rows == []
            return
        [row] = rows
        self.state, self.attempt = "executing", self.attempt + 1
        assert (row.id, row.attempt) == (self.id, self.attempt)
        self.current = Run(row.attempt, producer, row.attempted_at)
        self.runs.append(self.current)

    @rule()
    def stage(self) -> None:
        self._run(stage_own, queues=["model"], limit=10, refused=[])
        if self.state in ("scheduled", "retryable") and self.due:
            self.state = "available"

    @rule()
    def time_passes(self) -> None:
        self._execute("UPDATE oban_jobs SET scheduled_at = scheduled_at - interval '1 year' WHERE id = :id", id=self.id)
        self.due = True

    def _ack(self, run: Run, ack: Ack) -> bool:
        """Send it, and whether it counts: only that of the run to which the job belongs now may."""
        statement = complete if ack.is_plain else acknowledge
        changed = self._run(statement, **parameters(statement, [ack]))
        counts = run is self.current and self.state == "executing"
        assert changed == ([(self.id,)] if counts else [])
        if counts:
            self.current = None
        return counts

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def ends_well(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        if self._ack(run, run.ack(self.id)):
            self.state = "completed"

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def fails(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        if self._ack(run, failure(run.ack(self.id), "no luck")):
            self.state = "discarded" if self.attempt >= MAX_ATTEMPTS else "retryable"
            self.errors += 1
            self.due = False

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 3600.0]))
    def snoozes(self, data: st.DataObject, delay: float) -> None:
        run = data.draw(st.sampled_from(self.runs))
        meta = json.dumps({"snoozed": self.snoozed + 1})
        if self._ack(run, run.ack(self.id, "scheduled", delay=delay, burned=False, meta=meta)):
            self.state, self.attempt, self.due = "scheduled", self.attempt - 1, delay == 0
            self.snoozed += 1

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def cancels_itself(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        if self._ack(run, run.ack(self.id, "cancelled", error='[{"error": "no more"}]')):
            self.state, self.errors = "cancelled", self.errors + 1

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def is_given_back(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        if self._ack(run, run.ack(self.id, "available", burned=False)):
            self.state, self.attempt = "available", self.attempt - 1

    @rule(node=st.sampled_from(NODES), knows=st.booleans())
    def reconciles(self, node: str, knows: bool) -> None:
        producer = self.producers[node]
        held = [self.id] if knows else []
        back = self._run(reconcile, queue="model", producer=producer, held=held, limit=10, refused=[])
        lost = (
            self.state == "executing" and not knows and self.current is not None and self.current.producer == producer
        )
        assert [row[0] for row in back] == ([self.id] if lost else [])
        if lost:
            self.state, self.attempt, self.current = "available", self.attempt - 1, None

    @invariant()
    def the_row_is_as_the_model_says(self) -> None:
        [row] = self._execute(
            "SELECT state::text, attempt, jsonb_array_length(errors) AS errors, "
            "coalesce(meta->>'snoozed', '0') AS snoozed, "
            "completed_at IS NOT NULL AS completed, cancelled_at IS NOT NULL AS cancelled, "
            "discarded_at IS NOT NULL AS discarded FROM oban_jobs WHERE id = :id",
            id=self.id,
        )
        assert (row.state, row.attempt, row.errors) == (self.state, self.attempt, self.errors)
        assert int(row.snoozed) == self.snoozed
        finished = {name for name in ("completed", "cancelled", "discarded") if getattr(row, name)}
        assert finished == ({self.state} if self.state in ("completed", "cancelled", "discarded") else set())


async def _awaited(work: Any) -> Any:
    return await work


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_job_goes_through_its_life_as_the_model_says(database_url: str, clean_tables: None, driver: str) -> None:
    machine = type("Life", (Life,), {"url": database_url.replace("+asyncpg", f"+{driver}")})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60 if driver == "asyncpg" else 15,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
