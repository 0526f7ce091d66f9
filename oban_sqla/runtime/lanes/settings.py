"""The settings of a lane's session, by which its statements are planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Under another level a statement that has waited for a lock does not see what it has waited for, and fails, or counts
# too little; with AUTOCOMMIT there is no transaction. The engine or the role of the user may be set to such a level.
READ_COMMITTED: Mapping[str, Any] = {"isolation_level": "READ COMMITTED"}
"""The execution options of the transactions of this package."""

# Every statement has an index, and must use it whatever the statistics say: they speak of a state as it was a minute
# ago. The rest keeps settings of the server or role that suit other programs away from these short statements.
SETTINGS = (
    "SET enable_seqscan = off",
    "SET jit = off",
    "SET default_transaction_isolation = 'read committed'",
    "SET TimeZone = 'UTC'",
    "SET application_name = 'oban_sqla'",
)
# A plan that was cached on an empty table is 50 to 400 times too slow when the table has filled, so none is cached...
PLAN_ALWAYS = ("SET plan_cache_mode = force_custom_plan",)
# ... except where there is but one plan to choose. Planning is two fifths of what the server does for a fetch of ten or
# their acks; so those statements are written, and their lanes set, to leave the planner no choice.
PLAN_ONCE = (
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_sort = off",
    "SET enable_incremental_sort = off",  # of another index that begins with the same columns
    "SET enable_bitmapscan = off",
    "SET enable_mergejoin = off",
)
INSERT_ONCE = ("SET plan_cache_mode = force_generic_plan", "SET enable_nestloop = off", "SET enable_mergejoin = off")
"""For inserting, whose statement reads nothing of the table, and joins arrays of any length."""

# Behind a transaction pooler a SET would leak to the next client of the server's connection, and a statement is
# prepared on one connection and executed on another, unless both are in one transaction.
BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL plan_cache_mode = force_custom_plan; "
    "SET LOCAL enable_seqscan = off; SET LOCAL jit = off; SET LOCAL TimeZone = 'UTC'"
)


def commands(plans: tuple[str, ...], seconds: float) -> str:
    """The settings of a session as one text, which is one round trip.

    :param plans: how statements are planned: one of the tuples above.
    :param seconds: after which the server gives a statement up.
    """
    return "; ".join((*SETTINGS, *plans, f"SET statement_timeout = '{seconds:g}s'"))
