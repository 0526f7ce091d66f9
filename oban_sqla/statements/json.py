"""JSON in statements: what is empty, and the errors of a job's earlier attempts, as many of them as are kept."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, case, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by

from ..models.job import jobs

# Literals: as parameters, SQLAlchemy would encode the texts once more, as JSON strings.
EMPTY_ARRAY: ColumnElement[Any] = literal_column("'[]'::jsonb", JSONB)
EMPTY_OBJECT: ColumnElement[Any] = literal_column("'{}'::jsonb", JSONB)

LARGEST: ColumnElement[int] = literal_column("524288", BigInteger)
"""Bytes. A job that is rescued or fails often enough would reach the limit of jsonb, and could never change again."""


def kept_errors() -> ColumnElement[Any]:
    """The errors of the job in an UPDATE, to which its next one is added: where they grew too large, the last ones.

    Whatever another program has written there, this is an array.
    """
    is_array = func.jsonb_typeof(jobs.c.errors) == "array"
    is_small = func.pg_column_size(jobs.c.errors) <= LARGEST
    values = func.jsonb_array_elements(jobs.c.errors).table_valued("value", with_ordinality="number")
    each = values.render_derived(name="each")
    size = func.sum(func.octet_length(cast(each.c.value, Text))).over(order_by=each.c.number.desc())
    entries = select(each.c.value, each.c.number, size.label("size")).subquery("entries")
    kept = func.jsonb_agg(aggregate_order_by(entries.c.value, entries.c.number))
    last = select(func.coalesce(kept, EMPTY_ARRAY)).where(entries.c.size <= LARGEST).scalar_subquery()
    return case((is_array & is_small, jobs.c.errors), (is_array, last), else_=EMPTY_ARRAY)
