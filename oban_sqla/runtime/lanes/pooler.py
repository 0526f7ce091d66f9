"""Finding out whether a node connects through a transaction pooler.

Behind one, each transaction of a connection may be run by another backend: what a session holds (LISTEN, advisory
locks, SET, prepared statements) is lost, or worse, found by another client. Nothing announces it. But a server names
the backend of a connection when it is made, for cancelling, and a pooler names a number that it draws: where the
backend that answers is the one that was named, there is no pooler. Where it is not, there may be one in session mode. A
backend then serves one client for as long as that is connected; so two connections that are open at once and meet the
same backend, or one that meets two, prove a transaction pooler.
"""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from ...errors import DatabaseUnavailable
from ...statements.backend import backend
from .failure import StatementFailed
from .lane import Lane
from .line import Line

ROUNDS = 3

_NAMES_CLASH = {"42P05", "26000", "08P01"}
"""A prepared statement that exists already, or not at all; parameters that the pooler does not know."""


async def find_pooler(line: Line, lane: Lane) -> bool:
    """Find out whether a transaction pooler lies on `line`, and note it there.

    :param lane: one of the line; it is connected. The question costs it one statement where there is no pooler.
    :returns: whether there is one.
    :raises StatementFailed: when the database does not answer.
    :raises DatabaseUnavailable: when the engine's settings do not work behind a pooler, naming those that do.
    """
    try:
        line.pooled = await _pid(lane) != await lane.promised_backend() and await _share_backends(line.engine)
    except StatementFailed as error:
        if error.sqlstate in _NAMES_CLASH:
            raise DatabaseUnavailable(
                f"{error}; this looks like a transaction pooler and an engine that prepares statements by name: "
                "see docs/poolers.md for the settings that work"
            ) from error
        raise
    return line.pooled


async def behind_transaction_pooler(engine: AsyncEngine) -> bool:
    """Whether connections of `engine` pass through a transaction pooler. Connects for a moment.

    :raises: as :func:`find_pooler`.
    """
    line = Line(engine)
    lane = Lane(line, "probing")
    try:
        return await find_pooler(line, lane)
    finally:
        await lane.close()
        await line.close()


async def _share_backends(engine: AsyncEngine) -> bool:
    line = Line(engine, pooled=True)
    lanes = [Lane(line, f"probing {number}") for number in (1, 2)]
    met: list[set[int]] = [set(), set()]
    try:
        for at_once in (False, True) * ROUNDS:
            # One after the other they are likely to be given the same backend, at once one is likely to change.
            if at_once:
                pids = await asyncio.gather(*(_pid(lane) for lane in lanes))
            else:
                pids = [await _pid(lane) for lane in lanes]
            for seen, pid in zip(met, pids, strict=True):
                seen.add(pid)
            if len(met[0]) > 1 or len(met[1]) > 1 or met[0] & met[1]:
                return True
        return False
    finally:
        for lane in lanes:
            await lane.close()
        await line.close()


async def _pid(lane: Lane) -> int:
    [[pid]] = await lane.run(backend)
    return int(pid)
