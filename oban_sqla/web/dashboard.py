"""The ASGI application: it finds the page, checks who asks for it, and answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Any, cast
from urllib.parse import parse_qsl

from markupsafe import Markup
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from ..errors import DatabaseUnavailable, InvalidOption, ObanError, misfit
from ..oban import Oban
from ..options.instance import told
from ..telemetry import node_logger as logger
from . import access, headers, render
from .actions import ACTIONS
from .actions.form import Form
from .ask import Ask, Content, NotFound, Redact, Refused, Wrong, trouble
from .instance import Instance
from .pages import PAGES
from .shell import shell

LARGEST_FORM = 65_536
AGAIN = 5
"""Seconds after which the browser loads a page again that the database could not fill."""
INSTANCE = "instance"
"""The parameter that names the instance, when there are several."""

HOW_TO_OPEN = """\
This dashboard refuses everyone, because it was not told who may see it. Open it with authorize=:

    from oban_sqla.web import Access, dashboard
    dashboard(oban, authorize=lambda request: Access.ALL if may_operate(request) else None)
    dashboard(oban, authorize=Access.READ)    # everyone who reaches it may look: for development
"""

Guard = Callable[[Request], Response | None]


def dashboard(
    oban: Oban | AsyncEngine | Sequence[Oban | AsyncEngine],
    *,
    authorize: access.Authorize | None = None,
    redact: Redact | None = None,
    title: str | None = None,
) -> Dashboard:
    """An ASGI application that shows jobs, queues and nodes, and lets operators change them.

    ::

        app.mount("/jobs", dashboard(oban, authorize=authorize))

    :param oban: whose jobs: an :class:`~oban_sqla.Oban`, started or not; an ``AsyncEngine``; or a list of these, for
        several instances. Its connections are separate: at most three per event loop.
    :param authorize: who may do what: a function of Starlette's request, plain or a coroutine function, that returns an
        :class:`Access`, an :class:`Operator` with a name for the audit, a set of verbs, or None for a request that is
        refused; or an :class:`Access` for everyone. Default: everyone is refused.
    :param redact: a function of a :class:`~oban_sqla.Job` that returns what is shown of its arguments; None shows
        nothing of them. Default: all of them, except encrypted ones.
    :param title: the name of the application in the pages' titles. Default: the name of the instance.
    :returns: the application; it needs no lifespan. ``await app.aclose()`` closes its connections before the loop
        ends.
    :raises InvalidOption: for another type, two instances of the same name, and an `authorize` or `redact` that can't
        be called.
    """
    return Dashboard(oban, authorize=authorize, redact=redact, title=title)


class Dashboard:
    """The ASGI application that :func:`dashboard` makes.

    :param oban: whose jobs: an :class:`~oban_sqla.Oban`, an ``AsyncEngine``, or a list of these.
    :param authorize: who may do what, as :func:`dashboard` takes it. Default: everyone is refused.
    :param redact: a function of a job that returns what is shown of its arguments. Default: all of them.
    :param title: the name of the application in the pages' titles. Default: the name of the instance.
    :param guard: a function of Starlette's request, called before `authorize`. It returns a response to refuse the
        request, and None to let it pass. Default: no request is refused.
    """

    def __init__(
        self,
        oban: Oban | AsyncEngine | Sequence[Oban | AsyncEngine],
        *,
        authorize: access.Authorize | None = None,
        redact: Redact | None = None,
        title: str | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._instances = _instances(oban)
        self._authorize = access.checked(authorize)
        if redact is not None and (not callable(cast(object, redact)) or iscoroutinefunction(redact)):
            raise InvalidOption(f"dashboard: redact must be a plain function of a job, got {redact!r}")
        if redact is not None and (why := misfit(redact, "job")) is not None:
            raise InvalidOption(f"dashboard: redact is called with a job, and {redact!r} does not fit that: {why}")
        if title is not None and (not isinstance(cast(object, title), str) or not title.strip()):
            raise InvalidOption(f"dashboard: title must be text, got {title!r}")
        self._redact = redact
        self._title = title
        self._guard = guard

    async def aclose(self) -> None:
        """Close the connections of the running event loop. The next request opens new ones."""
        for instance in self._instances.values():
            await instance.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI says."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the dashboard answers HTTP, not {scope['type']}")
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, request: Request) -> Response:
        if self._guard is not None and (refusal := self._guard(request)) is not None:
            return _with(refusal, headers.OF_PAGES)
        path = _path(request.scope)
        if path is None:
            last = request.scope["path"].rstrip("/").rpartition("/")[2]
            return _with(Response(status_code=307, headers={"location": f"./{last}/"}), headers.OF_PAGES)
        if path.startswith("static/"):
            return _static(path.removeprefix("static/"))
        operator = await access.operator_of(request, self._authorize)
        if operator is None:
            text = HOW_TO_OPEN if self._authorize is None else "You may not see this dashboard.\n"
            return _with(PlainTextResponse(text, status_code=403), headers.OF_PAGES)
        return _with(await self._of(request, path, operator), headers.OF_PAGES)

    async def _of(self, request: Request, path: str, operator: access.Operator) -> Response:
        params = parse_qsl(request.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        form: dict[str, list[str]] = {}
        if request.method == "POST":
            if not headers.comes_from_here(request):
                return PlainTextResponse("This form was not sent by a page of this dashboard.\n", status_code=403)
            found = await _form(request)
            if found is None:
                return PlainTextResponse(f"The form is larger than {LARGEST_FORM:,} bytes.\n", status_code=413)
            form = found
        named = next((value for key, value in params if key == INSTANCE), None)
        instance = self._instances.get(named or next(iter(self._instances)))
        always = ((INSTANCE, instance.name),) if instance is not None and len(self._instances) > 1 else ()
        params = [(key, value) for key, value in params if key != INSTANCE]
        link = render.links(path.count("/"), always)
        if instance is None:
            return PlainTextResponse(f"There is no instance {named!r} here.\n", status_code=404)
        ask = Ask(request, await instance.here(), operator, link, path, params, self._redact)
        try:
            if any("\0" in text for text in itertools.chain(*params, *form.values())):
                raise Wrong("A NUL character was sent, which PostgreSQL can't store as text.")
            if request.method == "POST":
                made = await _send(ask, path, form)
                if isinstance(made, Response):
                    return made
            elif request.method in ("GET", "HEAD"):
                made = await _page(ask, path)
                if isinstance(made, Response):
                    return made
            else:
                return PlainTextResponse("GET or POST\n", status_code=405, headers={"allow": "GET, HEAD, POST"})
        except Exception as error:
            made = _problem(error, Form(ask, form))
        return await self._rendered(ask, path, made)

    async def _rendered(self, ask: Ask, path: str, content: Content) -> Response:
        # A page that is not live does not refresh itself, so the header tells the browser to load it again.
        lacks = content.status == 503 or any(getattr(one, "trouble", None) for one in content.context.values())
        headers = {"refresh": str(AGAIN)} if lacks and not content.live and ask.request.method != "POST" else None
        context = {
            "again": AGAIN if headers else None,
            "link": ask.link,
            "may": ask.operator.may,
            "operator": ask.operator,
            "instance": ask.place.name,
            "several": len(self._instances) > 1,
            "did": _did(ask),
            **content.context,
        }
        fragment = Markup(render.rendered(content.template, context))  # escaped by the template
        context |= {
            "content": fragment,
            "is_refresh": ask.is_refresh,
            "current": content.path,
            "application": self._title or ask.place.name,
            "shell": await shell(ask),
        }
        context["menu"] = Markup(render.rendered("menu.html", context))
        seen = render.digest(fragment + context["menu"])
        again = [(key, value) for key, value in ask.params if key not in ("seen", "did", "n")]
        context["here"] = ask.link(path, pairs=again, seen=seen)
        if ask.is_refresh:  # also for a problem: the page may be back at the next refresh
            if ask.one("seen") == seen:
                return Response(status_code=204)
            return HTMLResponse(render.rendered("live.html", context), status_code=content.status)
        context |= {
            "title": content.title,
            "trail": content.trail,
            "periods": content.periods,
            "ticks": content.live,
            "every": ask.refresh,
            "instances": list(self._instances),
        }
        return HTMLResponse(render.rendered("layout.html", context), status_code=content.status, headers=headers)


async def _page(ask: Ask, path: str) -> Content | Response:
    name, slash, rest = path.partition("/")
    page = PAGES.get(f"{name}/" if slash else name)
    if page is None:
        raise NotFound(f"There is no page {path!r}.")
    return await page(ask, rest)


async def _send(ask: Ask, path: str, form: Mapping[str, list[str]]) -> Content | Response:
    action = ACTIONS.get(path)
    if action is None:
        raise NotFound(f"Nothing is sent to {path!r}.")
    return await action(ask, form)


def _problem(error: Exception, form: Form) -> Content:
    def content(status: int, title: str, text: str) -> Content:
        context = {"text": text, "back": form.way_back, "form": form.back}
        return Content("problem.html", title, context, "problem", live=False, status=status)

    match error:
        case NotFound():
            return content(404, "Not found", str(error))
        case Refused():
            return content(403, "Not allowed", str(error))
        case DatabaseUnavailable():
            return content(503, "The database did not answer", str(error))
        case Wrong() | ObanError():
            return content(400, "That did not work", str(error))
        case DBAPIError():
            return content(503, "The database did not answer", trouble(error))
        case OSError():
            return content(503, "The database did not answer", f"No connection to the database: {type(error).__name__}")
        case _:
            logger.error("dashboard: a page failed", exc_info=error)
            return content(500, "This page failed", "The log of the server has the reason.")


def _did(ask: Ask) -> tuple[str, int] | None:
    verb, number = ask.one("did"), ask.whole("n")
    return (verb, number or 0) if verb is not None else None


def _path(scope: Mapping[str, Any]) -> str | None:
    """The path inside the dashboard, without surrounding slashes; None for the root without its slash."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    # A proxy may have removed the first part of the root, as FastAPI(root_path="/api") says.
    roots = (root, root.removeprefix(scope.get("app_root_path", "").rstrip("/")))
    within = (one for one in roots if one and (path == one or path.startswith(f"{one}/")))
    inside = path.removeprefix(next(within, ""))
    return None if inside == "" and path else inside.strip("/")


def _static(name: str) -> Response:
    if (found := render.files().get(name)) is None:
        return _with(PlainTextResponse("There is no such file.\n", status_code=404), headers.OF_PAGES)
    return _with(Response(found[0], headers={"content-type": found[1]}), headers.OF_FILES)


def _with(response: Response, given: Mapping[str, str]) -> Response:
    for name, value in given.items():
        response.headers.setdefault(name, value)
    return response


async def _form(request: Request) -> dict[str, list[str]] | None:
    """The fields of a form; None for one that is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            return None
    form: dict[str, list[str]] = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        form.setdefault(name, []).append(value)
    return form


def _instances(given: object) -> dict[str, Instance]:
    every = [given] if isinstance(given, Oban | AsyncEngine) else given
    if isinstance(every, str) or not isinstance(every, Iterable):
        raise InvalidOption(f"dashboard: expected an Oban, an AsyncEngine, or a list of these, got {told(given)}")
    made: dict[str, Instance] = {}
    for one in cast("Iterable[Oban | AsyncEngine]", every):
        instance = Instance(one)
        if instance.name in made:
            raise InvalidOption(
                f"dashboard: two instances are named {instance.name!r}; give them names with Oban(engine, name=…)"
            )
        made[instance.name] = instance
    if not made:
        raise InvalidOption("dashboard: expected at least one Oban or AsyncEngine, got an empty list")
    return made
