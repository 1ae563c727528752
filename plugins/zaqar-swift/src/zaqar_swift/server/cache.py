"""What a memcached does for Swift's proxy, in this process: it remembers which accounts and containers there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Cache:
    """The calls of Swift's memcached client that its proxy makes."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Any]] = {}

    def get(self, key: str, **_options: Any) -> Any:
        until, value = self._kept.get(key, (0.0, None))
        return value if until > time.monotonic() else None

    def set(self, key: str, value: Any, time: float = 0, **_options: Any) -> None:
        self._kept[key] = (_now() + (time or 60), value)

    def incr(self, key: str, delta: int = 1, time: float = 0, **_options: Any) -> int:
        count = max(0, int(self.get(key) or 0) + delta)
        self.set(key, count, time)
        return count

    def decr(self, key: str, delta: int = 1, time: float = 0, **_options: Any) -> int:
        return self.incr(key, -delta, time)

    def delete(self, key: str, **_options: Any) -> None:
        self._kept.pop(key, None)


def factory(_global: dict[str, str], **_local: str) -> Callable[[Any], Any]:
    """A filter for a pipeline of Swift's, which gives what is behind it the cache."""
    cache = Cache()

    def add(app: Any) -> Any:
        def answer(env: dict[str, Any], start_response: Any) -> Any:
            env["swift.cache"] = cache
            return app(env, start_response)

        return answer

    return add


def _now() -> float:
    return time.monotonic()
