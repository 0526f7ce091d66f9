"""Indexes of ``oban_jobs``: one each for workflows, batches and chains, instead of two, two and three.

What is open in a workflow or batch is found by a range of the states, in which those that are open come first: up to
``retryable`` in the type, in whichever version of Oban it was made. To say ``suspended`` is not possible in a condition
of an index, because a migration may add it in the same transaction.
"""

from .. import v2, v3
from ..part import Part

OPEN = "state <= 'retryable'"
"""What has not finished, as a range of an index that ends with the state."""

INDEXES = {
    **{f"oban_jobs_{of}_state_index": f"({of}_id, state) WHERE {of}_id IS NOT NULL" for of in ("workflow", "batch")},
    "oban_jobs_chain_index": "(chain_key, state, id) WHERE chain_key IS NOT NULL",
}

_FINISHED = "('completed', 'cancelled', 'discarded')"
_FIRST = {
    f"oban_jobs_open_{of}_index": f"({of}_id) WHERE {of}_id IS NOT NULL AND state NOT IN {_FINISHED}"
    for of in ("workflow", "batch")
}
_LATER = (v2.VERSION.indexes, v3.VERSION.indexes)
_NAMES = ("workflow_index", "batch_index", "chain_active_index", "chain_held_index", "chain_waiting_index")

REPLACED = _FIRST | {
    name: definition
    for indexes in _LATER
    for name, definition in indexes.items()
    if name.removeprefix("oban_jobs_") in _NAMES
}
"""The indexes of earlier versions whose work those do."""

PART = Part(
    indexes=INDEXES,
    replaced=REPLACED,
    unlocked=tuple(f"DROP INDEX IF EXISTS {{schema}}{name}" for name in INDEXES),
)
