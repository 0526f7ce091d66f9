"""The slot of a job while it waits for another one."""

from __future__ import annotations

from ..workers import context


class Slot:
    """The slot of the job that waits; outside of a job there is none, and nothing happens.

    :param is_mine: False for a wait that is a part of another one, which frees the slot. Default True.
    """

    def __init__(self, *, is_mine: bool = True) -> None:
        running = context.running.get(None) if is_mine else None
        self._slots = None if running is None else running.slots
        self._job_id = 0 if running is None else running.job.id
        self._is_left = False

    @property
    def is_held(self) -> bool:
        """Whether there is one that could be freed."""
        return self._slots is not None and not self._is_left

    def leave(self) -> None:
        """Free it, if that has not been done."""
        if self._slots is not None and not self._is_left:
            self._slots.leave(self._job_id)
            self._is_left = True

    async def back(self) -> None:
        """Take it again, as soon as there is one."""
        if self._slots is not None and self._is_left:
            self._is_left = False
            await self._slots.back(self._job_id)

    def close(self) -> None:
        """Take it at once, where the wait was cancelled."""
        if self._slots is not None and self._is_left:
            self._is_left = False
            self._slots.return_now(self._job_id)
