"""Writing workflows: their jobs in one statement, and the edges between these in another."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Executable,
    Float,
    Integer,
    Select,
    Text,
    case,
    cast,
    column,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

from ..models.dependency import deps
from ..models.job import jobs
from ..models.limits import partitions
from ..models.news import news
from ..models.workflow import workflows
from ..types import JobStateType
from .functions import DeleteFlow, FlowOutcome, FlowTree, FlowValue, PruneFlows, RetryFlow
from .insert import INSERTED, group_keys_of, partition_key_of, unnested, values_of
from .lead import holds_lease
from .sent import GROUPED, KIND_WITHOUT_KEYS, ROW, Sent
from .statement import array, in_states, parameter, state, statement, whole_numbers

_NODE = (*ROW, Sent("node", Text()))
_LISTED = (Sent("flow", BigInteger()), Sent("waits", Boolean()), Sent("refs", Integer()))
_KEYED = Sent("keyed", Boolean())


def _listed(name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """A parameter that is text with the values between commas: the client takes longer to encode an array."""
    return cast(func.string_to_array(parameter(name), literal_column("','")), ARRAY(kind))


def _insert_nodes(chunked: bool = False) -> Executable:
    listed = (*_LISTED, _KEYED) if chunked else _LISTED
    sent = [*(array(one.name, one.type) for one in _NODE), *(_listed(one.name, one.type) for one in listed)]
    columns = [column(one.name, one.type) for one in (*_NODE, *listed)]
    given = func.unnest(*sent).table_valued(*columns, with_ordinality="place").render_derived(name="given")
    rows = given.alias("given")
    kinds = unnested("kinds", "kind", (*KIND_WITHOUT_KEYS, *GROUPED) if chunked else KIND_WITHOUT_KEYS)
    r, k = rows.c, kinds.c
    *values, due = values_of(r.args, k)
    begins = cast(case((r.waits, "suspended"), else_=cast(due, Text)), JobStateType)
    values += [begins, partition_key_of(r.args, k), r.flow, r.node, func.nullif(r.refs, 0)]
    filled = [*INSERTED, "workflow_id", "node_name", "remaining"]
    if chunked:
        _, chunk_key = group_keys_of(r.args, k)
        values.append(case((r.keyed, chunk_key)))
        filled.append("chunk_key")
    source = rows.join(kinds, k.kind == r.kind).outerjoin(partitions, partitions.c.queue == k.queue)
    chosen = select(*values).select_from(source).order_by(r.place)
    made = (
        insert(jobs)
        .from_select(filled, chosen, include_defaults=False)
        .returning(jobs.c.id, (jobs.c.state == state("scheduled")).label("waits"))
        .cte("made")
    )
    return select(func.array_agg(made.c.id), func.array_agg(made.c.waits))


@statement
def insert_nodes() -> Executable:
    """Jobs of workflows. Returns one row: their ids, and whether each waits for its time, in the order given.

    One that `waits` for others is suspended. `refs` is the number of results among its arguments. These two and `flow`
    are listed, the others are arrays.
    """
    return _insert_nodes()


@statement
def insert_chunked_nodes() -> Executable:
    """As :func:`insert_nodes`, where some jobs run in chunks: those that are `keyed`, which is listed, too."""
    return _insert_nodes(chunked=True)


@statement
def insert_edges() -> Executable:
    """Edges between jobs, all of them open: `jobs` wait for `deps`. These, and `on_fail`, are listed.

    `refs` is a JSON object of the references by edge, ``"dep:job"``, as far as there are any.
    """
    columns = (column("dep", BigInteger), column("job", BigInteger), column("on_fail", Text))
    given = func.unnest(_listed("deps", BigInteger()), _listed("jobs", BigInteger()), _listed("on_fail", Text()))
    rows = given.table_valued(*columns).render_derived(name="given").alias("given")
    edge = func.concat(rows.c.dep, literal_column("':'"), rows.c.job)
    refs = cast(parameter("refs"), JSONB).op("->", return_type=JSONB())(edge)
    chosen = select(rows.c.dep, rows.c.job, rows.c.on_fail, refs)
    return insert(deps).from_select(["dep_id", "job_id", "on_fail", "refs"], chosen, include_defaults=False)


@statement
def tell_flow() -> Executable:
    """News of the workflow `flow` about `jobs`, each with its state."""
    columns = (column("job", BigInteger), column("state", Text))
    given = func.unnest(whole_numbers("jobs"), array("states")).table_valued(*columns).render_derived(name="given")
    rows = given.alias("given")
    chosen = select(rows.c.job, parameter("flow", BigInteger), rows.c.state)
    return insert(news).from_select(["job_id", "workflow_id", "state"], chosen, include_defaults=False)


@statement
def living() -> Executable:
    """The workflows that live with these unique keys: key and id. The keys are locked before, by :data:`lock_keys`."""
    return select(workflows.c.uniq_key, workflows.c.id).where(workflows.c.uniq_key == func.any(array("keys")))


@statement
def lock_keys() -> Executable:
    """Lock unique keys of workflows, given in order, to the end of the transaction. Who adds one of them waits."""
    keys = func.unnest(array("keys")).table_valued(column("key", Text)).render_derived(name="keys").alias("keys")
    number = func.hashtextextended(keys.c.key, literal_column("7811887", BigInteger))
    return select(func.pg_advisory_xact_lock(number)).select_from(keys)


def _root(flow: Any) -> Select[Any]:
    return select(func.coalesce(workflows.c.root_id, workflows.c.id)).where(workflows.c.id == flow)


@statement
def lock_tree() -> Executable:
    """Lock the tree of the workflow `flow` to the end of the transaction; no release goes on in it meanwhile.

    The id of its root; no row where there is no such workflow.
    """
    root = _root(parameter("flow", BigInteger)).scalar_subquery()
    return select(workflows.c.id).where(workflows.c.id == root).with_for_update(key_share=True)


@statement
def node_of() -> Executable:
    """What the nodes `names` of the workflow `flow` are: the name, and the id of a job, or minus that of a workflow.

    A job whose place a workflow takes stays the node: what waits for it hears of the end under the id of the job.
    """
    flow, names = parameter("flow", BigInteger), array("names")
    of_jobs = select(jobs.c.node_name, jobs.c.id).where(jobs.c.workflow_id == flow, jobs.c.node_name == func.any(names))
    return of_jobs.union_all(
        select(workflows.c.node_name, -workflows.c.id).where(
            workflows.c.parent_id == flow, workflows.c.node_name == func.any(names), workflows.c.graft_of.is_(None)
        )
    )


@statement
def replace_graft() -> Executable:
    """The workflow that an earlier run of the job `job` has returned does not take its place any more."""
    mine = workflows.c.graft_of == parameter("job", BigInteger)
    return update(workflows).where(mine).values(graft_of=null(), parent_id=null())


@statement
def is_cancelling() -> Executable:
    """A row, if the job `job` was asked to stop."""
    return select(jobs.c.id).where(jobs.c.id == parameter("job", BigInteger), jobs.c.cancel_at.is_not(None))


@statement
def retry_flow() -> Executable:
    """Let what failed in `flow` wait for its turn again, or all from the node `node` on; how many jobs."""
    return select(RetryFlow(parameter("flow", BigInteger), cast(parameter("node"), Text)))


@statement
def delete_flow() -> Executable:
    """Delete `flow` whole; how many jobs. Nothing, and null, while one of them executes."""
    return select(DeleteFlow(parameter("flow", BigInteger)))


@statement
def prune_flows() -> Executable:
    """Delete up to `limit` workflows that finished `age` seconds ago, whole, for a leader; how many jobs."""
    age, limit = cast(parameter("age", Float), Double), parameter("limit", Integer)
    return select(PruneFlows(age, limit)).where(holds_lease())


@statement
def outcome_of() -> Executable:
    """What became of `node`, a job or minus a workflow: ``o`` open, ``d`` done, ``f`` failed; and its value as text."""
    node = parameter("node", BigInteger)
    return select(FlowOutcome(node).label("outcome"), cast(FlowValue(node), Text).label("value"))


@statement
def first_failure() -> Executable:
    """The job that made `node` fail, a job or minus a workflow: a discarded one before a cancelled one, and last what
    was cancelled because of another one."""
    node = parameter("node", BigInteger)
    # Between bounds, in an order that the primary key does not have: else a plan may go through all workflows.
    mine = workflows.c.graft_of.between(node, node)
    newest = (workflows.c.graft_of.desc(), workflows.c.id.desc())
    grafted = select(workflows.c.id).where(mine).order_by(*newest).limit(1)
    tree = FlowTree(func.coalesce(grafted.scalar_subquery(), -node))
    in_it = or_(jobs.c.id == node, jobs.c.workflow_id == func.any(type_coerce(tree, ARRAY(BigInteger))))
    error = jobs.c.errors.op("->")(literal_column("-1")).op("->>")(literal_column("'error'"))
    because = exists().where(deps.c.job_id == jobs.c.id, deps.c.met == literal_column("'f'"))
    return (
        select(jobs.c.id, jobs.c.node_name, cast(jobs.c.state, Text).label("state"), error.label("error"))
        .where(in_it, in_states(cast(jobs.c.state, Text), "discarded", "cancelled"))
        .order_by(jobs.c.state == state("cancelled"), because, jobs.c.id)
        .limit(1)
    )


@statement
def tree_of() -> Executable:
    """The ids of the workflow `flow` and of all workflows inside it, as an array."""
    return select(type_coerce(FlowTree(parameter("flow", BigInteger)), ARRAY(BigInteger)))


@statement
def flow_troubles() -> Executable:
    """How many jobs of workflows wait for a `failed` one, how many for the result of one that is `lost`, how many
    workflows are `running`, each up to `most`; and how many `news` there are, up to `news`."""
    most = parameter("most", Integer)
    is_open = (deps.c.met == literal_column("'o'")) & (deps.c.on_fail == literal_column("'w'"))
    failed = select(deps.c.job_id).where(is_open, FlowOutcome(deps.c.dep_id) == literal_column("'f'")).limit(most)
    before = jobs.alias("before")
    gone = ~exists().where(before.c.id == deps.c.dep_id)
    waits = deps.c.met == literal_column("'o'")
    lost = select(deps.c.job_id).where(waits, deps.c.refs.is_not(None), deps.c.dep_id > 0, gone).limit(most)
    running = select(workflows.c.id).where(workflows.c.state == literal_column("'executing'")).limit(most)
    unread = select(news.c.id).limit(parameter("news", Integer))
    counted = [
        select(func.count()).select_from(one.subquery(name)).scalar_subquery().label(name)
        for name, one in (("failed", failed), ("lost", lost), ("running", running), ("news", unread))
    ]
    return select(*counted)


def jobs_of(flow: int) -> Select[Any]:
    """The ids of the jobs of a workflow and of all workflows inside it."""
    return select(jobs.c.id).where(jobs.c.workflow_id == func.any(type_coerce(FlowTree(flow), ARRAY(BigInteger))))


def inside_with(flow: int, node: str) -> Select[Any]:
    """The id of the first workflow inside of `flow` that has a job of this name as a node, or null."""
    return select(func.min(jobs.c.workflow_id)).where(jobs.c.id.in_(jobs_of(flow)), jobs.c.node_name == node)


def retryable_in(flow: int) -> Select[Any]:
    """The ids of the jobs of a workflow, and of those inside it, that wait for their next attempt."""
    return jobs_of(flow).where(in_states(jobs.c.state, "retryable")).order_by(jobs.c.id)
