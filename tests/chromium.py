"""A headless Chromium, driven over the pipe of its DevTools protocol: no package is needed for it.

Belongs here: opening pages, and what a person does on them. Does not: what they should say.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
    "--disable-dev-shm-usage", "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
LONGEST = 30.0
"""Seconds that an answer may take."""

Told = dict[str, Any]


def program() -> str | None:
    """The Chromium of this machine: ``OBAN_TEST_CHROMIUM``, or the first one that is found; None without one."""
    given = os.environ.get("OBAN_TEST_CHROMIUM")
    return given or next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """A tab.

    :ivar complaints: what the browser has logged: a violation of the policy, an error of a script, a file not found.
    """

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []

    async def send(self, method: str, **params: Any) -> Told:
        """Send a command, and wait for its answer."""
        return await self._browser.send(method, self._session, **params)

    async def goto(self, url: str) -> float:
        """Open `url`. Returns the milliseconds until the browser calls the document complete."""
        self._loaded.clear()
        told = await self.send("Page.navigate", url=url)
        assert "errorText" not in told, told["errorText"]
        await self.loaded()
        # The entry of the navigation is written when the handlers of the load event have ended.
        while not (took := await self.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")):
            await asyncio.sleep(0.005)
        return float(took)

    async def loaded(self) -> None:
        """Wait until a document is complete that was asked for since `goto` or `click`."""
        await asyncio.wait_for(self._loaded.wait(), LONGEST)

    async def evaluate(self, script: str) -> Any:
        """The value of an expression, waited for where it is a promise."""
        told = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise AssertionError(told["exceptionDetails"].get("exception", told["exceptionDetails"]))
        return told["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait until an expression is true; returns its value."""
        async with asyncio.timeout(LONGEST):
            while not (value := await self.evaluate(script)):
                await asyncio.sleep(0.02)
        return value

    async def click(self, selector: str) -> None:
        """Click the first element of `selector`, as a mouse does, and wait for the document that follows."""
        self._loaded.clear()
        await self.press(selector)
        await self.loaded()

    async def back(self) -> None:
        """Go one page back, and wait for its document."""
        self._loaded.clear()
        await self.evaluate("history.back()")
        await self.loaded()

    async def press(self, selector: str) -> None:
        """Click the first element of `selector`, as a mouse does."""
        where = await self.evaluate(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); if (!one) return null;"
            "one.scrollIntoView({block: 'center', behavior: 'instant'}); const box = one.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        assert where is not None, f"there is no {selector} on {await self.evaluate('location.href')}"
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)

    async def fill(self, selector: str, text: str) -> None:
        """Type `text` into the first field of `selector`, in place of what is there."""
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        await self.send("Input.insertText", text=text)

    async def look(self, *, theme: str = "light", width: int = 1440, height: int = 1000) -> None:
        """Set the theme that the person prefers, and the size of the window."""
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen to a PNG file.

        :param whole: all of the page. Default: what the window shows.
        """
        told = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))

    async def close(self) -> None:
        """Close the tab."""
        await self.send("Page.close")

    def hear(self, method: str, params: Told) -> None:
        """An event of this tab."""
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Log.entryAdded":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


class Chromium:
    """A browser that runs.

    :param reader: what it says.
    :param out: the file descriptor on which it is told.
    """

    def __init__(self, reader: asyncio.StreamReader, out: int) -> None:
        self._reader = reader
        self._out = out
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Told]] = {}
        self._pages: dict[str, Page] = {}
        self._hearing = asyncio.create_task(self._hear())

    async def send(self, method: str, session: str | None = None, **params: Any) -> Told:
        """Send a command, and wait for its answer."""
        self._number += 1
        said: Told = {"id": self._number, "method": method, "params": params}
        if session is not None:
            said["sessionId"] = session
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        data = json.dumps(said).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        told = await asyncio.wait_for(answer, LONGEST)
        assert "error" not in told, f"{method}: {told.get('error')}"
        return told["result"]

    async def page(self) -> Page:
        """A new tab, whose cookies and storage are its own."""
        context = await self.send("Target.createBrowserContext", disposeOnDetach=True)
        target = await self.send("Target.createTarget", url="about:blank", browserContextId=context["browserContextId"])
        session = (await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True))["sessionId"]
        made = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log"):
            await made.send(f"{domain}.enable")
        return made

    async def _hear(self) -> None:
        while True:
            told: Told = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if (answer := self._waiting.pop(told.get("id", 0), None)) is not None:
                if not answer.done():
                    answer.set_result(told)
            elif (page := self._pages.get(told.get("sessionId", ""))) is not None and "method" in told:
                page.hear(told["method"], told.get("params", {}))

    async def end(self) -> None:
        """Hear no more."""
        self._hearing.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError):
            await self._hearing


@asynccontextmanager
async def chromium() -> AsyncGenerator[Chromium]:
    """A browser, which ends with the block."""
    found = program()
    assert found is not None, f"there is no Chromium here: none of {', '.join(NAMES)} is on the PATH"
    its_in, our_out = os.pipe()
    our_in, its_out = os.pipe()

    def at_its_numbers() -> None:
        # It reads on 3 and writes on 4. The copies come first: one of the ends may have such a number already.
        taken_in, taken_out = os.dup(its_in), os.dup(its_out)
        while min(taken_in, taken_out) <= 4:
            taken_in, taken_out = os.dup(taken_in), os.dup(taken_out)
        os.dup2(taken_in, 3)
        os.dup2(taken_out, 4)

    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            found, *OPTIONS, f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=at_its_numbers, close_fds=False,
        )  # fmt: skip
        os.close(its_in)
        os.close(its_out)
        reader = asyncio.StreamReader(limit=2**28)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(our_in, "rb", 0)
        )
        browser = Chromium(reader, our_out)
        try:
            yield browser
        finally:
            await browser.end()
            transport.close()
            os.close(our_out)  # it ends when it is told no more
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
