"""Failed jobs, grouped by worker and error, and what is known of one group."""

from __future__ import annotations

from ...insight.failures import HOUR, Failure, read
from ..alike import alike
from ..ask import Ask, Content

SECONDS = 10.0
SHOWN = 100
STATES = ("retryable", "discarded")


async def failures(ask: Ask, _rest: str) -> Content:
    """The groups of failed jobs, and the chosen one of them: the first, unless the address says another."""
    panel = await ask.panel("failures", read, SECONDS)
    groups = () if panel.found is None else panel.found.groups
    state = ask.one("state") if ask.one("state") in STATES else None
    if (worker := ask.one("worker")) is not None:
        groups = tuple(group for group in groups if group.worker == worker)
    if state is not None:
        groups = tuple(group for group in groups if state in group.jobs)
    chosen = _chosen(groups, ask.one("of"), ask.one("like"))
    known = None
    if chosen is not None:
        key = (chosen.worker, chosen.signature)
        about = await ask.panel(
            ("alike", *key), lambda connection: alike(connection, [chosen], ask.redact).get(key), SECONDS
        )
        known = about.found
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
