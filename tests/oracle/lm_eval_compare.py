# SPDX-License-Identifier: MIT
"""lm-eval and muster on the same rows, the same model, float32: do they agree item by item?

lm_eval_compare.py MUSTER MODEL.gguf FOLDER [ITEMS [TASK]]: needs MUSTER_MIRROR (or pulled datasets) and a Python with lm-eval,
transformers, torch, gguf and tokenizers. Writes rows, lm-eval's task files, a tokenizer and lm-eval's replies into
FOLDER (kept: a second call only runs muster again). Four tasks: hellaswag_abstainqa, winogrande and truthfulqa mc1 by
likelihood (ITEMS rows each, 500 by default), lambada (greedy and perplexity). Exits 1 when less than 99.5 % of the
verdicts of a task agree or lambada's perplexity is off by more than 0.1 %."""
import json
import math
import os
import subprocess
import sys

TASKS = {
    "hellaswag": dict(output_type="multiple_choice", doc_to_text="{{query}}", doc_to_choice="{{choices}}", doc_to_target="{{gold}}",
                      metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}]),
    "winogrande": dict(output_type="multiple_choice", doc_to_text="{{gold}}", doc_to_choice="{{contexts}}",
                       doc_to_target="{{ending}}", metric_list=[{"metric": "acc"}]),
    "truthfulqa": dict(output_type="multiple_choice", doc_to_text="{{query}}", doc_to_choice="{{choices}}",
                       doc_to_target=0, metric_list=[{"metric": "acc"}]),
    # This output type puts no delimiter between: lm-eval's own lambada task has the space in its target too.
    "lambada": dict(output_type="loglikelihood", doc_to_text="{{query}}", doc_to_target="{{' ' + ending}}",
                    metric_list=[{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
                                 {"metric": "acc", "aggregation": "mean", "higher_is_better": True}]),
}

EVALS = {
    "hellaswag": """sample: {input: "{{ query }}", choices: "{{ row.choices }}", target: "{{ gold }}"}
prompt: "{{ input }}"
solver: {use: multiple_choice, by: likelihood}
graders: [{use: choice, name: acc}, {use: choice, name: acc_norm, normalize: chars}]
metrics: [accuracy]
""",
    "winogrande": """sample:
  input: ""
  choices: [{context: "{{ contexts[0] }}", text: "{{ ending }}"}, {context: "{{ contexts[1] }}", text: "{{ ending }}"}]
  target: "{{ gold }}"
prompt: "{{ input }}"
solver: {use: multiple_choice, by: likelihood}
graders: [{use: choice, name: acc}]
metrics: [accuracy]
""",
    "truthfulqa": """sample: {input: "{{ query }}", choices: "{{ row.choices }}", target: 0}
prompt: "{{ input }}"
solver: {use: multiple_choice, by: likelihood}
graders: [{use: choice, name: acc}]
metrics: [accuracy]
""",
    "lambada": """sample: {input: "{{ query }}", target: "{{ ending }}"}
prompt: "{{ input }}"
solver: {use: score_target}
graders: [{use: greedy, name: acc}, {use: loss, per: sample}]
metrics: [{use: accuracy, of: acc}, {use: perplexity, of: loss}]
""",
}


def find(name):
    """A dataset's file: in the mirror, by its name."""
    root = os.environ["MUSTER_MIRROR"]
    for folder, _, files in os.walk(root):
        if name in files:
            return os.path.join(folder, name)
    sys.exit(f"{name} is not in {root}")


def first(items, key, count):
    """The first count items of distinct key: lm-eval's samples are joined with ours by position."""
    seen, out = set(), []
    for item in items:
        if key(item) not in seen and len(out) < count:
            seen.add(key(item))
            out.append(item)
    return out


def rows_of(task, count):
    if task == "hellaswag":
        data = json.load(open(find("abstainqa_hellaswag.json"), encoding="utf-8"))["test"]
        rows = []
        for row in data[:count]:
            letters = list(row["choices"])
            rows.append({"query": row["question"].strip(), "choices": [row["choices"][c].strip() for c in letters],
                         "gold": letters.index(row["answer"])})
        return rows
    if task == "winogrande":
        data = [json.loads(line) for line in open(find("llm_foundry.jsonl"), encoding="utf-8")]
        return [{"contexts": r["context_options"], "ending": r["continuation"], "gold": r["gold"]} for r in data[:count]]
    if task == "truthfulqa":
        data = json.load(open(find("mc_task.json"), encoding="utf-8"))[:count]
        rows = []
        for row in data:
            choices = sorted(row["mc1_targets"], key=lambda text, r=row: -r["mc1_targets"][text])
            rows.append({"query": f"Q: {row['question']}\nA:", "choices": choices})
        return rows
    data = [json.loads(line) for line in open(find("lambada_openai.jsonl"), encoding="utf-8")]
    return [{"query": r["context"], "ending": r["continuation"]} for r in data[:count]]


def prepare(folder, count):
    for task, spec in TASKS.items():
        rows = rows_of(task, count)
        path = os.path.join(folder, f"{task}.jsonl")
        with open(path, "w", encoding="utf-8") as out:
            for i, row in enumerate(rows):
                out.write(json.dumps({"n": i, **row}) + "\n")
        text = {"task": f"local_{task}", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": path}},
                "test_split": "test", "target_delimiter": " ", "num_fewshot": 0, **spec}
        with open(os.path.join(folder, f"local_{task}.yaml"), "w", encoding="utf-8") as out:
            json.dump(text, out)  # JSON is YAML
        with open(os.path.join(folder, f"{task}.eval.yaml"), "w", encoding="utf-8") as out:
            out.write(f"schema: 1\neval: {task}\nversion: 1\ndataset: {{path: {task}.jsonl}}\n{EVALS[task]}")


def tokenizer(model, folder):
    """A tokenizer from the file's own vocabulary: digits one by one, then GPT-2's rule (SmolLM2's)."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    fields = GGUFReader(model).fields

    def texts(name):
        field = fields[name]
        return [bytes(field.parts[i]).decode() for i in field.data]

    tokens = texts("tokenizer.ggml.tokens")
    kinds = [int(fields["tokenizer.ggml.token_type"].parts[i][0]) for i in fields["tokenizer.ggml.token_type"].data]
    merges = [tuple(m.split(" ")) for m in texts("tokenizer.ggml.merges")]
    made = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                  pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(t, special=True) for t, kind in zip(tokens, kinds) if kind == 3])
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|im_start|>", eos_token="<|im_end|>",
                            pad_token="<|im_end|>").save_pretrained(folder)


def peer(model, folder, task):
    """lm-eval's log-likelihoods and verdicts by row, and its results; kept in a file."""
    path = os.path.join(folder, f"{task}.lm_eval.json")
    if not os.path.exists(path):
        os.environ["HF_HUB_OFFLINE"] = "1"
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager
        tokenizer(model, os.path.join(folder, "tokenizer"))
        where, name = os.path.split(model)
        out = simple_evaluate(
            model="hf", model_args=f"pretrained={where},gguf_file={name},dtype=float32,tokenizer={folder}/tokenizer",
            tasks=[f"local_{task}"], task_manager=TaskManager(include_path=folder, include_defaults=False),
            device="cpu", batch_size=8, log_samples=True, bootstrap_iters=0)
        samples = [{"row": s["doc"]["n"], "resps": s["filtered_resps"],
                    **{m: s[m] for m in ("acc", "acc_norm", "perplexity") if m in s}}
                   for s in out["samples"][f"local_{task}"]]
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"samples": samples, "results": out["results"][f"local_{task}"]}, file, default=str)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def muster(program, model, folder, task):
    """muster's attempts, by row, and its run; a finished one is not run again."""
    store = ["--db", os.path.join(folder, "muster.db"), "--json"]
    env = {**os.environ, "NO_COLOR": "1"}
    name = f"{task}-f32"
    done = subprocess.run([program, "run", f"{folder}/{task}.eval.yaml", "-m", f"local/{model}", "--precision", "f32",
                           "--name", name, "--resume", *store], capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0:
        sys.exit(f"muster run {task}: {done.stderr[-2000:]}")
    run = json.loads(done.stdout)
    shown = subprocess.run([program, "show", name, "--samples", "--limit", "1000000", *store], capture_output=True, text=True, env=env, check=True)
    attempts = [json.loads(line) for line in shown.stdout.splitlines()]
    return {int(a["id"]): a for a in attempts}, run


def compare(task, theirs, ours):
    verdicts = {}
    worst = 0.0
    for sample in theirs:
        mine = ours[sample["row"]]
        logprobs = [float(r[0]) for r in sample["resps"]]
        choices = [c["logprob"] for c in mine["choices"]]
        worst = max([worst] + [abs(a - b) for a, b in zip(logprobs, choices)])
        for score in mine["scores"]:
            if score["grader"] in sample:
                verdicts.setdefault(score["grader"], []).append(float(sample[score["grader"]]) == score["value"])
    for grader, same in verdicts.items():
        print(f"{task:12} {grader:9} {sum(same)} of {len(same)} verdicts equal ({100 * sum(same) / len(same):.2f} %), "
              f"largest difference of a log-likelihood {worst:.5f} nat")
    return all(sum(same) >= 0.995 * len(same) for same in verdicts.values())


def main():
    program, model, folder = sys.argv[1], os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 500
    os.makedirs(folder, exist_ok=True)
    prepare(folder, count)
    good = True
    for task in sys.argv[5:] or TASKS:
        theirs = peer(model, folder, task)
        ours, run = muster(program, model, folder, task)
        good &= compare(task, theirs["samples"], ours)
        if task == "lambada":
            mine = next(m["value"] for r in run["runs"] for m in r["metrics"] if m["name"] == "loss.perplexity")
            other = float(theirs["results"]["perplexity,none"])
            print(f"{task:12} perplexity {mine:.6f} and {other:.6f}: {100 * abs(mine / other - 1):.4f} % apart")
            good &= abs(math.log(mine / other)) < 0.001
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
