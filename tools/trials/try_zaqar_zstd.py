"""The codec, found by its name as ``connect`` finds it."""

from importlib.metadata import entry_points

[entry] = entry_points(group="zaqar_core.codecs", name="zstd")
codec = entry.load()()
data = b"screw, 4 mm, zinc " * 1000
assert len(codec.encode(data)) < len(data)
assert codec.decode(codec.encode(data)) == data
