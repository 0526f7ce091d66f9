"""The nodes of a workflow: what a job, a map or a sub-flow is called in it, and what comes before it."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, cast

from typing_extensions import TypeVar

from ..errors import InvalidOption
from ..options.reference import Reference, part_of
from .spec import JobSpec

if TYPE_CHECKING:
    from .workflow import Workflow

R_co = TypeVar("R_co", covariant=True, default=Any)
T = TypeVar("T")

OnFailure = Literal["cancel", "ignore", "wait"]
ON_FAILURE: Mapping[str, str] = {"cancel": "c", "ignore": "i", "wait": "w"}


def checked_on_failure(value: object) -> str:
    """How an edge keeps it.

    :raises InvalidOption: for another word.
    """
    if value not in ON_FAILURE:
        raise InvalidOption(f'on_failure: expected "cancel", "ignore" or "wait", got {value!r}')
    return ON_FAILURE[cast(str, value)]


class Node(Generic[R_co]):
    """One job of a workflow, or a workflow inside it. What :meth:`Workflow.add` returns.

    :param flow: the workflow.
    :param name: its name in the workflow.
    :param spec: of its job; None for a workflow inside the workflow.
    :param sub: that workflow; None for a job.
    :param after: the nodes that it waits for.
    :param on_failure: what a failure of those means, in one letter.
    """

    is_fan_out = False
    """Whether it becomes several jobs when it runs."""
    template_spec: JobSpec | None = None
    """Of a map over a result: the spec that `make` has made of a reference to an element."""

    def __init__(
        self, flow: Any, name: str, *, spec: JobSpec | None, sub: Workflow | None, after: list[Node], on_failure: str
    ) -> None:
        self.flow = flow
        self.name = name
        self.spec = spec
        self.sub = sub
        self.after = dict.fromkeys(after)
        self.on_fail = on_failure
        self.is_recorded = False
        """Whether the value of its job is kept: written when it is asked for."""
        self._id: int | None = None

    @property
    def id(self) -> int | None:
        """The id of its job; None before the flush, and for a workflow inside the workflow."""
        return self._id if self.spec is None else self.spec.id

    @property
    def edge_id(self) -> int:
        """What an edge calls it: the id of its job, or minus the id of its flow."""
        if self.sub is not None:
            return -cast(int, self.sub.id)
        return cast(int, self.id)

    @property
    def result(self) -> R_co:
        """What its job will return, to be passed as an argument: ``fetch.new(url=user.result["homepage"])``.

        The job that takes it waits for this one. It can be indexed, its attributes can be read, and it can be passed
        on; anything else raises.
        """
        self.record()
        return cast(R_co, Reference(self))

    def record(self) -> None:
        """Keep the value of its job.

        :raises InvalidOption: for a workflow that returns nothing.
        """
        # No column of it is read here and below: it may be expired, and its session closed, after a commit.
        if self.sub is not None and self.sub.returned is None:
            raise InvalidOption(
                f"{self.name!r}: {self.sub!r} returns nothing; say which of its nodes it returns: sub.returns(node)"
            )
        self.is_recorded = True

    @property
    def result_type(self) -> Any:
        """What the job's function declares to return."""
        from .fit import UNKNOWN

        if self.sub is not None:
            return UNKNOWN if self.sub.returned is None else self.sub.returned.result_type
        worker = worker_of(self.spec)
        return UNKNOWN if worker is None else worker.result_type

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} id={self.id}>"


class Nodes(Node[R_co]):
    """One job per element of a list. What :meth:`Workflow.map` returns."""

    @property
    def results(self) -> R_co:
        """What its jobs will return, as a list in the order of the elements."""
        return self.result

    def record(self) -> None:
        self.is_recorded = True

    @property
    def result_type(self) -> Any:
        """What its jobs give together."""
        return list


class MapNode(Nodes[R_co]):
    """A map over a result: a job that, when the result is known, becomes one job per element."""

    is_fan_out = True

    def record(self) -> None:
        # Its own value is a workflow; those of the jobs are kept.
        spec = cast(JobSpec, self.spec)
        cast(dict[str, Any], spec.unfilled)["template"]["keeps"] = True

    @property
    def result_type(self) -> Any:
        from .fit import UNKNOWN

        worker = worker_of(self.template_spec)
        return types.GenericAlias(list, (UNKNOWN if worker is None else worker.result_type,))


def worker_of(spec: JobSpec | None) -> Any:
    """What runs the job, as far as it is known."""
    worker = None if spec is None else spec.worker_object
    worker = getattr(worker, "worker", worker)
    return worker if hasattr(worker, "result_type") else None


def sources_of(node: Node[Any]) -> Iterator[JobSpec]:
    """The jobs whose values make the result of `node`, as far as this process has built them."""
    spec = node.template_spec if node.is_fan_out else node.spec
    if spec is not None:
        yield spec
    if node.sub is not None:
        yield from sources_in(node.sub, is_map=isinstance(node, Nodes))


def sources_in(flow: Workflow, *, is_map: bool) -> Iterator[JobSpec]:
    """The jobs whose values make the result of `flow`, as far as this process has built them.

    :param is_map: whether that is the list of the results of all its nodes.
    """
    nodes = flow.nodes.values() if is_map else () if flow.returned is None else (flow.returned,)
    for node in nodes:
        yield from sources_of(node)


def described(reference: Reference) -> str:
    """The part of a result, for messages."""
    return "".join(f"[{part!r}]" for part in part_of(reference))


Make = Callable[[T], JobSpec[R_co]]
