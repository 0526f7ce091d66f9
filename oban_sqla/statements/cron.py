"""The crontab: entries are written, read by the leader, and each of their ticks is taken once.

Taking a tick is an UPDATE that only ever moves ``last_tick`` forward. Of two leaders at once the second waits for the
first one's row and then finds the tick taken, because PostgreSQL checks the WHERE again on the row as it is by then.
An UPDATE and no upsert, or a tick would bring back an entry that was deleted meanwhile.
"""

from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Executable,
    Float,
    Text,
    case,
    cast,
    column,
    delete,
    func,
    not_,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, Insert, insert

from ..models.base import utc_now
from ..models.cron import crons
from .lead import holds_lease
from .statement import array, parameter, seconds_from, statement

_GIVEN = (
    column("name", Text),
    column("expression", Text),
    column("timezone", Text),
    column("spec", Text),
    column("paused", Boolean),
    column("catch_up", Boolean),
)
_NAMES = [c.name for c in _GIVEN]


def _epoch(value: Any) -> ColumnElement[Any]:
    return cast(func.extract("epoch", cast(value, TIMESTAMP)), Float)


def _settled() -> ColumnElement[Any]:
    """No tick up to this time is still to be taken."""
    return func.greatest(crons.c.last_tick, crons.c.since, type_=crons.c.since.type)


def _written(declared_at: ColumnElement[Any], values: Any) -> tuple[Insert, dict[str, Any], ColumnElement[bool]]:
    written = insert(crons).from_select([*_NAMES, "declared_at"], values, include_defaults=False)
    new = written.excluded
    changed = tuple_(crons.c.expression, crons.c.timezone) != tuple_(new.expression, new.timezone)
    replaced = {name: new[name] for name in ("expression", "timezone", "spec", "catch_up")}
    return written, replaced | {"declared_at": declared_at}, changed


def _rows(*parameters: Any) -> Any:
    rows = func.unnest(*parameters).table_valued(*_GIVEN).render_derived(name="given").alias("given").c
    return [cast(rows[name], JSONB) if name == "spec" else rows[name] for name in _NAMES], rows.name


@statement
def declare() -> Executable:
    """Write the entries that a node has in its code. Those that were put at run time stay as they are.

    What is paused stays paused. Returns the names that were written.
    """
    columns, name = _rows(*(array(c.name, c.type) for c in _GIVEN))
    written, replaced, changed = _written(utc_now(), select(*columns, utc_now()).order_by(name))
    since = case((changed, utc_now()), else_=crons.c.since)
    return written.on_conflict_do_update(
        index_elements=[crons.c.name],
        set_=replaced | {"since": since},
        where=crons.c.declared_at.is_not(None),
    ).returning(crons.c.name)


@statement
def keep_declared() -> Executable:
    """Say again that the code has the entries `names`, unless a node said so within the last `every` seconds."""
    long_ago = crons.c.declared_at <= utc_now() - seconds_from(parameter("every", Float))
    declared = (crons.c.name == func.any(array("names"))) & long_ago
    return update(crons).where(declared).values(declared_at=utc_now()).returning(crons.c.name)


@statement
def put() -> Executable:
    """Write one entry at run time; it belongs to run time from then on."""
    values = [parameter(c.name, type(c.type)) for c in _GIVEN]
    columns = [cast(value, JSONB) if name == "spec" else value for name, value in zip(_NAMES, values, strict=True)]
    written, replaced, changed = _written(null(), select(*columns, cast(null(), TIMESTAMP)))
    fresh = or_(changed, crons.c.paused)
    return written.on_conflict_do_update(
        index_elements=[crons.c.name],
        set_=replaced
        | {
            "paused": written.excluded.paused,
            "since": case((fresh, utc_now()), else_=crons.c.since),
            # A clock that once ran ahead would else hold the entry up until that time.
            "last_tick": case((crons.c.last_tick > utc_now(), utc_now()), else_=crons.c.last_tick),
        },
    ).returning(crons.c.name)


@statement
def pause() -> Executable:
    """Set whether the entry `name` is `paused`. What was due while it was paused is not made up for."""
    paused = parameter("paused", Boolean)
    since = case((crons.c.paused & not_(paused), utc_now()), else_=crons.c.since)
    return (
        update(crons)
        .where(crons.c.name == parameter("name"))
        .values(paused=paused, since=since)
        .returning(crons.c.name)
    )


@statement
def remove() -> Executable:
    """Delete the entry `name`."""
    return delete(crons).where(crons.c.name == parameter("name")).returning(crons.c.name)


@statement
def entries() -> Executable:
    """What the leader has to look after, with the time by the database's clock in every row: there is always one.

    Left out is what is paused, and what no node's code has had for `lifetime` seconds. Times are seconds since 1970.
    """
    now = select(_epoch(utc_now()).label("now")).subquery("clock")
    expired = crons.c.declared_at < utc_now() - seconds_from(parameter("lifetime", Float))
    active = not_(crons.c.paused) & func.coalesce(not_(expired), True)
    return (
        select(
            now.c.now,
            crons.c.name,
            crons.c.expression,
            crons.c.timezone,
            crons.c.catch_up,
            _epoch(_settled()).label("settled"),
        )
        .select_from(now.outerjoin(crons, active))
        .order_by(crons.c.name)
    )


@statement
def set_back() -> Executable:
    """Settle the entry `name` up to `now` only: it was settled when the clock was ahead. Returns its name."""
    now = cast(parameter("now", TIMESTAMP), crons.c.since.type)
    return (
        update(crons)
        .where(crons.c.name == parameter("name"), _settled() > now, holds_lease())
        .values(last_tick=func.least(crons.c.last_tick, now), since=func.least(crons.c.since, now))
        .returning(crons.c.name)
    )


@statement
def take() -> Executable:
    """Take the `tick` of the entry `name`, if the leader leads, and it is to be taken still, and the entry is the same.

    :param before: only when everything that is settled is before this time; the tick itself, usually.

    Returns the entry's spec, or nothing.
    """
    tick, before = parameter("tick", TIMESTAMP), parameter("before", TIMESTAMP)
    same = (crons.c.expression == parameter("expression")) & (crons.c.timezone == parameter("timezone"))
    due = cast(_settled(), TIMESTAMP) < before
    return (
        update(crons)
        .where(crons.c.name == parameter("name"), same, not_(crons.c.paused), due, holds_lease())
        .values(last_tick=cast(tick, TIMESTAMP))
        .returning(crons.c.spec)
    )
