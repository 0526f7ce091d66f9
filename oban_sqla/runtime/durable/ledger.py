"""What one run of a job knows of its steps, sleeps and waits.

All that is there is read with one statement when the job first asks, so that what is done costs a replay nothing.
Two runs of one job, of which one was taken for dead, both may come this far: of whatever they do, the first mark that
is committed counts, and the other run takes its value.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from ... import telemetry
from ...errors import InvalidOption, ObanError, SignalTimeout
from ...models.checks import check_name
from ...options.duration import seconds as in_seconds
from ...statements.steps import await_signal, fall_asleep, mark, steps_and_signal, steps_of
from ...telemetry import job_logger as logger
from ...workers.asleep import Asleep
from ...workers.outcomes import Outcome
from ...workers.sealing import opened_args, sealed
from ..executors.call import Raised, Result, Returned
from ..sessions import Sessions
from .call import StepCall
from .store import SIGNAL, STEP, TIMEOUT, WAIT, Entry, Store
from .ways import Blocking, Suspending, Way

if TYPE_CHECKING:
    from ..run import Run

FOREVER = 100 * 365 * 86_400.0
"""Seconds until a job is due that waits for a signal without a deadline."""
AT_ONCE = 0.05
"""A sleep of so many seconds is not worth a run."""
FIRST_LOOK, LONGEST_LOOK = 0.05, 1.0
"""Seconds between two looks for a signal that is waited for with the slot in hand."""
BEFORE_TIMEOUT = 0.5
"""Seconds before its timeout at which a run that waits goes to sleep."""
RESERVED = ("sleep:", "wait:")

_inside: ContextVar[str | None] = ContextVar("oban_sqla_step", default=None)
"""The name of the step in whose function this code runs."""


class Ledger:
    """The steps of the job of one run.

    :param run: the run.
    :param store: where they are kept.
    :param sessions: opens and commits the sessions of steps.
    """

    def __init__(self, run: Run, store: Store, sessions: Sessions) -> None:
        self._run = run
        self._sessions = sessions
        self.suspending: Way = Suspending(store, sessions.blocking)
        """The way of coroutines."""
        self.blocking: Way = Blocking(store)
        """The way of plain functions, of which several threads may be at once."""
        # What there was when it was first asked, and when that was, in monotonic seconds: written by _keep().
        self._entries: dict[str, Entry] | None = None
        self._read_at = 0.0
        # The names that this run has used, and how many sleeps and waits without one: written by _claim(),
        # _key() and wait_for().
        self._used: set[str] = set()
        self._count: Counter[str] = Counter()
        # How the run ends: written by _fall().
        self._asleep: Asleep | None = None
        # Whether the job's function has ended: written by end().
        self._has_ended = False

    def end(self, result: Result) -> Result:
        """The job's function has ended with `result`.

        :returns: how the run ends: asleep also where the function has caught that and has gone on to its end.
        """
        self._has_ended = True
        if self._asleep is None or not isinstance(result, Returned) or isinstance(result.value, Outcome):
            return result
        row = self._run.row
        logger.warning(
            "job %d: its code has caught what ends the run of a job that sleeps, and has returned; it sleeps all the "
            "same; catch Exception instead of BaseException, and let asyncio.gather() raise",
            row.id, extra=row.log_extra,
        )  # fmt: skip
        return Raised(self._asleep)

    async def step(
        self, way: Way, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """See :func:`oban_sqla.durable.step`."""
        check_name("step", name)
        if name.startswith(RESERVED):
            raise InvalidOption(f"step {name!r}: names that begin with {' or '.join(map(repr, RESERVED))} are not free")
        self._claim(name, f"the step {name!r}")
        call = StepCall(name, fn)
        if (outer := _inside.get()) is not None and call.session_kind is not None:
            raise ObanError(
                f"the step {name!r} asks for a session, inside of the step {outer!r}: its transaction could wait for "
                "that of the other one for ever; call one after the other"
            )
        done = (await self._known(way)).get(name)
        if done is None:
            done = await self._do(way, call, args, kwargs)
        return call.load(self._opened(done.value))

    async def sleep(self, way: Way, duration: object, name: str | None) -> None:
        """See :func:`oban_sqla.durable.sleep`."""
        duration = in_seconds(duration, "sleep")
        key = self._key("sleep", name)
        self._refuse_inside("sleep()")
        entry = (await self._known(way)).get(key)
        if entry is not None:
            rest = (entry.rest or 0.0) - (time.monotonic() - self._read_at)
        elif rows := await way.run(fall_asleep, job_id=self._id, name=key, seconds=duration, moment=None):
            rest = float(rows[0][0])
        else:
            rest = (await self._read_again(way))[key].rest or 0.0  # another run went to sleep here first
        if rest > AT_ONCE:
            self._fall(Asleep(rest))
        await way.pause(max(rest, 0.0))

    async def wait_for(self, way: Way, signal: str, timeout: object, live: object) -> Any:
        """See :func:`oban_sqla.durable.wait_for`."""
        check_name("wait_for", signal)
        deadline = None if timeout is None else in_seconds(timeout, "wait_for(timeout)")
        patience = in_seconds(live, "wait_for(live)")
        self._count[f"wait:{signal}"] += 1
        nth = self._count[f"wait:{signal}"]
        key = f"wait:{signal}:{nth}"
        self._claim(key, "wait_for()")
        self._refuse_inside("wait_for()")
        given = {"job_id": self._id, "name": key, "signal": signal, "nth": nth, "seconds": deadline, "moment": None}
        looked = await self._known_and_looked(way, given)
        entry = (await self._known(way)).get(key)
        if entry is None or entry.kind == WAIT:
            entry = await self._wait(way, given, patience, looked)
        if entry.kind == SIGNAL:
            value = self._opened(entry.value)
            return None if value is None else json.loads(value)
        assert entry.kind == TIMEOUT
        limit = "" if deadline is None else f" of {deadline:g} s"
        raise SignalTimeout(f"job {self._id}: no signal {signal!r} came before the deadline{limit} of its wait")

    async def _do(self, way: Way, call: StepCall, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Entry:
        inside = _inside.set(call.name)
        try:
            with telemetry.span("oban.step", **self._fields, step=call.name):
                if call.session_kind is None:
                    done = await way.whole(call, self._plain(way, call, args, kwargs))
                else:
                    done = await way.whole(call, self._in_transaction(way, call, call.session_kind, args, kwargs))
        finally:
            _inside.reset(inside)
        return done or (await self._read_again(way))[call.name]

    async def _plain(self, way: Way, call: StepCall, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Entry | None:
        """Call a function and mark its step; None when another run has marked it."""
        value = await way.call(call, call.bound(args, kwargs, self._run.job, None))
        text = sealed(self._run.row.worker, call.dump(value))
        won = await way.run(mark, job_id=self._id, name=call.name, value=text, moment=None)
        return Entry(STEP, text, None) if won else None

    async def _in_transaction(
        self, way: Way, call: StepCall, kind: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Entry | None:
        self._refuse_open_transaction(call)
        session = await way.open(self._sessions, kind)
        try:
            value = await way.call(call, call.bound(args, kwargs, self._run.job, session))
            text = sealed(self._run.row.worker, call.dump(value))
            given = {"job_id": self._id, "name": call.name, "value": text, "moment": None}

            def marks(connection: Connection) -> bool:
                return mark.execute(connection, **given).first() is not None

            won = await way.finish(self._sessions, session, marks)
        finally:
            await way.close(self._sessions, session)
        return Entry(STEP, text, None) if won else None

    async def _wait(self, way: Way, given: Mapping[str, Any], patience: float, looked: Entry | None) -> Entry:
        """Look for the signal until it is there, the deadline has passed, or the job goes to sleep.

        :param looked: what the first look has found, if there was one.
        """
        signal = given["signal"]
        ends = time.monotonic() + (patience if way.lives else 0.0)
        if (deadline_of_run := self._run.deadline) is not None:
            ends = min(ends, deadline_of_run - BEFORE_TIMEOUT)  # else a wait would time the job out
        look = FIRST_LOOK
        while True:
            if (entry := looked) is None:
                [row] = await way.run(await_signal, **given)
                entry = Entry(*row)
            looked = None
            if entry.kind != WAIT:
                telemetry.execute("oban.wait", **self._fields, signal=signal, outcome=entry.kind)
                return entry
            rest = FOREVER if entry.rest is None else entry.rest
            left = ends - time.monotonic()
            if left <= 0 and rest > AT_ONCE:
                self._fall(Asleep(rest, signal))
            await way.heard(self._id, max(min(look, max(left, AT_ONCE), rest), 0.001))
            look = min(look * 1.5, LONGEST_LOOK)

    @property
    def _fields(self) -> dict[str, Any]:
        """What each event of this job has."""
        row = self._run.row
        return {"job_id": row.id, "worker": row.worker, "queue": row.queue}

    @property
    def _id(self) -> int:
        return self._run.row.id

    def _opened(self, text: str | None) -> str | None:
        """A value as it was before it was encrypted. Where no key opens it, the job is given back."""
        return None if text is None else opened_args(self._run.row.worker, text)

    async def _known(self, way: Way) -> Mapping[str, Entry]:
        """What there was when the run first asked."""
        if self._entries is None:
            async with way.alone():
                if self._entries is None:
                    return await self._read_again(way)
        return self._entries

    async def _known_and_looked(self, way: Way, given: Mapping[str, Any]) -> Entry | None:
        """Read what there was and look for a signal at once, if the run asks for the first time.

        :returns: the wait as it is then; None when the run has asked before.
        """
        if self._entries is not None:
            return None
        async with way.alone():
            if self._entries is not None:
                return None
            *rows, row = sorted(await way.run(steps_and_signal, **given), key=lambda row: row[0] is None)
            self._keep(rows)
            return Entry(*row[1:])

    async def _read_again(self, way: Way) -> Mapping[str, Entry]:
        return self._keep(await way.run(steps_of, job_id=self._id, moment=None))

    def _keep(self, rows: Sequence[Any]) -> Mapping[str, Entry]:
        self._read_at = time.monotonic()
        self._entries = {name: Entry(kind, value, rest) for name, kind, value, rest in rows}
        return self._entries

    def _key(self, kind: str, name: str | None) -> str:
        if name is None:
            self._count[f"{kind}:"] += 1
            key = f"{kind}:{self._count[f'{kind}:']}"
        else:
            key = f"{kind}:{check_name(kind, name)}"
        self._claim(key, f"{kind}({'' if name is None else repr(name)})")
        return key

    def _claim(self, key: str, what: str) -> None:
        """Use a name, once in a run.

        :raises InvalidOption: when it was used before.
        """
        if self._has_ended:
            raise ObanError(f"job {self._id}: {what}: it was called after the end of its run; await it in the job")
        if self._asleep is not None:
            raise self._asleep  # the job has caught it, and goes on
        if key in self._used:
            raise InvalidOption(
                f"{what} was used before in this run, and would be given the value of the first one; "
                "give each its own name, and number those of a loop: f'page {n}'"
            )
        self._used.add(key)

    def _refuse_inside(self, what: str) -> None:
        if (outer := _inside.get()) is not None:
            raise ObanError(
                f"{what} inside of the step {outer!r}: nothing is kept of a step that has not ended, so it would begin "
                "anew each time; sleep and wait between steps"
            )

    def _refuse_open_transaction(self, call: StepCall) -> None:
        session = self._run.session
        if session is not None and self._sessions.is_in_transaction(session):
            raise ObanError(
                f"the step {call.name!r} asks for its own session while the job's session is in a transaction, "
                "for whose locks it could wait for ever; write in the job's session after its last such step, or do "
                "this part in a step, too"
            )

    def _fall(self, asleep: Asleep) -> None:
        telemetry.execute("oban.sleep", **self._fields, seconds=asleep.seconds, signal=asleep.signal)
        self._asleep = asleep
        raise asleep
