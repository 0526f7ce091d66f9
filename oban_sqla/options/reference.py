"""The result of a job that has yet to run, as an argument of another: ``fetch.new(url=user.result["homepage"])``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Never, cast

from ..errors import InvalidArgs

Path = Sequence[str]


class Reference:
    """The place of a result, or of a part of it. It can be indexed, its attributes read, and it can be passed on.

    :param node: whose result it is.
    :param path: the part of it: keys, attributes and places.
    """

    __slots__ = ("_oban_node", "_oban_path")

    def __init__(self, node: Any, path: tuple[str | int, ...] = ()) -> None:
        self._oban_node = node
        self._oban_path = path

    def __getitem__(self, key: object) -> Reference:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise InvalidArgs(f"{self!r}: a part of a result is a key or a place in a list, got {key!r}")
        return Reference(self._oban_node, (*self._oban_path, key))

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("_"):
            raise AttributeError(name)
        return Reference(self._oban_node, (*self._oban_path, name))

    def __repr__(self) -> str:
        path = "".join(f"[{part!r}]" for part in self._oban_path)
        return f"<result of {getattr(self._oban_node, 'name', self._oban_node)!r}{path}>"

    def __hash__(self) -> int:
        return id(self)

    def _not_yet(self, what: str) -> InvalidArgs:
        return InvalidArgs(
            f"{self!r} has no value before its job has run, so it can't be {what}; do that in the job that takes it. "
            "A reference can be indexed, its attributes read, and it can be passed as an argument"
        )

    def __iter__(self) -> Iterator[Never]:
        raise self._not_yet("iterated; use flow.map() for a job per element")

    def __contains__(self, item: object) -> bool:
        raise self._not_yet("searched")

    def __len__(self) -> int:
        raise self._not_yet("counted")

    def __bool__(self) -> bool:
        raise self._not_yet("true or false")

    def __str__(self) -> str:
        raise self._not_yet("made text")

    def __format__(self, _: str) -> str:
        raise self._not_yet("made text")

    def __call__(self, *_: object, **__: object) -> Never:
        raise self._not_yet("called")

    def __int__(self) -> int:
        raise self._not_yet("made a number")

    def __index__(self) -> int:
        raise self._not_yet("made a number")

    def __float__(self) -> float:
        raise self._not_yet("made a number")

    def _refuse_compared(self, _: object) -> Never:
        raise self._not_yet("compared")

    def _refuse_computed(self, _: object) -> Never:
        raise self._not_yet("computed with")

    __eq__ = __ne__ = __lt__ = __gt__ = __le__ = __ge__ = cast(Any, _refuse_compared)
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = cast(Any, _refuse_computed)
    __truediv__ = __rtruediv__ = __floordiv__ = __mod__ = __rmod__ = __or__ = __and__ = cast(Any, _refuse_computed)


def node_of(reference: Reference) -> Any:
    """Whose result it is."""
    return object.__getattribute__(reference, "_oban_node")


def part_of(reference: Reference) -> tuple[str | int, ...]:
    """Which part of it."""
    return cast("tuple[str | int, ...]", object.__getattribute__(reference, "_oban_path"))


def references(value: object, path: Path = ()) -> Iterator[tuple[Path, Reference]]:
    """The references at `value` and inside it, each with its path there.

    :raises InvalidArgs: for one where it has no path: in a set, or as a key.
    """
    if type(value) is Reference:
        yield path, value
    elif isinstance(value, dict):
        for key, item in cast(dict[object, object], value).items():
            if type(key) is Reference:
                raise InvalidArgs(f"{key!r}: a result can't be the key of a dict")
            yield from references(item, [*path, str(key)])
    elif isinstance(value, list | tuple):
        for place, item in enumerate(cast(list[object], value)):
            yield from references(item, [*path, str(place)])
    elif isinstance(value, set | frozenset):
        for item in cast(set[object], value):
            if type(item) is Reference:
                raise InvalidArgs(f"{item!r}: a result can't be an element of a set, which has no places; use a list")


def without_references(value: Any) -> Any:
    """A copy of `value` with None in the place of each reference."""
    if type(value) is Reference:
        return None
    if isinstance(value, dict):
        return {key: without_references(item) for key, item in cast(dict[object, object], value).items()}
    if isinstance(value, list | tuple):
        return [without_references(item) for item in cast(list[object], value)]
    return value
