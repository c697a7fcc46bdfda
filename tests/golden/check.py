# SPDX-License-Identifier: MIT
"""What `muster check` says about each fault that it has to catch: check_faults/NNN_name.yaml beside NNN_name.out.

check.py MUSTER SOURCE_ROOT [--update]: TAP. The .out file holds what a person sees, and the exit code. The JSON for
editors has to tell the same. Beside NNN_name.run, which holds further words, the fault is one of `muster run`. The
first digit of a file's name is the fault's group: 1 YAML, 2 templates, 3 params and Lua, 4 choices and needs, 5 rows,
6 what names something else. No network, no public data."""
import json
import os
import re
import subprocess
import sys
import tempfile

PLACE = re.compile(r"^(?P<file>[^ :]+)(?::(?P<line>\d+):(?P<col>\d+))?: (?P<severity>error|warning): (?P<text>.*) "
                   r"\[(?P<code>[a-z-]+)\]$")
HINT = re.compile(r"; did you mean '(.*?)'\?| \(did you mean '(.*?)'\?\)")


def run(muster, root, folder, words, cache):
    """Run the program where the cases lie, with their registry and the source's; nothing else is set."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith("MUSTER_") and k != "NO_COLOR"}
    paths = ":".join(["registry", os.path.join(root, "registry")])
    env = dict(keep, MUSTER_CACHE=cache, MUSTER_REGISTRY=paths, TERM="dumb")
    return subprocess.run([muster, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=60,
                          check=False)


def same_faults(shown, listed):
    """What differs between the text and the JSON of the same faults, or nothing."""
    lines = shown.splitlines()
    found = [(m, lines[i + 1:i + 3]) for i, m in enumerate(map(PLACE.match, lines)) if m]
    if len(found) != len(listed):
        return f"{len(listed)} faults as JSON, {len(found)} as text"
    for (m, below), fault in zip(found, listed):
        hint = HINT.search(m["text"])
        want = {"file": m["file"], "line": int(m["line"] or 0), "col": int(m["col"] or 0), "severity": m["severity"],
                "code": m["code"], "message": HINT.sub("", m["text"], count=1),
                "hint": (hint[1] or hint[2]) if hint else ""}
        got = {key: fault.get(key) for key in want}
        if got != want or set(fault) != set(want) | {"end_col"}:
            return f"JSON {fault} for {want}"
        if want["line"] > 0 and not (len(below) == 2 and below[1].endswith("^")):
            return f"no caret below {m[0]}"
        if fault["end_col"] and fault["end_col"] <= fault["col"]:
            return f"end_col of {fault}"
    return None


def check_one(muster, root, folder, name, cache, update):
    runs = os.path.join(folder, name + ".run")
    words = ["check", name + ".yaml"]
    if os.path.exists(runs):
        with open(runs, encoding="utf-8") as f:
            words = ["run", name + ".yaml", "--db", os.path.join(cache, "muster.db"), *f.read().split()]
    done = run(muster, root, folder, words, cache)
    got = f"{done.stderr}exit {done.returncode}\n"
    path = os.path.join(folder, name + ".out")
    if update:
        with open(path, "w", encoding="utf-8") as f:
            f.write(got)
    if not os.path.exists(path):
        return "no .out file"
    with open(path, encoding="utf-8") as f:
        want = f.read()
    if got != want:
        return f"want:\n{want}got:\n{got}"
    if done.stdout:
        return f"stdout: {done.stdout!r}"
    if words[0] == "run":
        return None
    as_json = run(muster, root, folder, [*words, "--json"], cache)
    if as_json.returncode != done.returncode or as_json.stderr:
        return f"--json: exit {as_json.returncode}, stderr {as_json.stderr!r}"
    return same_faults(done.stderr, json.loads(as_json.stdout))


def main():
    muster, root = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    update = sys.argv[3:] == ["--update"]
    folder = os.path.join(root, "tests", "golden", "check_faults")
    names = sorted(name[:-5] for name in os.listdir(folder) if name.endswith(".yaml"))
    stray = [name for name in os.listdir(folder) if name.endswith(".out") and name[:-4] not in names]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="muster-check-") as cache:
        for i, name in enumerate(names, 1):
            why = check_one(muster, root, folder, name, cache, update)
            failed += why is not None
            print(f"{'not ' if why else ''}ok {i} - {name}")
            for line in (why or "").splitlines():
                print(f"# {line}")
    print(f"{'not ' if stray else ''}ok {len(names) + 1} - no expected text without its eval\n1..{len(names) + 1}")
    return 1 if failed or stray else 0


sys.exit(main())
