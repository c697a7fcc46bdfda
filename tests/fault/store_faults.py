# SPDX-License-Identifier: MIT
"""What can be wrong with a store, and what every command says and does then.

store_faults.py MUSTER [MORE]: TAP. Damaged, foreign, newer and older files; a -wal that belongs elsewhere; folders that
can not be written; a disk that is full (a small tmpfs) or fails (strace's injection); a process that holds the lock;
kill -9 at single system calls. Always a sentence and exit code 5, never a crash, never a file that was "repaired".
MORE: so many times as many damaged copies and kill points. What a machine does not allow is skipped, in words."""
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import time

ROWS = 3000
HERE = os.path.dirname(os.path.abspath(__file__))
MANY = """schema: 1
eval: many
version: 1
dataset: {path: ROWS.jsonl}
sample: {input: "{{ q }}", target: "{{ q }}"}
solver: {use: generate, max_tokens: 8}
graders: [{use: includes}]
"""
READERS = ["list experiments", "list baselines", "show one", "show one --samples", "show one --digest", "trend few",
           "gate one --min few=0"]
WRITERS = ["run few.yaml -m echo -q --name more", "promote one main --force", "gc --keep 1 --yes"]


class Skip(Exception):
    """This machine can not run the test."""


class Fail(Exception):
    pass


def expect(condition, what):
    if not condition:
        raise Fail(what)


class Room:
    def __init__(self, muster, folder):
        self.folder = folder
        self.muster = os.path.join(folder, "muster")  # where everybody may run it
        shutil.copy(muster, self.muster)
        os.chmod(self.muster, 0o755)
        os.chmod(folder, 0o755)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("MUSTER_")}
        for name, rows in (("few", 12), ("many", ROWS)):
            with open(self.at(name + ".yaml"), "w", encoding="utf-8") as f:
                f.write(MANY.replace("ROWS", name).replace("eval: many", f"eval: {name}"))
            with open(self.at(name + ".jsonl"), "w", encoding="utf-8") as f:
                f.write("".join(json.dumps({"q": f"word {i}"}) + "\n" for i in range(rows)))
        self.run("run few.yaml -m echo --name one -q", "good.db")
        self.run("run few.yaml -m echo --name two -q", "good.db")
        self.digest = self.run("show one --digest", "good.db").stdout.strip()

    def at(self, name):
        return os.path.join(self.folder, name)

    def run(self, line, store, code=0, says=(), prefix=(), user=None, timeout=60):
        """Run a line on a store; exit code and words of stderr as wanted; never a signal."""
        words = [*prefix, self.muster, *line.split(), "--db", store if "/" in store else self.at(store)]
        env = {**self.env, "ASAN_OPTIONS": "detect_leaks=0"} if prefix else self.env  # which can not work under strace
        done = subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True, errors="replace",
                              timeout=timeout, check=False, user=user)
        shown = f"{line} on {store}: exit {done.returncode}, stderr {done.stderr[-500:]!r}"
        codes = code if isinstance(code, tuple) else (code,)
        expect(done.returncode in codes, f"{shown}; want {code}")
        if done.returncode != 0:
            expect("error: " in done.stderr, f"{shown}: no message")
        for word in [says] if isinstance(says, str) else says:
            expect(done.returncode == 0 or word in done.stderr, f"{shown}; want {word!r}")
        return done

    def copy(self, name="t.db", of="good.db"):
        self.remove(name)
        shutil.copy(self.at(of), self.at(name))
        return self.at(name)

    def remove(self, name):
        for entry in os.listdir(self.folder):
            path = self.at(entry)
            if entry != name and not entry.startswith((name + "-", name + ".v")):
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)


def hash_of(path):
    if not stat.S_ISREG(os.stat(path).st_mode):
        return "no file"
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def write_at(path, offset, data):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)


def refused(room, says, name="t.db", commands=None):
    """Every command exits 5 with these words, and the file is as it was."""
    before = hash_of(room.at(name))
    for line in commands or READERS + WRITERS:
        room.run(line, name, 5, says)
        expect(hash_of(room.at(name)) == before, f"{line}: the file was changed")


# ---- Files that are no store, or not ours -------------------------------------------------------

def no_store(room):
    def text(path):
        with open(path, "w", encoding="utf-8") as f:
            f.write("hello, this is not a database\n" * 100)

    def endpoint(path):
        here = socket.socket(socket.AF_UNIX)
        here.bind(path)
        here.close()

    def foreign(path):
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE t (x)")

    for make, says in ((text, "not a muster store"), (os.mkdir, "is a folder"), (os.mkfifo, "is a pipe"),
                       (endpoint, "is a socket"), (foreign, "another program"),
                       (lambda path: os.symlink(path, path), "Too many levels"),
                       (lambda path: os.symlink("/dev/null", path), "is a device")):
        room.remove("t.db")
        make(room.at("t.db"))
        if os.path.exists(room.at("t.db")):
            refused(room, says)
        else:
            room.run("list experiments", "t.db", 5, says)
            room.run(WRITERS[0], "t.db", 5, says)
    room.remove("t.db")
    room.run("show one", "good.db/inside", 5, "Not a directory")
    room.run(WRITERS[0], "good.db/inside", 5, "Not a directory")


def empty_file(room):
    """Nothing was ever stored: readers say so, a run makes it a store."""
    room.remove("t.db")
    open(room.at("t.db"), "wb").close()
    room.run("show one", "t.db", 2, "there is no store")
    expect(os.path.getsize(room.at("t.db")) == 0, "a reader wrote")
    room.run("run few.yaml -m echo -q --name one", "t.db")
    expect(room.run("show one --digest", "t.db").stdout.strip() == room.digest, "another digest")


def versions(room):
    """Newer: refused. Ours without a version: refused. Older is test_migrate's."""
    for sql, says in (("PRAGMA user_version = 99", "use a newer muster"),
                      ("PRAGMA user_version = 0", "is damaged"),
                      ("PRAGMA application_id = 7", "another program")):
        room.copy()
        with sqlite3.connect(room.at("t.db")) as db:
            db.execute(sql)
        refused(room, says)


# ---- Damage ------------------------------------------------------------------------------------

def damaged_header(room):
    size = os.path.getsize(room.at("good.db"))
    for what, damage, says in (
            ("magic", lambda p: write_at(p, 3, b"\xff\xff"), "not a muster store"),
            ("page size", lambda p: write_at(p, 16, b"\x00\x07"), "not a muster store"),
            ("50 bytes", lambda p: os.truncate(p, 50), "damaged"),
            ("one page", lambda p: os.truncate(p, 4096), "damaged"),
            ("half", lambda p: os.truncate(p, size // 8192 * 4096), "damaged"),
            ("page 1", lambda p: write_at(p, 100, bytes(3996)), "damaged")):
        damage(room.copy())
        try:
            refused(room, says)
        except Fail as fail:
            raise Fail(f"{what}: {fail}") from fail


def damaged_anywhere(room, more):
    """Random damage: an answer or a sentence, never a crash. Text that is damaged can not be told from other text."""
    rng = random.Random(5)
    with open(room.at("good.db"), "rb") as f:
        good = f.read()
    failures = 0
    for _ in range(40 * more):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 3, 20))):
            at = rng.randrange(100, len(data))
            if rng.random() < 0.2:
                at -= at % 4096
                data[at:at + 4096] = bytes(4096)
            else:
                data[at] = rng.randrange(256)
        for line in (rng.choice(READERS), rng.choice(READERS), rng.choice(WRITERS)):
            room.remove("t.db")
            with open(room.at("t.db"), "wb") as f:
                f.write(data)
            failures += room.run(line, "t.db", (0, 1, 2, 3, 5)).returncode == 5
    expect(failures > 10 * more, f"only {failures} of the damaged stores were noticed")


def crashed(room, store, name):
    """A store whose process was killed after its first group of attempts was committed, with a -wal left behind.

    It can not be done before: its events are not read, so it waits when the pipe is full."""
    read, write = os.pipe()
    process = subprocess.Popen([room.muster, *f"run many.yaml -m echo -q --name {name} --db {room.at(store)}".split(),
                                "--events", str(write)], cwd=room.folder, env=room.env, pass_fds=[write],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as f:
        expect("done" in f.readline(), "nothing was committed")
        process.kill()
        process.wait()
    wal = room.at(store + "-wal")
    expect(os.path.exists(wal) and os.path.getsize(wal) > 200000, "no -wal was left")


def first_commits(wal, n):
    """The first n transactions of a -wal."""
    page_size = struct.unpack(">I", wal[8:12])[0]
    at = 32
    while n > 0:
        n -= struct.unpack(">I", wal[at + 4:at + 8])[0] != 0
        at += 24 + page_size
    return wal[:at]


def wal_of_another(room):
    """SQLite itself would lay it over the file."""
    crashed(room, "other.db", "other")
    with sqlite3.connect(room.at("foreign.db"), isolation_level=None) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (x)")
        for _ in range(50):
            db.execute("INSERT INTO t VALUES (randomblob(3000))")
        shutil.copy(room.at("foreign.db-wal"), room.at("foreign-wal"))
    db.close()
    for wal, says in (("other.db-wal", "belongs to another store"), ("foreign-wal", "another program")):
        for line in READERS + WRITERS:
            room.copy()
            shutil.copy(room.at(wal), room.at("t.db-wal"))
            before = hash_of(room.at("t.db")), hash_of(room.at("t.db-wal"))
            room.run(line, "t.db", 5, says)
            expect((hash_of(room.at("t.db")), hash_of(room.at("t.db-wal"))) == before, f"{line}: files were changed")
            os.unlink(room.at("t.db-wal"))
            room.remove("t.db-shm")
    expect(room.run("show one --digest", "t.db").stdout.strip() == room.digest, "the store itself is not whole")


def wal_of_other_times(room):
    """A copy put in the place of a store that had crashed: its -wal is of the same store, and does not fit.

    Also when the -wal holds no more than the transaction that begins an experiment: laid over the copy it does no
    damage that SQLite could see, only the experiments between the two lose all their rows."""
    room.remove("r.db")
    room.run("run many.yaml -m echo -q --name base", "r.db")
    shutil.copy(room.at("r.db"), room.at("backup.db"))
    with sqlite3.connect(room.at("r.db")) as db:
        db.execute("VACUUM INTO ?", (room.at("vacuumed.db"),))
    db.close()
    crashed(room, "r.db", "second")
    shutil.copy(room.at("r.db-wal"), room.at("second-wal"))
    room.run("run many.yaml -m echo -q --name second --resume", "r.db")
    shutil.copy(room.at("r.db"), room.at("later.db"))
    crashed(room, "r.db", "third")
    shutil.copy(room.at("r.db-wal"), room.at("third-wal"))
    cases = [(store, wal, n) for store, wals in (("backup", ["third-wal"]), ("later", ["second-wal"]),
                                                ("vacuumed", ["second-wal", "third-wal"]))
             for wal in wals for n in (1, 2)]
    for store, wal, n in cases:
        room.copy("r.db", store + ".db")
        with open(room.at(wal), "rb") as f:
            log = first_commits(f.read(), n)
        with open(room.at("r.db-wal"), "wb") as f:
            f.write(log)
        before = hash_of(room.at("r.db")), hash_of(room.at("r.db-wal"))
        for line in READERS + WRITERS:
            room.run(line, "r.db", 5, "do not fit together")
            expect((hash_of(room.at("r.db")), hash_of(room.at("r.db-wal"))) == before,
                   f"{store}.db, {n} transactions of {wal}: {line}: files were changed")
        os.unlink(room.at("r.db-wal"))
        room.run("run few.yaml -m echo -q --name more", "r.db")
    for store, wal in (("backup", "second-wal"), ("later", "third-wal")):  # each beside its own
        room.copy("r.db", store + ".db")
        shutil.copy(room.at(wal), room.at("r.db-wal"))
        name = wal.split("-", maxsplit=1)[0]
        room.run(f"run many.yaml -m echo -q --name {name} --resume", "r.db")
        expect(len(rows_of(room, "r.db", name)) == ROWS, f"{store}.db, {wal}: rows")


def wal_cut(room):
    """A torn end of the -wal is what a power cut leaves: what was committed before it counts."""
    room.remove("w.db")
    crashed(room, "w.db", "cut")
    size = os.path.getsize(room.at("w.db-wal"))
    os.truncate(room.at("w.db-wal"), size - 1000)
    room.run("list experiments", "w.db")
    room.run("run many.yaml -m echo -q --name cut --resume", "w.db")
    shown = json.loads(room.run("show cut --json", "w.db").stdout)
    expect(shown["experiment"]["done"] == ROWS, f"{shown['experiment']}")


# ---- Places -------------------------------------------------------------------------------------

def nobody():
    if os.geteuid() != 0:
        return None
    return 65534


def read_only_folder(room):
    user = nobody()
    folder = room.at("closed")
    os.makedirs(folder)
    store = os.path.join(folder, "muster.db")
    shutil.copy(room.at("good.db"), store)
    os.chmod(store, 0o444)
    os.chmod(folder, 0o555)
    try:
        for line in READERS:
            room.run(line, store, user=user)
        for line in WRITERS:
            room.run(line, store, 5, "needs a folder it may write to", user=user)
        os.chmod(folder, 0o755)
        shutil.copy(room.at("other.db-wal"), store + "-wal")
        os.chmod(store + "-wal", 0o444)
        os.chmod(folder, 0o555)
        room.run("list experiments", store, 5, "belongs to another store", user=user)
        os.chmod(folder, 0o755)
        os.chmod(store, 0o644)
        os.chmod(store + "-wal", 0o644)
        for end in ("", "-wal"):
            shutil.copy(room.at("other.db" + end), store + end)
        os.chmod(folder, 0o555)
        room.run("list experiments", store, 5, "copy both files elsewhere", user=user)
        os.chmod(folder, 0o755)
        os.unlink(store + "-wal")
        os.chmod(folder, 0o555)
        os.chmod(store, 0o000)
        room.run("list experiments", store, 5, "can not be opened", user=user)
    finally:
        os.chmod(folder, 0o755)
        shutil.rmtree(folder)


def read_only_file(room):
    """The folder can be written, the file can not."""
    user = nobody()
    folder = room.at("open")
    os.makedirs(folder)
    os.chmod(folder, 0o777)
    store = os.path.join(folder, "muster.db")
    shutil.copy(room.at("good.db"), store)
    os.chmod(store, 0o444)
    before = hash_of(store)
    for line in WRITERS:
        room.run(line, store, 5, "can not be written", user=user)
    expect(hash_of(store) == before, "the file was changed")
    shutil.rmtree(folder)


def in_namespace(room, which):
    """Run one of the tests below with a file system of its own."""
    words = ["unshare", "-m", sys.executable, os.path.abspath(__file__), room.muster, "--namespace", which]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    except FileNotFoundError:
        raise Skip("there is no unshare") from None
    if done.returncode == 77 or "unshare:" in done.stderr:
        raise Skip(f"no file system can be mounted: {done.stderr.strip()[-200:]}")
    for line in done.stdout.splitlines():
        print(f"# {line}")
    expect(done.returncode == 0, done.stderr[-800:])


def mount(*words):
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        sys.exit(77)


def acked_run(room, line, store, code, says=()):
    """Run with --events: what was acknowledged."""
    read, write = os.pipe()
    words = [room.muster, *line.split(), "--db", store, "--events", str(write)]
    process = subprocess.Popen(words, cwd=room.folder, env=room.env, pass_fds=[write], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    os.close(write)
    with os.fdopen(read) as f:
        acks = [(row["id"], row["epoch"]) for row in map(json.loads, f)]
    stderr = process.stderr.read()
    expect(process.wait() == code, f"{line}: exit {process.returncode}, want {code}: {stderr[-400:]}")
    for word in [says] if isinstance(says, str) else says:
        expect(word in stderr, f"{line}: {stderr[-400:]!r} lacks {word!r}")
    return acks


def rows_of(room, store, name):
    out = room.run(f"show {name} --samples --json --limit 1000000", store).stdout
    return [(row["id"], row["epoch"]) for row in map(json.loads, out.splitlines())]


def full_disk(room):
    """A file system of 2 MB: stops with a sentence; with space again the run goes on to the same end."""
    disk = room.at("disk")
    os.mkdir(disk)
    mount("-t", "tmpfs", "-o", "size=2m", "none", disk)
    store = os.path.join(disk, "muster.db")
    acks = acked_run(room, "run many.yaml -m echo -q --name k", store, 5, ("no space left", "--resume"))
    rows = rows_of(room, store, "k")
    expect(len(rows) < ROWS and len(set(rows)) == len(rows), f"{len(rows)} rows")
    expect(set(acks) <= set(rows), f"lost {len(set(acks) - set(rows))} of {len(acks)} acknowledged")
    print(f"2 MB: {len(acks)} acknowledged, {len(rows)} stored")
    room.run("list experiments", store)
    room.run("gc k", store)
    acked_run(room, "run many.yaml -m echo -q --name k --resume", store, 5, "no space left")
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        expect(db.execute("PRAGMA integrity_check").fetchone()[0] == "ok", "integrity_check")
    db.close()
    mount("-o", "remount,size=64m", disk)
    acks += acked_run(room, "run many.yaml -m echo -q --name k --resume", store, 0)
    rows = rows_of(room, store, "k")
    expect(len(acks) == len(set(acks)) and set(acks) <= set(rows), "acknowledged twice, or lost")
    expect(len(rows) == ROWS == len(set(rows)), f"{len(rows)} rows at the end")
    room.run("run many.yaml -m echo -q --name k", "whole.db")
    expect(room.run("show k --digest", store).stdout == room.run("show k --digest", "whole.db").stdout, "digest")


def full_from_the_start(room):
    """Not even the tables fit."""
    disk = room.at("disk")
    os.mkdir(disk)
    mount("-t", "tmpfs", "-o", "size=16k", "none", disk)
    store = os.path.join(disk, "muster.db")
    room.run("run few.yaml -m echo -q --name k", store, 5, ("store", "full"))
    room.run("list experiments", store, (0, 5), "full")
    mount("-o", "remount,size=8m", disk)
    room.run("run few.yaml -m echo -q --name one", store)
    expect(room.run("show one --digest", store).stdout.strip() == room.digest, "digest")


def read_only_disk(room):
    disk = room.at("disk")
    os.mkdir(disk)
    mount("-t", "tmpfs", "-o", "size=8m", "none", disk)
    store = os.path.join(disk, "muster.db")
    shutil.copy(room.at("good.db"), store)
    mount("-o", "remount,ro", disk)
    for line in READERS:
        room.run(line, store)
    for line in WRITERS:
        room.run(line, store, 5, "Read-only file system")


NAMESPACE = {"full": full_disk, "start": full_from_the_start, "read-only": read_only_disk}


# ---- System calls that fail, or are the last ones ------------------------------------------------

def strace(room, inject, *more):
    return ["strace", "-f", "-qq", "-o", room.at("strace.log"), "-e", f"inject={inject}", *more]


def strace_works(room):
    try:
        done = subprocess.run(strace(room, "sync:error=EIO") + ["true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Skip("there is no strace") from None
    if done.returncode != 0:
        raise Skip(f"strace can not trace here: {done.stderr.strip()[-200:]}")


def failing_calls(room):
    """The disk fails or fills up at some write or sync: a sentence, and the run can be resumed."""
    strace_works(room)
    for inject, says in (("pwrite64:error=ENOSPC:when=25+", "space"), ("pwrite64:error=EIO:when=25+", "disk"),
                         ("fdatasync:error=EIO:when=2+", "disk"), ("ftruncate:error=EIO:when=1+", "disk")):
        room.remove("t.db")
        room.run("run many.yaml -m echo -q --name k", "t.db", 5, says, prefix=strace(room, inject))
        room.run("run many.yaml -m echo -q --name k --resume", "t.db")
        shown = json.loads(room.run("show k --json", "t.db").stdout)
        expect(shown["experiment"]["done"] == ROWS, f"{inject}: {shown['experiment']}")


def kill_at_every_call(room, more):
    """kill -9 at the Nth write, sync, truncate or unlink: what was acknowledged is there, and the end is the same."""
    strace_works(room)
    n_points = 0
    for call in ("pwrite64", "fdatasync", "ftruncate", "unlink"):
        step = 1 if more > 1 else 7 if call == "pwrite64" else 2
        for when in range(1, 1000, step):
            room.remove("t.db")
            read, write = os.pipe()
            words = strace(room, f"{call}:signal=SIGKILL:when={when}")
            words += [room.muster, *"run few.yaml -m echo -q --name one --resume".split(), "--db", room.at("t.db"),
                      "--events", str(write)]
            process = subprocess.Popen(words, cwd=room.folder, env=room.env, pass_fds=[write],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            os.close(write)
            with os.fdopen(read) as f:
                acks = [json.loads(line)["id"] for line in f if line.endswith("\n")]
            code = process.wait()
            if os.path.exists(room.at("t.db")) and os.path.getsize(room.at("t.db")) > 0:
                with sqlite3.connect(room.at("t.db")) as db:
                    expect(db.execute("PRAGMA integrity_check").fetchone()[0] == "ok", f"{call} {when}: integrity")
                db.close()
            room.run("run few.yaml -m echo -q --name one --resume", "t.db")
            rows = [i for i, _ in rows_of(room, "t.db", "one")]
            expect(set(acks) <= set(rows) and len(rows) == 12 == len(set(rows)), f"{call} {when}: {acks} {rows}")
            expect(room.run("show one --digest", "t.db").stdout.strip() == room.digest, f"{call} {when}: digest")
            if code == 0:
                break
            n_points += 1
    print(f"# {n_points} kill points")
    expect(n_points > 15, f"only {n_points} kill points")


# ---- Several processes --------------------------------------------------------------------------

def holder(path):
    """A process that holds a lock file until it is killed."""
    code = ("import fcntl, os, signal, sys\nf = open(sys.argv[1], 'a+')\nfcntl.flock(f, fcntl.LOCK_EX)\n"
            "f.truncate(0)\nf.write(str(os.getpid()) + '\\n')\nf.flush()\nprint('held', flush=True)\n"
            "signal.pause()\n")
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
    expect(process.stdout.readline() == "held\n", "the lock can not be taken")
    return process


def lock_is_waited_for(room):
    room.copy()
    process = holder(room.at("t.db-lock"))
    waits = subprocess.Popen([room.muster, *"run few.yaml -m echo -q --name third --db".split(), room.at("t.db")],
                             cwd=room.folder, env=room.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(1)
        expect(waits.poll() is None, f"it did not wait: exit {waits.returncode}")
    finally:
        process.kill()
        process.wait()
    stderr = waits.communicate(timeout=60)[1]
    expect(waits.returncode == 0, f"exit {waits.returncode}: {stderr}")


def lock_names_its_holder(room):
    """After ten seconds a writer gives up; readers do not wait at all."""
    room.copy()
    process = holder(room.at("t.db-lock"))
    try:
        for line in READERS:  # exit 0, so without the lock
            room.run(line, "t.db")
        room.run("run few.yaml -m echo -q --name third", "t.db", 5, f"by process {process.pid};")
    finally:
        process.kill()
        process.wait()
    room.run("run few.yaml -m echo -q --name third", "t.db")  # the kernel let go of the lock


def one_experiment_two_processes(room):
    room.remove("t.db")
    line = "run many.yaml -m echo -q --name k --resume"
    read, write = os.pipe()
    first = subprocess.Popen([room.muster, *line.split(), "--db", room.at("t.db"), "--events", str(write)],
                             cwd=room.folder, env=room.env, pass_fds=[write], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as events:
        expect(events.readline(), "nothing was committed")  # and more than a pipe holds is to come
        first.send_signal(signal.SIGSTOP)
        try:
            room.run(line, "t.db", 5, f"by process {first.pid}")
            out = room.run("list experiments", "t.db").stdout
            expect("running" in out, f"a stopped process is still running: {out}")
        finally:
            first.send_signal(signal.SIGCONT)
        events.read()
    expect(first.wait() == 0, "the first one did not end well")
    expect(len(rows_of(room, "t.db", "k")) == ROWS, "rows")


def two_names_of_one_store(room):
    """The lock lies beside the file that a link leads to."""
    room.copy()
    os.symlink(room.at("t.db"), room.at("link.db"))
    process = holder(room.at("t.db-lock"))
    try:
        room.run("run few.yaml -m echo -q --name third", "link.db", 5, f"by process {process.pid};")
    finally:
        process.kill()
        process.wait()
    room.run("run few.yaml -m echo -q --name third", "link.db")
    expect(not os.path.exists(room.at("link.db-lock")), "a lock of its own")
    room.remove("link.db")


def killed_at(room, line, seconds):
    """Run a line on t.db and kill it after that time; whether it had not ended by itself."""
    process = subprocess.Popen([room.muster, *line.split(), "--db", room.at("t.db")], cwd=room.folder, env=room.env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    return process.wait() != 0


def killed_migration(room, more):
    """kill -9 while a store of version 1 is brought up to date: it is one or the other, with the same results."""
    with open(os.path.join(HERE, "..", "unit", "results", "schema_v1.sql"), encoding="utf-8") as f:
        sql = f.read()
    with sqlite3.connect(room.at("v1.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(sql)
    db.close()
    want = room.run("show old --digest", "v1.db").stdout
    span = 0.05  # s; follows the speed of the machine, so that kills fall before and after
    rng = random.Random(4)
    n = n_killed = n_old = 0
    while n < 20 * more or (n < 400 * more and (n_killed == 0 or n_old in (0, n))):
        n += 1
        room.copy(of="v1.db")
        killed = killed_at(room, "run few.yaml -m echo -q --name one", rng.random() * span)
        n_killed += killed
        with sqlite3.connect(room.at("t.db")) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            expect(db.execute("PRAGMA integrity_check").fetchone()[0] == "ok", "integrity_check")
        db.close()
        expect(version in (1, 3), f"version {version}")
        n_old += version == 1
        span *= 1.2 if version == 1 else 0.8
        expect(room.run("show old --digest", "t.db").stdout == want, f"version {version}: another digest")
        room.run("run few.yaml -m echo -q --name one --resume", "t.db")
        expect(room.run("show one --digest", "t.db").stdout.strip() == room.digest, "digest of the new run")
        copies = [name for name in os.listdir(room.folder) if name.startswith("t.db.v1")]
        expect(any(name.endswith(".bak") for name in copies), f"{copies}: no copy")
        for name in copies:
            if name.endswith(".bak"):
                expect(room.run("show old --digest", name).stdout == want, f"{name}: another digest")
    print(f"# {n_killed} of {n} were killed in time, {n_old} before they were brought up to date")
    expect(n_killed > 0 and n_old not in (0, n), "never killed in time")


def killed_gc(room, more):
    """kill -9 while gc removes: whole experiments are left, and nothing that refers to nothing."""
    room.remove("gc.db")
    for i in range(8):
        room.run(f"run few.yaml -m echo -q --name e{i}", "gc.db")
    room.run("promote e3 main --force", "gc.db")
    span = 0.06  # s; follows the speed of the machine
    rng = random.Random(3)
    n = n_killed = n_begun = 0
    while n < 15 * more or (n < 400 * more and (n_killed == 0 or n_begun == 0)):
        n += 1
        room.copy(of="gc.db")
        killed = killed_at(room, "gc --keep 1 --yes -q", rng.random() * span)
        n_killed += killed
        with sqlite3.connect(room.at("t.db"), isolation_level=None) as db:
            expect(db.execute("PRAGMA integrity_check").fetchone()[0] == "ok", "integrity_check")
            expect(db.execute("PRAGMA foreign_key_check").fetchall() == [], "foreign_key_check")
            names = []
            for name, rows in db.execute("SELECT e.name, count(a.id) FROM experiment AS e JOIN run AS r ON r.experiment_id"
                                         " = e.id LEFT JOIN attempt AS a ON a.run_id = r.id GROUP BY 1"):
                names.append(name)
                expect(rows == 12, f"{name} has {rows} attempts")
        db.close()
        n_begun += len(names) < 8
        span *= 1.2 if len(names) == 8 else 0.8 if not killed else 1
        room.run("gc --keep 1 --yes -q", "t.db")
        names = [e["name"] for e in json.loads(room.run("list experiments --json", "t.db").stdout)]
        expect(names == ["e3", "e7"], f"{names}")
    print(f"# {n_killed} of {n} were killed in time, {n - n_begun} before anything was removed")
    expect(n_killed > 0 and n_begun > 0, "gc was never killed in time")


TESTS = [no_store, empty_file, versions, damaged_header, damaged_anywhere, wal_of_another, wal_of_other_times, wal_cut,
         read_only_folder, read_only_file, "full", "start", "read-only", failing_calls, kill_at_every_call,
         lock_is_waited_for, lock_names_its_holder, two_names_of_one_store, one_experiment_two_processes, killed_migration, killed_gc]


def main():
    muster = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        room = Room(muster, folder)
        if len(sys.argv) > 3 and sys.argv[2] == "--namespace":
            try:
                NAMESPACE[sys.argv[3]](room)
            finally:
                subprocess.run(["umount", room.at("disk")], check=False)
            return 0
        more = int(sys.argv[2]) if len(sys.argv) > 2 else 1
        failed = 0
        for i, test in enumerate(TESTS, 1):
            name = test if isinstance(test, str) else test.__name__
            try:
                if isinstance(test, str):
                    in_namespace(room, test)
                elif test in (damaged_anywhere, kill_at_every_call, killed_migration, killed_gc):
                    test(room, more)
                else:
                    test(room)
                print(f"ok {i} - {name}", flush=True)
            except Skip as skip:
                print(f"ok {i} - {name} # SKIP {skip}", flush=True)
            except (Fail, subprocess.TimeoutExpired) as fail:
                failed += 1
                print(f"not ok {i} - {name}\n# " + str(fail).replace("\n", "\n# "), flush=True)
        print(f"1..{len(TESTS)}")
        return 1 if failed else 0


try:
    sys.exit(main())
except Fail as fatal:
    print(f"Bail out! {fatal}")
    print(fatal, file=sys.stderr)
    sys.exit(1)
