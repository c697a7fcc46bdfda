# SPDX-License-Identifier: MIT
"""muster verify: equal runs agree, whatever bit of a stored attempt was changed is found and named, and what can not
be run again is refused.

verify.py MUSTER SOURCE_ROOT: TAP. Runs on echo, in a temporary folder; no network."""
import json
import os
import sqlite3
import subprocess
import sys
import tempfile

CASES = [
    # what is changed in the store, exit code, words that are said
    ("nothing", None, 0, "verified: 12 of 24 attempts run again"),
    ("a reply", "UPDATE attempt SET reply_text = reply_text || '!'", 1, "the reply differs"),
    ("a score", "UPDATE score SET value = 0.5, answer = answer", 1, "the scores differ"),
    ("a stop reason", "UPDATE attempt SET stop = 'length'", 1, "the stop reason differs"),
    ("a call", "UPDATE call SET reply = replace(reply, 'Question', 'Questiom')", 1, "the calls differ"),
    ("an endpoint", "UPDATE run SET model = 'openai/gpt-x'", 2, "is an endpoint"),
    ("a replay", "UPDATE run SET model = 'replay/x.jsonl'", 2, "only repeats what was recorded"),
    ("no attempt", "DELETE FROM score; DELETE FROM call; DELETE FROM attempt", 2, "no finished attempt"),
    ("another model", "UPDATE run SET model_hash = zeroblob(32)", 0, "the model's file changed"),
]


def main():
    muster, root = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    print(f"1..{len(CASES) + 1}")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, MUSTER_REGISTRY=os.path.join(root, "registry"), TMPDIR=folder)

        def run(*words):
            return subprocess.run([muster, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=120)

        first = run("run", "arithmetic", "-m", "echo", "--limit", "12", "--epochs", "2", "--name", "a", "--db", "a.db")
        ok = first.returncode == 0
        bad += not ok
        print("ok 1 - a run" if ok else f"not ok 1 - a run\n# {first.stderr}")
        with open(os.path.join(folder, "a.db"), "rb") as file:
            store = file.read()
        for number, (what, sql, code, words) in enumerate(CASES, 2):
            for name in os.listdir(folder):
                if name.startswith("b.db"):
                    os.unlink(os.path.join(folder, name))
            with open(os.path.join(folder, "b.db"), "wb") as file:
                file.write(store)
            if sql is not None:
                db = sqlite3.connect(os.path.join(folder, "b.db"))
                db.executescript(sql)
                db.close()
            result = run("verify", "a", "--samples", "12", "--db", "b.db")
            said = result.stdout + result.stderr
            left = [name for name in os.listdir(folder) if name.startswith("muster-verify")]
            as_json = run("verify", "a", "--samples", "12", "--db", "b.db", "--json", "--quiet")
            ok = result.returncode == code and words in said and not left and as_json.returncode == code
            if ok and code < 2:
                value = json.loads(as_json.stdout)
                ok = value["verified"] == 12 and (value["agree"] == 12) == (code == 0)
            bad += not ok
            print(f"{'ok' if ok else 'not ok'} {number} - {what}")
            if not ok:
                print(f"# exit {result.returncode}, wanted {code} and '{words}'; left {left}")
                print("\n".join("# " + line for line in said.splitlines()[:12]))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
