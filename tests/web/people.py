"""Operators who use the dashboard: by the forms of its pages alone, or in a Chromium."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import uvicorn
from starlette.types import ASGIApp

from oban_sqla.web import Dashboard
from tests.chromium import Page, chromium
from tests.web.conftest import Browser, words


class Person(ABC):
    """A person who opens pages, and sends the forms that are on them."""

    @abstractmethod
    async def open(self, path: str) -> None:
        """Go to a page."""

    @abstractmethod
    async def send(self, button: str, *, label: str | None = None, **fields: str | list[str]) -> None:
        """Fill in the form that has this button, press it, and follow where it leads.

        :param button: what it says.
        :param label: its accessible name, where several buttons say the same.
        :param fields: what to write; "on" ticks, and a list ticks the boxes with these values.
        """

    @abstractmethod
    async def reads(self) -> str:
        """The words of the page."""


@dataclass
class Form:
    """A form of a page, with what a browser would send of it."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    boxes: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """The values of the boxes that are not ticked, by name."""
    buttons: list[dict[str, str]] = field(default_factory=list[dict[str, str]])


class Forms(HTMLParser):
    """The forms of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._form: Form | None = None
        self._text: list[str] | None = None
        self._in: str | None = None
        self._name = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(given.get("action", ""))
            self.found.append(self._form)
        form = self._form
        if form is None:
            return
        if tag == "input" and "name" in given:
            if given.get("type") == "checkbox" and "checked" not in given:
                form.boxes.setdefault(given["name"], []).append(given.get("value", "on"))
            else:
                form.fields.append((given["name"], given.get("value", "")))
        elif tag in ("textarea", "select", "option", "button"):
            if tag in ("textarea", "select"):
                self._name = given["name"]
            if tag == "select":
                form.fields.append((self._name, ""))
            if tag == "button":
                form.buttons.append(given)
            self._in, self._text = tag, []

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        if self._form is None or tag != self._in or self._text is None:
            return
        text = "".join(self._text)
        if tag == "textarea":
            self._form.fields.append((self._name, text))
        elif tag == "button":
            self._form.buttons[-1]["text"] = text.strip()
        self._in = self._text = None


class OfForms(Person):
    """One who has no JavaScript."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._url = "/"
        self._html = ""

    async def open(self, path: str) -> None:
        self._url, self._html = path, await self._browser.page(path)

    async def send(self, button: str, *, label: str | None = None, **fields: str | list[str]) -> None:
        form, pressed = next(
            (form, one)
            for form in Forms(self._html).found
            for one in form.buttons
            if one.get("text") == button and (label is None or one.get("aria-label") == label)
        )
        sent = [(name, value) for name, value in form.fields if name not in fields]
        for name, value in fields.items():
            ticked = form.boxes.get(name, [])
            values = value if isinstance(value, list) else [ticked[0] if ticked else value]
            assert ticked or any(name == one for one, _ in form.fields), f"there is no field {name}"
            assert not ticked or set(values) <= set(ticked), f"there is no box {name} {values}"
            sent += [(name, one) for one in values]
        if "name" in pressed:
            sent.append((pressed["name"], pressed["value"]))
        target = urljoin(f"http://test{self._url}", form.action)
        response = await self._browser.send(target.removeprefix("http://test"), sent)
        if response.status_code == 303:
            await self.open(urljoin(target, response.headers["location"]).removeprefix("http://test"))
        else:
            assert response.status_code == 200, words(response.text)
            self._url, self._html = target.removeprefix("http://test"), response.text

    async def reads(self) -> str:
        return words(self._html)


class WithChromium(Person):
    """One who has a mouse."""

    def __init__(self, page: Page, base: str) -> None:
        self._page = page
        self._base = base

    async def open(self, path: str) -> None:
        await self._page.goto(self._base + path)

    async def send(self, button: str, *, label: str | None = None, **fields: str | list[str]) -> None:
        # The field is written as by its person, and the button is pressed with the mouse.
        found = await self._page.evaluate(
            f"""(() => {{
              const [says, label, fields] = {json.dumps([button, label, fields])};
              const pressed = [...document.querySelectorAll("form button")].find(
                (one) => one.textContent.trim() === says && (!label || one.getAttribute("aria-label") === label));
              if (!pressed) return "there is no button " + says;
              for (const [name, value] of Object.entries(fields)) {{
                const all = [...pressed.form.elements].filter((one) => one.name === name);
                if (!all.length) return "there is no field " + name;
                for (const one of all) {{
                  if (one.type !== "checkbox") one.value = value;
                  else one.checked = !Array.isArray(value) || value.includes(one.value);
                  one.dispatchEvent(new Event("change", {{bubbles: true}}));
                }}
              }}
              pressed.id = "pressed";
              return "";
            }})()"""
        )
        assert not found, f"{found}, on {await self.reads()}"
        await self._page.click("#pressed")

    async def reads(self) -> str:
        return " ".join(str(await self._page.evaluate("document.body.textContent")).split())


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncGenerator[str]:
    """The URL under which an application answers browsers."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done(), "the server has ended"
            await asyncio.sleep(0.01)
        socket: Any = server.servers[0].sockets[0]
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def with_chromium(app: Dashboard) -> AsyncGenerator[tuple[WithChromium, Page]]:
    """A person in front of a Chromium."""
    async with served(app) as base, chromium() as browser:
        page = await browser.page()
        await page.look()
        yield WithChromium(page, base), page
