"""Where the documentation is."""

from __future__ import annotations

from tests.processes import ROOT

DOCS = ROOT / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if DOCS / "_build" not in page.parents]
"""Without the copies in what was built."""
