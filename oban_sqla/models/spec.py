"""The job to be: what is added to a session, and becomes a row at the flush."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Protocol, Self, cast

from sqlalchemy.orm import Session
from typing_extensions import TypedDict, TypeVar, Unpack

from ..errors import InvalidArgs, InvalidOption
from ..options.foreign import OF_SPECS, answer_foreign
from ..options.instance import Refer, has_instance, referred, shown, state_of, told
from ..options.key_form import KeyForm
from ..options.later import filled, has_later, is_flat, kept
from ..options.payload import MAX_BYTES, encode
from ..options.reference import Path, Reference, references, without_references
from ..options.unique import Unique
from ..types import JobState, worker_name_of
from ._sqlalchemy import attributes_of, map_lightly, session_of
from .base import ObanBase
from .job import jobs
from .kind import FIELDS, NAMES, OPTIONS, Kind, kind_of, with_options
from .place import Place

V_co = TypeVar("V_co", covariant=True, default=Any)
"""What the job's function returns."""


class CommonOptions(TypedDict, total=False):
    """The options that a spec has, or a worker for all of its specs, as type checkers know them. What they mean, and
    every check, is in the columns of :class:`Job`; a test compares the two."""

    queue: str | None
    priority: int | None
    max_attempts: int | None
    tags: Sequence[str] | None
    meta: Mapping[str, Any] | None
    weight: int | None
    unique: Unique | None


class SpecOptions(CommonOptions, total=False):
    """The options of one spec; see :class:`JobSpec`."""

    scheduled_at: datetime | None
    schedule_in: float | timedelta | None
    deadline: float | timedelta | None


class WorkerLike(Protocol):
    """What a spec needs of a worker."""

    @property
    def worker_name(self) -> str: ...

    @property
    def spec_kind(self) -> Kind:
        """The worker's name, and the options that a spec has unless it says otherwise."""
        ...

    @property
    def entities(self) -> Collection[str]:
        """The parameters that take instances of mapped classes."""
        ...

    def checked_args(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """`args` as they are stored, after a check against the worker's parameters."""
        ...

    def check_known(self, args: Mapping[str, Any]) -> None:
        """Check as much of `args` as possible while they contain placeholders of `later`."""
        ...


class JobSpec(ObanBase, Generic[V_co]):
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
    :param weight: how many starts it counts as in the rate limits of its queue, 1 to 1,000,000; kept in its meta.
        Default 1.
    :param scheduled_at: an aware datetime before which it does not run. Default: none.
    :param schedule_in: the same as seconds or a timedelta from the flush on, by the database's clock. Default: none.
    :param deadline: seconds or a timedelta after its scheduled time: if it has not started by then it is cancelled;
        kept in its meta, as seconds. Default: the worker's.
    :param unique: which jobs are duplicates, a :class:`Unique`. Default: none are.
    :raises InvalidOption: for a value out of range, or a misspelt option.
    :raises InvalidArgs: for args or meta that JSON can't represent; the message names the path.

    After the flush, and after the commit without a refresh, :attr:`id`, :attr:`state` and :attr:`conflict` are filled
    in, and the spec belongs to no session: adding it again enqueues another job. A spec is not a row: `merge` and
    relationships refuse it; use :class:`Job` there.
    """

    __abstract__ = True  # for declarative: it is mapped below, in its own way

    max_args_bytes: ClassVar[int] = MAX_BYTES
    """The maximum size of the args, in bytes of JSON. Set it on the class to change it for the process."""

    # Kept in `kind`.
    worker: str
    queue: str
    meta_json: str
    tags: tuple[str, ...]
    priority: int
    max_attempts: int
    scheduled_at: datetime | None
    schedule_in: float | None
    unique: Unique | None

    kind: Kind
    """What it has in common with other jobs of its worker."""
    args_json: str
    state: JobState | str | None
    conflict: bool
    place: Place | None = None
    """Where it belongs, for the insertion; only a spec in a flow or a batch has its own."""
    # Only a spec with `later` in its args has its own.
    _being_flushed: bool = False
    _unfilled: Mapping[str, Any] | None = None
    has_keys: bool = False
    """Whether keys are stored of whatever instances are in its args: the template of jobs that are made later."""

    def __init__(
        self,
        worker: str | WorkerLike,
        args: Mapping[str, Any] | None = None,
        **options: Unpack[SpecOptions],
    ) -> None:
        if isinstance(worker, str):
            kind = kind_of(worker)
            self._worker: WorkerLike | None = None
        elif isinstance(getattr(worker, "spec_kind", None), tuple):
            kind = worker.spec_kind
            self._worker = worker
        else:
            worker_name_of(worker)  # which says more of a class that inherits from a worker
            raise InvalidOption(f"worker: expected a worker or its name, got {told(worker)}")
        self.kind = with_options(kind, options, "JobSpec") if options else kind
        if self._worker is not None and options.get("unique") is not None:
            of: Any = getattr(worker, "worker", worker)
            of.refuse_unique(self.kind)
        # What the flush fills in, too: an attribute that comes late costs each spec a dict with keys of its own.
        self.state = None
        self.conflict = False
        self._id: int | None = None
        self.args_json = ""
        args = {} if args is None else args
        # Before any validator sees a placeholder: one that accepts anything would make an argument of it.
        if args and not is_flat(args) and (has_later(args) or self._has_instance(args)):
            self._unfilled = cast(Mapping[str, Any], kept(args))
            if self._worker is not None:
                self._worker.check_known(self._unfilled)
        else:
            self._store(args)

    def _has_instance(self, args: Mapping[str, Any]) -> bool:
        """Whether an instance stands where the worker takes one: then the flush takes its key."""
        entities = () if self._worker is None else self._worker.entities
        return bool(entities) and isinstance(args, Mapping) and any(has_instance(args.get(name)) for name in entities)

    def _store(self, args: Mapping[str, Any]) -> None:
        checked = args if self._worker is None else self._worker.checked_args(args)
        # Text, and no reference to what was given: that may change before the flush.
        self.args_json = encode(checked, "args", self.max_args_bytes)

    @property
    def args(self) -> Mapping[str, Any]:
        """The arguments as they will be stored; read-only."""
        known = json.loads(self.args_json) if self.args_json else self._shown()
        return MappingProxyType(cast(dict[str, Any], known))

    def _shown(self) -> dict[str, Any]:
        known = dict(self._unfilled or {})
        for name in () if self._worker is None else self._worker.entities:
            if name in known:
                known[name] = _shown(known[name])
        return known

    @property
    def meta(self) -> dict[str, Any]:
        """A copy of the meta as it will be stored. Assign one to change it, before the flush, or in a handler of the
        event ``oban.engine.insert_jobs.start``: ``spec.meta = {**spec.meta, "request_id": "r-1"}``. What `deadline` and
        `weight` keep there stays, and a unique key has been made of the former meta by the time of the event.

        :raises InvalidArgs: for what is assigned and JSON can't represent.
        """
        return cast(dict[str, Any], json.loads(self.meta_json))

    @meta.setter
    def meta(self, meta: Mapping[str, Any]) -> None:
        self.kind = with_options(self.kind, {"meta": meta}, "spec.meta")

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
    def was_added(self) -> bool:
        """Whether it was added to a session, or written."""
        return self.session is not None or self.id is not None

    @property
    def session(self) -> Session | None:
        """The session to which it was added, and which has not written it yet."""
        return session_of(self)

    @property
    def waits(self) -> bool:
        """Whether some of its arguments are filled in at the flush."""
        return self._unfilled is not None

    @property
    def unfilled(self) -> Mapping[str, Any] | None:
        """The arguments, where some of them are filled in later; else None."""
        return self._unfilled

    @property
    def worker_object(self) -> WorkerLike | None:
        """The worker; None where only its name is known."""
        return self._worker

    def fill(self, refer: Refer) -> None:
        """Call the functions of :func:`later`, take the keys of instances, and check the result. The next flush of this
        spec asks again.

        :param refer: takes the key of an instance.
        """
        if self._unfilled is not None:
            for path, reference in references(self._unfilled):
                raise InvalidArgs(
                    f"args.{'.'.join(path)}: {reference!r} is known only in its workflow; add this job there: "
                    "flow.add(…)"
                )
            self.store(self.known(), refer)

    def known(self) -> Mapping[str, Any]:
        """The arguments with what the functions of :func:`later` return now."""
        return cast(Mapping[str, Any], filled(self._unfilled or {}))

    def store(self, args: Mapping[str, Any], refer: Refer) -> None:
        """Take `args` as the arguments.

        :param args: what :meth:`known` has returned.
        :param refer: takes the key of an instance.
        """
        entities = () if self._worker is None else self._worker.entities
        keys = {name: referred(args[name], refer, f"args.{name}") for name in entities if name in args}
        self._store({**args, **keys} if keys else args)

    def fill_in_flow(self, refer: Refer) -> list[tuple[Path, Reference]]:
        """As :meth:`fill`, for a job of a workflow: null is stored in the place of a result.

        :param refer: takes the key of an instance.
        :returns: the results among the arguments, each with its path there.
        """
        if self._unfilled is None:
            return []
        args = self.known()
        found = list(references(args))
        if not found:
            self.store(args, refer)
            return []
        plain: dict[str, Any] = without_references(args)
        for name in () if self._worker is None else self._worker.entities:
            if name in plain:
                plain[name] = referred(plain[name], refer, f"args.{name}")
        if self.has_keys:
            plain = referred(plain, partial(_stored, refer), "args")
        worker: Any = getattr(self._worker, "worker", self._worker)
        waiting = frozenset(path[0] for path, _ in found)
        checked = plain if worker is None else worker.checked_known(plain, waiting)
        self.args_json = encode(checked, "args", self.max_args_bytes)
        return found

    def without_id(self, without: bool) -> None:
        """For the flush: while it is under way and the job has no row yet, reading :attr:`id` raises.

        :param without: whether the job has no id yet.
        """
        self._being_flushed = without

    def written(self, id: int | None, state: str | bool, conflict: bool) -> None:
        """Take the results of the flush.

        :param id: the id of the job; for a duplicate, that of the existing job.
        :param state: its state; of a new job that belongs to no others, whether it waits for its time.
        :param conflict: whether it is a duplicate.
        """
        self._id = id
        self.conflict = conflict
        self.state = _STATES.get(state) or str(state)

    def forget(self) -> None:
        """The job was never written after all: its transaction was rolled back."""
        self._id = None
        self.state = None
        self.conflict = False

    def __copy__(self) -> Self:
        """Another job of the same kind, not enqueued yet."""
        copy = type(self)(self.worker)
        vars(copy).update(self._attributes(), state=None, conflict=False, _id=None)
        return copy

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self.__copy__()

    def __reduce__(self) -> tuple[type[Self], tuple[str], dict[str, Any]]:
        if self.waits:
            raise TypeError(f"{self!r} can't be pickled before the flush, which fills in some of its args; give keys")
        return type(self), (self.worker,), self._attributes()

    def _attributes(self) -> dict[str, Any]:
        # What a session knows of an object is of that object alone: shared, it would take two for one. So is its place
        # in a batch or flow. The worker is asked again only for what the flush fills in, and can't be pickled.
        attributes = attributes_of(self)
        attributes.pop("place", None)
        return attributes if self.waits else attributes | {"_worker": None}

    def __repr__(self) -> str:
        return f"<JobSpec worker={self.worker!r} queue={self.queue!r} id={self._id}>"


def _stored(refer: Refer, instance: Any, path: str) -> Any:
    return KeyForm(state_of(instance).mapper).write(refer(instance, path).key)


def _shown(value: object) -> Any:
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in cast(dict[object, object], value).items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in cast(list[object], value)]
    return shown(value) if has_instance(value) else value


_STATES: dict[str | bool, JobState] = {
    **{state.value: state for state in JobState}, False: JobState.AVAILABLE, True: JobState.SCHEDULED
}  # fmt: skip


def _in_kind(at: int, name: str) -> property:
    """The attribute that stands at this place of the spec's kind."""

    def write(spec: JobSpec, value: object) -> None:
        if (option := OPTIONS.get(name)) is not None:
            value = option.default if value is None else option.check(name, value)
        spec.kind = (*spec.kind[:at], value, *spec.kind[at + 1 :])

    return property(lambda spec: spec.kind[at], write, doc=f"The job's {name}, as it will be stored.")


for _at, _name in enumerate(FIELDS):
    setattr(JobSpec, _name, _in_kind(_at, _name))


def option_parameters() -> list[inspect.Parameter]:
    """The options of a spec as parameters, for readers: type checkers have :class:`SpecOptions`."""
    hints = SpecOptions.__annotations__
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints.get(name, Any))
        for name in NAMES
    ]


def _signature() -> inspect.Signature:
    given = inspect.signature(JobSpec.__init__)
    *positional, _ = given.parameters.values()
    return given.replace(parameters=[*positional, *option_parameters()])


# For inspect.signature and editors; a function takes any attribute, of which its type says nothing.
JobSpec.__init__.__signature__ = _signature()  # type: ignore[attr-defined]
answer_foreign(JobSpec, OF_SPECS)

# Mapped so that a session takes it, but by its primary key alone: everything else is plain attributes, which cost a
# third of what mapped ones do. The flush hook takes specs out before the mapper would write them.
map_lightly(ObanBase.registry, JobSpec, jobs, include_properties=["id"], properties={"_row_id": jobs.c.id})
