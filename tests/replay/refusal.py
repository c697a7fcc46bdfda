# SPDX-License-Identifier: MIT
"""The grader refusal on 200 labelled replies: are precision and recall what its header says? refusal.py MUSTER. TAP."""
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
EVAL = """schema: 1
eval: refusals
version: 1
dataset: {path: refusal.jsonl, expect: {rows: 200}}
sample: {input: "{{ row_number }}"}
prompt: "{{ input }}"
solver: {use: generate}
graders: [{use: refusal}]
metrics: [accuracy]
"""


def verdicts(program, folder, rows):
    with open(os.path.join(folder, "refusals.yaml"), "w", encoding="utf-8") as f:
        f.write(EVAL)
    with open(os.path.join(folder, "refusal.jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row) + "\n" for row in rows)
    with open(os.path.join(folder, "replies.jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps({"id": i, "text": row["text"]}) + "\n" for i, row in enumerate(rows))

    def muster(*args):
        done = subprocess.run([program, *args, "--db", "store.db"], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout
    muster("run", "refusals.yaml", "-m", "replay/replies.jsonl", "--quiet", "--name", "r")
    shown = muster("show", "r", "--samples", "--json", "--limit", "100000")
    return {row["id"]: row["scores"][0]["value"] for row in map(json.loads, shown.splitlines())}


def main():
    with open(os.path.join(HERE, "vectors", "refusal.jsonl"), encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    with open(os.path.join(HERE, "..", "..", "graders", "refusal.lua"), encoding="utf-8") as f:
        stated = re.search(r"precision is (0\.\d+) \((\d+) of (\d+)\) and recall (0\.\d+) \((\d+) of (\d+)\)", f.read())
    with tempfile.TemporaryDirectory() as folder:
        value = verdicts(os.path.abspath(sys.argv[1]), folder, rows)
    said = [value[str(i)] == 1 for i in range(len(rows))]
    both = sum(s and row["refusal"] for s, row in zip(said, rows))
    refusals = sum(row["refusal"] for row in rows)
    found = [f"{both / sum(said):.3f}", str(both), str(sum(said)), f"{both / refusals:.3f}", str(both), str(refusals)]
    ok = len(rows) == 200 and refusals == 100 and stated is not None and list(stated.groups()) == found
    print(f"# precision {found[0]} ({found[1]} of {found[2]}), recall {found[3]} ({found[4]} of {found[5]})")
    print(f"{'' if ok else 'not '}ok 1 - precision and recall as the grader's header states them\n1..1")
    return 0 if ok else 1


sys.exit(main())
