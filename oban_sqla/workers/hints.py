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
_STORED = "; this is stored: it is the result of a job that has failed, or was not known when the job was enqueued"
_RESULT = "; for the result of that job pass node.result"


def hint_of(given: object, is_stored: bool) -> str:
    """What a message says after the type of the argument that was `given`; empty where nothing is known.

    :param is_stored: whether it is read from a job.
    """
    if is_stored:
        return _STORED if given is None else ""
    if given is None or isinstance(given, FunctionType):
        return _UNFLUSHED
    if isinstance(given, Node):
        return _RESULT
    return _COLUMNS if is_instance(given) else ""
