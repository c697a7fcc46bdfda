#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check the engine's count of prompt tokens against one made from the token ids alone.

    trie.py MUSTER EVAL -m local/MODEL [--limit N] [--epochs N] [--tight] [--most RATIO] [--ids FILE]
            [-- MORE RUN OPTIONS]

needed    the distinct non-empty prefixes of all generation prompts and of all scored sequences
          without their last token, from `muster explain EVAL --sample all --tokens --json`
computed  rows that the kernels ran for prompts, from `muster run --json`; when MUSTER is tests/oracle/muster_counted
          it is also counted at the kernels

--tight gives the engine no more memory than the longest path and what the replies that run at once can come to.
Exits 1 unless the run says the same number as needed, and computed / needed <= RATIO (default 1). Right for
evals whose solvers ask everything in their first step. --ids reads the explanation from a file.
"""
import argparse
import array
import collections
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time

BATCH = 64  # replies that run at once, unless told otherwise


def shared(a, b):
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b)))


class Plan:
    """What the requests of some lines of `explain` come to."""

    def __init__(self):
        self.sequences = []
        self.samples = collections.defaultdict(dict)
        self.replies = 0
        self.reserve = 0  # keys and values of the longest reply: its last token has none
        self.private = 0  # the most of a prompt that no other sequence shares

    def add(self, line, limit):
        row = json.loads(line)
        samples = self.samples[(row["eval"], row["part"], row["variant"])]
        number = samples.setdefault(row["id"], len(samples))
        if limit and number >= limit:
            return
        for sequence in row["sequences"]:
            ids = array.array("i", sequence["ids"])
            if not ids:
                raise SystemExit("a sequence without token ids: use a local model and --tokens")
            if sequence["n_context"] == 0:
                self.replies += row["request"]["n"]
                self.reserve = max(self.reserve, row["request"]["max_tokens"] - 1)
                self.sequences.append((ids, True))
            elif sequence["n_context"] < len(ids):  # something of it is scored
                self.sequences.append((ids[:-1], False))

    def count(self):
        """A sorted list's neighbours share what any two share: each adds what its predecessor lacks."""
        order = sorted(self.sequences, key=lambda one: one[0])
        same = [shared(a[0], b[0]) for a, b in zip(order, order[1:])]
        self.total = sum(len(ids) for ids, _ in order)
        self.distinct = self.total - sum(same)
        self.longest = max(len(ids) for ids, _ in order)
        for (ids, generates), above, below in zip(order, [0] + same, same + [0]):
            if generates:
                self.private = max(self.private, len(ids) - max(above, below))

    def pool(self, epochs):
        """The longest path and the decode reserve: most replies at once x (longest private span + their tokens)."""
        return self.longest + min(self.replies * epochs, BATCH) * ((self.private if epochs == 1 else 0) + self.reserve)


def explained(args):
    """Lines of the explanation, from a file or as the program writes them."""
    if args.ids:
        with open(args.ids, encoding="utf-8") as file:
            yield from file
        return
    command = [args.muster, "explain", args.eval, "-m", args.model, "--sample", "all", "--tokens", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as explain:
        yield from explain.stdout
    if explain.returncode != 0:
        raise SystemExit(f"muster explain ended with {explain.returncode}")


def run(args, *more):
    """The engine's counters of a run, with the rows that the kernels saw when the program counts them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [args.muster, "run", args.eval, "-m", args.model, "--json", "--quiet",
                   "--db", os.path.join(folder, "trie.db"), *more]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 3):  # 3: attempts failed, which is the model's affair
        raise SystemExit(f"muster run ended with {done.returncode}: {done.stderr[-2000:]}")
    value = json.loads(done.stdout)
    value["engine"]["errors"] = value["experiment"]["errors"]
    rows = re.search(r"kernels: (\d+) rows", done.stderr)
    value["engine"]["kernel_rows"] = int(rows[1]) if rows else None
    return value["engine"]


def slot_bytes(args, first, more):
    """Bytes of one token's keys and values: what a run of one sample says it needs, over its slots."""
    engine = run(args, "--limit-total", "1", "--epochs", "1", *more)
    slots = first.longest + first.reserve
    size, rest = divmod(engine["kv_needed_bytes"], slots)
    if rest:
        raise SystemExit(f"a run of one sample needs {engine['kv_needed_bytes']} bytes for {slots} slots")
    return size


def faults(engine, needed, replies, most):
    computed = engine["prefill_tokens_computed"]
    if engine["prefill_tokens_needed"] != needed:
        yield f"needed is {needed}, the engine says {engine['prefill_tokens_needed']}"
    if computed / needed > most:
        yield f"computed / needed is {computed / needed:.4f}, more than {most}"
    if computed < needed:
        yield f"only {computed} of {needed} tokens were computed"
    rows = engine["kernel_rows"]
    if rows is not None and rows != computed + engine["decode_tokens"] - replies:  # first tokens cost no row
        yield f"the kernels ran {rows} rows: {computed} of prompts, {engine['decode_tokens']} tokens, {replies} replies"
    if engine["errors"]:
        yield f"{engine['errors']} attempts failed"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("muster")
    parser.add_argument("eval")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--tight", action="store_true")
    parser.add_argument("--most", type=float, default=1.0)
    parser.add_argument("--ids")
    own = sys.argv[1:]
    more = own[own.index("--") + 1:] if "--" in own else []
    args = parser.parse_args(own[:own.index("--")] if "--" in own else own)

    plan, first = Plan(), Plan()
    for number, line in enumerate(explained(args)):
        plan.add(line, args.limit)
        if number == 0:
            first.add(line, 0)
    plan.count()
    first.count()
    needed = plan.distinct
    options = ["--epochs", str(args.epochs)] + (["--limit", str(args.limit)] if args.limit else [])
    memory = ""
    if args.tight:
        size = slot_bytes(args, first, more)
        options += ["--kv-memory", str(plan.pool(args.epochs) * size)]
        memory = f", pool {plan.pool(args.epochs)} slots of {size} bytes"
    start = time.monotonic()
    engine = run(args, *options, *more)
    computed, rows = engine["prefill_tokens_computed"], engine["kernel_rows"]
    print(f"{args.eval}: {len(plan.sequences)} sequences, {plan.total} prompt tokens, {needed} distinct{memory}; "
          f"the engine says {engine['prefill_tokens_needed']}, computed {computed}"
          f"{f', kernels ran {rows} rows' if rows is not None else ''}: {computed / needed:.4f} "
          f"({time.monotonic() - start:.0f} s)", flush=True)
    bad = list(faults(engine, needed, plan.replies * args.epochs, args.most))
    for line in bad:
        print("FAIL", line, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
