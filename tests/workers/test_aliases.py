"""Names of types in annotations: `type Name = …` of Python 3.12, which typing_extensions has for 3.11, too."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeAlias, TypeVar

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import TypeAliasType

from oban_sqla import Chunk, InvalidArgs, Job, Snooze, Unique, injected, job
from oban_sqla.runtime.durable.call import StepCall
from oban_sqla.testing import perform
from oban_sqla.workers.unresolved import Unresolved
from oban_sqla.workers.worker import Worker

T = TypeVar("T")


class Base(DeclarativeBase): ...


class Parcel(Base):
    __tablename__ = "alias_parcels"
    id: Mapped[int] = mapped_column(primary_key=True)


def within_itself(name: str, meaning: str) -> Any:
    """``type name = meaning``, where the name is in its meaning."""
    names: dict[str, Any] = {"Optional": Optional}
    if sys.version_info >= (3, 12):
        exec(f"type {name} = {meaning}", names)
        return names[name]
    make: Any = TypeAliasType
    made = make(name, int)
    object.__setattr__(made, "__value__", eval(meaning, names | {name: made}))
    return made


if TYPE_CHECKING:
    Tree = dict[str, Any]
    Endless: TypeAlias = int | None
    Own = Job
    Maybe: TypeAlias = T | None
    Jobs = list[Job]
    Outcome: TypeAlias = int | Snooze
    Ours = AsyncSession
    Loaded = Parcel
else:
    Tree = within_itself("Tree", "dict[str, Optional[Tree]]")
    Endless = within_itself("Endless", "Optional[Endless]")
    Own = TypeAliasType("Own", Job)
    Maybe = TypeAliasType("Maybe", T | None, type_params=(T,))
    Jobs = TypeAliasType("Jobs", list[Job])
    Outcome = TypeAliasType("Outcome", int | Snooze)
    Ours = TypeAliasType("Ours", AsyncSession)
    Loaded = TypeAliasType("Loaded", Annotated[Parcel, "as a whole"])


def arguments_of(given: Any) -> Any:
    worker: Worker = given.worker
    assert worker.arguments is not None
    return worker.arguments


async def test_a_type_may_be_in_its_own_meaning() -> None:
    @job
    async def walk(tree: Tree) -> None: ...

    assert walk.new({"a": {"b": None}}).args == {"tree": {"a": {"b": None}}}
    with pytest.raises(InvalidArgs, match="tree"):
        walk.new({"a": {"b": 7}})


def test_one_that_means_nothing_but_itself_ends_somewhere() -> None:
    @job
    async def nothing(what: Endless = None) -> None: ...

    assert arguments_of(nothing).injected == {}


def test_what_the_runtime_fills_in_may_have_another_name() -> None:
    @job
    async def writes(own: Own, n: int, session: Ours = injected()) -> None: ...

    @job
    async def maybe(n: int, session: Maybe[AsyncSession] = None) -> None: ...

    @job(chunk=Chunk(size=2))
    async def several(jobs: Jobs) -> None: ...

    assert arguments_of(writes).injected == {"own": Job, "session": AsyncSession}
    assert writes.new(n=1).args == {"n": 1}
    assert arguments_of(maybe).injected == {"session": AsyncSession}
    assert several.new({"n": 1}).args == {"n": 1}


async def test_mapped_classes_may_have_another_name() -> None:
    seen: list[object] = []

    @job
    async def sends(parcel: Loaded, other: Maybe[Parcel] = None) -> None:
        seen.extend([parcel, other])

    first, second = Parcel(id=1), Parcel(id=2)
    await perform(sends.new(first, second))
    assert seen == [first, second]
    assert arguments_of(sends).entities == ("parcel", "other")


async def test_outcomes_and_steps_may_have_another_name() -> None:
    @job(recorded=True)
    async def answers() -> Outcome:
        return 7

    async def books(session: Ours, n: int) -> int:
        return n

    assert arguments_of(answers).returned.read("7") == 7
    assert StepCall("books", books).session_kind is AsyncSession


def test_a_name_whose_meaning_is_not_known_is_named() -> None:
    if sys.version_info < (3, 12):
        pytest.skip("its right side is looked at late from Python 3.12 on")
    names: dict[str, Any] = {}
    exec("type Later = Missing\ndef late(what: Later) -> None: ...", names)
    late = job(name="aliases.late", unique=Unique())(names["late"])
    with pytest.raises(Unresolved, match="names 'Missing', which is not known"):
        late.new(1)
