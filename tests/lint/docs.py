# SPDX-License-Identifier: MIT
"""Printed documents are what the program prints: docs.py MUSTER SOURCE_ROOT. TAP."""
import json
import os
import re
import subprocess
import sys


MARK = "<!-- printed by `muster help --units` -->\n"  # docs/lua.md is written by hand down to here


def is_printed(muster, root, number, name, flag):
    """Whether docs/NAME, from MARK on where it has one, is what `muster help FLAG` prints."""
    printed = subprocess.run([muster, "help", flag], capture_output=True, text=True, check=True).stdout
    path = os.path.join(root, "docs", name)
    same = os.path.exists(path) and open(path, encoding="utf-8").read().split(MARK)[-1] == printed
    print(f"{'' if same else 'not '}ok {number} - docs/{name} is up to date (muster help {flag} > docs/{name})")
    return same


def keys_have_help(root):
    """Editors show a sentence for each key of the format; params are their Lua files' to describe."""
    with open(os.path.join(root, "docs", "eval.schema.json"), encoding="utf-8") as f:
        schema = json.load(f)
    tables = {"eval": schema, **schema["$defs"]}
    bare = [f"{name}: {key}" for name, table in tables.items() for key, rule in table["properties"].items()
            if not rule.get("description", "").endswith(".")]
    for line in bare:
        print(f"# no help for {line}")
    print(f"{'not ' if bare else ''}ok 3 - keys of the eval format have a help text")
    return not bare


def main():
    muster, root = sys.argv[1], sys.argv[2]
    same = is_printed(muster, root, 1, "cli.md", "--markdown")
    same &= is_printed(muster, root, 2, "eval.schema.json", "--schema")
    same &= keys_have_help(root)
    same &= is_printed(muster, root, 4, "lua.md", "--units")
    missing = []
    for folder, _, names in os.walk(root):
        if any(part.startswith((".git", "build")) for part in os.path.relpath(folder, root).split(os.sep)):
            continue
        for name in names:
            if name.endswith(".md"):
                text = open(os.path.join(folder, name), encoding="utf-8").read()
                for target in re.findall(r"\]\(([^)#:]+)\)", text):
                    if not os.path.exists(os.path.join(folder, target)):
                        missing.append(f"{os.path.relpath(os.path.join(folder, name), root)}: {target}")
    for line in missing:
        print(f"# dangling link in {line}")
    print(f"{'not ' if missing else ''}ok 5 - links between documents lead somewhere\n1..5")
    return 0 if same and not missing else 1


sys.exit(main())
