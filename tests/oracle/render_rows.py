# SPDX-License-Identifier: MIT
"""Every row of evals, rendered by python3-jinja2 and compared with what the registry renders.

    render_rows.py SAMPLES REGISTRY CACHE MIRROR EVAL.yaml...

SAMPLES is the program of samples.c. The meaning of an eval file is written down here once more, with Python's
csv, json, gzip, hashlib and Jinja; nothing of the project is used but its YAML files. By hand, with jinja2 and yaml.
"""
import csv
import gzip
import hashlib
import io
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys

import jinja2
import yaml

SEED = 7


class Loader(yaml.SafeLoader):
    """YAML 1.2's core schema: only true and false are booleans, no dates, no octal by a leading 0."""


Loader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
        ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
        ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
        ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
        ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+0123456789.")):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


# ---- What random numbers hang on ----------------------------------------------------------------

MASK = (1 << 64) - 1


def h64(domain, *items):
    """SHA-256 over tagged, length-prefixed items; the first eight bytes."""
    sha = hashlib.sha256()
    for tag, item in [("d", domain)] + [("i" if isinstance(x, int) else "s", x) for x in items]:
        if tag == "i":
            sha.update(b"i" + (item & MASK).to_bytes(8, "big"))
        else:
            data = item.encode()
            sha.update(tag.encode() + len(data).to_bytes(8, "big") + data)
    return int.from_bytes(sha.digest()[:8], "big")


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


class Rng:
    """Draws of one template for one sample."""

    def __init__(self, seed, unit):
        stream = 14695981039346656037
        for byte in unit.encode():
            stream = (stream ^ byte) * 1099511628211 & MASK
        self.seed, self.stream, self.position = seed, mix(stream), 0

    def __call__(self):
        gamma = 0x9E3779B97F4A7C15
        x = mix((self.seed + gamma) & MASK)
        x = mix(((x ^ self.stream) + gamma) & MASK)
        x = mix(((x ^ self.position) + gamma) & MASK)
        self.position += 1
        return (x >> 11) * 2.0 ** -53


# ---- The helpers of the evals, in Python ---------------------------------------------------------

RNG = [None]


def clean(text):
    text = text.strip(" \t\n\v\f\r").replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text, flags=re.S).replace("  ", " ")


def typos(text, rate):
    def swap(match):
        return match[2] + match[1] if RNG[0]() < rate else match[0]
    return re.sub(r"([A-Za-z])([A-Za-z])", swap, text)


def lettered(choices, separator=". "):
    return "\n".join(f"{chr(ord('A') + i)}{separator}{text}" for i, text in enumerate(choices))


HELPERS = {"hellaswag.lua": {"clean": clean}, "perturb.lua": {"typos": typos}}


# ---- Templates ----------------------------------------------------------------------------------

class Templates:
    def __init__(self, helpers, texts):
        self.env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
        self.env.filters["lettered"] = lettered
        # As chat templates have it: no HTML escapes, the file's order of keys.
        self.env.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
        self.env.filters.update(helpers)
        self.env.globals.update(helpers)
        self.env.globals["text"] = lambda name: texts[name]
        self.made = {}

    def compiled(self, source):
        if source not in self.made:
            tokens = list(self.env.lex(source))  # which drops one final newline, as rendering does
            kinds = [t[1] for t in tokens]
            one = kinds and kinds[0] == "variable_begin" and kinds[-1] == "variable_end" and \
                kinds.count("variable_begin") == 1
            if one:
                inner = "".join(t[2] for t in tokens[1:-1])
                self.made[source] = self.env.compile_expression(inner, undefined_to_none=False)
            else:
                self.made[source] = self.env.from_string(source).render
        return self.made[source]

    def __call__(self, unit, value, scope, seed):
        """A value of the eval file, its texts rendered."""
        if isinstance(value, dict):
            return {k: self(f"{unit}.{k}", v, scope, seed) for k, v in value.items()}
        if isinstance(value, list):
            return [self(f"{unit}[{i}]", v, scope, seed) for i, v in enumerate(value)]
        if not isinstance(value, str):
            return value
        RNG[0] = Rng(seed, unit)
        result = self.compiled(value)(**scope)
        if isinstance(result, jinja2.Undefined):
            result._fail_with_undefined_error()
        return plain(result)


def plain(value):
    """Generators and tuples are lists in JSON."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) or hasattr(value, "__next__") or type(value).__name__.startswith("dict_"):
        return [plain(v) for v in value]
    return value


# ---- Data ---------------------------------------------------------------------------------------

def read_rows(path, name, at=None, columns=None, kind=None):
    data = pathlib.Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    text = data.decode("utf-8-sig")
    kind = kind or name.removesuffix(".gz").rsplit(".", 1)[1]
    if kind == "json" and at is None and text.lstrip().startswith("{"):
        kind = "jsonl"
    if kind == "jsonl":
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    if kind == "json":
        return json.loads(text)[at] if at else json.loads(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if kind == "tsv" else ",")
    rows = [row for row in reader if row]
    names = columns or rows.pop(0)
    return [dict(zip(names, row, strict=True)) for row in rows]


class Dataset:
    def __init__(self, registry, mirror, name):
        self.file = pathlib.Path(registry, "datasets", name + ".yaml")
        self.value = yaml.load(self.file.read_text(), Loader)
        self.sources = {s["path"]: s for s in self.value.get("sources", [])}
        self.mirror = {}
        for folder, _, names in os.walk(mirror):
            for name_ in names:
                path = os.path.join(folder, name_)
                self.mirror.setdefault(os.path.getsize(path), []).append(path)

    def locate(self, path):
        if not self.sources:
            return self.file.parent / path
        source = self.sources[path]
        for found in self.mirror.get(source["bytes"], []):
            if hashlib.sha256(pathlib.Path(found).read_bytes()).hexdigest() == source["sha256"]:
                return found
        raise FileNotFoundError(path)

    def parts(self):
        parts = self.value.get("parts", [])
        if isinstance(parts, list):
            return parts
        pattern = re.compile(re.escape(parts).replace(r"\{part\}", "([^/]+)") + "$")
        return sorted(m[1] for m in map(pattern.match, self.sources) if m)

    def split(self, name, part):
        files = self.value["files"]
        files = files[name or (list(files)[0] if len(files) == 1 else "test")]
        rows = []
        for file in files if isinstance(files, list) else [files]:
            file = {"path": file} if isinstance(file, str) else file
            path = file["path"].replace("{part}", part)
            rows += read_rows(self.locate(path), path, file.get("at"), file.get("columns"), file.get("format"))
        return rows

    def texts(self, part):
        return {name: pathlib.Path(self.locate(path.replace("{part}", part))).read_text()
                for name, path in self.value.get("texts", {}).items()}


# ---- An eval ------------------------------------------------------------------------------------

def text_of(value):
    return value if isinstance(value, str) else str(value)


class Eval:
    def __init__(self, file, registry, mirror):
        self.file = pathlib.Path(file)
        self.value = yaml.load(self.file.read_text(), Loader)
        self.mirror = mirror
        use = self.value["dataset"].get("use")
        self.dataset = Dataset(registry, mirror, use) if use else None
        self.helpers = HELPERS.get(self.value.get("helpers"), {})

    def cells(self):
        axes = []
        for name, values in self.value.get("matrix", {}).items():
            values = self.dataset.parts() if values == "parts" else values
            pairs = values.items() if isinstance(values, dict) else [(v, None) for v in values]
            axes.append([(text_of(v), {name: v, **(more or {})}) for v, more in pairs])
        for cell in itertools.product(*axes):
            merged = {}
            for _, more in cell:
                merged.update(more)
            yield "/".join(text for text, _ in cell), merged

    def file_rows(self, path, **how):
        beside = self.file.parent / path
        return read_rows(beside if beside.exists() else os.path.join(self.mirror, path), path, **how)

    def variants(self):
        base = {k: self.value[k] for k in ("prompt", "messages", "few_shot") if k in self.value}
        for name, more in self.value.get("variants", {"": {}}).items():
            made = dict(base, **more)
            if "prompt" in more:
                made.pop("messages", None)
            if "messages" in more:
                made.pop("prompt", None)
            yield name, made

    def samples(self):
        for name, variant in self.variants():
            for part, cell in self.cells():
                yield from Part(self, name, variant, part, cell).samples()


class Part:
    """One part in one variant."""

    def __init__(self, eval_, variant_name, variant, part, cell):
        self.eval, self.variant_name, self.variant, self.part, self.cell = eval_, variant_name, variant, part, cell
        data = eval_.value["dataset"]
        self.dataset_part, texts = "", {}
        if "part" in data:
            self.dataset_part = text_of(Templates(eval_.helpers, {})("dataset.part", data["part"], cell, 0))
        if eval_.dataset:
            rows = eval_.dataset.split(data.get("split"), self.dataset_part)
            texts = eval_.dataset.texts(self.dataset_part)
        elif "rows" in data:
            rows = data["rows"]
        else:
            rows = eval_.file_rows(data["path"], at=data.get("at"), columns=data.get("columns"))
        self.render = Templates(eval_.helpers, texts)
        self.rows = self.kept(rows)
        self.spec = eval_.value["sample"]
        self.choose_shots()

    def kept(self, rows):
        where = self.eval.value["dataset"].get("where")
        return [(i, row) for i, row in enumerate(rows)
                if where is None or self.render("where", where, self.scope(i, row), 0) is True]

    def scope(self, number, row):
        return {**self.cell, "row": row, "row_number": number, **row}

    # -- shots --

    def choose_shots(self):
        few, self.leave_own, self.shots = self.variant.get("few_shot"), False, None
        if few is None:
            return
        data = self.eval.value["dataset"]
        scored = data.get("split") or "test"
        if "rows" in few:
            pool = list(enumerate(few["rows"]))
        elif "path" in few and few["path"] != data.get("path"):
            pool = list(enumerate(self.eval.file_rows(few["path"])))
        elif "split" in few and few["split"] != scored and "path" not in few:
            pool = self.kept(self.eval.dataset.split(few["split"], self.dataset_part))
        else:
            self.leave_own, pool = True, self.rows
        ids = [self.id_or_number(number, row) for number, row in pool]
        if "ids" in few:
            pool = [pool[ids.index(text_of(want))] for want in few["ids"]]
            ids = [text_of(want) for want in few["ids"]]
        if few.get("pick") == "seeded":
            name = self.eval.value["eval"]
            order = sorted(range(len(pool)), key=lambda i: (h64("muster.shot.1", SEED, name, self.part, ids[i]), i))
            pool, ids = [pool[i] for i in order], [ids[i] for i in order]
        self.count = few.get("count", len(pool))
        wanted = self.count + (1 if self.leave_own and "count" in few else 0)
        assert wanted <= len(pool)
        self.shots = [(number, self.shot(number, row, id_)) for (number, row), id_ in list(zip(pool, ids))[:wanted]]

    def id_or_number(self, number, row):
        try:
            return self.id(number, row)
        except jinja2.UndefinedError:
            return str(number)

    def shot(self, number, row, id_):
        seed, scope, fields = self.seed(id_), self.scope(number, row), {"id": id_}
        try:
            fields["input"] = self.input(scope, seed)
        except jinja2.UndefinedError:
            pass
        if "metadata" in self.spec:
            try:
                fields["metadata"] = self.render("sample.metadata", self.spec["metadata"], scope, seed)
            except jinja2.UndefinedError:
                pass
        try:
            raw, choices = self.choices(scope, seed)
            if raw is not None:
                fields["choices"] = raw
            targets, correct = self.targets(scope, seed, choices)
            if targets:
                fields["target"] = targets[0] if len(targets) == 1 else targets
            if correct:
                fields["letter"] = chr(ord("A") + correct[0])
        except jinja2.UndefinedError:
            pass
        return {**row, **fields}

    # -- fields --

    def seed(self, id_):
        return h64("muster.render.1", SEED, self.eval.value["eval"], self.part, id_)

    def id(self, number, row):
        if "id" not in self.spec:
            return str(number)
        return text_of(self.render("sample.id", self.spec["id"], self.scope(number, row), 0))

    def input(self, scope, seed):
        if isinstance(self.spec["input"], list):
            return self.messages("sample.input", self.spec["input"], scope, seed)
        value = self.render("sample.input", self.spec["input"], scope, seed)
        return value if isinstance(value, list) else text_of(value)

    def choices(self, scope, seed):
        if "choices" not in self.spec:
            return None, []
        raw = self.render("sample.choices", self.spec["choices"], scope, seed)
        return raw, [{"text": text_of(c["text"]), "context": text_of(c["context"])} if isinstance(c, dict)
                     else {"text": text_of(c)} for c in raw]

    def targets(self, scope, seed, choices):
        if "target" not in self.spec:
            return [], []
        value = self.render("sample.target", self.spec["target"], scope, seed)
        items = value if isinstance(value, list) else [value]
        if not choices:
            return [text_of(item) for item in items], []
        correct = set()
        for item in items:
            if isinstance(item, str):
                found = [i for i, choice in enumerate(choices) if choice["text"] == item]
                assert len(found) == 1, (item, choices)
                correct.add(found[0])
            else:
                assert type(item) is int and 0 <= item < len(choices)
                correct.add(item)
        correct = sorted(correct)
        return [choices[i]["text"] for i in correct], correct

    def messages(self, unit, items, scope, seed):
        out = []
        for i, item in enumerate(items):
            name = f"{unit}[{i}]"
            if isinstance(item, str):
                value = self.render(name, item, scope, seed)
                out += [value] if isinstance(value, dict) else value
            elif "messages" in item:
                source = item["each"] if "{{" in item["each"] else "{{ " + item["each"] + " }}"
                for value in self.render(name + ".each", source, scope, seed):
                    inner = {**scope, item.get("as", "s"): value}
                    out += self.messages(name + ".messages", item["messages"], inner, seed)
            else:
                made = {"role": item.get("role", "user"),
                        "content": text_of(self.render(name + ".content", item.get("content", ""), scope, seed))}
                if "name" in item:
                    made["name"] = text_of(self.render(name + ".name", item["name"], scope, seed))
                for key in ("tool_calls", "tool_call_id"):
                    if key in item:
                        made[key] = self.render(f"{name}.{key}", item[key], scope, seed)
                out.append(made)
        return out

    def samples(self):
        for number, row in self.rows:
            id_ = self.id(number, row)
            seed, scope = self.seed(id_), self.scope(number, row)
            input_ = self.input(scope, seed)
            raw, choices = self.choices(scope, seed)
            targets, correct = self.targets(scope, seed, choices)
            metadata = self.render("sample.metadata", self.spec.get("metadata", {}), scope, seed)
            # A file keeps the newline that a template's source loses.
            files = {k: v + "\n" if v.endswith("\n") else v for k, v in self.spec.get("files", {}).items()}
            inner = {**self.cell, **row, "id": id_, "input": input_, "metadata": metadata}
            if raw is not None:
                inner["choices"] = raw
            if self.shots is not None:
                others = [shot for at, shot in self.shots if not (self.leave_own and at == number)]
                inner["shots"] = others[:self.count]
            if "prompt" in self.variant:
                prompt = text_of(self.render("prompt", self.variant["prompt"], inner, seed))
            elif "messages" in self.variant:
                prompt = self.messages("messages", self.variant["messages"], inner, seed)
            else:
                prompt = input_ if isinstance(input_, list) else [{"role": "user", "content": input_}]
            yield {
                "variant": self.variant_name, "part": self.part, "row_number": number, "id": id_, "input": input_,
                "choices": choices, "target": targets, "correct": correct, "metadata": metadata,
                "cluster": text_of(self.render("sample.cluster", self.spec["cluster"], scope, seed))
                           if "cluster" in self.spec else None,
                "files": {k: text_of(v) for k, v in self.render("sample.files", files, scope, seed).items()}
                         if files else None,
                "prompt": prompt}


def compare(samples, registry, cache, mirror, file):
    made = subprocess.run([samples, registry, cache, mirror, file, str(SEED)], capture_output=True, check=False)
    if made.returncode != 0:
        print(f"{file}: {made.stderr.decode().strip()}")
        return False
    lines = made.stdout.decode().split("\n")[:-1]
    n = wrong = 0
    for want in Eval(file, registry, mirror).samples():
        got = json.loads(lines[n]) if n < len(lines) else None
        if got != want:
            wrong += 1
            if wrong <= 3:
                keys = [k for k in want if got is None or got.get(k) != want[k]]
                for key in keys:
                    print(f"  row {n} {key}:\n    jinja2 {want[key]!r}\n    muster {got and got.get(key)!r}")
        n += 1
    ok = wrong == 0 and n == len(lines)
    print(f"{pathlib.Path(file).name}: {n} rows, {len(lines)} rendered, {wrong} differ")
    return ok


if __name__ == "__main__":
    sys.exit(0 if all([compare(*sys.argv[1:5], file) for file in sys.argv[5:]]) else 1)
