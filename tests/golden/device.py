# SPDX-License-Identifier: MIT
"""Devices as users of the program meet them: --device, what is said without CUDA, sensors, doctor.

device.py MUSTER SOURCE_ROOT FAKES TINY_MODEL [EMULATED_MODULE]: TAP. FAKES is the folder of tests/unit/backends with a
module that forwards to the CPU, a driver and NVML; TINY_MODEL writes a miniature model; EMULATED_MODULE is the real
module's source with an emulated GPU. No GPU is needed, and none is used."""
import json
import os
import sqlite3
import subprocess
import sys
import tempfile

from situations import Skip, expect, tap

EVAL = """schema: 1
eval: capitals
version: 1
description: Three capitals.
dataset:
  rows: [{c: France, a: Paris}, {c: Italy, a: Rome}, {c: Austria, a: Vienna}]
sample: {input: "What is the capital of {{ c }}?", target: "{{ a }}"}
prompt: "{{ input }}"
solver: {use: generate, max_tokens: 8}
graders: [{use: includes}]
"""
MODEL = "local/tiny.gguf"


class Room:
    """A temporary folder with an eval and a model, and the program run in it."""

    def __init__(self, program, root, fakes, tiny, emulated, folder):
        self.program, self.fakes, self.emulated, self.folder = program, fakes, emulated, folder
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith(("MUSTER_", "FAKE_")) and k != "LD_LIBRARY_PATH"}
        self.env.update(MUSTER_CACHE=os.path.join(folder, "cache"), MUSTER_REGISTRY=os.path.join(root, "registry"))
        # Where a real module was built and a GPU is at hand, "no module" still means none.
        self.none = {"MUSTER_CUDA_MODULE": os.path.join(folder, "none.so")}
        self.cuda = {"MUSTER_CUDA_MODULE": os.path.join(fakes, "muster-cuda-fake.so"), "LD_LIBRARY_PATH": fakes}
        with open(os.path.join(folder, "capitals.yaml"), "w", encoding="utf-8") as file:
            file.write(EVAL)
        subprocess.run([tiny, os.path.join(folder, "tiny.gguf")], check=True)

    def run(self, line, code=0, says=None, env=None):
        """Run the words of a line; check the exit code and that stderr says something; (stdout, stderr)."""
        done = subprocess.run([self.program, *line.split()], cwd=self.folder, env=dict(self.env, **(env or {})),
                              capture_output=True, text=True, timeout=120, check=False)
        shown = f"muster {line}: exit {done.returncode}, stderr {done.stderr[-900:]!r}"
        expect(done.returncode == code, f"{shown}; want {code}")
        expect(says is None or says in done.stderr, f"{shown}; want {says!r}")
        return done.stdout, done.stderr

    def json(self, line, env=None, code=0):
        return json.loads(self.run(line, code, env=env)[0])


def words(room):
    for line in ("run capitals.yaml -m echo", "verify", "bench engine -m local/tiny.gguf"):
        for word in ("gpu", "cuda:64", "cuda:x", "cpu:0"):
            room.run(f"{line} --device {word}", 2, f"--device: '{word}' is not one of auto|cpu|cuda|cuda:N")
        room.run(f"{line} --tp 3", 2, "--tp: '3' is not one of 1|2|4|8")
    for line in ("run capitals.yaml -m echo", "bench engine -m local/tiny.gguf"):
        room.run(f"{line} --fast --precision f32", 2, "--fast and --precision f32 exclude each other")
    room.run("run capitals.yaml -m echo", 2, "MUSTER_DEVICE: 'tpu' is not one of", env={"MUSTER_DEVICE": "tpu"})


def refused(room):
    """Asked for and not there: exit 6 with the reason, before anything is stored."""
    room.run(f"run capitals.yaml -m {MODEL} --device cuda --db refused.db", 6,
             f"device 'cuda:0' can not be used (see: muster doctor): no module '{room.none['MUSTER_CUDA_MODULE']}'",
             env=room.none)
    room.run(f"bench engine -m {MODEL} --device cuda:1", 6, "device 'cuda:1' can not be used", env=room.none)
    room.run(f"run capitals.yaml -m {MODEL} --device cuda:5 --db refused.db", 6, "there is no device 5, only 2",
             env=room.cuda)
    other = dict(room.cuda, MUSTER_CUDA_MODULE=os.path.join(room.fakes, "muster-cuda-other.so"))
    room.run(f"run capitals.yaml -m {MODEL} --device cuda --db refused.db", 6, "is of another build", env=other)
    expect(not os.path.exists(os.path.join(room.folder, "refused.db")), "a store for a run that never was")


def automatic(room):
    """auto: CUDA where it works; else the CPU, and the reason once."""
    line = f"run capitals.yaml -m {MODEL} --db auto.db --name"
    _, err = room.run(f"{line} one", env=room.none)
    expect(err.count("local models run on cpu ") == 1 and err.count("; no CUDA: no module '") == 1, err)
    os.link(os.path.join(room.folder, "tiny.gguf"), os.path.join(room.folder, "same.gguf"))
    _, err = room.run(f"{line} two -m local/same.gguf", env=room.none)
    expect(err.count("local models run on cpu ") == 1, err)
    _, err = room.run(f"{line} three", env=dict(room.cuda, FAKE_CUDA_FAIL="the card fell off"))
    expect("; no CUDA: the card fell off\n" in err, err)
    for extra, env in (("-q", room.none), ("--device cpu", room.none), ("", room.cuda)):
        _, err = room.run(f"{line} four{extra.strip('-').replace(' ', '')} {extra}", env=env)
        expect("local models run on" not in err, f"{extra}: {err}")
    spec = room.json("show four --db auto.db --json")["experiment"]["spec"]
    expect(spec["device"] == "cuda", f"{spec}")


def same_bits(room):
    """The fake module's kernels are the CPU's: whatever differs would be the way there."""
    cpu = f"run capitals.yaml -m {MODEL} --db bits.db --name cpu -q --device cpu"
    cuda = f"run capitals.yaml -m {MODEL} --db bits.db --name cuda -q --device cuda:1"
    room.run(cpu, env=room.cuda)
    room.run(cuda, env=room.cuda)
    rows = [[(r["id"], r["text"]) for r in map(json.loads, room.run(f"show {name} --samples --json --db bits.db")[0]
                                               .splitlines())] for name in ("cpu", "cuda")]
    expect(len(rows[0]) == 3 and rows[0] == rows[1], f"{rows}")
    expect("device" not in room.json("show cpu --db bits.db --json")["experiment"]["spec"], "the CPU is no setting")
    # Other devices give other bits: a run goes on only where it began, and is verified there.
    room.run(f"{cuda} --device cpu --resume".replace("--device cuda:1 ", ""), 2, "device", env=room.cuda)
    room.run("verify cuda --db bits.db", env=room.cuda)
    room.run("verify cuda --db bits.db", 6, "device 'cuda:0' can not be used", env=room.none)
    room.run("verify cuda --db bits.db --device cpu", env=room.none)
    room.run("verify cpu --db bits.db", env=dict(room.cuda, FAKE_CUDA_FAIL="must not be asked"))


def several(room):
    """--tp is handed to the module; no CPU takes it."""
    line = f"run capitals.yaml -m {MODEL} --db tp.db --json -q --tp 2"
    room.run(line, env=room.cuda)
    shown = room.json("show --db tp.db --json")["engine"][MODEL]
    expect(shown["device"] == "cuda Fake 9000, tp=2", f"{shown}")
    room.run(f"{line} --device cpu", 2, "--tp 2 is for GPUs, and the device is cpu", env=room.cuda)
    room.run(line, 6, "can not be used", env=room.none)
    room.run("verify --db tp.db --tp 1", env=room.cuda)


def shared_out(room):
    """--gpus: several devices, the same results, how the work was divided; no CPU takes it."""
    line = f"run capitals.yaml facts -m {MODEL} --limit 3 --db gpus.db --name"
    two = dict(room.cuda, FAKE_DRIVER_NEW="1")
    room.run(f"{line} one --device cuda -q", env=room.cuda)
    _, err = room.run(f"{line} two --gpus 2", env=room.cuda)
    room.run(f"{line} all --gpus all -q", env=two)
    digest = room.run("show one --db gpus.db --digest")[0]
    for name, gpus in (("two", 2), ("all", 2)):
        expect(room.run(f"show {name} --db gpus.db --digest")[0] == digest, f"{name}: other results")
        stats = room.json(f"show {name} --db gpus.db --json")["engine"][MODEL]
        expect(stats["device"] == f"{gpus} x cuda Fake 9000" and stats["devices"] == gpus and stats["pieces"] >= gpus,
               f"{stats}")
        gpu = stats["gpu"]
        expect(gpu["devices"] == gpus and abs(gpu["power_mean_w"] - 300) < 1e-6, f"{gpu}")
        one = room.json("show one --db gpus.db --json")["engine"][MODEL]
        expect(stats["prefill_tokens_needed"] - stats["tokens_repeated"] == one["prefill_tokens_needed"], f"{stats}, {one}")
        expect(stats["prefill_tokens_computed"] == stats["prefill_tokens_needed"], f"{stats}")
    expect("  2 gpus busy 75 % (the least 75 %, at most 75 %), memory " in err, err)
    _, err = room.run(f"run facts -m {MODEL} --gpus 2 --db gpus.db", env=room.cuda)
    expect("; 2 devices: " in err and " pieces, " in err and " tokens each, " in err and " repeated" in err, err)
    room.run(f"{line} one --gpus 2 --resume -q", env=room.cuda)  # how many there are is no setting of the experiment
    room.run("verify two --db gpus.db", env=room.cuda)
    room.run(f"{line} old --gpus all -q", env=room.cuda)  # the second device of the driver is too old
    expect(room.json("show old --db gpus.db --json")["engine"][MODEL]["device"] == "cuda Fake 9000", "old")
    room.run(f"{line} x --gpus 2 --device cpu", 2, "--gpus 2 is for GPUs, and the device is cpu", env=room.cuda)
    room.run(f"{line} x --gpus 3 --tp 2", 2, "--gpus 3 can not be shared out in lots of --tp 2", env=room.cuda)
    room.run(f"{line} x --gpus 4", 6, "there is no device 2, only 2", env=room.cuda)
    room.run(f"{line} x --gpus 0", 2, "--gpus: '0' is not one of all|N")
    room.run(f"{line} lots --gpus 4 --tp 2 -q", env=dict(room.cuda, FAKE_CUDA_DEVICES="4"))
    expect(room.json("show lots --db gpus.db --json")["engine"][MODEL]["device"] == "2 x cuda Fake 9000, tp=2", "lots")
    # What a device had that is lost goes to the others; when all are lost, the run goes on later.
    lost = dict(room.cuda, FAKE_CUDA_LOSE="1:1")
    room.run(f"{line} lost --gpus 2", 0, "1 of 2 devices lost, the others took over: cuda:1: the device is lost", env=lost)
    expect(room.json("show lost --db gpus.db --json")["engine"][MODEL]["devices_lost"] == 1, "devices_lost")
    room.run(f"{line} none --gpus 2", 6, "the device is lost", env=dict(room.cuda, FAKE_CUDA_LOSE="all:1"))
    room.run(f"{line} none --gpus 2 --resume -q", env=room.cuda)
    for name in ("lost", "none"):
        expect(room.run(f"show {name} --db gpus.db --digest")[0] == digest, f"{name}: other results")


def sensors(room):
    _, err = room.run(f"run capitals.yaml -m {MODEL} --db watch.db --device cuda --name watched", env=room.cuda)
    line = [x for x in err.splitlines() if x.startswith("  gpu ")]
    expect(len(line) == 1 and " busy 75 % (at most 75 %), memory " in line[0] and " of 8.0 GB, 100 W " in line[0] and
           " 61 C at most, " in line[0] and line[0].endswith(" J per 1000 tokens"), f"{err}")
    shown, again = room.run("show watched --db watch.db")
    expect(line[0] in shown + again, f"show: {shown + again}")
    stats = room.json("show watched --db watch.db --json")["engine"][MODEL]
    gpu = stats["gpu"]
    expect(stats["device"] == "cuda Fake 9000", f"{stats}")
    expect(gpu["samples"] >= 2 and abs(gpu["power_mean_w"] - 100) < 1e-6 and gpu["memory_bytes"] == 8e9, f"{gpu}")
    # 100 W for no longer than the run took; the counter has steps of a millijoule.
    expect(0 <= gpu["energy_j"] <= 100 * stats["seconds"] + 1, f"{gpu['energy_j']} J in {stats['seconds']} s")
    tokens = stats["prefill_tokens_computed"] + stats["decode_tokens"]
    expect(abs(gpu["energy_per_1000_tokens_j"] - gpu["energy_j"] / tokens * 1000) < 1e-9, f"{gpu}, {tokens}")
    run = room.json(f"run capitals.yaml -m {MODEL} --db watch.db --device cuda --json -q", env=room.cuda)
    expect(run["engine"]["gpu"]["power_max_w"] == 100, f"{run['engine']}")
    some = dict(room.cuda, FAKE_NVML_NO="temperature use")
    run = room.json(f"run capitals.yaml -m {MODEL} --db watch.db --device cuda --json -q", env=some)
    expect("busy_mean" not in run["engine"]["gpu"] and "energy_j" in run["engine"]["gpu"], f"{run['engine']}")
    plain = room.json(f"run capitals.yaml -m {MODEL} --db watch.db --device cpu --json -q", env=room.cuda)
    expect("gpu" not in plain["engine"], f"{plain['engine']}")


def fast(room):
    """--fast is for GPUs and marks the run; it is a setting that a run can not change on the way."""
    line = f"run capitals.yaml -m {MODEL} --db fast.db --name"
    room.run(f"{line} none --fast --device cpu", 2, "--fast is for GPUs, and the device is cpu", env=room.cuda)
    room.run(f"{line} none --fast", 6, "device 'cuda:0' can not be used", env=room.none)
    room.run(f"bench engine -m {MODEL} --fast --device cpu", 2, "--fast is for GPUs", env=room.cuda)
    _, err = room.run(f"{line} quick --fast", env=room.cuda)
    expect("local models run on cuda Fake 9000\n" in err and err.count("; fast: not reproducible bit for bit\n") == 1, err)
    shown, err = room.run("show quick --db fast.db")
    expect("fast: not reproducible bit for bit\n" in err, err)
    expect(room.json("show quick --db fast.db --json")["experiment"]["spec"]["precision"] == "fast", "the setting")
    room.run(f"{line} quick --device cuda --resume", 2, "precision", env=room.cuda)
    _, err = room.run(f"{line} exact --device cuda", env=room.cuda)
    expect("fast" not in err + room.run("show exact --db fast.db")[1], err)
    room.run(f"{line} exact --fast --resume", 2, "precision", env=room.cuda)
    # Unnamed, --resume looks for its own kind and starts anew.
    _, err = room.run(f"run capitals.yaml -m {MODEL} --db fast.db --fast --resume", env=room.cuda)
    expect("fast: not reproducible" in err, err)
    diff, _ = room.run("diff exact quick --db fast.db")
    expect("precision" in diff, diff)
    # The module's kernels are the CPU's, so here the bits are the same; they were not promised.
    out, _ = room.run("verify quick --db fast.db", env=room.cuda)
    expect(out == "verified: the run is fast, and bits are not promised. Of 3 attempts run again 3 agree bit for bit\n", out)
    expect("bits are not promised" not in room.run("verify exact --db fast.db", env=room.cuda)[0], "of an exact run")
    room.run("verify quick --db fast.db --device cpu", 2, "--fast is for GPUs", env=room.cuda)


def fast_bits(room):
    """Replies of a fast run may part and log-probabilities may move a little: verify says which did, and fails for more."""
    room.run(f"run capitals.yaml facts -m {MODEL} --limit 2 --db moved.db --name quick --fast -q", env=room.cuda)
    store = sqlite3.connect(os.path.join(room.folder, "moved.db"))
    key, text = store.execute("SELECT id, choice_logprobs FROM attempt WHERE choice_logprobs IS NOT NULL").fetchone()
    choices = json.loads(text)

    def moved(nat, exit_code, line):
        store.execute("UPDATE attempt SET choice_logprobs = ? WHERE id = ?", (json.dumps([c + nat for c in choices]), key))
        store.commit()
        out, _ = room.run("verify quick --db moved.db", exit_code, env=room.cuda)
        expect(out.splitlines()[-1] == line, f"{out}; want {line!r}")
        return out

    said = "the run is fast, and bits are not promised. Of 4 attempts run again"
    moved(0, 0, f"verified: {said} 4 agree bit for bit")
    out = moved(0.05, 0, f"verified: {said} 3 agree bit for bit, 1 differ as they may (log-probabilities by at most 0.1 nat + 1 %)")
    expect(out.count("the choices differ, as may be\n") == 1, out)
    out = moved(5, 1, f"NOT verified: {said} 3 agree bit for bit, 1 by more")
    expect(out.count("the choices differ\n") == 1, out)
    found = room.json("verify quick --db moved.db --json", code=1, env=room.cuda)
    expect(found["fast"] and found["agree"] == 3 and found["allowed"] == 0, f"{found}")
    moved(0, 0, f"verified: {said} 4 agree bit for bit")
    store.execute("UPDATE attempt SET reply_text = 'Rome' WHERE id = "
                  "(SELECT min(id) FROM attempt WHERE choice_logprobs IS NULL)")
    store.commit()
    store.close()
    out, _ = room.run("verify quick --db moved.db", env=room.cuda)
    expect(out.count("the reply differs, as may be\n") == 1 and out.count(", 1 differ as they may (") == 1, out)


def emulated(room):
    """The real kernels and their host side under the whole program, on an emulated GPU."""
    if room.emulated is None:
        raise Skip("no emulated module: no C++ compiler")
    gpu = {"MUSTER_CUDA_MODULE": room.emulated, "MUSTER_EMULATE_MEMORY": str(64 << 20)}
    line = f"run capitals.yaml facts -m {MODEL} --limit 2 --db emulated.db -q --name"
    room.run(f"{line} cpu --device cpu")
    room.run(f"{line} gpu --device cuda", env=gpu)
    room.run(f"{line} small --device cuda --kv-memory 1M -t 1", env=gpu)
    expect(room.run("show gpu --db emulated.db --digest")[0] == room.run("show small --db emulated.db --digest")[0],
           "the bits depend on the size of the pool")
    rows = {name: {(r["eval"], r["id"]): r for r in map(json.loads, room.run(
        f"show {name} --samples --json --db emulated.db")[0].splitlines())} for name in ("cpu", "gpu")}
    errors = [abs(a["logprob"] - b["logprob"]) / a["tokens"] for key, row in rows["cpu"].items() if row.get("choices")
              for a, b in zip(row["choices"], rows["gpu"][key]["choices"])]
    expect(len(rows["gpu"]) == 4 and len(errors) == 8, f"{len(rows['gpu'])} rows, {len(errors)} choices")
    expect(max(errors) <= 0.05 and sum(errors) / len(errors) <= 0.01, f"nats per token: {errors}")
    room.run("verify gpu --db emulated.db", env=gpu)
    _, err = room.run(f"{line} quick --fast".replace(" -q", ""), env=gpu)
    expect(", fast: cuBLASLt 13.0.0\n" in err, err)
    _, err = room.run(f"{line} quicker --fast".replace(" -q", ""), env=dict(gpu, MUSTER_EMULATE_WITHOUT="blas"))
    expect(", fast: no cuBLASLt\n" in err, err)
    out, _ = room.run("verify quick --db emulated.db", env=gpu)
    expect(out.startswith("verified: the run is fast"), out)


def bench(room):
    out = room.json(f"bench engine -m {MODEL} --device cuda --repeat 1 --json", env=room.cuda)
    expect(out["device"] == "cuda Fake 9000" and out["read_bytes_per_s"] is None, f"{out}")
    expect(all(row["of_memory"] is None for row in out["rows"]), f"{out}")
    out, _ = room.run(f"bench engine -m {MODEL} --device cpu --repeat 1", env=room.cuda)
    expect(", cpu " in out.splitlines()[0] and "reading them at" in out.splitlines()[0], out)


def doctor(room):
    found = room.json("doctor --json", env=room.cuda)
    expect(found["device"] == "cuda Fake 9000", f"{found}")
    expect(found["driver"] == "NVIDIA, CUDA 12.4, 2 devices", f"{found}")
    expect(found["cuda:0"] == "Fake 10, 8.0 GiB, compute capability 9.0", f"{found}")
    expect(found["cuda:1"].endswith("compute capability 7.5: too old, 8.0 is the least"), f"{found}")
    expect("NVML libnvidia-ml.so.1" in found["libraries"], f"{found}")
    cuda = found["cuda"]
    expect(cuda["driver"] and cuda["driver_version"] == 12040 and cuda["module"] == found["module"], f"{cuda}")
    expect(cuda["devices"][1] == {"name": "Fake 11", "memory_bytes": 2 ** 34, "compute_capability": "7.5"}, f"{cuda}")
    out, _ = room.run("doctor", 6, env=room.none)
    lines = {line[4:].split()[0]: line for line in out.splitlines()}
    expect(lines["module"].startswith("BAD module    none: no module '"), out)
    expect(lines["device"].startswith("ok  device    cpu ") and "; no CUDA: no module '" in lines["device"], out)
    out, _ = room.run("doctor", env=dict(room.cuda, FAKE_DRIVER_FAIL="100"))
    expect("ok  driver    none: the NVIDIA driver does not start: no CUDA-capable device is detected (100)" in out, out)


TESTS = [("words for devices", words), ("a device that is not there", refused), ("auto", automatic),
         ("the whole way through a module", same_bits), ("several GPUs", several),
         ("GPUs that share out the requests", shared_out), ("sensors", sensors), ("bench engine", bench),
         ("the real kernels, emulated", emulated),
         ("doctor", doctor),
         ("--fast", fast), ("verifying a fast run", fast_bits)]


def main():
    program, root, fakes, tiny = (os.path.abspath(word) for word in sys.argv[1:5])
    module = os.path.abspath(sys.argv[5]) if len(sys.argv) > 5 else None
    with tempfile.TemporaryDirectory() as folder:
        return tap(TESTS, Room(program, root, fakes, tiny, module, folder))


if __name__ == "__main__":
    sys.exit(main())
