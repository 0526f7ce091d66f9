"""Signals of the Oban family: what oban-py and Elixir send is understood, and what we send is in their form."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban
from oban_sqla.statements.wire import unpacked
from tests.control import jobs
from tests.control.jobs import waits
from tests.runtime.helpers import execute, insert, until
from tests.support import eventually

CHANNEL = "public.oban_signal"


@pytest.fixture(autouse=True)
async def _fresh(engine: AsyncEngine) -> None:
    """A node of another program works on these tables, so that its signals count."""
    jobs.reset()
    await execute(
        engine,
        "INSERT INTO oban_producers (uuid, name, node, queue, meta) "
        "VALUES (gen_random_uuid(), 'Oban', 'other', 'other', '{\"local_limit\": 5}')",
    )


def packed(payload: dict[str, Any]) -> str:
    """As oban-py's and Elixir's notifiers write it."""
    return base64.b64encode(gzip.compress(json.dumps(payload).encode())).decode()


async def send(engine: AsyncEngine, **payload: Any) -> None:
    await execute(engine, "SELECT pg_notify(:channel, :payload)", channel=CHANNEL, payload=packed(payload))


async def test_a_foreign_pause_is_done_and_kept(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 5}) as oban:
        await send(engine, action="pause", queue="default", ident="any")
        await eventually(lambda: oban.check_queues()[0].paused)
    async with Oban(engine, {"default": 5}) as oban:
        assert oban.check_queues()[0].paused, "it survives a restart, as our own do"
        await send(engine, action="resume", queue="*", ident="any")
        await eventually(lambda: not oban.check_queues()[0].paused)


async def test_foreign_signals_start_scale_and_stop_a_queue(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 5}, node="here") as oban:
        await send(engine, action="start", queue="late", limit=2, paused=True, ident="any")
        node = oban._node
        assert node is not None
        await eventually(lambda: "late" in node.control.known and oban.check_queue("late") is not None)
        late = oban.check_queue("late")
        assert late is not None
        assert (late.limit, late.paused) == (2, True)
        await send(engine, action="scale", queue="late", limit=4, ident="Oban.here")
        await eventually(lambda: (found := oban.check_queue("late")) is not None and found.limit == 4)
        await send(engine, action="stop", queue="late", ident="any")
        await eventually(lambda: oban.check_queue("late") is None)


async def test_a_signal_for_another_node_and_nonsense_change_nothing(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 5}, node="here") as oban:
        await send(engine, action="pause", queue="default", ident="Oban.there")
        await send(engine, action="scale", queue="default", limit="many", ident="any")
        await send(engine, action="scale", queue="default", limit=0, ident="any")
        await send(engine, action="pause", queue=7, ident="any")
        await send(engine, action="pkill", job_id="x")
        await send(engine, action="what")
        for payload in ("", "x", "[]", "{", "bm90IHppcHBlZA==", packed({})[:20]):
            await execute(engine, "SELECT pg_notify(:channel, :payload)", channel=CHANNEL, payload=payload)
        await send(engine, action="scale", queue="default", limit=6, ident="any")
        await eventually(lambda: oban.check_queues()[0].limit == 6)
        assert not oban.check_queues()[0].paused


async def test_a_foreign_pkill_stops_a_running_job(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 5}):
        [job_id] = await insert(engine, waits.new())
        await eventually(lambda: jobs.events == ["started"])
        await send(engine, action="pkill", job_id=job_id)
        await until(engine, job_id, "cancelled")


async def test_what_we_send_has_the_form_that_they_read(engine: AsyncEngine, database_url: str) -> None:
    heard: list[dict[str, Any]] = []

    def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        heard.append(json.loads(str(payload)))

    listener = await asyncpg.connect(make_url(database_url).set(drivername="postgresql").render_as_string(False))
    await listener.add_listener(CHANNEL, hear)
    try:
        async with Oban(engine, {"default": 2}, node="here", shutdown_grace=0) as oban:
            await oban.pause_queue("default")
            await oban.resume_queue("default", node="here")
            await oban.scale_queue("default", limit=7)
            await oban.start_queue("late", limit=2)
            await oban.stop_queue("late")
            [job_id] = await insert(engine, waits.new())
            await eventually(lambda: jobs.events == ["started"])
            await oban.cancel(job_id)
            await eventually(lambda: len(heard) == 6)
    finally:
        await listener.close()
    assert heard == [
        {"action": "pause", "queue": "default", "ident": "any"},
        {"action": "resume", "queue": "default", "ident": "Oban.here"},
        {"action": "scale", "queue": "default", "ident": "any", "limit": 7},
        {"action": "start", "queue": "late", "ident": "any", "limit": 2, "paused": False},
        {"action": "stop", "queue": "late", "ident": "any"},
        {"action": "pkill", "job_id": job_id},
    ]


async def test_with_notify_off_nothing_is_sent(engine: AsyncEngine, database_url: str) -> None:
    heard: list[object] = []

    def hear(*notification: object) -> None:
        heard.append(notification)

    listener = await asyncpg.connect(make_url(database_url).set(drivername="postgresql").render_as_string(False))
    await listener.add_listener(CHANNEL, hear)
    try:
        async with Oban(engine, {"default": 5}, notify="off") as oban:
            await oban.pause_queue("default")
            assert oban.check_queues()[0].paused, "here it is done at once"
            await execute(engine, "SELECT pg_notify('public.oban_signal', '{}')")
            await eventually(lambda: bool(heard))
            await asyncio.sleep(0.05)
    finally:
        await listener.close()
    assert len(heard) == 1


def test_payloads_are_plain_or_packed() -> None:
    assert unpacked('{"queue":"default"}') == {"queue": "default"}
    assert unpacked(packed({"queue": "default"})) == {"queue": "default", "foreign": True}
    for nonsense in ("", "default", "eA==", packed({})[:12]):
        with pytest.raises(ValueError):
            unpacked(nonsense)
