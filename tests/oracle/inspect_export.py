# SPDX-License-Identifier: MIT
"""Exported logs against Inspect itself: it loads them, and has the scores, the targets, the tokens and the means that
we have.

inspect_export.py MUSTER DB EXPERIMENT...
Needs inspect_ai (0.3.285 when this was written); run by hand."""

import json
import math
import os
import subprocess
import sys
import tempfile

from inspect_ai.log import read_eval_log
from inspect_ai.scorer import value_to_float


def rows(muster, db, name):
    out = subprocess.run([muster, "export", name, "--db", db], stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in out.decode().split("\n") if line]


def check_log(path, want):
    """One log against the attempts of its runs; how many scores were compared."""
    log = read_eval_log(path)
    number = value_to_float()
    parts = len({row["part"] for row in want}) > 1 or bool(want[0]["part"])
    ours = {}
    for row in want:
        ours[(f"{row['part']}/{row['id']}" if parts else row["id"], row["epoch"])] = row
    assert log.status == "success", log.status
    assert log.eval.task == want[0]["eval"] and log.eval.model == want[0]["model"]
    assert len(log.samples) == len(ours), (len(log.samples), len(ours))
    n, sums = 0, {}
    for sample in log.samples:
        row = ours.pop((sample.id, sample.epoch))
        target = row["target"]
        assert sample.target == (target[0] if len(target) == 1 else target if target else ""), sample.target
        assert sample.output.completion == row["text"]
        assert (sample.error is not None) == (row["state"] == "error")
        assert sample.output.usage.input_tokens == row["usage"]["input"]
        assert sample.messages[-1].text == row["text"]
        scores = sample.scores or {}
        assert set(scores) == {score["grader"] for score in row["scores"]}
        for score in row["scores"]:
            theirs = scores[score["grader"]]
            if score["value"] is None:
                assert isinstance(theirs.value, float) and math.isnan(theirs.value), theirs.value
                assert theirs.explanation == score["unscored"]
            else:
                assert number(theirs.value) == score["value"], (theirs.value, score["value"])
                assert (theirs.explanation or "") == score["why"]
                sums.setdefault(score["grader"], []).append((sample.id, score["value"]))
            assert theirs.answer == score["answer"]
            n += 1
    assert not ours, ours
    for score in log.results.scores:
        values = {}
        for sample_id, value in sums.get(score.name, []):
            values.setdefault(sample_id, []).append(value)
        means = [sum(v) / len(v) for v in values.values()]
        if means and "accuracy" in score.metrics and all(row["scores"][0]["weight"] == 1 for row in want if row["scores"]):
            assert abs(score.metrics["accuracy"].value - sum(means) / len(means)) < 1e-12, score
            assert score.scored_samples == len(means)
    return n


def main():
    muster, db, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            where = os.path.join(folder, name)
            subprocess.run([muster, "export", name, "--db", db, "-f", "inspect", "-o", where + "/", "-q"], check=True)
            groups = {}
            for row in rows(muster, db, name):
                groups.setdefault((row["eval"], row["variant"], row["model"]), []).append(row)
            logs = sorted(os.listdir(where))
            assert len(logs) == len(groups), (logs, list(groups))
            n = 0
            for log in logs:
                path = os.path.join(where, log)
                spec = read_eval_log(path, header_only=True).eval
                n += check_log(path, groups[(spec.task, spec.task_args.get("variant", ""), spec.model)])
            print(f"{name}: {len(logs)} logs, {n} scores equal")


main()
