# SPDX-License-Identifier: MIT
"""The program as its users meet it: exit codes, words, JSON, signals, and the examples of the docs.

cli.py MUSTER SOURCE_ROOT: TAP. Everything happens in temporary folders, on the echo model, recorded replies and
a local server; no network, no public data."""
import hashlib
import http.server
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

from situations import Skip, expect, tap

EVAL = """schema: 1
eval: capitals
version: 1
description: Three capitals.
dataset:
  rows: [{c: France, a: Paris}, {c: Italy, a: Rome}, {c: Austria, a: Vienna}]
sample: {input: "What is the capital of {{ c }}?", target: "{{ a }}"}
solver: {use: generate, max_tokens: 8}
graders: [{use: includes}]
"""
MANY = """schema: 1
eval: many
version: 1
dataset: {path: many.jsonl}
sample: {input: "{{ q }}", target: "{{ q }}"}
solver: {use: generate, max_tokens: 8}
graders: [{use: includes}]
"""
DATASET = """schema: 1
dataset: tiny
license: MIT
url: http://127.0.0.1:1/
files: {test: tiny.jsonl}
sources: [{path: tiny.jsonl, bytes: BYTES, sha256: SHA}]
"""
USES_DATASET = """schema: 1
eval: uses-tiny
dataset: {use: tiny}
sample: {input: "{{ q }}", target: "{{ a }}"}
solver: {use: generate}
graders: [{use: exact}]
"""
JUDGED = """schema: 1
eval: judged
description: A grader that asks a judge.
dataset:
  rows: [{q: "Say Y", a: "Y"}, {q: "Say N", a: "Y"}]
sample: {input: "{{ q }}", target: "{{ a }}"}
solver: {use: generate, max_tokens: 8}
graders: [{use: asks}]
"""
ASKS = """return {
  name = "asks",
  version = 1,
  effects = { "generate" },
  grade = function(sample, reply, _, ctx)
    return ctx.generate(reply.text .. "?", { role = "judge" }).text == "Say Y?"
  end,
}
"""
POLITE = """schema: 1
eval: polite
description: A judge says Y or N.
dataset:
  rows: [{q: "Please say\\nY"}, {q: "Please say\\nmaybe"}]
sample: {input: "{{ q }}"}
solver: {use: generate, max_tokens: 8}
roles: {judge: openai/gpt-4o-mini}
graders: [{use: judge, prompt: "{{ answer }}", verdicts: {Y: 1, N: 0}}]
"""
GIVEN = """schema: 1
eval: given-answers
description: Recorded answers against a schema.
dataset:
  rows: [{id: 1, said: '{"n": 1}'}, {id: 2, said: '{"n": "x"}'}, {id: 3, said: "none"}]
sample: {input: "", metadata: {said: "{{ said }}"}}
solver: {use: given, text: "{{ said }}"}
graders:
  - use: json_schema
    schema: {type: object, properties: {n: {type: integer}}, required: [n]}
"""
AGENT = """schema: 1
eval: agent
description: Needs a sandbox.
dataset: {rows: [{q: "List the files.", a: "x"}]}
sample: {input: "{{ q }}", target: "{{ a }}"}
solver: {use: react, tools: [bash, submit]}
sandbox: {use: shell}
graders: [{use: exact}]
"""
N_MANY = 12
ESC = "\033"


class Room:
    """A temporary folder with the evals above, and the program run in it."""

    def __init__(self, program, root, folder):
        self.program, self.root, self.folder = program, root, folder
        keep = {k: v for k, v in os.environ.items() if not k.startswith("MUSTER_") and k != "NO_COLOR"}
        keep.pop("OPENAI_API_KEY", None)
        self.env = dict(keep, MUSTER_CACHE=os.path.join(folder, "cache"), TERM="xterm",
                        MUSTER_REGISTRY=os.path.join(root, "registry"))
        self.write("capitals.yaml", EVAL)
        self.write("many.yaml", MANY)
        self.write("many.jsonl", "".join(json.dumps({"q": f"word {i}"}) + "\n" for i in range(N_MANY)))

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def run(self, line, code=0, says=None, env=None):
        """Run the words of a line; check the exit code and that stderr says something; (stdout, stderr)."""
        words = line if isinstance(line, list) else line.split()
        done = subprocess.run([self.program, *words], cwd=self.folder, env=dict(self.env, **(env or {})),
                              capture_output=True, text=True, timeout=120, check=False)
        shown = f"muster {' '.join(words)}: exit {done.returncode}, stderr {done.stderr[-600:]!r}"
        codes = code if isinstance(code, tuple) else (code,)
        expect(done.returncode in codes, f"{shown}; want {code}")
        expect(says is None or says in done.stderr, f"{shown}; want {says!r}")
        expect(ESC not in done.stdout and ESC not in done.stderr, f"{shown}: escape codes where no terminal is")
        return done.stdout, done.stderr

    def json(self, line, code=0):
        out, _ = self.run(line, code)
        expect(out.endswith("\n") and out.count("\n") == 1, f"{line}: not one line of JSON: {out[:200]!r}")
        return json.loads(out)


# ---- Words and codes ----------------------------------------------------------------------------

def version_and_help(room):
    out, _ = room.run("--version")
    expect(re.fullmatch(r"muster \d+\.\d+\.\d+\n", out), f"--version: {out!r}")
    expect(room.run("version")[0] == out and room.run("-V")[0] == out, "version, -V")
    out, _ = room.run("help")
    verbs = re.findall(r"^  (\w+) +\w", out.split("commands:")[1].split("options of")[0], re.M)
    expect({"run", "list", "show", "check", "explain", "pull"} <= set(verbs), f"verbs: {verbs}")
    for verb in verbs:
        first, _ = room.run([verb, "--help"])
        expect(first.startswith(f"muster {verb}: ") and f"usage: muster {verb} " in first, f"{verb} --help")
        expect(room.run(["help", verb])[0] == first, f"help {verb} differs from {verb} --help")
        wide = [line for line in first.splitlines() if len(line) > 80 and not line.startswith("usage: ")]
        expect(not wide, f"{verb} --help is wider than 80 columns: {wide}")


def wrong_usage(room):
    for line, says in [
        ("", "usage: muster COMMAND"),
        ("foo", "unknown command 'foo' (see: muster help)"),
        ("ru", "unknown command 'ru'; did you mean run?"),
        ("help nope", "no command 'nope' (see: muster help)"),
        ("version extra", "unexpected argument 'extra'"),
        ("run", "usage: muster run EVAL... -m MODEL..."),
        ("run capitals.yaml", "no model: give -m provider/name"),
        ("run capitals.yaml -m echo --limt 3", "unknown option --limt; did you mean --limit?"),
        ("run capitals.yaml -m echo --limit", "--limit needs a value: --limit N|A-B"),
        ("run capitals.yaml -m echo --limit 0", "--limit: '0' is neither N nor A-B with 1 <= A <= B"),
        ("run capitals.yaml -m echo --limit 5-2", "--limit: '5-2' is neither N nor A-B"),
        ("run capitals.yaml -m echo --shard 3/2", "--shard: '3/2' is not K/N with 1 <= K <= N, auto or auto/N"),
        ("run capitals.yaml -m echo --tag x", "--tag: 'x' is not K=V"),
        ("run capitals.yaml -m echo --device gpu", "--device: 'gpu' is not one of auto|cpu"),
        ("run capitals.yaml -m echo --variant v", "eval 'capitals' has no variant 'v'"),
        ("run capitals.yaml -m nosuch/x", "no provider 'nosuch'"),
        ("run nope -m echo", "no eval 'nope' (muster list evals shows them all)"),
        ("run capitals -m echo", "no eval 'capitals'; did you mean 'capitals.yaml'? (muster list evals shows them all)"),
        ("run zz* -m echo", "no eval matches 'zz*'"),
        ("list things", "list: 'things' is not one of evals, datasets"),
        ("show", "there is no store '.muster/muster.db' yet"),
        ("explain capitals.yaml --sample 4", "--sample: 4 is outside 1 to 3"),
        ("explain capitals.yaml --sample x", "--sample: 'x' is neither a number, nor all, nor a sample's id"),
        ("explain capitals.yaml --sample x*", "--sample: no sample's id matches 'x*'"),
        ("check nope.yaml", "nope.yaml"),
        ("completion tcsh", "completion: 'tcsh' is not one of bash, zsh, fish"),
    ]:
        room.run(line, 2, says)


def recorded_variants(room):
    """The replies to one variant's prompts are no answers to another's; a file answers whatever is asked."""
    room.write("forms.yaml", EVAL.replace("eval: capitals", "eval: forms\nvariants: {plain: {}, polite: {prompt: "
                                          "\"Please: {{ input }}\"}}"))
    room.run("run forms.yaml -m echo --variant plain --name forms --seed 7 -q --db forms.d/m.db")
    for more in ("", " --variant polite"):
        room.run(f"run forms.yaml -m replay/forms{more} --db forms.d/m.db", 2, "replay/forms holds replies to variant 'plain' of eval "
                 "'forms', which are none to variant 'polite': choose with --variant, or run from a file")
    _, err = room.run("run forms.yaml -m replay/forms --variant plain -q --db forms.d/m.db")
    expect(err.count("warning: ") == 1 and "recorded with seed 7, this run has 0" in err, err)
    _, err = room.run("run forms.yaml -m replay/forms --variant plain -q --seed 7 --db forms.d/m.db")
    expect("warning" not in err, err)
    room.run("run forms.yaml -m replay/forms --variant plain -q --seed 7 --epochs 2 --db forms.d/m.db", 3)  # not recorded: no reply
    room.run("run forms.yaml -m echo --role judge=replay/forms --db forms.d/m.db", 2, "holds replies to variant 'plain'")
    room.run("export forms -f replay -o forms.jsonl --db forms.d/m.db")
    room.run("run forms.yaml -m replay/forms.jsonl -q --db forms.d/m.db")


def named_twice(room):
    """What is asked for twice is told by the files, before anything is stored."""
    room.write("again/capitals.yaml", EVAL)
    for line, says in [
        ("run capitals.yaml again/capitals.yaml -m echo",
         "'capitals.yaml' and 'again/capitals.yaml' are both called eval 'capitals': rename one of them, or run each by itself"),
        ("run capitals.yaml capitals.yaml -m echo", "eval 'capitals' is asked for twice (capitals.yaml): name it once"),
        ("run capitals.yaml -m echo -m echo", "model 'echo' is asked for twice: name it once"),
    ]:
        room.run(line + " --db twice.db", 2, says)
    expect(not os.path.exists(os.path.join(room.folder, "twice.db")), "a store of nothing")


def settings(room):
    """muster.yaml and variables reach a command."""
    room.write("muster.yaml", "limit: 2\nmodel: [echo]\n")
    try:
        expect(room.json("run capitals.yaml --json -q")["experiment"]["planned"] == 2, "limit of muster.yaml")
        out, _ = room.run("run capitals.yaml --json -q", env={"MUSTER_LIMIT": "1"})
        expect(json.loads(out)["experiment"]["planned"] == 1, "a variable before muster.yaml")
        # What runs get by default hides nothing of what others show, and its words are not theirs.
        room.write("muster.yaml", "limit: 1-2\nmodel: [local/other]\nvariant: none\n")
        out, err = room.run("show latest --samples")
        expect("capitals  sample 0" in out and "1 attempt" in err, f"muster.yaml chose attempts: {out}{err}")
        room.run("show latest", env={"MUSTER_MARKDOWN": "gate.md", "MUSTER_SAMPLES": "5"})
        expect(len(room.json("list experiments --json")) == 5, "muster.yaml chose experiments")
        room.run("diff latest~1 latest", env={"MUSTER_MARKDOWN": "gate.md"})
        room.write("muster.yaml", "limt: 2\n")
        room.run("list evals", 2, "muster.yaml:1: limt is not an option of any command")
    finally:
        os.unlink(os.path.join(room.folder, "muster.yaml"))


# ---- A run and what is said of it ---------------------------------------------------------------

def run_and_show(room):
    first = room.json("run capitals.yaml -m echo --json --name one --tag stage=test")
    expect(first["experiment"]["name"] == "one" and first["experiment"]["tags"] == {"stage": "test"}, "name, tags")
    run = first["runs"][0]
    expect((run["planned"], run["done"], run["errors"]) == (3, 3, 0), f"counts: {run}")
    metric = run["metrics"][0]
    expect(metric["name"] == "includes.accuracy" and metric["value"] == 0 and metric["n"] == 3, f"{metric}")
    # Wilson's upper limit of 0 of 3: z^2 / (n + z^2).
    expect(abs(metric["interval"][1] - 3.8414588 / 6.8414588) < 1e-6, f"interval {metric['interval']}")
    room.run("run capitals.yaml -m echo --name one", 2, "one")
    room.run("run capitals.yaml -m echo --name two -q")
    room.run("run capitals.yaml -m replay/one --name replayed -q")
    replayed = room.json("show replayed --json")["runs"][0]
    expect(replayed["model"] == "replay/one" and replayed["metrics"][0]["value"] == metric["value"], f"{replayed}")
    digest = room.run("show one --digest")[0]
    expect(re.fullmatch(r"[0-9a-f]{64}\n", digest), f"digest {digest!r}")
    expect(room.run("show two --digest")[0] == digest, "equal runs, other digests")
    names = [e["name"] for e in room.json("list experiments --json")]
    expect(names == ["one", "two", "replayed"], f"experiments {names}")
    expect([e["name"] for e in room.json("list experiments --json --limit 1")] == ["replayed"], "--limit 1")
    expect(room.json("show latest~2 --json")["experiment"]["name"] == "one", "latest~2")
    rows = [json.loads(line) for line in room.run("show one --samples --json")[0].splitlines()]
    expect([r["id"] for r in rows] == ["0", "1", "2"], "ids")
    expect(rows[1]["text"] == "What is the capital of Italy?" and rows[1]["target"] == ["Rome"], f"{rows[1]}")
    failed = room.run("show one --failed")[0]
    expect("'Vienna' is not in the answer" in failed, "show --failed says why")
    room.run("show one --sample 9", 2, "has no attempt of sample '9'")


def narrowed_show(room):
    """--part and the like choose lines of the table too, and a name that nothing has is no empty answer."""
    room.write("parts.yaml", EVAL.replace("eval: capitals", "eval: parts\nmatrix: {side: [north, south]}"))
    room.run("run parts.yaml -m echo --name parts --db parts.db -q")
    whole = room.json("show parts --json --db parts.db")
    expect((len(whole["runs"]), len(whole["metrics"]) > 0) == (2, True), f"{whole}")
    north = room.json("show parts --part north --json --db parts.db")
    expect([r["part"] for r in north["runs"]] == ["north"] and north["metrics"] == [], f"{north}")
    out, err = room.run("show parts --part north --db parts.db")
    expect("north" in out and "south" not in out and "(all 2)" not in out, out)
    used = north["runs"][0]["usage"]
    expect(used["input"] > 0 and f"{used['input']} tokens in, {used['output']} tokens out" in err, f"{used}: {err}")
    for more in ("", " --samples"):
        room.run(f"show parts --part nort{more} --db parts.db", 2, "experiment 'parts' has no part 'nort'; did you mean 'north'?")
        room.run(f"show parts --variant x{more} --db parts.db", 2, "experiment 'parts' has no variant 'x' [")
    room.run("show nothere", 2, "there is no experiment 'nothere'")


def own_evals(room):
    """Every kind of list as JSON; our own evals run on echo and check silently."""
    for kind in ("evals", "datasets", "models", "samplers", "solvers", "graders", "gates", "experiments"):
        items = room.json(f"list {kind} --json")
        expect(isinstance(items, list), kind)
        if kind == "evals":
            names = {item["name"] for item in items}
            expect({"arithmetic", "facts", "format", "extraction", "gsm8k", "mmlu"} <= names, f"{names}")
    for name in ("arithmetic", "facts", "format", "extraction"):
        expect(room.json(f"check {name} --json") == [], f"check {name}")
        out = room.json(f"run {name} -m echo --json -q --limit 5")
        expect(out["experiment"]["done"] == 5 and out["experiment"]["errors"] == 0, f"run {name}")
        explained = json.loads(room.run(f"explain {name} --json")[0].splitlines()[0])
        expect(explained["eval"] == name and "request" in explained, f"explain {name}")
    expect(len(room.run("explain arithmetic --sample all")[0].splitlines()) == 140, "explain --sample all")
    expect(len(room.run("explain arithmetic --sample add-00*")[0].splitlines()) == 9, "explain --sample GLOB")
    expect("sample add-002" in room.run("explain arithmetic --sample add-002")[0], "explain --sample ID")


def check_faults(room):
    room.write("bad.yaml", EVAL.replace("graders", "gradrs"))
    faults = room.json("check bad.yaml --json", 2)
    found = [(f["line"], f["col"], f["severity"], f["code"]) for f in faults]
    expect((9, 1, "error", "unknown-key") in found, f"{found}")
    room.run("check bad.yaml", 2, "bad.yaml:9:1: error: unknown key 'gradrs' in an eval file; did you mean 'graders'?")
    room.run("run bad.yaml -m echo", 2, "bad.yaml: ")


def check_folder(room):
    """The Lua of a folder is checked too: each file once, whoever uses it; what is none of ours is left alone."""
    unit = 'return { name = "NAME", version = 1, metric = function(scores) return #scores end, examples = { EXAMPLE } }\n'
    grader = 'return { name = "used", version = 1, grade = function() return 1 end, examples = { { reply = "x", value = 0 } } }\n'
    room.write("folder/metrics/count.lua", unit.replace("NAME", "count").replace("EXAMPLE", "{ scores = {}, value = 1 }"))
    room.write("folder/used.lua", grader)
    room.write("folder/unused.lua", grader.replace("used", "unused"))
    room.write("folder/torn.lua", "return { name = \"torn\", grade = function(\n")
    room.write("folder/tool.lua", "local grade, metric = arg[1], arg[2]\nprint(grade == metric)\n")
    room.write("folder/uses.yaml", EVAL.replace("eval: capitals", "eval: uses").replace("includes", "used"))
    faults = room.json("check folder --json", 2)
    found = sorted((f["file"], f["code"]) for f in faults)
    expect(found == [("folder/metrics/count.lua", "example"), ("folder/torn.lua", "lua"), ("folder/unused.lua", "example"),
                     ("folder/uses.yaml", "example")], f"{found}")
    faults = room.json("check folder --json --no-data", 2)  # no eval runs examples then
    expect(("folder/used.lua", "example") in [(f["file"], f["code"]) for f in faults], f"{faults}")
    room.write("folder/uses.yaml", EVAL.replace("eval: capitals", "eval: uses") + "metrics: [count]\n")
    found = [(f["file"], f["code"]) for f in room.json("check folder/uses.yaml --json", 2)]
    expect(found == [("folder/uses.yaml", "example")], f"examples of a metric that an eval uses: {found}")


def explain_scores(room):
    out = room.run(["explain", "capitals.yaml", "--sample", "2", "--reply", "Rome, of course"])[0]
    expect("capitals  sample 1" in out and "target: Rome" in out and "includes: 1" in out, out)
    lines = room.run(["explain", "capitals.yaml", "--reply", "Rome", "--json"])[0].splitlines()
    expect(json.loads(lines[1])[0]["value"] == 0, f"{lines}")
    out = room.run(["explain", "capitals.yaml", "--reply", ""])[0]
    expect("includes: 0" in out, "--reply '' is a reply: " + out)
    room.write("sly.yaml", "schema: 1\neval: sly\ndataset: {rows: [{q: a, t: \"\\e[2J\"}]}\n"
               "sample: {input: \"{{ q }}\", target: \"{{ t }}\"}\nsolver: {use: generate}\n"
               "graders: [{use: exact}]\n")
    out = room.run(["explain", "sly.yaml", "--reply", "x"])[0]
    expect("\x1b" not in out and "target: \\x1b[2J" in out, f"{out!r}")
    room.write("helps.lua", "return { twice = function(s) return s .. s end }\n")
    room.run("check helps.lua", 0, "1 file: 0 errors")


def failing_attempts(room):
    room.write("replies.jsonl", '{"id": 0, "text": "Paris"}\n{"id": 1, "text": "Rome"}\n')
    _, err = room.run("run capitals.yaml -m replay/replies.jsonl --name holes", 3)
    expect("1 error" in err and "has no reply for eval 'capitals', part '', id '2'" in err, err)
    room.run("run capitals.yaml -m replay/replies.jsonl --fail-on-error 0.5 -q", 0)
    out = room.json("show holes --json")["runs"][0]
    expect((out["done"], out["errors"], out["metrics"][0]["value"]) == (2, 1, 1), f"{out}")
    room.write("replies.jsonl", '{"id": 0, "text": "Paris"}\n{"id": 1, "text": "Rome"}\n{"id": 2, "text": "Vienna"}\n')


def unusable_models(room):
    room.write("bad.gguf", "no model at all\n")
    room.run("run capitals.yaml -m local/bad.gguf", 4, "not a GGUF file")
    room.write("broken.jsonl", "{broken\n")
    room.run("run capitals.yaml -m replay/broken.jsonl", 4, "broken.jsonl, line 1")
    room.run("run capitals.yaml -m openai/x --base-url http://127.0.0.1:1 --max-retries 1", 4, "127.0.0.1")
    # A name that nothing is known of is a mistake in the command; either code says so.
    room.run("run capitals.yaml -m local/nothing.gguf", 4, "no model file 'nothing.gguf'")
    room.run("run capitals.yaml -m local/nothing", 4, "no model 'nothing'")
    room.run("run capitals.yaml -m replay/nothing", 4, "no file and no experiment 'nothing' to replay")


def roles(room):
    room.write("judged.yaml", JUDGED)
    room.write("asks.lua", ASKS)
    room.run("run judged.yaml -m echo", 2, "eval 'judged': nobody plays role 'judge': give --role judge=MODEL")
    room.run("run judged.yaml -m echo --role judge", 2, "--role: 'judge' is not R=MODEL")
    room.run("run judged.yaml -m echo --role judge=local/nothing", 4, "--role judge")
    room.run("run judged.yaml -m echo --role judge=openai/x", 4, "role 'judge'")
    run = room.json("run judged.yaml -m echo --role judge=echo --json -q")
    expect(run["runs"][0]["metrics"][0]["value"] == 0.5, f"judged: {run}")
    expect(run["roles"] == [{"role": "judge", "model": "echo", "calls": 2, "input_tokens": 4, "output_tokens": 4,
                             "seconds": 0.0, "cost_usd": 0.0}], f"roles: {run.get('roles')}")
    _, err = room.run("run judged.yaml -m echo", says="role judge (echo): 2 calls, 4 tokens in, 4 tokens out",
                      env={"MUSTER_ROLE": "judge=echo"})
    expect("2 of 2 attempts" in err, err)
    room.write("polite.yaml", POLITE)
    room.run("run polite.yaml -m echo", 4, "role 'judge': model 'openai/gpt-4o-mini': set $OPENAI_API_KEY")
    expect(room.json("run polite.yaml -m echo --role judge=echo --name polite --json -q")["runs"][0]["unscored"] == 1,
           "one verdict, one that is none")
    room.run("run polite.yaml -m echo --role judge=replay/capitals.yaml --resume --name polite", 4, "role 'judge'")
    expect("grader's call g0.0.0 to judge" in room.run("show polite --sample 0")[0], "whose call it is")
    shown = room.json("show polite --json")["experiment"]
    expect([r["model"] for r in shown["provenance"]["roles"]] == ["echo"], f"provenance: {shown['provenance']}")


def no_model(room):
    room.write("given.yaml", GIVEN)
    room.write("agent.yaml", AGENT)
    run = room.json("run given.yaml --json -q")["runs"][0]
    expect(run["model"] == "none" and abs(run["metrics"][0]["value"] - 1 / 3) < 1e-12, f"given: {run}")
    out, _ = room.run("show --sample 1")
    expect("$.n: \"x\" is not of type integer" in out, f"why: {out}")
    room.run("run agent.yaml -m echo", 6, "eval 'agent': its solver needs a sandbox")
    room.run("check agent.yaml")


def bad_store(room):
    room.write("text.db", "this is not a database\n" * 100)
    for line in ("run capitals.yaml -m echo", "show", "list experiments"):
        room.run(f"{line} --db text.db", 5, "text.db")


def pulling(room):
    text = '{"q": "yes?", "a": "yes?"}\n{"q": "no", "a": "never"}\n'
    sha = hashlib.sha256(text.encode()).hexdigest()
    room.write("mirror/some/where.jsonl", text)
    room.write("reg/datasets/tiny.yaml", DATASET.replace("BYTES", str(len(text))).replace("SHA", sha))
    room.write("reg/evals/uses-tiny.yaml", USES_DATASET)
    room.run("run uses-tiny --registry reg -m echo", 2, "tiny")
    mirror = {"MUSTER_MIRROR": os.path.join(room.folder, "mirror")}
    room.run("pull tiny --registry reg", 0, "pulled tiny", env=mirror)
    run = room.json("run uses-tiny --registry reg -m echo --json -q")["runs"][0]
    expect(run["done"] == 2 and run["metrics"][0]["value"] == 0.5, f"{run}")
    room.run("pull nosuch", 2, "nosuch")


def events(room):
    read, write = os.pipe()
    subprocess.run([room.program, "run", "many.yaml", "-m", "echo", "-q", "--epochs", "2", "--events", str(write)],
                   cwd=room.folder, env=room.env, pass_fds=[write], stdout=subprocess.DEVNULL, timeout=60, check=True)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    expect(sorted((e["id"], e["epoch"]) for e in lines) ==
           sorted((str(i), k) for i in range(N_MANY) for k in (1, 2)), f"{lines[:3]}")
    expect(all((e["eval"], e["part"], e["variant"], e["model"], e["state"]) == ("many", "", "", "echo", "done")
               for e in lines), f"{lines[0]}")


# ---- Terminals ----------------------------------------------------------------------------------

def on_terminal(room, words, env=None):
    """What the program prints where stdout is a terminal."""
    try:
        leader, follower = pty.openpty()
    except OSError as error:
        raise Skip(f"no terminal can be made here: {error}") from error
    process = subprocess.Popen([room.program, *words], cwd=room.folder, env=dict(room.env, **(env or {})),
                               stdout=follower, stderr=subprocess.DEVNULL)
    os.close(follower)
    data = b""
    while True:
        try:
            piece = os.read(leader, 1 << 16)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        data += piece
    os.close(leader)
    expect(process.wait(timeout=60) == 0, f"{words}: exit {process.returncode}")
    return data.decode()


def no_stdout(room):
    """A stdout that is full or closed: said, exit 6, and nothing of it lands in the store."""
    for closing in (">/dev/full", ">&-"):
        for words in ("list evals", "run many.yaml -m echo --limit 3 --db closed.db"):
            line = f'"$0" {words} {closing}'
            done = subprocess.run(["sh", "-c", line, room.program], cwd=room.folder, env=room.env,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60)
            expect(done.returncode == 6, f"{line}: exit {done.returncode}")
            expect("cannot write to stdout" in done.stderr, f"{line}: {done.stderr!r}")
    room.run("show latest --db closed.db")


def colors(room):
    room.run("run capitals.yaml -m replay/replies.jsonl -q --name colored")
    words = ["show", "colored", "--samples"]
    expect(ESC in on_terminal(room, words), "no colors on a terminal")
    expect(ESC not in on_terminal(room, words, {"NO_COLOR": "1"}), "NO_COLOR")
    expect(ESC not in on_terminal(room, words, {"TERM": "dumb"}), "TERM=dumb")
    expect(ESC not in on_terminal(room, [*words, "--color", "never"]), "--color never")
    plain = subprocess.run([room.program, *words, "--color", "always"], cwd=room.folder, env=room.env,
                           capture_output=True, text=True, check=True).stdout
    expect(ESC in plain, "--color always")


def completion(room):
    bash = room.run("completion bash")[0]
    for word in ("--max-connections", "--digest", "explain"):
        expect(word in bash, f"no {word} in bash completion")
    for shell, check in (("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])):
        path = room.write("completion." + shell, room.run("completion " + shell)[0])
        if shutil.which(shell):
            done = subprocess.run([*check, path], capture_output=True, text=True, check=False)
            expect(done.returncode == 0 and not done.stderr, f"{shell}: {done.stderr}")
    if shutil.which("bash"):
        script = ". ./completion.bash; COMP_WORDS=(muster run --max-c); COMP_CWORD=2; _muster; echo ${COMPREPLY[@]}"
        done = subprocess.run(["bash", "-c", script], cwd=room.folder, capture_output=True, text=True, check=False)
        expect(done.stdout == "--max-connections\n", f"bash completes to {done.stdout!r} {done.stderr!r}")


# ---- Signals ------------------------------------------------------------------------------------

class Stuck(http.server.ThreadingHTTPServer):
    """An endpoint that answers at once, but for the fifth request: that one waits until `release`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), StuckHandler)
        self.release = threading.Event()
        self.lock = threading.Lock()
        self.n = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.release.set()
        self.shutdown()
        self.server_close()


class StuckHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.n += 1
            stuck = self.server.n == 5
        if stuck:
            self.server.release.wait(60)
        body = json.dumps({"choices": [{"index": 0, "text": "word", "message": {"role": "assistant", "content": "word"},
                                        "finish_reason": "stop"}],
                           "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the client has given up
            self.close_connection = True

    def log_message(self, *args):
        pass


def interrupt(room, server, name, numbers):
    """All answers but one arrive; then the signals. The words of the run, its exit code and stderr."""
    words = ["run", "many.yaml", "-m", "openai/stuck", "--base-url", f"http://127.0.0.1:{server.server_port}/v1",
             "--max-connections", "2", "--name", name]
    read, write = os.pipe()
    process = subprocess.Popen([room.program, *words, "--events", str(write)], cwd=room.folder, env=room.env,
                               pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as f:
        for _ in range(N_MANY - 1):
            expect(json.loads(f.readline())["state"] == "done", "an event before the signal")
        for number in numbers:
            process.send_signal(number)
        rest = f.read()
    err = process.communicate(timeout=60)[1]
    expect(rest == "", f"event after the signal: {rest}")
    return words, process.returncode, err


def signals(room):
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        server = Stuck()
        try:
            name = "stopped-" + str(code)
            words, got, err = interrupt(room, server, name, [number])
            expect(got == code, f"exit {got}, want {code}: {err}")
            expect(f"to go on: run the same command with --resume --name {name}" in err, f"how to resume: {err}")
            expect(f"{N_MANY - 1} of {N_MANY} attempts" in err, err)
            shown = room.json(f"show {name} --json")["runs"][0]
            expect(shown["done"] == N_MANY - 1 and shown["errors"] == 0, f"{shown}")
            out, _ = room.run([*words, "--resume", "--json", "-q"])
            expect(json.loads(out)["experiment"]["done"] == N_MANY, "resumed to the end")
            expect(server.n == N_MANY + 1, f"{server.n} requests: only the one that was cut is asked again")
        finally:
            server.close()
    server = Stuck()
    try:
        _, got, err = interrupt(room, server, "stopped-twice", [signal.SIGTERM, signal.SIGINT])
        expect(got == 130 and "stopped at once" in err, f"a second signal: exit {got}: {err}")
    finally:
        server.close()


# ---- The docs -----------------------------------------------------------------------------------

def doc_examples(room, name, least=4):
    """Blocks of a page whose fence names a file are that file; each eval among them checks clean and runs."""
    with open(os.path.join(room.root, "docs", name), encoding="utf-8") as f:
        page = f.read()
    blocks = re.findall(r"^```\w+ (\S+)\n(.*?)^```$", page, re.S | re.M)
    expect(len(blocks) >= least, f"{name}: {len(blocks)} examples")
    for file, text in blocks:
        room.write(f"{name}.d/{file}", text)
    for file, _ in blocks:
        if file.endswith(".yaml"):
            path = f"{name}.d/{file}"
            expect(room.json(f"check {path} --json") == [], f"{name}: {file} has faults")
            run = room.json(f"run {path} -m echo --json -q")["experiment"]
            expect(run["done"] == run["planned"] > 0 and run["errors"] == 0, f"{name}: {file}: {run}")


def doc_models(room):
    """The model files of docs/endpoints.md check clean, are found by their names, and their settings are known."""
    with open(os.path.join(room.root, "docs", "endpoints.md"), encoding="utf-8") as f:
        blocks = re.findall(r"^```yaml (\S+)\n(.*?)^```$", f.read(), re.S | re.M)
    expect(len(blocks) == 2, f"{len(blocks)} model files")
    for path, text in blocks:
        room.write(f"models.d/{path}", text)
        expect(room.json(f"check models.d/{path} --json") == [], f"{path} has faults")
        name = os.path.basename(path)[:-len(".yaml")]
        room.run(f"explain capitals.yaml -m {name} --registry models.d/registry")
    out = room.run("explain capitals.yaml -m thinker --registry models.d/registry --json")[0]
    body = json.loads(out.splitlines()[0])["body"]  # what is sent, with what the file adds and takes away
    expect((body["model"], body["reasoning_effort"], "temperature" in body) == ("o4-mini", "low", False), f"{body}")
    room.write("models.d/registry/models/typo.yaml", text.replace("model: thinker", "model: typo").replace("headers:", "headrs:"))
    room.run("explain capitals.yaml -m typo --registry models.d/registry", 2, "unknown key 'headrs' in 'settings'; did you mean 'headers'?")



TESTS = [
    ("--version and the help of each command", version_and_help),
    ("wrong usage exits 2 and says why", wrong_usage),
    ("run, show, list: one experiment as table, JSON, digest", run_and_show),
    ("show: lines and attempts by part, variant, model", narrowed_show),
    ("-m replay/EXPERIMENT: variants and seeds that were not recorded", recorded_variants),
    ("evals and models that are asked for twice", named_twice),
    ("muster.yaml and variables", settings),
    ("our own evals: list, check, run, explain", own_evals),
    ("check: faults with their place, as JSON too", check_faults),
    ("check FOLDER: its Lua too", check_folder),
    ("explain: what a reply would score", explain_scores),
    ("attempts that fail: exit 3", failing_attempts),
    ("models that can not be used: exit 4", unusable_models),
    ("roles: whom graders ask", roles),
    ("solvers that ask no model, or more than a model", no_model),
    ("a store that is no database: exit 5", bad_store),
    ("pull from a mirror, then run", pulling),
    ("--events: a line for each attempt", events),
    ("stdout that is full or closed", no_stdout),
    ("colors only where they belong", colors),
    ("shell completion", completion),
    ("SIGINT 130, SIGTERM 143: resumable; a second one stops at once", signals),
    ("examples of docs/evals.md", lambda room: doc_examples(room, "evals.md")),
    ("examples of docs/lua.md", lambda room: doc_examples(room, "lua.md")),
    ("examples of docs/first-eval.md", lambda room: doc_examples(room, "first-eval.md", 4)),
    ("examples of docs/few-shot.md", lambda room: doc_examples(room, "few-shot.md", 2)),
    ("examples of docs/multiple-choice.md", lambda room: doc_examples(room, "multiple-choice.md", 1)),
    ("examples of docs/judges.md", lambda room: doc_examples(room, "judges.md", 2)),
    ("model files of docs/endpoints.md", doc_models),
    ("examples of docs/moving.md", lambda room: doc_examples(room, "moving.md")),
]


def main():
    program, root = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        return tap(TESTS, Room(program, root, folder))


if __name__ == "__main__":
    sys.exit(main())
