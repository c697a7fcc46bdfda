#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check the engine's count of prompt tokens against one made from the token ids alone.

    trie.py MUSTER EVAL -m local/MODEL [--limit N] [--epochs N] [--most RATIO] [--ids FILE] [-- MORE RUN OPTIONS]

needed    the distinct non-empty prefixes of all generation prompts and of all scored sequences
          without their last token, from `muster explain EVAL --sample all --tokens --json`
computed  rows that the kernels ran for prompts, from `muster run --json`

Exits 1 unless the run says the same number as needed, and computed / needed <= RATIO (default 1). Right for
evals whose solvers ask everything in their first step. --ids reads the explanation from a file.
"""
import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile


def sequences_of(lines, limit):
    """Every sequence that has to be in the tree, of the first `limit` samples of each part and variant."""
    seen = collections.defaultdict(dict)
    for line in lines:
        row = json.loads(line)
        samples = seen[(row["eval"], row["part"], row["variant"])]
        number = samples.setdefault(row["id"], len(samples))
        if limit and number >= limit:
            continue
        for sequence in row["sequences"]:
            ids = sequence["ids"]
            if not ids:
                raise SystemExit("a sequence without token ids: use a local model and --tokens")
            if sequence["n_context"] == 0:
                yield tuple(ids)
            elif sequence["n_context"] < len(ids):  # something of it is scored
                yield tuple(ids[:-1])


def distinct_prefixes(sequences):
    """A sorted list's neighbours share what any two share: each adds what its predecessor lacks."""
    total = 0
    distinct = 0
    before = ()
    for ids in sorted(sequences):
        total += len(ids)
        same = 0
        for a, b in zip(before, ids):
            if a != b:
                break
            same += 1
        distinct += len(ids) - same
        before = ids
    return total, distinct


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("muster")
    parser.add_argument("eval")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--most", type=float, default=1.0)
    parser.add_argument("--ids")
    own = sys.argv[1:]
    more = own[own.index("--") + 1:] if "--" in own else []
    args = parser.parse_args(own[:own.index("--")] if "--" in own else own)

    if args.ids:
        lines = open(args.ids, encoding="utf-8")
    else:
        explain = subprocess.run(
            [args.muster, "explain", args.eval, "-m", args.model, "--sample", "all", "--tokens", "--json"],
            stdout=subprocess.PIPE, check=True)
        lines = explain.stdout.decode().rstrip("\n").split("\n")  # not at U+2028
    total, needed = distinct_prefixes(list(sequences_of(lines, args.limit)))

    with tempfile.TemporaryDirectory() as folder:
        command = [args.muster, "run", args.eval, "-m", args.model, "--json", "--quiet",
                   "--db", os.path.join(folder, "trie.db")]
        command += ["--limit", str(args.limit)] if args.limit else []
        command += ["--epochs", str(args.epochs)] if args.epochs else []
        run = subprocess.run(command + more, stdout=subprocess.PIPE, check=False)
    if run.returncode not in (0, 3):  # 3: attempts failed, which is the model's affair
        raise SystemExit(f"muster run ended with {run.returncode}")
    engine = json.loads(run.stdout)["engine"]
    said, computed = engine["prefill_tokens_needed"], engine["prefill_tokens_computed"]
    ratio = computed / needed
    print(f"{args.eval}: {total * max(args.epochs, 1)} prompt tokens, {needed} distinct; "
          f"the engine says {said}, computed {computed}: {ratio:.4f}")
    bad = []
    if said != needed:
        bad.append(f"needed is {needed}, the engine says {said}")
    if ratio > args.most:
        bad.append(f"computed / needed is {ratio:.4f}, more than {args.most}")
    if computed < needed:
        bad.append(f"only {computed} of {needed} tokens were computed")
    for line in bad:
        print("FAIL", line, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
