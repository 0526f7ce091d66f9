"""The nodes: which are alive, which lead, and which jobs have no node."""

from __future__ import annotations

from collections.abc import Iterator

from ...statements.roster import orphans as orphans_of
from ..queues import Member
from ..roster import nodes
from ..words import listed, span
from .database import Database
from .finding import Finding, ok, problem, warning

ELECTION = 60.0
"""Seconds within which a successor leads; with the default lease within 15."""

BURIED = 120.0
"""Seconds within which a leader rescues the jobs of a dead node and removes its row; behind a pooler that takes 60."""

FUTURE = -5.0
"""Seconds since a heartbeat, when its time lies in the future by more than clocks may differ."""
MOST = 1_000
"""Orphans that are counted."""


def living_nodes(database: Database) -> Iterator[Finding]:
    """The nodes that are alive, and those that send no heartbeat although they are connected."""
    alive = database.roster.alive
    findings: list[Finding] = []
    if silent := [member for member in alive if member.is_late]:
        longest = max(member.silent or 0.0 for member in silent)
        findings.append(
            warning(
                f"{_named(silent)} sent no heartbeat for {span(longest)}, but {_is(silent)} still connected",
                "a job blocks the event loop, or the process is stopped: such a node fetches nothing, and its jobs "
                f"are not rescued for {span(database.heartbeat.dead_after)}",
                "look at these processes; move long computations into plain functions, which run in threads",
            )
        )
    if early := [member for member in database.roster.members if (member.silent or 0.0) < FUTURE]:
        findings.append(
            warning(
                f"{_named(early)} sent a heartbeat from the future",
                "the server's clock was set back; until it catches up, the death of such a node may not be noticed",
                "let NTP adjust the server's clock gradually",
            )
        )
    foreign = [member for member in alive if not member.is_ours]
    others = f", {len(nodes(foreign))} of another program" if foreign else ""
    running = f"{_count(alive)}{others}: {listed(nodes(alive))}" if alive else "no node is running"
    yield from findings or [ok(running)]


def leader(database: Database) -> Iterator[Finding]:
    """Whether a node leads each instance."""
    roster = database.roster
    led = {lease.instance for lease in roster.leaders}
    instances = {member.instance for member in roster.alive if member.is_ours}
    ended = {lease.instance: lease.left for lease in roster.leases if lease.is_ours}
    just_now = {name for name in instances - led if -ELECTION < (ended.get(name) or -ELECTION) <= 0}
    missing = instances - led - just_now
    for name in sorted(missing):
        yield problem(
            f"no node leads the instance {name!r}, although nodes of it are alive",
            "no jobs are rescued or pruned, and no cron entries run; nodes stage only their own jobs",
            "start a node without Oban(leadership=False); nodes that may lead say in their logs, of the loop 'leader', "
            "what keeps them from it: their role may lack privileges on oban_leaders, or a lease was inserted by hand",
        )
    if missing:
        return
    if just_now:
        yield ok(f"the lease of {listed(just_now)} has just ended; a successor is elected within seconds")
    elif led:
        yield ok(listed(f"{lease.node} leads {lease.instance}" for lease in roster.leaders))
    else:
        yield ok("no node leads, because no node of this package is running")


def foreign_leader(database: Database) -> Iterator[Finding]:
    """Whether a node of Oban or oban-py leads."""
    foreign = database.roster.foreign_leaders
    for lease in foreign:
        yield warning(
            f"{lease.holder}, a node of oban-py or Oban, leads {lease.name!r}",
            "it rescues by time alone: a job that has been executing for five minutes is run a second time while the "
            "first run goes on, also on nodes of this package",
            "restart that node while a node of this package is running, which then takes Oban's lease and keeps it; or "
            "set its rescue_after to more than your longest job takes",
        )
    if not foreign:
        yield ok("no other program leads")


def dead_nodes(database: Database) -> Iterator[Finding]:
    """Dead nodes whose rows were not removed."""
    roster = database.roster
    dead = [member for member in roster.members if not member.is_alive]
    left = [member for member in dead if member.silent is None or member.silent >= BURIED]
    if not left:
        rescue = "a leader rescues the jobs within a minute" if roster.leaders else "the jobs wait until a node leads"
        yield ok(f"{_count(dead)} {_is(dead)} dead; {rescue}" if dead else "no dead nodes")
    elif roster.leaders:
        yield warning(
            f"{_named(left)} died, and the leader {roster.leaders[0].node} has not removed the rows",
            "jobs that were running there may not be rescued",
            "look in the log of the leader for the loop 'lifeline'; a transaction that has locked such a row delays it",
        )
    else:
        yield warning(
            f"{_named(left)} died, and no node leads",
            "jobs that were running there stay executing until a node leads again",
            "start a node",
        )


def orphans(database: Database) -> Iterator[Finding]:
    """Executing jobs that no node runs."""
    row = orphans_of.execute(database.connection, age=BURIED, most=MOST).one()
    if not row.jobs:
        yield ok("every executing job has a node")
        return
    oldest = "" if row.oldest is None else f", the oldest for {span(row.oldest)}"
    count = f"at least {row.jobs}" if row.jobs >= MOST else str(row.jobs)
    if database.roster.leaders:
        advice = "if they are jobs of Oban for Elixir, give it another schema; else look in the log of the leader"
    else:
        advice = "start a node: no node leads"
    yield warning(
        f"{count} executing {'job belongs' if row.jobs == 1 else 'jobs belong'} to no known node{oldest}",
        "a leader rescues them one minute after it first sees them; a job whose node is alive after all runs twice "
        "then",
        advice,
    )


def _named(members: list[Member]) -> str:
    return f"{_count(members)} ({listed(nodes(members))})"


def _count(members: list[Member]) -> str:
    number = len(nodes(members))
    return "1 node" if number == 1 else f"{number} nodes"


def _is(members: list[Member]) -> str:
    return "is" if len(nodes(members)) == 1 else "are"
