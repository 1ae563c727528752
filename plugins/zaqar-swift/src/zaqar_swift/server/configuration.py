"""The files that Swift's servers read: their configuration, and the rings that say where replicas are."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from swift.common import ring

from zaqar_swift.server import HOST, KEY, USER

KINDS: Final = ("account", "container", "object")

_FERNET_KEY: Final = "YS1rZXktZm9yLXRva2Vucy1vbi1sb29wYmFjay1vbmw="
"""Tokens carry what they grant, signed by this key, so that no memcached has to keep them."""

_DEFAULTS: Final = """[DEFAULT]
swift_dir = {folder}
devices = {devices}
mount_check = false
log_custom_handlers = zaqar_swift.server.log.to_file
log_level = WARNING
"""

_BACKEND: Final = """{defaults}
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
fallocate_reserve = 0
"""

_PROXY: Final = """{defaults}
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache {pipeline} proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 0
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
paste.filter_factory = zaqar_swift.server.cache:factory
[filter:tempauth]
use = egg:swift#tempauth
token_life = {token_life}
fernet_key_loopback = {fernet_key}
active_fernet_key_id = loopback
user_{user} = {key} .admin
{settings}
"""

_INTERNAL: Final = """{defaults}
[pipeline:main]
pipeline = catch_errors proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 0
[filter:catch_errors]
use = egg:swift#catch_errors
"""


def write_swift_conf(folder: Path) -> None:
    """What all servers share."""
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = loopback\n", encoding="utf-8")


def write_proxy(folder: Path, *, token_life: int, pipeline: str, settings: str) -> Path:
    """``pipeline``: the filters behind the cache; ``settings``: sections of those besides tempauth."""
    text = _PROXY.format(
        defaults=_defaults(folder, folder),
        token_life=token_life,
        fernet_key=_FERNET_KEY,
        user=USER.replace(":", "_"),
        key=KEY,
        pipeline=pipeline,
        settings=settings,
    )
    return _write(folder / "proxy.conf", text)


def write_internal_client(folder: Path) -> Path:
    """A proxy without authentication, which the expirer deletes through."""
    return _write(folder / "internal.conf", _INTERNAL.format(defaults=_defaults(folder, folder)))


def write_backend(folder: Path, kind: str, number: int) -> Path:
    text = _BACKEND.format(defaults=_defaults(folder, devices_of(folder, number)), kind=kind)
    return _write(folder / f"{kind}-{number}.conf", text)


def write_ring(folder: Path, kind: str, ports: Sequence[int], replicas: int) -> None:
    """Each port is of a server with one device, and so many of them keep each thing."""
    devices: list[dict[str, Any]] = [
        {
            "id": number,
            "region": 1,
            "zone": number,
            "weight": 1.0,
            "device": _device(number),
            "meta": devices_name(number),
            "ip": HOST,
            "port": port,
            "replication_ip": HOST,
            "replication_port": port,
        }
        for number, port in enumerate(ports)
    ]
    # Four partitions; which devices a partition falls back on, rings take from the other ones.
    table = [array("H", [(part + number) % len(ports) for part in range(4)]) for number in range(replicas)]
    ring.RingData(table, devices, 30).save(str(folder / f"{kind}.ring.gz"))


def devices_of(folder: Path, number: int) -> Path:
    """The folder with the one device of a replica, which is made."""
    devices = folder / devices_name(number)
    (devices / _device(number)).mkdir(parents=True, exist_ok=True)
    return devices


def devices_name(number: int) -> str:
    """Of the folder with the one device of a replica, which rings name too."""
    return f"replica-{number}"


def device_of(folder: Path, number: int) -> Path:
    """The one device of a replica."""
    return devices_of(folder, number) / _device(number)


def _device(number: int) -> str:
    return f"d{number}"


def _defaults(folder: Path, devices: Path) -> str:
    return _DEFAULTS.format(folder=folder, devices=devices)


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
