"""The release and sweep of chains, which ask one index what holds a chain up."""

from ..part import Part, changed
from ..v3 import chains
from ..v5 import groups as v5_groups
from .jobs import BUSY

RELEASE, SWEEP = v5_groups.PART.tables[1], chains.PART.tables[2]


def _busy(of: str) -> str:
    """The condition of the index, of the jobs `of`."""
    return "({})".format(BUSY.replace("state", f"{of}.state").replace("chain_key", f"{of}.chain_key"))


PART = Part(
    tables=(
        changed(
            RELEASE,
            (
                """(SELECT 1 FROM {schema}oban_jobs a
               WHERE a.chain_key >= k AND a.chain_key <= k
                 AND a.state IN ('available', 'scheduled', 'retryable', 'executing')
               ORDER BY a.chain_key LIMIT 1) IS NULL
         AND (left(k, 2) <> 'h|' OR (SELECT 1 FROM {schema}oban_jobs f
               WHERE f.chain_key >= k AND f.chain_key <= k AND left(f.chain_key, 2) = 'h|' AND f.state = 'discarded'
               ORDER BY f.chain_key LIMIT 1) IS NULL)""",
                f"""(SELECT 1 FROM {{schema}}oban_jobs a
               WHERE a.chain_key >= k AND a.chain_key <= k AND {_busy("a")}
               ORDER BY a.chain_key LIMIT 1) IS NULL""",
            ),
        ),
        changed(
            SWEEP,
            (
                """a.chain_key = w.chain_key
                          AND a.state IN ('available', 'scheduled', 'retryable', 'executing'))""",
                f"""a.chain_key = w.chain_key
                          AND {_busy("a")})""",
            ),
            (
                """
       AND (left(w.chain_key, 2) <> 'h|' OR NOT EXISTS (
         SELECT FROM {schema}oban_jobs f
          WHERE f.chain_key = w.chain_key AND left(f.chain_key, 2) = 'h|' AND f.state = 'discarded'))""",
                "",
            ),
        ),
    ),
    down=(RELEASE, SWEEP),
)
