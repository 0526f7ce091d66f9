"""Leases: who leads, by the database's clock."""

from sqlalchemy import (
    ColumnElement,
    Executable,
    Float,
    Text,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from ..models import Leader
from ..models.base import utc_now
from .statement import array, parameter, seconds_from, statement


def holds_lease() -> ColumnElement[bool]:
    """Whether the lease `lease` of `holder` exists and has not expired, for the WHERE of everything a leader writes.

    A leader that was paused past its lease and wakes changes nothing: the row says so, not its own idea of the time.
    """
    return exists().where(
        Leader.name == parameter("lease"),
        Leader.node == parameter("holder"),
        Leader.expires_at > utc_now(),
    )


@statement
def elect() -> Executable:
    """Take or renew the leases `names` for `holders`, for `ttl` seconds. Returns the names of those that are held."""
    columns = (column("name", Text), column("holder", Text))
    rows = func.unnest(array("names"), array("holders")).table_valued(*columns).render_derived(name="wanted")
    wanted = rows.alias("wanted").c
    until = utc_now() + seconds_from(parameter("ttl", Float))
    values = select(wanted.name, wanted.holder, utc_now(), until).order_by(wanted.name)
    taken = insert(Leader).from_select(["name", "node", "elected_at", "expires_at"], values, include_defaults=False)
    renewed = Leader.node == taken.excluded.node
    return taken.on_conflict_do_update(
        index_elements=[Leader.name],
        set_={
            "node": taken.excluded.node,
            "elected_at": case((renewed, Leader.elected_at), else_=taken.excluded.elected_at),
            "expires_at": taken.excluded.expires_at,
        },
        where=renewed | (Leader.expires_at <= utc_now()),
    ).returning(Leader.name)


@statement
def remaining() -> Executable:
    """For how many seconds more somebody holds `lease`. No row: nobody does."""
    left = func.extract("epoch", cast(Leader.expires_at, Leader.expires_at.type.impl) - utc_now())
    return select(cast(left, Float)).where(Leader.name == parameter("lease"), Leader.expires_at > utc_now())


@statement
def resign() -> Executable:
    """Give the leases of `holders` up. Returns their names."""
    mine = func.unnest(array("names"), array("holders")).table_valued(column("name", Text), column("holder", Text))
    rows = mine.render_derived(name="mine").alias("mine").c
    held = exists(select(literal_column("1")).where(rows.name == Leader.name, rows.holder == Leader.node))
    return delete(Leader).where(held).returning(Leader.name)
