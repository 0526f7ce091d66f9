"""Failed jobs, grouped by worker and error, and what is known of one group."""

from __future__ import annotations

import asyncio

from ...insight.failures import HOUR, Failure, Failures, read
from ..alike import alike
from ..ask import Ask, Content, Panel

SECONDS = 10.0
"""Seconds for which requests for this page share what was found."""
KEPT_FOR = 30.0
"""Seconds for which other pages use what was found."""
SHOWN = 100
"""Groups on the page."""
STATES = ("retryable", "discarded")


async def failed(ask: Ask, seconds: float = KEPT_FOR, patience: float | None = None) -> Panel[Failures]:
    """The failed jobs in groups, as the pages share them.

    :param seconds: how old the answer may be. Default 30.
    :param patience: seconds that the page waits for the answer; without one it shows the groups at its next refresh.
        Default: it waits until they are read.
    """
    try:
        # The answer is kept for the next refresh, even if this one does not wait for it.
        return await asyncio.wait_for(ask.panel("failures", read, seconds), patience)
    except TimeoutError:
        return Panel(None)


async def failures(ask: Ask, _rest: str) -> Content:
    """The groups of failed jobs, and the chosen one: the first, unless the address names another."""
    panel = await failed(ask, SECONDS)
    groups = () if panel.found is None else panel.found.groups
    state = ask.one("state") if ask.one("state") in STATES else None
    if (worker := ask.one("worker")) is not None:
        groups = tuple(group for group in groups if group.worker == worker)
    if state is not None:
        groups = tuple(group for group in groups if state in group.jobs)
    chosen = _chosen(groups, ask.one("of"), ask.one("like"))
    known = None
    if chosen is not None:
        key = ("alike", chosen.worker, chosen.signature)
        known = (await ask.panel(key, lambda connection: alike(connection, chosen, ask.redact), SECONDS)).found
    context = {
        "panel": panel,
        "groups": groups[:SHOWN],
        "chosen": chosen,
        "known": known,
        "beyond": max(len(groups) - SHOWN, 0),
        "worker": worker,
        "state": state,
        "again": sum(len(group.jobs.get("retryable", ())) for group in groups),
        "discarded": sum(len(group.jobs.get("discarded", ())) for group in groups),
        "lately": sum(group.ages[id] < HOUR for group in groups for id in group.jobs.get("discarded", ())),
        "kinds": len(groups),
        "newest": min(groups, key=lambda group: group.age, default=None),
    }
    return Content("failures.html", "Failures", context, "failures")


def _chosen(groups: tuple[Failure, ...], worker: str | None, signature: str | None) -> Failure | None:
    for group in groups:
        if (group.worker, group.signature) == (worker, signature):
            return group
    return groups[0] if groups else None
