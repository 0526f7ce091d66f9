"""The place of a job in its chain, which a change of what its key is made of would leave behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Connection

from ..errors import InvalidOption
from ..statements.change import Targets, chained
from ..workers.registry import workers


def refuse_other_chain(connection: Connection, targets: Targets, given: Mapping[str, Any]) -> None:
    """Refuse new args or meta of which the key of a chain would be another: the job would keep its turn among the jobs
    of the old key, and run beside those of the new one.

    :param given: the new ``args`` and ``meta``, as far as they are changed.
    :raises InvalidOption: for the first such job.
    """
    if not given or not workers.grouped:
        return
    for row in connection.execute(chained(targets)):
        worker = workers.grouped.get(row.worker)
        for field in () if worker is None or worker.chain is None else worker.chain.fields:
            place, _, path = field.partition(".")
            if place in given and _at(given[place], path) != _at(getattr(row, place), path):
                raise InvalidOption(
                    f"update: job {row.id} waits for its turn in the chain by {field}, which this would change; cancel "
                    "it and enqueue another one"
                )


def _at(found: Any, path: str) -> str:
    """What is at a path, as a chain compares it: as JSON text, and what is missing counts as null."""
    for key in path.split("."):
        found = cast(dict[str, Any], found).get(key) if isinstance(found, dict) else None
    return json.dumps(found, sort_keys=True)
