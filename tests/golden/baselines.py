# SPDX-License-Identifier: MIT
"""Baselines, lists by filter, trend and gc, as their users meet them.

baselines.py MUSTER SOURCE_ROOT: TAP. Recorded replies only; no network."""
import json
import os
import re
import sqlite3
import sys
import tempfile

from cli import Room
from situations import expect, tap

N = 200
NUMBERS = """schema: 1
eval: numbers
version: 1
dataset: {path: numbers.jsonl}
sample: {input: "{{ q }}", target: "{{ q }}"}
solver: {use: generate, max_tokens: 8}
graders: [{use: exact}]
GATE"""
STRICT = "schema: 1\ngate: strict\nmin: {numbers: 0.99}\nmax_regression: {numbers: 0.02}\n"


def prepare(room):
    """Four experiments: all right, two in three right, all right again, and one of another eval without a gate."""
    room.write("numbers.yaml", NUMBERS.replace("GATE", "gate: {min: {accuracy: 0.5}, max_regression: 0.02}\n"))
    room.write("plain.yaml", NUMBERS.replace("GATE", "").replace("eval: numbers", "eval: plain"))
    room.write("numbers.jsonl", "".join(json.dumps({"q": str(i)}) + "\n" for i in range(N)))
    room.write("strict.yaml", STRICT)
    for name, right in (("good", lambda i: True), ("bad", lambda i: i % 3 > 0), ("again", lambda i: True)):
        room.write(name + ".jsonl", "".join(json.dumps({"id": str(i), "text": str(i) if right(i) else "x"}) + "\n"
                                            for i in range(N)))
        room.run(f"run numbers.yaml -m replay/{name}.jsonl --name {name} --tag branch={name}/x --tag nightly=1 -q")
    room.run("run plain.yaml -m echo --name plain -q --tag branch=main")


def promote(room):
    out, _ = room.run("promote good main", 1)
    expect("refused: there is no baseline 'main' yet; --first makes it\n" in out, out)
    expect(room.json("list baselines --json") == [], "refused, and yet there")
    out, _ = room.run("promote good main --first")
    expect("PASS     numbers exact.accuracy >= 0.5" in out and "max_regression" not in out, out)
    expect(out.endswith("baseline main is now good\n"), out)
    room.run("promote good main --first", 2, "baseline 'main' is there already (it is 'good')")
    out, _ = room.run("promote bad main", 1)
    expect(re.search(r"^FAIL +numbers exact.accuracy loss <= 0.02 +0.665 +1.000 +-0.335", out, re.M), out)
    expect(out.endswith("refused: the policy does not pass\n"), out)
    out, _ = room.run("promote bad main --force")
    expect(out.endswith("baseline main is now bad, was good; forced against the policy\n"), out)
    result = room.json("promote again @main --json")
    expect((result["promoted"], result["forced"], result["replaces"]) == (True, False, "bad"), f"{result}")
    expect(result["gate"]["ok"] is True and len(result["gate"]["checks"]) == 2, f"{result['gate']}")
    result = room.json("promote again main --json")  # a pipeline that runs twice moves a baseline once
    expect((result["promoted"], result["refused"], result["gate"]) == (False, None, None), f"{result}")
    expect(room.run("promote again main")[0] == "baseline main is again already\n", "already")
    out, _ = room.run("promote bad main --policy strict.yaml", 1)
    expect("numbers exact.accuracy >= 0.99" in out, out)


def promote_without_policy(room):
    room.run("promote plain other", 2)
    room.run("promote plain other --first", 2)
    out, _ = room.run("promote plain other --force")
    expect(out == "baseline other is now plain; forced without a policy\n", out)
    room.run("promote plain third --first --policy strict.yaml", 1)  # the policy's eval did not run


def promote_wrong(room):
    for line, code, says in (
            ("promote good", 2, "usage: muster promote EXPERIMENT BASELINE"),
            ("promote nothere main", 2, "there is no experiment 'nothere'"),
            ("promote good:eval=numbers main", 2, "a baseline points to a whole experiment"),
            ("promote good a:b", 2, "the name of a baseline has no spaces"),
            ("promote good latest", 2, "'latest' can not be the name of a baseline"),
            ("promote good main --policy nothere", 2, "nothere"),
            ("promote good main --db none.db", 2, "there is no store 'none.db' yet")):
        room.run(line, code, says)
    expect(not os.path.exists(os.path.join(room.folder, "none.db")), "a store was made")


def history(room):
    moves = room.json("list baselines main --json")
    expect([m["experiment"] for m in moves] == ["good", "bad", "again"], f"{moves}")
    expect([m["forced"] for m in moves] == [False, True, False], f"{moves}")
    expect(all(re.fullmatch(r".+@.+", m["who"]) for m in moves), f"{moves}")
    expect(moves[1]["verdict"]["ok"] is False, "the verdict is kept")
    out, _ = room.run("list baselines main")
    expect(re.search(r"^main +bad +\w{6} +\d{4}-\d\d-\d\dT[\d:]+Z +\S+@\S+ +forced$", out, re.M), out)
    names = [(b["baseline"], b["experiment"]) for b in room.json("list baselines --json")]
    expect(names == [("main", "again"), ("other", "plain")], f"{names}")
    expect(len(room.json("list baselines main --json --limit 1")) == 1, "--limit")
    room.run("list baselines mian", 2, "did you mean 'main'?")
    room.run("list experiments main", 2, "unexpected argument 'main'")


def named_by_baseline(room):
    expect(room.json("show @main --json")["experiment"]["name"] == "again", "show @main")
    expect(room.run("show @main --digest")[0] == room.run("show again --digest")[0], "digest")
    out, _ = room.run("gate bad --baseline @main", 1)
    expect("baseline again" in out, out)
    room.run("run numbers.yaml -m replay/@main --name replayed -q --tag branch=main")
    expect(room.json("show replayed --json")["runs"][0]["metrics"][0]["value"] == 1, "replay/@main")
    room.run("show @mian", 2, "did you mean 'main'?")
    room.run("run numbers.yaml -m echo --name @main", 2, "the name of an experiment has no spaces")


def filters(room):
    def names(line, code=0):
        return [e["name"] for e in room.json(f"list experiments --json {line}", code)]

    for line, want in (
            ("", ["good", "bad", "again", "plain", "replayed"]),
            ("--limit 2", ["plain", "replayed"]),
            ("--tag nightly=1", ["good", "bad", "again"]),
            ("--tag nightly", ["good", "bad", "again"]),
            ("--tag nightly --tag branch=b*", ["bad"]),
            ("--tag branch=ma?n --limit 1", ["replayed"]),
            ("--eval num*", ["good", "bad", "again", "replayed"]),
            ("--eval plain -m echo", ["plain"]),
            ("--eval numbers -m echo", []),
            ("--state finished --eval plain", ["plain"]),
            ("--state running", []),
            ("--since 1970-01-01", ["good", "bad", "again", "plain", "replayed"]),
            ("--since 1h --tag branch=good/x", ["good"]),
            ("--since 2999-12-31T23:59:59Z", [])):
        expect(names(line) == want, f"{line}: {names(line)}")
    for text in ("yesterday", "2026-13-01", "2026-02-30", "2026-1-1", "2026-11-25T25:00", "5", "d", "-3d", "2026-11-25X10:00"):
        room.run(["list", "experiments", "--since", text], 2, f"--since: '{text}' is neither a date")
    room.run("list experiments --state nope", 2, "--state: 'nope' is not one of running|interrupted|finished")
    room.write("muster.yaml", "model: [echo]\ntag: [x=y]\n")  # what runs get by default chooses nothing
    try:
        expect(len(names("")) == 5, "muster.yaml chose experiments")
        expect(len(room.json("trend numbers --json")["series"]) > 0, "muster.yaml chose a trend")
    finally:
        os.unlink(os.path.join(room.folder, "muster.yaml"))


def trend(room):
    result = room.json("trend numbers --json")
    series = {s["model"]: s for s in result["series"]}
    expect(set(series) == {"replay/good.jsonl", "replay/bad.jsonl", "replay/again.jsonl", "replay/@main"}, f"{set(series)}")
    point = series["replay/bad.jsonl"]["points"][0]
    expect((point["value"], point["n"], point["experiment"]) == (133 / 200, 200, "bad"), f"{point}")
    expect(series["replay/again.jsonl"]["points"][0]["baselines"] == ["main"], "baseline mark")
    room.run("run numbers.yaml -m replay/good.jsonl --name better -q")
    room.write("numbers.jsonl", "".join(json.dumps({"q": str(i)}) + "\n" for i in range(N // 2)))
    room.run("run numbers.yaml -m replay/good.jsonl --name fewer -q")
    out, _ = room.run("trend numbers -m replay/good.jsonl", env={"LC_ALL": "C.UTF-8"})
    expect("numbers on replay/good.jsonl: exact.accuracy\n\u2585\u2585\u2585  1.000 to 1.000\n" in out, out)
    expect("changed: dataset" in out.splitlines()[-1], out)
    fewer = [s for s in room.json("trend numbers --json")["series"] if s["model"] == "replay/good.jsonl"][0]["points"][-1]
    expect(fewer["changed"] == "dataset, samples 200 -> 100", f"{fewer}")
    out, _ = room.run("trend numbers -m replay/good.jsonl", env={"LC_ALL": "C"})
    expect("\n===  1.000 to 1.000\n" in out and out.isascii(), out)
    room.run("trend numbers --html trend.html")
    with open(os.path.join(room.folder, "trend.html"), encoding="utf-8") as f:
        page = f.read()
    expect("<svg" in page and "again" in page and "http" not in page.replace("http-equiv", ""), "the page")
    room.run("trend numbers --html no/such/folder.html", 2, "no/such/folder.html")
    expect(len(room.json("trend numbers --json --limit 1")["series"]) == 1, "--limit")
    expect(len(room.json("trend numbers --json --tag branch=bad/x")["series"]) == 1, "--tag")
    expect(room.json("trend numbers --json --metric exact")["series"][0]["metric"] == "exact.accuracy", "--metric")
    for line, says in (("trend", "usage: muster trend EVAL"), ("trend nubmers", "did you mean 'numbers'?"),
                       ("trend numbers --metric f1", "no metric 'f1'; it has 'exact.accuracy', say"),
                       ("trend numbers --variant v", "not with such a variant"),
                       ("trend numbers --since soon", "--since: 'soon'")):
        room.run(line, 2, says)


def gc(room):
    out, err = room.run("gc --keep 2")
    expect("nothing was removed; --yes removes them" in err, err)
    expect(re.search(r"^again .* baseline main$", out, re.M) and re.search(r"^plain .* baseline other$", out, re.M), out)
    expect("3 of 5 chosen can go" in out, out)
    plan = room.json("gc --keep 2 --json")
    expect([e["name"] for e in plan["go"]] == ["good", "bad", "replayed"] and plan["dry_run"], f"{plan}")
    expect(plan["bytes"] == sum(e["bytes"] for e in plan["go"]) > 10000, f"{plan}")
    expect([e["name"] for e in room.json("gc --older-than 1h --json")["go"]] == [], "--older-than")
    replies = room.json("show @main --json")["experiment"]["id"]
    expect(os.path.exists(os.path.join(room.folder, f".muster/replay-{replies}.jsonl")), "replies beside the store")
    for line, says in (("gc", "gc: say which experiments"), ("gc --yes", "gc: say which experiments"),
                       ("gc good --keep 1", "by name or by options, not both"), ("gc nothere", "no experiment"),
                       ("gc --keep 1 --yes --dry-run", "--yes or --dry-run, not both"),
                       ("gc --older-than long", "--older-than: 'long'")):
        room.run(line, 2, says)
    whole = room.run("show @main --digest")[0]
    done = room.json("gc bad again @other --yes --json")
    expect(done["removed"] == 1 and done["vacuumed"] and done["file_bytes_after"] < done["file_bytes_before"], f"{done}")
    expect([e["name"] for e in done["stay"]] == ["again", "plain"], f"{done}")
    out, _ = room.run("gc --tag nightly=1 --yes")
    expect("removed 1 experiment; the store had" in out, out)
    expect([e["name"] for e in room.json("list experiments --json")] == ["again", "plain", "replayed", "better", "fewer"],
           "what is left")
    moves = room.json("list baselines main --json")
    expect([m["removed"] for m in moves] == [True, True, False] and moves[0]["experiment"] == "good", f"{moves}")
    out, _ = room.run("list baselines main")
    expect(re.search(r"^main +bad .* forced, removed since$", out, re.M), out)
    expect(room.run("show @main --digest")[0] == whole, "the baseline is whole")
    with sqlite3.connect(os.path.join(room.folder, ".muster/muster.db")) as db:
        expect(db.execute("PRAGMA foreign_key_check").fetchall() == [], "foreign keys")
    db.close()
    out, _ = room.run("gc replayed --yes -q")
    expect(out.startswith("removed 1 experiment"), out)


TESTS = [
    ("promote: refused, first, forced, passed", promote),
    ("promote: without a policy", promote_without_policy),
    ("promote: wrong usage", promote_wrong),
    ("list baselines: history", history),
    ("@NAME wherever an experiment is named", named_by_baseline),
    ("list experiments: filters", filters),
    ("trend: sparkline, table, JSON", trend),
    ("gc: dry run, baselines stay, removal", gc),
]


def main():
    with tempfile.TemporaryDirectory() as folder:
        room = Room(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), folder)
        prepare(room)
        return tap(TESTS, room)


sys.exit(main())
