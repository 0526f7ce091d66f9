"""The facts about a job and the cluster around it, each read when it is first needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ...options.queue import Queue
from ...options.whole import whole_from
from ...runtime.config import Config
from ...statements.steps import rest_of
from ...statements.usage import ahead_in_key
from ...statements.why import crowd, edges_of, holder, probe, settings_of
from ...telemetry.gist import gist
from ..limits import effective, present_key
from ..queues import Member
from ..roster import Roster, read
from ..words import span

MOST = 10_000
"""How far jobs are counted."""


@dataclass(frozen=True, slots=True)
class Holder:
    """What has the job's row locked."""

    text: str
    advice: str


@dataclass
class Facts:
    """A job's row, and around it what matters in its state.

    :ivar job: what :data:`~oban_sqla.statements.why.row_of` says.
    """

    connection: Connection
    config: Config
    job: Any
    now: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.now = self.job.now

    @cached_property
    def roster(self) -> Roster:
        return read(self.connection, self.config.heartbeat)

    @cached_property
    def edges(self) -> Any:
        """What it waits for in its workflow: the names of what is `open`, how many are, how many `failed`, and `all`;
        None for a job that is in none."""
        if self.job.workflow_id is None:
            return None
        return edges_of.execute(self.connection, id=self.job.id).one()

    @cached_property
    def members(self) -> list[Member]:
        """The job's queue on each of the living nodes that work it."""
        return self.roster.of(self.job.queue)

    @cached_property
    def settings(self) -> list[Any]:
        """What was asked of the job's queue."""
        return list(settings_of.execute(self.connection, queue=self.job.queue))

    @cached_property
    def _crowd(self) -> dict[str, tuple[int, float | None]]:
        job = self.job
        first = datetime.min if job.scheduled_at is None else job.scheduled_at.replace(tzinfo=None)
        place = {"priority": job.priority, "scheduled_at": first, "id": job.id}
        rows = crowd.execute(self.connection, queue=job.queue, most=MOST + 1, **place)
        return {row.what: (row.jobs, row.oldest) for row in rows}

    @property
    def ahead(self) -> int:
        """How many available jobs of its queue come before it; at most one more than :data:`MOST`."""
        return self._crowd["ahead"][0]

    @cached_property
    def limits(self) -> Queue:
        """The limits of the job's queue across the cluster, as its living nodes obey them."""
        return effective(self.members)

    @cached_property
    def partition(self) -> tuple[tuple[str, ...], str | None]:
        """By what the job's queue is partitioned now, and the key of the job, if it has one."""
        if self.limits.partition is None:
            return (), None
        return present_key(self.connection, self.job.queue, self.job.partition_key)

    @property
    def ahead_in_key(self) -> int:
        """How many available jobs of its partition come before it; at most one more than :data:`MOST`."""
        job = self.job
        first = datetime.min if job.scheduled_at is None else job.scheduled_at.replace(tzinfo=None)
        place = {"priority": job.priority, "scheduled_at": first, "id": job.id, "key": self.partition[1]}
        return int(ahead_in_key.execute(self.connection, queue=job.queue, most=MOST + 1, **place).scalar_one())

    @cached_property
    def rest(self) -> tuple[str | None, datetime | None] | None:
        """For which signal the job sleeps (None: for none), and until when; None if it does not sleep."""
        row = rest_of.execute(self.connection, job_id=self.job.id, moment=None).first()
        if row is None:
            return None
        return (row.name.split(":", 1)[1].rpartition(":")[0] if row.kind == "wait" else None), row.until

    @property
    def executing(self) -> int:
        """How many jobs of its queue execute; at most one more than :data:`MOST`."""
        return self._crowd["executing"][0]

    @property
    def longest_run(self) -> float | None:
        """For how many seconds the oldest of them has been executing."""
        return self._crowd["executing"][1]

    @cached_property
    def holder(self) -> Holder | None:
        """What has the row locked, or is changing it; None when nothing has.

        Read from the row and ``pg_locks``. Only when these are not enough, the lock is tried, and rolled back.
        """
        if self.job.xid == "0":
            return None
        row = holder.execute(self.connection, xid=self.job.xid).first()
        if row is not None:
            return _holder(row)
        return Holder("several transactions, or one that this role can't see", _FIND) if self._is_locked() else None

    def _is_locked(self) -> bool:
        point = self.connection.begin_nested()
        try:
            return probe.execute(self.connection, id=self.job.id).first() is None
        except DBAPIError:  # a standby, or a role that may only read
            return False
        finally:
            point.rollback()

    def ago(self, moment: datetime | None) -> str:
        """How long ago by the database's clock, or ``at an unknown time``."""
        return "at an unknown time" if moment is None else f"{span(self.seconds(moment))} ago"

    def seconds(self, moment: datetime) -> float:
        """Seconds from `moment` to now."""
        return (self.now - moment).total_seconds()

    def until(self, moment: datetime) -> str:
        """``at 2026-01-01 12:00:00Z, in 5m``."""
        return f"at {moment:%Y-%m-%d %H:%M:%S}Z, in {span(-self.seconds(moment))}"


_FIND = "commit or roll it back; `SELECT pid, state, xact_start FROM pg_stat_activity` shows what is open"


def counted(number: int) -> str:
    """`number` as text; ``more than …`` where counting stopped."""
    return f"more than {MOST:,}" if number > MOST else f"{number:,}"


def whole(text: str | None) -> int:
    """A count in the meta of a job; 0 for what is not a count."""
    return whole_from(text) or 0


def error_gist(error: str | None) -> str:
    """What an error says in one line, shortened; blank without one."""
    return (gist(error) or "").strip()[:300]


def _holder(row: Any) -> Holder:
    if row.pid is None:
        name = f" {row.gid!r}" if row.gid else ""
        end = f"COMMIT PREPARED or ROLLBACK PREPARED{name}"
        return Holder(f"the prepared transaction{name}, which outlives its connection", end)
    application = f" ({row.application_name})" if row.application_name else ""
    state = f", {row.state}" if row.state else ""
    open_ = "" if row.open is None else f", open for {span(row.open)}"
    process = f"process {row.pid} of the server{application}{state}{open_}"
    return Holder(process, f"let that transaction end, or end it: SELECT pg_terminate_backend({row.pid})")
