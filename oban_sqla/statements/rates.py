"""How statements speak of the table of rates: its clock, the key of a whole queue, and a rate as parameters."""

from typing import Any

from sqlalchemy import Boolean, ColumnElement, Double, Integer, Text, cast, func, literal_column

from .statement import parameter

WHOLE_QUEUE: ColumnElement[str] = literal_column("''", Text)
"""The key of the row that is about the queue, not about one of its partitions."""


def clock() -> ColumnElement[float]:
    """The time of the server in seconds since 1970, as rates have it. It goes on within a transaction."""
    return cast(func.extract("epoch", func.clock_timestamp()), Double)


def given_rate() -> list[ColumnElement[Any]]:
    """The parameters ``allowed``, ``period`` and ``bucket``, in the order in which the functions take them."""
    given = (("allowed", Integer), ("period", Double), ("bucket", Boolean))
    return [cast(parameter(name, of), of) for name, of in given]
