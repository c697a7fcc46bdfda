# SPDX-License-Identifier: MIT
"""muster gate as CI meets it: a table of situations with the exit code and the words that belong to them, then its
reports, with samples whose names try to get out of every one of them.

gate.py MUSTER SOURCE_ROOT: TAP. Experiments are made of recorded replies in a temporary folder; no network."""
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

from situations import expect, tap

EVAL = """schema: 1
eval: {name}
dataset: {{path: {rows}}}
sample:
  id: "{{{{ id }}}}"
  input: "{{{{ q }}}}"
  target: "{{{{ a }}}}"
  metadata: {{source: "{{{{ source }}}}", tags: "{{{{ tags }}}}"}}
solver: {{use: generate, max_tokens: 8}}
graders: [{grader}]
slices: [source]
{more}"""
SHAKY = """return {
  name = "shaky",
  version = 1,
  needs = { "target" },
  grade = function(sample, reply)
    if reply.text == "??" then return unscored("can not be read") end
    return reply.text == sample.target[1]
  end,
}
"""
SHARE = """return {
  name = "share",
  version = 1,
  params = { plus = 0 },
  metric = function(scores, params)
    local sum = 0
    for _, score in ipairs(scores) do sum = sum + score.value end
    return sum / #scores + params.plus
  end,
}
"""
GATE = "schema: 1\ngate: {name}\n{body}\n"
HOSTILE = ["::error title=x::pwned", "a\n::set-output name=x::y", "\033[31mred\033[0m", "<script>alert(1)</script>",
           "]]>&amp;\"'", "| a | **b** | [x](http://evil.example) `c`", "@everyone #1 ##[error]x www.evil.example",
           "nul\u0001 \ufffe\uffff \u202e rtl", "%0A::error::x", "x" * 1_000_000]


class Room:
    """A temporary folder with evals and their experiments, and the program run in it."""

    def __init__(self, program, root, folder):
        self.program, self.folder = program, folder
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("MUSTER_", "GITHUB_"))}
        self.env = dict(keep, MUSTER_CACHE=os.path.join(folder, "cache"), MUSTER_REGISTRY=os.path.join(folder, "reg"))
        self.root = root

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def read(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as f:
            return f.read()

    def run(self, words, env=None):
        done = subprocess.run([self.program, *words], cwd=self.folder, env=dict(self.env, **(env or {})),
                              capture_output=True, timeout=120, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def gate(self, line, code, *says, env=None):
        """Run muster gate with the words of a line; (stdout, stderr)."""
        words = line if isinstance(line, list) else line.split()
        got, out, err = self.run(["gate", *words], env)
        shown = f"muster gate {' '.join(words)}: exit {got}\n{out}{err}"
        expect(got == code, f"{shown}\nwant exit {code}")
        for text in says:
            expect(text in out + err, f"{shown}\nwant {text!r}")
        return out, err

    def rows(self, name, n, change=lambda i, row: row):
        rows = [change(i, {"id": str(i), "q": f"question {i}", "a": f"a{i}", "source": "xy"[i % 2],
                           "tags": ["smoke"] if i < 4 else []}) for i in range(n)]
        self.write(f"{name}.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
        return rows

    def eval(self, name, rows, grader="{use: exact}", more=""):
        self.write(f"{name}.yaml", EVAL.format(name=re.sub(r"[^a-z-].*", "", name), rows=f"{rows}.jsonl",
                                               grader=grader, more=more))

    def experiment(self, name, evals, rows, wrong=(), missing=(), unread=(), flags=()):
        """Replies: right but for those that are wrong, missing or make no sense (sets of row numbers)."""
        texts = ["??" if i in unread else "no" if i in wrong else r["a"] for i, r in enumerate(rows)]
        self.write(f"{name}.replies.jsonl", "".join(
            json.dumps({"id": r["id"], "text": texts[i], "usage": {"input": 10, "output": 2}}) + "\n"
            for i, r in enumerate(rows) if i not in missing))
        code, out, err = self.run(["run", *evals, "-m", f"replay/{name}.replies.jsonl", "--name", name, "-q",
                                   "--fail-on-error", "1", *flags])
        expect(code == 0, f"run of {name}: exit {code}: {err}{out}")

    def sql(self, statement):
        with sqlite3.connect(os.path.join(self.folder, ".muster", "muster.db")) as db:
            db.execute(statement)
        db.close()


def build(room):
    """The experiments that the situations are about."""
    room.write("shaky.lua", SHAKY)
    room.write("reg/gates/strict.yaml",
               GATE.format(name="strict", body="max_regression: {cap: 0.02}\nmode: noninferiority"))
    room.write("reg/gates/two.yaml", GATE.format(name="two", body="min: {cap: 0.5, other: 0.5}"))
    room.write("empty.yaml", GATE.format(name="empty", body="confidence: 0.9"))
    room.write("wrong.yaml", GATE.format(name="wrong", body="max_regresion: 0.1"))
    room.write("slices.yaml", GATE.format(name="slices", body="min: {cap: {accuracy: {source=x: 0.7, source=y: 0.9}}}"))
    rows = room.rows("cap", 400)
    few, one = room.rows("few", 50), room.rows("one", 1)
    drifted = room.rows("drifted", 400, lambda i, r: dict(r, q=r["q"] + "?") if i % 4 == 0 else r)
    room.eval("cap", "cap")
    room.eval("cap2", "cap", "{use: exact, not: true}")
    room.eval("cap3", "drifted")
    room.eval("few", "few")
    room.eval("one", "one")
    room.eval("other", "few")
    room.eval("shaken", "cap", "{use: shaky}")
    room.eval("own", "few", more="gate: {min: {accuracy: 0.5}, budget: {tokens: 100}}\n")
    room.eval("byname", "few", "{use: exact}, {use: includes, name: lenient}",
              more="metrics: [mean, {use: max, of: lenient}]\n"
                   "gate: {min: {lenient: 0.9}, max: {exact: 0.1}, max_regression: {lenient: 0.5}}\n")
    room.eval("forms", "few",
              more='prompt: "{{ input }}"\nvariants: {plain: {}, loud: {prompt: "{{ input | upper }}"}}\n'
                   "metrics: [accuracy, {use: worst, over: variants}]\n")
    room.eval("most", "cap", more="metrics: [max, {use: at_least, k: 1}]\n")
    room.eval("most2", "cap", more="metrics: [max, {use: at_least, k: 1, min: 0}]\n")
    room.eval("lua", "cap", more="metrics: [share]\n")
    room.eval("lua2", "cap", more="metrics: [{use: share, plus: 0.5}]\n")
    room.write("metrics/share.lua", SHARE)
    room.eval("parted", "few", more="matrix: {half: [north, south]}\n")
    base = set(range(0, 400, 4))                 # 100 wrong: 0.75
    room.experiment("base", ["cap.yaml"], rows, wrong=base)
    room.experiment("equal", ["cap.yaml"], rows, wrong=base)
    room.experiment("better", ["cap.yaml"], rows, wrong=set(range(0, 400, 8)))
    room.experiment("worse", ["cap.yaml"], rows, wrong=base | set(range(1, 200, 4)))
    room.experiment("noisy", ["cap.yaml"], rows, wrong={(i + 2) % 400 if i % 3 == 0 else i for i in base})
    room.experiment("holes", ["cap.yaml"], rows, wrong=base, missing=set(range(1, 80, 4)))
    room.experiment("half", ["cap.yaml"], rows, wrong=base, flags=["--limit", "200"])
    room.experiment("regraded", ["cap2.yaml"], rows, wrong=base)
    room.experiment("drift", ["cap3.yaml"], drifted, wrong=base)
    room.experiment("open", ["cap.yaml"], rows, wrong=base)
    room.sql("UPDATE experiment SET state = 'interrupted' WHERE name = 'open'")
    room.experiment("shard", ["cap.yaml"], rows, wrong=base, flags=["--shard", "1/2"])
    room.experiment("few-base", ["few.yaml", "other.yaml"], few, wrong=set(range(10)))
    room.experiment("few-worse", ["few.yaml", "other.yaml"], few, wrong=set(range(5, 20)))
    room.experiment("few-only", ["few.yaml"], few, wrong=set(range(10)))
    room.experiment("few-fixed", ["few.yaml"], few, wrong=set(range(4, 10)))
    room.experiment("one-base", ["one.yaml"], one)
    room.experiment("one-same", ["one.yaml"], one)
    room.experiment("read", ["shaken.yaml"], rows, wrong=base)
    room.experiment("unread", ["shaken.yaml"], rows, wrong=base, unread=set(range(1, 120, 4)))
    room.experiment("owned", ["own.yaml"], few)
    room.experiment("byname", ["byname.yaml"], few)
    room.experiment("forms", ["forms.yaml"], few, wrong=set(range(10)))
    room.experiment("forms-again", ["forms.yaml"], few, wrong=set(range(10)))
    room.experiment("parts", ["parted.yaml"], few)
    room.experiment("most", ["most.yaml"], rows, wrong=base)
    room.experiment("most-often", ["most.yaml"], rows, wrong=base, flags=["--epochs", "3"])
    room.experiment("most-easily", ["most2.yaml"], rows, wrong=set(range(300)))
    room.experiment("lua", ["lua.yaml"], rows, wrong=base)
    room.experiment("lua-params", ["lua2.yaml"], rows, wrong=base)
    room.write("metrics/share.lua", SHARE.replace("/ #scores", "/ #scores + 0.1"))
    room.experiment("lua-text", ["lua.yaml"], rows, wrong=base)
    room.write("silent.replies.jsonl", '{"text": "a0"}\n')
    room.run(["run", "cap.yaml", "-m", "replay/silent.replies.jsonl", "--name", "silent", "-q"])
    room.run(["run", "cap.yaml", "-m", "echo", "-m", "replay/base.replies.jsonl", "--name", "models", "-q"])
    room.run(["run", "cap.yaml", "-m", "replay/better.replies.jsonl", "-m", "replay/worse.replies.jsonl", "--name",
              "models-again", "-q"])
    room.run(["run", "cap.yaml", "-m", "echo", "--name", "free", "-q"])


LOSS = "--max-regression 0.02"
SITUATIONS = [
    # what, words after `muster gate`, exit code, words that stand in the output
    ("better", f"better -b base {LOSS}", 0, ["PASS", "gate: PASS, 1 check", "+0.125"]),
    ("nothing changed", f"equal -b base {LOSS}", 0, ["PASS     cap exact.accuracy loss <= 0.02"]),
    ("a loss that is proven", f"worse -b base {LOSS}", 1,
     ["FAIL     cap", "the loss is 0.1003 or more at 95 % confidence", "1 of 1 checks failed"]),
    ("a loss that is not proven passes", "noisy -b base --max-regression 0.01", 0,
     ["NOT PROVEN", "samples would decide", "gate: PASS"]),
    ("and fails where it has to be proven", "noisy -b base --max-regression 0.01 --mode noninferiority", 1,
     ["INCONCLUSIVE", "which fails in mode noninferiority"]),
    ("a gate of the registry", "noisy -b base -p strict", 1, ["gate strict: FAIL"]),
    ("a tenth lost in 50 samples does not pass", f"few-worse:eval=few -b few-base {LOSS}", 1,
     ["TOO FEW", "too few pairs", "detect allows 0.1"]),
    ("detect as wide as what could hide", f"few-worse:eval=few -b few-base {LOSS} --detect 0.4", 0, ["NOT PROVEN"]),
    ("one sample", f"one-same -b one-base {LOSS}", 1, ["TOO FEW"]),
    ("min", "base --min cap=0.7", 0, ["PASS", "cap exact.accuracy >= 0.7"]),
    ("min above", "base --min cap.accuracy=0.9", 1, ["FAIL", "the value is 0.7"]),
    ("max below", "base --max cap.exact.accuracy=0.5", 1, ["FAIL", "the value is 0.7"]),
    ("slices", "base -p slices.yaml", 1,
     ["FAIL     cap exact.accuracy[source=x] >= 0.7", "PASS     cap exact.accuracy[source=y] >= 0.9"]),
    ("a slice that no sample is in", ["base", "--min", "cap.accuracy[source=z]=0.5"], 1, ["no sample has source=z"]),
    ("a metric that is not there", "base --min cap.f1=0.5", 1, ["no such metric (it has: exact.accuracy)"]),
    ("no baseline given", f"base {LOSS}", 1, ["none is given: --baseline @NAME"]),
    ("no such baseline", f"base -b @main {LOSS}", 1, ["there is no baseline 'main' yet", "promote base main --first"]),
    ("no such experiment", f"base -b bsae {LOSS}", 2, ["there is no experiment 'bsae'", "did you mean"]),
    ("no candidate", f"nothing -b base {LOSS}", 2, ["there is no experiment 'nothing'"]),
    ("the same on both sides", f"base -b base {LOSS}", 1, ["experiment 'base' is on both sides"]),
    ("unfinished", f"open -b base {LOSS}", 1, ["experiment 'open' is interrupted", "--resume --name open"]),
    ("an unfinished baseline", f"base -b open {LOSS}", 1, ["baseline is finished"]),
    ("a shard", f"shard -b base {LOSS}", 1, ["has 1 of 2 shards", "muster merge"]),
    ("other graders", f"regraded -b base {LOSS}", 1, ["graders are the same", "muster rescore base"]),
    ("other data", f"drift -b base {LOSS}", 1, ["100 changed", "the dataset changed 100 of these samples"]),
    ("attempts that failed", f"holes -b base {LOSS}", 1, ["20 of 400 samples lack a value (candidate: 20 errors)"]),
    ("half of the samples", f"half -b base {LOSS}", 1, ["200 of 400 samples lack a value (candidate: 200 missing)"]),
    ("half of them in the baseline", f"base -b half {LOSS}", 1, ["lack a value (baseline: 200 missing)"]),
    ("answers that can not be scored", f"unread -b read {LOSS}", 1,
     ["30 of 400 samples lack a value (candidate: 30 unscored)", "FAIL"]),
    ("an eval that the policy names is absent", "base -p two", 1, ["the policy is about eval 'other'"]),
    ("an eval that the baseline has is absent", f"few-only -b few-base {LOSS}", 1,
     ["the baseline has runs of other, the candidate has none"]),
    ("an eval that the baseline lacks, by name", "few-base -b few-only --max-regression other=0.1", 1,
     ["the baseline has no run of this, and the policy names it"]),
    ("an eval that is new", f"few-base -b few-only {LOSS} --detect 0.4", 0, ["NOT PROVEN  other", "it is new"]),
    ("an eval that is new, strictly", f"few-base -b few-only {LOSS} --mode noninferiority", 1, ["it is new"]),
    ("only the evals selected", f"few-only:eval=few -b few-base {LOSS} --detect 0.4", 0, ["gate: PASS"]),
    ("failed attempts over budget", "holes --budget-error-rate 0.01", 1, ["error_rate <= 0.01: 0.05 of 0.01"]),
    ("failed attempts within budget", "holes --budget-error-rate 0.05", 0, ["PASS"]),
    ("unknown cost", "base --budget-cost 5", 1, ["what it cost is not known"]),
    ("known cost", "free --budget-cost 0 --budget-p95-latency 60", 0, ["PASS"]),
    ("too many tokens", "base --budget-tokens 100", 1, ["4800 of 100"]),
    ("tokens that nobody counted", "silent --budget-tokens 100", 1, ["how many tokens it took is not known"]),
    ("a loss that nothing can exceed", "worse -b base --max-regression 2", 1,
     ["every candidate is within this bound", "two points are 0.02"]),
    ("a min below everything", "worse --min cap=-1", 1, ["lies between 0 and 1"]),
    ("a max above everything", "worse --max cap=75", 1, ["every candidate is within this bound"]),
    ("the best of more epochs", f"most-often -b most {LOSS}", 1,
     ["the baseline has 1 epoch and the candidate 3, and this metric hangs on how many"]),
    ("a metric that the baseline does not have", "most-easily -b most --max-regression most.at_least_1_min_0=0.02", 1,
     ["the baseline does not have this metric"]),
    ("a metric that the candidate does not have", "most-easily -b most --max-regression most.at_least_1=0.02", 1,
     ["the candidate does not have this metric"]),
    ("a metric with other params", f"lua-params -b lua {LOSS} --detect 0.1", 1, ["Lua or its params changed"]),
    ("a metric with other Lua", f"lua-text -b lua {LOSS} --detect 0.1", 1, ["Lua or its params changed"]),
    ("samples that have to be right", "few-base:eval=few --must-pass tag=smoke", 1,
     ["4 of 4 samples are not right", "samples 0, 1, 2, 3"]),
    ("and are", "few-fixed --must-pass tag=smoke", 0, ["PASS"]),
    ("a tag that no sample has", "base --must-pass tag=nope", 1, ["no sample has tag nope"]),
    ("no policy", "base", 2, ["there is no policy"]),
    ("a policy without checks", "base -p empty.yaml", 2, ["a gate file needs a check"]),
    ("a policy with a wrong key", "base -p wrong.yaml", 2, ["wrong.yaml:3:1: error: unknown key 'max_regresion'"]),
    ("no such policy", "base -p strct", 2, ["no gate 'strct'", "did you mean"]),
    ("an eval without a gate as policy", "base -p cap.yaml", 2, ["the eval has no gate: of its own"]),
    ("the eval's own gate", "owned", 1, ["gate own: FAIL", "own tokens <= 100", "PASS     own exact.accuracy >= 0.5"]),
    ("the eval's own gate by names of graders", "byname -b few-base", 1,
     ["PASS     byname lenient.mean >= 0.9", "FAIL     byname exact.mean <= 0.1"]),
    ("the gate of an eval's file", "owned -p own.yaml --budget-tokens 1000", 1,
     ["own tokens <= 100", "tokens <= 1000"]),
    ("two forms of a prompt in one experiment", f"forms:variant=loud -b forms:variant=plain {LOSS} --detect 0.4", 0,
     ["loss <= 0.02"]),
    ("each form by itself", f"forms-again -b forms {LOSS} --detect 0.4", 0,
     ["forms:variant=loud exact", "forms:variant=plain exact"]),
    ("the worst of all forms, once", "forms --min forms.worst=0.6", 0,
     ["PASS     forms:variant=loud exact.worst >= 0.6", "gate: PASS, 1 check"]),
    ("a loss of the worst", "forms-again -b forms --max-regression forms.worst=0.5 --detect 1", 0,
     ["exact.worst loss <= 0.5", "gate: PASS, 1 check"]),
    ("models that could stand for several", f"models-again -b models {LOSS}", 2, ["say which ones to compare"]),
    ("all parts together", "parts --min parted=0.9", 0, ["parted exact.accuracy >= 0.9", "100"]),
    ("another code for fail", f"worse -b base {LOSS} --exit-code-on-fail 42", 42, ["FAIL"]),
    ("bounds that are none", "base --min cap", 2, ["--min: 'cap' is not EVAL[.METRIC][[KEY=VALUE]]=BOUND"]),
    ("a loss below nothing", "base -b equal --max-regression -1", 2, ["--max-regression"]),
    ("a confidence that is none", f"base -b equal {LOSS} --confidence 0.3", 2, ["--confidence: 0.3"]),
    ("a number that is none", "base --budget-cost lots", 2, ["--budget-cost: 'lots' is not a number"]),
    ("a policy in a variable that is not set", ["worse", "--policy", "", "--min", "cap=0.1"], 2,
     ["--policy: the value is empty"]),
    ("a budget in a variable that is not set", ["worse", "--budget-tokens=", "--min", "cap=0.1"], 2,
     ["--budget-tokens: the value is empty"]),
    ("a store that is none", "base --min cap=0.5 --db cap.yaml", 5, ["cap.yaml"]),
    ("no store", "base --min cap=0.5 --db nowhere.db", 2, ["nowhere.db"]),
]


def family_wise(room):
    """The chance of a false fail over five checks at 95 %."""
    out, _ = room.gate("base --min cap=0.1 --max cap=0.99 --min cap.accuracy[source=x]=0.1 "
                       "--min cap.accuracy[source=y]=0.1 --max cap.accuracy[source=x]=1".split(), 0)
    expect(f"any of the 5 checks by limits fails by accident, were each at its bound and all independent: "
           f"{100 * (1 - 0.95 ** 5):.3g} %" in out, out)


def json_report(room):
    out, _ = room.gate(f"worse -b base {LOSS} --json", 1)
    report = json.loads(out)
    check = report["checks"][0]
    expect(report["ok"] is False and report["candidate"]["name"] == "worse" and report["baseline"]["name"] == "base",
           f"{report}")
    expect(check["kind"] == "max_regression" and check["verdict"] == "fail" and check["n"] == 400, f"{check}")
    expect(check["value"] == 0.625 and check["baseline"] == 0.75 and check["bound"] == 0.02, f"{check}")
    expect(abs(check["better_by"]["value"] + 0.125) < 1e-12 and check["n_worse"] == 50 and check["n_better"] == 0,
           f"{check}")
    expect(check["samples_candidate"]["scored"] == 400 and check["method"] == "tango", f"{check}")


def hostile(room):
    """Samples whose ids are commands, markup, escapes and a megabyte of x."""
    names = HOSTILE
    rows = room.rows("hostile", len(names), lambda i, r: dict(r, id=names[i], tags=["smoke"]))
    room.eval("hostile", "hostile")
    room.experiment("hostile", ["hostile.yaml"], rows, wrong=set(range(len(names))))
    return "hostile --must-pass tag=smoke --min hostile=0.5"


def check_xml(text, n_failures):
    """What strict readers of JUnit want (Jenkins' schema), and what GitLab needs to show every case."""
    expect(not re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text), "illegal characters")
    root = xml.fromstring(text)
    expect(root.tag == "testsuites" and [s.tag for s in root] == ["testsuite"], "one suite")
    suite = root[0]
    expect(set(suite.attrib) == {"name", "tests", "failures", "errors", "skipped", "time"}, f"{suite.attrib}")
    expect(re.fullmatch(r"\d{0,3}(\.\d{0,3})?", suite.get("time")), "time")
    cases = suite.findall("testcase")
    names = [(c.get("classname"), c.get("name")) for c in cases]
    expect(len(set(names)) == len(names) == int(suite.get("tests")), f"names: {names}")
    for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        expect(len(suite.findall(f"testcase/{tag}")) == int(suite.get(count)), f"{tag}: {suite.get(count)}")
    expect(int(suite.get("failures")) == n_failures, f"failures {suite.get('failures')}")
    for case in cases:
        expect(set(case.attrib) == {"classname", "name"}, f"{case.attrib}")
        expect({c.tag for c in case} <= {"failure", "error", "skipped", "system-out"}, f"{[c.tag for c in case]}")
        expect(all(len(c.text or "") <= 65536 for c in case), "system-out past 64 KiB")
    return root


def junit(room):
    line = hostile(room)
    room.gate(f"{line} --junit out.xml", 1)
    text = room.read("out.xml")
    check_xml(text, 2)
    expect("<script" not in text and "\033" not in text and len(text) < 50000, "markup, escapes, length")
    room.gate("noisy -b base --max-regression 0.01 --junit out.xml", 0)
    check_xml(room.read("out.xml"), 0)
    expect('<skipped type="NOT PROVEN"' in room.read("out.xml"), "open and passing is skipped")
    room.gate(f"open -b base {LOSS} --junit out.xml", 1)
    check_xml(room.read("out.xml"), 0)
    expect('<error type="FAIL"' in room.read("out.xml"), "structure is an error")
    room.gate("base --min cap=0.5 --junit no/such/folder/out.xml", 2, "can not write the report")


def github(room):
    line = "hostile --must-pass tag=smoke --min hostile=0.5"
    summary = room.write("summary.md", "before\n")
    out, _ = room.gate(line, 1, env={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": summary})
    commands = [text for text in out.splitlines() if text.lstrip().startswith("::")]
    expect(len(commands) == 2 and all(c.startswith("::error title=") for c in commands), f"{commands}")
    expect(all(c.count("::") >= 2 and ":" not in c.split("::")[1] for c in commands), f"{commands}")
    expect("##[" not in out and "\033" not in out and "\x01" not in out, "commands inside of lines, escapes")
    expect(len(out) < 20000, f"{len(out)} bytes")
    text = room.read("summary.md")
    expect(text.startswith("before\n### gate: FAIL"), text[:80])
    _, err = room.gate(f"{line} --github --json", 1)
    expect("::error title=" in err, "annotations beside JSON")
    out, _ = room.gate("noisy -b base --max-regression 0.01 --github", 0)
    expect("::warning title=cap exact.accuracy loss <= 0.02".replace("0.02", "0.01") in out, out)
    out, _ = room.gate("better -b base --max-regression 0.01", 0)
    expect("::" not in out, "commands without GitHub")
    room.write("summary.md", "x" * (1 << 20))
    _, err = room.gate("better -b base --max-regression 0.01 --github", 0, env={"GITHUB_STEP_SUMMARY": summary})
    expect("summary of this step is full" in err and len(room.read("summary.md")) == 1 << 20, err)


def markdown(room):
    out, _ = room.gate("hostile --must-pass tag=smoke --min hostile=0.5 --markdown -", 1)
    table = [text for text in out.splitlines() if text.startswith("|")]
    expect(len(table) == 4 and all(len(row.split("|")) == 10 for row in table), f"{table}")
    rest = re.sub(r"</?code>|&#\d+;|\[[0-9.]+, [0-9.]+\]", "", out)
    expect(not re.search(r"[<>&`\[\]@_!\\$~]", rest), f"markup: {rest[:500]}")
    expect("www." not in rest and "http:" not in rest and "://" not in rest, "links")
    expect(len(out) < 65536, "a comment's length")
    room.gate(f"worse -b base {LOSS} --markdown verdict.md", 1, "FAIL")
    expect("| **FAIL** | <code>cap exact.accuracy loss &#60;= 0.02</code> | 0.625 | 0.750 | -0.125 |" in
           room.read("verdict.md"), room.read("verdict.md"))


def many_lines(room):
    """More checks than a comment, or GitHub, has place for."""
    flags = [w for i in range(150) for w in ("--min", f"cap.accuracy[source=n{i}]=0.5")]
    out, _ = room.gate(["base", *flags, "--github", "--markdown", "many.md", "--junit", "many.xml"], 1)
    expect(sum(text.startswith("::error") for text in out.splitlines()) == 10, "ten annotations")
    expect("::error title=muster gate::141 more checks" in out, "the last one says how many more")
    text = room.read("many.md")
    expect(text.count("\n| ") == 101 and "50 more checks are not shown." in text and len(text) < 65536, text[-400:])
    check_xml(room.read("many.xml"), 150)


TESTS = [
    ("the chance of a false fail", family_wise),
    ("--json", json_report),
    ("--junit", junit),
    ("--github", github),
    ("--markdown", markdown),
    ("many checks", many_lines),
]


def main():
    tests = [(what, lambda room, s=(words, code, says): room.gate(s[0], s[1], *s[2]))
             for what, words, code, says in SITUATIONS] + TESTS
    with tempfile.TemporaryDirectory() as folder:
        room = Room(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), folder)
        build(room)
        return tap(tests, room)


sys.exit(main())
