"""What the news of flows, batches, chains and signals make possible: the functions that act on them.

Each concern has a function in the schema, and adds its class to :data:`RELEASES`:

* ``oban_release_x(most integer) RETURNS TABLE (queue text, jobs integer)`` takes its news, up to about `most`, and does
  what they make possible. It is run by every node, at any time, on an empty table of news too; so it takes a lock that
  it never waits for, and looks again after that. What it can't do yet, because a row is locked, stays in the news.
* It gives a row for each queue in which jobs wait now, with the number of those that are available; 0 says that some
  are scheduled. A row without a queue says how many of its news are left: the caller comes back for them. That of
  flows has a third column, and a row for each workflow that has ended, with its telemetry as JSON.

A function that finds what no trigger saw (``oban_sweep_x(most integer) RETURNS integer``: how many news it made) is in
:data:`SWEEPS`; the leader runs it once a minute.

Who calls them: a node, after its own acks of jobs that are news (`composed` of a fetch, ``Ack.tells``), after commits
of its process, after its own changes, and when a poll finds news (``Node.releaser.wake()``); `drain` and inline mode.
Further ways to wake it: ``wakeup.announce_news(session, connection)`` at the commit of a session.
"""

from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    Double,
    Executable,
    Integer,
    Text,
    cast,
    column,
    func,
    insert,
    literal_column,
    null,
    select,
    true,
    type_coerce,
    union_all,
)

from ..models.batch import batches, jobs_by_state
from ..models.job import jobs
from ..models.news import news
from .functions import (
    OwnFunction,
    ReleaseBatches,
    ReleaseChains,
    ReleaseFlows,
    ReleaseSignals,
    SweepBatches,
    SweepChains,
    SweepFlows,
)
from .lead import holds_lease
from .statement import parameter, statement, whole_numbers

RELEASES: tuple[type[OwnFunction], ...] = (ReleaseFlows, ReleaseSignals, ReleaseBatches, ReleaseChains)
SWEEPS: tuple[type[OwnFunction], ...] = (SweepFlows, SweepBatches, SweepChains)

MOST: ColumnElement[int] = literal_column("200", Integer)
MOST_SWEPT: ColumnElement[int] = literal_column("10000", Integer)


def _released(*concerns: type[OwnFunction]) -> list[Any]:
    found: list[Any] = [literal_column("found.queue", Text), literal_column("found.jobs", Integer)]
    ended: Any = literal_column("found.ended", Text)
    return [
        select(*found, ended if release is ReleaseFlows else cast(null(), Text)).select_from(
            release(MOST).alias("found")
        )
        for release in concerns or RELEASES
    ]


def _unsafe(*concerns: type[OwnFunction]) -> list[Any]:
    """What :func:`_released` gives, by a commit that does not wait for the disk."""
    # Literals: a statement with parameters would be planned each time.
    off = func.set_config(literal_column("'synchronous_commit'"), literal_column("'off'"), true())
    nothing = select(cast(null(), Text), literal_column("0", Integer), cast(null(), Text)).where(off.is_(None))
    return [nothing, *_released(*concerns)]


@statement
def release() -> Executable:
    """Act on all news, for a node: rows of a queue, a number of jobs and an end, as :data:`RELEASES` says.

    The commit does not wait for the disk: what a crash of the server takes back is the release together with the end of
    its news, which were committed before it.
    """
    return union_all(*_unsafe())


@statement
def release_and_sign() -> Executable:
    """The same, and a last row with the queue ``''``: who did it, as JSON, for :data:`ended_batches`.

    It says the transaction, once the functions before it have written something, and when it began.
    """
    began = func.timezone(literal_column("'UTC'"), func.statement_timestamp())
    parts: list[Any] = [literal_column("'xid'"), func.txid_current_if_assigned(), literal_column("'since'"), began]
    signature: Any = cast(func.jsonb_build_object(*parts), Text)
    return union_all(*_unsafe(), select(literal_column("''", Text), literal_column("0", Integer), signature))


@statement
def ended_batches() -> Executable:
    """The batches that ended since `since`: their ids, names, jobs by state as JSON, and how long they took in seconds.

    Of the transaction `xid`, whose number is on their rows: so of several nodes each tells of those that it has ended
    itself. Without one, of any.
    """
    ended = batches.alias("ended")
    xid = cast(parameter("xid"), BigInteger) % literal_column("4294967296", BigInteger)
    writer = cast(cast(literal_column("ended.xmin"), Text), BigInteger)
    by_state = jobs_by_state(jobs, ended)
    states: Any = select(cast(func.jsonb_object_agg(by_state.c.state, by_state.c.number), Text))
    took = cast(func.extract("epoch", ended.c.finished_at - ended.c.inserted_at), Double)
    since = cast(parameter("since"), TIMESTAMP)
    return select(ended.c.id, ended.c.name, states.scalar_subquery().label("states"), took.label("took")).where(
        type_coerce(ended.c.finished_at, TIMESTAMP) >= since, func.coalesce(writer == xid, true())
    )


@statement
def release_signals() -> Executable:
    """The same for the news of signals alone: a job that sleeps until one comes is not to wait for the others."""
    return union_all(*_unsafe(ReleaseSignals))


@statement
def release_here() -> Executable:
    """The same in the transaction of the caller, which stays as safe as it is."""
    return union_all(*_released()) if len(RELEASES) > 1 else _released()[0]


@statement
def tell_batches() -> Executable:
    """News of `batches` whose jobs were not written, so that none of them will ever tell."""
    column_of = column("batch", BigInteger)
    given = func.unnest(whole_numbers("batches")).table_valued(column_of).render_derived(name="given").alias("given")
    chosen = select(given.c.batch, literal_column("'check'", Text))
    return insert(news).from_select(["batch_id", "state"], chosen, include_defaults=False)


@statement
def sweep() -> Executable:
    """Find what no trigger saw, for a leader. One row: how many news that made."""
    found: list[ColumnElement[Any]] = [func.coalesce(sweeping(MOST_SWEPT), 0) for sweeping in SWEEPS]
    made = found[0]
    for more in found[1:]:
        made = made + more
    return select(made).where(holds_lease())


def has_news() -> ColumnElement[bool]:
    """Whether there are news of any concern."""
    return select(news.c.id).limit(1).exists()
