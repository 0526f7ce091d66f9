"""Who waits for events of jobs in this process, and is woken when a node tells of new ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Any, cast

MOST_TOLD = 200
"""Jobs that a notification names."""


class Reader:
    """One that waits for the events of a job, on the loop of the node.

    :ivar may_have_ended: whether the job has told its last event, so that its end comes next.
    """

    def __init__(self) -> None:
        self.may_have_ended = False
        self._awake = asyncio.Event()

    def wake(self) -> None:
        self._awake.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until something is told of the job, or for so long.

        :returns: whether something was.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return False
        self._awake.clear()
        return True


class Readers:
    """The readers of a process, by the job that each reads."""

    def __init__(self) -> None:
        self._of: dict[int, list[Reader]] = {}

    @contextmanager
    def reading(self, job_id: int) -> Generator[Reader]:
        """A reader of this job, for as long as it reads."""
        reader = Reader()
        self._of.setdefault(job_id, []).append(reader)
        try:
            yield reader
        finally:
            self._of[job_id].remove(reader)
            if not self._of[job_id]:
                del self._of[job_id]

    def written(self, jobs: Collection[int], ended: Collection[int]) -> None:
        """There are new events of `jobs`; those in `ended` have told their last."""
        for job_id in ended:
            for reader in self._of.get(job_id, ()):
                reader.may_have_ended = True
                reader.wake()
        for job_id in jobs:
            for reader in self._of.get(job_id, ()):
                reader.may_have_ended = False
                reader.wake()

    def hear(self, payload: dict[str, Any]) -> None:
        """Another node has told of events. The payload may be anything."""
        if payload.get("all") is True:
            self.written([*self._of], ())
        else:
            self.written(_ids(payload.get("jobs")), _ids(payload.get("ended")))

    def look(self) -> None:
        """Something may have been missed."""
        self.written([*self._of], ())


def notice_of(origin: str, jobs: Collection[int], ended: Collection[int]) -> str:
    """What other nodes are told, for :meth:`Readers.hear`.

    :param origin: names the node that tells it.
    :param jobs: those that have new events.
    :param ended: those that have told their last.
    """
    many = len(jobs) + len(ended) > MOST_TOLD
    named: dict[str, Any] = {"all": True} if many else {"jobs": sorted(jobs), "ended": sorted(ended)}
    return json.dumps({"from": origin, **named}, separators=(",", ":"))


def _ids(value: object) -> list[int]:
    return [each for each in cast(list[object], value) if isinstance(each, int)] if isinstance(value, list) else []
