"""The releases and sweeps of workflows and batches, which ask what is open in the form that the indexes answer.

How a workflow or a batch has ended is asked in that form, too: it took to read all of its jobs. And the workflow that
a job has returned is looked up by the index of those: for the newest of one job, a plan that was made when there were
few workflows went through all of them, from the last one.
"""

from ..part import Part, changed, filled
from ..v3 import batches, flows, release
from ..v5 import groups as v5_groups
from ..v5 import release as v5_release
from .jobs import OPEN

_OPEN = (f"j.state NOT IN {release.FINISHED}", f"j.{OPEN}")
_FAILED = (".id AND j.state::text IN ('cancelled', 'discarded')", ".id AND j.state IN ('cancelled', 'discarded')")

OUTCOME, VALUE = flows.OUTCOME, flows.VALUE
RELEASE, SWEEP = v5_release.PART.tables[0], release.PART.tables[1]
RELEASE_BATCHES, SWEEP_BATCHES = v5_groups.PART.tables[0], batches.PART.tables[3]


def _newest(row: str, job: str) -> tuple[str, str]:
    """The newest workflow that `job` has returned, as it was asked for and as it is now.

    Bounds instead of an equality, for an order that the primary key does not have.
    """
    return (
        f"{row}.graft_of = {job} ORDER BY {row}.id DESC LIMIT 1",
        f"{row}.graft_of BETWEEN {job} AND {job} ORDER BY {row}.graft_of DESC, {row}.id DESC LIMIT 1",
    )


# They can't be made where their table is not.
_LOOK_UPS_AGAIN = """DO $oban$ BEGIN
  IF to_regclass('{schema}oban_workflows') IS NOT NULL THEN
<outcome>;
<value>;
  END IF;
END $oban$"""

# What is asked of each job that was heard of is asked once.
_READY = (
    """SELECT u FROM unnest(heard) u
                      WHERE NOT EXISTS (SELECT FROM {schema}oban_deps e WHERE e.job_id = u AND e.met = 'f')
                        AND (""",
    """SELECT w.u FROM (SELECT x FROM unnest(heard) x EXCEPT SELECT x FROM unnest(doomed) x) w (u)
                      WHERE (""",
)


def _asking(text: str, open_jobs: int, failed_jobs: int) -> str:
    """The SQL of an earlier version, which asks so many times for open jobs and for failed ones, in the new form."""
    for (old, new), times in ((_OPEN, open_jobs), (_FAILED, failed_jobs)):
        if text.count(old) != times:
            raise AssertionError(f"expected {old!r} {times} times in the SQL that this version changes")
        text = text.replace(old, new)
    return text


PART = Part(
    tables=(
        changed(OUTCOME, _newest("w", "dep")),
        changed(VALUE, _newest("w", "node")),
        _asking(changed(RELEASE, _READY, _newest("w", "dep"), _newest("y", "e.dep_id")), 2, 1),
        _asking(SWEEP, 1, 0),
        _asking(RELEASE_BATCHES, 2, 1),
        _asking(SWEEP_BATCHES, 1, 0),
    ),
    down=(filled(_LOOK_UPS_AGAIN, outcome=OUTCOME, value=VALUE), RELEASE, SWEEP, RELEASE_BATCHES, SWEEP_BATCHES),
)
