"""Releases everything, as it stands, to a package index of this machine, and uses it from there. ``nox -s rehearsal``.

The index runs on loopback while this runs. What it does not have itself it redirects to the usual index, so that
a distribution of ours can come from nowhere else.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import release
from release import ReleaseError, run

LONGEST_START = 30.0


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="zaqar-rehearsal-") as folder:
        try:
            with package_index(Path(folder)) as url:
                for name, version in versions().items():
                    publish(f"{name}-{version}", Path(folder, "release"), url)
                use(url)
        except ReleaseError as error:
            print(f"rehearsal: {error}", file=sys.stderr)
            return 1
    print(f"released and used: {', '.join(versions())}")
    return 0


def versions() -> dict[str, str]:
    """The version of each distribution, in the order in which they are released."""
    return {name: str(release.project_of(folder)["version"]) for name, folder in release.distributions().items()}


def publish(tag: str, out: Path, url: str) -> None:
    """As the workflow does it, but to the index at ``url``, and with a changelog that may say "unreleased"."""
    release.prepare(release.find(tag, dated=False), out, index_url=f"{url}/simple/")
    files = sorted((out / "packages").iterdir())
    account = ["--username", "nobody", "--password", "none"]
    run(sys.executable, "-m", "twine", "upload", "--non-interactive", "--repository-url", url, *account, *files)


def use(url: str) -> None:
    """What an application and a driver's author do, with distributions from the index at ``url``."""
    with release.clean_environment() as python:
        install(python, url, "zaqar-core", "zaqar-sqlite")
        release.try_out(python, "zaqar-sqlite")
        install(python, url, "zaqar-conformance")
        suite = python.with_name("zaqar-conformance")
        run(suite, "run", "sqlite", "--only", "MSG-001", cwd=python.parents[2])
        run(python, "-m", "pip", "check")


def install(python: Path, url: str, *names: str) -> None:
    """By name, and make sure where they came from."""
    report = python.parents[2] / "installed.json"
    run(python, "-m", "pip", "install", "-q", "--index-url", f"{url}/simple/", "--report", report, *names)
    installed = json.loads(report.read_text("utf-8"))["install"]
    origins = {each["metadata"]["name"]: each["download_info"]["url"] for each in installed}
    strays = [name for name in names if not origins.get(name, url).startswith(url)]
    if strays:
        raise ReleaseError(f"{', '.join(strays)} came from elsewhere than the index on this machine")


@contextmanager
def package_index(folder: Path) -> Iterator[str]:
    """The URL of a package index on loopback, which ends with the block."""
    packages, log = folder / "packages", folder / "index.log"
    packages.mkdir()
    url = f"http://127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "pypiserver", "run", "--interface", "127.0.0.1", "--port", url.rpartition(":")[2]]
    anybody = ["--passwords", ".", "--authenticate", "."]
    with log.open("wb") as output:
        server = subprocess.Popen([*command, *anybody, *_fallback(), packages], stdout=output, stderr=output)
    try:
        _wait(server, url, log)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _fallback() -> list[str]:
    """The index that pip is set to use, if it is not pip's own."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    usual = os.environ.get("PIP_INDEX_URL", configured)
    return ["--fallback-url", usual] if usual else []


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + LONGEST_START
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with direct.open(f"{url}/simple/", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise ReleaseError(f"the package index did not start in {LONGEST_START:g} s:\n{log.read_text(errors='replace')}")


if __name__ == "__main__":
    sys.exit(main())
