"""``examples/quickstart.py``, as somebody runs it who has just installed the package."""

from __future__ import annotations

from pathlib import Path

from tests.processes import ROOT, finished


def test_it_prints_what_happened_and_ends(tmp_path: Path) -> None:
    done = finished([str(ROOT / "examples/quickstart.py")], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "A user and a job in one transaction:",
        "  job 1: welcome, ada@example.org!",
        "A transaction that fails leaves neither:",
        "  rolled back: the card was declined",
        "The history is a query:",
        "  job 1: quickstart.send_welcome {'user_id': 1} completed, attempt 1",
        "  welcomed: ada@example.org",
    ]
