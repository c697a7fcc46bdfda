# SPDX-License-Identifier: MIT
"""Rules about the source that a compiler does not hold: lint.py SOURCE_ROOT. TAP.

layers: a room includes only lower rooms or its own (docs/ARCHITECTURE.md), and one room per vendor.
banned: functions that are unsafe, locale-dependent or hide state; exit outside cli; printing outside cli.
headers: an SPDX line first; headers say #pragma once and show no vendor type.
size: no file past 800 lines but tables and kernels."""
import os
import re
import sys

FLOOR = {"base": 0, "eval": 1, "text": 1, "net": 1, "sandbox": 1, "kernels": 1, "script": 2, "engine": 2,
         "results": 2, "sampler": 3, "registry": 3, "run": 4, "serve": 5, "cli": 6}
# Same floor, allowed all the same: text writes what eval and results hold.
BESIDE = {("eval", "text"), ("net", "text")}
VENDORS = {"yaml.h": "text", "pcre2.h": "text", "curl/curl.h": "net", "lua.h": "script", "lauxlib.h": "script",
           "lualib.h": "script", "sqlite3.h": "results", "zlib.h": "registry"}
BANNED = ["strcpy", "strcat", "sprintf", "vsprintf", "strtok", "atoi", "atol", "atof", "localtime", "gmtime",
          "rand", "srand", "system", "alloca", "gets", "setlocale"]
PRINTS = ["printf", "puts", "putchar", "perror", "fputs"]
LONG = {"jinja_filters.lua", "jinja_parser.lua", "jinja_text.lua",  # one table each
        "math.lua"}  # a grader is one file


def sources(root):
    for top in ("src", "kernels", "results", "sandbox", "graders", "solvers", "tests"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith((".c", ".h", ".cu", ".cuh", ".lua", ".sql", ".def", ".py")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def room_of(path):
    parts = path.split(os.sep)
    if parts[0] == "src":
        return parts[1] if len(parts) > 2 else None
    return parts[0] if parts[0] in FLOOR else None


def strip_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)
    text = re.sub(r'"(\\.|[^"\\\n])*"', '""', text)
    return re.sub(r"//[^\n]*", "", text)


def layers(path, text):
    room = room_of(path)
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
        if not match or room is None:
            continue
        header = match.group(1)
        other = header.split("/")[0] if "/" in header else None
        if header in VENDORS and VENDORS[header] != room:
            yield number, f"{header} belongs in {VENDORS[header]}"
        if other in FLOOR and other != room and FLOOR[other] >= FLOOR[room] and (room, other) not in BESIDE:
            yield number, f"{room} (floor {FLOOR[room]}) includes {other} (floor {FLOOR[other]})"
        if other in FLOOR and other != room and "_internal" in header:
            yield number, f"{header} is for its own room"


def banned(path, text):
    room = room_of(path)
    if room is None:
        return
    for number, line in enumerate(strip_comments(text).splitlines(), 1):
        for name in BANNED:
            if re.search(rf"(?<![\w.>]){name}\s*\(", line):
                yield number, f"{name} is banned"
        if room != "cli":
            for name in PRINTS + ["exit"] + (["_exit"] if room != "base" else []):  # base: after a fork
                if re.search(rf"(?<![\w.>]){name}\s*\(", line):
                    yield number, f"{name} belongs in cli"
            if re.search(r"fprintf\s*\(\s*(stdout|stderr)", line):
                yield number, "printing belongs in cli"


def headers(path, text):
    users = "scaffolds/" in path  # what `muster new` writes belongs to who ran it
    if not users and "SPDX-License-Identifier: MIT" not in "\n".join(text.split("\n", 2)[:2]):
        yield 1, "the first line is not the licence"
    if path.endswith(".h") and "#pragma once" not in text and "cpu/path" not in path:  # one body, three paths
        yield 1, "no #pragma once"
    if path.endswith(".h") and room_of(path) and "_internal" not in path:
        own = os.path.basename(path) == room_of(path) + ".h"
        for number, line in enumerate(text.splitlines(), 1):
            if own and re.search(r"\b(lua_State|sqlite3|CURL|yaml_\w+_t|pcre2_\w+|cJSON)\b", strip_comments(line)):
                yield number, "vendor type in a public header"


def size(path, text):
    lines = text.count("\n")
    if lines > 800 and not path.startswith(("kernels", "tests")) and os.path.basename(path) not in LONG \
            and not path.endswith(".def"):
        yield lines, f"{lines} lines: one thing or two?"


def main():
    root = sys.argv[1]
    failed = 0
    rules = [layers, banned, headers, size]
    for n, rule in enumerate(rules, 1):
        found = 0
        for path in sources(root):
            text = open(os.path.join(root, path), encoding="utf-8").read()
            if rule in (layers, banned) and not path.endswith((".c", ".h", ".cu", ".cuh")):
                continue
            for number, what in rule(path, text):
                print(f"# {path}:{number}: {what}")
                found += 1
        failed += found > 0
        print(f"{'not ' if found else ''}ok {n} - {rule.__name__}")
    print(f"1..{len(rules)}")
    return failed > 0


sys.exit(main())
