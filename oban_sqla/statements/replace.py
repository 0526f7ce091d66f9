"""What duplicates of unique jobs change in the jobs that are there: one UPDATE for the duplicates of a flush.

The rows are locked in the order of their ids, like those that operators change, so that neither two flushes nor a flush
and an operator can deadlock. It waits for locks, and judges each row by what it has become meanwhile.
"""

from typing import Any

from sqlalchemy import ColumnElement, Executable, Float, Integer, SmallInteger, Text, case, cast, func, select, update
from sqlalchemy import literal_column as literal_sql
from sqlalchemy.dialects.postgresql import JSONB

from ..models.base import utc_now
from ..models.columns import options_of
from ..models.job import jobs
from ..options.replacing import REPLACEABLE, WAITING
from ..options.unique import BITS
from .insert import unnested, value_of
from .marks import with_marks
from .partitions import unkeyed
from .sent import KEY, KIND, ROW, Sent, UniqueKey
from .statement import array, ids, in_states, seconds_from, state, statement

OF_ROW = (*ROW, KEY, Sent("best", Integer()))
"""What is sent once per job; `best` is its priority, or that of the best of several with one key."""

MASKS = tuple(Sent(f"of_{field}", Integer()) for field in REPLACEABLE)
OF_KIND = (*KIND, *MASKS, Sent("changes", Integer()), Sent("debounce", Float()), Sent("longest", Float()))
"""What is sent once per kind: for each field, in which states it is replaced, as a bit each; and the debounce."""

_SECONDS: ColumnElement[Any] = literal_sql("interval '5 seconds'")
_UTC: ColumnElement[Any] = literal_sql("'UTC'")
_NOTHING: ColumnElement[Any] = literal_sql("0")
_KEPT = (*(jobs.c[field] for field in REPLACEABLE), jobs.c.id, jobs.c.uniq_key, jobs.c.attempt, jobs.c.inserted_at)


@statement
def lock_keyed() -> Executable:
    """Lock the waiting jobs that hold the keys `keys`, in the order of their ids, and change nothing.

    What is only locked makes no insertion of its key wait, unlike what is changed. One row each: the key and the state.
    """
    waits = in_states(cast(jobs.c.state, Text), *WAITING)
    return (
        select(jobs.c.uniq_key, cast(jobs.c.state, Text).label("state"))
        .where(jobs.c.uniq_key == func.any(array("keys", UniqueKey)), waits)
        .order_by(jobs.c.id)
        .with_for_update()
    )


@statement
def replace_keyed() -> Executable:
    """Change the waiting jobs that hold the keys of the given ones, each in the fields that are replaced in its state.

    A debounced one is due `debounce` seconds from the moment at which its row is locked, so that of two calls the one
    that comes later moves it further. One row per job that was changed: its id, key, queue and state, and whether it is
    due within five seconds.
    """
    rows, kinds = unnested("given", "place", OF_ROW), unnested("kinds", "kind", OF_KIND)
    waits = in_states(cast(jobs.c.state, Text), *WAITING)  # as text: by the key, and by no partial index
    held = (
        select(*_KEPT, jobs.c.state, _bit().label("bit"))
        .where(jobs.c.uniq_key == func.any(array("uniq_key", UniqueKey)), waits)
        .order_by(jobs.c.id)
        .with_for_update()
        .cte("held")
    )
    old, r, k = held.c, rows.c, kinds.c
    fields = [field for field in REPLACEABLE if field != "scheduled_at"]
    made = (
        select(
            old.id,
            old.uniq_key,
            old.state,
            *(_field(field, old, r, k).label(field) for field in fields),
            _due(old, k).label("due"),
            (k.debounce.is_not(None) | _within(k.of_scheduled_at, old)).label("is_moved"),
            k.debounce.is_not(None).label("is_debounced"),
        )
        .select_from(held.join(rows, r.uniq_key == old.uniq_key).join(kinds, k.kind == r.kind))
        .where(_within(k.changes, old))
        .cte("made")
    )
    new = made.c
    state_then = case(
        (new.is_moved & _is(new.state, "available") & (new.due > utc_now()), state("scheduled")),
        (new.is_moved & _is(new.state, "scheduled") & (new.due <= utc_now()), state("available")),
        else_=new.state,
    )
    values: dict[Any, Any] = {jobs.c[field]: new[field] for field in fields}
    values |= {jobs.c.state: state_then, jobs.c.scheduled_at: new.due, jobs.c.meta: _counted(new)}
    values[jobs.c.partition_key] = case((new.meta != jobs.c.meta, unkeyed()), else_=jobs.c.partition_key)
    # By the ids as an array, too, so that no plan reads the whole table.
    mine = (jobs.c.id == func.any(ids(select(held.c.id)))) & (jobs.c.id == new.id)
    # The key as it was: a change into a state that does not count gives it up.
    soon = (jobs.c.scheduled_at <= utc_now() + _SECONDS).label("soon")
    return (
        update(jobs)
        .where(mine)
        .values(values)
        .returning(jobs.c.id, new.uniq_key, jobs.c.queue, cast(jobs.c.state, Text).label("state"), soon)
    )


def _bit() -> ColumnElement[Any]:
    """The state of a job as a bit, as the masks have it; 0 for one in which it does not wait."""
    text: ColumnElement[str] = cast(jobs.c.state, Text)
    bits: list[tuple[ColumnElement[bool], Any]] = [
        (text == literal_sql(f"'{name}'"), literal_sql(str(BITS[name]))) for name in WAITING
    ]
    return case(*bits, else_=_NOTHING)


def _is(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return column == state(name)


def _within(mask: ColumnElement[Any], old: Any) -> ColumnElement[bool]:
    """Whether the state of the job is one of `mask`."""
    within: ColumnElement[bool] = mask.op("&")(old.bit) != _NOTHING
    return within


def _field(field: str, old: Any, r: Any, k: Any) -> ColumnElement[Any]:
    """A field as it will be; never a priority or a number of attempts that the row can't have."""
    before = old[field]
    after: Any
    match field:
        case "args":
            after = cast(r.args, JSONB)
        case "priority":
            after = func.least(before, cast(r.best, SmallInteger), type_=SmallInteger)
        case "max_attempts":
            after = func.greatest(k.max_attempts, old.attempt, type_=SmallInteger)
        case _:
            [option] = options_of(jobs.c[field])
            after = value_of(getattr(k, option.parameter), jobs.c[field])
            if field == "meta":
                after = with_marks(after, before)
    return case((_within(k[f"of_{field}"], old), after), else_=before)


def _due(old: Any, k: Any) -> ColumnElement[Any]:
    """When the job will be due."""
    given = func.coalesce(k.at, utc_now() + seconds_from(k.delay), utc_now())
    later = func.timezone(_UTC, func.clock_timestamp()) + seconds_from(k.debounce)
    # Without an end it is null, which least() leaves out.
    moved: Any = func.least(later, old.inserted_at + seconds_from(k.longest))
    # What has failed keeps the wait before its next attempt.
    moved = case((_is(old.state, "retryable"), func.greatest(old.scheduled_at, moved)), else_=moved)
    return case(
        (k.debounce.is_not(None), moved),
        (_within(k.of_scheduled_at, old), given),
        else_=old.scheduled_at,
    )


def _counted(new: Any) -> ColumnElement[Any]:
    """The meta, with how often a debounce has moved the job; not where another program has left no object."""
    number = new.meta.op("->>")(literal_sql("'debounced'", Text))
    before = case((number.op("~")(literal_sql("'^[0-9]{1,9}$'")), cast(number, Integer)), else_=_NOTHING)
    told = func.jsonb_build_object(literal_sql("'debounced'"), before + literal_sql("1"))
    is_object = func.jsonb_typeof(new.meta) == literal_sql("'object'")
    return case((new.is_debounced & is_object, new.meta.op("||")(told)), else_=new.meta)


__all__ = ["MASKS", "OF_KIND", "lock_keyed", "replace_keyed"]
