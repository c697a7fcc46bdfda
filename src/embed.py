# SPDX-License-Identifier: MIT
"""Turn text files into a C table: embed.py SYMBOL OUT.c FILE...

The table is `const EmbeddedFile SYMBOL[]`, ending in a NULL name, sorted by file name; each entry has
the file's base name, its bytes (NUL-terminated) and their count. See src/base/embedded.h."""
import os
import sys


def main() -> None:
    symbol, out = sys.argv[1], sys.argv[2]
    paths = sorted(sys.argv[3:], key=os.path.basename)
    with open(out, "w", encoding="ascii") as f:
        f.write('#include "base/embedded.h"\n')
        for i, path in enumerate(paths):
            data = open(path, "rb").read() + b"\0"
            f.write(f"static const unsigned char file_{i}[] = {{\n")
            for at in range(0, len(data), 24):
                f.write(",".join(str(b) for b in data[at:at + 24]) + ",\n")
            f.write("};\n")
        f.write(f"const EmbeddedFile {symbol}[] = {{\n")
        for i, path in enumerate(paths):
            f.write(f'    {{"{os.path.basename(path)}", (const char *)file_{i}, sizeof(file_{i}) - 1}},\n')
        f.write("    {0, 0, 0},\n};\n")


main()
