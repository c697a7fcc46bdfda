# SPDX-License-Identifier: MIT
"""Writes GGUF v3 files for tests with the standard library alone."""
import math
import struct

ALIGNMENT = 32
U32, F32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5


def _string(text):
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(kind, value):
    if kind == STRING:
        return _string(value)
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?", INT32: "<i"}[kind], value)


class Writer:
    """Collects keys and float32 tensors, then writes them in that order."""

    def __init__(self):
        self._keys = []
        self._tensors = []

    def add(self, key, kind, value):
        self._keys.append(_string(key) + struct.pack("<I", kind) + _value(kind, value))

    def add_array(self, key, kind, values):
        head = _string(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
        self._keys.append(head + b"".join(_value(kind, v) for v in values))

    def add_tensor(self, name, dims, data):
        """dims: fastest first; data: little-endian float32 bytes."""
        assert len(data) == 4 * math.prod(dims), name
        self._tensors.append((name, dims, data))

    def write(self, path):
        infos, offset = [], 0
        for name, dims, data in self._tensors:
            infos.append(_string(name) + struct.pack("<I", len(dims)) +
                         struct.pack("<%dQ" % len(dims), *dims) + struct.pack("<IQ", 0, offset))
            offset += -(-len(data) // ALIGNMENT) * ALIGNMENT
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self._tensors), len(self._keys))
        head += b"".join(self._keys) + b"".join(infos)
        with open(path, "wb") as file:
            file.write(head + b"\0" * (-len(head) % ALIGNMENT))
            for _, _, data in self._tensors:
                file.write(data + b"\0" * (-len(data) % ALIGNMENT))
