"""The command line on a machine without a network: ``python -m tests.app.offline app ...``.

A host other than this machine cannot be looked up or connected to; each attempt is told on stderr.
"""

import socket
import sys
from typing import Any

from abair_pl.cli import main

ATTEMPT = "left this machine: "
"""What stands before a host in what is told."""

_HERE = ("localhost", "127.0.0.1", "::1", None)


def cut_off() -> None:
    """Refuse other hosts from now on."""
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def check(host: Any) -> None:
        if host not in _HERE:
            sys.stderr.write(f"{ATTEMPT}{host}\n")
            message = "there is no network"
            raise OSError(message)

    def refusing_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        check(host)
        return look_up(host, *arguments, **options)

    def refusing_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            check(address[0])
        connect(self, address)

    socket.getaddrinfo = refusing_look_up
    socket.socket.connect = refusing_connect  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    cut_off()
    sys.exit(main())
