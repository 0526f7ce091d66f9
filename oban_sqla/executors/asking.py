"""The steps of a job in a child process: the child asks its node, which has the connection."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from ..errors import ObanError
from ..runtime.durable.steps import Steps
from ..runtime.durable.store import STATEMENTS
from ..statements.statement import Statement
from . import wire
from .child import Child

_HEARD = "heard"


class Asking:
    """A store in a child, for coroutines.

    :param send: sends a frame to the node.
    """

    lives = True

    def __init__(self, send: Callable[[bytes], None]) -> None:
        # Given, and never written again.
        self._send = send
        self._numbers = itertools.count()
        # Questions that wait for an answer, by number: written by ask(), taken by answered().
        self._open: dict[int, Future[Sequence[Any]]] = {}

    @property
    def blocking(self) -> Blocked:
        """The store of plain functions."""
        return Blocked(self)

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        """Let the node execute `statement`."""
        return await asyncio.wrap_future(self.ask(statement.name, parameters))

    async def heard(self, job_id: int, seconds: float) -> None:
        """Return when the node has heard of a signal for the job, or after `seconds`."""
        await asyncio.wrap_future(self.ask(_HEARD, {"job_id": job_id, "seconds": seconds}))

    def ask(self, what: str, given: dict[str, Any]) -> Future[Sequence[Any]]:
        """Ask the node."""
        number = next(self._numbers)
        future = self._open[number] = Future()
        self._send(wire.message(wire.ASK, number=number, what=what, given=given))
        return future

    def answered(self, fields: dict[str, Any]) -> None:
        """Take an answer of the node. Called in the thread that reads."""
        future = self._open.pop(fields["number"], None)
        if future is None or not future.set_running_or_notify_cancel():
            return
        if (error := fields["error"]) is not None:
            future.set_exception(ObanError(error))
        else:
            future.set_result(fields["rows"])


class Blocked:
    """A store in a child, for plain functions.

    :param asking: asks the node.
    """

    lives = True

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    @property
    def blocking(self) -> Blocked:
        """This store, which blocks."""
        return self

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        return self._asking.ask(statement.name, parameters).result()

    async def heard(self, job_id: int, seconds: float) -> None:
        self._asking.ask(_HEARD, {"job_id": job_id, "seconds": seconds}).result()


async def answer_to(child: Child, question: dict[str, Any], steps: Steps) -> None:
    """Answer a question of `child`, in its node."""
    rows: Sequence[Any] = ()
    error = None
    try:
        if question["what"] == _HEARD:
            await steps.heard(**question["given"])
        else:
            rows = [list(row) for row in await steps.run(STATEMENTS[question["what"]], **question["given"])]
    except ObanError as failed:
        error = str(failed)
    child.answer(number=question["number"], rows=rows, error=error)
