#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The engine beside llama.cpp and transformers on the same file, in turns, and beside what the machine can do.

    engine.py BUILD MODEL.gguf [FOLDER/TYPE.gguf ...] [--rounds N] [--threads N] [--json FILE] [--alone]

BUILD has tests/bench/forward_dump and tests/bench/limits. A file that is absent is made from the first one; its name is
its element type. All programs are loaded once and asked in turn (muster, llama.cpp, transformers; muster, ...), so that
what the machine does to one it does to the others; a round in which other processes ran is taken again. Prints a
Markdown table of medians with the bars; exits 1 when one is missed. Needs gguf, llama-cpp-python, torch and
transformers; with --alone only gguf, and compares with nothing.

The limits are measured in every round. A prompt's is the rate of products: of 16-bit activations that is half the rate
of 8-bit dot products, in float32 that of FMA; the head, which a prompt needs once, is not counted. One reply's is
reading all weights once a token. Sixteen replies compute: head counted."""
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPT, CONTEXT = 512, 64
PREFILL = f"prefill {PROMPT}"
DECODE_1, DECODE_16 = f"decode 1 {CONTEXT} 48", f"decode 16 {CONTEXT} 16"
LABELS = {PREFILL: f"prompt of {PROMPT}", DECODE_1: f"one reply at {CONTEXT}", DECODE_16: f"16 replies at {CONTEXT}"}

# (our child, request, their child): least ratio by type of the weights; none: shown.
RATIO_BARS = {
    ("muster", PREFILL, "llama.cpp"): {"Q4_1": 4.5, "Q4_0": 1.5, "Q8_0": 2.0, "BF16": 1.2},
    ("muster", DECODE_1, "llama.cpp"): {"Q4_1": 2.0, "Q4_0": 1.6},
    ("muster", DECODE_16, "llama.cpp"): {"Q4_1": 3.5, "Q4_0": 1.5},
    ("muster", PREFILL, "transformers"): {"Q4_1": 4.0},
    ("muster f32", PREFILL, "llama.cpp"): {"Q4_1": 3.0},
}
DISTURBED = 0.05  # a round in which others took more of the processors is taken again
LIMIT_BARS = {("muster", PREFILL): 0.45, ("muster", DECODE_1): 0.60}


class Child:
    """A program that has loaded the model and answers requests on its stdin."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "TQDM_DISABLE": "1"})
        self.about = json.loads(self.line())

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[:3]}: no answer")
        return line

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return float(self.line())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Others:
    """What other processes, and the host, took of the processors since the beginning: their noise is in the figures."""

    def __init__(self, children):
        self.pids = [os.getpid(), *(child.process.pid for child in children)]
        self.began = self.now()

    def now(self):
        tick = os.sysconf("SC_CLK_TCK")
        with open("/proc/stat", encoding="utf-8") as f:
            total = [int(x) / tick for x in f.readline().split()[1:9]]
        own = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            own += sum(int(fields[i]) for i in (11, 12, 13, 14)) / tick  # its own and its ended children's
        idle = total[3] + total[4]
        return sum(total), sum(total) - idle - own

    def share(self):
        total, others = (b - a for a, b in zip(self.began, self.now()))
        return max(0, others) / total


def limits(build, threads, megabytes):
    done = subprocess.run([f"{build}/tests/bench/limits", f"threads={threads}", f"megabytes={megabytes}", "rounds=5"],
                          check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["threads"][-1]


def products(path):
    """Multiplications of one token in the layers, and in the head."""
    from gguf import GGUFReader
    layers = head = 0
    for tensor in GGUFReader(path).tensors:
        if len(tensor.shape) == 2 and tensor.name.startswith("blk."):
            layers += int(tensor.n_elements)
        elif tensor.name == "output.weight" or (tensor.name == "token_embd.weight" and head == 0):
            head = int(tensor.n_elements)
    return layers, head


def median_of_limits(rounds):
    values = {key: [r[key] for r in rounds] for key in rounds[0] if key != "n"}
    return {key: None if None in rates else statistics.median(rates) for key, rates in values.items()}


def measure(args, path):
    threads = str(args.threads)
    ours = [f"{args.build}/tests/bench/forward_dump", path, f"threads={threads}", "serve"]
    peer = [sys.executable, os.path.join(HERE, "engine_peer.py")]
    children = {"muster": Child(*ours)}
    if not args.alone:
        children["llama.cpp"] = Child(*peer, "llama", path, threads)
        children["transformers"] = Child(*peer, "transformers", path, threads)
    children["muster f32"] = Child(*ours, "f32")
    asked = [(name, request) for request in (PREFILL, DECODE_1, DECODE_16) for name in children
             if name in ("muster", "llama.cpp") or request == PREFILL]
    about = children["muster"].about
    megabytes = round(about["weight_bytes"] / 1e6)
    for name, child in children.items():
        child.ask(PREFILL)  # warms up
    rounds, tried = [], 0
    while len(rounds) < args.rounds:
        others, tried = Others(children.values()), tried + 1
        most = limits(args.build, args.threads, megabytes)
        rates = {(name, request): children[name].ask(request) for name, request in asked}
        if others.share() <= DISTURBED or tried > 2 * args.rounds:
            rounds.append((most, rates, others.share()))
    for child in children.values():
        child.close()
    layers, head = products(path)
    return {"file": os.path.basename(path), "type": about["weights_type"], "weight_bytes": about["weight_bytes"],
            "disturbed": max(r[2] for r in rounds), "tried": tried, "layers_mac": layers, "head_mac": head,
            "limits": median_of_limits([r[0] for r in rounds]), "limit_rounds": [r[0] for r in rounds],
            "names": {name: child.about["name"] for name, child in children.items() if "name" in child.about},
            "medians": {key: statistics.median(r[1][key] for r in rounds) for key in asked},
            "rates": {key: [r[1][key] for r in rounds] for key in asked}}


def share_of_limit(result, name, request):
    """(share of what the machine can do, what that is); None when it is unknown."""
    rate, most = result["medians"][name, request], result["limits"]
    if request == DECODE_1:
        return rate * result["weight_bytes"] / most["read_bytes_per_s"], "reading"
    work = result["layers_mac"] + (result["head_mac"] if request == DECODE_16 else 0)
    if name == "muster f32" or result["type"] == "F32":
        return (rate * work / most["fma_mac_per_s"] if most["fma_mac_per_s"] else None), "FMA"
    return (2 * rate * work / most["dot8_mac_per_s"] if most["dot8_mac_per_s"] else None), "products"


def against(value, bar, text):
    """The bar and the word for it."""
    if bar is None:
        return "", True
    met = value is not None and value >= bar
    return f"{text(bar)} {'pass' if met else 'MISS'}", met


def percent(x):
    return f"{x * 100:.0f} %"


def rows_of(result):
    """Rows of the table, and whether all bars are met."""
    all_met, medians = True, result["medians"]
    for (name, request, other), bars in RATIO_BARS.items():
        share, of = share_of_limit(result, name, request)
        limit_bar, limit_met = "", True
        if other == "llama.cpp":  # once each
            limit_bar, limit_met = against(share, LIMIT_BARS.get((name, request)), percent)
        theirs, ratio, bar, met = "", "", "", True
        if (other, request) in medians:
            value = medians[name, request] / medians[other, request]
            theirs, ratio = f"{other} {medians[other, request]:,.0f}", f"{value:.2f}"
            bar, met = against(value, bars.get(result["type"]), lambda x: f"{x:g}")
        elif other != "llama.cpp":
            continue
        all_met &= met and limit_met
        precision = ", `--precision f32`" if name == "muster f32" else ""
        shown = "unknown" if share is None else f"{percent(share)} of {of}"
        cells = [result["type"], LABELS[request] + precision, f"{medians[name, request]:,.0f}", theirs, ratio, bar]
        yield "| " + " | ".join(cells + ([shown, limit_bar] if other == "llama.cpp" else ["", ""])) + " |", all_met


def machine():
    """The processor and the date."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        info = dict(line.split(":", 1) for line in f.read().split("\n\n")[0].split("\n") if ":" in line)
    fields = {key.strip(): value.strip() for key, value in info.items()}
    return (f"{fields.get('model name', 'unknown processor')} (family {fields.get('cpu family', '?')}, model "
            f"{fields.get('model', '?')}), {datetime.date.today()}")


def print_head(args):
    print(f"{machine()}, {args.threads} threads, medians of {args.rounds} rounds, tok/s.\n")
    print("| weights | what | muster | other | ratio | bar | of the limit | bar |\n|" + "---|" * 8, flush=True)


def print_limits(results):
    shown = {"dot8_mac_per_s": "8-bit dot", "dot16_mac_per_s": "16-bit dot", "fma_mac_per_s": "f32 FMA"}
    for result in results:
        most = result["limits"]
        rates = [f"{label} {most[key] / 1e9:.0f} GMAC/s" if most[key] else f"{label} unknown"
                 for key, label in shown.items()]
        print(f"{result['type']}: {', '.join(rates)}; reading {result['weight_bytes'] / 1e6:.0f} MB at "
              f"{most['read_bytes_per_s'] / 1e9:.0f} GB/s; {result['tried']} rounds tried, in those that count others "
              f"took {percent(result['disturbed'])} of the processors or less. "
              + "; ".join(result["names"].values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", metavar="FILE", help="all figures of all rounds")
    parser.add_argument("--alone", action="store_true", help="without the other programs")
    args = parser.parse_args()
    args.models = [os.path.abspath(path) for path in args.models]
    for path in args.models:
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            kind = os.path.splitext(os.path.basename(path))[0]
            subprocess.run([sys.executable, os.path.join(HERE, "requantize.py"), args.models[0], kind, path], check=True)
    print_head(args)
    results, good = [], True
    for path in args.models:
        results.append(measure(args, path))
        met = True
        for row, met in rows_of(results[-1]):
            print(row, flush=True)
        good &= met
    print()
    print_limits(results)
    if args.json:
        for result in results:
            for key in ("medians", "rates"):
                result[key] = {f"{name}: {request}": value for (name, request), value in result[key].items()}
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
