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
    BigInteger,
    ColumnElement,
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
    union_all,
)

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
from .statement import statement, whole_numbers

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


def _unsafe(*concerns: type[OwnFunction]) -> Executable:
    """What :func:`_released` gives, by a commit that does not wait for the disk."""
    # Literals: a statement with parameters would be planned each time.
    off = func.set_config(literal_column("'synchronous_commit'"), literal_column("'off'"), true())
    nothing = select(cast(null(), Text), literal_column("0", Integer), cast(null(), Text)).where(off.is_(None))
    return union_all(nothing, *_released(*concerns))


@statement
def release() -> Executable:
    """Act on all news, for a node: rows of a queue, a number of jobs and an end, as :data:`RELEASES` says.

    The commit does not wait for the disk: what a crash of the server takes back is the release together with the end of
    its news, which were committed before it.
    """
    return _unsafe()


@statement
def release_signals() -> Executable:
    """The same for the news of signals alone: a job that sleeps until one comes is not to wait for the others."""
    return _unsafe(ReleaseSignals)


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
