# SPDX-License-Identifier: MIT
"""Count what meson test ran: summary.py BUILD... Prints a line a suite, what lacked data, the totals.

Every TAP point counts; a test that is not TAP counts as one. The last line is
'N passed, N failed, N skipped'. Exits 1 when something failed or nothing ran."""
import json
import os
import re
import sys

POINT = re.compile(r"^(not )?ok\b[^#]*(?:#\s*(skip|todo)\S*\s*(.*))?", re.I)


def points(entry):
    """(passed, failed, [reasons for skipping]) of one meson test."""
    lines = entry.get("stdout", "").splitlines()
    taps = [POINT.match(line) for line in lines]
    taps = [tap for tap in taps if tap]
    bad = entry["result"] not in ("OK", "SKIP", "EXPECTEDFAIL")
    if not taps:
        if entry["result"] == "SKIP":
            return 0, 0, ["whole test"]
        return (0, 1, []) if bad else (1, 0, [])
    skipped = [tap.group(3).strip() or "no reason given" for tap in taps if tap.group(2)]
    failed = sum(1 for tap in taps if tap.group(1) and not tap.group(2))
    passed = len(taps) - failed - len(skipped)
    return passed, max(failed, 1) if bad else failed, skipped


def main():
    totals = [0, 0, 0]
    suites = {}
    reasons = {}
    for build in sys.argv[1:]:
        path = os.path.join(build, "meson-logs", "testlog.json")
        for line in open(path, encoding="utf-8", errors="replace") if os.path.exists(path) else []:
            entry = json.loads(line)
            passed, failed, skipped = points(entry)
            suite, _, name = entry["name"].partition(" / ")  # "muster:unit / run loop"
            suite = suite.split(":")[-1] + f" ({build})"
            counts = suites.setdefault(suite, [0, 0, 0])
            for i, n in enumerate((passed, failed, len(skipped))):
                counts[i] += n
                totals[i] += n
            for reason in skipped:
                reasons.setdefault((suite, reason), []).append(name)
    print()
    for suite in sorted(suites):
        p, f, s = suites[suite]
        print(f"{suite:32} {p:5} passed {f:4} failed {s:4} skipped")
    for (suite, reason), names in sorted(reasons.items()):
        print(f"skipped in {suite}: {', '.join(sorted(set(names)))}: {reason}")
    print(f"{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped")
    sys.exit(1 if totals[1] > 0 or totals[0] == 0 else 0)


main()
