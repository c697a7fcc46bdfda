# SPDX-License-Identifier: MIT
"""The 524 pairs of tests/replay/vectors/math.jsonl as math-verify judges them: math_verify.py [VECTORS_PROGRAM] FILE.jsonl

Lists where math-verify differs from the pair's own verdict, and counts how the grader does. math-verify 0.9.0 agrees with
502 of the 524. In 20 of the others it does not see that two things are equal (products of complex numbers, 1\\,234, \\fbox,
mixed numbers without LaTeX, inequalities against their intervals, degrees in a sine, plain words around a number), in 2 it
leaves out the base of a number. Needs math-verify; run by hand."""

import json
import logging
import subprocess
import sys

del sys.path[0]  # this file's own folder: it has the peer's name
from math_verify import parse, verify  # noqa: E402

logging.disable(logging.CRITICAL)


def as_latex(s):
    """math-verify wants LaTeX marked as such."""
    prose = "\\boxed" in s or "\\fbox" in s or "$" in s.replace("\\$", "") or len([w for w in s.split() if w.isalpha() and len(w) > 1]) > 2
    return s if prose else "$" + s + "$"


def main():
    path = sys.argv[-1]
    with open(path, encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    if len(sys.argv) > 2:
        out = subprocess.run([sys.argv[1], "--print", path], stdout=subprocess.PIPE, check=True).stdout.decode()
        for pair, line in zip(pairs, out.split("\n")):
            pair["grader"] = json.loads(line).get("value") == 1
    same = {"math-verify": 0, "grader": 0, "both": 0}
    for pair in pairs:
        peer = bool(verify(parse(as_latex(pair["target"])), parse(as_latex(pair["answer"]))))
        same["math-verify"] += peer == pair["equal"]
        if "grader" in pair:
            same["grader"] += pair["grader"] == pair["equal"]
            same["both"] += pair["grader"] == peer
        if peer != pair["equal"]:
            print(f"math-verify says {peer}: {pair['kind']}: {pair['target']}  <->  {pair['answer']}")
    print(f"{len(pairs)} pairs, {sum(p['equal'] for p in pairs)} equal; math-verify agrees with {same['math-verify']},"
          f" the grader with {same['grader']}; grader and math-verify agree on {same['both']}")


if __name__ == "__main__":
    main()
