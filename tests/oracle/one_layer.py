#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A model cut down to its first layer: the same tokens, thirty times less to compute.

    one_layer.py FROM.gguf TO.gguf

What trie.py counts hangs on the tokens alone, so it can be run at full size in minutes. turns.py wants the whole model: this
one replies with newlines, which chat templates drop, so that no prompt goes on with a reply. Needs the package gguf."""
import os
import sys

import gguf

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
from requantize import field_put  # noqa: E402


def main():
    source, target = sys.argv[1:3]
    reader = gguf.GGUFReader(source)
    arch = bytes(reader.fields["general.architecture"].parts[-1]).decode()
    writer = gguf.GGUFWriter(target, arch)
    for name, field in reader.fields.items():
        if name.endswith(".block_count"):
            writer.add_key_value(name, 1, gguf.GGUFValueType.UINT32)
        elif not name.startswith("GGUF.") and name != "general.architecture":
            field_put(writer, field)
    for tensor in reader.tensors:
        if not tensor.name.startswith("blk.") or tensor.name.startswith("blk.0."):
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
