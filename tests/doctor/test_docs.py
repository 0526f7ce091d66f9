"""``docs/command-line.md`` names every check of the doctor, and every code of ``why``, and no other."""

from __future__ import annotations

import re

from oban_sqla.insight.doctor import OF_THE_SERVER, OF_THE_TABLES
from tests.processes import ROOT


def named(heading: str) -> set[str]:
    """What the first column of a chapter's table names."""
    chapter = (ROOT / "docs" / "command-line.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", chapter, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_every_check_is_documented() -> None:
    assert named("The doctor") == {check.__name__ for check in (*OF_THE_SERVER, *OF_THE_TABLES)}


def test_every_code_is_documented() -> None:
    sources = (ROOT / "oban_sqla" / "insight" / "why").glob("*.py")
    text = "\n".join(path.read_text() for path in sources)
    given = re.findall(r'(?:Reason|_rescued)\(\s*(?:facts,\s*)?"(\w+)"', text)
    assert named("Why a job is not running") == set(given)
