"""What ``make demo`` shows: a web application that enqueues in its own transactions, from start to clean stop.

Every line it prints is checked first; the first one that does not hold ends it with exit code 1.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import httpx

from oban_sqla import embedded

ROOT = Path(__file__).parent.parent
PATIENCE = 20.0
STATUS_OF_A_SIGN_UP = 201
ATTEMPTS_OF_THE_CRM = 3

T = TypeVar("T")
numbers = count(1)


class Failed(Exception):
    """Something is not as the demonstration says."""


def demo() -> None:
    with embedded.start() as server:
        step(f"A PostgreSQL {server.version} of our own runs as uid {os.stat(server.data).st_uid}, on no port.")
        environment = {**os.environ, "DATABASE_URL": server.url, "SHUTDOWN_GRACE": "5"}
        alembic = [sys.executable, "-m", "alembic", "-c", "examples/fastapi_app/alembic.ini", "upgrade", "head"]
        made = subprocess.run(alembic, cwd=ROOT, env=environment, capture_output=True, text=True)
        expect(made.returncode == 0, f"alembic failed:\n{made.stderr}")
        step("Alembic made the application's tables and the queue's, in one revision.")
        with application(environment) as (process, web):
            step(f"The application (examples/fastapi_app) serves {web.base_url}, the runtime in its lifespan.")
            sign_up(web)
            roll_back(web)
            retry(web)
            history(web)
            stop(process)
    step("The database is gone with this program. That was all.")


def sign_up(web: httpx.Client) -> None:
    for email in ("ada@example.org", "grace@example.org", "edsger@example.org"):
        answer = web.post("/users", json={"email": email})
        expect(
            answer.status_code == STATUS_OF_A_SIGN_UP,
            f"signing {email} up answered {answer.status_code}: {answer.text}",
        )
        user, jobs = answer.json()["user_id"], answer.json()["job_ids"]
        step(f"POST /users {email}: user {user} and jobs {jobs[0]} and {jobs[1]}, written by one transaction.")
    eventually("all users are welcomed", lambda: all(user["welcomed"] for user in get(web, "/users")))
    step("Their welcome jobs have run: each marked its user in the transaction that completed the job.")


def roll_back(web: httpx.Client) -> None:
    before = len(get(web, "/users")), len(get(web, "/jobs"))
    answer = web.post("/users", json={"email": "mallory@example.org", "card": "declined"})
    expect(answer.status_code == 402, f"a declined card answered {answer.status_code}: {answer.text}")
    after = len(get(web, "/users")), len(get(web, "/jobs"))
    expect(before == after, f"a rollback left something: {before} users and jobs before, {after} after")
    step(f"POST /users with a declined card: rolled back. Still {after[0]} users and {after[1]} jobs.")


def retry(web: httpx.Client) -> None:
    def told() -> list[Any]:
        jobs = [past for past in get(web, "/jobs") if "tell_crm" in past["worker"]]
        return jobs if jobs and all(past["state"] == "completed" for past in jobs) else []

    jobs = eventually("the failing jobs succeed in the end", told)
    attempts = [past["attempt"] for past in jobs]
    expect(set(attempts) == {ATTEMPTS_OF_THE_CRM}, f"the CRM jobs took {attempts} attempts")
    expect(all(len(past["errors"]) == past["attempt"] - 1 for past in jobs), "their errors are not in the history")
    step(f"The CRM jobs failed twice ({jobs[0]['errors'][0]}), were retried, and completed.")


def history(web: httpx.Client) -> None:
    jobs = sorted(get(web, "/jobs"), key=lambda past: past["id"])
    expect(len(jobs) == 6, f"six jobs were expected in the history, there are {len(jobs)}")
    step("GET /jobs, which is select(Job):")
    rows = [("id", "worker", "args", "state", "attempts", "errors")]
    for past in jobs:
        args = ", ".join(f"{name}={value!r}" for name, value in past["args"].items())
        worker = past["worker"].rpartition(".")[2]
        rows.append((str(past["id"]), worker, args, past["state"], str(past["attempt"]), str(len(past["errors"]))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("    ", "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), flush=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failed("the application did not stop") from None
    # uvicorn ends by the signal that it was stopped by, after everything else has ended.
    expect(code in (0, -signal.SIGTERM), f"the application ended with code {code}")
    step(f"SIGTERM: the application and its runtime stopped within {time.monotonic() - began:.1f} s.")


@contextmanager
def application(environment: dict[str, str]) -> Generator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """The application as a process, on a port that the system chooses."""
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "uvicorn", "examples.fastapi_app.main:app", "--port", "0"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

        def address() -> str | None:
            text = os.pread(log.fileno(), 100_000, 0).decode()  # which leaves the place alone where the process writes
            expect(process.poll() is None, f"the application ended:\n{text}")
            found = re.search(r"running on (http://\S+)", text)
            return found and found[1]

        try:
            with httpx.Client(base_url=eventually("the application answers", address), trust_env=False) as web:
                yield process, web
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def get(web: httpx.Client, path: str) -> list[Any]:
    answer = web.get(path)
    expect(answer.status_code == 200, f"GET {path} answered {answer.status_code}: {answer.text}")
    found: list[Any] = answer.json()
    return found


def eventually(what: str, condition: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        expect(time.monotonic() < deadline, f"within {PATIENCE:g} s it did not come true that {what}")
        time.sleep(0.05)
    return found


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)


def step(text: str) -> None:
    print(f"{next(numbers):3}. {text}", flush=True)


def main() -> str | int:
    """What the process exits with."""
    try:
        demo()
    except (Failed, embedded.EmbeddedError) as failure:
        return f"The demonstration failed: {failure}"
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
