"""The reference driver: the contract in memory, as simple as can be. The model that others are compared with."""

from zaqar_conformance.reference.driver import ReferenceDriver

__all__ = ["ReferenceDriver"]
