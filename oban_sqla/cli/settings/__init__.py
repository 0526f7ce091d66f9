"""The settings of the command line: a file, and the environment.

:mod:`sources` reads them and decides which of them counts. :mod:`keys` lists the settings. Every error names the
:class:`Place` of the setting. Belongs here: reading and checking settings. Does not: options of single commands.
"""

from .keys import queues, queues_from
from .place import Place, SettingsError
from .sources import FILE, Settings, config_option, explaining, heartbeat, read, settings

__all__ = [
    "FILE",
    "Place",
    "Settings",
    "SettingsError",
    "config_option",
    "explaining",
    "heartbeat",
    "queues",
    "queues_from",
    "read",
    "settings",
]
