# SPDX-License-Identifier: MIT
"""What can go wrong in a pipeline, from the model to the baseline: each situation with the command that meets it, its
exit code and the words that have to be said.

faults.py MUSTER SOURCE_ROOT: TAP, and docs/faults.md has to be this table. faults.py --markdown prints it.
The gate's own rule has its table in gate.py, wrong usage its own in cli.py, a full disk and kills at random instants
theirs in tests/fault. Everything is local: echo, recorded replies, and tests/mock/server.py."""
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile

import cli
from cli import EVAL, MANY, POLITE
from situations import Skip, expect, tap

GRADER = """return {{ name = "{name}", version = {version}, grade = function(sample, reply, _, ctx)
{body}
end }}
"""
GRADED = """schema: 1
eval: {name}
dataset: {{path: {rows}}}
sample: {{id: "{{{{ id }}}}", input: "{{{{ q }}}}", target: "{{{{ a }}}}"{more}}}
solver: {{use: generate, max_tokens: 8}}
graders: [{grader}]
metrics: [mean]
"""
DATASET = """schema: 1
dataset: pinned
license: MIT
url: http://127.0.0.1:1/
files: {test: pinned.jsonl}
sources: [{path: pinned.jsonl, bytes: 23, sha256: SHA}]
"""
PINNED = '{"q": "a?", "a": "a?"}\n'
USES = """schema: 1
eval: pinned
dataset: {use: pinned}
sample: {input: "{{ q }}", target: "{{ a }}"}
solver: {use: generate}
graders: [{use: exact}]
"""
TWO_CALLS = """return { name = "twice", version = 1, solve = function(sample, ctx)
  ctx.generate(sample.input)
  return ctx.generate(sample.input)
end }
"""
PARTIAL = "return tonumber(reply.text)"


class Room(cli.Room):
    """The folder of cli.py, with graders in Lua, experiments of recorded replies and a server that misbehaves."""

    def __init__(self, program, root, folder, port):
        super().__init__(program, root, folder)
        self.server = f"http://127.0.0.1:{port}"
        self.env = {k: v for k, v in self.env.items() if not k.startswith("GITHUB_")}
        self.env["OPENAI_API_KEY"] = "secret-of-this-test"

    def words(self, line):
        return [word.replace("SERVER", self.server) for word in (line if isinstance(line, list) else line.split())]

    def do(self, line, code=0):
        out, err = self.run(self.words(line), code)
        return out + err

    def grader(self, name, body, version=1):
        self.write(f"{name}.lua", GRADER.format(name=name, version=version, body=body))

    def graded(self, name, n=60, grader=None, more=""):
        """An eval of n rows whose grader reads the score from the reply."""
        if grader is None:
            self.grader(name, PARTIAL)
        self.write(f"{name}.jsonl", "".join(json.dumps({"id": i, "q": f"{name} {i}", "a": "1", "c": i // 20}) + "\n"
                                            for i in range(n)))
        self.write(f"{name}.yaml", GRADED.format(name=name, rows=f"{name}.jsonl", more=more,
                                                 grader=grader or f"{{use: {name}}}"))

    def experiment(self, name, of, scores, *flags):
        """Run an eval on replies that are its scores; None: there is no reply."""
        self.write(f"{name}.replies.jsonl", "".join(json.dumps({"id": i, "text": str(s)}) + "\n"
                                                    for i, s in enumerate(scores) if s is not None))
        self.do(["run", f"{of}.yaml", "-m", f"replay/{name}.replies.jsonl", "--name", name, "-q",
                 "--fail-on-error", "1", *flags])

    def sql(self, statement, db=".muster/muster.db"):
        with sqlite3.connect(os.path.join(self.folder, db)) as connection:
            connection.execute(statement)
        connection.close()


# ---- What comes before a situation --------------------------------------------------------------

def lua(name, body):
    def prepare(room):
        room.grader(name, body)
        room.write(f"{name}.yaml", EVAL.replace("capitals", name).replace("includes", name))
    return prepare


def metric(name, body):
    def prepare(room):
        room.write(f"metrics/{name}.lua", f'return {{ name = "{name}", version = 1, metric = function(scores)\n{body}\nend }}\n')
        room.write(f"{name}.yaml", EVAL.replace("capitals", name) + f"metrics: [{name}]\n")
    return prepare


def silent_metric(room):
    metric("hushed", "error('called')")(room)
    lua("mute", 'return unscored("no verdict in it")')(room)
    room.write("hushed.yaml", EVAL.replace("capitals", "hushed").replace("includes", "mute") + "metrics: [hushed]\n")


def rows(name, text, change=("", "")):
    def prepare(room):
        room.write(f"{name}.jsonl", text)
        room.write(f"{name}.yaml", MANY.replace("many", name).replace(*change))
    return prepare


def pinned(room):
    """A dataset whose file on the mirror is not the one that the registry describes."""
    room.write("mirror/pinned.jsonl", PINNED)
    room.write("reg/datasets/pinned.yaml", DATASET.replace("SHA", "a" * 64))
    room.write("reg/evals/pinned.yaml", USES)
    room.env["MUSTER_MIRROR"] = os.path.join(room.folder, "mirror")


def limited(then):
    def prepare(room):
        room.write("twice.lua", TWO_CALLS)
        room.write("twice.yaml", MANY.replace("{use: generate, max_tokens: 8}", "{use: twice}") +
                   f"limits: {{tokens: 2, then: {then}}}\n")
    return prepare


def priced(room):
    room.write("priced.yaml", EVAL.replace("capitals", "priced") + "limits: {cost_usd: 0.5}\n")


def polite(room):
    room.write("polite.yaml", POLITE)


def judged(room):
    """Twelve verdicts, half of which can not be read, and an eval with its gate."""
    polite(room)
    text = POLITE.replace('rows: [{q: "Please say\\nY"}, {q: "Please say\\nmaybe"}]', "path: judged.jsonl")
    room.write("judged.jsonl", "".join(json.dumps({"q": "say\n" + ("Y" if i % 2 else "perhaps")}) + "\n"
                                       for i in range(40)))
    room.judged = text.replace("polite", "judged")
    room.write("judged.yaml", room.judged)
    room.do("run judged.yaml -m echo --role judge=echo --name verdicts -q")
    room.do("run judged.yaml -m echo --role judge=echo --name verdicts-again -q")


def nans(room):
    room.graded("nan")
    room.experiment("numbers", "nan", [0.5] * 30 + [0.6] * 30)
    room.experiment("nans", "nan", ["nan"] * 6 + [0.5] * 24 + [0.6] * 30)


def unscored(room):
    lua("silent", 'return unscored("no verdict in it")')(room)
    room.do("run silent.yaml -m echo --name silent -q")


def constant(room):
    """Every answer a little worse, by the same: no spread at all."""
    room.graded("flat", 30)
    room.experiment("flat-base", "flat", [0.51] * 30)
    room.experiment("flat-worse", "flat", [0.5] * 30)
    room.experiment("flat-equal", "flat", [0.51] * 30)


def clusters(room):
    room.graded("passages", 60, more=', cluster: "{{ c }}"')
    room.experiment("three", "passages", [0.5 + i % 7 / 100 for i in range(60)])
    room.experiment("three-again", "passages", [0.5 + i % 5 / 100 for i in range(60)])


def single(room):
    room.graded("single", 1)
    room.experiment("single-base", "single", [1])
    room.experiment("single-same", "single", [1])


def versions(room):
    """The same replies scored by two versions of a grader."""
    room.graded("strict")
    room.experiment("strict-1", "strict", [i % 2 for i in range(60)])
    room.grader("strict", "return (tonumber(reply.text) + 1) / 2", version=2)
    room.experiment("strict-2", "strict", [i % 2 for i in range(60)])


def judge_changed(room):
    """The judge is asked something else now, so that its stored replies do not answer."""
    room.write("judged.yaml", room.judged.replace('"{{ answer }}"', '"Verdict: {{ answer }}"'))


def drifted(room):
    """Three rows of the dataset were corrected between two experiments."""
    room.graded("drift", 60, "{use: exact}")
    room.experiment("drift-old", "drift", [1] * 60)
    path = os.path.join(room.folder, "drift.jsonl")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    room.write("drift.jsonl", re.sub(r"drift ([123])\b", r"corrected \1", text))
    room.experiment("drift-new", "drift", [1] * 60)


def halves(room):
    room.graded("half", 60, "{use: exact}")
    room.experiment("whole", "half", [1] * 60)
    room.experiment("first-half", "half", [1] * 60, "-n", "30")


def promoting(room):
    """Three experiments of one eval, a policy that passes and one that does not."""
    room.graded("quiz", 200, "{use: exact}")
    room.experiment("first", "quiz", [i % 4 and 1 for i in range(200)])
    room.experiment("good", "quiz", [i % 8 and 1 for i in range(200)])
    room.experiment("bad", "quiz", [i % 2 for i in range(200)])
    room.write("release.yaml", "schema: 1\ngate: release\nmin: {quiz: 0.4}\nmax_regression: {quiz: 0.02}\n")
    room.write("nothing.yaml", "schema: 1\ngate: nothing\n")


def shards(room):
    for k, of in ((1, "one"), (2, "two")):
        room.do(f"run many.yaml -m echo --name sharded --shard {k}/2 --db {of}.db -q")
    room.do("run many.yaml -m echo --name sharded --shard 2/2 --seed 7 --db seeded.db -q")
    room.do("merge one.db -o all.db")


def newer(room):
    room.do("run capitals.yaml -m echo --name kept --db newer.db -q")
    room.sql("PRAGMA user_version = 99", "newer.db")


def damaged(room):
    room.do("run many.yaml -m echo --name kept --db damaged.db -q")
    path = os.path.join(room.folder, "damaged.db")
    with open(path, "r+b") as f:
        f.seek(4096)
        f.write(b"\xff" * (os.path.getsize(path) - 4096))


def killed(room):
    """A run that dies by SIGKILL while four replies are in and the fifth is awaited."""
    server = room.stuck = cli.Stuck()
    words = ["run", "many.yaml", "-m", "openai/stuck", "--base-url", f"http://127.0.0.1:{server.server_port}/v1",
             "--max-connections", "1", "--name", "killed"]
    read, write = os.pipe()
    process = subprocess.Popen([room.program, *words, "--events", str(write)], cwd=room.folder, env=room.env,
                               pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as f:
        for _ in range(4):
            expect(f.readline(), "an attempt before the kill")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    room.killed = words


def locked(room, line, code, says):
    """Two writers of one experiment: the second is told, the first goes on."""
    server = cli.Stuck()
    words = ["run", "many.yaml", "-m", "openai/stuck", "--base-url", f"http://127.0.0.1:{server.server_port}/v1",
             "--max-connections", "1", "--name", "busy"]
    read, write = os.pipe()
    try:
        process = subprocess.Popen([room.program, *words, "--events", str(write)], cwd=room.folder, env=room.env,
                                   pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as f:
            expect(f.readline(), "a first attempt")
            try:
                check(room, [*words, "--resume"], code, says)
                check(room, "gate busy --min many=0.1", 1, ["experiment 'busy' is running"])
            finally:
                server.release.set()
                f.read()
        expect(process.wait(timeout=60) == 0, "the first writer")
    finally:
        server.close()


def resumed(room, line, code, says):
    """What was killed goes on with the same command, and what is acknowledged is not asked again."""
    server = room.stuck
    server.release.set()
    before = server.n
    try:
        check(room, [*room.killed, "--resume"], code, says)
        expect(server.n - before == cli.N_MANY - 4, f"{server.n - before} requests")
    finally:
        server.close()


def as_nobody(room, line, code, says):
    """A store that may be read and not written, for a user who is not root."""
    room.do("run capitals.yaml -m echo --name seen --db shelf/kept.db -q")
    folder = os.path.join(room.folder, "shelf")
    for path, mode in ((room.folder, 0o755), (folder, 0o555), (os.path.join(folder, "kept.db"), 0o444)):
        os.chmod(path, mode)

    def drop():
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
    try:
        if os.getuid() == 0 and subprocess.run([room.program, "--version"], preexec_fn=drop, check=False,
                                               capture_output=True).returncode != 0:
            raise Skip("another user can not run the program")
        for words, want, text in ((line, code, says), ("gate seen --max capitals=1 --db shelf/kept.db", 0, ["PASS"]),
                                  ("promote seen main --first -p capitals-gate.yaml --db shelf/kept.db", 5, says)):
            done = subprocess.run([room.program, *room.words(words)], cwd=room.folder, env=room.env, preexec_fn=drop,
                                  capture_output=True, text=True, timeout=60, check=False)
            judge(words, done.returncode, done.stdout + done.stderr, want, text)
    except OSError as error:
        raise Skip(f"another user can not run the program: {error}") from error
    finally:
        os.chmod(folder, 0o755)


def gate_of_capitals(room):
    room.write("capitals-gate.yaml", "schema: 1\ngate: any\nmax: {capitals: 1}\n")


# ---- The table ----------------------------------------------------------------------------------

def judge(line, got, text, code, says):
    shown = f"muster {line if isinstance(line, str) else ' '.join(line)}: exit {got}\n{text[-2000:]}"
    expect(got == code, f"{shown}\nwant exit {code}")
    for words in says:
        expect(words in text, f"{shown}\nwant {words!r}")
    expect("secret-of-this-test" not in text, f"{shown}\nthe key is shown")


def check(room, line, code, says):
    done = subprocess.run([room.program, *room.words(line)], cwd=room.folder, env=room.env, capture_output=True,
                          text=True, timeout=120, check=False)
    judge(line, done.returncode, done.stdout + done.stderr, code, says)


SERVED = "run capitals.yaml -m openai/m --base-url SERVER"
Q = "-p release.yaml"
SITUATIONS = [
    ("The model", [
        # situation, preparation, command, exit code, words that have to be said, runner
        ("the key is refused (401)", None, f"{SERVED}/status;code=401/v1", 4,
         ["does not accept the key (status 401)", "--resume --name"]),
        ("the model or the route does not exist (404)", None, f"{SERVED}/status;code=404/v1", 4,
         ["does not know the model or the route (status 404)"]),
        ("a success that holds an error", None, "run capitals.yaml -m openai/error-in-200 --base-url SERVER/ok/v1", 4,
         ["an error in a success: the model does not exist"]),
        ("the provider is down", None, "run capitals.yaml -m openai/m --base-url http://127.0.0.1:1/v1 --max-retries 1",
         4, ["to go on: run the same command with --resume"]),
        ("every connection breaks", None, f"{SERVED}/cut/v1 --max-retries 2", 4, ["transfer closed", "3 to do"]),
        ("no answer in time", None, f"{SERVED}/slowheader;s=9/v1 --timeout 1 --max-retries 1", 4,
         ["timed out after 1"]),
        ("the server keeps failing (500), retries are spent", None, f"{SERVED}/status;code=500/v1 --max-retries 2", 3,
         ["3 errors", "the server keeps failing (status 500)", "--failed"]),
        ("the rate limit does not end (429)", None, f"{SERVED}/status;code=429/v1 --max-retries 1 -n 1", 3,
         ["the rate limit did not end (status 429)"]),
        ("a failure that goes away", None, f"{SERVED}/status;code=503;times=1/v1", 0, ["3 of 3 attempts"]),
        ("answers that are no JSON", None, f"{SERVED}/html/v1", 3, ["the answer is not JSON"]),
        ("prompts longer than the context", None, "run capitals.yaml -m openai/context --base-url SERVER/ok/v1", 3,
         ["longer than the model's context"]),
        ("a share of failed attempts that is allowed", None,
         f"{SERVED}/status;code=500;x=1/v1 --max-retries 1 --fail-on-error 1", 0, ["3 errors"]),
        ("the judge's key is refused", polite,
         "run polite.yaml -m echo --role judge=openai/j --base-url SERVER/status;code=401;x=2/v1", 4,
         ["role 'judge'", "does not accept the key"]),
        ("the judge keeps failing", polite,
         "run polite.yaml -m echo --role judge=openai/j --base-url SERVER/status;code=500;x=3/v1 --max-retries 1", 3,
         ["2 errors", "role 'judge'"]),
    ]),
    ("Data and graders", [
        ("an empty dataset", rows("void", ""), "run void.yaml -m echo", 2, ["the dataset has no rows"]),
        ("a `where` that keeps nothing", rows("none", '{"q": "a"}\n', ("none.jsonl}", 'none.jsonl, where: "{{ false }}"}')),
         "run none.yaml -m echo", 2, ["where keeps none of 1 rows"]),
        ("two samples of one id", rows("ids", '{"q": "a", "id": 1}\n{"q": "b", "id": 1}\n',
                                       ("sample: {", 'sample: {id: "{{ id }}", ')),
         "run ids.yaml -m echo", 2, ["two samples have the id '1'"]),
        ("a column that the data does not have", rows("col", '{"question": "a"}\n'), "run col.yaml -m echo", 2,
         ["unknown variable 'q'"]),
        ("a row that is cut off", rows("cut", '{"q": "a"}\n{"q":\n'), "run cut.yaml -m echo", 2, ["cut.jsonl:2"]),
        ("a pinned file that changed", pinned, "pull pinned --registry reg", 4,
         ["can not get 'pinned.jsonl'", "no file of this size and checksum"]),
        ("a grader calls error()", lua("broken", 'error("the list is missing")'), "run broken.yaml -m echo", 3,
         ["grader 'broken': broken.lua:2: the list is missing"]),
        ("a grader returns NaN", lua("zero", "return 0 / 0"), "run zero.yaml -m echo", 3,
         ["the score is not a finite number"]),
        ("a grader that never ends", lua("loops", "while true do end"), "run loops.yaml -m echo -n 1", 3,
         ["instructions is spent"]),
        ("a metric in Lua fails", metric("fraught", "error('no such share')"), "run fraught.yaml -m echo -q", 3,
         ["error: no value of fraught, includes.fraught: metric 'fraught': ", "fraught.lua:2: no such share"]),
        ("a metric in Lua has nothing to compute from", silent_metric, "run hushed.yaml -m echo", 0, ["3 unscored"]),
        ("nothing can be scored: the run is fine, the gate is not", unscored, "run silent.yaml -m echo", 0,
         ["3 unscored"]),
        ("a judge whose verdict can not be read", judged, "run polite.yaml -m echo --role judge=echo", 0,
         ["1 unscored"]),
        ("a limit in dollars on a model of unknown price", priced, "run priced.yaml -m openai/m --base-url SERVER/ok/v1", 2,
         ["cost_usd needs the price of model"]),
        ("a limit is spent, `then: error`", limited("error"), "run twice.yaml -m echo", 3,
         ["12 errors", "the limit of tokens is spent"]),
        ("a limit is spent, `then: zero`: right answers count as wrong", limited("zero"), "run twice.yaml -m echo", 0,
         ["includes.accuracy  0.000"]),
        ("a limit is spent, `then: grade`: the last reply is scored", limited("grade"), "run twice.yaml -m echo", 0,
         ["includes.accuracy  1.000"]),
    ]),
    ("The store and the process", [
        ("a store of a newer version", newer, "run capitals.yaml -m echo --db newer.db", 5,
         ["has version 99", "use a newer muster"]),
        ("a damaged store", damaged, "show kept --db damaged.db", 5, ["damaged.db"]),
        ("a store that can not be written; reading it still works", gate_of_capitals,
         "run capitals.yaml -m echo --db shelf/kept.db", 5, ["shelf/kept.db"], as_nobody),
        ("two processes write one experiment", None, "run many.yaml -m .. --name busy --resume", 5,
         ["busy"], locked),
        ("a killed run is gated", killed, "gate killed --min many=0.1", 1,
         ["experiment 'killed' is interrupted: 4 of 12 attempts are done", "--resume --name killed"]),
        ("a killed run goes on", None, "run many.yaml -m .. --name killed --resume", 0, ["12 of 12 attempts"], resumed),
        ("a run goes on with other settings", None, "run many.yaml -m echo --name killed --resume", 2,
         ["can not be resumed, it is a different one"]),
    ]),
    ("The gate", [
        ("NaN scores, taken at their worst", nans, "gate nans -b numbers --max-regression 0.02", 1,
         ["6 of 60 samples lack a value (candidate: 6 errors)"]),
        ("nothing is scored", None, "gate silent --min silent=0.5", 1,
         ["3 of 3 samples lack a value (candidate: 3 unscored)", "FAIL"]),
        ("half of the verdicts can not be read", None, "gate verdicts -b verdicts-again --max-regression 0.02", 1,
         ["20 of 40 samples lack a value (candidate: 20 unscored; baseline: 20 unscored)"]),
        ("no spread at all: the error is zero and is not believed", constant,
         "gate flat-worse -b flat-base --max-regression 0.02", 1, ["TOO FEW", "all samples differ by the same"]),
        ("no difference in 30 samples", None, "gate flat-equal -b flat-base --max-regression 0.02", 1,
         ["TOO FEW", "fewer than 10 samples differ"]),
        ("three clusters", clusters, "gate three-again -b three --max-regression 0.02 --mode noninferiority", 1,
         ["fewer than 10 clusters", "about 200 samples would decide"]),
        ("one sample", single, "gate single-same -b single-base --max-regression 0.02", 1, ["TOO FEW"]),
        ("another version of a grader", versions, "gate strict-2 -b strict-1 --max-regression 0.02", 1,
         ["strict: graders are the same", "muster rescore strict-1"]),
        ("rows of the dataset changed", drifted, "gate drift-new -b drift-old --max-regression 0.02", 1,
         ["the dataset changed 3 of these samples", "run the baseline on it again"]),
        ("half of the samples are missing", halves, "gate first-half -b whole --max-regression 0.02", 1,
         ["30 of 60 samples lack a value (candidate: 30 missing)"]),
        ("the baseline is missing", promoting, f"gate first -b @main {Q}", 1,
         ["there is no baseline 'main' yet", "promote first main --first"]),
        ("the candidate is missing", None, f"gate frist {Q}", 2, ["there is no experiment 'frist'", "did you mean"]),
        ("the candidate is the baseline", None, f"gate first -b first {Q}", 1, ["experiment 'first' is on both sides"]),
        ("another eval than the policy's", None, f"gate silent {Q}", 1, ["the policy is about eval 'quiz'"]),
        ("a metric that there is not", None, "gate first --min quiz.f1=0.5", 1, ["no such metric"]),
        ("a policy without checks", None, "gate first -p nothing.yaml", 2, ["a gate file needs a check"]),
        ("failed attempts over budget", None, "gate nans --budget-error-rate 0.05", 1, ["error_rate <= 0.05: 0.1 of"]),
        ("what it cost is not known", None, "gate first --budget-cost 5", 1, ["what it cost is not known"]),
    ]),
    ("Comparing and exporting", [
        ("experiments without an eval in common", None, "diff silent first", 2, ["nothing pairs"]),
        ("an experiment with itself", None, "diff first first", 2, ["the same runs of the same experiment"]),
        ("with a baseline that there is not", None, "diff @nothing first", 2,
         ["there is no baseline 'nothing'"]),
        ("other data on both sides", None, "diff drift-old drift-new", 0,
         ["60 → 60 (3 changed)", "left out of drift: 3 changed between the two"]),
        ("a folder that there is not", None, "export first -o no/such/folder/x.jsonl", 2, ["No such file or directory"]),
    ]),
    ("Rescoring", [
        ("the baseline's replies by the graders of now", None, "rescore strict-1 --name strict-now", 0, ["strict-now"]),
        ("and the gate against them", None, "gate strict-2 -b strict-now --max-regression 0.02 --detect 0.2", 0,
         ["loss <= 0.02", "gate: PASS"]),
        ("the judge would have to be asked again", judge_changed, "rescore verdicts", 3, ["needs a model"]),
        ("an experiment that there is not", None, "rescore strict-9", 2, ["there is no experiment 'strict-9'"]),
    ]),
    ("Baselines", [
        ("a first promotion that is not called so", None, f"promote first main {Q}", 1,
         ["there is no baseline 'main' yet; --first makes it"]),
        ("a first promotion that fails its policy", None, "promote silent main --first -p release.yaml", 1, ["refused"]),
        ("a first promotion", None, f"promote first main --first {Q}", 0, ["baseline main is now first"]),
        ("first, where there is one already", None, f"promote good main --first {Q}", 2, ["is there already"]),
        ("a candidate that lost", None, f"promote bad main {Q}", 1, ["refused: the policy does not pass"]),
        ("a candidate that gained", None, f"promote good main {Q}", 0, ["baseline main is now good, was first"]),
        ("the same again, as when a pipeline runs twice", None, f"promote good main {Q}", 0,
         ["baseline main is good already"]),
        ("against the policy, by force", None, f"promote bad main {Q} --force", 0, ["forced against the policy"]),
        ("the history says so", None, "list baselines main", 0, ["forced"]),
        ("no policy at all", None, "promote good main", 2, ["there is no policy", "muster gate also takes --min"]),
    ]),
    ("Shards", [
        ("a shard by itself", shards, "gate sharded --min many=0.5 --db one.db", 1,
         ["has 1 of 2 shards", "muster merge"]),
        ("a merge without one of them", None, "gate sharded --min many=0.5 --db all.db", 1, ["has 1 of 2 shards"]),
        ("the merge of all of them", None, "merge two.db -o all.db", 0, ["2 of 2 shards"]),
        ("and its gate", None, "gate sharded --min many=0.5 --db all.db", 0, ["gate: PASS"]),
        ("merged again", None, "merge one.db two.db -o all.db", 0, ["0 new"]),
        ("shards of different settings", None, "merge one.db seeded.db -o none.db", 2,
         ["are no shards of one run (seed: 0 -> 7)"]),
        ("a shard's file that is not there", None, "merge one.db lost.db -o none.db", 2, ["there is no store 'lost.db'"]),
    ]),
]


def markdown():
    """The page of the docs."""
    lines = ["# What happens when", "",
             "Printed by `tests/golden/faults.py --markdown`; the test that runs these situations compares this page with",
             "its table. The gate's own rule, with more of them, is tested by `tests/golden/gate.py`.", "",
             "Exit codes: 0 pass, 1 gate failed, 2 usage or configuration, 3 attempts failed beyond what is allowed, or a metric in Lua,",
             "4 model or provider unusable, 5 store."]
    for title, situations in SITUATIONS:
        lines += ["", f"## {title}", "", "| situation | verb | exit | it says |", "|---|---|---|---|"]
        for what, _, line, code, says, *_ in situations:
            verb = line.split()[0]
            words = "; ".join(f"`{text}`" for text in says)
            lines.append(f"| {what} | `{verb}` | {code} | {words} |")
    return "\n".join(lines) + "\n"


def page(room):
    with open(os.path.join(room.root, "docs", "faults.md"), encoding="utf-8") as f:
        expect(f.read() == markdown(), "docs/faults.md is not this table: faults.py --markdown > docs/faults.md")


def run_one(room, situation):
    what, prepare, line, code, says, *runner = situation
    if prepare:
        prepare(room)
    (runner[0] if runner else check)(room, line, code, says)


def main():
    if sys.argv[1:] == ["--markdown"]:
        sys.stdout.write(markdown())
        return 0
    program, root = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    server = subprocess.Popen([sys.executable, os.path.join(root, "tests", "mock", "server.py")],
                              stdout=subprocess.PIPE, text=True)
    tests = [(f"{title}: {s[0]}", lambda room, s=s: run_one(room, s)) for title, many in SITUATIONS for s in many]
    tests.append(("docs/faults.md", page))
    try:
        port = int(server.stdout.readline())
        with tempfile.TemporaryDirectory() as folder:
            return tap(tests, Room(program, root, folder, port))
    finally:
        server.kill()
        server.wait()


sys.exit(main())
