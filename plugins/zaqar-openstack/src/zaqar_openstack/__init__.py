"""The storage drivers of an installed OpenStack Zaqar as backends of the Zaqar storage SDK."""

from zaqar_openstack.driver import OpenStackDriver

__all__ = ["OpenStackDriver"]
