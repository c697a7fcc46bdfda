# SPDX-License-Identifier: MIT
"""muster run on some samples only: --sample by id and glob, --failed-in what went wrong before, and what resume,
shards, merge, rescore, verify, diff, gate, promote and trend make of such an experiment.

samples.py MUSTER SOURCE_ROOT: TAP. Experiments are made of recorded replies in a temporary folder; no network."""
import json
import os
import sqlite3
import subprocess
import sys
import tempfile

from situations import expect, tap

EVAL = """schema: 1
eval: {name}
matrix: {{half: [a, b]}}
dataset: {{path: rows.jsonl}}
sample: {{id: "{{{{ id }}}}", input: "{{{{ half }}}} {{{{ q }}}}", target: "{{{{ a }}}}"}}
variants: {{plain: {{}}, loud: {{prompt: "{{{{ input | upper }}}}"}}}}
solver: {{use: generate, max_tokens: 8}}
graders: [{{use: shaky}}, {{use: includes}}]
"""
PLAIN = """schema: 1
eval: {name}
dataset: {{path: rows.jsonl}}
sample: {{id: "{{{{ id }}}}", input: "{{{{ q }}}}", target: "{{{{ a }}}}"}}
solver: {{use: generate, max_tokens: 8}}
graders: [{{use: exact}}]
"""
SHAKY = """return {
  name = "shaky",
  version = 1,
  needs = { "target" },
  grade = function(sample, reply)
    if reply.text == "??" then return unscored("can not be read") end
    local text = sample.variant == "loud" and reply.text:gsub("^LOUD ", "") or reply.text
    return text == sample.target[1]
  end,
}
"""
N = 20


class Room:
    """A temporary folder with two evals and replies to them, and the program run in it."""

    def __init__(self, program, root, folder):
        self.program, self.folder = program, folder
        keep = {k: v for k, v in os.environ.items() if not k.startswith("MUSTER_")}
        self.env = dict(keep, MUSTER_CACHE=os.path.join(folder, "cache"),
                        MUSTER_REGISTRY=os.path.join(root, "registry"))
        self.rows = [{"id": f"geo-{i}" if i < 5 else f"q{i}", "q": f"question {i}", "a": f"a{i}"} for i in range(N)]
        self.write("rows.jsonl", "".join(json.dumps(r) + "\n" for r in self.rows))
        self.write("shaky.lua", SHAKY)
        self.write("halves.yaml", EVAL.format(name="halves"))
        self.write("plain.yaml", PLAIN.format(name="plain"))
        self.write("other.yaml", PLAIN.format(name="other"))
        # One wrong answer, one that can not be read, no reply; and geo-1, which is wrong in one variant.
        said = {("q7", "b"): "no", ("q9", "b"): "??", ("q12", "a"): None, ("geo-1", "a"): "LOUD a1"}
        self.replies("base", lambda r, part: said.get((r["id"], part), r["a"]))
        self.run("run halves.yaml -m replay/base.jsonl --name base -q --fail-on-error 1")
        self.replies("plain", lambda r, _: "no" if r["id"] in ("q6", "q8", "geo-2") else r["a"], ["plain", "other"])
        self.run("run plain.yaml other.yaml -m replay/plain.jsonl --name plain -q")

    def replies(self, name, text, evals=("halves",)):
        lines = [{"eval": of, "part": part, "id": row["id"], "text": text(row, part)} for of in evals
                 for part in (("a", "b") if of == "halves" else ("",)) for row in self.rows
                 if text(row, part) is not None]
        self.write(f"{name}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def run(self, line, code=0, *says, env=None):
        """Run the words of a line; check the exit code and that something is said; (stdout, stderr)."""
        words = line if isinstance(line, list) else line.split()
        done = subprocess.run([self.program, *words], cwd=self.folder, env=dict(self.env, **(env or {})),
                              capture_output=True, text=True, timeout=120, check=False)
        shown = f"muster {' '.join(words)}: exit {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
        expect(done.returncode == code, f"{shown}\nwant {code}")
        for text in says:
            expect(text in done.stdout + done.stderr, f"{shown}\nwant {text!r}")
        return done.stdout, done.stderr

    def json(self, line):
        return json.loads(self.run(line)[0])

    def any(self, line):
        """The JSON that a line prints, whatever its exit code."""
        return json.loads(subprocess.run([self.program, *line.split()], cwd=self.folder, env=self.env,
                                         capture_output=True, text=True, timeout=120, check=False).stdout)

    def ran(self, name="latest", db=".muster/muster.db"):
        """What of an experiment was run, as (part, id), each variant the same."""
        out, _ = self.run(f"show {name} --samples --json --limit 1000 --db {db}")
        found = {}
        for line in out.splitlines():
            a = json.loads(line)
            found.setdefault(a.get("variant") or "", set()).add((a.get("part") or "", a["id"]))
        expect(len(set(map(frozenset, found.values()))) == 1, f"variants differ: {found}")
        return next(iter(found.values()))

    def spec(self, name="latest"):
        return self.json(f"show {name} --json")["experiment"]

    def sql(self, statement):
        with sqlite3.connect(os.path.join(self.folder, ".muster", "muster.db")) as db:
            db.execute(statement)
        db.close()


def by_id(room):
    for words, want in [
        ("--sample q7", {("", "q7")}),
        ("-s q7 -s geo-1", {("", "q7"), ("", "geo-1")}),
        ("--sample geo-*", {("", f"geo-{i}") for i in range(5)}),
        ("--sample q? --sample q6", {("", f"q{i}") for i in range(5, 10)}),
        ("--sample geo-* --limit 2", {("", "geo-0"), ("", "geo-1")}),
        ("--sample geo-* --limit 3-4", {("", "geo-2"), ("", "geo-3")}),
        ("--sample *1 --limit-total 1", {("", "geo-1")}),
        ("--sample *1* --shard 2/10", {("", "geo-1"), ("", "q11")}),
    ]:
        room.run(f"run plain.yaml -m replay/plain.jsonl -q {words}")
        expect(room.ran() == want, f"{words}: {room.ran()}")
    out = room.json("run halves.yaml -m replay/base.jsonl -q --sample q19 --epochs 2 --json")
    expect([(r["part"], r["variant"], r["planned"]) for r in out["runs"]] ==
           [("a", "plain", 2), ("b", "plain", 2), ("a", "loud", 2), ("b", "loud", 2)], f"{out['runs']}")
    expect(out["experiment"]["spec"]["samples"] == ["q19"], f"{out['experiment']['spec']}")
    # Two evals: an id that one of them has is enough.
    room.run("run plain.yaml arithmetic -m echo -q --sample geo-1 --sample add-001")
    expect(room.ran() == {("", "geo-1"), ("", "add-001")}, f"{room.ran()}")


def wrong_usage(room):
    for words, says in [
        ("--sample geo1", "no sample's id is 'geo1'; did you mean 'geo-1'?"),
        ("--sample q7 --sample nope", "no sample's id is 'nope' (those of plain go from 'geo-0' to 'q19')"),
        ("--sample 3", "no sample's id is '3' (those of plain go from 'geo-0' to 'q19')"),
        ("--sample x*", "no sample's id matches 'x*'"),
        ("--sample geo-* --limit 6-9", "nothing to run: the ids asked for and the limits leave no sample"),
        ("--sample", "--sample needs a value: --sample ID"),
        ("--sample=", "--sample: the value is empty"),
        ("--failed-in nope", "--failed-in nope: there is no experiment 'nope'"),
        ("--failed-in base", "--failed-in base: experiment 'base' has no run of eval 'plain'"),
        ("--failed-in latest --db none.db", "--failed-in latest: "),
    ]:
        out, _ = room.run(f"run plain.yaml -m echo {words}", 2, says)
        expect(out == "", f"{words}: {out}")
    room.run("run plain.yaml -m replay/plain.jsonl -q --sample q5 --name right")
    room.run("run plain.yaml -m echo --failed-in right", 2, "nothing to run: no attempt of experiment 'right' failed")
    room.run("run plain.yaml -m echo --failed-in plain --sample q5", 2, "the ids asked for and the limits leave no")


def settings(room):
    """Only a flag says which samples: neither a variable nor muster.yaml, which other commands read as well."""
    env = {"MUSTER_SAMPLE": "q7", "MUSTER_FAILED_IN": "plain"}
    room.run("run plain.yaml -m echo -q --name flags", 0, env=env)
    expect(len(room.ran("flags")) == N, "a variable")
    path = room.write("muster.yaml", "sample: q7\nfailed-in: plain\n")
    room.run("run plain.yaml -m echo -q --name file")
    os.unlink(path)
    expect(len(room.ran("file")) == N, "muster.yaml")


def failed_in(room):
    """What show --failed shows, by part: in error, wrong or unscored by the first grader, in any variant."""
    shown = {(a["part"], a["id"]) for a in
             map(json.loads, room.run("show base --failed --json --limit 1000")[0].splitlines())}
    want = {("a", "geo-1"), ("b", "q7"), ("b", "q9"), ("a", "q12")}
    expect(shown == want, f"show --failed: {shown}")
    room.run("run halves.yaml -m replay/base.jsonl --fail-on-error 1 --name again --failed-in base", 0,
             "4 samples failed in experiment base")
    expect(room.ran("again") == want, f"{room.ran('again')}")
    experiment = room.spec("again")
    ids = experiment["spec"]["sample_ids"]
    expect(ids == {"halves/a": ["geo-1", "q12"], "halves/b": ["q7", "q9"]}, f"{ids}")
    origin = experiment["provenance"]["failed_in"]
    expect((origin["word"], origin["name"], origin["id"]) == ("base", "base", room.spec("base")["id"]), f"{origin}")
    for words, narrowed in [
        ("halves.yaml --sample q*", {("b", "q7"), ("b", "q9"), ("a", "q12")}),
        ("halves.yaml --limit 1", {("a", "geo-1"), ("b", "q7")}),
        ("halves.yaml --variant plain", want),
    ]:
        room.run(f"run {words} -m echo -q --failed-in base")
        expect(room.ran() == narrowed, f"{words}: {room.ran()}")
    # Short ids, baselines, and evals of several.
    room.run("promote plain good --first --force")
    for word in (room.spec("plain")["id"], "@good"):
        room.run(f"run plain.yaml -m echo -q --failed-in {word}")
        expect(room.ran() == {("", "q6"), ("", "q8"), ("", "geo-2")}, f"{word}: {room.ran()}")
    # What was not run did not fail.
    room.run("run plain.yaml -m echo --limit 2 -q --name cut")
    room.sql("UPDATE experiment SET state = 'interrupted' WHERE name = 'cut'")
    room.run("run plain.yaml -m echo --failed-in cut", 0, "experiment cut is interrupted: samples that it did not run")
    expect(room.ran() == {("", "geo-0"), ("", "geo-1")}, f"{room.ran()}")
    # The data has moved on.
    text = "".join(json.dumps(r) + "\n" for r in room.rows)
    room.write("rows.jsonl", "".join(json.dumps(r) + "\n" for r in room.rows if r["id"] != "q6"))
    room.run("run plain.yaml -m echo --failed-in plain", 0, "warning: 1 of the samples that failed is not in the data")
    expect(room.ran() == {("", "q8"), ("", "geo-2")}, f"{room.ran()}")
    room.write("rows.jsonl", text)


def resumed(room):
    """The same command goes on, though `latest` is another experiment by now; other samples are another one."""
    room.run("run plain.yaml -m replay/plain.jsonl -q --name source")
    room.run("run plain.yaml -m echo -q --failed-in latest --name second")
    room.sql("UPDATE experiment SET state = 'interrupted' WHERE name = 'second'")
    room.run("run plain.yaml -m echo --failed-in latest --name second --resume", 0, "experiment second",
             "3 done before", "3 samples failed in experiment source")
    room.sql("UPDATE experiment SET state = 'interrupted' WHERE name = 'second'")
    room.run("run plain.yaml -m echo --failed-in latest --resume", 0, "experiment second", "3 done before")
    room.run("run plain.yaml -m echo --name second --resume", 2, "experiment 'second' can not be resumed", "sample_ids")
    room.run("run plain.yaml -m echo -q --sample q6 --name one")
    room.run("run plain.yaml -m echo --sample q8 --name one --resume", 2, "experiment 'one' can not be resumed",
             'samples[0]: "q6" -> "q8"')
    room.run("run plain.yaml -m echo --sample q6 --name one --resume", 0, "1 done before")


def not_resumed(room):
    """Another model, seed, limit, ... is not what was begun with the same word: latest is what it is now."""
    room.run("run plain.yaml -m replay/plain.jsonl -q --name source-2")
    room.run("run plain.yaml -m echo -q --failed-in latest --name begun")
    room.sql("UPDATE experiment SET state = 'interrupted' WHERE name = 'begun'")
    for i, (words, says) in enumerate([
        ("plain.yaml -m replay/plain.jsonl", "1 sample failed in"), ("plain.yaml -m echo --seed 5", "1 sample failed in"),
        ("plain.yaml -m echo -m replay/plain.jsonl", "1 sample failed in"), ("plain.yaml -m echo --limit 2", "1 sample"),
        ("plain.yaml -m echo --epochs 2", "1 sample failed in"), ("plain.yaml -m echo --sample geo*", "1 sample failed in"),
        ("plain.yaml -m echo --shard 1/2", "1 sample failed in"), ("plain.yaml -m echo --chat", "1 sample failed in"),
        ("changed.yaml -m echo", "nothing to go on with"),
    ]):
        room.write("changed.yaml", PLAIN.format(name="plain").replace("max_tokens: 8", "max_tokens: 9"))
        room.run(f"run plain.yaml -m echo -q --limit 1 --name latest-{i}")
        room.run(f"run {words} --failed-in latest --resume", 0, says, f"1 sample failed in experiment latest-{i} ")
        os.unlink(os.path.join(room.folder, "changed.yaml"))
        expect(room.spec()["spec"]["sample_ids"] == {"plain": ["geo-0"]}, f"{words}: {room.spec()['spec']}")
    room.run("run plain.yaml -m echo -q --limit 1 --name latest-now")
    # The newest unfinished one is of another model.
    room.run("run plain.yaml -m replay/plain.jsonl -q --failed-in latest --name begun-2")
    room.run("run plain.yaml -m echo -q --limit 1 --name latest-since")
    room.sql("UPDATE experiment SET state = 'interrupted' WHERE name = 'begun-2'")
    room.run("run plain.yaml -m echo --failed-in latest --resume", 0, "experiment begun", "3 done before")


def sharded(room):
    """Shards of some samples merge to the run in one piece, and it is verified and rescored as any other."""
    line = "run halves.yaml -m replay/base.jsonl -q --fail-on-error 1 --failed-in base --sample q*"
    room.run(f"{line} --name whole")
    for k in (1, 2, 3):
        room.run(f"{line} --name part-{k} --shard {k}/3")
    names = [room.spec(f"part-{k}")["name"] for k in (1, 2, 3)]
    expect(sum(len(room.ran(n)) for n in names if room.spec(n)["done"]) == 3, "shards")
    whole = room.run("show whole --digest")[0]
    room.run("merge .muster/muster.db --only part-* -o merged.db --name all")
    expect(room.run("show all --digest --db merged.db")[0] == whole, "digests differ")
    room.run("rescore whole --name rescored")
    expect(room.run("show rescored --digest")[0] == whole, "a rescored digest")
    expect(room.spec("rescored")["spec"] == room.spec("whole")["spec"], "settings of a rescored experiment")
    room.run("run plain.yaml -m echo -q --sample q* --name echoed")
    room.run("verify echoed --samples 5", 0, "verified")


def compared(room):
    """As with --limit: what the candidate did not run is missing, wherever two experiments are compared."""
    room.run("run plain.yaml other.yaml -m replay/plain.jsonl -q --failed-in plain --name few")
    room.run("run plain.yaml other.yaml -m replay/plain.jsonl -q --limit 3 --name limited")
    room.run("run plain.yaml other.yaml -m replay/plain.jsonl -q -s geo-0 -s geo-1 -s geo-2 --name picked")
    room.run("promote plain main --force --first")
    room.write("policy.yaml", "schema: 1\ngate: policy\nmax_regression: {plain: 0.5, other: 0.5}\ndetect: 1\n")
    for name in ("few", "limited", "picked"):
        room.run(f"gate {name} -b plain --max-regression 0.5 --detect 1", 1, "17 of 20 samples lack a value",
                 "candidate: 17 missing", "FAIL")
        room.run(f"promote {name} main --policy policy.yaml", 1, "candidate: 17 missing")
        room.run(f"diff plain {name}", 0, "candidate 17 missing")
    for line in ("{} -b plain --max-regression 0.5", "plain -b {} --max-regression 0.01", "{} --min plain=0.6",
                 "{} --max plain=0.1 --budget-tokens 1000"):
        out = [room.any(f"gate {line.format(name)} --json") for name in ("limited", "picked")]
        expect(out[0]["checks"] == out[1]["checks"] and out[0]["ok"] == out[1]["ok"], f"{line}: {out}")
    rows = [room.json(f"diff plain {name} --json")["diffs"][0]["rows"] for name in ("limited", "picked")]
    expect(rows[0] == rows[1], f"{rows}")
    room.run("diff plain few", 0, 'settings      sample_ids none → sample_ids {"other": ["geo-2", "q6", "q8"], '
                                  '"plain": ["geo-2", "q6", "q8"]}')
    # Where a subset is shown, or judged by bounds alone, its words say what it is.
    for name, words in (("limited", "limit 3"), ("picked", "samples geo-0 geo-1 geo-2"),
                        ("few", "those that failed elsewhere")):
        room.run(f"gate {name} --min plain=0", 0, f", only {words})")
        room.run(f"show {name}", 0, words)
        room.run(f"diff plain {name}", 0, words[:11])  # tables cut
    expect("only" not in room.run("show plain")[0], "a whole experiment called a part")
    # A part without a sample has no run: it is missing as a whole.
    room.run("run halves.yaml -m replay/base.jsonl -q --fail-on-error 1 --failed-in base --sample geo* --name a-only")
    room.run("gate a-only -b base --max-regression 0.5 --detect 1", 1, "the candidate lacks 1 of the 2 parts of halves")
    room.run("run plain.yaml -m replay/plain.jsonl -q --sample q6 --name one-eval")
    room.run("gate one-eval -b plain --max-regression 0.5 --detect 1", 1, "the baseline has runs of other")
    points = room.json("trend plain --model replay/plain.jsonl --json")["series"][0]["points"]
    planned = {p["experiment"]: p["planned"] for p in points}
    expect((planned["plain"], planned["few"], planned["limited"], planned["one-eval"]) == (20, 3, 3, 1), f"{planned}")
    room.run("run plain.yaml -m replay/plain.jsonl -q --limit 4-6 --name later")
    points = room.json("trend plain --model replay/plain.jsonl --json")["series"][0]["points"]
    changed = {p["experiment"]: p["changed"] for p in points}
    expect(changed["few"] == "samples 20 -> 3 (those that failed elsewhere)" and changed["later"] == "samples 1 -> 3 (limit 4-6)"
           and changed["limited"] == "another choice of samples (limit 3)", f"{changed}")


def main():
    muster, root = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        room = Room(muster, root, folder)
        return tap([
            ("samples by id", by_id), ("ids and experiments that are not there", wrong_usage),
            ("no settings but flags", settings), ("what failed in an experiment", failed_in), ("resumed", resumed),
            ("shards, merge, rescore, verify", sharded), ("diff, gate, promote, trend", compared),
            ("begun otherwise", not_resumed)], room)


if __name__ == "__main__":
    sys.exit(main())
