"""A job's arguments come back from the database as they were given, or are refused when the spec is made."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from itertools import count
from typing import Annotated, Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    RootModel,
    SecretStr,
    computed_field,
)

from oban_sqla import InvalidArgs, JobSpec, job, later
from oban_sqla.options.instance import KeyedInstance

T = TypeVar("T")
THEN = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")


class Aliased(BaseModel):
    user_id: int = Field(alias="userId")


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.a


class Encoded(BaseModel):
    numbers: Json[list[int]]


class Private(BaseModel):
    a: int
    _lock: object = PrivateAttr(default_factory=object)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Numbers(RootModel[list[int]]): ...


class Box(BaseModel, Generic[T]):
    value: T


class Hidden(BaseModel):
    a: int
    b: int = Field(default=1, exclude=True)


class OtherWay(BaseModel):
    a: int = Field(validation_alias=AliasChoices("b", "c"))


class Login(BaseModel):
    name: str
    password: SecretStr


class Event(BaseModel):
    data: Any


class Base(BaseModel):
    a: int


class Child(Base):
    b: int


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str]


@dataclasses.dataclass(eq=False)
class Uncompared:
    x: int


class Pair(NamedTuple):
    a: int
    b: str


class Color(StrEnum):
    RED = "r"


class Level(IntEnum):
    LOW = 1


class Size(Enum):
    BIG = (1, 2)


_names = count()


def made(hint: Any, value: object) -> tuple[JobSpec, object]:
    """A spec of a function with one parameter, and the value that a run of it gets."""

    def run(x: Any) -> None: ...

    run.__annotations__ = {} if hint is None else {"x": hint}
    run.__qualname__ = "run"
    worker: Any = job(name=f"tests.roundtrip.{next(_names)}")(run)
    spec = worker.new(value)
    return spec, worker.worker.arguments.load_json(spec.args_json)["x"]


COMES_BACK: dict[str, tuple[Any, Any]] = {
    "model with an alias": (Aliased, Aliased(userId=7)),
    "model with a computed field that takes no extra": (Computed, Computed(a=1)),
    "model with a field of JSON": (Encoded, Encoded(numbers="[1, 2]")),  # type: ignore[arg-type]
    "model with a private attribute": (Private, Private(a=1)),
    "model with more than it names": (Open, Open(a=1, b=[2])),  # type: ignore[call-arg]
    "root model": (Numbers, Numbers([1, 2])),
    "generic model": (Box[int], Box[int](value=1)),
    "excluded field that has its default": (Hidden, Hidden(a=1)),
    "model with a field of anything that JSON has": (Event, Event(data={"a": [1, None, 1.5, True]})),
    "dataclass with a set": (Point, Point(1, {"b", "a"})),
    "named tuple": (Pair, Pair(1, "x")),
    "enum of text": (Color, Color.RED),
    "keys that are numbers": (dict[int, str], {1: "a"}),
    "set of sets": (set[frozenset[int]], {frozenset({1, 2}), frozenset({2, 3})}),
    "set of pairs": (set[tuple[int, str]], {(2, "a"), (1, "b")}),
    "text in UTF-8": (bytes, "é".encode()),
    "time in the hour that clocks repeat": (datetime, datetime(2030, 10, 27, 2, 30, tzinfo=PARIS, fold=1)),
    "naive time": (datetime, datetime(2030, 1, 1, 12, 0, 0, 1)),
    "day": (date, date(2030, 1, 1)),
    "length of time": (timedelta, timedelta(days=3, microseconds=1)),
    "decimal": (Decimal, Decimal("1.10")),
    "validator that changes nothing twice": (Annotated[str, AfterValidator(str.strip)], "x"),
    "without annotation, what JSON has": (None, {"a": [1, "x", None, 1.5, {"b": False}]}),
}


@pytest.mark.parametrize("case", COMES_BACK)
def test_argument_comes_back_as_it_was_given(case: str) -> None:
    hint, value = COMES_BACK[case]
    back = made(hint, value)[1]
    assert type(back) is type(value)
    if not isinstance(value, Private):
        utc = value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value
        assert back == utc


def test_model_is_stored_by_its_aliases() -> None:
    assert made(Aliased, Aliased(userId=7))[0].args == {"x": {"userId": 7}}


def test_object_that_does_not_compare_comes_back() -> None:
    back = made(Uncompared, Uncompared(7))[1]
    assert isinstance(back, Uncompared)
    assert back.x == 7


def test_parameter_with_an_alias_is_given_by_its_name() -> None:
    @job(name="tests.roundtrip.alias")
    def run(user_id: Annotated[int, Field(alias="userId")]) -> None: ...

    assert run.new(user_id=1).args == {"userId": 1}
    assert run.worker.arguments is not None
    assert run.worker.arguments.load_json('{"userId": 1}') == {"user_id": 1}


@pytest.mark.parametrize("given", [(1, 2), [1, 2], range(1, 3)])
def test_any_sequence_and_any_iterable_arrive_as_lists(given: Sequence[int]) -> None:
    assert made(Sequence[int], given)[1] == [1, 2]
    assert made(Iterable[int], iter(given))[1] == [1, 2]


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "excluded field": (Hidden, Hidden(a=1, b=2), r"run: x\.b: int would not come back as it was given"),
    "alias that is only read": (OtherWay, OtherWay(b=1), r"run: the argument 'x\.b' is missing: as it would be stored"),  # type: ignore[call-arg]
    "secret": (SecretStr, SecretStr("pw"), r"run: x: SecretStr would not come back as it was given"),
    "secret in a model": (Login, Login(name="a", password=SecretStr("pw")), r"run: x\.password: SecretStr would not"),
    "subclass of the model": (Base, Child(a=1, b=2), r"run: x: Child would come back as Base"),
    "anything in a model": (Event, Event(data=[THEN]), r"run: x\.data\.0: datetime would not come back"),
    "more than the model names": (Open, Open(a=1, b=THEN), r"run: x\.b: datetime would not come back"),  # type: ignore[call-arg]
    "enum of pairs": (Size, Size.BIG, r"run: x: .*could not be read again"),
    "validator that changes again": (Annotated[int, AfterValidator(lambda n: n + 1)], 1, r"run: x: int would not come"),
    "parameter that is excluded": (Annotated[str, Field(exclude=True)], "x", r"run: .*'x' is missing"),
    "bytes": (bytes, b"\xff", r"run: x: bytes that are not UTF-8, which JSON can't carry; encode them as text"),
    "offset with seconds": (datetime, datetime(1900, 1, 1, tzinfo=PARIS), r"run: x: datetime would not come back"),
    "number that Python can't read": (int, 10**5000, r"args\.x: an integer of more than 4,300 digits"),
}
UNTYPED: dict[str, Any] = {
    "datetime": THEN,
    "UUID": UUID(int=7),
    "Decimal": Decimal("1.5"),
    "Point": Point(1, set()),
    "Base": Base(a=1),
    "set": {1},
    "tuple": (1, 2),
    "bytes": b"x",
    "Color": Color.RED,
    "Level": Level.LOW,
}


@pytest.mark.parametrize("case", REFUSED)
def test_argument_that_would_not_come_back_is_refused(case: str) -> None:
    hint, value, message = REFUSED[case]
    with pytest.raises(InvalidArgs, match=message) as refusal:
        made(hint, value)
    assert "pw" not in str(refusal.value)


@pytest.mark.parametrize("kind", UNTYPED)
@pytest.mark.parametrize("hint", [None, Any, object], ids=["no annotation", "Any", "object"])
def test_without_a_type_only_what_json_has_is_taken(hint: Any, kind: str) -> None:
    with pytest.raises(InvalidArgs, match=rf"run: x: {kind}, which JSON can't carry; .* annotate the parameter"):
        made(hint, UNTYPED[kind])
    with pytest.raises(InvalidArgs, match=rf"run: x\.a\.0: {kind}, which JSON can't carry"):
        made(hint, {"a": [UNTYPED[kind]]})


@pytest.mark.parametrize("kind", UNTYPED)
@pytest.mark.parametrize("hint", [list, list[Any], Sequence[Any]])
def test_list_of_anything_takes_only_what_json_has(hint: Any, kind: str) -> None:
    with pytest.raises(InvalidArgs, match=rf"run: x\.0: {kind}"):
        made(hint, [UNTYPED[kind]])


@pytest.mark.parametrize("hint", [None, dict, dict[str, Any]])
def test_dict_of_anything_takes_only_what_json_has(hint: Any) -> None:
    with pytest.raises(InvalidArgs, match=r"run: x\.a: UUID"):
        made(hint, {"a": UUID(int=7)})


@pytest.mark.parametrize("hint", [None, dict, Any])
def test_keys_that_would_come_back_as_text_are_refused(hint: Any) -> None:
    with pytest.raises(InvalidArgs, match=r"run: x: a key is int; keys of JSON objects are strings"):
        made(hint, {1: 2})


@pytest.mark.parametrize("hint", [None, Any, float, Event])
def test_nan_is_refused(hint: Any) -> None:
    with pytest.raises(InvalidArgs, match="x"):
        made(hint, {"data": math.nan} if hint is Event else math.nan)


def test_keywords_beyond_the_parameters_are_what_json_has() -> None:
    @job(name="tests.roundtrip.keywords")
    def run(a: int, **more: Any) -> None: ...

    assert run.new(1, b=[2]).args == {"a": 1, "b": [2]}
    with pytest.raises(InvalidArgs, match=r"run: when: datetime, which JSON can't carry"):
        run.new(1, when=THEN)


# Placeholders.


def no_instances(instance: Any, path: str) -> KeyedInstance:
    raise AssertionError(f"{path} is an instance of {type(instance)}")


@job(name="tests.roundtrip.lenient")
def lenient(name: Annotated[str, BeforeValidator(str)], more: Any = None) -> None: ...


def test_placeholder_is_not_taken_for_the_argument_by_a_validator_that_takes_anything() -> None:
    spec = lenient.new(later(lambda: "ada"))
    assert spec.waits
    spec.fill(no_instances)
    assert spec.args == {"name": "ada"}


@pytest.mark.parametrize("inside", [{"a": [later(lambda: 7)]}, (later(lambda: 7),), [{"b": (later(lambda: 7),)}]])
def test_placeholder_inside_is_found_whatever_the_validator_takes(inside: Any) -> None:
    assert lenient.new("x", inside).waits


def test_placeholder_in_a_set_is_filled_in() -> None:
    @job(name="tests.roundtrip.placeholders")
    def run(ids: set[int]) -> None: ...

    spec = run.new({later(lambda: 2), 1})
    spec.fill(no_instances)
    assert spec.args == {"ids": [1, 2]}


def test_placeholder_is_not_made_text() -> None:
    with pytest.raises(InvalidArgs, match=r"later\(.*\) has no value before the flush, so it can't be made text"):
        lenient.new(f"user {later(lambda: 7)}")
    with pytest.raises(InvalidArgs, match="can't be made true or false"):
        lenient.new("x" if later(lambda: 7) else "y")


def test_placeholder_of_a_coroutine_is_refused() -> None:
    async def find() -> str:
        return "ada"

    spec = lenient.new(later(find))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgs, match=r"args\.name: later\(.*find\) gave a coroutine"):
        spec.fill(no_instances)


# Sets have another order in each process.

SETS = """
from __future__ import annotations
import dataclasses
import sys
from collections.abc import Iterable
from pydantic import BaseModel
from oban_sqla import job

class Tags(BaseModel):
    names: set[str]

@dataclasses.dataclass
class Group:
    members: frozenset[str]

@job(name="sets")
def run(typed: set[str], listed: list[str], nested: list[list[str]], model: Tags, group: Group,
        iterable: Iterable[str], by_key: dict[str, set[str]], numbers: set[int]) -> None: ...

names = {"ada", "grace", "barbara", "jean", "mary", "katherine"}
spec = run.new(names, names, [names], Tags(names=names), Group(frozenset(names)), names, {"a": names}, {10, 9, -1})
print(list(names), file=sys.stderr)
print(spec.args_json)
"""


def test_set_is_stored_in_one_order_by_every_process() -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", SETS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        for seed in ("1", "2")
    ]
    assert len({run.stderr for run in runs}) == 2, "the orders of a set in these processes"
    stored = {run.stdout for run in runs}
    assert len(stored) == 1
    assert '"numbers":[-1,9,10]' in stored.pop()
