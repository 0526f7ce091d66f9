"""What the command is told beside its arguments: a file, and the environment.

:mod:`sources` finds them and says which counts, :mod:`keys` says what there is to be said; every error names the
:class:`Place` where it was said.
"""

from .keys import queues, queues_from
from .place import Place, SettingsError
from .sources import FILE, Settings, config_option, read, settings

__all__ = [
    "FILE",
    "Place",
    "Settings",
    "SettingsError",
    "config_option",
    "queues",
    "queues_from",
    "read",
    "settings",
]
