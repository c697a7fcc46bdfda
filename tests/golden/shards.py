# SPDX-License-Identifier: MIT
"""One run on many machines, end to end: shards by hand, as a Slurm array and as a Kubernetes indexed Job, with the very
scripts of docs/cluster.md, then merge, gate, rescore and export.

shards.py MUSTER SOURCE_ROOT: TAP. Everything happens in a temporary folder on the echo model; sbatch is a
stand-in that sets the variables that Slurm sets."""
import csv
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap

import cli
from situations import expect, tap

EVAL = """schema: 1
eval: words
version: 1
description: Says the word.
matrix: {{half: [a, b]}}
dataset: {{path: "{folder}/rows.jsonl"}}
sample: {{id: "{{{{ id }}}}", input: "{{{{ half }}}} {{{{ q }}}}", target: "{target}"}}
variants: {{plain: {{}}, loud: {{prompt: "{{{{ input | upper }}}}"}}}}
solver: {{use: generate, max_tokens: 8}}
graders: [{{use: includes}}]
epochs: 2
"""
N_ROWS = 23
SBATCH = """#!/bin/sh
# As sbatch --parsable --wait: all tasks of the array, then the job's number.
set -u
for script; do :; done
count=$(sed -n 's/^#SBATCH --array=1-\\([0-9]*\\)$/\\1/p' "$script")
failed=0
for id in $(seq 1 "$count"); do
  [ "${SKIP_TASK:-}" = "$id" ] && { failed=1; continue; }
  SLURM_ARRAY_JOB_ID=${JOB:-77} SLURM_ARRAY_TASK_ID=$id SLURM_ARRAY_TASK_COUNT=$count SLURM_ARRAY_TASK_MIN=1 \\
    SLURM_ARRAY_TASK_MAX=$count SLURM_ARRAY_TASK_STEP=1 sh "$script" >&2 || failed=1
done
echo "${JOB:-77}"
exit $failed
"""


class Room:
    """A temporary folder with an eval, stand-ins for a scheduler, and the program on the path."""

    def __init__(self, program, root, folder):
        self.folder = folder
        os.mkdir(os.path.join(folder, "bin"))
        os.symlink(program, os.path.join(folder, "bin", "muster"))
        self.write("bin/sbatch", SBATCH, 0o755)
        keep = {k: v for k, v in os.environ.items()
                if not k.startswith(("MUSTER_", "SLURM_", "JOB_", "GITHUB_")) and k != "HOSTNAME"}
        self.env = dict(keep, PATH=os.path.join(folder, "bin") + ":" + keep.get("PATH", "/usr/bin:/bin"),
                        MUSTER_CACHE=os.path.join(folder, "cache"), MUSTER_REGISTRY=os.path.join(root, "registry"),
                        TMPDIR=folder)
        self.write("rows.jsonl", "".join(json.dumps({"id": f"s{i}", "q": f"word {i}"}) + "\n" for i in range(N_ROWS)))
        self.eval("{{ q }}")
        with open(os.path.join(root, "docs", "cluster.md"), encoding="utf-8") as f:
            self.guide = dict(re.findall(r"^```(?:sh|yaml) (\S+)\n(.*?)^```$", f.read(), re.M | re.S))
        for name in ("shard.sh", "evals.sbatch", "nightly.sh"):
            self.write(name, self.guide[name].replace("gsm8k arithmetic", "words.yaml"))
        self.write("release.yaml", "schema: 1\ngate: release\nmax_regression: {words: 0.1}\ndetect: 0.3\n")

    def eval(self, target):
        self.write("words.yaml", EVAL.format(folder=self.folder, target=target))

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def call(self, words, env=None):
        return subprocess.run(words, cwd=self.folder, env=dict(self.env, **(env or {})), capture_output=True,
                              text=True, timeout=120, check=False)

    def run(self, line, code=0, says=None, env=None):
        done = self.call(["muster", *line.split()], env)
        shown = f"muster {line}: exit {done.returncode}\n{done.stdout[-800:]}{done.stderr[-800:]}"
        expect(done.returncode == code, f"{shown}\nwant {code}")
        expect(says is None or says in done.stdout + done.stderr, f"{shown}\nwant {says!r}")
        return done.stdout

    def sh(self, script, code=0, says=None, env=None):
        done = self.call(["sh", script], env)
        shown = f"sh {script}: exit {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
        expect(done.returncode == code, f"{shown}\nwant {code}")
        expect(says is None or says in done.stdout + done.stderr, f"{shown}\nwant {says!r}")

    def digest(self, db, name="latest"):
        return self.run(f"show {name} --digest --db {db}").strip()

    def whole(self):
        if not os.path.exists(os.path.join(self.folder, "whole.db")):
            self.run("run words.yaml -m echo --db whole.db --name whole -q")
        return self.digest("whole.db")


def by_hand(room):
    """Four shards, merged, are the run in one piece; each takes every fourth sample of each part."""
    for k in range(1, 5):
        room.run(f"run words.yaml -m echo --shard {k}/4 --db hand{k}.db -q")
    lines = [json.loads(line) for line in room.run("export latest --db hand2.db").splitlines()]
    ids = {(line["part"], line["id"]) for line in lines}
    expect(ids == {(p, f"s{i}") for p in "ab" for i in range(N_ROWS) if i % 4 == 1}, f"samples of shard 2: {ids}")
    expect(len(lines) == len(ids) * 2 * 2, f"{len(lines)} attempts of variants and epochs")
    out = json.loads(room.run("merge hand1.db hand2.db hand3.db hand4.db -o hand.db --json"))["experiments"]
    expect(len(out) == 1 and out[0]["state"] == "finished" and out[0]["shards"] == {"n": 4, "have": [1, 2, 3, 4]}, out)
    expect("-shard-" not in out[0]["name"], out[0]["name"])
    expect(room.digest("hand.db") == room.whole(), "digests differ")
    again = json.loads(room.run("merge hand1.db hand2.db hand3.db hand4.db -o hand.db --json"))["experiments"]
    expect(again[0]["added"] == 0 and not again[0]["new"], again)
    # It is the run in one piece to resume as well: there is nothing left of it.
    room.run(f"run words.yaml -m echo --db hand.db --resume --name {out[0]['name']}", says="184 done before")


def small_shards(room):
    """More shards than samples: empty ones are finished, and all together are the run."""
    for k in range(1, 6):
        room.run(f"run words.yaml -m echo -n 3 --shard {k}/5 --db small{k}.db -q")
    room.run("run words.yaml -m echo -n 3 --db small.db -q")
    room.run("merge small1.db small2.db small3.db small4.db small5.db -o smalls.db", says="5 of 5 shards, 24 attempts")
    expect(room.digest("smalls.db") == room.digest("small.db"), "digests differ")


def slurm(room):
    """docs/cluster.md: an array job, then nightly.sh; a missing task fails the gate, later it passes."""
    env = {"EVAL_MODEL": "echo", "EVALS_DB": "slurm.db"}
    room.run("run words.yaml -m echo --db slurm.db --name base -q")
    room.run("promote base main --db slurm.db --first --policy release.yaml")
    room.sh("nightly.sh", 1, "has 7 of 8 shards", dict(env, SKIP_TASK="5"))
    room.run("gate evals-77 --db slurm.db --baseline @main --policy release.yaml", 1, "7 of 8 shards")
    room.sh("nightly.sh", 0, "gate release: PASS", env)
    expect(room.digest("slurm.db", "evals-77") == room.whole(), "digests differ")
    # Another night, into the same store.
    room.sh("nightly.sh", 0, "gate release: PASS", dict(env, JOB="78"))
    names = [e["name"] for e in json.loads(room.run("list experiments --db slurm.db --json"))]
    expect(names == ["base", "evals-77", "evals-78"], names)
    # Made-up names: the shards of an array agree on one, those of the next array on another one.
    found = {}
    for job in ("77", "78"):
        for k in ("1", "2"):
            slurm_env = {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": k, "SLURM_ARRAY_TASK_COUNT": "2",
                         "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "2"}
            out = room.run(f"run words.yaml -m echo --shard auto --db a{job}-{k}.db --json -q", env=slurm_env)
            name = json.loads(out)["experiment"]["name"]
            expect(name.endswith(f"-shard-{k}-of-2"), name)
            found.setdefault(job, set()).add(name[:-len("-shard-1-of-2")])
    expect(len(found["77"]) == len(found["78"]) == 1 and found["77"] != found["78"], found)


def container(room, name):
    """The script of a Job's container, with the volumes in the room's folder, and how many pods there are."""
    text = room.guide[name]
    block = re.search(r"args:\n +- \|\n(.*?)\n +(?:env|volumeMounts):", text, re.S).group(1)
    for mount in ("/shards/", "/evals/", "/results/"):
        block = block.replace(mount, os.path.join(room.folder, "k8s", mount.strip("/")) + "/")
    completions = re.search(r"^  completions: (\d+)$", text, re.M)
    return textwrap.dedent(block).replace("gsm8k arithmetic", "words.yaml"), completions and int(completions.group(1))


def kubernetes(room):
    """docs/cluster.md: an indexed Job, then the Job that merges and judges."""
    for folder in ("shards", "evals", "results"):
        os.makedirs(os.path.join(room.folder, "k8s", folder))
    for name in ("shard.sh", "release.yaml"):
        with open(os.path.join(room.folder, name), encoding="utf-8") as f:
            room.write(os.path.join("k8s", "evals", name), f.read())
    room.run("run words.yaml -m echo --db k8s/results/evals.db --name base -q")
    room.run("promote base main --db k8s/results/evals.db --first --policy release.yaml")
    run = re.search(r"name: RUN, value: (\S+)\}", room.guide["evals-job.yaml"]).group(1)
    expect(run == re.search(r"name: RUN, value: (\S+)\}", room.guide["gate-job.yaml"]).group(1), "RUN of both Jobs")
    script, n = container(room, "evals-job.yaml")
    expect(f"--shard auto/{n} " in script, f"{n} completions: {script}")
    for index in range(n):
        pod = {"RUN": run, "EVAL_MODEL": "echo", "JOB_COMPLETION_INDEX": str(index), "HOSTNAME": f"{run}-{index}"}
        done = room.call(["/bin/sh", "-euc", script], pod)
        expect(done.returncode == 0, f"pod {index}: {done.returncode} {done.stderr[-800:]}")
    # A pod that is started once more finds its work done.
    done = room.call(["/bin/sh", "-euc", script], pod)
    expect(done.returncode == 0 and "done before" in done.stderr, f"again: {done.stderr[-800:]}")
    script, _ = container(room, "gate-job.yaml")
    done = room.call(["/bin/sh", "-euc", script], {"RUN": run})
    expect(done.returncode == 0 and "gate release: PASS" in done.stdout, f"gate: {done.returncode} {done.stdout}{done.stderr}")
    expect(room.digest("k8s/results/evals.db", run) == room.whole(), "digests differ")


def stopped(room):
    """shard.sh passes on TERM, keeps what there is, and goes on with it the next time."""
    server = cli.Stuck() # its fifth answer does not come: the run can not be done before the signal
    model = ["words.yaml", "-m", "openai/stuck", "--base-url", f"http://127.0.0.1:{server.server_port}/v1"]
    words = ["sh", "shard.sh", "slow", "stopped.db", *model, "--max-connections", "1", "--shard", "1/2"]
    read, write = os.pipe()
    reporting = dict(room.env, MUSTER_EVENTS=str(write))
    try:
        # pylint: disable=consider-using-with
        process = subprocess.Popen(words, cwd=room.folder, env=reporting, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, pass_fds=(write,), text=True)
        os.close(write)
        os.read(read, 1) # the first attempt is on disk
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        os.close(read)
        expect(process.returncode == 143, f"exit {process.returncode}: {err}")
        info = json.loads(room.run("list experiments --db stopped.db --json"))[0]
        expect(0 < info["done"] < info["planned"] and info["state"] == "interrupted", info)
        room.run("merge stopped.db -o part.db", says="1 of 2 shards")
        done = room.call(words)
        expect(done.returncode == 0 and f"{info['done']} done before" in done.stderr, done.stderr)
        room.run(" ".join(["run", *model, "--shard 2/2 --db other.db --name slow -q"]))
        room.run(" ".join(["run", *model, "--db slow.db -q"]))
    finally:
        server.close()
    room.run("merge stopped.db other.db -o part.db", says="2 of 2 shards")
    expect(room.digest("part.db", "slow") == room.digest("slow.db"), "digests differ")
    left = [name for name in os.listdir(room.folder) if name.startswith("muster.") or name.endswith("-wal")]
    expect(not [name for name in left if name.startswith("muster.")], f"left behind: {left}")


def refused(room):
    """What does not belong together, with the fields."""
    room.run("run words.yaml -m echo --shard 1/2 --db r1.db --name night -q")
    room.run("run words.yaml -m echo --shard 2/2 --seed 5 --db r2.db --name night -q")
    room.run("merge r1.db r2.db -o r.db", 2, "seed: 0 -> 5")
    room.run("run words.yaml -m echo --shard 2/2 --db r3.db --name night -q")
    room.run("merge r1.db r3.db -o r.db", says="2 of 2 shards")
    room.run("merge r1.db", 2, "give -o DB")
    room.run("merge none.db -o r.db", 2, "there is no store 'none.db'")
    room.run("merge r1.db -o r.db --only nobody", 2, "no store has an experiment 'nobody'")
    room.write("junk.db", "not a store" * 100)
    room.run("merge junk.db -o r.db", 5, "not a muster store")
    room.run("merge r1.db -o junk.db", 5, "not a muster store")
    with sqlite3.connect(os.path.join(room.folder, "r3.db")) as db:  # what no array can be made for
        db.execute("UPDATE experiment SET spec = json_set(spec, '$.shard.n', 1000000000000000)")
    db.close()
    room.run("merge r3.db -o r.db", 5, "its shard is damaged")
    room.run("run words.yaml -m echo --shard auto", 2, "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set")


def rescored(room):
    """The merged experiment is scored by other graders, and exported, like any other."""
    room.whole()
    room.run("rescore whole --db whole.db --name same")
    expect(room.digest("whole.db", "same") == room.digest("whole.db", "whole"), "digests differ")
    with open(os.path.join(room.folder, "words.yaml"), encoding="utf-8") as f:
        text = f.read()
    try:
        room.write("words.yaml", text.replace("{use: includes}", "{use: includes, ignore_case: true}"))
        out = room.run("rescore whole --db whole.db", says="muster diff whole whole-rescored-1")
    finally:
        room.write("words.yaml", text)
    expect(re.search(r"words/a loud on echo +includes.accuracy +0.0000 +1.0000 +\+1.0000", out), out)
    expect(re.search(r"words/b plain on echo +includes.accuracy +1.0000 +1.0000 +\+0.0000", out), out)
    rows = list(csv.DictReader(io.StringIO(room.run("export whole-rescored-1 -f csv --db whole.db"), newline="")))
    expect(len(rows) == N_ROWS * 2 * 2 * 2 and all(row["value"] == "1.0" for row in rows), f"{len(rows)} rows of CSV")
    room.run("export whole -f replay --db whole.db", 2, "several models or variants")
    room.run("export whole:variant=plain -f replay --db whole.db -o plain.jsonl")
    room.run("run words.yaml --variant plain -m replay/plain.jsonl --db again.db -q")
    room.run("run words.yaml --variant plain -m replay/whole:variant=plain --db whole.db -q --name again")
    both = [json.loads(line)["text"] for db in ("again.db", "whole.db")
            for line in room.run(f"export latest --db {db}").splitlines()]
    expect(both[:len(both) // 2] == both[len(both) // 2:] and len(both) == N_ROWS * 2 * 2 * 2, "replayed replies")


TESTS = [
    ("shards by hand", by_hand),
    ("more shards than samples", small_shards),
    ("a Slurm array, as the guide says", slurm),
    ("a Kubernetes Job, as the guide says", kubernetes),
    ("a shard that is stopped goes on", stopped),
    ("what is refused", refused),
    ("rescored and exported", rescored),
]


def main():
    with tempfile.TemporaryDirectory() as folder:
        return tap(TESTS, Room(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), os.path.realpath(folder)))


sys.exit(main())
