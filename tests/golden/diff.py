# SPDX-License-Identifier: MIT
"""muster diff as its users meet it: what pairs and what does not, the words, flips and replies side by side, JSON,
Markdown, names that try to get out of a terminal.

diff.py MUSTER SOURCE_ROOT: TAP. Experiments are made of recorded replies in a temporary folder; no network."""
import json
import math
import os
import re
import subprocess
import sys
import tempfile

from situations import expect, tap

EVAL = """schema: 1
eval: {name}
version: {version}
dataset: {{path: {rows}}}
sample: {{id: "{{{{ id }}}}", input: "{{{{ q }}}}", target: "{{{{ a }}}}", metadata: {{source: "{{{{ source }}}}"}}}}
{prompt}
solver: {{use: generate, max_tokens: 8}}
graders: [{{use: {grader}}}]
slices: [source]
"""
OWN = """return {{
  name = "own",
  version = 1,
  grade = function(sample, reply)
    return reply.text:{find}(sample.target[1], 1, true) ~= nil
  end,
}}
"""
N = 60
HOSTILE = "\033[31m::error::[x](y) @all|`\n"


class Room:
    """A temporary folder with evals and their experiments, and the program run in it."""

    def __init__(self, program, root, folder):
        self.program, self.folder = program, folder
        keep = {k: v for k, v in os.environ.items() if not k.startswith("MUSTER_") and k != "NO_COLOR"}
        self.env = dict(keep, MUSTER_CACHE=os.path.join(folder, "cache"), TERM="xterm",
                        MUSTER_REGISTRY=os.path.join(root, "registry"))

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as f:
            f.write(text)

    def run(self, words, code=0, says=None):
        words = words if isinstance(words, list) else words.split()
        done = subprocess.run([self.program, *words], cwd=self.folder, env=self.env, capture_output=True, timeout=120,
                              check=False)
        out, err = done.stdout.decode(), done.stderr.decode()
        shown = f"muster {' '.join(words)}: exit {done.returncode}\n{out}{err}"
        expect(done.returncode == code, f"{shown}\nwant exit {code}")
        expect(says is None or says in out + err, f"{shown}\nwant {says!r}")
        return out

    def json(self, words):
        return json.loads(self.run([*words.split(), "--json"]))["diffs"]

    def eval(self, name, rows, version=1, prompt="", grader="includes"):
        self.write(f"{name}.yaml", EVAL.format(name=name.split("-")[0], rows=rows, version=version, prompt=prompt,
                                               grader=grader))

    def rows(self, name, change=lambda i, row: row):
        rows = [change(i, {"id": str(i), "q": f"question {i}", "a": f"a{i}.", "source": "xy"[i % 2]})
                for i in range(N)]
        self.write(name, "".join(json.dumps(r) + "\n" for r in rows if r))

    def experiment(self, name, eval_file, right, flags=(), missing=(), variant=None):
        """Replies of recorded words; right: the numbers of the samples that are."""
        self.write(f"{name}.replies.jsonl", "".join(
            json.dumps({"id": str(i), "text": f"It is a{i}." if i in right else f"It is {HOSTILE if i == 0 else ''}b",
                        "usage": {"input": 10, "output": 2 if i in right else 3}}) + "\n"
            for i in range(N) if i not in missing))
        out = [] if variant is None else ["--variant", variant]
        self.run(["run", eval_file, "-m", f"replay/{name}.replies.jsonl", "--name", name, "-q", "--fail-on-error", "1",
                  *out, *flags])


def build(room):
    room.write("own.lua", OWN.format(find="find"))
    room.rows("rows.jsonl")
    room.rows("drift.jsonl", lambda i, row: None if i == 5 else dict(row, q=row["q"] + "?") if i < 3 else row)
    room.eval("cap", "rows.jsonl")
    room.eval("cap-drift", "drift.jsonl", version=2)
    room.eval("cap-own", "rows.jsonl", grader="own")
    room.eval("forms", "rows.jsonl", prompt="""variants:
  plain: {prompt: "{{ input }}"}
  terse: {prompt: "{{ input }}\\nOne word."}""")
    base = set(range(0, 30))
    room.experiment("base", "cap.yaml", base)
    room.experiment("same", "cap.yaml", base)
    room.experiment("worse", "cap.yaml", set(range(12, 31)))      # 12 lost, 1 won: the unit test's figures
    room.experiment("better", "cap.yaml", set(range(0, 50)))
    room.experiment("holes", "cap.yaml", base, missing=range(50, 60))
    room.experiment("drift", "cap-drift.yaml", base)
    room.experiment("half", "cap.yaml", base, flags=["--limit", "30", "--seed", "7"])
    room.experiment("own1", "cap-own.yaml", base)
    room.write("own.lua", OWN.format(find="lower():find"))
    room.experiment("own2", "cap-own.yaml", base)
    room.experiment("forms", "forms.yaml", base)


# ---- Words --------------------------------------------------------------------------------------

def words(room):
    out = room.run("diff base worse")
    line = next(x for x in out.splitlines() if "includes.accuracy" in x)
    expect(re.search(r"cap +includes\.accuracy +0\.500 +0\.317 +-0\.183 +\[-0\.305, -0\.079\] +worse$", line), line)
    expect("12 lost" not in out and "12 turned worse, 1 better of 60 pairs" in out, out)
    sure = [x for x in out.splitlines() if "includes.accuracy" in x][1]
    expect(re.search(r" 60 +1/12 +0\.003 ", sure), sure)  # McNemar's exact p is 0.0034
    expect("model         replay/base.replies.jsonl → replay/worse.replies.jsonl" in out, out)
    expect("output tokens  150 → 161 (+7 %)" in out, out)
    expect(room.run("diff base better").count("  better") >= 1, "better")
    equal = room.run("diff base same")
    expect("no difference shown" in equal or "too few to tell" in equal, equal)
    expect("0 turned worse, 0 better" in equal, equal)


def usage(room):
    for line, says in [
        ("diff base", "usage: muster diff BASE CANDIDATE..."),
        ("diff base base", "are the same runs of the same experiment"),
        ("diff base nope", "there is no experiment 'nope'"),
        ("diff base worse:modell=x", "no key 'modell'; did you mean model?"),
        ("diff base worse:variant=x", "has no variant 'x'"),
        ("diff base forms", "have no eval in common (one has 'cap', the other 'forms')"),
        ("diff base worse --metric f1", "no metric is called 'f1' (there are: includes.accuracy)"),
        ("diff base worse --sample 999", "neither side has an attempt of sample '999'"),
        ("diff base worse --sample 1 --markdown", "--markdown: "),
        ("diff forms:variant=plain forms", "are the same runs of the same experiment"),
    ]:
        room.run(line, 2, says)
    room.run("diff base worse --metric accuracy")
    room.run("diff base worse --metric includes")


def several(room):
    out = room.run("diff base worse better")
    expect(out.count("what changed") == 2 and out.index("  worse") < out.index("  better"), out)
    diffs = room.json("diff base worse better same")
    expect([d["candidate"]["experiment"] for d in diffs] == ["worse", "better", "same"], "one diff a candidate")


# ---- What pairs ---------------------------------------------------------------------------------

def left_out(room):
    out = room.run("diff base holes")
    expect("left out of cap: candidate 10 errored" in out, out)
    row = room.json("diff base holes")[0]["rows"][0]
    expect((row["pairs"], row["candidate"]["errored"], row["base"]["errored"]) == (50, 10, 0), f"{row}")
    out = room.run("diff base drift")
    expect("candidate 1 missing; 3 changed between the two" in out, out)
    expect("samples       60 → 59 (3 changed, 1 gone)" in out, out)
    expect("eval-version  1 → 2" in out, out)
    expect("-  path: rows.jsonl" in out and "+  path: drift.jsonl" in out, out)
    out = room.run("diff base half")
    expect("candidate 30 missing" in out, out)
    expect("settings      seed 0 → seed 7" in out and "settings      limit_to 0 → limit_to 30" in out, out)


def variants(room):
    out = room.run("diff latest:variant=plain latest:variant=terse")
    expect("prompt        plain → terse" in out, out)
    expect("-prompt: {{ input }}" in out and "+  One word." in out, out)
    expect("forms plain → terse" in out, out)
    diff = room.json("diff forms:variant=plain forms:variant=terse")[0]
    expect([c["what"] for c in diff["changes"]] == ["prompt"], f"{diff['changes']}")


def graders(room):
    out = room.run("diff own1 own2 --details")
    expect("graders " in out and "-    return reply.text:find(" in out and "+    return reply.text:lower():find(" in out,
           out)


def metrics(room):
    """What is called alike and means something else is not compared, and the table says why."""
    lua = """return {
  name = "share",
  version = 1,
  metric = function(scores)
    local sum = 0
    for _, score in ipairs(scores) do sum = sum + score.value end
    return sum / #scores
  end,
}
"""
    os.mkdir(os.path.join(room.folder, "metrics"))
    room.write("metrics/share.lua", lua)
    room.write("meant.yaml", EVAL.format(name="meant", rows="rows.jsonl", version=1, prompt="metrics: [max, share]",
                                         grader="includes"))
    room.experiment("meant1", "meant.yaml", set(range(30)))
    room.write("metrics/share.lua", lua.replace("sum / #scores", "sum / 60"))
    room.experiment("meant2", "meant.yaml", set(range(30)), flags=["--epochs", "2"])
    out = room.run("diff meant1 meant2 --details")
    expect("metrics " in out and "-    return sum / #scores" in out and "+    return sum / 60" in out, out)
    expect(out.count("not comparable") == 6, out)  # each with two slices
    expect("includes.max: the baseline has 1 epoch and the candidate 2" in out, out)
    expect("includes.share: the metric's Lua or its params changed" in out, out)
    rows = room.json("diff meant1 meant2")[0]["rows"]
    expect(all(r["verdict"] == "not comparable" and r["not_comparable"] for r in rows), f"{rows}")


# ---- Flips and replies --------------------------------------------------------------------------

def flips(room):
    out = room.run("diff base worse --flips --limit 3")
    rows = [x for x in out.splitlines() if x.startswith("worse  cap")]
    expect(len(rows) == 3 and "(10 more: --limit N)" in out, out)
    expect(out.index("worse  cap") < out.index("(10 more"), out)
    every = room.json("diff base worse")[0]["flips"]
    expect(len(every) == 13 and [f["turned"] for f in every].count("better") == 1, f"{every}")
    expect(every[-1]["id"] == "30" and every[-1]["base"] == 0 and every[-1]["candidate"] == 1, f"{every[-1]}")


def one_sample(room):
    out = room.run("diff base worse --sample 0")
    expect(re.search(r"^It is a0\. +│ It is \\x1b\[31m::error::\[x\]\(y\) @all\|`$", out, re.M), out)
    expect("prompt (the same)" in out and "question 0" in out, out)
    expect("\033" not in out, "an escape code of a model")
    done = json.loads(room.run("diff base worse --sample 0 --json"))["samples"][0]
    expect(done[0]["base"]["text"] == "It is a0." and done[0]["candidate"]["text"].startswith("It is \033"), f"{done}")


# ---- Other forms --------------------------------------------------------------------------------

def json_report(room):
    diff = room.json("diff base worse")[0]
    row = diff["rows"][0]
    expect(row["metric"] == "includes.accuracy" and row["verdict"] == "worse" and row["headline"], f"{row}")
    expect(math.isclose(row["difference"], -11 / 60) and math.isclose(row["p"], 0.00341796875), f"{row}")
    expect(math.isclose(row["interval"][0], -0.30515852073709904, rel_tol=1e-9), f"{row['interval']}")
    expect(math.isclose(row["detects"], 0.16506743340761373, rel_tol=1e-9), f"{row['detects']}")
    expect([r["slice"] for r in diff["rows"]] == ["", "source=x", "source=y"], "slices")
    holm = sorted(r["p"] for r in diff["rows"])
    expect(math.isclose(min(r["p_holm"] for r in diff["rows"]), min(1, 3 * holm[0])), "Holm over three rows")
    expect(diff["costs"][0]["candidate"]["output_tokens"] == 161 and diff["costs"][0]["base"]["cost_usd"] is None,
           f"{diff['costs']}")
    expect(diff["unpaired_runs"] == [] and diff["base"]["selector"] == "base", "sides")


def markdown(room):
    out = room.run("diff base worse --markdown --flips")
    expect(out.startswith("### worse against base\n"), out[:200])
    expect("| cap | includes.accuracy | 0.500 | 0.317 | -0.183 | [-0.305, -0.079] | 60 | 1/12 | 0.003 |" in out, out)
    expect("| **worse** |" in out and "Flips: 12 turned worse, 1 better of 60 pairs." in out, out)
    expect("<details><summary>Flips</summary>" in out and "\033" not in out, out)
    expect("<details><summary>graders of cap</summary>" in room.run("diff own1 own2 --markdown"), "texts of changes")


def colors(room):
    out = room.run("diff base worse --color always")
    expect("\033[31m  worse\033[0m" in out, "a verdict in its color")
    expect("\033" not in room.run("diff base worse"), "no color where no terminal is")


TESTS = [
    ("verdicts in words, with their figures", words),
    ("what is refused says why", usage),
    ("several candidates", several),
    ("errors, drifted data, limits are left out and counted", left_out),
    ("two variants of one experiment", variants),
    ("a grader's Lua", graders),
    ("metrics that mean something else", metrics),
    ("flips", flips),
    ("both replies side by side", one_sample),
    ("--json", json_report),
    ("--markdown", markdown),
    ("--color", colors),
]


def main():
    with tempfile.TemporaryDirectory() as folder:
        room = Room(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), folder)
        build(room)
        return tap(TESTS, room)


sys.exit(main())
