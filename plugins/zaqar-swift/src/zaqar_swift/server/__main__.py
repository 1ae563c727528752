"""The command: starts a cluster, prints the credentials, and serves until its standard input ends, or Ctrl-C."""

# ruff: noqa: E402, T201 - eventlet comes first, and what is printed is what the command is for

from __future__ import annotations

import sys

from zaqar_swift.server import REMEDY, installed

if not installed():
    sys.exit(REMEDY)

import eventlet

eventlet.monkey_patch()

import argparse
import contextlib
import errno
import os
import signal
import ssl
import tempfile
from pathlib import Path

from eventlet import event, patcher, tpool

from zaqar_swift.server import KEY, USER, auth_url, uri
from zaqar_swift.server.cluster import Cluster

_read = patcher.original("os").read
"""Eventlet's own waits for its file by epoll, which takes neither ``/dev/null`` nor any other file."""


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    _check(parser, options)
    with contextlib.ExitStack() as stack:

        def end(*_: object) -> None:
            stack.close()
            os._exit(0)  # an exception would end any one of eventlet's threads, which have nothing to finish

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        folder = options.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="zaqar-swift-"))
        _serve(parser, options, Path(folder).absolute())
        end()


def _serve(parser: argparse.ArgumentParser, options: argparse.Namespace, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        cluster = Cluster(
            folder,
            port=options.port,
            replicas=options.replicas,
            spares=options.spares,
            away=options.away,
            token_life=options.token_life,
            pipeline=options.pipeline,
            settings=options.settings.read_text("utf-8") if options.settings else "",
            tls=options.tls,
        )
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        parser.error(f"--port {options.port}: {error.strerror}; choose another, or leave it out for any free one")
    cluster.start()
    tls = options.tls is not None
    print(f"export ST_AUTH={auth_url(cluster.port, tls=tls)} ST_USER={USER} ST_KEY={KEY}")
    print(uri(cluster.port, tls=tls), flush=True)
    if options.forever:
        event.Event().wait()
    while tpool.execute(_read, 0, 1024):
        pass


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Say what is wrong, and end, before anything is made."""
    if not 0 <= options.port < 65_536:
        parser.error(f"--port {options.port} is outside 0 to 65535; choose one inside")
    servers = options.replicas + options.spares
    for number in options.away:
        if not 0 <= number < servers:
            parser.error(f"--away {number} is not one of the {servers} servers, which count from 0; choose a lower one")
    if options.settings and not options.settings.is_file():
        parser.error(f"--settings {options.settings} is not a file; write the path of one with sections of proxy.conf")
    if options.tls:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.tls)
        except OSError as error:  # as errors of TLS are
            parser.error(f"--tls {options.tls} is not a PEM file with a key and certificates: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m zaqar_swift.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the proxy; any free one unless given")
    parser.add_argument("--folder", help="keep what is stored in this folder; else it goes when the servers end")
    parser.add_argument("--replicas", type=int, default=1, choices=range(1, 6), help="each on servers of its own")
    parser.add_argument("--spares", type=int, default=0, choices=range(3), help="for copies of replicas that are away")
    parser.add_argument("--token-life", type=int, default=86400, metavar="SECONDS", help="how long a token is good")
    parser.add_argument(
        "--away",
        type=int,
        nargs="*",
        default=[],
        metavar="N",
        help="replicas that do not serve until healed",
    )
    parser.add_argument("--pipeline", default="tempauth", help="the filters of the proxy; 'tempauth' unless given")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="sections of those filters, as in proxy.conf")
    parser.add_argument(
        "--tls", type=Path, metavar="FILE", help="the proxy's private key and certificates: it speaks TLS"
    )
    parser.add_argument("--forever", action="store_true", help="go on when standard input ends, as without a terminal")
    return parser


if __name__ == "__main__":
    main()
