"""How often two claimers get one message from Swift: ``python bench/swift_claims.py --claimers 2 4 8``.

Starts a Swift, posts messages, and lets processes claim them all at once, with leases that outlast the run: a message
in two claims was handed out twice. Prints a line a number of claimers. With ``--coordinator`` a Redis decides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

import zaqar_core
from zaqar_core import NewMessage
from zaqar_swift import server as swift
from zaqar_swift.target import coordinator_uri, redis_server, swift_server

_QUEUE = "contended"
_BATCH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claimers", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--messages", type=int, default=1_000)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--coordinator", action="store_true")
    parser.add_argument("--claimer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.claimer:
        _claim(options.claimer, options.limit)
        return
    print("claimers  limit  replicas  messages  handed out twice  claims  claims/s  empty-handed errors")
    for claimers in options.claimers:
        with tempfile.TemporaryDirectory() as folder:
            servers = [swift_server(Path(folder) / "swift", replicas=options.replicas)]
            if options.coordinator:
                servers.append(redis_server(Path(folder) / "redis", "--appendonly", "yes"))
            try:
                for server in servers:
                    server.start()
                one, *others = servers
                told = [urlencode({"coordinator": coordinator_uri(other.port)}) for other in others]
                _measure("?".join([swift.uri(one.port), *told]), claimers, options)
            finally:
                for server in servers:
                    server.kill()


def _measure(uri: str, claimers: int, options: argparse.Namespace) -> None:
    with zaqar_core.connect(uri, project="bench", timeout=60) as storage:
        for start in range(0, options.messages, _BATCH):
            storage.messages.post(_QUEUE, [NewMessage(start + n, ttl=86400) for n in range(_BATCH)])
    command = [sys.executable, __file__, "--claimer", uri, "--limit", str(options.limit)]
    began = time.monotonic()
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(claimers)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    began = time.monotonic()
    results = [json.loads(child.communicate()[0]) for child in children]
    seconds = time.monotonic() - began
    times = Counter(message for result in results for claim in result["claims"] for message in claim)
    claims = sum(len(result["claims"]) for result in results)
    twice = sum(count > 1 for count in times.values())
    errors = sum(result["errors"] for result in results)
    assert len(times) == options.messages, f"{len(times)} of {options.messages} were claimed"
    shape = f"{claimers:8}  {options.limit:5}  {options.replicas:8}  {options.messages:8}"
    print(f"{shape}  {twice:16}  {claims:6}  {claims / seconds:8.1f}  {errors:6}", flush=True)


def _claim(uri: str, limit: int) -> None:
    claims, errors = [], 0
    with zaqar_core.connect(uri, project="bench", timeout=60) as storage:
        print("ready", flush=True)
        sys.stdin.readline()
        while True:
            try:
                claim = storage.claims.create(_QUEUE, ttl=3600, grace=60, limit=limit)
            except zaqar_core.errors.StorageUnavailable:
                errors += 1
                continue
            if claim.id is None:
                break
            claims.append([message.id for message in claim.messages])
    print(json.dumps({"claims": claims, "errors": errors}))


if __name__ == "__main__":
    main()
