# SPDX-License-Identifier: MIT
"""bleu, chrf and rouge against sacrebleu and rouge-score, and the recorded vectors that CI checks.

text_metrics.py VECTORS_PROGRAM            compares on generated pairs (and on texts of $MUSTER_MIRROR)
text_metrics.py VECTORS_PROGRAM --record FILE   also writes some 200 of the pairs with the peers' values
Needs sacrebleu and rouge-score; run by hand."""

import json
import os
import random
import subprocess
import sys
import tempfile

from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF

TOLERANCE = 1e-9
N_MADE = 1600
N_REAL = 1200
N_RECORDED = 200

WORDS = (
    "the a cat dog sat on under mat river 1,000 3.14 5-6 2019-2020 U.S. e.g. don't it's well-known (hi) [x] {y} a/b "
    "x=y 50% $5 <b> &amp; &quot;q&quot; &lt;i&gt; @me #tag ... ?! — “quoted” it’s naïve Ärger straße İstanbul ΣΊΣΥΦΟΣ "
    "日本語 東京。 こんにちは 안녕 привет мир مرحبا שלום 🙂 👩‍🔬 K ﬁ no.5 .5 5. ,5 5, -1 1- a-1 1-a ~ ` ^ _ | \\ * + "
    "<skipped> co-\noperate e\u0301 \u00a0 \u2003 \x1f \u200b end"
).split(" ")
SPACES = [" ", " ", " ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "-\n", "\r\n", ""]


def made_text(rng, n):
    return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(n))


def edited(rng, text):
    words = text.split(" ")
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(words))
        how = rng.randrange(5)
        if how == 0:
            words[at] = rng.choice(WORDS)
        elif how == 1:
            words.insert(at, rng.choice(WORDS))
        elif how == 2 and len(words) > 1:
            del words[at]
        elif how == 3:
            words[at] = words[at].swapcase()
        else:
            other = rng.randrange(len(words))
            words[at], words[other] = words[other], words[at]
    return " ".join(words)


def made_pairs(rng, n):
    fixed = ["", " ", "\n", "a", "A", ".", "...", "a b", "a b c", "a b c d", "日", "日本語", "🙂", "5", "don't", "\u00a0"]
    pairs = [([a], b) for a in fixed for b in fixed]
    while len(pairs) < n:
        targets = [made_text(rng, rng.choice([1, 2, 3, 5, 8, 13, 40])) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        if rng.random() < 0.7:
            reply = edited(rng, rng.choice(targets))
        else:
            reply = made_text(rng, rng.choice([0, 1, 2, 4, 10, 60]))
        pairs.append((targets, reply))
    return pairs


def real_pairs(rng, n):
    mirror = os.environ.get("MUSTER_MIRROR")
    if not mirror:
        return []
    pairs = []
    for line in open(os.path.join(mirror, "replay/gsm8k/model_solutions.jsonl"), encoding="utf-8"):
        row = json.loads(line)
        one, other = row["6b_finetuning"]["solution"], row["6b_verification"]["solution"]
        pairs += [([row["ground_truth"]], one), ([other, row["ground_truth"]], one)]
    rng.shuffle(pairs)
    with open(os.path.join(mirror, "lambada/lambada_openai.jsonl"), encoding="utf-8") as file:
        texts = [json.loads(line)["context"] for line in file]
    for text in rng.sample(texts, n // 4):
        pairs.insert(0, ([text], edited(rng, text)))
    return pairs[:n]


class Peers:
    def __init__(self):
        self.bleu = BLEU(effective_order=True)
        self.chrf = CHRF()
        self.chrfpp = CHRF(word_order=2)
        self.kinds = ["rouge1", "rouge2", "rougeL"]
        self.rouge = rouge_scorer.RougeScorer(self.kinds, use_stemmer=False)

    def wants(self, targets, reply):
        rouge = self.rouge.score_multi(targets, reply)
        best = max(self.bleu.sentence_score(reply, [t]).score for t in targets)
        wants = [
            {"use": "bleu", "value": best / 100},
            {"use": "chrf", "value": self.chrf.sentence_score(reply, targets).score / 100},
            {"use": "chrf", "params": {"word_order": 2}, "value": self.chrfpp.sentence_score(reply, targets).score / 100},
        ]
        if len(targets) > 1:
            pooled = self.bleu.sentence_score(reply, targets).score / 100
            wants.append({"use": "bleu", "params": {"references": "together"}, "value": pooled})
        for kind in self.kinds:
            wants.append({"use": "rouge", "params": {"type": kind}, "value": rouge[kind].fmeasure})
        return wants


def main():
    program = sys.argv[1]
    rng = random.Random(4)
    pairs = made_pairs(rng, N_MADE) + real_pairs(rng, N_REAL)
    peers = Peers()
    lines = [{"target": t[0] if len(t) == 1 else t, "reply": r, "want": peers.wants(t, r)} for t, r in pairs]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        out = subprocess.run([program, "--print", file.name], stdout=subprocess.PIPE, check=True).stdout.decode()
    got = iter([json.loads(line) for line in out.split("\n") if line])
    worst, counts = {}, {}
    for line in lines:
        for want in line["want"]:
            name = want["use"] + json.dumps(want.get("params", {}))
            score = next(got)
            off = abs(score.get("value", float("inf")) - want["value"])
            worst[name] = max(worst.get(name, 0), off)
            counts.setdefault(name, [0, 0])[off > TOLERANCE] += 1
            if off > TOLERANCE and counts[name][1] <= 3:
                print("#", name, repr(line["target"]), repr(line["reply"]), "want", want["value"], "got", score)
    for name, (same, other) in counts.items():
        print(f"{name}: {same} equal, {other} not; farthest {worst[name]:.3g}")
    if "--record" in sys.argv:
        made = [line for line, _ in zip(lines, range(N_MADE))]
        kept = made[:256:4] + [line for line in made[256:] if len(line["reply"]) < 200][: N_RECORDED - 64]
        with open(sys.argv[sys.argv.index("--record") + 1], "w", encoding="utf-8") as file:
            for line in kept:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return 1 if any(other for _, other in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
