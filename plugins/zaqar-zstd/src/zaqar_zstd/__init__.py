"""Zstandard compression of message bodies: the codec ``zstd``."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["BodyTooLarge", "ZstdCodec"]

_BOUNDS = zstd.CompressionParameter.compression_level.bounds()
_WINDOWS = zstd.DecompressionParameter.window_log_max.bounds()


class BodyTooLarge(ValueError):
    """A body is longer than ``max_size``, or would be once decompressed."""


class ZstdCodec:
    """Compresses each body by itself, as one Zstandard frame with a checksum. Shared by threads.

    ``level``: from 1 (fast) to 22 (small); negative levels are faster still. Any level reads what any other wrote.
    ``max_size``: the longest body in bytes before compression. Longer ones are neither written nor read, so that a
    few bytes in the datastore cannot fill the memory of who reads them.

    Raises ``ValueError`` for a level or size that is none.
    """

    name = "zstd"

    def __init__(self, level: int = 3, *, max_size: int = 64 * 1024 * 1024) -> None:
        if not _BOUNDS[0] <= level <= _BOUNDS[1]:
            raise ValueError(f"level is {level}; choose one from {_BOUNDS[0]} to {_BOUNDS[1]}")
        if max_size < 1:
            raise ValueError(f"max_size is {max_size}; give at least 1 byte")
        self._max_size = max_size
        self._writing: dict[int, int] = {
            zstd.CompressionParameter.compression_level: level,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        # A frame may ask for a window as large as its content; one that asks for more is not of this codec.
        window = min(max((max_size - 1).bit_length(), _WINDOWS[0]), _WINDOWS[1])
        self._reading: dict[int, int] = {zstd.DecompressionParameter.window_log_max: window}

    def encode(self, data: bytes) -> bytes:
        """One frame. Raises ``BodyTooLarge``."""
        if len(data) > self._max_size:
            raise BodyTooLarge(f"a body of {len(data)} bytes; at most {self._max_size} are allowed")
        return zstd.compress(data, options=self._writing)

    def decode(self, data: bytes) -> bytes:
        """What the frame holds. Raises ``BodyTooLarge``; ``ZstdError`` or ``ValueError`` for anything but one frame."""
        said = zstd.get_frame_info(data).decompressed_size or 0
        frame = zstd.ZstdDecompressor(options=self._reading)
        body = b"" if said > self._max_size else frame.decompress(data, max_length=self._max_size + 1)
        if max(said, len(body)) > self._max_size:
            raise BodyTooLarge(f"a frame of {len(data)} bytes holds more than the {self._max_size} that are allowed")
        if not frame.eof:
            raise ValueError("the frame is cut off")
        if frame.unused_data:
            raise ValueError(f"{len(frame.unused_data)} bytes follow the frame")
        return body
