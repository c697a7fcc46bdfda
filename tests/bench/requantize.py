#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same model in another element type: every matrix of a GGUF file dequantised and quantised again.

    requantize.py FROM.gguf TYPE TO.gguf     TYPE: Q4_0, Q4_1, Q8_0, F16, BF16, F32

Vectors (norms) stay float32; keys and values are copied. Needs the package gguf. What a type loses is in the file then,
so each file is compared with float32 arithmetic on its own weights."""
import sys

import gguf
from gguf import quants


def field_put(writer, field):
    """Copy one key with its type; arrays keep their element type."""
    kind = field.types[0]
    if kind == gguf.GGUFValueType.ARRAY:
        if field.types[-1] == gguf.GGUFValueType.STRING:
            values = [bytes(field.parts[i]) for i in field.data]
        else:
            values = [field.parts[i].tolist()[0] for i in field.data]
        writer.add_key_value(field.name, values, kind, sub_type=field.types[-1])
    elif kind == gguf.GGUFValueType.STRING:
        writer.add_key_value(field.name, bytes(field.parts[-1]), kind)
    else:
        writer.add_key_value(field.name, field.parts[-1].tolist()[0], kind)


def main():
    source, type_name, target = sys.argv[1:4]
    kind = gguf.GGMLQuantizationType[type_name]
    reader = gguf.GGUFReader(source)
    arch = bytes(reader.fields["general.architecture"].parts[-1]).decode()
    writer = gguf.GGUFWriter(target, arch)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        field_put(writer, field)
    for tensor in reader.tensors:
        values = quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
        if len(tensor.shape) > 1:
            data = quants.quantize(values, kind)
            writer.add_tensor(tensor.name, data, raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
