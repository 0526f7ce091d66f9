"""The Python of the guides to long jobs, results, resources and the dashboard runs as it stands there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Generic, Protocol, TypeVar

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Oban, job
from oban_sqla.testing import drain
from oban_sqla.web import dashboard
from tests.docs.test_snippets import module, run

__all__ = ["module"]

T = TypeVar("T")


User = dict[str, int] | None
"""The page leaves the function empty, so that it returns None."""


async def test_long_jobs(engine: AsyncEngine, module: dict[str, Any]) -> None:
    did: list[Any] = []

    async def charge_card(order_id: int) -> str:
        did.append("charged")
        return "receipt"

    async def refund(receipt: str) -> None: ...

    async def send_thanks(order_id: int, by: str) -> None:
        did.append(f"thanked, approved by {by}")

    async with AsyncSession(engine) as session, Oban(engine) as oban:
        # The page asks for a signal before it defines the test that enqueues the job, so it is of no job yet.
        module |= {
            "charge_card": charge_card, "refund": refund, "send_thanks": send_thanks, "oban": oban, "drain": drain,
            "session": session, "job_id": 0,
        }  # fmt: skip
        await run("long-jobs.md", module)
        assert module["sent"] is False
        await module["test_an_order_is_thanked_for_after_three_days"](session, oban)
        await session.rollback()
    assert did == ["charged", "thanked, approved by ann"]


async def test_results(engine: AsyncEngine, module: dict[str, Any]) -> None:
    stored: list[Any] = []

    @job(name="docs.fetch", recorded=True)
    async def fetch(url: str) -> int:
        return len(url)

    @job(name="docs.build_part", recorded=True)
    async def build_part(part: int) -> int:
        return part * 2

    def store(url: str, value: int) -> None:
        stored.append((url, value))

    async def nothing(report_id: int) -> None: ...

    async with Oban(engine, queues={"default": 3}) as oban:
        module |= {
            "job": job, "User": User, "oban": oban, "fetch": fetch, "build_part": build_part, "Oban": Oban,
            "urls": ["a", "bb"], "store": store,
            "prepare": nothing, "wait_for_the_other_side": nothing,
        }  # fmt: skip
        await run("results.md", module)
        assert module["user"] is None
        assert sorted(stored) == [("a", 1), ("bb", 2)]
        [spec] = await oban.enqueue(module["build"].new(parts=[1, 2]))
        assert await oban.result(spec, timeout=10) == 6


async def test_resources(engine: AsyncEngine, module: dict[str, Any]) -> None:
    class Cache(Protocol): ...

    class Repository(Generic[T]): ...

    class Redis: ...

    class Span: ...

    told: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        told.append(str(request.url))
        return httpx.Response(204)

    async def open_span() -> AsyncGenerator[Span]:
        yield Span()

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as fake, AsyncSession(engine) as session:
        module |= {
            "httpx": httpx, "engine": engine, "session": session, "Cache": Cache, "Repository": Repository,
            "User": User, "Redis": Redis, "Span": Span, "Annotated": Annotated, "fake": fake, "open_span": open_span,
            "make_cache": Redis, "make_users": Redis, "make_cache_redis": Redis, "make_limits_redis": Redis,
        }  # fmt: skip
        await run("resources.md", module)
        await session.rollback()
    assert told == ["https://example.com/notify"]


async def test_the_dashboard(engine: AsyncEngine, module: dict[str, Any]) -> None:
    module |= {"oban": Oban(engine), "Oban": Oban, "engine": engine, "dashboard": dashboard}
    await run("dashboard.md", module)
    assert module["redact"](type("Past", (), {"args": {"password": "secret", "a": 1}})) == {"password": "…", "a": 1}
    assert module["oban"].config.metrics
