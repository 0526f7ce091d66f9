"""Building a workflow: the checks of its nodes, and the maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import InvalidArgs, InvalidOption, closest
from ..options.instance import told
from ..options.reference import Reference, node_of, part_of, references, without_references
from .checks import check_name
from .fit import UNKNOWN, fits, part
from .kind import FIELDS, OPTIONS
from .node import MapNode, Node, Nodes, described, sources_of, worker_of
from .spec import JobSpec

if TYPE_CHECKING:
    from .workflow import Workflow

MAP = "oban_sqla.map"
"""The worker of a map over a result."""


class HasNodes(Protocol):
    """A workflow that is being built, or one that runs."""

    @property
    def nodes(self) -> Mapping[str, Node[Any]]: ...


class _Element:
    """Whose result an element of a map is."""

    name = "an element"

    def __init__(self, of: Any) -> None:
        self.result_type = of


def checked_name(what: str, name: object) -> str:
    """`name`, if it is one.

    :raises InvalidOption: for what is not text, is blank or too long, or can't be stored.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidOption(f"{what}: expected text that is not blank, got {name!r}")
    return check_name(what, name)


def default_name(spec: object) -> str:
    """The name of the function of a spec."""
    refuse_other(spec)
    return str(cast("JobSpec[Any]", spec).worker).rpartition(".")[2]


def refuse_other(spec: object) -> None:
    """Refuse what is not a spec.

    :raises InvalidOption: naming it.
    """
    if not isinstance(spec, JobSpec):
        raise InvalidOption(f"expected a JobSpec or a Workflow, got {told(spec)}; make a spec with worker.new(…)")


def refuse_part(flow: Workflow) -> None:
    """Refuse a workflow that can't become a part of another.

    :raises InvalidOption: for one that is a part already, or has a unique key.
    """
    if flow.parent is not None:
        raise InvalidOption(f"{flow!r} is a part of {flow.parent!r} already; build another one")
    if flow.unique is not None:
        raise InvalidOption(f"{flow!r}: a workflow that is a part of another can't be unique; make that one so")


def named_nodes(
    flow: HasNodes, given: Node[Any] | str | Iterable[Node[Any] | str], what: str = "after"
) -> list[Node[Any]]:
    """The nodes of `flow` that are given as `what`, as such or by name.

    :raises InvalidOption: for others.
    """
    several: Iterable[object] = [given] if isinstance(given, Node | str | Reference) else given
    if not isinstance(several, Iterable):
        raise no_node(given, what)
    found: list[Node[Any]] = []
    for one in several:
        if isinstance(one, str):
            if one not in flow.nodes:
                near = closest(one, list(flow.nodes))
                raise InvalidOption(
                    f"the workflow {_name(flow)!r} has no node {one!r}" + (f", did you mean {near!r}?" if near else "")
                )
            found.append(flow.nodes[one])
        elif isinstance(one, Node):
            found.append(_own(flow, cast(Any, one)))
        else:
            raise no_node(one, what)
    return found


def no_node(given: object, what: str) -> InvalidOption:
    """The error for what is neither a node nor a name."""
    hint = "; give the node itself" if isinstance(given, Reference) else ""
    return InvalidOption(f"{what}: expected nodes or their names, got {given!r}{hint}")


def _name(flow: object) -> object:
    return vars(flow).get("name")  # which an expired one does not have


def _own(flow: HasNodes, node: Node[Any]) -> Node[Any]:
    if node.flow != flow:
        of = _name(node.flow)
        raise InvalidOption(
            f"{node!r} is a node of {'another workflow' if of is None else repr(of)}, not of {_name(flow)!r}; a "
            "workflow inside another gets what it needs by `after`, and gives what it `returns`"
        )
    return node


def prepared(flow: HasNodes, spec: JobSpec, before: list[Node[Any]], name: str) -> None:
    """Check the spec of a node, and add to `before` the nodes whose results it uses.

    :raises InvalidOption: for one that can't be a node.
    :raises InvalidArgs: for a result that can't be the argument.
    """
    refuse_other(spec)
    if spec.was_added:
        raise InvalidOption(f"{name!r}: {spec!r} was added to a session; make another one for the workflow")
    if spec.place is not None:
        raise InvalidOption(f"{name!r}: {spec!r} is in a batch or a workflow already; make another one")
    if spec.unique is not None:
        raise InvalidOption(
            f"{name!r}: a job of a workflow can't be unique, because one that conflicts would leave a gap; "
            "make the workflow unique: Workflow(…, unique=key)"
        )
    _refuse_chain(spec, name)
    for path, reference in references(spec.unfilled):
        node = _source(reference)
        refuse_encrypted(spec, node, name)
        if node is None:
            raise InvalidArgs(f"{name!r}: {reference!r} has no value outside of its map")
        _own(flow, node)
        check_fit(spec, path, reference, name)
        if node not in before:
            before.append(node)


def refuse_encrypted(spec: JobSpec, source: Node[Any] | None, name: str) -> None:
    """Refuse a reference where one side encrypts: the database puts results among arguments, and can't decrypt.

    :raises InvalidOption: naming the worker.
    """
    for one in (spec, *(() if source is None else sources_of(source))):
        if getattr(worker_of(one), "encrypted", False):
            raise InvalidOption(
                f"{name!r}: {one.worker} encrypts what it stores, so a result can't go from one job to the "
                "other; store it yourself, and pass what identifies it"
            )


def _refuse_chain(spec: JobSpec, name: str) -> None:
    if getattr(worker_of(spec), "chain", None) is not None:
        raise InvalidOption(
            f"{name!r}: {spec.worker} runs in a chain, and a job of a workflow waits only for the nodes before it; "
            "use another worker here, or enqueue the chained job from a node"
        )


def _source(reference: Reference) -> Node[Any] | None:
    """The node whose result it is; None for an element of a map."""
    node: Any = node_of(reference)
    is_node: bool = isinstance(node, Node)
    return node if is_node else None  # pyright: ignore[reportUnknownVariableType]


def check_fit(spec: JobSpec, path: Sequence[str], reference: Reference, name: str) -> None:
    """Refuse a result that can't be the argument at `path`.

    :raises InvalidArgs: with both types.
    """
    source = node_of(reference)
    result, missing = part(source.result_type, part_of(reference))
    if missing is not None:
        raise InvalidArgs(f"{name!r}: {path[0]}: the result of {source.name!r}{described(reference)}: {missing}")
    worker = worker_of(spec)
    if worker is None or len(path) > 1:
        return
    wanted = worker.parameter_type(path[0])
    if result is not UNKNOWN and wanted is not UNKNOWN and not fits(result, wanted):
        raise InvalidArgs(
            f"{name!r}: {path[0]} is {_shown(wanted)}, and the result of {source.name!r}{described(reference)} is "
            f"{_shown(result)}"
        )


def _shown(of: Any) -> str:
    return of.__name__ if isinstance(of, type) and not getattr(of, "__args__", None) else str(of)


def mapped_over(
    flow: Workflow,
    make: Callable[[Any], JobSpec[Any]],
    over: Reference,
    name: str | None,
    before: list[Node[Any]],
    policy: str,
) -> Nodes[Any]:
    """The node of a map over a result."""
    source = _source(over)
    if source is None:
        raise InvalidArgs("map: an element of another map can't be mapped again; return a Workflow from its job")
    _own(flow, source)
    listed, missing = part(source.result_type, part_of(over))
    if missing is not None:
        raise InvalidArgs(f"map: the result of {source.name!r}{described(over)}: {missing}")
    if listed is not UNKNOWN and not fits(listed, list):
        raise InvalidArgs(f"map: the result of {source.name!r}{described(over)} is {_shown(listed)}, not a list")
    element, _ = part(listed, [0]) if listed is not UNKNOWN else (UNKNOWN, None)
    spec = _made(make, Reference(_Element(element)))
    name = flow._free(default_name(spec) if name is None else name)  # pyright: ignore[reportPrivateUsage]
    refuse_encrypted(spec, source, name)  # also where no argument is an element: the args of all are kept in one job
    if spec.unique is not None:
        raise InvalidOption(f"{name!r}: a job of a workflow can't be unique; make the workflow unique")
    _refuse_chain(spec, name)
    outer: list[Reference] = []
    places: list[Sequence[str]] = []
    elements: list[list[list[str]]] = []
    for path, reference in references(spec.unfilled):
        node = _source(reference)
        check_fit(spec, path, reference, name)
        if node is not None:
            refuse_encrypted(spec, node, name)
            _own(flow, node)
            outer.append(reference)
            places.append(path)
            if node not in before:
                before.append(node)
        else:
            elements.append([list(path), [str(key) for key in part_of(reference)]])
    template: dict[str, Any] = {
        "worker": spec.worker,
        "options": options_of(spec),
        "args": without_references(spec.unfilled if spec.unfilled is not None else dict(spec.args)),
        "element": elements,
        "outer": [list(path) for path in places],
        "keeps": False,
    }
    # In the queue of its jobs: some node fetches from that.
    job = JobSpec(MAP, {"over": over, "outer": outer, "template": template}, queue=spec.queue, priority=spec.priority)
    job.has_keys = True
    if source not in before:
        before.append(source)
    made: MapNode[Any] = MapNode(flow, name, spec=job, sub=None, after=before, on_failure=policy)
    made.template_spec = spec
    return made


def spread_now(
    flow: Workflow,
    make: Callable[[Any], JobSpec[Any]],
    over: Iterable[Any],
    name: str | None,
    before: list[Node[Any]],
    policy: str,
) -> Nodes[Any]:
    """The node of a map over elements that are known: a workflow with a job for each."""
    from .workflow import Workflow

    if isinstance(over, str | bytes | Mapping) or not isinstance(over, Iterable):
        hint = "; write over=node.result" if isinstance(over, Node) else ""
        raise InvalidOption(f"map: over: expected a result or an iterable of elements, got {over!r}{hint}")
    specs = [_made(make, element) for element in over]
    if name is None:
        name = default_name(specs[0] if specs else _made_of_none(make))
    sub = Workflow(name)
    sub.is_map = True
    for place, spec in enumerate(specs):
        if next(iter(references(spec.unfilled)), None) is not None:
            raise InvalidOption("map: over elements that are known, the jobs can't use results; add them one by one")
        sub.add(spec, name=str(place)).record()
    name = flow._free(name)  # pyright: ignore[reportPrivateUsage]
    flow._take_in(sub, name)  # pyright: ignore[reportPrivateUsage]
    return Nodes(flow, name, spec=None, sub=sub, after=before, on_failure=policy)


def _made(make: Callable[[Any], JobSpec[Any]], element: Any) -> JobSpec[Any]:
    if not callable(make) or hasattr(make, "spec_kind"):  # a worker, whose function would run here, for each element
        raise InvalidOption(
            f"map: expected a function that makes the job of an element, got {make!r}; "
            "write map(worker.new, over=…), or map(lambda element: worker.new(element), over=…)"
        )
    spec = make(element)
    if not isinstance(spec, JobSpec):
        raise InvalidOption(f"map: expected a function that returns a JobSpec, got one that returned {spec!r}")
    return spec


def _made_of_none(make: Callable[[Any], JobSpec[Any]]) -> JobSpec[Any]:
    """A spec of a map without elements, for its name: a list that is empty today must not need what others don't."""
    try:
        return _made(make, Reference(_Element(UNKNOWN)))
    except Exception as error:
        raise InvalidOption(
            "map: over is empty, and without an element the function does not say for which worker its specs are, so "
            "the node needs a name: map(…, name=…)"
        ) from error


def options_of(spec: JobSpec[Any]) -> dict[str, Any]:
    """The options of `spec` as JSON keeps them, but for those that a job of a name alone has anyway."""
    kept = dict(zip(FIELDS, spec.kind, strict=True))
    found: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        value = kept[option.attribute]
        if value == option.default or name == "unique":
            continue
        found[name] = value.isoformat() if hasattr(value, "isoformat") else option.value(value)
    return found
