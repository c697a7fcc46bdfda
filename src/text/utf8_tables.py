#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes utf8_tables.def from Python's unicodedata: simple case mappings and column widths.

Run by hand when a newer Unicode is wanted:  python3 src/text/utf8_tables.py > src/text/utf8_tables.def
Rows: LOWER/UPPER(first, last, stride, delta), WIDE(first, last), ZERO(first, last).
"""
import sys
import unicodedata

LAST = 0x110000


def simple_lower(c):
    """One-to-one lower case; U+0130 is the one character whose full mapping is longer."""
    if c == 0x130:
        return 0x69
    s = chr(c).lower()
    return ord(s) if len(s) == 1 else c


def simple_upper(c):
    """One-to-one upper case: where the full mapping is longer, the title case when it is one."""
    s = chr(c).upper()
    if len(s) != 1:
        s = chr(c).title()
    return ord(s) if len(s) == 1 else c


def case_rows(mapping):
    """Group the code points that change by (delta, stride 1 or 2) into runs."""
    changed = [(c, mapping(c) - c) for c in range(128, LAST) if mapping(c) != c]
    rows = []
    for c, delta in changed:
        if rows:
            first, last, stride, d = rows[-1]
            step = c - last
            if d == delta and (step == stride or (first == last and step in (1, 2))):
                rows[-1] = (first, c, step, d)
                continue
        rows.append((c, c, 1, delta))
    return rows


def ranges(test):
    rows = []
    for c in range(LAST):
        if test(c):
            if rows and rows[-1][1] == c - 1:
                rows[-1][1] = c
            else:
                rows.append([c, c])
    return rows


def is_zero(c):
    """Combining marks and format characters; not the soft hyphen, which terminals draw."""
    return c != 0xAD and (unicodedata.category(chr(c)) in ("Mn", "Me", "Cf")
                          or 0x1160 <= c <= 0x11FF)


def is_wide(c):
    # Python calls every unassigned code point wide; take only those that exist.
    return (unicodedata.east_asian_width(chr(c)) in ("W", "F") and unicodedata.category(chr(c)) != "Cn"
            and not is_zero(c))


print("// SPDX-License-Identifier: MIT")
print("// Unicode %s, written by utf8_tables.py: rows sorted by code point, read by utf8.c."
      % unicodedata.unidata_version)
for name, mapping in (("LOWER", simple_lower), ("UPPER", simple_upper)):
    for first, last, stride, delta in case_rows(mapping):
        print("%s(0x%X, 0x%X, %d, %d)" % (name, first, last, stride, delta))
for name, test in (("WIDE", is_wide), ("ZERO", is_zero)):
    for first, last in ranges(test):
        print("%s(0x%X, 0x%X)" % (name, first, last))
sys.exit(0)
