"""Failed jobs, grouped by worker and error."""

from __future__ import annotations

from ...insight.failures import read
from ..alike import alike
from ..ask import Ask, Content

SECONDS = 10.0
SHOWN = 100


async def failures(ask: Ask, _rest: str) -> Content:
    """The groups of failed jobs."""
    panel = await ask.panel("failures", read, SECONDS)
    groups = () if panel.found is None else panel.found.groups
    if (worker := ask.one("worker")) is not None:
        groups = tuple(group for group in groups if group.worker == worker)
    common = await ask.panel(("alike", worker), lambda connection: alike(connection, groups, ask.redact), SECONDS)
    context = {
        "panel": panel,
        "groups": groups[:SHOWN],
        "alike": common.found or {},
        "beyond": max(len(groups) - SHOWN, 0),
        "worker": worker,
    }
    return Content("failures.html", "Failures", context, "failures")
