"""What .ci/run says and how it ends, with a `make` whose tests fail as they are told to."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT

# Writes what pytest's cache has after the first run of the tests; fails then, and at the second try if it is told to.
MAKE = """#!/bin/sh
echo "made $*"
mkdir -p .pytest_cache/v/cache
case "$*" in
    *--last-failed*)
        echo "closing lines of the second run"
        [ -z "$STILL_FAILS" ] && rm .pytest_cache/v/cache/lastfailed ;;
    "$FAILING")
        echo "closing lines of the first run"
        [ -z "$NAMES" ] || echo "$NAMES" > .pytest_cache/v/cache/lastfailed
        exit 1 ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/make").write_text(MAKE)
    (tmp_path / "bin/make").chmod(0o755)
    return tmp_path


def ci(project: Path, failing: str = "", names: str = "", still_fails: str = "") -> tuple[int, str, str]:
    environment = os.environ | {"FAILING": failing, "NAMES": names, "STILL_FAILS": still_fails}
    environment["PATH"] = f"{project / 'bin'}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", str(project / ".ci/run")], env=environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def failures(number: int) -> str:
    return "{" + ", ".join(f'"tests/test_a.py::test_{index}[a b]": true' for index in range(number)) + "}"


def test_all_targets_run_and_nothing_is_said_of_second_tries(project: Path) -> None:
    code, out, err = ci(project)
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("made")] == [
        "made lint",
        "made typecheck",
        "made docs",
        "made test-matrix",
        "made test",
    ]
    assert "second try" not in out


def test_the_names_of_tests_that_passed_only_at_the_second_try_are_printed(project: Path) -> None:
    code, out, err = ci(project, failing="test", names=failures(3))
    assert (code, err) == (0, "")
    assert "closing lines of the first run" in out
    assert "closing lines of the second run" in out
    assert out.endswith(
        "== passed only at the second try (at most 3 may): 3 ==\n"
        "make test: tests/test_a.py::test_0[a b]\n"
        "make test: tests/test_a.py::test_1[a b]\n"
        "make test: tests/test_a.py::test_2[a b]\n"
    )


def test_more_than_three_second_tries_are_a_failure(project: Path) -> None:
    code, out, err = ci(project, failing="test-matrix", names=failures(4))
    assert (code, err) == (1, "failed: too-many-second-tries\n")
    assert "make test-matrix: tests/test_a.py::test_3[a b]" in out


def test_a_test_that_fails_twice_is_a_failure_and_no_second_try(project: Path) -> None:
    code, out, err = ci(project, failing="test", names=failures(1), still_fails="yes")
    assert (code, err) == (1, "failed: test\n")
    assert "passed only" not in out


def test_a_failure_without_a_failed_test_is_not_tried_again(project: Path) -> None:
    code, out, err = ci(project, failing="test")
    assert (code, err) == (1, "failed: test\n")
    assert "--last-failed" not in out


def test_another_target_is_not_tried_again(project: Path) -> None:
    code, out, err = ci(project, failing="lint", names=failures(1))
    assert (code, err) == (1, "failed: lint\n")
    assert "made test" in out
