"""Limits of the cluster: whether the nodes agree on them and obey them, and what is suspended."""

from __future__ import annotations

from collections.abc import Iterator

from ...statements.usage import suspended
from ...telemetry.printable import shell_word
from ..queues import Member
from ..roster import nodes
from ..words import listed, span
from .database import Database
from .finding import Finding, ok, warning

LONG = 600.0
"""Seconds for which something may be suspended without a warning."""


def limits(database: Database) -> Iterator[Finding]:
    """Nodes that disagree about the limits of a queue, and nodes that obey none."""
    findings: list[Finding] = []
    by_queue: dict[str, list[Member]] = {}
    for member in database.roster.alive:
        by_queue.setdefault(member.queue, []).append(member)
    limited = 0
    for queue, members in sorted(by_queue.items()):
        ours = [member for member in members if member.is_ours]
        if not any(member.options.is_limited for member in ours):
            continue
        limited += 1
        said: dict[str, list[Member]] = {}
        for member in ours:
            said.setdefault(_described(member), []).append(member)
        if len(said) > 1:
            each = "; ".join(f"{text} on {listed(nodes(some))}" for text, some in sorted(said.items()))
            findings.append(
                warning(
                    f"the nodes of queue {queue!r} disagree about its limits: {each}",
                    "each node stops at its own number, so the largest limit holds; one without a limit obeys none",
                    "deploy the same options everywhere, or ask for the same with oban.scale_queue()",
                )
            )
        if others := [member for member in members if not member.is_ours]:
            findings.append(
                warning(
                    f"{listed(nodes(others))} of another program works queue {queue!r}, which has limits",
                    "nodes of other programs obey no limit of the cluster",
                    "give that node other queues",
                )
            )
    of = "1 queue" if limited == 1 else f"{limited} queues"
    yield from findings or [ok(f"the nodes agree on the limits of {of}" if limited else "no limits")]


def suspensions(database: Database) -> Iterator[Finding]:
    """Queues and partitions that are suspended for a long time."""
    rows = suspended.execute(database.connection, seconds=LONG).all()
    for row in rows:
        parts = ["the queue itself"] if row.whole else []
        if row.keys:
            parts.append("1 partition" if row.keys == 1 else f"{row.keys} partitions")
        yield warning(
            f"in queue {row.queue!r}, {' and '.join(parts)} {'is' if row.keys + row.whole == 1 else 'are'} suspended, "
            f"the longest for {span(row.left)}",
            "no job of it starts before then: one has returned Snooze(…, suspend=…), or a program has asked for it",
            f"oban-sqla queues show {shell_word(row.queue)}; await oban.limiter({row.queue!r}).reset() ends it",
        )
    if not rows:
        yield ok(f"nothing is suspended for more than {span(LONG)}")


def _described(member: Member) -> str:
    """The limits that the node obeys in the cluster, in words."""
    return member.options.described.partition(", ")[2] or "no limits"
