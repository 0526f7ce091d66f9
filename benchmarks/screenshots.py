"""``python -m benchmarks.screenshots [FOLDER]``: the pictures of the dashboard in the documentation, into docs/images.

They are of an invented shop, see `shop`, in a headless Chromium, light and dark.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path

import httpx

from benchmarks import shop
from benchmarks.setting import setting
from oban_sqla import Oban
from oban_sqla.web import Access, Operator, dashboard
from tests.chromium import chromium
from tests.web.people import served

WIDTH, HEIGHT = 1280, 860
LARGEST = 200_000
"""Bytes that a picture may have."""


async def draw(base: str, flow: int, folder: Path) -> None:
    """Write the pictures."""
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        listed = (await client.get("/jobs?state=retryable&queue=webhooks")).text
    found = re.search(r'id="job-(\d+)"', listed)
    assert found is not None
    pages = {"overview": "", "job": f"job/{found[1]}", "workflow": f"flow/{flow}"}
    async with chromium() as browser:
        for theme in ("light", "dark"):
            tab = await browser.page()
            await tab.look(theme=theme, width=WIDTH, height=HEIGHT)
            for name, page in pages.items():
                await tab.goto(f"{base}/{page}")
                file = folder / f"dashboard-{name}-{theme}.png"
                await tab.screenshot(file)
                print(f"{file} {file.stat().st_size:,} bytes", flush=True)
                assert file.stat().st_size <= LARGEST, f"{file} is larger than {LARGEST:,} bytes"
            await tab.close()


async def main(folder: Path) -> int:
    async with setting() as place:
        flow = await shop.fill(place)
        app = dashboard(
            Oban(place.engine, name="shop"), authorize=lambda _: Operator("anna@shop", Access.ALL), title="shop"
        )
        try:
            async with served(app) as base:
                await draw(base, flow, folder)
        finally:
            await app.aclose()
    return 0


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, nargs="?", default=Path("docs/images"))
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run(main(given.folder)))
