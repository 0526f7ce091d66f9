"""Inserting the rows of a query as jobs, without bringing them to the client."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Select,
    Subquery,
    Text,
    case,
    cast,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.types import NullType

from ..models.base import utc_now
from ..models.job import jobs
from ..models.kind import Kind, in_meta
from ..models.limits import partitions
from ..options.duration import seconds
from ..options.job_path import quoted
from ..options.unique import Unique
from ..types import UTCDateTime
from .insert import COMPOSED, INSERTED, group_keys_of, partition_key_of, state_of, values_of
from .sent import GROUPED, KIND
from .statement import seconds_from, state

MOST_PAIRS = 50
"""Keys and values that one ``jsonb_build_object`` takes: a function has at most 100 arguments."""


def insert_from(
    rows: Subquery,
    *,
    kind: Kind,
    unique: Unique | None,
    args: Sequence[str],
    options: Sequence[str],
    group: Mapping[str, Any] | None,
    noted: Mapping[str, Any],
    soon: float,
    with_ids: bool,
) -> Select[Any]:
    """The statement that inserts `rows` as jobs. Its answer has one row per queue: the queue, how many jobs, whether
    some are available, whether some are due soon, and the ids where they are wanted.

    :param rows: the user's query.
    :param kind: what all jobs have in common.
    :param unique: which are duplicates; the rows are written in the order of their keys, so that two of these
        statements can't deadlock.
    :param args: the labels that become args.
    :param options: the labels that become options.
    :param group: the parameters of :data:`~oban_sqla.statements.sent.GROUPED` for jobs of a chain or in chunks.
    :param noted: what else the meta of each job has, whatever its key is made of.
    :param soon: seconds within which a job is due soon.
    :param with_ids: whether the ids are wanted.
    """
    fields = _fields(kind, {name: rows.c[name] for name in options})
    given = _object([(name, rows.c[name]) for name in args])
    source = rows.outerjoin(partitions, partitions.c.queue == fields.queue)
    values = [*values_of(given, fields), partition_key_of(given, fields)]
    if noted:
        meta = INSERTED.index("meta")
        values[meta] = _with(values[meta], json.dumps(noted))
    columns = [*INSERTED]
    chained = False
    if group is not None:
        for one in GROUPED:
            setattr(fields, one.name, cast(literal(group[one.name], one.type), one.type))
        if chained := group["chain_by"] is not None:
            values[INSERTED.index("state")] = state_of(values, true())
        values += group_keys_of(given, fields)
        columns += COMPOSED[:2]
    if unique is None:
        made = insert_or(jobs).from_select(columns, select(*values).select_from(source), include_defaults=False)
    else:
        due = values[INSERTED.index("scheduled_at")]
        key = _key(unique, given, fields, due, chained)
        chosen = select(*values, key.label("key"), literal(unique.mask)).select_from(source).order_by("key")
        made = (
            insert_or(jobs)
            .from_select([*columns, "uniq_key", "uniq_mask"], chosen, include_defaults=False)
            .on_conflict_do_nothing(index_elements=[jobs.c.uniq_key], index_where=jobs.c.uniq_key.is_not(None))
        )
    written = made.returning(jobs.c.id, jobs.c.queue, jobs.c.state, jobs.c.scheduled_at).cte("made")
    available = written.c.state == state("available")
    is_soon = (written.c.state == state("scheduled")) & (
        written.c.scheduled_at <= utc_now() + seconds_from(literal(soon))
    )
    wanted: ColumnElement[Any] = func.array_agg(written.c.id) if with_ids else literal_column("NULL")
    counted: Any = select(
        written.c.queue,
        func.count().label("jobs"),
        func.bool_or(available).label("available"),
        func.bool_or(is_soon).label("soon"),
        wanted.label("ids"),
    ).group_by(written.c.queue)
    found: Select[Any] = counted
    return found


def _fields(kind: Kind, of_rows: Mapping[str, ColumnElement[Any]]) -> Any:
    """What a job brings, as the parameters of an insertion are called: from the kind, or from the row."""
    fields = SimpleNamespace()
    for one, value in zip(KIND, kind, strict=True):
        given = value if one.prepare is None else one.prepare(value)
        setattr(fields, one.name, cast(literal(given, one.type), one.type))
    for name, column in of_rows.items():
        match name:
            case "scheduled_at":
                # An expression without a type may be text, such as NULL is.
                time = cast(column, DateTime(timezone=True)) if isinstance(column.type, NullType) else column
                fields.at = column if isinstance(column.type, UTCDateTime) else func.timezone("UTC", time)
            case "priority":
                fields.priority = func.least(func.greatest(_given(column, fields.priority), 0), 9)
            case "meta":
                fields.meta = _meta(cast(column, JSONB), fields.meta, kind)
            case _:
                setattr(fields, name, _given(column, getattr(fields, name)))
    return fields


def _given(of_row: ColumnElement[Any], default: ColumnElement[Any]) -> ColumnElement[Any]:
    """What a row says, or where it is null what all jobs have."""
    return func.coalesce(cast(of_row, default.type) if isinstance(of_row.type, NullType) else of_row, default)


def _meta(of_row: ColumnElement[Any], before: ColumnElement[Any], kind: Kind) -> ColumnElement[Any]:
    """The meta of a row, with the options that the kind keeps there: as a spec's own meta has them."""
    if kept := in_meta(kind):
        of_row = _with(of_row, kept)
    return func.coalesce(of_row, cast(before, JSONB))


def _with(meta: ColumnElement[Any], more: str) -> ColumnElement[Any]:
    """`meta` with the keys of `more`, as JSON text, that it lacks; another value than an object as it is."""
    keys = cast(literal(more, Text()), JSONB)
    return case((func.jsonb_typeof(meta) == literal_column("'object'"), keys.concat(meta)), else_=meta)


def _object(pairs: Sequence[tuple[str, ColumnElement[Any]]]) -> ColumnElement[Any]:
    whole: ColumnElement[Any] | None = None
    for at in range(0, len(pairs), MOST_PAIRS):
        parts: list[ColumnElement[Any]] = []
        for name, value in pairs[at : at + MOST_PAIRS]:
            parts += literal_column(quoted(name)), value
        some: ColumnElement[Any] = func.jsonb_build_object(*parts)
        whole = some if whole is None else whole.op("||")(some)
    return type_coerce(literal_column("'{}'::jsonb") if whole is None else whole, JSONB())


def _key(
    unique: Unique, args: ColumnElement[Any], fields: Any, due: ColumnElement[Any], chained: bool
) -> ColumnElement[Any]:
    """The key that :meth:`Unique.key` computes for the same job; null in a state that does not count."""
    keyed = "args" if "args" in unique.fields else "meta"
    sources: dict[str, ColumnElement[Any]] = {"args": args, "meta": cast(fields.meta, JSONB)}
    pairs: list[tuple[str, ColumnElement[Any]]] = []
    for field in unique.fields:
        if (value := sources.get(field)) is None:
            pairs.append((field, getattr(fields, field)))
            continue
        if unique.keys and field == keyed:
            chosen = [(key, value.op("->")(literal_column(quoted(key)))) for key in unique.keys]
            value = _object(chosen)
        pairs.append((field, value))
    if unique.period is not None:
        length = max(round(seconds(unique.period, "Unique(period)") * 1_000_000), 1)
        micros = func.extract("epoch", due) * 1_000_000
        number = func.floor(micros / literal_column(str(length)))
        pairs.append(("period", func.jsonb_build_array(literal_column(str(length)), number)))
    text = func.convert_to(cast(_object(pairs), Text), "UTF8")
    digest = func.substring(func.sha256(text), 1, 16)
    if chained:
        return digest if unique.counts("suspended") else case((true(), null()))
    counting = [each for each in ("available", "scheduled") if unique.counts(each)]
    if len(counting) == 2:
        return digest
    waits = due > utc_now()
    return case((waits if counting == ["scheduled"] else ~waits, digest))
