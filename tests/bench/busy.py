#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a busy neighbour costs: a process that never rests is pinned to one core, and the engine runs beside it.

    busy.py BUILD MODEL.gguf [--rounds N] [--threads N] [--core N]

The engine with all threads against the engine with one, in turns under the same load; neither is pinned. Waiting at
a barrier for a thread that the neighbour has pushed aside would make more threads slower than one. The same without
the neighbour is printed beside. Exits 1 when a ratio under load is below 0.9."""
import argparse
import os
import statistics
import subprocess
import sys
import time

from engine import DECODE_1, DECODE_16, LABELS, PREFILL, Child, Others, machine, percent

BAR = 0.9
REQUESTS = (PREFILL, DECODE_1, DECODE_16)


def measure(children, rounds):
    """Median rates by (threads, request)."""
    rates = {(n, request): [] for request in REQUESTS for n in children}
    for _ in range(rounds):
        for n, request in rates:
            rates[n, request].append(children[n].ask(request))
    return {key: statistics.median(values) for key, values in rates.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    args = parser.parse_args()
    serve = [f"{args.build}/tests/bench/forward_dump", args.model]
    children = {n: Child(*serve, f"threads={n}", "serve") for n in (args.threads, 1)}
    others = Others(children.values())
    free = measure(children, args.rounds)
    disturbed = others.share()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        os.sched_setaffinity(neighbour.pid, {args.core})
        time.sleep(0.5)
        busy = measure(children, args.rounds)
        neighbour.kill()
    for child in children.values():
        child.close()
    print(f"{machine()}, {args.threads} threads and 1, medians of {args.rounds} rounds, tok/s; busy: a process that "
          f"never rests on core {args.core}; without it others took {percent(disturbed)} of the processors.\n")
    print(f"| what | {args.threads} threads | 1 thread | {args.threads} threads, busy | 1 thread, busy | ratio, busy "
          "| bar |\n|---|---|---|---|---|---|---|")
    good = True
    for request in REQUESTS:
        ratio = busy[args.threads, request] / busy[1, request]
        good &= ratio >= BAR
        rates = [rates[n, request] for rates in (free, busy) for n in (args.threads, 1)]
        print(f"| {LABELS[request]} | " + " | ".join(f"{rate:,.0f}" for rate in rates) +
              f" | {ratio:.2f} | {BAR:g} {'pass' if ratio >= BAR else 'MISS'} |")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
