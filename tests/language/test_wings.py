"""Each folder of the package says what belongs there, so that a contributor knows where to put a thing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.language.public_text import PACKAGE

WINGS = sorted(path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("path", WINGS, ids=lambda path: str(path.parent.relative_to(PACKAGE)))
def test_a_wing_says_in_one_paragraph_what_belongs_there_and_what_does_not(path: Path) -> None:
    paragraphs = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")
    assert len(paragraphs[0].split()) > 3, "the first line says what the wing is"
    [paragraph] = [one for one in paragraphs if re.search(r"\bBelongs here: ", one)]
    assert re.search(r"\bDoes\s+not:\s\w", paragraph)
