# SPDX-License-Identifier: MIT
"""A real tiny model says what its author documented: stories.py MUSTER FOLDER_OF_CONVERTER. TAP.

stories260K (a llama2.c checkpoint) is converted to GGUF; greedy text from "Once upon a time" has to equal
the text in its documentation, in the default path and with --precision f32. Needs MUSTER_MIRROR."""
import json
import os
import subprocess
import sys
import tempfile

EVAL = """schema: 1
eval: stories
version: 1
description: The documented story.
dataset: {rows: [{start: "Once upon a time"}]}
sample: {input: "{{ start }}", target: "Lily"}
prompt: "{{ input }}"
solver: {use: generate, max_tokens: 252, temperature: 0}
graders: [{use: includes}]
metrics: [accuracy]
"""


def documented(folder):
    """The story below the first `./run` line of the model's page."""
    with open(os.path.join(folder, "stories260K.md"), encoding="utf-8") as f:
        after = f.read().split("-t 0.0\n", 1)[1]
    return after.split("\n```", 1)[0]


def story(muster, folder, model, precision):
    path = os.path.join(folder, "stories.yaml")
    store = os.path.join(folder, precision + ".db")
    with open(path, "w", encoding="utf-8") as f:
        f.write(EVAL)
    subprocess.run([muster, "run", path, "-m", "local/" + model, "--db", store, "--quiet", "--precision", precision],
                   check=True, capture_output=True)
    out = subprocess.run([muster, "show", "--samples", "--json", "--db", store], check=True, capture_output=True).stdout
    return "Once upon a time" + json.loads(out.splitlines()[0])["text"]


def main():
    muster, here = os.path.abspath(sys.argv[1]), sys.argv[2]
    data = os.path.join(os.environ.get("MUSTER_MIRROR", ""), "models", "stories260K")
    failed = 0
    for number, precision in enumerate(("default", "f32"), 1):
        name = f"ok {number} - the documented story, --precision {precision}"
        if not os.path.isdir(data):
            print(f"{name} # SKIP no data: MUSTER_MIRROR is not set or has no models/stories260K")
            continue
        want = documented(data)
        with tempfile.TemporaryDirectory() as folder:
            model = os.path.join(folder, "stories260K.gguf")
            subprocess.run([sys.executable, os.path.join(here, "stories_to_gguf.py"),
                            os.path.join(data, "stories260K.bin"), os.path.join(data, "tok512.bin"), model], check=True)
            got = story(muster, folder, model, precision)
        # Both were cut by a count of tokens: equal as far as the shorter one goes, which is nearly all.
        same = len(os.path.commonprefix([got, want]))
        good = same == min(len(got), len(want)) and same >= len(want) - 8
        if not good:
            failed += 1
            print(f"# parts after {same} of {len(want)} characters:\n# {got[same:same + 60]!r}\n# {want[same:same + 60]!r}")
        print(("" if good else "not ") + name)
    print("1..2")
    return 1 if failed else 0


sys.exit(main())
