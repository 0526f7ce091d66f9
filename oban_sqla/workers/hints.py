"""What to give instead of an argument of a wrong type, where its type says what was meant."""

from __future__ import annotations

from types import FunctionType

from ..models.node import Node
from ..options.instance import is_instance

# A model may be configured to take the attributes of any object, and would be stored with the row's columns.
_COLUMNS = (
    "; of a mapped instance only the key is stored: annotate the parameter with its class, or pass the values that the "
    "job needs"
)
_UNFLUSHED = "; for what the flush will know, such as the key of a new object, pass later(lambda: …)"
_RESULT = "; for the result of that job pass node.result"


def hint_of(given: object) -> str:
    """What a message says after the type of the argument that was `given`; empty where nothing is known."""
    if given is None or isinstance(given, FunctionType):
        return _UNFLUSHED
    if isinstance(given, Node):
        return _RESULT
    return _COLUMNS if is_instance(given) else ""
