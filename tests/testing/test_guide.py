"""The code of the guide, and the plugin that it uses, run by another pytest, as users do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from oban_sqla.embedded import EmbeddedError
from oban_sqla.embedded.binaries import Account, find

GUIDE = Path(__file__).parents[2] / "docs" / "testing.md"
BLOCK = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

MORE = """
import os
import sys

from shop import send_welcome, sign_up
from sqlalchemy import select

from oban_sqla import Job
from oban_sqla.testing import assert_enqueued


async def test_inline_by_fixture(session, oban_inline):
    await sign_up(session, "ann@example.com")
    assert (await session.scalars(select(Job.state))).all() == ["completed"]


async def test_nothing_was_left(session):
    assert (await session.scalars(select(Job))).all() == []


async def test_the_message_of_the_guide(session):
    user = await sign_up(session, "ann@example.com")
    await assert_enqueued(session, worker=send_welcome, args={"user_id": user.id + 1})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, code in BLOCK.findall(GUIDE.read_text()):
        (tmp_path / name).write_text(code)
    (tmp_path / "test_more.py").write_text(MORE)
    return tmp_path


def run_pytest(project: Path, **environment: str) -> str:
    """What pytest says in `project`, in an environment without our own database."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OBAN_TEST_", "PYTEST_"))}
    options = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function"]
    command = [sys.executable, "-m", "pytest", "-v", "-W", "error", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, *(part for option in options for part in ("-o", option)), "--rootdir", str(project), str(project)],
        cwd=project,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return run.stdout + run.stderr


def test_the_guide_holds_on_the_users_database(project: Path, empty_database: str) -> None:
    said = run_pytest(project, OBAN_TEST_DATABASE_URL=empty_database)

    assert "1 failed, 8 passed" in said, said
    assert "test_the_message_of_the_guide FAILED" in said
    assert "AssertionError: expected a job to be enqueued with worker='shop.send_welcome', args={'user_id': 2}" in said
    assert "shop.send_welcome in queue 'mail': args['user_id'] is 1, not 2" in said


def test_the_guide_holds_on_the_embedded_server(project: Path) -> None:
    try:
        find(account=Account.for_server())
    except EmbeddedError as reason:
        pytest.skip(str(reason))

    said = run_pytest(project)
    assert "1 failed, 8 passed" in said, said


def test_importing_the_plugin_imports_no_server() -> None:
    code = (
        "import sys, oban_sqla.testing.plugin; "
        "print([name for name in sys.modules if 'embedded' in name or name.startswith('alembic.')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert run.stdout.strip() == "[]"
