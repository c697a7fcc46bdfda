# SPDX-License-Identifier: MIT
"""What the harness itself costs: overhead.py MUSTER [SAMPLES] [BIG]

samples/s through the full path (render, solver, echo sampler, grader, SQLite), median of three runs; peak
memory at BIG samples; time of `muster --version`; time to the first request at an endpoint, files warm."""
import http.server
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time

EVAL = """schema: 1
eval: overhead
version: 1
description: Render, solver, echo, grader, store.
dataset: {path: rows.jsonl}
sample: {input: "{{ question }}", target: "{{ answer }}"}
prompt: "Question: {{ input }}\\nAnswer {{ id }}:"
solver: {use: generate, max_tokens: 8}
graders: [{use: exact}]
metrics: [accuracy]
"""


def timed(command, folder):
    """(seconds, peak bytes, stdout) of one run, measured by the kernel."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command}: exit {process.returncode}\n{err.decode()[-2000:]}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024, out


def write_rows(folder, n):
    with open(os.path.join(folder, "overhead.yaml"), "w", encoding="utf-8") as f:
        f.write(EVAL)
    with open(os.path.join(folder, "rows.jsonl"), "w", encoding="utf-8") as f:
        for i in range(n):
            f.write(json.dumps({"question": f"What comes after {i}?", "answer": str(i + 1)}) + "\n")


def run(muster, folder, name):
    seconds, peak, out = timed([muster, "run", "overhead.yaml", "-m", "echo", "--db", name, "--quiet", "--json"],
                               folder)
    done = json.loads(out)["runs"][0]["done"]
    for suffix in ("", "-wal", "-shm"):
        path = os.path.join(folder, name + suffix)
        if os.path.exists(path):
            os.unlink(path)
    return seconds, peak, done


class First(http.server.BaseHTTPRequestHandler):
    arrived = []

    def do_POST(self):
        First.arrived.append(time.perf_counter())
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"choices": [{"text": "x", "message": {"role": "assistant", "content": "x"},
                                        "finish_reason": "stop"}],
                           "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def first_call(muster, folder):
    server = http.server.HTTPServer(("127.0.0.1", 0), First)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    took = []
    for i in range(7):
        First.arrived.clear()
        began = time.perf_counter()
        timed([muster, "run", "overhead.yaml", "-m", "openai/test", "--base-url",
               f"http://127.0.0.1:{server.server_port}/v1", "--limit", "1", "--db", f"first{i}.db", "--quiet"], folder)
        took.append(First.arrived[0] - began)
    server.shutdown()
    return statistics.median(took[1:]) * 1000


def main():
    muster = os.path.abspath(sys.argv[1])
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    big = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
    version = [timed([muster, "--version"], ".")[0] for _ in range(21)]
    print(f"muster --version             {statistics.median(version) * 1000:8.1f} ms   (bar 10)")
    with tempfile.TemporaryDirectory() as folder:
        write_rows(folder, n)
        print(f"first request at an endpoint {first_call(muster, folder):8.1f} ms   (bar 50)")
        rates = []
        for i in range(3):
            seconds, peak, done = run(muster, folder, f"{i}.db")
            rates.append(done / seconds)
        print(f"{n} samples               {statistics.median(rates):8.0f} samples/s   (bar 20,000), "
              f"{peak / 1e6:.0f} MB")
        write_rows(folder, big)
        seconds, peak, done = run(muster, folder, "big.db")
        print(f"{done} samples              {peak / 1e6:8.1f} MB peak   (bar 150), {done / seconds:.0f} samples/s")
    print(f"cpus: {os.cpu_count()}, limit of open files {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}")


main()
