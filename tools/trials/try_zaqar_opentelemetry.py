"""The observer, found by its name as ``connect`` finds it."""

from importlib.metadata import entry_points

[entry] = entry_points(group="zaqar_core.observers", name="opentelemetry")
assert callable(entry.load())
