"""Which server process answers."""

from sqlalchemy import Executable, func, select

from .statement import statement


@statement
def backend() -> Executable:
    """The process id of the backend that runs this transaction."""
    return select(func.pg_backend_pid())
