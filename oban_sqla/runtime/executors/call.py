"""A run of a job as a value: what to call, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from ...models import Job
from ...workers.entity import Key, keys_in, with_instances
from ...workers.outcomes import outcome_in
from ...workers.registry import workers
from ...workers.worker import Worker
from ..acks import Ack
from ..row import Row

NOTHING: Mapping[str, Any] = MappingProxyType({})
ENDS_PROCESS = (KeyboardInterrupt,)
"""What no executor turns into a result: it is not the job's failure, and passes. In coroutines see `passes`, too."""


class Call:
    """One call of a worker for one job.

    It can be pickled, as plain values and JSON text: the row as it was fetched, without `injected`. The other process
    finds the worker by its name among those that it has registered, and fills in what the function asks for.

    :param worker: what to call.
    :param row: the job as it was fetched; its args are JSON text.
    :param injected: by parameter, what `asked` names.
    """

    __slots__ = ("_arguments", "injected", "row", "worker")

    def __init__(self, worker: Worker, row: Row, injected: Mapping[str, object] = NOTHING) -> None:
        self.worker = worker
        self.row = row
        self.injected = injected
        self._arguments: dict[str, Any] | None = None

    @property
    def asked(self) -> Mapping[str, Any]:
        """What the function asks for beside its args and its job, by parameter: to be filled in before it begins."""
        return self.asked_by(self.worker)

    @staticmethod
    def asked_by(worker: Worker) -> Mapping[str, Any]:
        """What the calls of `worker` ask for."""
        arguments = worker.arguments
        if arguments is None or not arguments.injected:
            return NOTHING
        return {name: kind for name, kind in arguments.injected.items() if kind is not Job}

    def read(self, given: Sequence[object]) -> list[Key]:
        """Read the args ahead of the call.

        :param given: the instances that a test hands to its job.
        :returns: the keys of the instances that are to be loaded, and given to :meth:`fill_in`.
        :raises InvalidArgs: when the args don't fit the function's parameters.
        """
        self._arguments = self.worker.load(self.row.args, given)
        return [key for name in self.worker.entities for key in keys_in(self._arguments.get(name))]

    def fill_in(self, found: Mapping[int, Any]) -> None:
        """Put instances in the places of their keys.

        :param found: the instances, by the identity of the key's object.
        """
        arguments = self._arguments or {}
        for name in self.worker.entities:
            if name in arguments:
                arguments[name] = with_instances(arguments[name], found)

    def begin(self) -> Any:
        """Call the worker's function, or the ``process`` of a class.

        :returns: its value; of a coroutine function, the coroutine.
        :raises InvalidArgs: when the args don't fit the function's parameters.
        """
        worker, row = self.worker, self.row
        if worker.arguments is None:
            return worker.target().process(row.job)
        arguments = worker.load(row.args) if self._arguments is None else self._arguments
        for name, kind in worker.arguments.injected.items():
            arguments[name] = row.job if kind is Job else self.injected[name]
        return worker.target(**arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return _of, (self.row,)


def _of(row: Row) -> Call:
    return Call(workers[row.worker], row)


@dataclass(slots=True)
class Returned:
    """The call returned this value, an :class:`Outcome` or any other."""

    value: Any


@dataclass(slots=True)
class Raised:
    """The call raised this error, or could not begin because of it.

    :param error: a group that holds only outcomes becomes the first of them.
    :param is_given: whether the function has returned it for this job, of several that ran in the call.
    """

    error: BaseException
    is_given: bool = False

    def __post_init__(self) -> None:
        self.error = outcome_in(self.error) or self.error


@dataclass(slots=True)
class Judged:
    """The call ran in another process, which has judged it there, where the error itself is.

    :param ack: what is to be written; None when another run has the job.
    :param error: what the verdict was found on.
    :param committed: whether the job's own transaction has written the ack.
    """

    ack: Ack | None
    error: BaseException | None
    committed: bool


Result: TypeAlias = Returned | Raised
