"""The pages: navigation, links, the files for monitoring, and the index for language models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest

from oban_sqla import Oban, prometheus
from oban_sqla.types import JobState
from tests.docs.pages import DOCS, PAGES
from tests.processes import ROOT

METRIC = re.compile(r"\boban_\w+")


def _anchors(text: str) -> set[str]:
    """What headings can be linked by, as GitHub and MyST make it."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-").lstrip("-") for heading in plain}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_link_to_a_page_and_heading_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^( *)```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lost: list[str] = []
    for target in re.findall(r"\]\(<?([^)>\s]+)>?\)", text):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name
        among = [file] if name else PAGES  # MyST finds a heading in any page
        if not file.exists() or (anchor and not any(anchor in _anchors(one.read_text()) for one in among)):
            lost.append(target)
    assert lost == []


def test_the_navigation_has_every_page_once() -> None:
    index = (DOCS / "index.md").read_text()
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", index, re.MULTILINE | re.DOTALL)
    entries = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert len(entries) == len(set(entries))
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    assert {entry for entry in entries if "*" not in entry} == pages
    captions = [re.findall(r"^:caption: (.+)$", tree, re.MULTILINE) for tree in trees]
    assert captions == [["Start"], ["Guides"], ["Operations"], ["Reference"], ["Design"]]


def test_alerts_and_board_use_metrics_that_exist() -> None:
    known = set(METRIC.findall(prometheus.__doc__ or ""))
    board = json.loads((DOCS / "files/grafana.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = set(METRIC.findall(" ".join(queries) + (DOCS / "files/alerts.yaml").read_text()))
    assert {re.sub(r"_bucket$", "", name) for name in used} <= known


def test_an_alert_sees_the_first_of_a_count_and_that_no_node_is_there() -> None:
    """As `promtool test rules` shows: a counter that begins at 1 has not increased, and a sum of nothing is none."""
    rules = re.split(r"- alert: ", (DOCS / "files/alerts.yaml").read_text())
    counted = [rule for rule in rules if re.search(r"increase\(oban_(jobs|fenced)_total", rule)]
    assert [" offset 15m" in rule for rule in counted] == [True, True]
    assert [rule.split()[0] for rule in rules if "or vector(0)" in rule] == ["NoLeader"]


def test_the_life_of_a_job_has_every_state() -> None:
    text = (DOCS / "life-of-a-job.md").read_text()
    described = re.findall(r"^\| `(\w+)` \| ", text, re.MULTILINE)
    assert [name for name in described if name in set(JobState)] == [state.value for state in JobState]


def test_llms_txt_lists_every_page_where_it_is(tmp_path: Path) -> None:
    listed = re.findall(r"^- \[[^]]+\]\(([^)]+)\): .+", (DOCS / "llms.txt").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md") if page.name != "index.md")
    conf = run_path(str(DOCS / "conf.py"))
    conf["copy_sources"](SimpleNamespace(srcdir=str(DOCS), outdir=str(tmp_path)), None)
    assert [name for name in listed if not (tmp_path / name).exists()] == []


def test_no_line_is_longer_than_an_editor_is_wide() -> None:
    """Except rows of tables, which can't be broken."""
    pages = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
    lines = ((page.name, line) for page in pages for line in page.read_text().splitlines() if line[:1] != "|")
    assert [found for found in lines if len(found[1]) > 120] == []


def test_the_reference_has_every_method_of_oban() -> None:
    page = (DOCS / "reference.md").read_text()
    listed = re.search(r"autoclass:: oban_sqla\.Oban\n   :members: ([^:]*?)\n\.\.", page)
    assert listed is not None
    named = {*re.split(r",\s*", listed[1]), *re.findall(r"automethod:: oban_sqla\.Oban\.(\w+)", page)}
    assert {name for name in dir(Oban) if not name.startswith("_") and hasattr(Oban, name)} - named == set()
