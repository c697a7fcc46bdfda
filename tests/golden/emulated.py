# SPDX-License-Identifier: MIT
"""The whole program on emulated GPUs: the real kernels and their host side, several devices, and what goes wrong.

emulated.py MUSTER SOURCE_ROOT FAKES TINY_MODEL [EMULATED_MODULE]: TAP, arguments as for device.py. A failure is ordered
from the emulator (MUSTER_EMULATE_FAIL); the run that met it says so, is no longer at work, and --resume brings it to the
digest of an undisturbed one."""
import json
import os
import subprocess
import sys
import tempfile

from device import Room
from situations import expect, tap

EVALS = "capitals.yaml facts"
ATTEMPTS = 6


class Devices(Room):
    """A room with a model that four devices can share, and the emulated module."""

    def __init__(self, program, root, fakes, tiny, emulated, folder):
        super().__init__(program, root, fakes, tiny, emulated, folder)
        subprocess.run([tiny, os.path.join(folder, "wide.gguf"), "wide"], check=True)
        self.env.update(MUSTER_CUDA_MODULE=emulated, MUSTER_EMULATE_DEVICES="4",
                        MUSTER_EMULATE_MEMORY=str(64 << 20))  # a pool of gigabytes would be zeroed
        self.whole = {}

    def evaluate(self, name, extra="", code=0, says=None, fail=None, model="tiny"):
        """Run the evals under a name of their own store; (stdout, stderr)."""
        env = {"MUSTER_EMULATE_FAIL": fail} if fail else {}
        line = f"run {EVALS} -m local/{model}.gguf --limit 3 --device cuda --db {name}.db --name {name} {extra}"
        return self.run(line, code, says, env)

    def digest(self, name):
        return self.run(f"show {name} --db {name}.db --digest")[0].strip()

    def undisturbed(self, model="tiny"):
        """(digest, counts of what can fail) of a run that nothing happened to."""
        if model not in self.whole:
            _, err = self.evaluate(f"whole_{model}", "-q", model=model, fail="count")
            counts = dict(line.split()[1].split(":") for line in err.splitlines() if line.startswith("emulate: "))
            self.whole[model] = self.digest(f"whole_{model}"), {what: int(n) for what, n in counts.items()}
        return self.whole[model]


def ranks(room):
    """Two and four devices give the bits of one."""
    want, _ = room.undisturbed("wide")
    for n in (2, 4):
        room.evaluate(f"tp{n}", f"-q --tp {n}", model="wide")
        expect(room.digest(f"tp{n}") == want, f"--tp {n}: another digest")
    room.run("verify tp4 --db tp4.db --tp 1 -n 4")
    room.run("verify whole_wide --db whole_wide.db --tp 2 -n 4")


def ranks_refused(room):
    """What does not divide is refused with the reason before anything is stored."""
    for extra, model, code, says in (
            ("--tp 2", "tiny", 4, "96 activations can not be cut in blocks of 32 for 2 devices"),
            ("--tp 4", "tiny", 4, "can not be cut for 4 devices"),
            ("--tp 8", "wide", 6, "no device cuda:4: there are 4")):
        room.evaluate("no", extra, code, says, model=model)
    expect(not os.path.exists(os.path.join(room.folder, "no.db")), "a store for a run that never was")


def lost(room):
    """A device that is lost in the middle: what was done stays, the rest is done later, and nothing is an error."""
    want, counts = room.undisturbed()
    for what, part, says in (("kernel", 0.9, "CUDA: "), ("copy", 0.9, "CUDA: "), ("launch", 0.6, "CUDA: ")):
        _, err = room.evaluate(what, "", 6, f"error: {says}", f"{what}:{int(counts[what] * part)}")
        expect(f"run the same command with --resume --name {what}" in err and ", 6 errors" not in err, err)
        rows = [json.loads(line) for line in
                room.run(f"show {what} --samples --json --db {what}.db")[0].splitlines()]
        expect(len(rows) < ATTEMPTS and all(row["state"] == "done" for row in rows), f"{what}: {rows}")
        expect(what == "launch" or rows, f"{what}: nothing was done before")
        room.evaluate(what, "--resume -q")
        expect(room.digest(what) == want, f"{what}: another digest after --resume")


def lost_rank(room):
    """One of two devices is lost, and the run goes on with one alone: the bits are the same."""
    want, counts = room.undisturbed("wide")
    room.evaluate("rank", "--tp 2", 6, "error: CUDA: ", f"kernel:{int(counts['kernel'] * 1.5)}", model="wide")
    room.evaluate("rank", "--resume -q --tp 1", model="wide")
    expect(room.digest("rank") == want, "another digest after --resume on one device")


def shared_out(room):
    """Devices that share out the requests give the bits of one; what one of them had that is lost goes to the other."""
    want, counts = room.undisturbed()
    room.evaluate("gpus3", "-q --gpus 3")
    expect(room.digest("gpus3") == want, "--gpus 3: another digest")
    room.evaluate("lots", "-q --gpus 4 --tp 2", model="wide")
    expect(room.digest("lots") == room.undisturbed("wide")[0], "--gpus 4 --tp 2: another digest")
    room.evaluate("left", "--gpus 2", 0, "1 of 2 devices lost, the others took over: cuda:", f"kernel:{int(counts['kernel'] * 0.7)}")
    expect(room.digest("left") == want, "another digest after a device was lost")


def start(room):
    """What fails before the first step is an error with the reason; unasked for, it is a note, and the CPU does it."""
    for fail, code, says in (("create:1", 6, "creating a stream: out of memory"), ("alloc:1", 4, "device 0 has no "),
                             ("host:1", 6, "pinned memory"), ("kernel:1", 6, "CUDA: ")):
        room.evaluate("start", "", code, says, fail)
    expect(not os.path.exists(os.path.join(room.folder, "start.db")), "a store for a run that never was")
    _, err = room.run(f"run {EVALS} -m local/tiny.gguf --limit 3 --db auto.db", env={"MUSTER_EMULATE_FAIL": "create:1"})
    expect("local models run on cpu " in err and "creating a stream: out of memory" in err, err)


def memory(room):
    """Less memory is a smaller pool and the same bits; too little for the weights is an error that says so."""
    want, _ = room.undisturbed()
    line = f"run {EVALS} -m local/tiny.gguf --limit 3 --device cuda -q --db"
    for n, code, says in ((12 << 20, 0, None), (1 << 18, 4, "device 0 has no ")):
        room.run(f"{line} memory{n}.db --name memory", code, says, {"MUSTER_EMULATE_MEMORY": str(n)})
    got = room.run(f"show memory --db memory{12 << 20}.db --digest")[0].strip()
    expect(got == want, "another digest in less memory")


TESTS = [("two and four devices", ranks), ("what can not be shared", ranks_refused),
         ("a device that is lost", lost), ("one of two that is lost", lost_rank), ("devices that share out the requests", shared_out), ("what fails at the start", start),
         ("little memory", memory)]


def main():
    program, root, fakes, tiny = (os.path.abspath(word) for word in sys.argv[1:5])
    if len(sys.argv) < 6:
        print("1..0 # SKIP no emulated module: no C++ compiler")
        return 0
    module = os.path.abspath(sys.argv[5])
    with tempfile.TemporaryDirectory() as folder:
        return tap(TESTS, Devices(program, root, fakes, tiny, module, folder))


if __name__ == "__main__":
    sys.exit(main())
