"""The job to be: what is added to a session, and becomes a row at the flush."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Never, Protocol, cast

from sqlalchemy import event
from sqlalchemy.orm import ClassManager, InstanceState, Mapper, class_mapper

from ..errors import InvalidArgs, InvalidOption, refuse_unknown
from ..options.duration import seconds
from ..options.later import filled, has_later
from ..options.payload import MAX_BYTES, encode
from ..options.unique import Unique
from ..types import JobState
from .base import ObanBase
from .job import jobs

OPTIONS = ("queue", "priority", "max_attempts", "tags", "meta", "scheduled_at", "schedule_in", "unique")

MAX_NAME = 255


class WorkerLike(Protocol):
    """What a spec needs of a worker."""

    @property
    def worker_name(self) -> str: ...

    @property
    def spec_defaults(self) -> Mapping[str, Any]:
        """Checked options that a spec of this worker has unless it says otherwise."""
        ...

    def checked_args(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """`args` as they are stored, after a check against the worker's parameters."""
        ...

    def check_known(self, args: Mapping[str, Any]) -> None:
        """Check as much of `args` as can be while `later` stands in them."""
        ...


class _MadeLate:
    """The state that a session needs of an object, made when it first asks: it costs nothing to specs that `enqueue`
    writes. Once made it stands in the object's own dict, which goes before this."""

    def __get__(self, spec: JobSpec | None, owner: type[JobSpec]) -> InstanceState[JobSpec]:
        if spec is None:
            raise AttributeError(f"the class {owner.__name__} has no state, its objects have")
        state = vars(spec)["_sa_instance_state"] = InstanceState(spec, _manager())
        return state


class JobSpec(ObanBase):
    """A job to enqueue. Add it to a session like any other object; the flush writes it.

    ::

        session.add(JobSpec("app.mail.send_welcome", {"user_id": 7}, queue="mail"))

    :param worker: the worker, or its name. A worker has its own defaults for the options, and validates the args.
    :param args: a dict that JSON can represent, at most :attr:`max_args_bytes` long. Default: empty.
    :param queue: the name of its queue. Default ``"default"``.
    :param priority: 0 (first) to 9 (last). Default 0.
    :param max_attempts: how often it may run before it is discarded, 1 to 32,767. Default 20.
    :param tags: strings for finding it by. Default: none.
    :param meta: a dict that is stored with the job, beside its args; the runtime adds its own keys. Default: empty.
    :param scheduled_at: an aware datetime before which it does not run. Default: none.
    :param schedule_in: the same as seconds or a timedelta from the flush on, by the database's clock. Default: none.
    :param unique: which jobs are duplicates, a :class:`Unique`. Default: none are.
    :raises InvalidOption: for a value out of range, or a misspelt option.
    :raises InvalidArgs: for args or meta that JSON can't represent; the message names the path.

    After the flush, and after the commit without a refresh, :attr:`id`, :attr:`state` and :attr:`conflict` are filled
    in, and the spec belongs to no session: adding it again enqueues another job. A spec is not a row: `merge` and
    relationships refuse it; use :class:`Job` there.
    """

    __abstract__ = True  # for declarative: it is mapped below, in its own way

    _sa_instance_state = _MadeLate()

    max_args_bytes: ClassVar[int] = MAX_BYTES
    """The maximum size of the args, in bytes of JSON. Set it on the class to change it for the process."""

    worker: str
    queue: str
    priority: int
    max_attempts: int
    tags: tuple[str, ...]
    scheduled_at: datetime | None
    schedule_in: float | None
    unique: Unique | None
    meta_json: str
    args_json: str
    state: JobState | str | None
    conflict: bool
    # Only a spec with `later` in its args has its own.
    _being_flushed: bool = False
    _unfilled: Mapping[str, Any] | None = None

    def __init__(
        self,
        worker: str | WorkerLike,
        args: Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        priority: int | None = None,
        max_attempts: int | None = None,
        tags: Sequence[str] | None = None,
        meta: Mapping[str, Any] | None = None,
        scheduled_at: datetime | None = None,
        schedule_in: float | timedelta | None = None,
        unique: Unique | None = None,
        **unknown: Never,
    ) -> None:
        if unknown:
            refuse_unknown(unknown, OPTIONS, "JobSpec")
        if isinstance(worker, str):
            self.worker = check_name("worker", worker)
            self._worker: WorkerLike | None = None
            base = DEFAULTS
        elif isinstance(name := getattr(worker, "worker_name", None), str):
            self.worker = name
            self._worker = worker
            base = {**DEFAULTS, **worker.spec_defaults}
        else:
            raise InvalidOption(f"worker: expected a worker or its name, got {worker!r}")
        # One by one: this is done for every job, and a dict of options costs as much again.
        self.queue = base["queue"] if queue is None else check_name("queue", queue)
        self.priority = base["priority"] if priority is None else _check_priority("priority", priority)
        self.max_attempts = (
            base["max_attempts"] if max_attempts is None else _check_max_attempts("max_attempts", max_attempts)
        )
        self.tags = base["tags"] if tags is None else check_names("tags", tags)
        self.meta_json = base["meta_json"] if meta is None else _check_meta("meta", meta)
        self.unique = base["unique"] if unique is None else _check_unique("unique", unique)
        if scheduled_at is None and schedule_in is None:
            self.scheduled_at, self.schedule_in = base["scheduled_at"], base["schedule_in"]
        else:  # replaces that of the worker, whichever of the two it has
            times = {"scheduled_at": scheduled_at, "schedule_in": schedule_in}
            due = checked_options({name: value for name, value in times.items() if value is not None})
            self.scheduled_at, self.schedule_in = due.get("scheduled_at"), due.get("schedule_in")
        # What the flush fills in, too: an attribute that comes late costs each spec a dict with keys of its own.
        self.state = None
        self.conflict = False
        self._id: int | None = None
        self._args: Mapping[str, Any] = {} if args is None else args
        self.args_json = ""
        try:
            self._store(self._args)
        except Exception:
            # A placeholder is the one value that may be refused here, by whatever a validator of the user's makes of
            # it. Looked for only now, because few specs have one.
            if not has_later(args):
                raise
            self._args = self._unfilled = cast(Mapping[str, Any], args)
            if self._worker is not None:
                self._worker.check_known(self._args)

    def _store(self, args: Mapping[str, Any]) -> None:
        self._args = args if self._worker is None else self._worker.checked_args(args)
        self.args_json = encode(self._args, "args", self.max_args_bytes)

    @property
    def args(self) -> Mapping[str, Any]:
        """The arguments as they will be stored; read-only."""
        return MappingProxyType(cast(dict[str, Any], self._args))

    @property
    def meta(self) -> dict[str, Any]:
        """A copy of the meta as it will be stored."""
        return cast(dict[str, Any], json.loads(self.meta_json))

    @property
    def id(self) -> int | None:
        """The id of the job; None before the flush. For a duplicate, the id of the job that was there."""
        if self._being_flushed:
            raise InvalidArgs(
                f"later: the job {self.worker!r} of the same flush has no id yet; "
                "flush the session before you add the job that refers to it"
            )
        return self._id

    @property
    def met_session(self) -> bool:
        """Whether it was ever added to a session, or asked for its mapper's sake."""
        return "_sa_instance_state" in self.__dict__

    @property
    def waits(self) -> bool:
        """Whether some of its arguments are filled in at the flush."""
        return self._unfilled is not None

    def fill(self) -> None:
        """Call the functions of :func:`later`, and check what they return. The next flush of this spec asks again."""
        if self._unfilled is not None:
            self._store(filled(self._unfilled))

    def without_id(self, without: bool) -> None:
        """For the flush: while it is under way and the job has no row yet, reading :attr:`id` raises.

        :param without: whether the job has no id yet.
        """
        self._being_flushed = without

    def written(self, id: int | None, state: str, conflict: bool) -> None:
        """For the flush: fill in the results.

        :param id: the id of the job; for a duplicate, that of the existing job.
        :param state: its state.
        :param conflict: whether it is a duplicate.
        """
        self._id = id
        self.conflict = conflict
        self.state = _STATES.get(state, state)

    def __repr__(self) -> str:
        return f"<JobSpec worker={self.worker!r} queue={self.queue!r} id={self._id}>"


DEFAULTS: Mapping[str, Any] = {
    "queue": "default",
    "priority": 0,
    "max_attempts": 20,
    "tags": (),
    "meta_json": "{}",
    "scheduled_at": None,
    "schedule_in": None,
    "unique": None,
}
_STATES: dict[str, JobState] = {state.value: state for state in JobState}


def checked_options(given: Mapping[str, Any], what: str = "JobSpec") -> dict[str, Any]:
    """`given` options of a spec, each checked, under the name and in the form in which a spec keeps it.

    :raises InvalidOption: naming the option, what was given and what is expected.
    """
    options: dict[str, Any] = {}
    for name, value in given.items():
        options[name] = _CHECKS[name](name, value)
    if options.get("scheduled_at") is not None and options.get("schedule_in") is not None:
        raise InvalidOption(f"{what}: both scheduled_at and schedule_in were given; choose one")
    if "meta" in options:
        options["meta_json"] = options.pop("meta")
    return options


def check_name(name: str, value: object) -> str:
    """`value` as a name that PostgreSQL can store.

    :param name: of the option, for the message.
    :raises InvalidOption: when it is blank, too long or no text.
    """
    if type(value) is str and value in _GOOD_NAMES:  # the same few again and again
        return value
    if not isinstance(value, str) or not value.strip():
        raise InvalidOption(f"{name}: expected a name, got {value!r}")
    if len(value) > MAX_NAME:
        raise InvalidOption(f"{name}: at most {MAX_NAME} characters, got {len(value):,}: {value[:40]!r}…")
    if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidOption(f"{name}: a NUL or a lone surrogate, which PostgreSQL can't store as text, in {value!r}")
    if len(_GOOD_NAMES) < 1_000:
        _GOOD_NAMES.add(value)
    return value


_GOOD_NAMES: set[str] = set()


def _integer(least: int, most: int, meaning: str) -> Callable[[str, object], int]:
    def check(name: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidOption(f"{name}: expected {least} to {most:,} ({meaning}), got {value!r}")
        return value

    return check


def check_names(name: str, value: object) -> tuple[str, ...]:
    """`value` as a sequence of names; see :func:`check_name`."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidOption(f"{name}: expected a sequence of strings, got {value!r}")
    return tuple(check_name(f"one of {name}", item) for item in cast(Sequence[object], value))


def _check_meta(name: str, value: Mapping[str, Any]) -> str:
    return encode(value, name)


def _check_time(name: str, value: object) -> datetime:
    if not isinstance(value, datetime):
        raise InvalidOption(f"{name}: expected an aware datetime, got {value!r}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidOption(
            f"{name}: {value.isoformat()} has no time zone, so it names no instant; "
            "give an aware datetime, such as datetime.now(timezone.utc) + timedelta(hours=1)"
        )
    return value


def _check_delay(name: str, value: object) -> float:
    return seconds(value, name)


def _check_unique(name: str, value: object) -> Unique:
    if not isinstance(value, Unique):
        raise InvalidOption(f"{name}: expected Unique(…), got {value!r}")
    return value


_check_priority = _integer(0, 9, "0 runs first")
_check_max_attempts = _integer(1, 32_767, "how often the job may run")

_CHECKS: Mapping[str, Callable[[str, Any], object]] = {
    "queue": check_name,
    "priority": _check_priority,
    "max_attempts": _check_max_attempts,
    "tags": check_names,
    "meta": _check_meta,
    "scheduled_at": _check_time,
    "schedule_in": _check_delay,
    "unique": _check_unique,
}

# Mapped so that a session takes it, but by its primary key alone: everything else is plain attributes, which cost a
# third of what mapped ones do. The flush hook takes specs out before the mapper would write them. The mapper's wrapper
# around __init__ is taken off again: what it sets up, `_MadeLate` sets up for those that need it.
_init = JobSpec.__init__
ObanBase.registry.map_imperatively(JobSpec, jobs, include_properties=["id"], properties={"_row_id": jobs.c.id})
JobSpec.__init__ = _init  # type: ignore[method-assign]


@cache
def _manager() -> ClassManager[JobSpec]:
    return class_mapper(JobSpec).class_manager  # configures the mappers, once


@event.listens_for(Mapper, "mapper_configured")
def _refuse_relationships(mapper: Mapper[Any], class_: type[Any]) -> None:
    for prop in mapper.relationships:
        if prop.mapper.class_ is JobSpec:
            raise InvalidOption(
                f"{class_.__name__}.{prop.key}: a relationship to JobSpec, which is no row; relate to Job instead"
            )
