# SPDX-License-Identifier: MIT
"""Sets our tokenizer's ids against another implementation's on the same file, over mixed text.

usage: tokenizer_compare.py TOKENIZE MODEL.gguf DATA [--texts N] [--by llama|hf] [--special]

TOKENIZE is the program built from tokenize.c; DATA a folder of data sets (JSON, JSON Lines, CSV, text).
Texts are taken evenly from all files, with a fixed seed. --by llama needs llama-cpp-python, --by hf
transformers with the gguf package. Prints each difference and the totals; exit 1 when there is one.
"""
import argparse
import csv
import glob
import json
import os
import random
import subprocess
import sys

MOST_BYTES = 20000  # of one text; the other side works in quadratic time on some


def strings(value):
    """All texts inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def texts_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        if path.endswith(".jsonl"):
            for line in file:
                yield from strings(json.loads(line))
        elif path.endswith(".json"):
            yield from strings(json.load(file))
        elif path.endswith(".csv"):
            for row in csv.reader(file):
                yield from row
        else:
            yield from file


def collect(folder, n):
    files = [p for e in ("jsonl", "json", "csv", "txt", "md", "jinja", "lua", "inp")
             for p in glob.glob(os.path.join(folder, "**", "*." + e), recursive=True)]
    files = sorted(p for p in files if not p.endswith("tokenizer.json"))
    by_set = {}
    for path in files:
        top = os.path.relpath(path, folder).split(os.sep)[0]
        by_set.setdefault(top, set()).update(
            t for t in texts_of(path)
            if t and "\0" not in t and len(t.encode("utf-8", "replace")) < MOST_BYTES)
    chosen, rng = [], random.Random(1)
    for left, top in zip(range(len(by_set), 0, -1), sorted(by_set, key=lambda s: len(by_set[s]))):
        pool = sorted(by_set[top])
        part = rng.sample(pool, min(len(pool), (n - len(chosen)) // left))
        print("%6d of %6d texts from %s" % (len(part), len(pool), top))
        chosen += part
    return chosen


def ours(program, model, texts, special):
    command = [program, model] + (["--special"] if special else [])
    data = b"".join(t.encode("utf-8") + b"\0" for t in texts)
    out = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
    return [[int(i) for i in line.split()] for line in out.decode().split("\n")[:-1]]


def theirs_llama(model, texts, special):
    import llama_cpp
    llama = llama_cpp.Llama(model, vocab_only=True, verbose=False)
    return [llama.tokenize(t.encode("utf-8"), add_bos=False, special=special) for t in texts]


def theirs_hf(model, texts, special):
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(os.path.dirname(model),
                                              gguf_file=os.path.basename(model))
    return [tokenizer.encode(t, add_special_tokens=False, split_special_tokens=not special)
            for t in texts]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--texts", type=int, default=12000)
    parser.add_argument("--by", choices=["llama", "hf"], default="llama")
    parser.add_argument("--special", action="store_true")
    args = parser.parse_args()
    texts = collect(args.data, args.texts)
    got = ours(args.program, args.model, texts, args.special)
    want = {"llama": theirs_llama, "hf": theirs_hf}[args.by](args.model, texts, args.special)
    assert len(got) == len(want) == len(texts)
    different = [i for i in range(len(texts)) if got[i] != want[i]]
    for i in different[:20]:
        at = next((k for k, (a, b) in enumerate(zip(got[i], want[i])) if a != b), 0)
        print("different: %.200r\n  ours   %s\n  theirs %s" %
              (texts[i], got[i][at:at + 12], want[i][at:at + 12]))
    print("%d of %d texts agree (%d lines, %d bytes, %d ids)" %
          (len(texts) - len(different), len(texts), sum(t.count("\n") + 1 for t in texts),
           sum(len(t.encode("utf-8")) for t in texts), sum(map(len, want))))
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
