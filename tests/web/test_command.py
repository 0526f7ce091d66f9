"""``oban-sqla web``, and what the audit says of the command line."""

from __future__ import annotations

import asyncio
import base64
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec, Oban
from oban_sqla.cli import main
from tests.web.conftest import audit

TOKEN = "a-long-enough-token"


@contextmanager
def served(database_url: str, *options: str) -> Generator[str]:
    """The URL of a dashboard in a process; it has to end well on Ctrl-C."""
    command = [sys.executable, "-m", "oban_sqla", "web", "--port", "0", "--database-url", database_url, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert said.startswith("the dashboard is at http://127.0.0.1:"), said + (
            process.communicate()[1] if not said else ""
        )
        yield said.split()[4]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_it_answers_to_this_machine_alone(database_url: str, clean_tables: None) -> None:
    with served(database_url) as url, httpx.Client(trust_env=False, timeout=60) as client:
        assert client.get(url).status_code == 200
        assert client.get(url, headers={"host": "localhost:4000"}).status_code == 200
        assert client.get(url, headers={"host": "[::1]:4000"}).status_code == 200
        for host in ("evil.test", "evil.test:4000", "127.0.0.1.evil.test", "10.0.0.1", "[localhost"):
            assert client.get(url, headers={"host": host}).status_code == 403
        body = {"worker": "app.w"}
        sent = client.post(f"{url}do/enqueue", data=body, headers={"sec-fetch-site": "same-origin"})
        assert sent.status_code == 303


def test_with_a_token_it_asks_for_it(database_url: str, clean_tables: None) -> None:
    options = ("--token", TOKEN, "--read-only")
    with served(database_url, *options) as url, httpx.Client(trust_env=False, timeout=60) as client:
        refused = client.get(url)
        assert (refused.status_code, refused.headers["www-authenticate"][:5]) == (401, "Basic")
        wrong = {"authorization": "Basic " + base64.b64encode(b"anna:wrong").decode()}
        assert client.get(url, headers=wrong).status_code == 401
        for malformed in (b"Basic \xe9", b"Basic /w==", b"Basic a", b"Bearer \xe9", b"Basic"):
            assert client.get(url, headers={b"authorization": malformed}).status_code == 401
        right = {"authorization": "Basic " + base64.b64encode(f"anna:{TOKEN}".encode()).decode()}
        page = client.get(url, headers=right)
        assert page.status_code == 200
        assert "anna" in page.text
        assert "read only" in page.text
        assert client.get(url, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        form = {"worker": "app.w"}
        sent = client.post(f"{url}do/enqueue", data=form, headers=right | {"sec-fetch-site": "same-origin"})
        assert sent.status_code == 403


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--host", "0.0.0.0"], "needs --token"), (["--token", "short"], "at least 16 characters")],
)
def test_what_is_not_safe_is_refused(database_url: str, options: list[str], says: str) -> None:
    result = CliRunner().invoke(main, ["web", "--database-url", database_url, *options])
    assert result.exit_code == 2
    assert says in result.output


def test_what_the_settings_say_of_the_nodes_counts(
    database_url: str, sync_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBAN_PRUNE", "{max_age = 3600}")
    with sync_engine.begin() as connection:
        finished = (
            "INSERT INTO oban_jobs (worker, state, completed_at) VALUES ('w', 'completed', timezone('UTC', now()))"
        )
        [[job_id]] = connection.execute(text(f"{finished} RETURNING id"))
    with served(database_url) as url:
        assert "prunes it in 1 h" in httpx.get(f"{url}job/{job_id}", trust_env=False, timeout=60).text


async def test_changes_by_the_command_line_are_in_the_audit(engine: AsyncEngine, database_url: str) -> None:
    async with Oban(engine, node="web-1") as oban:
        [job] = await oban.enqueue([JobSpec("app.w", queue="mail")])
        await oban.crons.put("nightly", "0 3 * * *", JobSpec("app.report"))
    assert await audit(engine) == []
    commands = [
        ["jobs", "cancel", str(job.id)],
        ["jobs", "retry", "--state", "cancelled", "--queue", "mail", "--yes"],
        ["jobs", "delete", str(job.id)],
        ["queues", "start", "mail", "--limit", "3"],
        ["queues", "pause", "mail"],
        ["cron", "run", "nightly"],
        ["cron", "pause", "nightly"],
        ["jobs", "add", "app.w"],
    ]
    for command in commands:
        # In a thread: each of them has an event loop.
        done = await asyncio.to_thread(CliRunner().invoke, main, [*command, "--database-url", database_url])
        assert done.exit_code == 0, done.output
    rows = await audit(engine)
    assert [(row.verb, row.jobs, row.via) for row in rows] == [
        ("cancel", 1, "cli"), ("retry", 1, "cli"), ("delete", 1, "cli"), ("queue.start", None, "cli"),
        ("queue.pause", None, "cli"), ("cron.run", 1, "cli"), ("cron.pause", None, "cli"), ("enqueue", 1, "cli"),
    ]  # fmt: skip
    assert rows[1].target == {"filter": {"states": ["cancelled"], "queue": "mail"}}
    assert all("@" in row.who for row in rows)
