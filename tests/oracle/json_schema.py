# SPDX-License-Identifier: MIT
"""JSON Schema's own test suite, draft 2020-12, against our checker: counts and every disagreement.

json_schema.py DRIVER SUITE [METASCHEMAS]: DRIVER is the program built of json_schema_driver.c (meson compile
json_schema_driver), SUITE the folder with tests/ and remotes/ (json/ in the source package of jsonschema 4.26.0),
METASCHEMAS a folder with the documents of draft 2020-12 (jsonschema_specifications/schemas/draft202012 in the package
of that name; found by itself where it is installed)."""
import importlib.util
import json
import pathlib
import subprocess
import sys

BASE = "http://localhost:1234/"
META = "https://json-schema.org/draft/2020-12/"


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def remotes_of(suite, metaschemas):
    remotes = {BASE + path.relative_to(suite / "remotes").as_posix(): load(path)
               for path in (suite / "remotes").rglob("*.json") if "draft3" not in path.parts and "draft4" not in path.parts}
    for path in metaschemas.rglob("*"):
        if path.is_file():
            document = load(path)
            remotes[document["$id"]] = document
    return remotes


def run(driver, remotes, cases, with_format):
    lines = [json.dumps({"remotes": remotes, "format": with_format})]
    lines += [json.dumps({"schema": case["schema"], "tests": [t["data"] for t in case["tests"]]}) for case in cases]
    done = subprocess.run([driver], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True, timeout=600)
    return [json.loads(line) for line in done.stdout.splitlines()]


def suite_part(driver, remotes, title, paths, with_format=False, quiet=False):
    """(passed, all) of the files; every disagreement is printed."""
    passed = total = 0
    for path in sorted(paths):
        cases = load(path)
        for case, answers in zip(cases, run(driver, remotes, cases, with_format), strict=True):
            for test, answer in zip(case["tests"], answers, strict=True):
                total += 1
                if answer is test["valid"]:
                    passed += 1
                elif not quiet:
                    print(f"  {path.name}: {case['description']}: {test['description']}: want {test['valid']}, got {answer}")
    print(f"{title}: {passed} of {total}")
    return passed, total


def main():
    driver, suite = sys.argv[1], pathlib.Path(sys.argv[2])
    if len(sys.argv) > 3:
        metaschemas = pathlib.Path(sys.argv[3])
    else:
        spec = importlib.util.find_spec("jsonschema_specifications")
        metaschemas = pathlib.Path(spec.submodule_search_locations[0]) / "schemas" / "draft202012"
    remotes = remotes_of(suite, metaschemas)
    tests = suite / "tests" / "draft2020-12"
    passed, total = suite_part(driver, remotes, "required", tests.glob("*.json"))
    suite_part(driver, remotes, "optional", (tests / "optional").glob("*.json"))
    suite_part(driver, remotes, "format, asserted", (tests / "optional" / "format").glob("*.json"), with_format=True)
    return 0 if passed == total else 1


sys.exit(main())
