#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Conversations in a pool that holds a part of them: how much of what had to be computed was computed twice?

    turns.py MUSTER MODEL.gguf [--limit 200] [--share 0.25] [--most 1.05] [-- MORE RUN OPTIONS]

Runs evals/turns.yaml twice: with memory for everything, then with --share of the keys and values that all conversations
come to in the end. Results have to be equal. `needed` is counted from what was sent, turn by turn (DESIGN.md 4.4): the
distinct prefixes of all prompts, but for those that a reply of the conversation had left when the prompt came. The ids
of the prompts come from `muster explain` on the messages that were sent; those of the replies from the texts of their
tokens and the model's vocabulary. Where a byte of a token is no character its id is taken to be the prompt's, which can
only make `needed` smaller. Needs the package gguf, and gsm8k in MUSTER_MIRROR."""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import gguf

HERE = os.path.dirname(os.path.abspath(__file__))
SAID = """schema: 1
eval: said
version: 1
dataset: {path: said.jsonl}
sample: {id: "{{ id }}", input: "{{ messages }}"}
solver: {use: generate, max_tokens: 4}
graders: [{use: includes, target: x}]
"""
MAX_TOKENS = 4  # of SAID


def muster(args, *words):
    done = subprocess.run([args.muster, *words], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"muster {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    rows = re.search(r"kernels: (\d+) rows", done.stderr)
    return done.stdout, int(rows[1]) if rows else None


def pieces(path):
    """Text of each id, byte-level BPE undone."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte_of = {chr(b): b for b in plain}
    byte_of.update({chr(256 + n): b for n, b in enumerate(b for b in range(256) if b not in plain)})
    field = gguf.GGUFReader(path).fields["tokenizer.ggml.tokens"]
    out = []
    for at in field.data:
        text = bytes(field.parts[at]).decode()
        known = all(c in byte_of for c in text)
        out.append(bytes(byte_of[c] for c in text).decode(errors="replace") if known else text)
    return out


def prompts_of(args, folder, attempts):
    """Token ids of the prompt of each call of each attempt."""
    with open(os.path.join(folder, "said.yaml"), "w", encoding="utf-8") as file:
        file.write(SAID)
    with open(os.path.join(folder, "said.jsonl"), "w", encoding="utf-8") as file:
        for number, attempt in enumerate(attempts):
            for turn, call in enumerate(attempt["calls"]):
                row = {"id": f"{number}-{turn}", "messages": call["request"]["messages"]}
                file.write(json.dumps(row) + "\n")
    out, _ = muster(args, "explain", os.path.join(folder, "said.yaml"), "-m", "local/" + args.model,
                    "--sample", "all", "--tokens", "--json")
    ids = {}
    for line in out.rstrip("\n").split("\n"):
        row = json.loads(line)
        number, turn = map(int, row["id"].split("-"))
        ids[number, turn] = row["sequences"][0]["ids"]
    return ids


def shared(a, b):
    same = 0
    while same < min(len(a), len(b)) and a[same] == b[same]:
        same += 1
    return same


def left_by_reply(before, call, prompt, vocabulary):
    """How many tokens of prompt the reply to `before` had left: its last token is never computed."""
    if shared(before, prompt) < len(before):
        return 0
    kept = 0
    for token, got in zip(call["reply"]["logprobs"][:-1], prompt[len(before):]):
        if token["token"] != vocabulary[got] and "\ufffd" not in token["token"] + vocabulary[got]:
            break
        kept += 1
    return kept


def count(attempts, ids, vocabulary):
    """(distinct prefixes of prompts, of these left by replies, keys and values in the end)"""
    distinct = left = 0
    before = []
    for prompt in sorted(ids.values()):
        distinct += len(prompt) - shared(before, prompt)
        before = prompt
    written = 0
    for number, attempt in enumerate(attempts):
        for turn, call in enumerate(attempt["calls"]):
            written += len(call["reply"]["logprobs"]) - 1
            if turn > 0:
                last = attempt["calls"][turn - 1]
                left += left_by_reply(ids[number, turn - 1], last, ids[number, turn], vocabulary)
    return distinct, left, distinct + written - left


def run(args, folder, name, *more):
    store = os.path.join(folder, "turns.db")
    out, rows = muster(args, "run", os.path.join(HERE, "evals", "turns.yaml"), "-m", "local/" + args.model, "--json",
                       "--quiet", "--db", store, "--name", name, "--limit", str(args.limit), *more)
    engine = json.loads(out)["engine"]
    engine["kernel_rows"] = rows
    exported, _ = muster(args, "export", name, "--calls", "--db", store)
    digest, _ = muster(args, "show", name, "--digest", "--db", store)
    return engine, [json.loads(line) for line in exported.rstrip("\n").split("\n")], digest.strip()


def slot_bytes(args, folder, n_prompt):
    """Bytes of one token's keys and values: what a run of one prompt says it needs, over its slots."""
    out, _ = muster(args, "run", os.path.join(folder, "said.yaml"), "-m", "local/" + args.model, "--json", "--quiet",
                    "--db", os.path.join(folder, "slot.db"), "--limit", "1")
    size, rest = divmod(json.loads(out)["engine"]["kv_needed_bytes"], n_prompt + MAX_TOKENS - 1)
    if rest:
        raise SystemExit("what a run of one prompt needs is no multiple of its slots")
    return size


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("muster")
    parser.add_argument("model")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--most", type=float, default=1.05)
    own = sys.argv[1:]
    more = own[own.index("--") + 1:] if "--" in own else []
    args = parser.parse_args(own[:own.index("--")] if "--" in own else own)
    args.model = os.path.abspath(args.model)

    with tempfile.TemporaryDirectory() as folder:
        whole, attempts, digest = run(args, folder, "whole", *more)
        ids = prompts_of(args, folder, attempts)
        distinct, left, final = count(attempts, ids, pieces(args.model))
        slot = slot_bytes(args, folder, len(ids[0, 0]))
        part, _, digest_part = run(args, folder, "part", "--kv-memory", str(int(final * args.share) * slot), *more)
    needed = distinct - left
    print(f"{len(attempts)} conversations, {len(ids)} prompts: {distinct} distinct prefixes, {left} of them left by "
          f"replies, {needed} needed; {final} tokens in the end, {slot} bytes each")
    bad = [] if digest == digest_part else ["the results differ"]
    for what, engine in (("all", whole), (f"{args.share:g} of it", part)):
        computed, rows = engine["prefill_tokens_computed"], engine["kernel_rows"]
        print(f"pool of {what}: {engine['kv_pool_bytes'] // slot} slots, peak {engine['kv_peak_bytes'] // slot}; the "
              f"engine says needed {engine['prefill_tokens_needed']}, computed {computed}: {computed / needed:.4f}")
        if rows is not None and rows != computed + engine["decode_tokens"] - len(ids):
            bad.append(f"the kernels ran {rows} rows: {computed} of prompts, {engine['decode_tokens']} tokens")
        if computed / needed > args.most:
            bad.append(f"{computed / needed:.4f} is more than {args.most}")
        if computed < needed:
            bad.append(f"only {computed} of {needed} were computed")
    for line in bad:
        print("FAIL", line, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
