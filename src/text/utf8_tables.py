#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes utf8_tables.def from Python's unicodedata: case mappings, digits and column widths.

Run by hand when a newer Unicode is wanted:  python3 src/text/utf8_tables.py > src/text/utf8_tables.def
Rows: LOWER/UPPER(first, last, stride, delta), FOLD the same where folding is not lower case, FULL_LOWER/FULL_UPPER/FULL_FOLD
(code point, the two or three it becomes), DIGIT(zero) of ten decimal digits, WIDE(first, last), ZERO(first, last).
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


def fold_delta(c):
    """What folding to one code point adds where it differs from simple_lower, else None."""
    folded = chr(c).casefold()
    return ord(folded) - c if len(folded) == 1 and ord(folded) != simple_lower(c) else None


def case_rows(delta_of):
    """Group the code points that change by (delta, stride 1 or 2) into runs."""
    changed = [(c, delta_of(c)) for c in range(128, LAST) if delta_of(c) is not None]
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
for name, delta_of in (("LOWER", lambda c: simple_lower(c) - c or None),
                       ("UPPER", lambda c: simple_upper(c) - c or None), ("FOLD", fold_delta)):
    for first, last, stride, delta in case_rows(delta_of):
        print("%s(0x%X, 0x%X, %d, %d)" % (name, first, last, stride, delta))
for name, method in (("FULL_LOWER", str.lower), ("FULL_UPPER", str.upper), ("FULL_FOLD", str.casefold)):
    for c in range(128, LAST):
        to = [ord(t) for t in method(chr(c))]
        if len(to) > 1:
            print("%s(0x%X, 0x%X, 0x%X, 0x%X)" % tuple([name, c] + (to + [0])[:3]))
for c in range(128, LAST):
    if unicodedata.decimal(chr(c), None) == 0:
        print("DIGIT(0x%X)" % c)
for name, test in (("WIDE", is_wide), ("ZERO", is_zero)):
    for first, last in ranges(test):
        print("%s(0x%X, 0x%X)" % (name, first, last))
sys.exit(0)
