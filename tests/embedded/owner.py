"""A process that starts a server, says so, and does what it is told until its stdin ends.

``python -m tests.embedded.owner OPTIONS``, a JSON object with `data`, `settings` and `bindir`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from oban_sqla import embedded


def main(options: dict[str, Any]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, _live_on)
    stray = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(stray, True)
    print("starting", flush=True)
    server = embedded.start(options["data"], options["settings"], options["bindir"])
    print(json.dumps({"url": server.url, "data": str(server.data)}), flush=True)
    for line in sys.stdin:
        answer = None
        match line.strip():
            case "fork":
                stopped, stops = os.pipe()
                answer = os.fork()
                if answer == 0:
                    server.stop()  # which is the parent's
                    for end in (stopped, stops, 0, 1):
                        os.close(end)
                    time.sleep(60)
                    os._exit(0)
                os.close(stops)
                os.read(stopped, 1)
                os.close(stopped)
            case "stop":
                server.stop()
            case _:
                return
        print(json.dumps(answer), flush=True)


def _live_on(*_: object) -> None:
    """What a shell does at Ctrl-C."""


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
