"""The audit: who changed what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Connection

from ...statements.audit import newest
from ..ask import Ask, Content
from ..words import shortened

PAGE = 100


async def audit(ask: Ask, _rest: str) -> Content:
    """The newest changes that people have made."""
    before = ask.whole("after")

    def read(connection: Connection) -> list[Any]:
        return list(connection.execute(newest(PAGE + 1, before)))

    panel = await ask.panel(("audit", before), read)
    found = panel.found or []
    rows = [(row, _target(row.target)) for row in found[:PAGE]]
    more = found[PAGE - 1].id if len(found) > PAGE else None
    return Content("audit.html", "Audit", {"panel": panel, "rows": rows, "more": more}, "audit")


def _target(target: Mapping[str, Any]) -> list[tuple[str, str, int | None]]:
    """What was changed: names, values, and the id of a job for each value that is one."""
    parts: list[tuple[str, str, int | None]] = []
    for name, value in target.items():
        if name == "ids" and isinstance(value, list):
            ids = cast("list[object]", value)
            parts += [("job", str(one), one if isinstance(one, int) else None) for one in ids[:5]]
            if (others := len(ids) - 5 + int(target.get("and", 0))) > 0:
                parts.append(("and", f"{others:,} more", None))
        elif name != "and" and value not in (None, "", {}, []):
            parts.append((name, shortened(value if isinstance(value, str) else json.dumps(value), 200), None))
    return parts
