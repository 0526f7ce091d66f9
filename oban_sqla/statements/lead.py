"""Leases: which node leads, by the database's clock."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    Float,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from ..models.base import utc_now
from ..models.cluster import leaders
from .statement import array, parameter, seconds_from, statement


def holds_lease() -> ColumnElement[bool]:
    """Whether the lease `lease` of `holder` exists and has not expired, for the WHERE of everything a leader writes.

    A leader that was paused past its lease and wakes changes nothing: the row says so, not its own idea of the time.
    """
    return exists().where(
        leaders.c.name == parameter("lease"),
        leaders.c.node == parameter("holder"),
        leaders.c.expires_at > utc_now(),
    )


@statement
def elect() -> Executable:
    """Take or renew `lease` for `holder` and `ttl` seconds; its holder competes for Oban's own row `oban`, too.

    One row: whether the lease is held, whether Oban's row is, and for how many more seconds another holder had the
    lease before (null: none had).
    """
    until = utc_now() + seconds_from(parameter("ttl", Float))
    lease = select(parameter("lease"), parameter("holder"), utc_now(), until)
    own = _taken(lease).cte("own")
    # Oban's row is only taken together with ours, or two of our nodes would hold one each.
    other = _taken(select(parameter("oban"), parameter("holder"), utc_now(), until).where(exists(select(own)))).cte(
        "other"
    )
    left = func.extract("epoch", leaders.c.expires_at - utc_now())
    before = select(cast(left, Float)).where(leaders.c.name == parameter("lease"), ~_is_free())
    return select(
        exists(select(own)).label("leads"), exists(select(other)).label("oban"), before.scalar_subquery().label("left")
    )


def _taken(wanted: Any) -> Any:
    written = insert(leaders).from_select(["name", "node", "elected_at", "expires_at"], wanted, include_defaults=False)
    renewed = leaders.c.node == written.excluded.node
    return written.on_conflict_do_update(
        index_elements=[leaders.c.name],
        set_={
            "node": written.excluded.node,
            "elected_at": case((renewed, leaders.c.elected_at), else_=written.excluded.elected_at),
            "expires_at": written.excluded.expires_at,
        },
        where=renewed | _is_free(),
    ).returning(leaders.c.name)


def _is_free() -> ColumnElement[bool]:
    """A lease lasts an hour at most: one that ends later is of another program, or the clock was set back."""
    ends = leaders.c.expires_at
    return or_(ends <= utc_now(), ends > utc_now() + literal_column("interval '2 hours'"))


@statement
def resign() -> Executable:
    """Give the leases `names` of `holder` up, and tell `payload` on `channel` when there was one. One row a lease."""
    given_up = (
        delete(leaders)
        .where(leaders.c.name == func.any(array("names")), leaders.c.node == parameter("holder"))
        .returning(leaders.c.name)
        .cte("given_up")
    )
    return select(given_up.c.name, func.pg_notify(parameter("channel"), parameter("payload")))
