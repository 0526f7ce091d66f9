"""Signals that are sent outside of the user's transactions: one round trip, and the job's node hears of it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..enqueueing.signals import Target, report_signal, sealed_for, signal_of
from ..errors import DatabaseUnavailable, ObanError
from ..options.encryption import Encryption, using
from ..statements.steps import send
from ..statements.wire import NEWS, channel
from .lanes.failure import StatementFailed
from .lanes.lane import Lane


class Signals:
    """Sends signals.

    :param lane: the connection to send on.
    :param schema: where the tables live; the channels are named by it.
    :param origin: identifies the node, which hears its own notifications, too, and need not act on them.
    :param encryption: the keys for the payloads of jobs with encrypted arguments.
    :param sent: called with the id of a job to which a signal was sent, or may have been.
    """

    def __init__(
        self,
        *,
        lane: Lane,
        schema: str | None,
        origin: str,
        encryption: Encryption | None,
        sent: Callable[[int], None],
    ) -> None:
        # Given, and never written again.
        self._lane = lane
        self._channel = channel(NEWS, schema)
        self._origin = origin
        self._encryption = encryption
        self._sent = sent
        # What callers have asked for, who may be cancelled while it goes on: written by send().
        self._under_way: set[asyncio.Task[bool]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether the connection is in use: then another one is faster."""
        return self._lane.is_busy

    async def send(self, target: Target, name: str, payload: Any) -> bool:
        """Send a signal in a separate transaction.

        A caller that is cancelled leaves; the signal is sent all the same.

        :returns: False if the job has finished or is not there.
        :raises InvalidOption: for a target or name of another type, and for a job with encrypted args without keys.
        :raises InvalidArgs: for a payload that JSON can't carry.
        :raises ObanError: when the database refused it.
        :raises DatabaseUnavailable: when the connection was lost, and whether the signal was sent is not known; or when
            the database can't be reached, and it was not. Its message says which.
        """
        with using(self._encryption):
            given = signal_of(target, name, payload, origin=self._origin) | {"channel": self._channel}
            work = asyncio.create_task(self._send(given), name="oban_sqla signal")
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        return await asyncio.shield(work)

    async def stop(self) -> None:
        """End when all that was asked for is sent."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _send(self, given: dict[str, Any]) -> bool:
        try:
            rows = await self._lane.run_unshielded(send, **given)
            if rows and not rows[0][1]:
                rows = await self._lane.run_unshielded(send, **sealed_for(rows[0][0], given))
        except StatementFailed as error:
            if error.unknown:
                self._sent(given["job_id"])
                raise DatabaseUnavailable(
                    f"the connection was lost; whether the signal was sent is not known ({error})"
                ) from error
            if not error.sent:
                raise DatabaseUnavailable(
                    f"the database can't be reached, the signal was not sent ({error})"
                ) from error
            raise ObanError(f"the database refused the signal, it was not sent: {error}") from error
        if not rows:
            return False
        self._sent(given["job_id"])
        report_signal(given)
        return True
