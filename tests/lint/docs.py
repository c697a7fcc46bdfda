# SPDX-License-Identifier: MIT
"""Printed documents are what the program prints: docs.py MUSTER SOURCE_ROOT. TAP."""
import os
import re
import subprocess
import sys


def main():
    muster, root = sys.argv[1], sys.argv[2]
    printed = subprocess.run([muster, "help", "--markdown"], capture_output=True, text=True, check=True).stdout
    path = os.path.join(root, "docs", "cli.md")
    same = os.path.exists(path) and open(path, encoding="utf-8").read() == printed
    print(f"{'' if same else 'not '}ok 1 - docs/cli.md is up to date (muster help --markdown > docs/cli.md)")
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
    print(f"{'not ' if missing else ''}ok 2 - links between documents lead somewhere\n1..2")
    return 0 if same and not missing else 1


sys.exit(main())
