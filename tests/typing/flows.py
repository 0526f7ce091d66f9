"""Types of workflows. Nothing runs this file: pyright and mypy read it, and report a comment that ignores nothing."""

from __future__ import annotations

from typing import Any, assert_type

from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from oban_sqla import Job, JobSpec, Node, Nodes, Oban, Workflow, flow_of, job


class User(TypedDict):
    homepage: str
    age: int


@job(name="typing.load_user")
async def load_user(id: int) -> User:
    return {"homepage": "", "age": id}


@job(name="typing.fetch")
async def fetch(url: str) -> list[str]:
    return [url]


@job(name="typing.parse")
async def parse(page: str, lang: str = "en") -> int:
    return len(page)


@job(name="typing.store")
def store(session: Session, counts: list[int]) -> None: ...


async def workflows(oban: Oban, running: Job, session: Session) -> None:
    flow = Workflow("w", unique="key", meta={"a": 1})
    user = flow.add(load_user.new(7), name="user")
    assert_type(user, Node[User])
    assert_type(user.result["homepage"], str)
    pages = flow.add(fetch.new(url=user.result["homepage"]))
    fetch.new(url=user.result["age"])  # type: ignore[arg-type]
    user.result["hompage"]  # type: ignore[misc]
    parts = flow.map(lambda page: parse.new(page, lang="de"), over=pages.result, name="parts", after=[user])
    assert_type(parts, Nodes[list[int]])
    assert_type(parts.results, list[int])
    flow.map(parse.new, over=pages.result, name="same")
    flow.map(lambda n: parse.new(n), over=parts.results, name="no")  # type: ignore[arg-type]
    flow.add(store.new(parts.results), after=[user, parts], on_failure="ignore")
    store.new(pages.result)  # type: ignore[arg-type]
    assert_type(flow.add(Workflow("sub")), Node[Any])
    flow.returns(parts)
    assert_type(flow.id, int | None)
    assert_type(flow.conflict, bool)
    assert_type(flow.mermaid(), str)
    assert_type(await oban.result(user), User)
    assert_type(await oban.result(parts), list[int])
    assert_type(await oban.result(flow), Any)
    async for node, of_node in oban.results([user]):
        assert_type(node, Node[User])
        assert_type(of_node.value, User)
    async for one, of_one in oban.results([flow]):
        assert_type(one, Workflow)
        assert_type(of_one.value, Any)
    assert_type(await oban.cancel(flow), int)
    assert_type(await oban.retry(flow, from_node="store"), int)
    assert_type(await oban.delete(flow), int)
    assert_type(await flow_of(running).append(parse.new("a"), name="more", after=["user"]), Node[int])
    assert_type(flow_of(running).append(parse.new("a"), session=session), Node[int])
    assert_type(flow_of(running).append(Workflow("b"), session=session), Node[Any])
    specs: list[JobSpec] = [parse.new("a"), load_user.new(1)]
    del specs
