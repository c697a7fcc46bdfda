# SPDX-License-Identifier: MIT
"""Grade what other people's models really said, and get their published verdicts: recorded.py MUSTER. TAP.

BIG-Bench Hard, code-davinci-002 with chain of thought: the published accuracy of four tasks through our own
bbh eval. GSM8K, the recorded solutions of two models: each of the 2 x 1319 published verdicts. Winogrande,
llama-2-7b's log-likelihoods as lm-eval logged them, joined by text: each of its 1267 verdicts through our own eval.
Three logs of Inspect: the 13 verdicts of its scorer match. Needs MUSTER_MIRROR; says so when it skips."""
import glob
import json
import os
import subprocess
import sys
import tempfile

import inspect_log

BBH = ["boolean_expressions", "date_understanding", "multistep_arithmetic_two", "object_counting"]
GSM8K = """schema: 1
eval: gsm8k-recorded
version: 1
description: Recorded solutions, the number after the last answer mark.
dataset: {path: replay/gsm8k/model_solutions.jsonl, expect: {rows: 1319}}
sample: {input: "{{ question }}", target: "{{ ground_truth.split('A: ')[-1] | trim }}"}
prompt: "{{ input }}"
solver: {use: generate}
graders: [{use: number, answer: {after: "A: "}}]
metrics: [accuracy]
"""
INSPECT = """schema: 1
eval: inspect-log
version: 1
description: Recorded answers, Inspect's default scorer match.
dataset: {path: rows.jsonl}
sample: {id: "{{ row.id }}", input: "{{ row.input }}", target: "{{ row.target }}"}
solver: {use: generate}
graders: [{use: match}, {use: ends_with, strip: true, ignore_case: true, ignore_punctuation: true}]
metrics: [accuracy]
"""


def muster(program, folder, *args):
    done = subprocess.run([program, *args, "--db", os.path.join(folder, "store.db")], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"muster {' '.join(args)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def write_replies(path, replies):
    with open(path, "w", encoding="utf-8") as f:
        for reply in replies:
            f.write(json.dumps(reply) + "\n")


def bbh(program, mirror, folder, task):
    """Our count of right answers against the published percentage of the task's 250."""
    source = os.path.join(mirror, "replay", "bbh_code-davinci-002")
    with open(os.path.join(source, task + ".json"), encoding="utf-8") as f:
        outputs = json.load(f)["outputs"]
    with open(os.path.join(source, task + ".eval_metrics.jsonl"), encoding="utf-8") as f:
        published = json.loads(f.readline())["accuracy"]
    path = os.path.join(folder, task + ".jsonl")
    write_replies(path, [{"eval": "bbh", "part": task, "id": str(i), "text": o["prediction"]}
                         for i, o in enumerate(outputs)])
    out = json.loads(muster(program, folder, "run", "bbh/" + task, "-m", "replay/" + path, "--json", "--quiet"))
    run = out["runs"][0]
    value = run["metrics"][0]["value"]
    right = round(published * len(outputs) / 100)
    if run["done"] != len(outputs) or round(value * len(outputs)) != right:
        return f"{run['done']} done, {value * len(outputs):.3f} right, published {right}"
    prompt = muster(program, folder, "explain", "bbh/" + task, "--sample", "3", "--json")
    sent = json.loads(prompt.splitlines()[0])["sequences"][0]["text"]
    if sent.rstrip("\n") != outputs[2]["input"].rstrip("\n"):
        return "the prompt differs from the recorded one"
    return None


def gsm8k(program, mirror, folder, model):
    with open(os.path.join(mirror, "replay", "gsm8k", "model_solutions.jsonl"), encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    path = os.path.join(folder, model + ".jsonl")
    write_replies(path, [{"eval": "gsm8k-recorded", "id": str(i), "text": row[model]["solution"]}
                         for i, row in enumerate(rows)])
    evalfile = os.path.join(folder, "gsm8k-recorded.yaml")
    with open(evalfile, "w", encoding="utf-8") as f:
        f.write(GSM8K)
    muster(program, folder, "run", evalfile, "-m", "replay/" + path, "--quiet", "--name", model)
    shown = muster(program, folder, "show", model, "--samples", "--json", "--limit", "100000")
    verdicts = {row["id"]: row["scores"][0].get("value") for row in map(json.loads, shown.splitlines())}
    wrong = [i for i, row in enumerate(rows)
             if bool(verdicts.get(str(i))) != row[model]["is_correct"] or verdicts.get(str(i)) is None]
    agree = len(rows) - len(wrong)
    print(f"# {model}: {agree} of {len(rows)} verdicts agree")
    return f"differ: rows {wrong[:10]}" if wrong else None


def verdicts_of(program, folder, name):
    """By sample id and epoch, the values of the graders."""
    shown = muster(program, folder, "show", name, "--samples", "--json", "--limit", "100000")
    return {f"{row['id']} {row['epoch']}": [s.get("value") for s in row["scores"]]
            for row in map(json.loads, shown.splitlines())}


def winogrande(program, mirror, folder, logged):
    with open(os.path.join(mirror, "replay", "lm_eval", logged), encoding="utf-8") as f:
        recorded = {(row["prompt_0"].split("\n\n")[-1], row["prompt_1"].split("\n\n")[-1]): row for row in json.load(f)}
    with open(os.path.join(mirror, "winogrande", "llm_foundry.jsonl"), encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    path = os.path.join(folder, "winogrande.jsonl")
    replies, want = [], {}
    for i, row in enumerate(rows):
        first, second = (context + " " + row["continuation"] for context in row["context_options"])
        found = recorded[first, second]
        replies.append({"eval": "winogrande", "id": str(i), "choices": [found["logit_0"], found["logit_1"]]})
        want[f"{i} 1"] = [float(found["acc"] == "True")]
    write_replies(path, replies)
    muster(program, folder, "run", "winogrande", "-m", "replay/" + path, "--quiet", "--name", "winogrande")
    got = verdicts_of(program, folder, "winogrande")
    agree = sum(got.get(key) == value for key, value in want.items())
    print(f"# {agree} of {len(want)} verdicts agree, {sum(v[0] for v in want.values()):.0f} right")
    return None if agree == len(want) == len(got) == 1267 else "they differ"


def inspect(program, mirror, folder, count):
    seen = agree = 0
    for number, path in enumerate(sorted(glob.glob(os.path.join(mirror, "replay", "inspect_logs", "*")))):
        if not path.endswith((".eval", ".json")):
            continue
        rows, replies, verdicts = inspect_log.rows_and_replies(path)
        write_replies(os.path.join(folder, "rows.jsonl"), rows)
        write_replies(os.path.join(folder, "replies.jsonl"), replies)
        evalfile = os.path.join(folder, "inspect-log.yaml")
        with open(evalfile, "w", encoding="utf-8") as f:
            f.write(INSPECT)
        muster(program, folder, "run", evalfile, "-m", "replay/" + os.path.join(folder, "replies.jsonl"), "--quiet",
               "--name", f"log{number}")
        got = verdicts_of(program, folder, f"log{number}")
        seen += len(verdicts)
        agree += sum(got.get(key) == [float(value)] * 2 for key, value in verdicts.items())
    print(f"# {agree} of {seen} verdicts agree")
    return None if agree == seen == count else f"{count} were expected"


def main():
    program = os.path.abspath(sys.argv[1])
    mirror = os.environ.get("MUSTER_MIRROR", "")
    cases = [(f"bbh {task}: the published accuracy", bbh, task) for task in BBH]
    cases += [(f"gsm8k {model}: every published verdict", gsm8k, model)
              for model in ("6b_finetuning", "6b_verification")]
    cases.append(("winogrande: every verdict on recorded log-likelihoods", winogrande, "winogrande_llama-2-7b.json"))
    cases.append(("inspect: every verdict of three logs", inspect, 13))
    failed = 0
    for number, (name, check, argument) in enumerate(cases, 1):
        if not os.path.isdir(os.path.join(mirror, "replay")):
            print(f"ok {number} - {name} # SKIP no data: MUSTER_MIRROR is not set or has no replay/")
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                problem = check(program, mirror, folder, argument)
            except (RuntimeError, KeyError, ValueError, IndexError) as error:
                problem = repr(error)
        if problem:
            failed += 1
            print("# " + str(problem).replace("\n", "\n# "))
        print(f"{'not ' if problem else ''}ok {number} - {name}")
    print(f"1..{len(cases)}")
    return 1 if failed else 0


sys.exit(main())
