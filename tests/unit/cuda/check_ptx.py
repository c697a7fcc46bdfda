# SPDX-License-Identifier: MIT
"""Compile the CUDA kernels with nvcc for sm_80 and sm_90 and look at what came out, as TAP: no
register is spilled, no kernel adds floats atomically, none needs more shared memory than every
device has, and those that start early wait (gpu.cuh). Skipped where there is no nvcc.

usage: check_ptx.py SOURCE_ROOT [NVCC]
"""
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ARCHITECTURES = ("80", "90")
SHARED_MAX = 48 * 1024


def find_nvcc(arguments):
    if len(arguments) > 2:
        return arguments[2]
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def compile_one(nvcc, root, source, folder):
    """What ptxas said, and the PTX."""
    keep = os.path.join(folder, os.path.basename(source))
    os.mkdir(keep)
    command = [nvcc, "-std=c++17", "-O3", "-fmad=false", "-Xptxas", "-v", "--keep", "--keep-dir", keep,
               "-I", root, "-I", os.path.join(root, "src")]
    for architecture in ARCHITECTURES:
        command += ["-gencode", f"arch=compute_{architecture},code=sm_{architecture}"]
    command += ["-c", source, "-o", os.path.join(keep, "out.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ptx = ""
    for path in sorted(glob.glob(os.path.join(keep, "*.ptx"))):
        with open(path, encoding="utf-8") as file:
            ptx += file.read()
    return done.returncode, done.stderr, ptx


def problems(log, ptx):
    """Sentences; none when the code is sound."""
    found = []
    entry = "?"
    for line in log.splitlines():
        match = re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line)
        if match:
            entry = f"{match[1]} ({match[2]})"
        match = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if match and any(int(number) > 0 for number in match.groups()):
            found.append(f"{entry}: {match[0]}")
        match = re.search(r"(\d+) bytes smem", line)
        if match and int(match[1]) > SHARED_MAX:
            found.append(f"{entry}: {match[0]}")
    for line in ptx.splitlines():
        if re.search(r"\b(atom|red)\.\S*\.(f16|bf16|f32|f64)", line):
            found.append(f"a float is added atomically: {line.strip()}")
    return found


def early_problems(source, ptx):
    """A file launches its kernels early or none of them; all of those wait for what is before them."""
    with open(source, encoding="utf-8") as file:
        text = file.read()
    if "LAUNCH_EARLY(" not in text:
        return []
    found = ["some kernels are launched early, others not"] if re.search(r"\bLAUNCH\(", text) else []
    for module in re.split(r"(?m)^\.version", ptx):
        if not re.search(r"(?m)^\.target sm_90", module):
            continue
        for entry, body in re.findall(r"\.entry (\w+)\((.*?)(?=\.entry|\Z)", module, re.S):
            if "gpu_code_of" not in entry and "griddepcontrol.wait" not in body:
                found.append(f"{entry} starts early and does not wait")
    return found


def main():
    root = os.path.abspath(sys.argv[1])
    nvcc = find_nvcc(sys.argv)
    if nvcc is None:
        print("1..0 # SKIP no nvcc")
        return 0
    sources = sorted(glob.glob(os.path.join(root, "kernels", "cuda", "*.cu")))
    failed = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(compile_one, nvcc, root, source, folder) for source in sources]
        for number, (source, job) in enumerate(zip(sources, jobs), 1):
            code, log, ptx = job.result()
            found = problems(log, ptx) + early_problems(source, ptx)
            if code != 0 or not ptx:
                found.append("nvcc failed: " + log[-2000:])
            for sentence in found:
                print("# " + sentence.replace("\n", "\n# "))
            failed += len(found) > 0
            registers = [int(n) for n in re.findall(r"Used (\d+) registers", log)]
            print(f"{'not ok' if found else 'ok'} {number} - {os.path.basename(source)}: "
                  f"{len(registers)} kernels, at most {max(registers, default=0)} registers", flush=True)
    print(f"1..{len(sources)}")
    return failed > 0


sys.exit(main())
