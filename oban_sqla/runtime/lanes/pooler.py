"""Finding out whether a node connects through a transaction pooler.

Behind one, each transaction of a connection may be run by another backend: what a session holds (LISTEN, advisory
locks, SET, prepared statements) is lost, or worse, found by another client. Nothing announces it. But a backend serves
one client of a direct connection, or of a session pooler, for as long as that is open; so two connections that are open
at once and meet the same backend, or one that meets two, prove it.
"""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from ...errors import DatabaseUnavailable
from ...statements.backend import backend
from .lane import Lane, StatementFailed, mark_pooled, twin

ROUNDS = 3

_NAMES_CLASH = {"42P05", "26000", "08P01"}
"""A prepared statement that exists already, or not at all; parameters that the pooler does not know."""


async def behind_transaction_pooler(engine: AsyncEngine) -> bool:
    """Whether connections of `engine` share backends. Opens two connections for a moment.

    :raises StatementFailed: when the database does not answer.
    :raises DatabaseUnavailable: when the engine's settings do not work behind a pooler, naming those that do.
    """
    probe = twin(engine)
    mark_pooled(probe)  # what works there works everywhere
    lanes = [Lane(probe, f"probing {number}") for number in (1, 2)]
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
    except StatementFailed as error:
        if error.sqlstate in _NAMES_CLASH:
            raise DatabaseUnavailable(
                f"{error}; this looks like a transaction pooler and an engine that prepares statements by name: "
                "see docs/poolers.md for the settings that work"
            ) from error
        raise
    finally:
        for lane in lanes:
            await lane.close()
        await probe.dispose()


async def _pid(lane: Lane) -> int:
    [[pid]] = await lane.run(backend)
    return int(pid)
