"""A workflow: jobs that wait for each other. Built, added to a session and queried like any mapped object."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Identity,
    Index,
    Interval,
    Table,
    Text,
    case,
    event,
    func,
    inspect,
    literal_column,
    select,
    text,
    type_coerce,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, Session, column_property, mapped_column, relationship

from ..errors import InvalidOption
from ..options.payload import encode
from ..options.reference import Reference
from ..types import ByAnnotation, UTCDateTime, UTCMapped
from .base import ObanBase, utc_column, utc_now
from .building import checked_name, default_name, mapped_over, named_nodes, prepared, refuse_part, spread_now
from .job import NOW, Job, jobs
from .mermaid import mermaid
from .node import Node, Nodes, OnFailure, checked_on_failure
from .place import Place
from .spec import JobSpec

R = TypeVar("R")
T = TypeVar("T")


class Workflow(ObanBase, ByAnnotation):
    """Jobs that wait for each other. Build it, add it to a session, and query it like any mapped class.

    ::

        flow = Workflow("onboarding")
        user = flow.add(load_user.new(7))
        flow.add(send_welcome.new(user.result["email"]))
        session.add(flow)

    A job waits until everything before it is completed. If something before it fails, it is cancelled, unless its
    `on_failure` says otherwise.

    :param name: what it is called, up to 255 characters; any number of workflows may have the same name.
    :param unique: a key, up to 255 characters, of which only one workflow lives at a time. One that is added while
        another lives is not written: it has that one's :attr:`id`, and :attr:`conflict` is True. Default: none.
    :param meta: a dict that is stored with it. Default: empty.
    :raises InvalidOption: for a name or key that is blank or too long.
    :raises InvalidArgs: for a meta that JSON can't represent.

    :ivar name: its name.
    :ivar meta: the dict that was given.
    :ivar state: ``"executing"`` until all of its jobs have finished; then ``"completed"``, ``"failed"`` where a job was
        discarded, or ``"cancelled"``. What failed counts only where nothing that comes after it has gone on.
    :ivar inserted_at: when it was added.
    :ivar finished_at: when its last job finished; else None.
    :ivar jobs: its jobs, without those of workflows inside it.
    :ivar counts: the number of its jobs per state, a dict; loaded when it is first read, or with ``undefer``.
    :ivar parent: the workflow that it is a part of; else None.
    :ivar parent_id: the id of that one.
    :ivar root_id: the id of the outermost workflow around it; None where it is that itself.
    :ivar node_name: what it is called in the workflow around it; else None.
    :ivar graft_of: the id of the job that has returned it, whose place it takes; else None.
    :ivar is_map: whether it has a job per element of a list.
    :ivar returns_name: the name of the node whose result it has.
    :ivar subs: the workflows inside it.
    :ivar root: the outermost workflow around it.

    After the commit `id` and `conflict` can be read without a refresh; the other attributes are expired like those of
    any object. It can't be merged before it is written, and is deleted with :meth:`Oban.delete`.
    """

    __tablename__ = "oban_workflows"
    __iter__ = None  # or `add_all` would take its nodes for jobs that wait for nothing

    # Not annotated: it is for `id`, which can be read after a commit without a refresh.
    _id = mapped_column("id", BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    node_name: Mapped[str | None] = mapped_column(Text)
    unique: Mapped[str | None] = mapped_column("uniq_key", Text(collation="C"))
    parent_id: Mapped[int | None] = mapped_column(BigInteger)
    root_id: Mapped[int | None] = mapped_column(BigInteger)
    graft_of: Mapped[int | None] = mapped_column(BigInteger)
    returns_name: Mapped[str | None] = mapped_column("returns", Text)
    is_map: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    meta: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    state: Mapped[str] = mapped_column(Text, server_default=text("'executing'"))
    inserted_at: UTCMapped[datetime] = utc_column(server_default=NOW)
    finished_at: UTCMapped[datetime | None] = utc_column()

    parent: Mapped[Workflow | None] = relationship(
        primaryjoin="foreign(Workflow.parent_id) == remote(Workflow._id)", back_populates="subs"
    )
    subs: Mapped[list[Workflow]] = relationship(
        primaryjoin="Workflow._id == remote(foreign(Workflow.parent_id))",
        back_populates="parent",
        passive_deletes="all",
        order_by="Workflow._id",
    )
    root: Mapped[Workflow | None] = relationship(primaryjoin="foreign(Workflow.root_id) == remote(Workflow._id)")
    jobs: Mapped[list[Job]] = relationship(
        primaryjoin="Workflow._id == foreign(Job.workflow_id)", viewonly=True, order_by="Job.id"
    )

    __table_args__ = (
        Index("oban_workflows_unique_index", "uniq_key", unique=True, postgresql_where=text("uniq_key IS NOT NULL")),
        Index("oban_workflows_parent_index", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index(
            "oban_workflows_open_index",
            "parent_id",
            postgresql_where=text("parent_id IS NOT NULL AND finished_at IS NULL"),
        ),
        Index("oban_workflows_root_index", "root_id", postgresql_where=text("root_id IS NOT NULL")),
        Index("oban_workflows_graft_index", "graft_of", postgresql_where=text("graft_of IS NOT NULL")),
        Index("oban_workflows_state_index", "state", "id", postgresql_where=text("state <> 'completed'")),
        Index(
            "oban_workflows_finished_index",
            "finished_at",
            postgresql_where=text("root_id IS NULL AND finished_at IS NOT NULL"),
        ),
    )

    def __init__(self, name: str, *, unique: str | None = None, meta: Mapping[str, Any] | None = None) -> None:
        checked_name("Workflow: name", name)
        if unique is not None:
            checked_name("Workflow: unique", unique)
        given = json.loads(encode({} if meta is None else meta, "meta"))
        super().__init__(name=name, unique=unique, meta=given, is_map=False, returns_name=None)
        self._nodes: dict[str, Node] = {}

    def __init_subclass__(cls, **_: Any) -> None:
        raise InvalidOption(
            f"{cls.__name__}: Workflow can't be subclassed, which would map another class to its table; "
            "write a function that builds a workflow"
        )

    @hybrid_property
    def id(self) -> int | None:
        """The primary key; None before the flush. For one that conflicts, the id of the workflow that lives."""
        if (other := self.__dict__.get("_other")) is not None:
            return other if isinstance(other, int) else cast("int | None", other.id)
        identity = inspect(self).identity
        return self.__dict__.get("_id") if identity is None else cast(int, identity[0])

    @id.inplace.expression
    @classmethod
    def _id_expression(cls) -> ColumnElement[int]:
        return cast("ColumnElement[int]", cls._id)

    @property
    def conflict(self) -> bool:
        """Whether another workflow with its `unique` key lives, so that it was not written."""
        return "_other" in self.__dict__

    @overload
    def add(
        self,
        what: Workflow,
        *,
        name: str | None = None,
        after: Node[Any] | str | Iterable[Node[Any] | str] = (),
        on_failure: OnFailure = "cancel",
    ) -> Node[Any]: ...
    @overload
    def add(
        self,
        what: JobSpec[R],
        *,
        name: str | None = None,
        after: Node[Any] | str | Iterable[Node[Any] | str] = (),
        on_failure: OnFailure = "cancel",
    ) -> Node[R]: ...
    def add(
        self,
        what: JobSpec[Any] | Workflow,
        *,
        name: str | None = None,
        after: Node[Any] | str | Iterable[Node[Any] | str] = (),
        on_failure: OnFailure = "cancel",
    ) -> Node[Any]:
        """Add a job, or a workflow as a part of this one.

        :param what: a spec, or a workflow that was not added before. Results of other nodes may stand among the
            arguments of a spec, which then waits for these nodes.
        :param name: of the node; each has another. Default: the name of the worker's function, or of the workflow.
        :param after: what has to be finished before: nodes of this workflow, or their names. Default: only those whose
            results it uses.
        :param on_failure: what to do when one of those fails: ``"cancel"`` it (default); ``"ignore"``: run it anyway,
            with None instead of a result; ``"wait"`` until the failed job was retried.
        :returns: the node.
        :raises InvalidOption: for a name that is taken or unknown, a node of another workflow, a cycle, a spec or
            workflow that was added before, or a workflow that is written already.
        :raises InvalidArgs: for a result that can't be the argument.
        """
        self._refuse_written("add")
        policy = checked_on_failure(on_failure)
        before = named_nodes(self, after)
        if isinstance(what, Workflow):
            name = self._free(what.name if name is None else name)
            self._take_in(what, name)
            node: Node[Any] = Node(self, name, spec=None, sub=what, after=before, on_failure=policy)
        else:
            name = self._free(default_name(what) if name is None else name)
            prepared(self, what, before, name)
            what.place = Place()
            node = Node(self, name, spec=what, sub=None, after=before, on_failure=policy)
        self._nodes[name] = node
        return node

    def map(
        self,
        make: Callable[[T], JobSpec[R]],
        over: Iterable[T],
        *,
        name: str | None = None,
        after: Node[Any] | str | Iterable[Node[Any] | str] = (),
        on_failure: OnFailure = "cancel",
    ) -> Nodes[list[R]]:
        """Add a job per element of a list, which may be the result of another node: fan-out at run time.

        ::

            pages = flow.add(fetch.new(url))
            parts = flow.map(lambda page: parse.new(page, lang="en"), over=pages.result)
            flow.add(store.new(parts.results))

        :param make: makes the spec of an element. For a result it is called once, now, with a reference to an element;
            so it is for an iterable without elements, if there is no `name`.
        :param over: the elements: a result, or any iterable.
        :param name: of the node. Default: the name of the worker's function.
        :param after: what has to be finished before: nodes of this workflow, or their names. Default: only those whose
            results it uses.
        :param on_failure: what to do when one of those fails: ``"cancel"`` (default), ``"ignore"`` or ``"wait"``.
        :returns: the node; its ``results`` are those of the jobs, in the order of the elements.
        :raises InvalidOption: for a name that is taken or unknown, a node of another workflow, a `make` that returns no
            spec, or a workflow that is written already.
        :raises InvalidArgs: for a result that is not a list, or an element that can't be the argument.
        """
        self._refuse_written("map")
        policy = checked_on_failure(on_failure)
        before = named_nodes(self, after)
        node: Nodes[Any]
        if isinstance(cast(object, over), Reference):
            node = mapped_over(self, make, cast(Reference, over), name, before, policy)
        else:
            node = spread_now(self, make, over, name, before, policy)
        self._nodes[node.name] = node
        return node

    def returns(self, node: Node[Any] | str) -> None:
        """Say whose result is that of the workflow: for ``await oban.result(flow)``, for a workflow that this one is a
        part of, and for the jobs that wait for the job that returned it.

        :param node: a node of this workflow, or its name.
        :raises InvalidOption: for another node.
        """
        self._refuse_written("returns")
        several = named_nodes(self, node, "returns")
        if len(several) != 1:
            raise InvalidOption(f"returns: expected one node or its name, got {node!r}")
        [found] = several
        found.record()
        self.returns_name = found.name
        self._returned = found

    def mermaid(self) -> str:
        """The workflow as a Mermaid flowchart, while it is being built.

        :returns: text, to be put into a Markdown block of the language ``mermaid``.
        :raises InvalidOption: for a workflow that was loaded; ``oban-sqla flows show`` prints it as a tree.
        """
        if "_nodes" not in self.__dict__:
            raise InvalidOption(
                f"mermaid: expected a workflow that was built in this process, and {self!r} was loaded; "
                "`oban-sqla flows show ID` prints it as a tree"
            )
        return mermaid(self)

    @property
    def nodes(self) -> Mapping[str, Node[Any]]:
        """The nodes by name, of a workflow that was built in this process."""
        return dict(self._nodes) if "_nodes" in self.__dict__ else {}

    @property
    def returned(self) -> Node[Any] | None:
        """The node whose result it has, of a workflow that was built in this process."""
        return cast("Node[Any] | None", vars(self).get("_returned"))

    @hybrid_property
    def duration(self) -> timedelta:
        """How long it has taken, until its end or until now."""
        return (self.finished_at or datetime.now(UTC)) - self.inserted_at

    @duration.inplace.expression
    @classmethod
    def _duration(cls) -> ColumnElement[timedelta]:
        end = func.coalesce(cls.finished_at, utc_now(), type_=UTCDateTime())
        return type_coerce(end - cls.inserted_at, Interval())

    def _refuse_written(self, what: str) -> None:
        if "_nodes" not in self.__dict__:
            raise InvalidOption(
                f"{what}: {self!r} was loaded; inside one of its jobs append to it: await flow_of(job).append(…)"
            )
        if self.id is not None:
            raise InvalidOption(
                f"{what}: {self!r} is written already; inside one of its jobs append to it: "
                "await flow_of(job).append(…)"
            )

    def _free(self, name: str) -> str:
        checked_name("name", name)
        if name in self._nodes:
            raise InvalidOption(
                f"the workflow {self.name!r} has a node {name!r} already; give this one another name with name="
            )
        return name

    def _take_in(self, sub: Workflow, name: str) -> None:
        sub._refuse_written("add")
        refuse_part(sub)
        above: Workflow | None = self
        while above is not None:
            if above is sub:
                raise InvalidOption(f"{sub!r} can't be a part of itself")
            above = above.parent
        sub.node_name = name
        sub.parent = self

    def __repr__(self) -> str:
        name = f"{self.__dict__['name']!r} " if "name" in self.__dict__ else ""  # it may be expired
        return f"<Workflow {name}id={self.id}>"

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process is one that was loaded: it has no nodes to add to.
        return {name: value for name, value in self.__dict__.items() if name != "_nodes" or self.id is None}

    if TYPE_CHECKING:
        counts: Mapped[dict[str, int]]


workflows = cast(Table, Workflow.__table__)


def _counts() -> ColumnElement[Any]:
    state = sql_cast(jobs.c.state, Text).label("state")
    each = (
        select(state, func.count().label("n"))
        .where(jobs.c.workflow_id == workflows.c.id)
        .group_by(jobs.c.state)
        .correlate(workflows)
        .subquery("each")
    )
    counted = select(func.coalesce(func.jsonb_object_agg(each.c.state, each.c.n), literal_column("'{}'::jsonb")))
    # Without the column a select of it alone would have no FROM, and count all jobs.
    return type_coerce(case((workflows.c.id.is_not(None), counted.scalar_subquery())), JSONB())


Workflow.counts = column_property(_counts(), deferred=True)


@event.listens_for(Session, "persistent_to_transient")
@event.listens_for(Session, "pending_to_transient")
def _forget_id(_: Session, instance: object) -> None:
    # Of a transaction that was rolled back: its row, and its id, never were.
    if type(instance) is Workflow:
        vars(instance).pop("_id", None)
        for node in instance.nodes.values():
            if node.spec is not None:
                node.spec.forget()
