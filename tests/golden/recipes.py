# SPDX-License-Identifier: MIT
"""The CI recipes of docs/ci run: their shell, in their order, in a folder with the files of docs/ci.md.

recipes.py MUSTER SOURCE_ROOT: TAP. Building and installing muster is left out; the model is echo or recorded replies.
Each recipe goes through what a repository lives through: a first push to main, the same pipeline again, a pull request
that is as good, one that lost, and one whose provider is down."""
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import xml.etree.ElementTree as xml

from situations import expect, tap

N_ROWS = 400


# ---- The shell of a recipe ----------------------------------------------------------------------

def yaml_blocks(text):
    """Literal blocks (`key: |`, `- |`), in order."""
    lines, blocks = text.splitlines(), []
    for at, line in enumerate(lines):
        match = re.fullmatch(r"( *)(- )?([\w-]+: )?\|", line)
        if match:
            indent, block = len(match.group(1)), []
            for inner in lines[at + 1:]:
                if inner.strip() and len(inner) - len(inner.lstrip()) <= indent:
                    break
                block.append(inner)
            blocks.append(textwrap.dedent("\n".join(block)))
    return blocks


def groovy_blocks(text):
    """What Jenkins hands to sh; a backslash is written twice in a Groovy string."""
    return [textwrap.dedent(b).replace("\\\\", "\\") for b in re.findall(r"sh '''\n(.*?)'''", text, re.S)]


def python_blocks(text):
    return [textwrap.dedent(node.value.value) for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.keyword) and node.arg == "bash_command"]


class Recipe:
    """Blocks by the verb that they are about, and the variables that the CI system sets."""

    def __init__(self, root, name, blocks, more):
        with open(os.path.join(root, "docs", "ci", name), encoding="utf-8") as f:
            self.text = f.read()
        self.more = more
        self.blocks = {"run": [], "gate": [], "promote": []}
        for block in blocks(self.text):
            for verb, found in self.blocks.items():
                if re.search(rf"^\s*muster {verb} ", block, re.M):
                    found.append(block)
        counted = sum(len(re.findall(rf"^\s*(?:- )?muster {verb} ", self.text, re.M)) for verb in self.blocks)
        expect(counted == sum(map(len, self.blocks.values())), f"{name}: shell that no block holds")
        expect(all(self.blocks.values()), f"{name}: run, gate, promote: {self.blocks}")
        expect(len({str(b) for b in self.blocks["run"]}) == 1, f"{name}: runs that differ")

    def variables(self, commit, model, folder):
        return {"EXPERIMENT": f"ci-{commit}", "EVAL_MODEL": model, "FOLDER": folder, **self.more}


RECIPES = [
    ("github-actions.yml", yaml_blocks, {"BRANCH": "a/branch", "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "step.md"}),
    ("gitlab-ci.yml", yaml_blocks, {"CI_COMMIT_REF_NAME": "a/branch"}),
    ("Jenkinsfile", groovy_blocks, {"BRANCH_NAME": "a/branch"}),
    ("airflow_dag.py", python_blocks, {}),
]


# ---- A repository and its pipeline --------------------------------------------------------------

class Room:
    def __init__(self, program, root, folder):
        self.root, self.folder = root, folder
        os.mkdir(os.path.join(folder, "bin"))
        os.symlink(program, os.path.join(folder, "bin", "muster"))
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("MUSTER_", "GITHUB_", "CI_"))}
        self.env = dict(keep, PATH=os.path.join(folder, "bin") + ":" + keep.get("PATH", "/usr/bin:/bin"),
                        MUSTER_CACHE=os.path.join(folder, "cache"), MUSTER_REGISTRY=os.path.join(root, "registry"),
                        OPENAI_API_KEY="none")

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def shell(self, blocks, variables, code, *says):
        """Run blocks as a CI system does, one shell each, until one fails."""
        for block in blocks:
            done = subprocess.run(["sh", "-eu", "-c", block], cwd=self.folder, env=dict(self.env, **variables),
                                  capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0:
                break
        shown = f"{block}\nexit {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
        expect(done.returncode == code, f"{shown}\nwant exit {code}")
        for words in says:
            expect(words in done.stdout + done.stderr, f"{shown}\nwant {words!r}")

    def read(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as f:
            return f.read()


def repository(room):
    """The files of docs/ci.md, data for them, and replies as three models would give them."""
    with open(os.path.join(room.root, "docs", "ci.md"), encoding="utf-8") as f:
        files = re.findall(r"^```\w+ (evals/\S+)\n(.*?)^```$", f.read(), re.S | re.M)
    expect({name for name, _ in files} == {"evals/support.yaml", "evals/release.yaml"}, f"{[n for n, _ in files]}")
    for name, text in files:
        room.write(name, text)
    rows = [{"id": f"q{i}", "question": f"question {i}", "answer": f"answer {i}"} for i in range(N_ROWS)]
    room.write("evals/support.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for name, wrong in (("base", 5), ("same", 5), ("lost", 2)):
        room.write(f"{name}.jsonl", "".join(
            json.dumps({"id": row["id"], "text": "no" if i % wrong == 0 else row["answer"]}) + "\n"
            for i, row in enumerate(rows)))


def live(room, recipe):
    """From the first push to a provider that is down."""
    blocks = recipe.blocks
    run, gate, promote = blocks["run"][0], blocks["gate"][0], blocks["promote"][0]
    first = recipe.variables("first", "replay/base.jsonl", room.folder)
    room.shell([run, promote], first, 0, "baseline main is now ci-first")
    room.shell([run, promote], first, 0, "baseline main is ci-first already")
    same = recipe.variables("same", "replay/same.jsonl", room.folder)
    room.shell([run, gate], same, 0, "gate release: PASS")
    room.shell([run, promote], same, 0, "baseline main is now ci-same, was ci-first")
    lost = recipe.variables("lost", "replay/lost.jsonl", room.folder)
    room.shell([run, gate], lost, 1, "FAIL", "gate release: FAIL")
    room.shell([promote], lost, 1, "refused: the policy does not pass")
    down = dict(recipe.variables("down", "openai/x", room.folder), MUSTER_BASE_URL="http://127.0.0.1:1/v1",
                MUSTER_MAX_RETRIES="1")
    room.shell([run, gate], down, 4, "to go on: run the same command with --resume")
    room.shell([gate], down, 1, "ci-down' is interrupted")
    reports = sorted(name for name in os.listdir(room.folder) if re.fullmatch(r"gate.*\.(xml|md)", name))
    expect(len(reports) >= 2, f"reports: {reports}")
    for name in reports:
        if name.endswith(".xml"):
            expect(xml.fromstring(room.read(name)).tag == "testsuites", name)
    pages = [name for name in os.listdir(room.folder) if re.fullmatch(r"diff.*\.html", name)]
    expect(pages and all("</html>" in room.read(name) for name in pages), f"pages: {pages}")
    if "GITHUB_STEP_SUMMARY" in recipe.more:
        expect("gate" in room.read("step.md"), "the step summary")


def words_are_there(room, recipe):
    """No key in the text, and the settings that the guide promises."""
    expect(not re.search(r"sk-[A-Za-z0-9]{8}", recipe.text), "a key")
    for word in ("evals/support.yaml", "evals/release.yaml", "--resume --name", "--junit", "--markdown", "OPENAI_API_KEY"):
        expect(word in recipe.text, f"no {word}")


def in_a_room(program, root, recipe, test):
    with tempfile.TemporaryDirectory() as folder:
        room = Room(program, root, folder)
        repository(room)
        test(room, Recipe(root, *recipe))


def main():
    program, root = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    return tap([(f"docs/ci/{recipe[0]}: {what}", lambda r=recipe, t=test: in_a_room(program, root, r, t))
                for recipe in RECIPES for what, test in (("what it says", words_are_there), ("lives", live))])


sys.exit(main())
