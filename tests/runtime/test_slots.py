"""Which of the jobs that want their slot again gets the next free one."""

from __future__ import annotations

import asyncio

from oban_sqla.runtime.slots import Slots


async def test_a_free_slot_goes_to_the_job_that_has_waited_longest_and_none_to_one_that_was_cancelled() -> None:
    limits, freed = [2], list[None]()
    slots = Slots(running=dict.fromkeys(range(6)), limit=lambda: limits[-1], freed=lambda: freed.append(None))
    for job_id in range(4):
        slots.leave(job_id)
    assert (slots.occupied, len(freed)) == (2, 4)
    waits = [asyncio.create_task(slots.back(job_id)) for job_id in range(4)]
    await asyncio.sleep(0)  # each has run up to its place in the queue
    waits[1].cancel()
    for limit, are_back in ((3, []), (4, [0]), (5, [0, 2]), (9, [0, 2, 3])):
        await asyncio.sleep(0)  # a job that was cancelled counts at once, whatever the limit
        limits.append(limit)
        slots.hand_on()
        assert slots.occupied == 3 + len(are_back)
        await asyncio.sleep(0)
        assert [at for at, wait in enumerate(waits) if wait.done() and not wait.cancelled()] == are_back
    assert not slots.out
