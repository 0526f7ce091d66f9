"""Adding to a workflow while it runs, from one of its jobs: ``await flow_of(job).append(spec, after=["fetch"])``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar, cast, overload

from sqlalchemy.orm import Session

from ..enqueueing.flow_writer import Edge, Written, write_nodes
from ..enqueueing.instances import refer_in
from ..enqueueing.sessions import AnySession, SomeAsyncSession, SomeSession, current_session, named
from ..enqueueing.unit_of_work import tell
from ..enqueueing.wakeup import announce_news
from ..enqueueing.writer import jobs_connection
from ..errors import InvalidOption, ObanError
from ..models import Job, JobSpec, Workflow
from ..models.building import checked_name, default_name, no_node, prepared, refuse_part
from ..models.node import Node, OnFailure, checked_on_failure
from ..options.instance import told
from ..options.reference import Reference
from ..statements.flows import lock_tree, node_of, tell_flow
from ..workers.context import running
from ..workers.running_loop import running_loop
from .appended import was_appended
from .flows import lacks

R = TypeVar("R")


def flow_of(job: Job) -> RunningFlow:
    """The workflow of a job, to add more nodes to it while it runs.

    :param job: a job of a workflow, such as the one that runs this: ``flow_of(current_job())``.
    :returns: an object whose :meth:`~RunningFlow.append` adds nodes.
    :raises InvalidOption: for a job that is in no workflow.
    """
    if not isinstance(job, Job):
        raise InvalidOption(f"flow_of: expected a Job, got {job!r}")
    if job.workflow_id is None:
        raise InvalidOption(f"flow_of: {job!r} is in no workflow")
    return RunningFlow(job.workflow_id)


class RunningFlow:
    """A workflow that runs. Use :func:`flow_of`.

    :param flow_id: the id of the workflow.
    :ivar id: the same.
    """

    def __init__(self, flow_id: int) -> None:
        self.id = flow_id
        self.name = f"workflow {flow_id}"
        self.nodes: dict[str, Node[Any]] = {}
        """The nodes that were appended by this object."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunningFlow) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @overload
    def append(
        self,
        what: Workflow,
        *,
        name: str | None = None,
        after: Node[Any] | str | Iterable[Node[Any] | str] = (),
        on_failure: OnFailure = "cancel",
        session: SomeAsyncSession | None = None,
    ) -> Coroutine[Any, Any, Node[Any]]: ...
    @overload
    def append(
        self,
        what: JobSpec[R],
        *,
        name: str | None = None,
        after: Node[Any] | str | Iterable[Node[Any] | str] = (),
        on_failure: OnFailure = "cancel",
        session: SomeAsyncSession | None = None,
    ) -> Coroutine[Any, Any, Node[R]]: ...
    @overload
    def append(
        self,
        what: Workflow,
        *,
        name: str | None = None,
        after: Node[Any] | str | Iterable[Node[Any] | str] = (),
        on_failure: OnFailure = "cancel",
        session: SomeSession,
    ) -> Node[Any]: ...
    @overload
    def append(
        self,
        what: JobSpec[R],
        *,
        name: str | None = None,
        after: Node[Any] | str | Iterable[Node[Any] | str] = (),
        on_failure: OnFailure = "cancel",
        session: SomeSession,
    ) -> Node[R]: ...
    def append(
        self,
        what: JobSpec[Any] | Workflow,
        *,
        name: str | None = None,
        after: Node[Any] | str | Iterable[Node[Any] | str] = (),
        on_failure: OnFailure = "cancel",
        session: AnySession | None = None,
    ) -> Coroutine[Any, Any, Node[Any]] | Node[Any]:
        """Add a node. What waits already waits for the same as before.

        Inside a job it is a short separate transaction: the node is there even if the job fails afterwards. The
        releases of this workflow, and of no other, wait for the end of that transaction. A later run of the job, after
        a failure or a sleep, gets the job that an earlier run has appended, where name, worker and args are the same,
        or the workflow of which that is so for every node: its ``conflict`` is True then.

        :param what: a spec, or a workflow. Results of nodes that were appended before may stand among the arguments.
        :param name: of the node. Default: the name of the worker's function, or of the workflow.
        :param after: names of nodes of the workflow, or nodes that were appended. One that has finished is
            not waited for. Default: none.
        :param on_failure: what to do when one of those fails: ``"cancel"`` (default), ``"ignore"`` or ``"wait"``.
        :param session: an ``AsyncSession`` (await the call) or a ``Session`` (don't): the node is added in its
            transaction. A plain function has to give one. Default: a separate transaction, on the database of the job
            that runs this; await the call.
        :returns: the node, whose id is known.
        :raises InvalidOption: for a name that is taken or unknown, for a workflow that was added before, is a part of
            another or has a unique key, or in a plain function without a session.
        :raises InvalidArgs: for a result that can't be the argument.
        :raises ObanError: where there is no such workflow any more, or outside of a job without a session.
        """
        policy = checked_on_failure(on_failure)
        if not isinstance(what, JobSpec | Workflow):
            raise InvalidOption(f"append: expected a JobSpec or a Workflow, got {told(what)}")
        if name is None:
            name = what.name if isinstance(what, Workflow) else default_name(what)
        checked_name("name", name)
        given = _nodes_or_names(after)

        def write(plain: Session) -> Node[Any]:
            node = self.nodes[name] = self._append(plain, what, name, given, policy)
            return node

        if session is None:
            return _separately(write)
        found = current_session(session, "append")
        if isinstance(found, Session):
            return write(found)
        coroutine: Coroutine[Any, Any, Node[Any]] = named("append", found.run_sync(write))
        return coroutine

    def _append(
        self,
        session: Session,
        what: JobSpec[Any] | Workflow,
        name: str,
        after: list[Node[Any] | str],
        policy: str,
    ) -> Node[Any]:
        before = [one for one in after if isinstance(one, Node)]
        if isinstance(what, JobSpec):
            prepared(self, what, before, name)
        else:
            _refuse_added(what)
        for one in before:
            if one.flow != self:
                raise InvalidOption(f"append: {one!r} was not appended to this workflow; give its name")
        connection = jobs_connection(session)
        root = lock_tree.execute(connection, flow=self.id).scalar()
        if root is None:
            raise ObanError(f"append: there is no workflow {self.id} any more")
        wanted = [one for one in after if isinstance(one, str)]
        found: Any = node_of.execute(connection, flow=self.id, names=[*wanted, name])
        known: dict[str, int] = dict(tuple(row) for row in found)
        if name in known:
            if was_appended(session, what, known[name]):
                spec, sub = (what, None) if isinstance(what, JobSpec) else (None, what)
                return Node(self, name, spec=spec, sub=sub, after=before, on_failure=policy)
            raise InvalidOption(f"append: the workflow {self.id} has a node {name!r} already; give it another name")
        for missing in (one for one in wanted if one not in known):
            raise InvalidOption(f"append: the workflow {self.id} {lacks(connection, self.id, missing)}")
        edges: list[Edge] = [(known[given], policy) for given in wanted]
        dependencies = [*(known[given] for given in wanted), *(node.edge_id for node in before)]
        if isinstance(what, Workflow):
            vars(what)["_outer_edges"] = [*edges, *((one.edge_id, policy) for one in before)]
            what.parent_id, what.root_id, what.node_name = self.id, root, name
            added: Node[Any] = Node(self, name, spec=None, sub=what, after=before, on_failure=policy)
            session.add(what)
            session.flush()
            job_ids: list[int] = []
        else:
            added = Node(self, name, spec=what, sub=None, after=before, on_failure=policy)
            added.is_recorded = True
            write_nodes(
                session, [Written(self.id, added, what, what.fill_in_flow(partial(refer_in, session, None)), edges)]
            )
            job_ids = [] if what.id is None else [what.id]
        # They are judged by their present state, like any other news: they may have finished long ago.
        changes = [*((dep, "appended") for dep in dependencies), *((one, "check") for one in job_ids), (None, "check")]
        tell_flow.execute(
            connection,
            flow=self.id,
            jobs=[None if one is None else str(one) for one, _ in changes],
            states=[state for _, state in changes],
        )
        announce_news(session, connection)
        if job_ids:
            tell(session, job_ids)
        return added


def _refuse_added(flow: Workflow) -> None:
    if flow.id is not None:
        raise InvalidOption(f"append: {flow!r} was added before; build another one")
    refuse_part(flow)


def _separately(write: Callable[[Session], Node[Any]]) -> Coroutine[Any, Any, Node[Any]]:
    try:
        attempt: Any = running.get()
    except LookupError:
        raise ObanError("append: outside of a job it needs a session: append(…, session=session)") from None
    if running_loop() is None:  # nothing here could await it
        raise InvalidOption(
            "append: a plain function gives its session, append(…, session=session); else make it an async def"
        )
    return cast("Coroutine[Any, Any, Node[Any]]", attempt.separately(write))


def _nodes_or_names(after: Any) -> list[Node[Any] | str]:
    is_one = isinstance(after, Node | str | Reference) or not isinstance(after, Iterable)
    found: list[object] = [after] if is_one else list(cast("Iterable[object]", after))
    for one in found:
        if not isinstance(one, Node | str):
            raise no_node(one, "append: after")
    return cast("list[Node[Any] | str]", found)
