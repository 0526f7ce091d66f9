"""The code of the guides to control and telemetry runs as it stands there."""

from __future__ import annotations

import ast
import inspect
import logging
import re
import sys
from types import CodeType, SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Text, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from oban_sqla import Batch, Job, Oban, Workflow, job, otel, telemetry
from tests.processes import ROOT


class Base(DeclarativeBase): ...


class Note(Base):
    __tablename__ = "guide_notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)


@job(name="guide.send_report", queue="media")
async def send_report(customer: int) -> None: ...


@job(name="guide.add", recorded=True)
async def add(a: int, b: int) -> int:
    return a + b


@job(name="guide.charge")
async def charge(order_id: int) -> None: ...


@job(name="guide.release")
async def release(order_id: int) -> None: ...


@job(name="guide.passes_on")
async def passes_on(session: AsyncSession) -> None:
    session.add(charge.new(order_id=4))


def blocks(guide: str) -> list[CodeType]:
    text = (ROOT / "docs" / guide).read_text()
    found = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [compile(code, guide, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT) for code in found]


async def run(guide: str, **names: Any) -> dict[str, Any]:
    for block in blocks(guide):
        result = eval(block, names)
        if inspect.isawaitable(result):
            await result
    return names


async def test_the_guide_to_control_runs(engine: AsyncEngine, capsys: pytest.CaptureFixture[str]) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        async with Oban(engine, {"default": 5, "media": 5}, node="worker.1") as oban:
            [spec] = await oban.enqueue(send_report.options(schedule_in=60).new(7))
            names = await run(
                "control.md",
                oban=oban, spec=spec, job_id=spec.id, send_report=send_report, add=add,
                select=select, Job=Job, Note=Note, Session=async_sessionmaker(engine),
            )  # fmt: skip
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
    assert (names["media"].limit, names["media"].paused) == (50, True)
    assert names["status"] == 200
    assert "worker.1" in capsys.readouterr().out


async def test_the_guide_to_telemetry_runs(
    engine: AsyncEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "sentry_sdk", cast(Any, SimpleNamespace(init=dict)))
    root = logging.getLogger()
    handlers, level, asyncio_level = root.handlers[:], root.level, logging.getLogger("asyncio").level
    try:
        async with AsyncSession(engine) as session:
            given = {"engine": engine, "session": session, "charge": charge, "release": release}
            names = await run("telemetry.md", Oban=Oban, **given)
            await session.flush()  # what a guide has added
            assert await session.scalar(select(func.count()).select_from(Job).where(Job.worker == "guide.charge")) == 1
            # What goes with every job, whatever enqueues it, and into what that enqueues.
            names["request_id"].set("r-1")
            flow = Workflow("stamped")
            node = flow.add(charge.new(order_id=1))
            late = charge.options(deadline=60, meta={"tenant": 7}).new(order_id=2)
            batch = Batch([charge.new(order_id=3)], on_completed=passes_on.new())
            session.add_all([flow, late, batch])
            await session.commit()
            assert (await session.get_one(Job, node.id)).meta["request_id"] == "r-1"
            assert (await session.get_one(Job, late.id)).meta == {"request_id": "r-1", "tenant": 7, "deadline": 60.0}
            names["request_id"].set(None)
        async with Oban(engine, queues={"default": 5}, hooks=[names["RequestId"]()]) as oban:
            await oban.until_empty()
            async with AsyncSession(engine) as session:
                passed_on = Job.meta["request_id"].as_string() == "r-1", Job.args["order_id"].as_integer() == 4
                assert await session.scalar(select(Job.state).where(*passed_on)) == "completed"
        async with names["oban"] as oban:
            [spec] = await oban.enqueue(add.new(1, 2))
            assert await oban.result(spec) == 3
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("asyncio").setLevel(asyncio_level)
        telemetry.detach("slow jobs")
        telemetry.detach("request id")
        telemetry.detach_default_logger()
        otel.uninstrument()
        if "metrics" in names:
            names["metrics"].detach()
        for collector in {
            REGISTRY._names_to_collectors[name] for name in REGISTRY._names_to_collectors if name.startswith("oban_")
        }:
            REGISTRY.unregister(collector)
    out = capsys.readouterr().out
    assert "starts guide.add" in out
    assert f"is completed {spec.id}" in out
