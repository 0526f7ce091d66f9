"""``make demo``: what it shows, and that it notices when something isn't so."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from tests.processes import finished

STEPS = [
    r"A PostgreSQL \d+\.\d+ of our own runs as uid \d+, on no port\.",
    r"Alembic made the application's tables and the queue's, in one revision\.",
    r"The application \(examples/fastapi_app\) serves http://127\.0\.0\.1:\d+, the runtime in its lifespan\.",
    r"POST /users ada@example\.org: user 1 and jobs 1 and 2, written by one transaction\.",
    r"POST /users grace@example\.org: user 2 and jobs 3 and 4, written by one transaction\.",
    r"POST /users edsger@example\.org: user 3 and jobs 5 and 6, written by one transaction\.",
    r"Their welcome jobs have run: each marked its user in the transaction that completed the job\.",
    r"POST /users with a declined card: rolled back\. Still 3 users and 6 jobs\.",
    r"The CRM jobs failed twice \(ConnectionError: the CRM does not answer\), were retried, and completed\.",
    r"GET /jobs, which is select\(Job\):",
    r"SIGTERM: the application and its runtime stopped within \d+\.\d s\.",
    r"The database is gone with this program\. That was all\.",
]


def test_every_step_shows_what_it_says_within_thirty_seconds() -> None:
    began = time.monotonic()
    done = finished(["-m", "examples.demo"])
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 60, "thirty, on a machine that is free"
    lines = re.findall(r"^ *(\d+)\. (.*)$", done.stdout, re.MULTILINE)
    for number, (line, expected) in enumerate(zip(lines, STEPS, strict=True), 1):
        assert line[0] == str(number)
        assert re.fullmatch(expected, line[1])
    assert re.search(r"2 +tell_crm +email='ada@example\.org' +completed +3 +2", done.stdout)


def test_a_step_that_does_not_hold_ends_it_with_an_error() -> None:
    code = "import sys; from examples import demo; demo.STATUS_OF_A_SIGN_UP = 200; sys.exit(demo.main())"
    done = finished(["-c", code])
    assert done.returncode == 1
    assert "The demonstration failed: signing ada@example.org up answered 201" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_an_interpreter_s_packages_it_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('no uvicorn here')")
    done = finished(["-m", "examples.demo"], environment={"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path[:1])}"})
    assert done.returncode == 1
    assert "The demonstration failed: the application ended:\nno uvicorn here" in done.stderr
