"""The crontab as people see it: its entries, the state of each, and when it is due."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from ..errors import InvalidOption, unknown
from ..models import CronEntry
from ..runtime.duties.scheduler import LIFETIME

CronState = Literal["active", "paused", "resting"]


@dataclass(frozen=True, slots=True)
class CronInfo:
    """An entry of the crontab.

    :ivar name: of the entry.
    :ivar expression: the times at which it is due.
    :ivar timezone: the time zone of these times.
    :ivar worker: the name of its worker; None when another program has left that out.
    :ivar spec: its job, as it is stored.
    :ivar state: ``"active"``; ``"paused"``; or ``"resting"``, which is inactive because no running node has it in its
        code any more.
    :ivar paused: whether it was paused.
    :ivar catch_up: whether the last missed time is made up for.
    :ivar in_code: whether it comes from the code of a node.
    :ivar last_tick: the planned time of the last job that it made.
    :ivar next_tick: when it is due next; None when it is not active, for ``@reboot``, and for an invalid expression.
    """

    name: str
    expression: str
    timezone: str
    worker: object
    spec: Any
    state: CronState
    paused: bool
    catch_up: bool
    in_code: bool
    last_tick: datetime | None
    next_tick: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The entry as a dict."""
        return asdict(self)


def describe(entry: CronEntry, now: datetime) -> CronInfo:
    """Describe `entry` at the aware datetime `now`."""
    state = _state(entry, now)
    spec: object = entry.spec
    return CronInfo(
        name=entry.name,
        expression=entry.expression,
        timezone=entry.timezone,
        worker=cast(dict[str, object], spec).get("worker") if isinstance(spec, dict) else None,
        spec=spec,
        state=state,
        paused=entry.paused,
        catch_up=entry.catch_up,
        in_code=entry.declared_at is not None,
        last_tick=entry.last_tick,
        next_tick=_next(entry, now) if state == "active" else None,
    )


def ticks(entry: CronEntry, after: datetime, count: int) -> list[datetime]:
    """The next times at which `entry` is due, at most `count`, whatever its state; none for ``@reboot``.

    :raises InvalidOption: for an expression that can't be read.
    """
    times: list[datetime] = []
    tick = entry.next(after)
    while tick is not None and len(times) < count:
        times.append(tick)
        tick = entry.next(tick)
    return times


def find(entries: Iterable[CronEntry], name: str) -> CronEntry:
    """The entry of that name.

    :raises InvalidOption: when there is none, with the nearest name.
    """
    by_name = {entry.name: entry for entry in entries}
    if name not in by_name:
        raise unknown("cron entry", name, by_name)
    return by_name[name]


def _state(entry: CronEntry, now: datetime) -> CronState:
    if entry.paused:
        return "paused"
    if entry.declared_at is not None and entry.declared_at < now - timedelta(seconds=LIFETIME):
        return "resting"
    return "active"


def _next(entry: CronEntry, now: datetime) -> datetime | None:
    try:
        return entry.next(now)
    except InvalidOption:  # another program wrote it
        return None
