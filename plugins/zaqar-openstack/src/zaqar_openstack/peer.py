"""An OpenStack Zaqar without its service: its storage drivers, made as the service makes them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Self

from oslo_config import cfg
from oslo_log import log
from zaqar.bootstrap import Bootstrap

from zaqar_core.contract import QueueKey
from zaqar_openstack.options import Settings


class Peer:
    """The controllers of OpenStack Zaqar. They raise its own errors, and those of its clients.

    ``messages`` and ``claims`` are the driver's own, without the stage that notifies subscribers; ``queues`` has the
    stage that counts and deletes messages, which the driver's own controller leaves to it.
    """

    def __init__(self, data: Any, control: Any, queues: Any) -> None:
        self.data = data
        self.messages = data.message_controller
        self.claims = data.claim_controller
        self.queues = queues
        self._control = control

    @classmethod
    def make(cls, settings: Settings) -> Self:
        """Load the drivers that the settings name, and connect."""
        conf = cfg.ConfigOpts()
        log.register_options(conf)
        conf([], project="zaqar", default_config_files=[], default_config_dirs=[])
        boot = Bootstrap(conf)
        for (group, name), value in settings.items():
            conf.set_override(name, value, group)
        return cls(boot.storage._storage, boot.control, boot.storage.queue_controller)

    @property
    def version(self) -> str:
        """The version of OpenStack Zaqar."""
        return version("zaqar")

    def register(self, queue: QueueKey) -> None:
        """Make the queue known, as the service does before a post; reading from one that is not is an error there."""
        if not self.queues.exists(*named(queue)):
            self.queues.create(queue.name, project=queue.project or None)

    def close(self) -> None:
        """Let go of the connections."""
        self.data.close()
        self._control.close()


def named(queue: QueueKey) -> tuple[str, str | None]:
    """What each of its methods begins or ends with: name and project."""
    return queue.name, queue.project or None
