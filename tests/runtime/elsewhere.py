"""An executor that runs calls in another process, with the workers that both processes import."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from typing import Any

from oban_sqla import Cancel, Job, Record, Snooze, job, worker
from oban_sqla.runtime.executors.call import Call, Raised, Result, Returned
from oban_sqla.runtime.executors.executor import Timer
from oban_sqla.runtime.executors.loop import OnLoop


@job(name="elsewhere.describe")
def describe(job: Job, day: date, names: list[str]) -> Record:
    return Record({"pid": os.getpid(), "job": [job.id, job.args, job.attempt], "day": str(day), "names": names})


@job(name="elsewhere.on_a_loop")
async def on_a_loop(number: int) -> Record:
    await asyncio.sleep(0)
    return Record([os.getpid(), number])


@worker(name="elsewhere.Report")
class Report:
    def process(self, job: Job) -> Record:
        return Record([os.getpid(), job.args])


@job(name="elsewhere.decide")
def decide(how: str) -> Any:
    match how:
        case "snooze":
            return Snooze(3600)
        case "cancel":
            raise Cancel("not needed any more")
        case "fail":
            raise ValueError("no luck")
        case _:
            return how


@job(name="elsewhere.take_long", timeout=0.05)
def take_long() -> None:
    time.sleep(0.2)


class Elsewhere:
    """Sends each call as a pickle to a spawned process, which answers with JSON.

    :ivar sent: the pickles.
    """

    interruptible = False

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self.sent: list[bytes] = []

    async def run(self, call: Call) -> Result:
        self.sent.append(pickle.dumps(call))
        answer = await asyncio.get_running_loop().run_in_executor(self._pool, perform, self.sent[-1])
        match json.loads(answer):
            case {"snoozed": seconds}:
                return Returned(Snooze(seconds))
            case {"cancelled": reason}:
                return Raised(Cancel(reason))
            case {"recorded": value}:
                return Returned(Record(value))
            case {"failed": text}:
                return Raised(RuntimeError(text))
            case _:
                return Returned(None)

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, fn, *args)

    def close(self) -> None:
        self._pool.shutdown()


def perform(payload: bytes) -> str:
    """In the other process: run the call, and say what came of it."""
    result = asyncio.run(OnLoop().run(pickle.loads(payload)))
    match result.error if isinstance(result, Raised) else result.value:
        case Snooze() as snooze:
            return json.dumps({"snoozed": snooze.seconds})
        case Cancel() as cancel:
            return json.dumps({"cancelled": cancel.reason})
        case Record() as record:
            return json.dumps({"recorded": record.value})
        case BaseException() as error if isinstance(result, Raised):
            return json.dumps({"failed": f"{type(error).__name__}: {error}"})
        case _:
            return json.dumps({})
