"""The releases of workflows and batches, which now believe the news that a job has begun again.

A finished job that is retried is news, and so is its next end. When one look took both, nothing seemed to have changed:
a workflow that had failed stayed ``failed`` although each of its jobs was completed now, and so did the workflow around
it; and no node told of the end. Now the first news opens the workflow or batch, even where it closes at once.
"""

from ..part import Part, changed
from ..v3 import batches, release

BEGUN = "('available', 'scheduled', 'suspended', 'executing', 'reopened')"
"""What news say of a job that has left its end, and of a workflow inside another."""

_FLOWS = changed(
    release.PART.tables[0],
    ("  doomed bigint[];\n", "  doomed bigint[];  begun bigint[];\n"),
    (
        "coalesce(array_agg(DISTINCT workflow_id), '{{}}')\n",
        "coalesce(array_agg(DISTINCT workflow_id), '{{}}'),\n"
        f"           coalesce(array_agg(DISTINCT workflow_id) FILTER (WHERE state IN {BEGUN}), '{{{{}}}}')\n",
    ),
    ("INTO taken, deps, of_flows, heard, touched FROM", "INTO taken, deps, of_flows, heard, touched, begun FROM"),
    (
        f"w.finished_at IS NOT NULL AND {release.OPEN}\n",
        f"w.finished_at IS NOT NULL AND (w.id = ANY (begun) OR {release.OPEN})\n",
    ),
)

_BATCHES = changed(
    batches.PART.tables[2],
    (
        f"CASE WHEN NOT l.is_open THEN coalesce(b.finished_at, {release.NOW}) END",
        f"CASE WHEN NOT l.is_open THEN coalesce(CASE WHEN NOT l.has_begun THEN b.finished_at END, {release.NOW}) END",
    ),
    (
        "array_agg(DISTINCT g.state) AS states FROM gone g",
        f"array_agg(DISTINCT g.state) AS states, bool_or(g.state IN {BEGUN}) AS has_begun\n          FROM gone g",
    ),
    ("b.fired, t.states,", "b.fired, t.states, t.has_begun,"),
)

PART = Part(tables=(_FLOWS, _BATCHES), down=(release.PART.tables[0], batches.PART.tables[2]))
