"""What CONTRIBUTING.md and the pre-commit configuration name is there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

DOORS = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", ".pre-commit-config.yaml", "docs/design/architecture.md")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_make_target_and_path_that_it_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"\bmake ([a-z-]+)", CONTRIBUTING)) - {"the"}
    assert len(targets) > 5
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    paths = set(re.findall(r"(?<!\S)`?((?:tests|oban_sqla|docs)/[\w./]+)", CONTRIBUTING))
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path.rstrip(".")).exists()] == []


def test_every_hook_of_pre_commit_uses_a_tool_that_is_installed() -> None:
    tools = re.findall(r"^ +entry: \.venv/bin/([\w-]+)", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert len(tools) == 5
    assert [tool for tool in tools if not (Path(sys.executable).parent / tool).exists()] == []


@pytest.mark.parametrize("name", DOORS)
def test_no_page_names_a_machine(name: str) -> None:
    assert not re.search(r"/(?:work|tmp|home|root)/|localhost:\d{4}/simple|index-url", (ROOT / name).read_text())
