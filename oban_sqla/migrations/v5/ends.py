"""The releases of workflows and batches, which now believe the news that a job has begun again.

A finished job that is retried is news, and so is its next end. When one look took both, nothing seemed to have changed:
a workflow that had failed stayed ``failed`` although each of its jobs was completed now, and so did the workflow around
it; and no node told of the end. Now the first news opens the workflow or batch, even where it closes at once.

And a fan-out is released with less work: what a dependency is worth is asked without a call of a function, which takes
some microseconds each time; and whether a job still waits for another is looked up from the end of the index, because
a job after ten thousand others leaves a dead entry there for each of them that has ended.
"""

from ..part import Part, changed
from ..v3 import batches, flows, release

BEGUN = "('available', 'scheduled', 'suspended', 'executing', 'reopened')"
"""What news say of a job that has left its end, and of a workflow inside another."""

_OUTCOME = flows.OUTCOME.split("$$")[1].strip()
"""The query in ``oban_outcome(dep)``, which finds a column of that name as well."""

_FLOWS = changed(
    release.PART.tables[0],
    ("{schema}oban_outcome(d.dep)", f"({_OUTCOME})"),
    (
        "NOT EXISTS (SELECT FROM {schema}oban_deps e WHERE e.job_id = u AND e.met IN ('o', 'f'))",
        """NOT EXISTS (SELECT FROM {schema}oban_deps e WHERE e.job_id = u AND e.met = 'f')
                        AND (SELECT 1 FROM {schema}oban_deps e WHERE e.job_id = u AND e.met = 'o'
                              ORDER BY e.job_id DESC, e.met DESC LIMIT 1) IS NULL""",
    ),
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
