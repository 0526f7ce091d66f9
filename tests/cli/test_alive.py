"""Which nodes are alive: every command reads the heartbeat of the settings, so that none contradicts another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import Result
from sqlalchemy import Engine, func, select, text

from oban_sqla.statements.cluster import lock_key
from tests.cli.helpers import Insert

Run = Callable[..., Result]
Settings = Callable[[str], None]

FOREIGN = '{"local_limit": 5}'
"""Of another program, which does not say when it is stale."""
OURS = '{"local_limit": 5, "stale_after": 15, "locked": true}'


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Writes the settings of the heartbeat."""
    monkeypatch.chdir(tmp_path)

    def write(said: str) -> None:
        (tmp_path / "oban.toml").write_text(f"[heartbeat]\n{said}\n")

    return write


@pytest.fixture
def silent(sync_engine: Engine) -> Iterator[Callable[[str], None]]:
    """Writes a node of the queue ``media`` that sent no heartbeat for 5 minutes; one of ours holds its lock."""
    with sync_engine.connect() as connection:

        def silent(meta: str) -> None:
            uuid = uuid4()
            with sync_engine.begin() as writing:
                writing.execute(
                    text(
                        "INSERT INTO oban_producers (uuid, name, node, queue, meta, updated_at) VALUES (:uuid, 'Oban', "
                        "'quiet', 'media', CAST(:meta AS jsonb), timezone('UTC', now()) - interval '5 m')"
                    ),
                    {"uuid": uuid, "meta": meta},
                )
            if meta == OURS:
                connection.execute(select(func.pg_advisory_lock_shared(lock_key(uuid))))

        yield silent
        connection.invalidate()


def verdicts(run: Run, job_id: int) -> dict[str, bool]:
    """Whether each command takes the node for alive."""
    [queue] = json.loads(run("queues", "list", "--json").stdout)
    answer = json.loads(run("why", str(job_id), "--json").stdout)
    findings = json.loads(run("doctor", "--json").stdout)["findings"]
    [dead] = [finding["found"] for finding in findings if finding["check"] == "dead_nodes"]
    return {
        "queues": len(queue["nodes"]) == 1,
        "queues show": "quiet" in run("queues", "show", "media").stdout,
        "queues pause": json.loads(run("queues", "pause", "media", "--json").stdout)["live_nodes"] == ["quiet"],
        "top": "Oban: 1 node (quiet)" in run("top", "--once").stdout,
        "why": answer["reasons"][0]["code"] != "no_node",
        "doctor": dead == "no dead nodes",
    }


@pytest.mark.parametrize(
    ("meta", "alive", "dead"),
    [(FOREIGN, "stale_after = 120", ""), (OURS, "", "dead_after = 120")],
    ids=["a node that does not say when it is stale", "a connected node that is silent for long"],
)
@pytest.mark.parametrize("is_alive", [True, False])
def test_every_command_has_the_same_nodes_alive(
    run: Run, add: Insert, settings: Settings, silent: Callable[[str], None], *, meta: str, alive: str, dead: str,
    is_alive: bool,
) -> None:  # fmt: skip
    pytest.importorskip("rich")
    silent(meta)
    settings(alive if is_alive else dead)
    found = verdicts(run, add(queue="media"))
    assert found == dict.fromkeys(found, is_alive)
