#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the default precision loses against --precision f32 on the same file: no other program needed.

    precision.py MUSTER [--limit N] MODEL.gguf...     by default 50 items of OpenBookQA

Mean and largest difference of a choice's log-likelihood in nat, the bias, and how many choices stay. The reference is
itself within 8e-5 of a NumPy forward pass in any logit (forward_reference.py). Exits 1 over 0.005 nat, or when fewer
than 99.5 % of the items choose the same."""
import argparse
import json
import os
import subprocess
import sys
import tempfile


def choices(muster, folder, model, precision, limit):
    store = os.path.join(folder, f"{precision}.db")
    for path in (store, store + "-wal", store + "-shm"):
        if os.path.exists(path):
            os.unlink(path)
    common = ["--db", store]
    subprocess.run([muster, "run", "openbookqa", "-m", f"local/{model}", "--limit", str(limit), "--quiet",
                    "--precision", precision, *common], check=True, stdout=subprocess.DEVNULL)
    shown = subprocess.run([muster, "show", "--samples", "--limit", "100000", "--json", *common], check=True,
                           stdout=subprocess.PIPE)
    rows = [json.loads(line) for line in shown.stdout.decode().rstrip("\n").split("\n")]
    return {row["id"]: [choice["logprob"] for choice in row["choices"]] for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("muster")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    missed = 0
    print("| file | mean abs. error, nat | bias | max | same choice |\n|---|---|---|---|---|")
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            exact = choices(args.muster, folder, os.path.abspath(model), "f32", args.limit)
            fast = choices(args.muster, folder, os.path.abspath(model), "default", args.limit)
        errors = [a - b for key in exact for a, b in zip(fast[key], exact[key])]
        same = sum(max(range(len(e)), key=e.__getitem__) == max(range(len(e)), key=fast[k].__getitem__)
                   for k, e in exact.items())
        mean = sum(map(abs, errors)) / len(errors)
        print(f"| {os.path.basename(model)} | {mean:.5f} | {sum(errors) / len(errors):+.5f} | "
              f"{max(map(abs, errors)):.4f} | {same} of {len(exact)} |", flush=True)
        missed += mean > 0.005 or same < 0.995 * len(exact)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
