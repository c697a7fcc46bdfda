# SPDX-License-Identifier: MIT
"""Kill `muster run` at random instants, resume, and see that nothing acknowledged is lost or run again.

kill_run.py MUSTER [KILLS]: TAP. A line on --events is an acknowledgement. Every kill gets a store of its
own; the run is resumed (and possibly killed once more) until it exits 0. Then: each acknowledged attempt
is in the store, none was acknowledged twice, and the digest of all results equals that of an
uninterrupted run."""
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

ROWS = 1500
EVAL = """schema: 1
eval: killable
version: 1
description: Many small samples, for the kill test.
dataset: {path: rows.jsonl}
sample: {id: "{{ id }}", input: "{{ question }}", target: "{{ answer }}"}
prompt: "Q: {{ input }}\\nA: {{ id }}"
solver: {use: generate, max_tokens: 8}
graders: [{use: includes}]
metrics: [accuracy]
epochs: 2
"""


def start(muster, folder, store, name):
    read, write = os.pipe()
    process = subprocess.Popen(
        [muster, "run", "killable.yaml", "-m", "echo", "--db", store, "--name", name, "--resume",
         "--events", str(write), "--quiet"],
        cwd=folder, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    os.close(write)
    return process, read


def finish(process, read, acks):
    """Read what was acknowledged until the pipe closes; a half line was not."""
    data = b""
    while True:
        piece = os.read(read, 1 << 16)
        if not piece:
            break
        data += piece
    os.close(read)
    for line in data.split(b"\n")[:-1]:
        event = json.loads(line)
        acks.append((event["id"], event["epoch"]))
    stderr = process.stderr.read().decode(errors="replace")
    return process.wait(), stderr


def run_to_end(muster, folder, store, name, rng, span):
    """One store: kill at a random instant, resume; sometimes kill again. (acks, number of kills, problem)"""
    acks = []
    kills = 0
    for attempt in range(6):
        process, read = start(muster, folder, store, name)
        if attempt == 0 or (attempt < 3 and rng.random() < 0.5):
            time.sleep(rng.random() * span)
            process.send_signal(signal.SIGKILL)
        code, stderr = finish(process, read, acks)
        if code == 0:
            return acks, kills, None
        if code != -signal.SIGKILL:
            return acks, kills, f"exit {code}: {stderr[-400:]}"
        kills += 1
    return acks, kills, "did not finish"


def stored(muster, folder, store, name):
    out = subprocess.run([muster, "show", name, "--samples", "--json", "--limit", "1000000", "--db", store],
                         cwd=folder, capture_output=True, check=True).stdout
    return [(row["id"], row["epoch"]) for row in map(json.loads, out.splitlines())]


def digest(muster, folder, store, name):
    return subprocess.run([muster, "show", name, "--digest", "--db", store], cwd=folder,
                          capture_output=True, check=True, text=True).stdout.strip()


def check_store(muster, folder, store, acks, want):
    rows = stored(muster, folder, store, "k")
    if len(rows) != 2 * ROWS or len(set(rows)) != len(rows):
        return f"{len(rows)} rows, {len(set(rows))} distinct"
    if len(set(acks)) != len(acks):
        return f"{len(acks) - len(set(acks))} attempts acknowledged twice"
    if set(acks) - set(rows):
        return f"lost {len(set(acks) - set(rows))} acknowledged attempts"
    if digest(muster, folder, store, "k") != want:
        return "digest differs from the uninterrupted run"
    return None


def main():
    muster = os.path.abspath(sys.argv[1])
    n_kills = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "killable.yaml"), "w", encoding="utf-8") as f:
            f.write(EVAL)
        with open(os.path.join(folder, "rows.jsonl"), "w", encoding="utf-8") as f:
            for i in range(ROWS):
                f.write(json.dumps({"id": f"r{i}", "question": f"number {i}?", "answer": str(i)}) + "\n")
        began = time.time()
        process, read = start(muster, folder, os.path.join(folder, "whole.db"), "k")
        code, stderr = finish(process, read, [])
        span = time.time() - began
        if code != 0:
            print(f"# {stderr}")
            print("not ok 1 - uninterrupted run\n1..1")
            return 1
        want = digest(muster, folder, os.path.join(folder, "whole.db"), "k")
        print("ok 1 - uninterrupted run")
        kills = round_number = failed = acked = 0
        while kills < n_kills and round_number < 4 * n_kills:
            round_number += 1
            store = os.path.join(folder, f"{round_number}.db")
            acks, n, problem = run_to_end(muster, folder, store, "k", rng, span)
            kills += n
            acked += len(acks)
            problem = problem or check_store(muster, folder, store, acks, want)
            if problem:
                failed += 1
                print(f"# round {round_number}: {problem}")
            for suffix in ("", "-wal", "-shm"):
                if os.path.exists(store + suffix):
                    os.unlink(store + suffix)
        print(f"{'not ' if failed or kills < n_kills else ''}ok 2 - {kills} kills, {acked} acknowledged: "
              "none lost, none repeated, same digest")
        print("1..2")
        return 1 if failed or kills < n_kills else 0


sys.exit(main())
