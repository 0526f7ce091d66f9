"""Cron entries: which job becomes due when, again and again.

Entries are rows of ``oban_crons``: those in the code (``@job(cron=…)``, ``Oban(crontab=…)``) are written there when a
node starts, others by :attr:`Oban.crons` at run time. The job of an entry is kept as JSON, and every tick makes a new
spec of it. (The crontab and the notes in meta are Oban's, the editing at run time is Oban Pro's DynamicCron.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from ..errors import InvalidArgs, InvalidOption, KeyMissing
from ..models import JobSpec
from ..models.checks import check_name
from ..models.kind import OPTIONS
from ..models.spec import WorkerLike
from ..options.schedule import schedule
from ..options.spelling import spelled
from ..options.unique import Unique
from ..types import worker_name_of
from .sealing import opened_value, sealed_args


@spelled
@dataclass(frozen=True, slots=True)
class Cron:
    """One entry of a crontab: ``Cron("0 9 * * MON-FRI", report.new(), timezone="Europe/Paris")``.

    :param expression: five fields (minute, hour, day of the month, month, day of the week), each ``*``, a number, a
        range ``a-b``, a step ``*/n``, or a list of these; months and weekdays also by name (``JAN``, ``MON-FRI``). Or
        ``@hourly``, ``@daily``, ``@midnight``, ``@weekly``, ``@monthly``, ``@yearly``, ``@annually``; or ``@reboot``:
        due when a node becomes leader that was started after the entry last ran. As in crontab(5), a day matches if
        either its number or its weekday does, if both are given; Oban requires both.
    :param spec: the job: a spec, or a worker that needs no arguments. Each tick enqueues a copy; its ``schedule_in``
        counts from the tick. Omitted in ``@job(cron=Cron(…))``.
    :param timezone: the time zone of the expression, an IANA name. Default ``"UTC"``.
    :param name: the name of the entry, unique in the cluster. Default: the worker's name.
    :param paused: whether the entry is paused when it is first written. Later :meth:`Crons.pause` and
        :meth:`Crons.resume` decide. Default False.
    :param catch_up: run the last tick that was missed while no node was running; one, however many were missed. Default
        False: a tick that is more than a minute late is missed.
    :raises InvalidOption: for an expression or a time zone that is not valid, or a job that can't be copied.
    """

    expression: str
    spec: JobSpec | WorkerLike | None = None
    timezone: str = "UTC"
    name: str | None = None
    paused: bool = False
    catch_up: bool = False

    def __post_init__(self) -> None:
        schedule(self.expression, self.timezone)
        if self.name is not None and (not isinstance(self.name, str) or not self.name.strip()):
            raise InvalidOption(f"Cron: name must be a string, got {self.name!r}")
        if self.name is not None:
            check_name("Cron: name", self.name)
        for option in ("paused", "catch_up"):
            if not isinstance(getattr(self, option), bool):
                raise InvalidOption(f"Cron: {option} must be True or False, got {getattr(self, option)!r}")
        if self.spec is not None:
            packed(self.spec)

    @classmethod
    def of_worker(cls, given: str | Cron, worker: WorkerLike) -> Cron:
        """The entry of ``@job(cron=given)``.

        :param given: an expression, or an entry without a job.
        :param worker: the worker that is decorated; it becomes the job.
        :raises InvalidOption: if the worker has required arguments, or `given` has a job already.
        """
        if not isinstance(given, str | Cron):
            raise InvalidOption(f"worker {worker.worker_name!r}: cron must be an expression or Cron(…), got {given!r}")
        cron = cls(given) if isinstance(given, str) else given
        if cron.spec is not None:
            raise InvalidOption(
                f"worker {worker.worker_name!r}: @job(cron=Cron(…)) takes no spec, the job is the worker's own; "
                "give entries with arguments in Oban(crontab=[…])"
            )
        return cls(cron.expression, worker, cron.timezone, cron.name, cron.paused, cron.catch_up)

    @property
    def key(self) -> str:
        """The name under which the entry is stored.

        :raises InvalidOption: for an entry without a job.
        """
        if self.spec is None:
            raise InvalidOption(f"Cron({self.expression!r}): it has no job; give one: Cron(expression, worker.new(…))")
        return self.name or (self.spec.worker if isinstance(self.spec, JobSpec) else self.spec.worker_name)

    def row(self) -> dict[str, Any]:
        """The entry as ``oban_crons`` holds it, the spec as JSON text.

        :raises InvalidOption: for an entry without a job.
        """
        return {
            "name": self.key,
            "expression": self.expression.strip(),
            "timezone": self.timezone,
            "spec": packed(cast(JobSpec | WorkerLike, self.spec), sealed_args),
            "paused": self.paused,
            "catch_up": self.catch_up,
        }


def packed(job: JobSpec | WorkerLike, stored_args: Callable[[str, str], str] = lambda worker, args: args) -> str:
    """`job` as JSON text, from which :func:`copied` makes specs.

    :param stored_args: makes of a worker's args those that are stored. Default: they are the same.
    :raises InvalidOption: for what is not a job, a worker with required arguments, or a spec that means one instant.
    """
    spec = job if isinstance(job, JobSpec) else _spec_of(job)
    if spec.waits:
        raise InvalidOption(
            f"a cron entry of {spec.worker!r}: later(…) and instances of mapped classes can't be used, because there "
            "is no flush; give the value, or the key"
        )
    if spec.scheduled_at is not None:
        raise InvalidOption(
            f"a cron entry of {spec.worker!r}: scheduled_at is one instant, but an entry has many; "
            "remove it, or use schedule_in"
        )
    kept = {name: (option, getattr(spec, option.attribute)) for name, option in OPTIONS.items()}
    stored = {name: option.value(value) for name, (option, value) in kept.items() if value is not None}
    return json.dumps({"worker": spec.worker, "args": json.loads(stored_args(spec.worker, spec.args_json)), **stored})


def copied(stored: Mapping[str, Any], notes: Mapping[str, Any], at: datetime | None = None) -> JobSpec:
    """A new spec of what :func:`packed` stored, with `notes` in its meta.

    :param at: the tick; None for now.
    :raises InvalidOption: when it is not what `packed` stores, because another program wrote it.
    """
    try:
        options = dict(stored)
        worker, args, delay = options.pop("worker"), options.pop("args", {}), options.pop("schedule_in", None)
        args = opened_value(worker, args)  # for a token of the present keys
        options["meta"] = {**options.get("meta", {}), **notes}
        if (unique := options.get("unique")) is not None:
            options["unique"] = Unique(**unique)
        if unique is not None and options["unique"].delay is not None:
            pass  # each tick is a call, from which on it counts
        elif at is not None:
            options["scheduled_at"] = at + timedelta(seconds=delay or 0.0)
        elif delay is not None:
            options["schedule_in"] = delay
        return JobSpec(worker, args, **options)
    except KeyMissing as error:
        raise InvalidOption(f"the arguments of a cron entry are encrypted: {error}") from error
    except (TypeError, KeyError, ValueError) as error:
        names = ", ".join(sorted(map(str, stored))) if isinstance(cast(object, stored), Mapping) else "not an object"
        raise InvalidOption(
            f"the job of a cron entry can't be read ({type(error).__name__}; its options: {names}); "
            "another program wrote it, or a newer version of this one"
        ) from error


def notes(name: str, expression: str, timezone: str, tick: datetime | None = None) -> dict[str, Any]:
    """What the meta of an entry's job says about where it comes from; the names are Oban's."""
    told = {"cron": True, "cron_name": name, "cron_expr": expression, "cron_tz": timezone}
    return told if tick is None else told | {"cron_at": tick.isoformat()}


def by_name(decorated: Iterable[Cron], crontab: Iterable[Cron]) -> dict[str, Cron]:
    """The entries of the code by name; what the crontab says counts over a worker's own.

    :raises InvalidOption: for two entries of the crontab with one name.
    """
    listed: dict[str, Cron] = {}
    for cron in crontab:
        if cron.key in listed:
            raise InvalidOption(
                f"crontab: two entries are named {cron.key!r} ({listed[cron.key].expression!r} and "
                f"{cron.expression!r}); give one of them another name="
            )
        listed[cron.key] = cron
    return {cron.key: cron for cron in decorated} | listed


def _spec_of(worker: object) -> JobSpec:
    name = worker_name_of(worker)
    if name is None:
        raise InvalidOption(f"Cron: expected a spec (worker.new(…)) or a worker, got {worker!r}")
    try:
        return JobSpec(cast(WorkerLike, worker))
    except InvalidArgs as error:
        raise InvalidOption(
            f"cron: {name!r} needs arguments, and a cron entry has none: {error}; "
            "give the parameters defaults, or the entry a job: Oban(crontab=[Cron(expression, worker.new(…))]), or "
            "oban.crons.put(name, expression, worker.new(…))"
        ) from error
