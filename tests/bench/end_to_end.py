#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Whole evals on the same weights and the same prompts: muster, llama-cpp-python with its prefix cache, and lm-eval.

    end_to_end.py MUSTER MODEL.gguf FOLDER prepare [--limit N] [--part-limit N]
    end_to_end.py MUSTER MODEL.gguf FOLDER round gsm8k|mmlu [PROGRAM ...]
    end_to_end.py MUSTER MODEL.gguf FOLDER report

prepare writes what all programs are asked, as muster sends it: GSM8K with five shots (N problems, 64 new tokens), MMLU
with five shots (six named parts, N questions each). A round runs each program once, one after the other, and adds its
seconds and answers to FOLDER; PROGRAM is muster, llama or lm-eval, by default all of the eval. report prints medians,
ratios and equal answers, and exits 1 when a bar is missed. muster's time is that of the whole program, from its start
to its end; the others' begins when they have loaded the model. MMLU answers are compared in float32 on both sides."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))

PARTS = ("abstract_algebra", "anatomy", "astronomy", "business_ethics", "computer_security", "world_religions")
NEW_TOKENS, STOP = 64, "Question:"
PROGRAMS = {"gsm8k": ("muster", "llama", "lm-eval"), "mmlu": ("muster", "lm-eval")}
BARS = {("gsm8k", "llama"): 6, ("gsm8k", "lm-eval"): 20, ("mmlu", "lm-eval"): 15}
EQUAL_BAR = 0.995  # of MMLU's choices
BATCH = {"gsm8k": 8, "mmlu": 1}  # what lm-eval is fastest with
GSM8K = """# SPDX-License-Identifier: MIT
schema: 1
eval: gsm8k_short
version: 1
dataset: {use: gsm8k, split: test}
sample: {input: "{{ question }}", target: "{{ answer.split('####')[1] | trim }}"}
few_shot: {split: train, count: 5, pick: first}
prompt: |
  {% for s in shots %}
  Question: {{ s.question }}
  Answer: {{ s.answer }}

  {% endfor %}
  Question: {{ input }}
  Answer:
""" + f'solver: {{use: generate, max_tokens: {NEW_TOKENS}, stop: ["{STOP}"], temperature: 0}}\n' + """
graders: [{use: number}]
metrics: [accuracy]
"""
LM_EVAL = {
    "gsm8k": {"output_type": "generate_until", "doc_to_target": "",
              "generation_kwargs": {"until": [STOP], "max_gen_toks": NEW_TOKENS, "do_sample": False},
              "metric_list": [{"metric": "exact_match"}]},
    "mmlu": {"output_type": "multiple_choice", "doc_to_choice": ["A", "B", "C", "D"], "doc_to_target": 0,
             "metric_list": [{"metric": "acc"}]},
}


class Folder:
    def __init__(self, args):
        self.program, self.model = os.path.abspath(args.muster), os.path.abspath(args.model)
        self.at = os.path.abspath(args.folder)
        os.makedirs(self.at, exist_ok=True)

    def path(self, name):
        return os.path.join(self.at, name)

    def muster(self, *args):
        """Its lines of JSON."""
        done = subprocess.run([self.program, *args, "--json", "--quiet"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"muster {' '.join(args)}: {done.stderr[-2000:]}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def evals(self, task):
        return [self.path("gsm8k_short.yaml")] if task == "gsm8k" else [f"mmlu/{part}" for part in PARTS]

    def rows(self, task):
        with open(self.path(f"{task}.jsonl"), encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def limit(self, task):
        rows = self.rows(task)
        return len(rows) if task == "gsm8k" else len(rows) // len(PARTS)

    def rounds(self):
        with open(self.path("rounds.jsonl"), encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def add(self, task, program, seconds, answers):
        with open(self.path("rounds.jsonl"), "a", encoding="utf-8") as f:
            f.write(json.dumps({"task": task, "program": program, "seconds": seconds, "answers": answers}) + "\n")
        print(f"{task} {program}: {seconds:.1f} s", flush=True)


def prepare(folder, args):
    import lm_eval_compare
    with open(folder.path("gsm8k_short.yaml"), "w", encoding="utf-8") as f:
        f.write(GSM8K)
    for task, limit in (("gsm8k", args.limit), ("mmlu", args.part_limit)):
        rows = []
        for name in folder.evals(task):
            sent = folder.muster("explain", name, "-m", "local/" + folder.model, "--sample", "all")[:limit]
            for row in sent:
                request, sequence = row["request"], row["sequences"][0]
                text = request["prompt"] if task == "gsm8k" else request["items"][0]["prompt"]
                ids = sequence["ids"] if task == "gsm8k" else sequence["ids"][:sequence["n_context"]]
                rows.append({"n": len(rows), "key": f"{row['part']}/{row['id']}", "prompt": text, "ids": ids})
        with open(folder.path(f"{task}.jsonl"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
        spec = {"task": f"local_{task}", "dataset_path": "json", "test_split": "test", "num_fewshot": 0,
                "dataset_kwargs": {"data_files": {"test": folder.path(f"{task}.jsonl")}},
                "doc_to_text": "{{prompt}}", "target_delimiter": " ", **LM_EVAL[task]}
        with open(folder.path(f"local_{task}.yaml"), "w", encoding="utf-8") as f:
            json.dump(spec, f)  # JSON is YAML
        print(f"{task}: {len(rows)} prompts, {sum(len(row['ids']) for row in rows)} tokens")
    lm_eval_compare.tokenizer(folder.model, folder.path("tokenizer"))


def run_muster(folder, task, precision="default"):
    store = folder.path("round.db")
    for end in ("", "-wal", "-shm"):
        if os.path.exists(store + end):
            os.unlink(store + end)
    began = time.perf_counter()
    folder.muster("run", *folder.evals(task), "-m", "local/" + folder.model, "--limit", str(folder.limit(task)),
                  "--precision", precision, "--db", store)
    seconds = time.perf_counter() - began
    answers = {}
    for row in folder.muster("show", "--samples", "--limit", "100000", "--db", store):
        answers[f"{row['part']}/{row['id']}"] = (
            row["text"] if task == "gsm8k" else most_likely([c["logprob"] for c in row["choices"]]))
    return seconds, answers


def most_likely(logprobs):
    return "ABCD"[max(range(len(logprobs)), key=logprobs.__getitem__)]


def run_llama(folder, task):
    """The high-level class: each call keeps what its prompt shares with the one before."""
    from llama_cpp import Llama
    threads = len(os.sched_getaffinity(0))
    llama = Llama(folder.model, n_ctx=2048, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
    rows, answers = folder.rows(task), {}
    llama.create_completion(rows[0]["ids"][:16], max_tokens=2)
    llama.reset()
    began = time.perf_counter()
    for row in rows:
        out = llama.create_completion(row["ids"], max_tokens=NEW_TOKENS, temperature=0, stop=[STOP], repeat_penalty=1.0)
        answers[row["key"]] = out["choices"][0]["text"]
    return time.perf_counter() - began, answers


def run_lm_eval(folder, task):
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    where, name = os.path.split(folder.model)
    model = HFLM(pretrained=where, gguf_file=name, dtype="float32", tokenizer=folder.path("tokenizer"), device="cpu",
                 batch_size=BATCH[task])
    manager = TaskManager(include_path=folder.at, include_defaults=False)
    began = time.perf_counter()
    out = simple_evaluate(model=model, tasks=[f"local_{task}"], task_manager=manager, log_samples=True, bootstrap_iters=0)
    seconds = time.perf_counter() - began
    answers = {}
    for sample in out["samples"][f"local_{task}"]:
        answers[sample["doc"]["key"]] = (sample["filtered_resps"][0] if task == "gsm8k"
                                         else most_likely([float(r[0]) for r in sample["filtered_resps"]]))
    return seconds, answers


def one_round(folder, args):
    run = {"muster": run_muster, "llama": run_llama, "lm-eval": run_lm_eval}
    for program in args.programs or PROGRAMS[args.task]:
        folder.add(args.task, program, *run[program](folder, args.task))


def equal(a, b):
    return sum(a[key] == b[key] for key in a) / len(a)


def report(folder):
    done, good = folder.rounds(), True
    print("| eval | program | seconds | rounds | muster is faster | bar | equal answers | bar |\n|" + "---|" * 8)
    for task, programs in PROGRAMS.items():
        times = {p: [r["seconds"] for r in done if (r["task"], r["program"]) == (task, p)] for p in programs}
        answers = {p: next((r["answers"] for r in reversed(done) if (r["task"], r["program"]) == (task, p)), None)
                   for p in programs}
        exact = run_muster(folder, task, "f32")[1]  # what float32 elsewhere is compared with
        label = f"{task}, {len(exact)}"
        for program in programs:
            if not times[program]:
                continue
            seconds = statistics.median(times[program])
            cells = [label, program, f"{seconds:.1f}", str(len(times[program]))]
            if program != "muster" and times["muster"]:
                ratio, bar = seconds / statistics.median(times["muster"]), BARS[task, program]
                good &= ratio >= bar
                cells += [f"{ratio:.1f}x", f"{bar} {'pass' if ratio >= bar else 'MISS'}"]
                share = equal(exact if program == "lm-eval" else answers["muster"], answers[program])
                judged = task == "mmlu"
                good &= not judged or share >= EQUAL_BAR
                cells += [f"{100 * share:.1f} %" + (" (`--precision f32`)" if program == "lm-eval" else ""),
                          f"99.5 % {'pass' if share >= EQUAL_BAR else 'MISS'}" if judged else ""]
            else:
                cells += ["", "", f"{100 * equal(exact, answers['muster']):.1f} % (its own `--precision f32`)", ""]
            print("| " + " | ".join(cells) + " |", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("muster")
    parser.add_argument("model")
    parser.add_argument("folder")
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("prepare")
    step.add_argument("--limit", type=int, default=100)
    step.add_argument("--part-limit", type=int, default=50)
    step = steps.add_parser("round")
    step.add_argument("task", choices=PROGRAMS)
    step.add_argument("programs", nargs="*", metavar="PROGRAM")
    steps.add_parser("report")
    args = parser.parse_args()
    folder = Folder(args)
    if args.step == "report":
        return 0 if report(folder) else 1
    (prepare if args.step == "prepare" else one_round)(folder, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
