"""What Swift's daemons do in the background, once over for all replicas: expirer, updaters, replicators."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from swift.account.replicator import AccountReplicator
from swift.container.replicator import ContainerReplicator
from swift.container.updater import ContainerUpdater
from swift.obj.expirer import ObjectExpirer
from swift.obj.replicator import ObjectReplicator
from swift.obj.updater import ObjectUpdater

from zaqar_swift.server import HOST
from zaqar_swift.server import configuration as files

_OFTEN: Final = 1_000_000
"""How many deletions or updates a second a pass may make."""


def expire(folder: Path, replicas: int) -> None:
    """What has expired leaves the disk and the listings."""
    for number in range(replicas):  # accounts learn of their containers, the expirer's own among them
        ContainerUpdater(_conf(folder, number)).run_once()
    client = str(files.write_internal_client(folder))
    conf = {"internal_client_conf_path": client, "tasks_per_second": _OFTEN, "dequeue_from_legacy": "true"}
    ObjectExpirer({**_conf(folder, 0), **conf}).run_once()


def update(folder: Path, ports: Sequence[Mapping[str, int]]) -> None:
    """Every replica learns what it has missed. ``ports``: of each one, by the kind of server."""
    for number, by_kind in enumerate(ports):
        updater = ObjectUpdater(_conf(folder, number))
        updater.get_container_ring()
        updater.object_sweep(str(files.device_of(folder, number)))
        for kind, replicator in (("account", _Accounts), ("object", ObjectReplicator), ("container", _Containers)):
            conf = {**_conf(folder, number), "bind_ip": HOST, "bind_port": str(by_kind[kind])}
            replicator(conf).run_once()


def _conf(folder: Path, number: int) -> dict[str, Any]:
    return {
        "swift_dir": str(folder),
        "devices": str(files.devices_of(folder, number)),
        "mount_check": "false",
        "recon_cache_path": str(folder),
        "log_custom_handlers": "zaqar_swift.server.log.to_file",
        "objects_per_second": _OFTEN,
        "containers_per_second": _OFTEN,
        "sync_method": "ssync",
        "rsync_module": str(folder / "{meta}"),
    }


class _Copied:
    """A listing that a replica lacks as a whole is copied, as there is no rsync on loopback."""

    def _rsync_file(self, broker: Any, remote_file: str, *_: Any, **__: Any) -> bool:
        Path(remote_file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(broker.db_file, remote_file)
        return True


class _Accounts(_Copied, AccountReplicator):  # type: ignore[misc]  # Swift has no types
    pass


class _Containers(_Copied, ContainerReplicator):  # type: ignore[misc]
    pass
