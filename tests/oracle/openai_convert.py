# SPDX-License-Identifier: MIT
"""Rewrites the Match, Includes, FuzzyMatch and JsonMatch entries of OpenAI's evals registry into our format.

openai_convert.py REGISTRY OUT: REGISTRY has evals/*.yaml and data/; writes OUT/NAME.yaml with datasets by absolute path.
Needs PyYAML; run by hand. Classes that no text grader covers are left out."""

import glob
import json
import os
import re
import sys

import yaml

GRADERS = {
    "evals.elsuite.basic.match:Match": lambda args: ["{use: starts_with}"],
    "evals.elsuite.basic.includes:Includes":
        lambda args: ["{use: includes, ignore_case: true}" if args.get("ignore_case") else "{use: includes}"],
    "evals.elsuite.basic.fuzzy_match:FuzzyMatch": lambda args: ["{use: fuzzy}", "{use: f1}"],
    "evals.elsuite.basic.json_match:JsonMatch": lambda args: ["{use: json_match}"],
}


def entries(registry):
    """(name, class, args, description) of every entry that has one of the classes, in the files' order."""
    found = []
    for path in sorted(glob.glob(os.path.join(registry, "evals", "*.yaml"))):
        with open(path, encoding="utf-8") as f:
            specs = yaml.safe_load(f)
        described = {spec["id"]: spec.get("description") for spec in specs.values() if "id" in spec}
        for name, spec in specs.items():
            if spec.get("class") in GRADERS:
                found.append((name, spec["class"], spec.get("args", {}), described.get(name), path))
    return found


def quoted(s):
    return json.dumps(s, ensure_ascii=False)


def converted(registry, name, kind, args, description):
    """(our name, the text of the eval file)."""
    ours = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")

    def data(key):
        return quoted(os.path.abspath(os.path.join(registry, "data", args[key])))
    lines = ["schema: 1", f"eval: {ours}", "version: 1"]
    if description:
        lines.append(f"description: {quoted(description)}")
    lines += [f"dataset: {{path: {data('samples_jsonl')}}}", 'sample: {input: "{{ input }}", target: "{{ ideal }}"}']
    if args.get("num_few_shot"):
        lines += [f"few_shot: {{path: {data('few_shot_jsonl')}, count: {args['num_few_shot']}, pick: first}}", "messages:",
                  '  - "{{ input[:-1] }}"', "  - \"{{ shots | map(attribute='sample') | sum(start=[]) }}\"", '  - "{{ input[-1] }}"']
    tokens = f", max_tokens: {args['max_tokens']}" if "max_tokens" in args else ""
    lines += [f"solver: {{use: generate, temperature: 0{tokens}}}", f"graders: [{', '.join(GRADERS[kind](args))}]",
              "metrics: [accuracy]"]
    return ours, "\n".join(lines) + "\n"


def convert(registry, out):
    """Write the evals; a list of (file, class, args, registry file)."""
    os.makedirs(out, exist_ok=True)
    written = []
    for name, kind, args, description, source in entries(registry):
        ours, text = converted(registry, name, kind, args, description)
        path = os.path.join(out, ours + ".yaml")
        with open(path, "x", encoding="utf-8") as f:
            f.write(text)
        written.append((path, kind, args, source))
    return written


if __name__ == "__main__":
    done = convert(sys.argv[1], sys.argv[2])
    print(f"{len(done)} entries of {len({source for *_, source in done})} files")
