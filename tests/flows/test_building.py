"""What a workflow refuses while it is built, and when it is added, each with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import Batch, InvalidArgs, InvalidOption, Job, Unique, Workflow, job, worker
from tests.flows.test_workflows import fetch, load_user, note, parse, store


def as_list(value: Any) -> Any:
    return value


def stored(n: Any) -> Any:
    return store.new(n)


def with_slash(url: str) -> Any:
    return fetch.new(url + "/")


def of_page(page: dict[str, str]) -> Any:
    return fetch.new(page["url"])


@job(name="building.plain")
def plain(n: int) -> None:
    raise AssertionError(f"it ran, while a workflow was built, with {n}")


@worker(name="building.Plain")
class Plain:
    def __init__(self, *given: object) -> None:
        assert not given

    def process(self, job: Job) -> None: ...


def case(change: Callable[[Any], Any], said: str) -> tuple[Callable[[Any], Any], str]:
    """A pair whose function has the type that a list of pairs would not give it."""
    return change, said


def build(change: Callable[[Workflow], Any]) -> Workflow:
    flow = Workflow("building")
    change(flow)
    return flow


@pytest.mark.parametrize(
    ("change", "said"),
    [  # pyright: ignore[reportUnknownArgumentType]
        case(lambda flow: [flow.add(note.new()), flow.add(note.new())], "has a node 'note' already"),
        case(lambda flow: flow.add(note.new(), after=["nowhere"]), "has no node 'nowhere'"),
        case(lambda flow: flow.add(note.new(), after=[Workflow("other").add(note.new())]), "is a node of 'other'"),
        case(lambda flow: flow.add(Workflow("x").add(note.new()).spec, name="b"), "in a batch or a workflow"),
        case(lambda flow: Batch([flow.add(note.new()).spec]), "is in another batch or flow"),
        case(lambda flow: flow.add(*Batch([note.new()]).unwritten[0]), "in a batch or a workflow"),
        case(lambda flow: flow.add(note.new(), on_failure="explode"), "on_failure: expected"),
        case(lambda flow: flow.add(note.new(), name=" "), "name: expected text that is not blank"),
        case(lambda flow: flow.add(note.new(), name="n" * 256), "name: at most 255 characters, got 256"),
        case(lambda flow: Workflow("n" * 256), "name: at most 255 characters, got 256"),
        case(lambda flow: Workflow("n", unique="k" * 256), "unique: at most 255 characters, got 256"),
        case(lambda flow: flow.add("note"), "expected a JobSpec or a Workflow"),
        case(lambda flow: flow.add(Batch([note.new()]), name="batch"), "expected a JobSpec or a Workflow"),
        case(lambda flow: flow.map(with_slash, over=cast(Any, [])), "over is empty, and without an element"),
        case(lambda flow: flow.add(flow), "can't be a part of itself"),
        case(lambda flow: flow.add(note.options(unique=Unique()).new()), "can't be unique"),
        case(lambda flow: flow.returns("nowhere"), "has no node 'nowhere'"),
        case(lambda flow: flow.returns(cast(Any, 3)), "returns: expected nodes or their names, got 3"),
        case(lambda flow: flow.returns(cast(Any, ["a"])), "has no node 'a'"),
        case(
            lambda flow: flow.returns(cast(Any, [flow.add(note.new()), flow.add(note.new(), name="b")])),
            "returns: expected one node or its name",
        ),
        case(lambda flow: flow.map(as_list, over=[1]), "a function that returns a JobSpec"),
        case(lambda flow: flow.map(parse.new, over="text"), "expected a result or an iterable"),
        case(lambda flow: flow.map(parse.new, over=flow.add(load_user.new(1))), r"; write over=node\.result"),
        case(lambda flow: flow.add(note.new(), after=flow.add(fetch.new("u")).result), "; give the node itself"),
        case(lambda flow: flow.returns(flow.add(fetch.new("u")).result), "got <result of 'fetch'>; give the node"),
        case(lambda flow: flow.add(Workflow("sub")).result, "returns nothing"),
        case(lambda flow: Workflow(""), "Workflow: name"),
        case(lambda flow: Workflow("x", unique=""), "Workflow: unique"),
        case(lambda flow: Workflow("\ud800"), "a lone surrogate, which PostgreSQL can't store"),
        case(lambda flow: flow.add(note.new(), name="\0"), "a lone surrogate, which PostgreSQL can't store"),
    ],
)
def test_an_invalid_workflow_is_refused_with_the_reason(change: Callable[[Workflow], Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        build(change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        case(lambda flow: flow.add(fetch.new(flow.add(load_user.new(1)).result["age"])), "url is str, and the result"),
        case(lambda flow: flow.add(fetch.new(flow.add(load_user.new(1)).result["hompage"])), "has no 'hompage'"),
        case(lambda flow: flow.map(parse.new, over=flow.add(load_user.new(1)).result["age"]), "not a list"),
        case(lambda flow: flow.map(stored, over=flow.add(fetch.new("u")).result), "counts is"),
        case(lambda flow: flow.add(store.new(as_list({flow.add(parse.new("x")).result}))), "element of a set"),
        case(lambda flow: flow.add(fetch.new(flow.add(note.new()))), r"got Node\); .* pass node\.result"),
        case(lambda flow: Workflow("x", meta=cast(Any, [1])), "meta: expected a dict"),
    ],
)
def test_a_result_that_can_not_be_the_argument_is_refused(change: Callable[[Workflow], Any], said: str) -> None:
    with pytest.raises(InvalidArgs, match=said):
        build(change)


USES: list[Callable[[Any], Any]] = [
    str,
    bool,
    list,
    len,
    int,
    float,
    lambda r: f"{r}",
    lambda r: r == 1,
    lambda r: r + 1,
    lambda r: r(),
    lambda r: 1 in r,
]


@pytest.mark.parametrize("use", USES)
def test_a_result_can_only_be_indexed_and_passed_on(use: Callable[[Any], Any]) -> None:
    result = Workflow("x").add(parse.new("x")).result
    with pytest.raises(InvalidArgs, match="has no value before its job has run"):
        use(result)
    assert "result of 'parse'" in repr(result)


def test_a_spec_with_a_result_belongs_into_its_workflow() -> None:
    spec = fetch.new(Workflow("x").add(load_user.new(1)).result["homepage"])
    with Session() as session, pytest.raises(InvalidArgs, match="known only in its workflow"):
        session.add(spec)
        spec.fill(as_list(None))


def test_it_is_not_iterable_and_has_no_subclasses() -> None:
    with pytest.raises(TypeError):
        Session().add_all(Workflow("x"))  # type: ignore[arg-type]  # pyright: ignore
    with pytest.raises(InvalidOption, match="can't be subclassed"):
        type("Own", (Workflow,), {})


def test_it_is_drawn_as_a_flowchart() -> None:
    flow = Workflow("drawn")
    pages = flow.add(fetch.new("u"), name="pages")
    parts = flow.map(parse.new, over=pages.result, name="parts")
    flow.add(store.new(parts.results), name="store", on_failure="ignore")
    assert flow.mermaid().splitlines() == [
        "flowchart TD",
        '  n0["pages"]',
        '  n1[["parts"]]',
        '  n2["store"]',
        "  n0 --> n1",
        "  n1 -.-> n2",
    ]


async def test_a_written_one_takes_no_more_and_an_empty_or_merged_or_deleted_one_is_refused(
    engine: AsyncEngine,
) -> None:
    flow = Workflow("written")
    flow.add(note.new())
    async with AsyncSession(engine) as session:
        session.add(flow)
        await session.commit()
        with pytest.raises(InvalidOption, match="is written already"):
            flow.add(note.new(), name="more")
        with pytest.raises(InvalidOption, match=r"oban\.delete"):
            await session.delete(flow)
            await session.flush()
        await session.rollback()
        session.add(Workflow("empty"))
        with pytest.raises(InvalidOption, match="has no nodes"):
            await session.flush()
        await session.rollback()
        fresh = Workflow("merged")
        fresh.add(note.new())
        with pytest.raises(InvalidOption, match="can't be merged"):
            await session.merge(fresh)
    async with AsyncSession(engine) as session:
        loaded = await session.get_one(Workflow, flow.id)
        with pytest.raises(InvalidOption, match="was loaded"):
            loaded.add(note.new())


@pytest.mark.parametrize("one_flush", [True, False])
@pytest.mark.parametrize("kind", [Workflow, Batch])
async def test_a_job_that_was_added_by_itself_too_is_not_written_twice(
    engine: AsyncEngine, kind: type[object], one_flush: bool
) -> None:
    spec = note.new()
    whole: object = Batch([spec])
    if kind is Workflow:
        spec = note.new()
        whole = build(lambda flow: flow.add(spec))
    async with AsyncSession(engine) as session:
        session.add(spec)
        if not one_flush:
            await session.flush()
        session.add(whole)
        with pytest.raises(InvalidOption, match=f"is part of <{kind.__name__} .* and was added by itself, too"):
            await session.flush()
        await session.rollback()
        session.add(whole)
        await session.commit()
        assert [one.id for one in await session.scalars(select(Job))] == [spec.id]


def test_a_map_over_a_list_that_is_empty_today_has_the_name_that_it_has_with_elements() -> None:
    names = {Workflow("x").map(parse.new, over=over).name for over in ([], ["a"])}
    assert names | {Workflow("x").map(of_page, over=cast(Any, [])).name} == {"parse", "fetch"}


@pytest.mark.parametrize("given", [note.new(), plain, Plain], ids=["spec", "function", "class"])
def test_a_map_of_a_spec_or_a_worker_in_place_of_a_function_is_refused_and_runs_nothing(given: object) -> None:
    with pytest.raises(InvalidOption, match=r"map: expected a function that makes .*; write map\(worker\.new, over="):
        Workflow("x").map(cast(Any, given), over=[1])


def test_a_name_is_drawn_as_text() -> None:
    flow = Workflow("x")
    flow.add(note.new(), name='a "b"\n#quot; <b>`c`')
    assert flow.mermaid().splitlines()[1:] == ['  n0["a #quot;b#quot; #35;quot; #lt;b#gt;#96;c#96;"]']
