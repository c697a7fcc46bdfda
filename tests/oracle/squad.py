# SPDX-License-Identifier: MIT
"""f1 and exact_normalized against SQuAD v1.1's rule, fuzzy against OpenAI's, on 2,000 generated pairs.

squad.py VECTORS_PROGRAM                 compares
squad.py VECTORS_PROGRAM --record FILE   also writes some of the pairs with the scores, for CI
The rules are written down here from their definitions: lower case; no ASCII punctuation; no words a, an, the; split at
white space. F1 is that of the two bags of words. Only the standard library; run by hand."""

import json
import re
import string
import subprocess
import sys
import tempfile
from collections import Counter

import random

N_PAIRS = 2000
N_RECORDED = 300
WORDS = ("The the a an A AN theatre anthem at Denver Broncos Denver Super Bowl 50 50% $5.00 U.S. U.S.A. usa don't it's well-known x.y "
         "naïve Ärger straße İ café cafe\u0301 Überall 北京 東京都 привет ΑΒΓ a1 a_b the-end (the) \"a\" an' ’the’ –the– «an» … — ۱۲ ! ? , .").split(" ")
SPACES = [" ", " ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "\x1c", "\x85", ""]


def words_of(text):
    lower = text.lower()
    for mark in string.punctuation:
        lower = lower.replace(mark, "")
    return re.sub(r"\b(?:the|an|a)\b", " ", lower).split()


def f1(given, wanted):
    same = sum(min(n, Counter(wanted)[word]) for word, n in Counter(given).items())
    if same == 0:
        return 0.0
    precision, recall = same / len(given), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def alike(given, wanted):
    a, b = " ".join(given), " ".join(wanted)
    return a == b if "" in (a, b) else a in b or b in a


def wants(targets, reply):
    given = words_of(reply)
    golden = [words_of(target) for target in targets]
    return [{"use": "f1", "value": max(f1(given, wanted) for wanted in golden)},
            {"use": "exact_normalized", "value": int(given in golden)},
            {"use": "fuzzy", "value": int(any(alike(given, wanted) for wanted in golden))}]


def made(rng, n):
    return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(n))


def edited(rng, text):
    pieces = re.split(r"(\s+)", text)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(pieces))
        pieces[at] = rng.choice([pieces[at].upper(), pieces[at] + rng.choice(".,!?'\""), "the " + pieces[at], "", rng.choice(WORDS), pieces[at]])
    return "".join(pieces)


def pair(rng):
    targets = [made(rng, rng.choice([0, 1, 1, 2, 3, 5])) for _ in range(rng.choice([1, 1, 2, 3]))]
    return targets, edited(rng, rng.choice(targets)) if rng.random() < 0.7 else made(rng, rng.randrange(8))


def main():
    rng = random.Random(11)
    lines = []
    for _ in range(N_PAIRS):
        targets, reply = pair(rng)
        lines.append({"target": targets, "reply": reply, "want": wants(targets, reply)})
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        file.flush()
        out = subprocess.run([sys.argv[1], "--print", file.name], stdout=subprocess.PIPE, check=True).stdout.decode()
    got = iter([json.loads(line) for line in out.split("\n") if line])
    counts = {}
    for line in lines:
        for want in line["want"]:
            score = next(got)
            n = counts.setdefault(want["use"], [0, 0, 0])
            off = abs(score.get("value", 9) - want["value"]) > 1e-12
            n[0] += 1
            n[1] += want["value"] > 0
            n[2] += off
            if off and n[2] <= 5:
                print("#", repr(line["target"]), repr(line["reply"]), want, "got", score)
    for use, (n, above, off) in counts.items():
        print(f"{use}: {n} pairs, {above} above 0, {off} differ")
    if "--record" in sys.argv:
        with open(sys.argv[sys.argv.index("--record") + 1], "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines[:N_RECORDED])
    return 1 if any(off for _, _, off in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
