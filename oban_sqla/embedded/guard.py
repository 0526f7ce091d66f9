"""The guard: a process that ends the server however its owner dies.

`Guard` is the owner's half. The other half is this same file run as a script by `python -I -S`, which is why it imports
nothing but the standard library. The script is the *parent* of PostgreSQL: a sibling could not tell a dead server from
a zombie that no process reaps.

The two talk over a pair of pipes, one JSON document a line:

==========================================  =========================================================================
the owner asks                              the guard answers
==========================================  =========================================================================
(nothing: the guard speaks first)           ``{"base": path}``, the directory it made, and removes at the end
``{"run": [...], "log": path}``             ``{"exit": status}`` when the command has ended
``{"serve": [...], "data": …, "log": …}``   ``{"ready": true}``, or ``{"exit": status}`` when the server did not come up
``{"end": true}``                           nothing: it ends the server, removes the directory and exits
==========================================  =========================================================================

The end of the pipe means that the owner is gone, by SIGKILL as well as by returning from main. A child forked by the
owner keeps a copy of the pipe's other end, so the guard also looks twice a second whether its parent is still the
owner.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

PREFIX = "oban-pg-"
PRIVATE = "run"
LOOK = 0.5  # seconds between two looks at the parent
STARTING = 0.005  # seconds between two looks at a server that is starting
# Seconds before the next, harder signal.
GRACE = {signal.SIGTERM: 5.0, signal.SIGINT: 30.0, signal.SIGQUIT: 10.0, signal.SIGKILL: 5.0}


class GuardFailed(Exception):
    """The guard died or could not do what it was asked; the message says what is known."""


class Guard:
    """The owner's half: starts the guard process and asks it to run commands.

    :ivar base: the directory that the guard has made, and removes at the end; only we write there.
    :ivar private: a directory in it that belongs to the account and is open to no other account.
    :param parent: where the guard makes `base`.
    :param account: user and group ids that commands run as, or None for the owner's own.
    :param gently: end the server by a fast shutdown (kept data) instead of an immediate one (data that is thrown away).
    :param environment: the environment of all commands.
    :param lock: a file descriptor that the guard holds until the server has ended.
    :raises GuardFailed: the process could not be started.
    """

    def __init__(
        self,
        parent: Path,
        account: tuple[int, int] | None,
        gently: bool,
        environment: Mapping[str, str],
        lock: int | None,
    ) -> None:
        if not sys.executable:
            raise GuardFailed("the guard process needs a Python interpreter, and sys.executable names none")
        arguments = {"owner": os.getpid(), "parent": str(parent), "account": account, "gently": gently}
        try:
            # Its own session, so that Ctrl-C in the owner's terminal passes it by; no stdout or stderr of the owner's,
            # so that a pipe reading those ends with the owner.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, json.dumps(arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=dict(environment),
                pass_fds=() if lock is None else (lock,),
                start_new_session=True,
            )
        except OSError as error:
            raise GuardFailed(f"the guard process could not be started with {sys.executable!r}: {error}") from error
        try:
            self.base = Path(self._answer()["base"])
            self.private = self.base / PRIVATE
        except BaseException:
            self.end()
            raise

    def run(self, command: Sequence[str], log: Path) -> int:
        """Run a command to its end and return its exit status; its output is appended to `log`."""
        self._ask({"run": list(command), "log": str(log)})
        return int(self._answer()["exit"])

    def serve(self, command: Sequence[str], data: Path, log: Path) -> int | None:
        """Start a server, wait until it accepts connections and return None, or the exit status of a server that ended
        instead.
        """
        self._ask({"serve": list(command), "data": str(data), "log": str(log)})
        answer = self._answer()
        return None if "ready" in answer else int(answer["exit"])

    def end(self) -> None:
        """End the server, remove the directory, and wait for both."""
        with contextlib.suppress(GuardFailed):  # a dead guard is as ended as it gets
            self._ask({"end": True})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, question: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise GuardFailed(f"the guard process {self._process.pid} is gone") from error

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": f"the guard process {self._process.pid} died"}
        if "error" in answer:
            raise GuardFailed(answer["error"])
        return answer


class OwnerGone(Exception):
    """The owner has ended, or asked the guard to."""


class Owner:
    """The guard's half of the pipes, and its sleep."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._buffer = b""

    def wait(self, seconds: float) -> None:
        """Sleep, at most until the owner says something. Raises OwnerGone."""
        if select.select([0], [], [], seconds)[0]:
            chunk = os.read(0, 65536)
            if not chunk:
                raise OwnerGone
            self._buffer += chunk
        elif os.getppid() != self._pid:
            raise OwnerGone

    def question(self) -> dict[str, Any]:
        """The owner's next question. Raises OwnerGone."""
        while b"\n" not in self._buffer:
            self.wait(LOOK)
        line, _, self._buffer = self._buffer.partition(b"\n")
        question: dict[str, Any] = json.loads(line)
        if "end" in question:
            raise OwnerGone
        return question

    def answer(self, answer: dict[str, Any]) -> None:
        """Answer; an owner that has gone meanwhile is noticed by the next wait."""
        with contextlib.suppress(OSError):
            os.write(1, json.dumps(answer).encode() + b"\n")


class Children:
    """Runs commands as the server's account, and ends them."""

    def __init__(self, owner: Owner, base: str, account: tuple[int, int] | None, ending: signal.Signals) -> None:
        self._owner = owner
        self._base = base
        self._account = account
        self._ending = ending
        self._server: subprocess.Popen[bytes] | None = None

    def run(self, command: list[str], log: str) -> int:
        child = self._spawn(command, log)
        try:
            while child.poll() is None:
                self._owner.wait(STARTING)
        except OwnerGone:
            self._end(child, signal.SIGTERM)  # on which initdb removes what it has written
            raise
        return child.returncode

    def serve(self, command: list[str], data: str, log: str) -> int | None:
        server = self._server = self._spawn(command, log)
        while server.poll() is None:
            if self._ready(data, server.pid):
                return None
            self._owner.wait(STARTING)
        return server.returncode

    def end(self) -> None:
        if self._server is not None:
            self._end(self._server, self._ending)

    @staticmethod
    def _ready(data: str, pid: int) -> bool:
        try:
            lines = Path(data, "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        # The first line tells our server's file from one that a crash left behind.
        return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _spawn(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        user, group = self._account or (None, None)
        output = self._open(log)
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=os.path.join(self._base, PRIVATE),
                user=user,
                group=group,
                extra_groups=None if self._account is None else [],
            )
        finally:
            os.close(output)

    def _open(self, log: str) -> int:
        # The directory may belong to a less privileged account than ours: follow no link it may have put there, and
        # make a file of ours its own.
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            output = os.open(log, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return os.open(log, flags)
        if self._account is not None:
            os.fchown(output, *self._account)
        return output

    @staticmethod
    def _end(child: subprocess.Popen[bytes], first: signal.Signals) -> None:
        for number in dict.fromkeys((first, signal.SIGQUIT, signal.SIGKILL)):
            with contextlib.suppress(OSError):
                child.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE[number])
                return


def make_base(parent: str, account: tuple[int, int] | None) -> str:
    """Make the directory, and in it the one of the server's account.

    Root keeps the outer one: what root writes there, the account can't replace by a link to somewhere else.
    """
    base = os.path.join(parent, PREFIX + os.urandom(4).hex())
    private = os.path.join(base, PRIVATE)
    os.mkdir(base, 0o700)
    os.mkdir(private, 0o700)
    if account is not None:
        os.chown(private, *account)
        os.chmod(base, 0o711)
    return base


def remove_base(base: str) -> None:
    """Remove the directory, again if a last process of the server was still writing into it."""
    for _ in range(20):
        shutil.rmtree(base, ignore_errors=True)
        if not os.path.lexists(base):
            return
        time.sleep(0.05)  # the guard is a process of its own, and has nothing else to do


def ignore(number: int, frame: FrameType | None) -> None:
    """A signal handler that does nothing; unlike SIG_IGN, it is not inherited by the commands we run."""


def main(arguments: str) -> None:
    """The guard process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The owner's end is ours, nothing else.
        signal.signal(number, ignore)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an owner that ignores it would hide the exit statuses from us
    os.umask(0o077)
    options = json.loads(arguments)
    owner = Owner(options["owner"])
    account = options["account"] and tuple(options["account"])
    base: str | None = None
    children: Children | None = None
    try:
        base = make_base(options["parent"], account)
        children = Children(owner, base, account, signal.SIGINT if options["gently"] else signal.SIGQUIT)
        owner.answer({"base": base})
        while True:
            question = owner.question()
            if "run" in question:
                owner.answer({"exit": children.run(question["run"], question["log"])})
            else:
                status = children.serve(question["serve"], question["data"], question["log"])
                owner.answer({"ready": True} if status is None else {"exit": status})
    except OwnerGone:
        pass
    except Exception as error:
        owner.answer({"error": f"the guard process failed: {type(error).__name__}: {error}"})
    finally:
        if children is not None:
            children.end()
        if base is not None:
            remove_base(base)


if __name__ == "__main__":
    main(sys.argv[1])
