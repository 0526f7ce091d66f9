"""Whether anybody is at the other end."""

from sqlalchemy import Executable, literal, select

from .statement import statement


@statement
def ping() -> Executable:
    """Says 1."""
    return select(literal(1))
