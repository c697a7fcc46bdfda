# SPDX-License-Identifier: MIT
"""The default model against float32, and against itself: model.py MUSTER. TAP; suite `model`.

Needs `muster pull smollm2-135m-instruct`; says so when it skips. The log-likelihoods below are those of
transformers in float32 on the same dequantised weights (tests/bench/fidelity.py prints them)."""
import json
import os
import subprocess
import sys
import tempfile

MODEL = "local/smollm2-135m-instruct"
# Sample of `facts`: log-likelihood of each choice.
FLOAT32 = {
    "geography-001": [-9.33896, -10.53893, -0.00943, -8.92281],
    "geography-021": [-0.1409, -9.79993, -8.20642, -7.02579],
    "science-041": [-2.56392, -1.95579, -9.50218, -10.03158],
    "biology-061": [-2.44295, -6.79014, -7.35528, -2.62475],
    "history-081": [-0.95259, -10.46557, -13.35778, -15.24179],
    "everyday-101": [-0.48085, -2.53494, -3.91956, -3.63278],
    "everyday-121": [-2.36879, -14.69172, -10.30294, -6.42507],
}


def muster(program, *args, env=None):
    done = subprocess.run([program, *args], capture_output=True, text=True, check=False,
                          env=dict(os.environ, **(env or {})))
    if done.returncode != 0:
        raise RuntimeError(f"muster {' '.join(args)}: exit {done.returncode}: {done.stderr[-800:]}")
    return done.stdout


def fidelity(program, store, extra, mean_bar, max_bar):
    muster(program, "run", "facts", "-m", MODEL, "--db", store, "-q", *extra)
    shown = muster(program, "show", "--db", store, "--samples", "--json", "--limit", "1000")
    rows = {row["id"]: row for row in map(json.loads, shown.splitlines())}
    errors = [abs(choice["logprob"] - want) for name, wants in FLOAT32.items()
              for choice, want in zip(rows[name]["choices"], wants)]
    mean, worst = sum(errors) / len(errors), max(errors)
    print(f"# mean error {mean:.6f} nat, largest {worst:.6f}, of {len(errors)} choices")
    return len(errors) == 28 and mean <= mean_bar and worst <= max_bar


def digests(program, store):
    """One hash of all results over threads, code paths and sizes of the KV pool."""
    ways = [([], {}), (["-t", "1"], {"MUSTER_CPU": "avx2"}), (["-t", "2", "--kv-memory", "40M"], {}),
            (["-t", "1", "--limit-total", "1000"], {"MUSTER_CPU": "portable"})]
    seen = set()
    for number, (extra, env) in enumerate(ways):
        name = f"way{number}"
        try:
            muster(program, "run", "arithmetic", "facts", "-m", MODEL, "--db", store, "-q", "--name", name,
                   "--limit", "30", *extra, env=env)
        except RuntimeError as error:
            if "MUSTER_CPU" in str(error):  # this processor has no such path
                print(f"# {env} is not available here")
                continue
            raise
        seen.add(muster(program, "show", name, "--db", store, "--digest").strip())
    return len(seen) == 1


def main():
    program = os.path.abspath(sys.argv[1])
    listed = json.loads(muster(program, "list", "models", "--json"))
    here = any(m["name"] in MODEL and m["detail"] == "pulled" for m in listed)
    checks = [
        ("the default path is float32's to 0.005 nat", lambda s: fidelity(program, s, [], 0.005, 0.03)),
        ("--precision f32 is float32's to 0.0005 nat",
         lambda s: fidelity(program, s, ["--precision", "f32"], 0.0002, 0.0005)),
        ("equal bits over threads, code paths and pool sizes", lambda s: digests(program, s)),
    ]
    failed = 0
    for number, (name, check) in enumerate(checks, 1):
        if not here:
            print(f"ok {number} - {name} # SKIP no model: muster pull smollm2-135m-instruct")
            continue
        with tempfile.TemporaryDirectory() as folder:
            good = check(os.path.join(folder, "store.db"))
        failed += 0 if good else 1
        print(f"{'' if good else 'not '}ok {number} - {name}")
    print(f"1..{len(checks)}")
    return 1 if failed else 0


sys.exit(main())
