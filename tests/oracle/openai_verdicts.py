# SPDX-License-Identifier: MIT
"""OpenAI's evals rewritten into our format: are the verdicts on generated replies those of its rules?

openai_verdicts.py MUSTER [--record FILE]: converts the entries of $MUSTER_MIRROR/openai_evals, checks them (`muster check`), runs each
on 2,000 replies through a replay, and 2,000 JsonMatch pairs, and compares every score with the rules as written down here
from elsuite/basic and utils.py. FILE takes some JsonMatch pairs with their verdicts, for CI. Needs PyYAML; run by hand."""

import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile

import openai_convert

N_REPLIES = 2000

# ---- The rules, independent of the program ------------------------------------------------------


def as_list(ideal):
    return ideal if isinstance(ideal, list) else [ideal]


def match(reply, ideals, _):
    return any(reply[:len(ideal)] == ideal for ideal in ideals)


def includes(reply, ideals, args):
    if args.get("ignore_case"):
        return any(ideal.lower() in reply.lower() for ideal in ideals)
    return any(ideal in reply for ideal in ideals)


PUNCTUATION = {chr(c) for c in range(33, 127) if not chr(c).isalnum()}


def simplified(s):
    letters = "".join(c for c in s.lower() if c not in PUNCTUATION)
    return re.sub(r"\b(?:the|an|a)\b", " ", letters).split()


def fuzzy(reply, ideals, _):
    def one(a, b):
        return a == b if not a or not b else a in b or b in a
    return any(one(" ".join(simplified(reply)), " ".join(simplified(ideal))) for ideal in ideals)


def word_f1(reply, ideals):
    def one(given, wanted):
        left, same = list(wanted), 0
        for word in given:
            if word in left:
                left.remove(word)
                same += 1
        return 2 * same / (len(given) + len(wanted)) if same else 0.0
    return max(one(simplified(reply), simplified(ideal)) for ideal in ideals)


def json_equal(a, b):
    if a is None or b is None:
        return False
    for kind in (dict, list):
        if isinstance(a, kind) != isinstance(b, kind):
            return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(json_equal(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(json_equal, a, b))
    return a == b


def json_match(reply, ideals, _):
    try:
        given = json.loads(reply)
    except ValueError:
        return False
    return any(json_equal(given, json.loads(ideal)) for ideal in ideals)


RULES = {"match:Match": match, "includes:Includes": includes, "fuzzy_match:FuzzyMatch": fuzzy, "json_match:JsonMatch": json_match}

# ---- Replies ------------------------------------------------------------------------------------

FILLERS = ["The answer is ", "I think ", "", " ", "\n", "a ", "the ", "An ", "Well, ", "答え: ", "(", "\"", "**", "- "]
TAILS = ["", ".", "!", " because of that.", "\n", " ", "s", "a", " the end", "\"", ")", "、", " or something else", "…", "'s"]
WORDS = "the a an and cat 12 Paris no yes B e4 don't the-end A. naïve ß Ünder 北京 theatre anthem aa _x_ 3.5 thé ’the’ a.m.".split()


def reply_for(rng, ideals, others):
    ideal = rng.choice(ideals)
    at = rng.randrange(len(ideal) + 1)
    ways = [lambda: ideal, lambda: ideal, lambda: ideal + rng.choice(TAILS), lambda: rng.choice(FILLERS) + ideal,
            lambda: rng.choice(FILLERS) + ideal + rng.choice(TAILS), lambda: ideal.upper(), lambda: ideal.lower(), lambda: ideal.swapcase(),
            lambda: ideal[:at], lambda: ideal[at:], lambda: ideal[:at] + rng.choice([" ", ".", "-", "x", "'"]) + ideal[at:],
            lambda: rng.choice(others), lambda: rng.choice(others) + " " + ideal, lambda: ideal[::-1], lambda: "",
            lambda: " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 6))), lambda: ideal.replace(" ", "  "),
            lambda: ideal.translate({ord(c): None for c in PUNCTUATION}), lambda: rng.choice(WORDS) + " " + ideal + " " + rng.choice(WORDS),
            lambda: ideal.strip(" .!?()"), lambda: rng.choice([" ", ".", "?!", "the", "A"])]
    return rng.choice(ways)()


SCALARS = [None, True, False, 0, 1, 2, -1, 1.0, 0.0, 1.5, 1e3, 10 ** 15, "", "1", "true", "x", "ü", "北", "a b", "null"]


def json_value(rng, depth):
    if depth == 0 or rng.random() < 0.4:
        return rng.choice(SCALARS[1:]) if rng.random() < 0.93 else None
    n = rng.choice([0, 1, 1, 2, 3])
    if rng.random() < 0.5:
        return [json_value(rng, depth - 1) for _ in range(n)]
    return {rng.choice(["a", "b", "key", "ü", "", "x y", "1"]): json_value(rng, depth - 1) for _ in range(n)}


def json_changed(rng, value):
    """The same value, or one that differs in a place."""
    if rng.random() < 0.25:
        return json_value(rng, 1)
    if isinstance(value, dict) and value:
        keys = list(value)
        rng.shuffle(keys)
        value = {k: value[k] for k in keys}
        key = rng.choice(keys)
        what = rng.randrange(4)
        if what == 0:
            del value[key]
        elif what == 1:
            value["new"] = json_value(rng, 1)
        elif what == 2:
            value[key] = json_changed(rng, value[key])
    elif isinstance(value, list) and value:
        value = list(value)
        what = rng.randrange(4)
        at = rng.randrange(len(value))
        if what == 0:
            del value[at]
        elif what == 1:
            value.append(json_value(rng, 1))
        elif what == 2:
            value[at] = json_changed(rng, value[at])
        else:
            value.reverse()
    elif isinstance(value, (bool, int, float)) and rng.random() < 0.5:
        value = rng.choice([float(value), int(value), bool(value), str(value)])
    return value


def json_text(rng, value):
    ways = [lambda: json.dumps(value), lambda: json.dumps(value, ensure_ascii=False), lambda: json.dumps(value, indent=2),
            lambda: " " + json.dumps(value, separators=(",", ":")) + "\n", lambda: json.dumps(value, sort_keys=True)]
    return rng.choice(ways)()


def json_pair(rng):
    ideals = [json_value(rng, 3) for _ in range(rng.choice([1, 1, 1, 2]))]
    value = rng.choice(ideals)
    if rng.random() < 0.55:
        value = json_changed(rng, value)
    reply = json_text(rng, value)
    if rng.random() < 0.1:
        reply = rng.choice([reply[:-1], "```json\n" + reply + "\n```", reply + " ok", "", reply.replace('"', "'"), reply + ",", "{,}",
                            '{"a": 1, "a": 2}'])
    texts = [json.dumps(v) for v in ideals]
    return (texts[0] if len(texts) == 1 else texts), reply


# ---- Running ------------------------------------------------------------------------------------


def muster(program, folder, *args):
    done = subprocess.run([program, *args, "--db", os.path.join(folder, "store.db")], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"muster {' '.join(args)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def scores(program, folder, path, replies, epochs, limit):
    replay = os.path.join(folder, "replies.jsonl")
    with open(replay, "w", encoding="utf-8") as f:
        f.writelines(json.dumps({"id": str(i), "epoch": epoch, "text": text}) + "\n" for (i, epoch), text in replies.items())
    name = os.path.basename(path)[:-5]
    muster(program, folder, "run", path, "-m", "replay/" + replay, "--epochs", str(epochs), "--limit", str(limit), "--quiet",
           "--name", name)
    shown = muster(program, folder, "show", name, "--samples", "--json", "--limit", "1000000")
    return {(int(row["id"]), row["epoch"]): [s.get("value") for s in row["scores"]] for row in map(json.loads, shown.splitlines())}


def entry(program, folder, path, kind, rows, args, replies, epochs):
    """(verdicts, right ones, those that differ) of one eval."""
    rule = RULES[kind.rsplit(".", 1)[1]]
    got = scores(program, folder, path, replies, epochs, len(rows))
    right = differ = 0
    for key, reply in replies.items():
        ideals = as_list(rows[key[0]]["ideal"])
        want = [float(rule(reply, ideals, args))]
        if rule is fuzzy:
            want.append(word_f1(reply, ideals))
        right += want[0] == 1
        have = got.get(key, [])
        if len(have) != len(want) or any(h is None or not math.isclose(h, w, abs_tol=1e-12) for h, w in zip(have, want)):
            differ += 1
            if differ <= 3:
                print("#", os.path.basename(path), repr(ideals), repr(reply), "want", want, "got", have)
    return len(replies), right, differ


def main():
    program = os.path.abspath(sys.argv[1])
    registry = os.path.join(os.environ["MUSTER_MIRROR"], "openai_evals")
    totals = [0, 0, 0]
    with tempfile.TemporaryDirectory() as folder:
        evals = openai_convert.convert(registry, os.path.join(folder, "evals"))
        muster(program, folder, "check", os.path.join(folder, "evals"))
        for path, kind, args, _ in evals:
            rng = random.Random(path.rsplit(os.sep, 1)[1])
            with open(os.path.join(registry, "data", args["samples_jsonl"]), encoding="utf-8") as f:
                rows = [json.loads(line) for line in f if line.strip()][:N_REPLIES]
            others = [ideal for row in rows for ideal in as_list(row["ideal"])]
            epochs = -(-N_REPLIES // len(rows))
            replies = {(i, epoch): reply_for(rng, as_list(row["ideal"]), others) for epoch in range(1, epochs + 1)
                       for i, row in enumerate(rows)}
            counts = entry(program, folder, path, kind, rows, args, replies, epochs)
            print(f"{os.path.basename(path)[:-5]}: {kind.rsplit(':', 1)[1]}, {counts[0]} replies, {counts[1]} right, {counts[2]} differ")
            totals = [a + b for a, b in zip(totals, counts)]
        print(f"{len(evals)} entries of {len({source for *_, source in evals})} files, {totals[0]} replies, {totals[1]} right, "
              f"{totals[2]} differ")
        rng = random.Random("json")
        pairs = [json_pair(rng) for _ in range(2000)]
        path = os.path.join(folder, "json-match.yaml")
        with open(os.path.join(folder, "pairs.jsonl"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps({"input": "x", "ideal": ideal}) + "\n" for ideal, _ in pairs)
        kind = "evals.elsuite.basic.json_match:JsonMatch"
        with open(path, "w", encoding="utf-8") as f:
            f.write(openai_convert.converted(folder, "json-match", kind, {"samples_jsonl": "../pairs.jsonl"}, None)[1])
        rows = [{"ideal": ideal} for ideal, _ in pairs]
        counts = entry(program, folder, path, kind, rows, {}, {(i, 1): reply for i, (_, reply) in enumerate(pairs)}, 1)
        print(f"JsonMatch: {counts[0]} pairs, {counts[1]} right, {counts[2]} differ")
    if "--record" in sys.argv:
        with open(sys.argv[sys.argv.index("--record") + 1], "w", encoding="utf-8") as f:
            for ideal, reply in pairs[:400]:
                f.write(json.dumps({"target": ideal, "reply": reply, "value": int(json_match(reply, as_list(ideal), {}))},
                                   ensure_ascii=False) + "\n")
    return 1 if totals[2] or counts[2] else 0


if __name__ == "__main__":
    sys.exit(main())
