"""A real OpenStack Swift of one's own, for development and tests: ``python -m zaqar_swift.server`` starts one.

``pip install zaqar-swift[server]`` brings what it needs. Proxy, account, container and object servers share one process
on loopback: no root, no memcached, no rsync, ready in about a second. It ends when its standard input does, so with
the process that started it, and deletes what it stored, unless a folder was named.

Eventlet changes the process that it runs in: start this as a program, never import its parts into another.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

HOST: Final = "127.0.0.1"
USER: Final = "test:tester"
KEY: Final = "testing"
CONTROL: Final = "/cluster/"
"""Behind the proxy's address: ``POST /cluster/expire``, ``.../update``, ``.../fail/N``, ``.../heal/N``."""

REMEDY: Final = "the programs of OpenStack Swift are not installed: pip install 'zaqar-swift[server]'"


def installed() -> bool:
    """Whether there is what a Swift of one's own needs."""
    return all(find_spec(module) is not None for module in ("swift", "eventlet"))


def auth_url(port: int, *, tls: bool = False) -> str:
    """Where to ask for a token, by the first version of Swift's authentication."""
    return f"{'https' if tls else 'http'}://{HOST}:{port}/auth/v1.0"


def uri(port: int, *, tls: bool = False) -> str:
    """What to connect to."""
    return f"{'swift' if tls else 'swift+http'}://{USER.replace(':', '%3A')}:{KEY}@{HOST}:{port}/auth/v1.0"
