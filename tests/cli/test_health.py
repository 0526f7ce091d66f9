"""Health checks: the ASGI application, and what ``oban-sqla start --health`` answers to probes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.routing import Route

from oban_sqla import JobSpec, Oban
from oban_sqla.cli import health as listener
from oban_sqla.cli.health import Address, AddressType, NodePages, answering
from oban_sqla.healthcheck import health_app
from tests.cli.test_start import SHOP, add, refused
from tests.processes import ROOT, Process, running
from tests.support import eventually

NOWHERE = "postgresql+asyncpg://127.0.0.1:1/nowhere"


# --- the ASGI application


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize("path", ["/health", "/mounted/", "/mounted/deeper"])
async def test_a_web_application_says_how_its_node_is(engine: AsyncEngine, path: str) -> None:
    oban = Oban(engine, {"default": 3}, node="here")
    app = FastAPI()
    app.mount("/mounted", health_app(oban))
    app.router.routes.append(Route("/health", health_app(oban)))
    async with client(app) as http:
        before = await http.get(path)
        assert (before.status_code, before.json()["started"]) == (503, False)
        async with oban:
            well = await http.get(path)
            assert well.status_code == 200
            assert well.headers["content-type"] == "application/json"
            assert well.headers["cache-control"] == "no-store"
            assert (well.json()["ok"], well.json()["node"]) == (True, "here")
            assert [queue["queue"] for queue in well.json()["queues"]] == ["default"]
            head = await http.head(path)
            assert (head.status_code, head.content) == (200, b"")
        assert (await http.get(path)).status_code == 503


async def test_the_guide_mounts_it(engine: AsyncEngine) -> None:
    text = (ROOT / "docs/operations.md").read_text().partition("## Health checks")[2]
    names: dict[str, Any] = {"oban": Oban(engine)}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    async with names["oban"], client(names["app"]) as http:
        assert (await http.get("/health/")).json()["ok"] is True


async def test_a_database_that_does_not_answer_is_503() -> None:
    engine = create_async_engine(NOWHERE)
    async with client(health_app(Oban(engine))) as http:
        answer = await http.get("/")
    assert (answer.status_code, answer.json()["ok"], answer.json()["database"]) == (503, False, None)


async def test_other_methods_are_405(engine: AsyncEngine) -> None:
    async with client(health_app(Oban(engine))) as http:
        answer = await http.post("/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_requests_at_the_same_time_share_one_look(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Oban] = []
    health = Oban.health

    async def counted(oban: Oban) -> Any:
        looks.append(oban)
        return await health(oban)

    monkeypatch.setattr(Oban, "health", counted)
    async with Oban(engine) as oban:
        app = health_app(oban)
        gone = asyncio.create_task(app.check())
        answers = asyncio.gather(*(app.check() for _ in range(20)))
        await eventually(lambda: looks)
        gone.cancel()
        assert all(answer.ok for answer in await answers), "one that goes away ends it for nobody else"
        assert len(looks) == 1
        await app.check()
        assert len(looks) == 2, "later ones look again"


async def test_it_may_be_the_whole_application_of_a_server(engine: AsyncEngine) -> None:
    received = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(received)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await health_app(Oban(engine))({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_refused(engine: AsyncEngine) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await health_app(Oban(engine))({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]


# --- oban-sqla start --health

Start = Callable[..., AbstractContextManager[Process]]


@pytest.fixture
def start(tmp_path: Path, database_url: str, clean_tables: None) -> Start:
    (tmp_path / "shop.py").write_text(SHOP)

    def start(*arguments: str, url: str = database_url) -> AbstractContextManager[Process]:
        environment = {"OBAN_DATABASE_URL": url, "APP_URL": url}
        return running(["-m", "oban_sqla", "start", *arguments], tmp_path / "log", tmp_path, environment)

    return start


async def address_of(process: Process) -> str:
    await process.says("answering health checks at")
    found = re.search(r"answering health checks at (http://\S+)", process.text)
    assert found is not None
    return found[1].replace("0.0.0.0", "127.0.0.1")


async def test_probes_are_answered_until_the_process_ends(start: Start, engine: AsyncEngine) -> None:
    with start("shop", "--node", "me", "--health", "127.0.0.1:0", "--shutdown-grace", "300") as process:
        async with httpx.AsyncClient(base_url=await address_of(process)) as http:
            await process.says("started on me")
            for path in ("/", "/ready", "/ready?verbose=1"):
                ready = await http.get(path)
                assert (ready.status_code, ready.json()["ok"], ready.json()["node"]) == (200, True, "me")
            live = await http.get("/live")
            assert (live.status_code, live.json()["ok"]) == (200, True)
            assert live.json()["loops"]["stager"] is True
            head = await http.head("/ready")
            assert (head.status_code, head.content) == (200, b"")
            assert (await http.post("/ready")).status_code == 405
            missing = await http.get("/nothing")
            assert missing.status_code == 404
            assert missing.json()["error"].startswith("not found; the pages are /, /ready, /live")

            await add(engine, [JobSpec("shop.slow", {"seconds": 300})])
            await process.says("slow\n")
            process.signal(signal.SIGTERM)
            await process.says("fetching no more")
            stopping, live = await http.get("/ready"), await http.get("/live")
            assert (stopping.status_code, live.status_code) == (503, 200), "a node that stops is alive, and not ready"
            process.signal(signal.SIGTERM)
            assert await process.ended() == 128 + signal.SIGTERM
            with pytest.raises(httpx.ConnectError):
                await http.get("/live")
    assert "Traceback" not in process.text


async def test_a_node_that_waits_for_its_database_is_alive_and_not_ready(start: Start) -> None:
    with start("shop", "--health", "0", url=NOWHERE) as process:
        async with httpx.AsyncClient(base_url=await address_of(process)) as http:
            live, ready = await http.get("/live"), await http.get("/ready")
            assert (live.status_code, live.json()) == (200, {"ok": True, "loops": {}})
            assert (ready.status_code, ready.json()["started"]) == (503, False)


async def test_metrics_are_on_the_same_port(start: Start, engine: AsyncEngine) -> None:
    await add(engine, [JobSpec("shop.quick"), JobSpec("shop.quick", queue="elsewhere")])
    with start("shop", "--health", "127.0.0.1:0") as process:
        async with httpx.AsyncClient(base_url=await address_of(process)) as http:

            async def counted() -> bool:
                text = (await http.get("/metrics")).text
                return 'oban_jobs_total{queue="default",state="completed",worker="shop.quick"} 1.0' in text

            await eventually(counted)
            answer = await http.get("/metrics")
            assert answer.headers["content-type"].startswith("text/plain")
            assert 'oban_queue_jobs{queue="elsewhere",state="available"} 1.0' in answer.text


async def test_metrics_that_the_module_collects_itself_are_served(start: Start, tmp_path: Path) -> None:
    with (tmp_path / "shop.py").open("a") as file:
        file.write("\nfrom oban_sqla import prometheus\nprometheus.instrument()\n")
    with start("shop", "--health", "127.0.0.1:0") as process:
        async with httpx.AsyncClient(base_url=await address_of(process)) as http:
            assert "oban_leader " in (await http.get("/metrics")).text


async def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = await asyncio.to_thread(refused, tmp_path, "shop", "--health", f"127.0.0.1:{port}")
    assert (code, said) == (1, f"--health: can't listen on 127.0.0.1:{port}: Address already in use\n")


async def test_a_host_that_there_is_not_is_one_line(tmp_path: Path) -> None:
    code, said = await asyncio.to_thread(refused, tmp_path, "shop", "--health", "no.such.host.invalid:80")
    assert code == 1
    assert said.startswith("--health: can't listen on no.such.host.invalid:80: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("8080", "0.0.0.0:8080"),
        ("localhost:80", "localhost:80"),
        ("[::1]:8080", "[::1]:8080"),
        ("127.0.0.1:0", "127.0.0.1:0"),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(given: str, address: str) -> None:
    assert str(AddressType().convert(given, None, None)) == address


@pytest.mark.parametrize("given", ["", "http", ":80", "host:", "host:http", "65536", "-1", "::1:80", "[]:80", "[a]:80"])
def test_an_invalid_address_is_a_usage_error(tmp_path: Path, given: str) -> None:
    code, said = refused(tmp_path, "shop", "--health", given)
    assert code == 2
    assert "expected a port" in said or "a port is a number from 0 to 65,535" in said


# --- clients that misbehave


def no_metrics(_oban: Oban) -> None: ...


@pytest.fixture
async def address(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[tuple[str, int]]:
    """Where a node answers that gives clients a third of a second, and takes three at once."""
    monkeypatch.setattr(listener, "CLIENT_TIMEOUT", 0.3)
    monkeypatch.setattr(listener, "LINE_TIMEOUT", 0.3)
    monkeypatch.setattr(listener, "MOST_CLIENTS", 3)
    monkeypatch.setattr(listener, "_metrics_of", no_metrics)  # they are for the process, once
    caplog.set_level("INFO", "oban_sqla")
    async with Oban(engine) as oban, answering(NodePages(oban), Address("127.0.0.1", 0)):
        port = int(caplog.messages[-1].rpartition(":")[2])
        yield "127.0.0.1", port
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def say(address: tuple[str, int], request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"200 OK"),
        (b"GET /live HTTP/1.0\r\nA: b\r\n\r\n", b"200 OK"),
        (b"nonsense\r\n\r\n", b"400 Bad Request"),
        (b"GET  HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/2\r\n\r\n", b"400 Bad Request"),
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"\xff\x00 / HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", b"400 Bad Request"),
    ],
)
async def test_each_request_has_its_answer(address: tuple[str, int], sent: bytes, status: bytes) -> None:
    answer = await say(address, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    json.loads(body)


async def test_a_request_without_an_end_is_given_up(address: tuple[str, int]) -> None:
    assert await say(address, b"GET / HTTP/1.1\r\n") == b""
    assert await _is_well(address)


async def test_a_request_that_is_too_long_is_refused(address: tuple[str, int]) -> None:
    for headers in (b"X: " + b"x" * (listener.LONGEST_REQUEST + 1), b"X: y\r\n" * (listener.LONGEST_REQUEST // 6 + 1)):
        answer = await say(address, b"GET / HTTP/1.1\r\n" + headers)
        assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


async def test_a_client_that_leaves_harms_no_other_client(address: tuple[str, int]) -> None:
    for _ in range(20):
        _, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        writer.transport.abort()
    assert await eventually(lambda: _is_well(address))


async def test_silent_clients_keep_no_probe_from_its_answer(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "LINE_TIMEOUT", 60.0)
    idle = [await asyncio.open_connection(*address) for _ in range(10)]
    try:
        for _ in range(10):
            assert await _is_well(address)
        async with asyncio.timeout(20):  # far less than the time that a silent client has
            assert await idle[0][0].read() == b"", "the oldest of them were closed"
    finally:
        for _, writer in idle:
            writer.close()


async def test_a_client_that_says_nothing_is_closed_after_a_second(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    try:
        assert await asyncio.wait_for(reader.read(), 30) == b""
    except ConnectionResetError:
        pass
    finally:
        writer.close()


async def _is_well(address: tuple[str, int]) -> bool:
    return b"200 OK" in await say(address, b"GET / HTTP/1.1\r\n\r\n")


async def test_a_loop_that_has_ended_is_not_alive(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_metrics_of", no_metrics)  # they are for the process, once
    async with Oban(engine) as oban:
        assert oban._node is not None
        await oban._node.stager.stop()
        status, _, body = await listener.NodePages(oban)._live()
    assert (status, json.loads(body)["ok"], json.loads(body)["loops"]["stager"]) == (503, False, False)


async def test_a_process_without_prometheus_has_no_metrics(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert listener._metrics_of(Oban(engine)) is None
    async with Oban(engine) as oban:
        answer = await listener.NodePages(oban).answer("GET", "/metrics")
    assert b"/metrics needs: pip install 'oban-sqla[prometheus]'" in answer
