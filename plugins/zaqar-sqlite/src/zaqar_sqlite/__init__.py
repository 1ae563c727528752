"""The SQLite backend of the Zaqar storage SDK: all queues in one file, shared by threads and processes."""

from zaqar_sqlite.driver import SqliteDriver

__all__ = ["SqliteDriver"]
