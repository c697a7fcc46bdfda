# SPDX-License-Identifier: MIT
"""The default model's bits, from outside: determinism.py MUSTER SOURCE_ROOT. TAP; suite `model`.

200 mixed requests (replies, greedy and sampled at temperature 0.8; choices scored; whole texts scored) are run at once,
and again killed half way and resumed on other code with other threads: one digest. Then `muster verify`
runs 40 of the attempts again on each path of the CPU. Needs `muster pull smollm2-135m-instruct`; says so when it skips."""
import json
import os
import signal
import subprocess
import sys
import tempfile

MODEL = "local/smollm2-135m-instruct"
PATHS = ["avx512", "avx2", "portable"]


class Bench:
    def __init__(self, program, root, folder):
        self.program = program
        self.store = os.path.join(folder, "store.db")
        self.evals = [os.path.join(root, "tests", "model", "evals", name) for name in ("asked.yaml", "rolled.yaml")]

    def command(self, *words):
        return [self.program, *words, "--db", self.store]

    def muster(self, *words, cpu=None):
        env = dict(os.environ, **({"MUSTER_CPU": cpu} if cpu else {}))
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, env=env)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"muster {' '.join(words)}: exit {done.returncode}: {done.stderr[-800:]}")
        return done

    def words(self, name):
        return ["run", *self.evals, "facts", "-m", MODEL, "--limit", "50", "--name", name, "--resume", "-q"]

    def digest(self, name):
        return self.muster("show", name, "--digest").stdout.strip()

    def attempts(self, name):
        return len(self.muster("show", name, "--samples", "--json", "--limit", "1000").stdout.splitlines())

    def killed(self, name, after, *more):
        """Start a run and kill it once `after` attempts are committed (a Ctrl-C would let those under way finish,
        which on a fast machine are all); how many were kept."""
        read, write = os.pipe()
        with subprocess.Popen(self.command(*self.words(name), "--events", str(write), *more), pass_fds=[write],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            os.close(write)
            with os.fdopen(read) as events:
                for n, _ in enumerate(events, 1):
                    if n == after:
                        process.send_signal(signal.SIGKILL)
        return self.attempts(name)


def resumed(bench, cpu):
    whole = bench.muster(*bench.words("whole"), "-t", "2")
    if whole.returncode != 0:
        raise RuntimeError(whole.stderr[-800:])
    n = bench.killed("parts", 20, "-t", "2")
    bench.muster(*bench.words("parts"), "-t", "1", "--kv-memory", "20M", cpu=cpu)
    done = bench.attempts("parts")
    same = bench.digest("whole") == bench.digest("parts")
    print(f"# killed after {n} of 200 attempts, resumed on {cpu or 'the same path'}: {done} attempts, "
          f"{'equal' if same else 'different'} digests", file=sys.stderr)
    return same and 20 <= n < 200 and done == 200


def verified(bench, cpu):
    number = PATHS.index(cpu)
    words = ["verify", "whole", "--samples", "40", "--seed", str(number), "-t", str(1 + number % 2), "--json", "-q"]
    done = bench.muster(*words, "--kv-memory", "30M", cpu=cpu)
    value = json.loads(done.stdout)
    print(f"# {value['agree']} of {value['verified']} agree", file=sys.stderr)
    return done.returncode == 0 and value["verified"] == 40 and value["agree"] == 40


def here(bench, cpu):
    """Whether this processor has the instructions: the engine says so before it reads anything."""
    done = subprocess.run(bench.command("explain", "facts", "-m", MODEL, "--tokens", "-q"), capture_output=True, text=True,
                          check=False, env=dict(os.environ, MUSTER_CPU=cpu))
    return "CPU path" not in done.stderr


def main():
    program, root = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    listed = json.loads(subprocess.run([program, "list", "models", "--json"], capture_output=True, check=True).stdout)
    pulled = any(m["name"] in MODEL and m["detail"] == "pulled" for m in listed)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(program, root, folder)
        paths = [cpu for cpu in PATHS if pulled and here(bench, cpu)]
        other = next((cpu for cpu in paths[1:] if cpu != "portable"), None)
        checks = [("killed half way and resumed elsewhere: the same results", lambda: resumed(bench, other), pulled)]
        checks += [(f"verify 40 attempts on {cpu}", lambda cpu=cpu: verified(bench, cpu), cpu in paths) for cpu in PATHS]
        for number, (name, check, possible) in enumerate(checks, 1):
            if not possible:
                why = "this processor lacks the instructions" if pulled else "no model: muster pull smollm2-135m-instruct"
                print(f"ok {number} - {name} # SKIP {why}")
                continue
            good = check()
            failed += 0 if good else 1
            print(f"{'' if good else 'not '}ok {number} - {name}", flush=True)
    print(f"1..{len(checks)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
