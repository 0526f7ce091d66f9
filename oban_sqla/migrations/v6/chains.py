"""The release and sweep of chains, which find the jobs of a chain in a state by its index.

The key and the state as a row between bounds, instead of two equalities: then only that index has the order, and the
planner takes no other one, of the state or of the ids.
"""

from ..part import Part, changed
from ..v3 import chains
from ..v5 import groups as v5_groups

RELEASE, SWEEP = v5_groups.PART.tables[1], chains.PART.tables[2]


def _between(of: str, state: str) -> str:
    """That a job `of` is in the chain ``k``, in this state."""
    row, bound = f"({of}.chain_key, {of}.state)", f"(k, '{state}')"
    return f"{of}.chain_key IS NOT NULL AND {row} >= {bound} AND {row} <= {bound}"


PART = Part(
    tables=(
        changed(
            RELEASE,
            ("j.chain_key >= k AND j.chain_key <= k AND j.state = 'suspended'", _between("j", "suspended")),
            ("ORDER BY j.chain_key, j.id LIMIT 1) h", "ORDER BY j.chain_key, j.state, j.id LIMIT 1) h"),
            (
                """a.chain_key >= k AND a.chain_key <= k
                 AND a.state IN ('available', 'scheduled', 'retryable', 'executing')
               ORDER BY a.chain_key LIMIT 1""",
                """a.chain_key = k AND a.state IN ('available', 'scheduled', 'retryable', 'executing')
               LIMIT 1""",
            ),
            (
                """f.chain_key >= k AND f.chain_key <= k AND left(f.chain_key, 2) = 'h|' AND f.state = 'discarded'
               ORDER BY f.chain_key LIMIT 1""",
                f"""{_between("f", "discarded")}
               ORDER BY f.chain_key, f.state LIMIT 1""",
            ),
        ),
        changed(SWEEP, ("f.chain_key = w.chain_key AND left(f.chain_key, 2) = 'h|'", "f.chain_key = w.chain_key")),
    ),
    down=(RELEASE, SWEEP),
)
