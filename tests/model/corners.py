# SPDX-License-Identifier: MIT
"""The default model in 12 corners of the determinism matrix: corners.py TEST_DETERMINISM MUSTER. TAP; suite `model`.

Finds the model's file and hands it to tests/unit/engine/test_determinism.c. Needs `muster pull smollm2-135m-instruct`;
says so when it skips."""
import json
import os
import subprocess
import sys

MODEL = "smollm2-135m-instruct"


def main():
    program, muster = sys.argv[1:3]
    listed = json.loads(subprocess.run([muster, "list", "models", "--json"], capture_output=True, check=True).stdout)
    if not any(m["name"] == MODEL and m["detail"] == "pulled" for m in listed):
        print(f"ok 1 - 12 corners # SKIP no model: muster pull {MODEL}\n1..1")
        return 0
    default = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "muster")
    folder = os.path.join(os.environ.get("MUSTER_CACHE") or default, "models", MODEL)
    file = next(name for name in sorted(os.listdir(folder)) if name.endswith(".gguf"))
    return subprocess.run([program, os.path.join(folder, file)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
