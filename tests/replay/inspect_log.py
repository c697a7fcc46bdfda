# SPDX-License-Identifier: MIT
"""Reads a log of Inspect (`.eval`, a zip, or `.json`): its samples with the verdicts of its scorer `match`."""
import json
import zipfile


def read_samples(path):
    """The log's samples, by id and epoch."""
    if path.endswith(".eval"):
        with zipfile.ZipFile(path) as log:
            names = [n for n in log.namelist() if n.startswith("samples/")]
            samples = [json.loads(log.read(n)) for n in names]
    else:
        with open(path, encoding="utf-8") as f:
            samples = json.load(f)["samples"]
    return sorted(samples, key=lambda s: (s["id"], s["epoch"]))


def rows_and_replies(path):
    """(rows, replies, verdicts): dataset rows, replay lines, and by "id epoch" whether match was right."""
    rows, replies, verdicts = {}, [], {}
    for sample in read_samples(path):
        rows[sample["id"]] = {"id": sample["id"], "input": sample["input"], "target": sample["target"]}
        message = sample["output"]["choices"][0]["message"]
        replies.append({"id": str(sample["id"]), "epoch": sample["epoch"], "text": message["content"]})
        if "match" in sample["scores"]:
            verdicts[f"{sample['id']} {sample['epoch']}"] = sample["scores"]["match"]["value"] == "C"
    return list(rows.values()), replies, verdicts
