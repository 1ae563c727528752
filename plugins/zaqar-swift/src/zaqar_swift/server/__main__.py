"""The command: starts a cluster, prints the credentials, and serves until its standard input ends, or Ctrl-C."""

# ruff: noqa: E402, T201 - eventlet comes first, and what is printed is what the command is for

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import argparse
import os
import signal
import tempfile
from pathlib import Path

from eventlet import event, tpool

from zaqar_swift.server import KEY, USER, auth_url, uri
from zaqar_swift.server.cluster import Cluster


def main() -> None:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="zaqar-swift-") as own:
        folder = Path(options.folder or own).absolute()
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
            cluster.start()
            tls = options.tls is not None
            print(f"export ST_AUTH={auth_url(cluster.port, tls=tls)} ST_USER={USER} ST_KEY={KEY}")
            print(uri(cluster.port, tls=tls), flush=True)
            if options.forever:
                event.Event().wait()
            while tpool.execute(os.read, 0, 1024):
                pass
        except KeyboardInterrupt:
            pass
    os._exit(0)  # eventlet's threads have nothing to finish


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
    parser.add_argument("--forever", action="store_true", help="go on when standard input ends")
    return parser


if __name__ == "__main__":
    main()
