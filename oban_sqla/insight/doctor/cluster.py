"""The nodes: who lives, who leads, and whose jobs nobody looks after."""

from __future__ import annotations

from collections.abc import Iterator

from ...statements.roster import orphans as orphans_of
from ..roster import OURS, Member, nodes
from ..words import listed, span
from .finding import Finding, ok, problem, warning
from .patient import Patient

ELECTION = 60.0
"""Seconds within which a successor leads; with the default lease it takes 15."""

BURIED = 120.0
"""Seconds within which a leader has looked after a dead node and removed its row; behind a pooler it takes 60."""

FUTURE = -5.0
MOST = 1_000


def living_nodes(patient: Patient) -> Iterator[Finding]:
    """Who works, and who is silent although its connection stands."""
    alive = patient.roster.alive
    found: list[Finding] = []
    if silent := [member for member in alive if member.is_late]:
        longest = max(member.silent or 0.0 for member in silent)
        found.append(
            warning(
                f"{_count(silent)} ({listed(nodes(silent))}) gave no sign of life for {span(longest)}, and their "
                "connections stand",
                "a job blocks the event loop, or the process is stopped: it fetches nothing, and its jobs are not "
                "rescued for an hour",
                "look at these processes; jobs that compute for long belong into plain functions, which run in threads",
            )
        )
    if early := [member for member in patient.roster.members if (member.silent or 0.0) < FUTURE]:
        found.append(
            warning(
                f"{_count(early)} ({listed(nodes(early))}) gave a sign of life in the future",
                "the server's clock was set back; until it has caught up, the death of that node may go unnoticed",
                "let the clock be slewed, not set",
            )
        )
    strangers = [member for member in alive if not member.is_ours]
    others = f", {len(nodes(strangers))} of them of another program" if strangers else ""
    there = f"{_count(alive)}{others}: {listed(nodes(alive))}" if alive else "no node runs"
    yield from found or [ok(there)]


def leader(patient: Patient) -> Iterator[Finding]:
    """Whether somebody leads each instance."""
    roster = patient.roster
    led = {lease.name.removeprefix(OURS) for lease in roster.leaders}
    instances = {member.name for member in roster.alive if member.is_ours}
    ended = {lease.name.removeprefix(OURS): lease.left for lease in roster.leases if lease.name.startswith(OURS)}
    just_now = {name for name in instances - led if -ELECTION < (ended.get(name) or -ELECTION) <= 0}
    missing = instances - led - just_now
    for name in sorted(missing):
        yield problem(
            f"nobody leads the instance {name!r}, though nodes of it live",
            "nothing is rescued, pruned or scheduled by cron; nodes stage only their own jobs",
            "look at the logs of these nodes for the loop 'leader': a role that can't write to oban_leaders, or a "
            "lease that somebody took by hand",
        )
    if missing:
        return
    if just_now:
        yield ok(f"the lease of {listed(just_now)} has just ended; a successor is elected within seconds")
    elif led:
        who = listed(f"{lease.node} leads {lease.name.removeprefix(OURS)}" for lease in roster.leaders)
        yield ok(who)
    else:
        yield ok("nobody leads, because no node of this package runs")


def foreign_leader(patient: Patient) -> Iterator[Finding]:
    """Whether another program of the family leads."""
    strangers = patient.roster.strangers
    for lease in strangers:
        yield warning(
            f"{lease.holder}, a node of oban-py or Oban, leads {lease.name!r}",
            "its leader rescues by time alone: whatever has been executing for five minutes runs a second time beside "
            "the first, also on nodes of this package",
            "restart that node while a node of this package runs, which then takes Oban's lease and keeps it; or give "
            "it a rescue_after longer than your longest job",
        )
    if not strangers:
        yield ok("no other program leads")


def dead_nodes(patient: Patient) -> Iterator[Finding]:
    """Dead producers whose rows nobody removes."""
    roster = patient.roster
    dead = [member for member in roster.members if not member.is_alive]
    left = [member for member in dead if member.silent is None or member.silent >= BURIED]
    if not left:
        yield ok(f"{len(dead)} dead, to be looked after within a minute" if dead else "no dead node is left behind")
    elif roster.leaders:
        yield warning(
            f"{_count(left)} ({listed(nodes(left))}) died, and the leader {roster.leaders[0].node} has not cleaned up",
            "its jobs may not be rescued",
            "look at the log of the leader for the loop 'lifeline'; a row that a transaction has locked holds it up",
        )
    else:
        yield warning(
            f"{_count(left)} ({listed(nodes(left))}) died, and nobody leads",
            "jobs that they ran stay executing until a node leads again",
            "start a node",
        )


def orphans(patient: Patient) -> Iterator[Finding]:
    """Executing jobs of which no node says that it runs them."""
    row = orphans_of.execute(patient.connection, age=BURIED, most=MOST).one()
    if not row.jobs:
        yield ok("every executing job has a node")
        return
    oldest = "" if row.oldest is None else f", the oldest for {span(row.oldest)}"
    count = f"at least {row.jobs}" if row.jobs >= MOST else str(row.jobs)
    if patient.roster.leaders:
        advice = "if they are of Oban for Elixir, let that work in another schema; else look at the log of the leader"
    else:
        advice = "start a node: nobody leads"
    yield warning(
        f"{count} executing {'job belongs' if row.jobs == 1 else 'jobs belong'} to no node that is known{oldest}",
        "a leader rescues them a minute after it first sees that: one of a node that lives runs twice then",
        advice,
    )


def _count(members: list[Member]) -> str:
    number = len(nodes(members))
    return "1 node" if number == 1 else f"{number} nodes"
