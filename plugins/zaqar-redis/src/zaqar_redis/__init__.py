"""The Redis backend of the Zaqar storage SDK, for Redis 6.2 and later and Valkey."""

from zaqar_redis.driver import RedisDriver

__all__ = ["RedisDriver"]
