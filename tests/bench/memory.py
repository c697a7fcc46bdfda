#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a run holds in memory, against what it should: weights, keys and values, request tokens, 100 MB.

    memory.py MUSTER -m local/FILE.gguf EVAL... [-- MORE OPTIONS OF RUN]

Samples /proc/PID/smaps while `muster run` works. Prints the peak of the resident set, what of the model's file is
still mapped in at the end, how much the resident set grew over the second half of the run, and exits 1 when the peak
is above the bound. Request tokens count four bytes each, as given (nothing shared).
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time


def resident(pid, path):
    """MB of the whole process, and of the pages that map the model's file."""
    total = of_file = 0
    inside = False
    try:
        with open(f"/proc/{pid}/smaps", encoding="utf-8") as f:
            for line in f:
                if line[0] in "0123456789abcdef":
                    inside = path is not None and line.rstrip().endswith(path)
                elif line.startswith("Rss:"):
                    kb = int(line.split()[1])
                    total += kb
                    of_file += kb if inside else 0
    except (FileNotFoundError, ProcessLookupError):
        return None
    return total / 1e3, of_file / 1e3


def main():
    own = sys.argv[1:]
    more = own[own.index("--") + 1:] if "--" in own else []
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("muster")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("evals", nargs="+")
    args = parser.parse_args(own[:own.index("--")] if "--" in own else own)
    name = args.model.split("/", 1)[1]
    path = os.path.realpath(name) if os.path.exists(name) else None

    samples = []
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        with open(out, "wb") as f:
            run = subprocess.Popen([args.muster, "run", *args.evals, "-m", args.model, "--json", "--quiet",
                                    "--db", os.path.join(folder, "memory.db"), *more], stdout=f)
        while run.poll() is None:
            now = resident(run.pid, os.path.basename(path) if path else None)
            if now is not None and now[0] > 0:
                samples.append(now)
            time.sleep(0.05)
        with open(out, encoding="utf-8") as f:
            engine = json.loads(f.read())["engine"]
    if run.returncode not in (0, 3):
        raise SystemExit(f"muster run ended with {run.returncode}")
    weights = os.path.getsize(path) / 1e6 if path else 0
    pool = engine["kv_peak_bytes"] / 1e6
    tokens = engine["prefill_tokens_total"] * 4 / 1e6
    peak = max(total for total, _ in samples)
    half = max(total for total, _ in samples[:len(samples) // 2])
    bound = weights + pool + tokens + 100
    print(f"weights {weights:.0f} MB, KV peak {pool:.0f} MB of a pool of {engine['kv_pool_bytes'] / 1e6:.0f} MB, "
          f"request tokens {tokens:.1f} MB; with 100 MB more: {bound:.0f} MB")
    print(f"resident: peak {peak:.0f} MB, second half {peak - half:+.0f} MB; of the model's file at the end "
          f"{samples[-1][1]:.1f} MB, at most {max(f for _, f in samples):.0f} MB")
    return 1 if peak > bound else 0


if __name__ == "__main__":
    sys.exit(main())
