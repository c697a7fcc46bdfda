#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How many tokens of real replies prompt lookup would have guessed, and what that is worth.

    speculation.py TOKENIZE MODEL.gguf EXPORT.jsonl... [--steps B:MS,B:MS,...]

EXPORT is what `muster export EXPERIMENT` wrote for evals with greedy replies; TOKENIZE is tests/bench/tokenize. The
guess at every position: the last n tokens (3, else 2) are sought in the prompt and the reply so far, newest first,
and up to k tokens that followed there are proposed. A step then has 1 + proposed rows a sequence and yields
1 + accepted tokens. --steps gives the time of a decode step at some batch sizes, from `muster bench engine`; time
between them is taken to be linear in rows.
"""
import argparse
import json
import subprocess


def tokenize(program, model, texts):
    """Ids of texts, which end in NUL on the way there and are a line each on the way back."""
    out = subprocess.run([program, model, "--special"], input="".join(text + "\0" for text in texts).encode(),
                         stdout=subprocess.PIPE, check=True)
    return [[int(word) for word in line.split()] for line in out.stdout.decode().split("\n")[:len(texts)]]


class Lookup:
    """Where each pair and each three tokens were seen last, not counting the end of the text."""

    def __init__(self):
        self.ids = []
        self.at = ({}, {})

    def push(self, token):
        for n, table in zip((2, 3), self.at):
            if len(self.ids) >= n:
                table[tuple(self.ids[-n:])] = len(self.ids)
        self.ids.append(token)

    def propose(self, k):
        for n, table in zip((3, 2), reversed(self.at)):
            start = table.get(tuple(self.ids[-n:]))
            if start is not None:
                return self.ids[start:start + k]
        return []


def replay(prompt, reply, k):
    """Steps, rows and tokens that one reply would have taken."""
    lookup = Lookup()
    for token in prompt:
        lookup.push(token)
    at = steps = rows = 0
    while at < len(reply):
        guess = lookup.propose(k)
        accepted = 0
        while accepted < len(guess) and at + accepted < len(reply) and guess[accepted] == reply[at + accepted]:
            accepted += 1
        steps += 1
        rows += 1 + len(guess)
        for token in reply[at:at + accepted + 1]:
            lookup.push(token)
        at += accepted + 1
    return steps, rows, len(reply)


def step_ms(table, rows):
    """Linear between the measured batches and beyond."""
    points = sorted(table.items())
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        if rows <= x1 or x1 == points[-1][0]:
            return y0 + (y1 - y0) * (rows - x0) / (x1 - x0)
    return points[0][1] * rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tokenize")
    parser.add_argument("model")
    parser.add_argument("exports", nargs="+")
    parser.add_argument("--steps", default="1:7.1,4:11.6,16:36.8,64:138.8")
    args = parser.parse_args()
    table = {int(b): float(ms) for b, ms in (item.split(":") for item in args.steps.split(","))}
    totals = {}
    for path in args.exports:
        rows = [json.loads(line) for line in open(path, encoding="utf-8")]
        rows = [row for row in rows if row.get("text")]
        ids = tokenize(args.tokenize, args.model, [text for row in rows for text in (row["prompt"], row["text"])])
        for k in (1, 2, 4, 8):
            counts = [replay(ids[2 * i], ids[2 * i + 1], k) for i in range(len(rows))]
            sums = [sum(c[j] for c in counts) for j in range(3)]
            report(rows[0]["eval"], len(rows), k, sums, table)
            total = totals.setdefault(k, [0, 0, 0, 0])
            for j, value in enumerate([*sums, len(rows)]):
                total[j] += value
    for k, (steps, n_rows, tokens, n) in totals.items():
        report("all", n, k, (steps, n_rows, tokens), table)


def report(name, n, k, sums, table):
    steps, rows, tokens = sums
    guessed, accepted = rows - steps, tokens - steps
    gains = []
    for batch in sorted(table):
        plain = step_ms(table, batch)
        wide = step_ms(table, batch * rows / steps) / (tokens / steps)
        gains.append(f"{batch}: {plain / wide:.2f}x")
    print(f"{name:12} {n:4} replies {tokens:6} tokens, up to {k}: {tokens / steps:.2f} tokens and {rows / steps:.2f} "
          f"rows a step, {100 * accepted / max(guessed, 1):.0f} % accepted; speed at batch {', '.join(gains)}")


if __name__ == "__main__":
    main()
