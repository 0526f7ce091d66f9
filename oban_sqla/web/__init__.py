"""The dashboard: jobs, queues, failures and nodes in a browser, and the changes that an operator makes.

::

    from oban_sqla.web import Access, dashboard

    app.mount("/jobs", dashboard(oban, authorize=lambda request: Access.ALL if request.user.is_admin else None))

An ASGI application for any framework, rendered by the server and readable without JavaScript. It needs
``pip install 'oban-sqla[web]'``.

Belongs here: pages, forms, and who may see and send them. Does not: what a page shows (see `insight`) and what a form
changes (see `control`), which the command line needs, too.
"""

try:
    import jinja2 as _jinja2  # noqa: F401  # pyright: ignore[reportUnusedImport]
    import starlette as _starlette  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError as _missing:
    raise ImportError("oban_sqla.web needs starlette and jinja2: pip install 'oban-sqla[web]'") from _missing

from .access import Access, Operator
from .dashboard import Dashboard, dashboard

__all__ = ["Access", "Dashboard", "Operator", "dashboard"]
