"""The steps of jobs that run in a test: on the test's own connection, or in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.util import greenlet_spawn

from ..errors import ObanError
from ..statements.statement import Statement
from ..statements.steps import fall_asleep, mark, steps_of


class InTransaction:
    """A store on the connection of the test.

    What a job that fails has written is rolled back there, and its steps with it; they last in production. So the
    statements are kept, to be executed again after the rollback.

    :param connection: of the test.
    :param moment: what time it is for the job, in naive UTC; None for the server's.
    """

    lives = False

    def __init__(self, connection: Connection, moment: datetime | None) -> None:
        self._connection = connection
        self._moment = moment
        self._written: list[tuple[Statement, dict[str, Any]]] = []

    @property
    def blocking(self) -> Blocked:
        """The store of plain functions, which run where the test's connection may be used at once."""
        return Blocked(self)

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        if self._connection.dialect.is_async:
            rows: Sequence[Any] = await greenlet_spawn(self.execute, statement, parameters)
            return rows
        return self.execute(statement, parameters)

    async def heard(self, job_id: int, seconds: float) -> None:
        """Nothing is sent while the job runs."""

    def execute(self, statement: Statement, parameters: dict[str, Any]) -> Sequence[Any]:
        given = {**parameters, "moment": self._moment}
        if statement is not steps_of:
            self._written.append((statement, given))
        return statement.execute(self._connection, **given).all()

    def committed(self) -> None:
        """A step with a session was committed, and what is written so far can't be rolled back any more."""
        self._written.clear()

    def restore(self) -> None:
        """Execute again what was rolled back."""
        for statement, given in self._written:
            statement.execute(self._connection, **given)


class Blocked:
    """A store on the connection of the test, for plain functions."""

    lives = False

    def __init__(self, store: InTransaction) -> None:
        self._store = store

    @property
    def blocking(self) -> Blocked:
        """It blocks already."""
        return self

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        try:
            return self._store.execute(statement, parameters)
        except MissingGreenlet:
            raise ObanError(
                "oban_sqla.durable.sync is for plain functions, and this one runs inside of a coroutine; use the names "
                "of oban_sqla.durable there"
            ) from None

    async def heard(self, job_id: int, seconds: float) -> None:
        """Nothing is sent while the job runs."""


class InMemory:
    """A store for one job that has no row: each step is done, a sleep is over at once, and no signal comes."""

    lives = False

    @property
    def blocking(self) -> InMemory:
        """It never suspends."""
        return self

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        if statement is steps_of:
            return []
        if statement is mark:
            return [(parameters["name"],)]
        if statement is fall_asleep:
            return [(0.0,)]
        raise ObanError(
            f"perform: the job waits for the signal {parameters['signal']!r}, and a job without a row gets none; "
            "enqueue it in this test, give it a signal with oban.signal(…, session=session), and drain(session)"
        )

    async def heard(self, job_id: int, seconds: float) -> None:
        """Nothing is sent."""
