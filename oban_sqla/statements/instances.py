"""The rows of a user's mapped class by their primary keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ARRAY, Integer, Select, any_, bindparam, select, tuple_
from sqlalchemy.orm import Mapper, selectin_polymorphic
from sqlalchemy.sql.base import ExecutableOption

MOST_VALUES = 10_000
"""Parameters of one statement. The protocol counts them in 16 bits."""


def select_by_keys(
    mapper: Mapper[Any], keys: Sequence[tuple[Any, ...]], options: Sequence[ExecutableOption]
) -> Iterator[Select[Any]]:
    """Queries for the instances with these keys, which need not all be there.

    Of a class with subclasses the attributes of these are loaded, too: a detached instance can't load them later.

    :param keys: of the mapper's primary key.
    :param options: of the query.
    """
    key: list[Any] = [mapper.get_property_by_column(column).class_attribute for column in mapper.primary_key]
    query = select(mapper.class_).options(*options)
    if below := [one.class_ for one in mapper.self_and_descendants if one is not mapper]:
        query = query.options(selectin_polymorphic(mapper.class_, below))
    if len(key) == 1 and isinstance(type_ := mapper.primary_key[0].type, Integer):
        array = bindparam("keys", [one for (one,) in keys], type_=ARRAY(type_))
        yield query.where(key[0] == any_(array))
        return
    size = MOST_VALUES // len(key)
    for at in range(0, len(keys), size):
        part = keys[at : at + size]
        if len(key) == 1:
            yield query.where(key[0].in_([one for (one,) in part]))
        else:
            yield query.where(tuple_(*key).in_(part))
