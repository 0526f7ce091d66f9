"""The releases of batches and chains, which now believe the news of a change that another one has hidden.

A batch of which a job is retried, and ends before any node looks, has ended again. A discarded job that is deleted
before that has still failed, which cancels those behind it in a chain that asks for it.
"""

from ..part import Part, changed
from ..v3 import batches, chains
from ..v3.release import NOW
from .release import BEGUN

_BATCHES, _CHAINS = batches.PART.tables[2], chains.PART.tables[0]

PART = Part(
    tables=(
        changed(
            _BATCHES,
            (
                f"CASE WHEN NOT l.is_open THEN coalesce(b.finished_at, {NOW}) END",
                f"CASE WHEN NOT l.is_open THEN coalesce(CASE WHEN NOT l.has_begun THEN b.finished_at END, {NOW}) END",
            ),
            (
                "array_agg(DISTINCT g.state) AS states FROM gone g",
                f"array_agg(DISTINCT g.state) AS states, bool_or(g.state IN {BEGUN}) AS has_begun FROM gone g",
            ),
            ("b.fired, t.states,", "b.fired, t.states, t.has_begun,"),
        ),
        changed(
            _CHAINS,
            (
                "EXISTS (SELECT FROM {schema}oban_jobs j WHERE j.id = g.job_id AND j.state::text = 'discarded');",
                "coalesce((SELECT j.state::text = 'discarded' FROM {schema}oban_jobs j WHERE j.id = g.job_id), true);",
            ),
        ),
    ),
    down=(_BATCHES, _CHAINS),
)
