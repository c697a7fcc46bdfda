# SPDX-License-Identifier: MIT
"""HTML reports as another parser reads them: pages.py MUSTER. TAP.

Replies that try to break out of the page are recorded, graded and reported; the pages are read with Python's
html.parser, the policy's hashes are worked out with hashlib, and the data has to give back every byte. With
MUSTER_BROWSER (a Chromium) set, the pages are also opened in it."""
import base64
import hashlib
import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile

EVIL = [
    "</script><script>document.title='PWNED'</script>",
    "<img src=x onerror=\"document.title='PWNED'\">",
    "<!--<script>",
    "]]></script><svg onload=document.title='PWNED'>",
    "</style></title></textarea><script>document.title='PWNED'</script>",
    "' onmouseover=document.title='PWNED' x=\"",
    "\x1b[31mred\x1b[0m\x07 \x1b]0;PWNED\x07",
    "abc\u202efed\u2066 \u200b\ufeff\u2028",
    "nul\0nul",
    "&lt;b&gt; &amp; &#x3c;script&#x3e;",
    "\U0001f600 \u05e9\u05dc\u05d5\u05dd",
    "x" * 1_000_000,
]
EVAL = """schema: 1
eval: evil
dataset: {path: evil.jsonl}
sample: {id: "{{ id }}", input: "{{ q }}", target: "{{ a }}", metadata: {kind: "{{ q }}"}}
slices: [kind]
solver: {use: generate, max_tokens: 8}
graders: [{use: exact}]
variants: {plain: {}, shout: {prompt: "LOUD {{ input }}"}}
"""
VOID = {"meta", "br"}
ALLOWED = {"html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav", "section", "div", "p", "h1",
           "h2", "h3", "span", "small", "code", "strong", "time", "dl", "dt", "dd", "a", "br", "table", "thead", "tbody",
           "tr", "th", "td", "details", "summary", "pre", "svg", "g", "path", "line", "circle", "rect", "text", "script"}


class Page(html.parser.HTMLParser):
    """Tags balanced, all of them known, nothing that runs or fetches; texts of what matters."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.faults, self.texts, self.scripts, self.policy = [], [], {}, [], ""
        self.feed(text)
        self.close()
        if self.open:
            self.faults.append(f"never closed: {self.open}")

    def handle_starttag(self, tag, attrs):
        if tag not in ALLOWED:
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or name in ("src", "style", "srcdoc", "action") or \
                    (name == "href" and not value.startswith("#")):
                self.faults.append(f"{tag} {name}={value}")
        attrs = dict(attrs)
        if attrs.get("http-equiv") == "Content-Security-Policy":
            self.policy = attrs["content"]
        if tag == "script":
            self.scripts.append((attrs, []))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data):
        tag = self.open[-1] if self.open else ""
        if tag == "script":
            self.scripts[-1][1].append(data)
        self.texts.setdefault(tag, []).append(data)

    def text(self, tag):
        return "".join(self.texts.get(tag, []))

    def data(self):
        return json.loads(next("".join(t) for a, t in self.scripts if a.get("id") == "data"))


def sha256(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


class Tap:
    def __init__(self):
        self.n = self.failed = 0

    def check(self, name, ok, why=""):
        self.n += 1
        self.failed += not ok
        print(f"{'ok' if ok else 'not ok'} {self.n} - {name}")
        if not ok:
            print(f"# {str(why)[:600]}")


def restored(text):
    """A text as the page has it, to compare: cut ones by their ends."""
    return text if isinstance(text, str) else (text["head"], text["cut"], text["tail"])


def check_page(tap, name, text):
    page = Page(text)
    tap.check(f"{name}: tags balanced, none that acts", not page.faults, page.faults[:5])
    script = next("".join(t) for a, t in page.scripts if not a)
    want = f"default-src 'none'; style-src {sha256(page.text('style'))}; script-src {sha256(script)}; " \
           "base-uri 'none'; form-action 'none'"
    tap.check(f"{name}: the policy names its style and script, nothing else", page.policy == want, page.policy)
    tap.check(f"{name}: nothing to fetch, no control character",
              not re.search(r"https?://|@import|url\(|[\x00-\x08\x0b-\x1f\x7f]", text))
    return page


def browse(tap, name, path):
    browser = os.environ.get("MUSTER_BROWSER")
    if not browser:
        return
    with tempfile.TemporaryDirectory() as profile:
        dom = subprocess.run([browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                              "--virtual-time-budget=4000", "--dump-dom", f"file://{path}"],
                             capture_output=True, text=True, timeout=120).stdout
    title = re.search(r"<title>(.*?)</title>", dom, re.S)
    tap.check(f"{name}: in a browser nothing runs but the list",
              title and "PWNED" not in title.group(1) and dom.count('role="option"') >= 10
              and "<img" not in re.sub(r"<script.*?</script>", "", dom, flags=re.S),
              (title and title.group(0), dom.count('role="option"')))


def main():
    muster = os.path.abspath(sys.argv[1])
    tap = Tap()
    with tempfile.TemporaryDirectory() as folder:
        def run(*args):
            env = {k: v for k, v in os.environ.items() if not k.startswith("MUSTER_") or k == "MUSTER_BROWSER"}
            return subprocess.run([muster, *args], cwd=folder, env=env, capture_output=True, timeout=120)

        def write(name, text):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)

        def read(name):
            with open(os.path.join(folder, name), encoding="utf-8", newline="") as f:
                return f.read()

        rows = [{"id": f"{i}{text[:30]}", "q": text[:60], "a": text[:60]} for i, text in enumerate(EVIL)]
        write("evil.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        write("evil.yaml", EVAL)
        write("a.jsonl", "".join(json.dumps({"id": r["id"], "text": t}) + "\n" for r, t in zip(rows, EVIL)))
        write("b.jsonl", "".join(json.dumps({"id": r["id"], "text": "</script>" + t[::-1][:200]}) + "\n"
                                 for r, t in zip(rows, EVIL)))
        for name, extra in (("a", ["--tag", "x=<img src=x onerror=alert(1)>"]), ("b", [])):
            done = run("run", "evil.yaml", "-m", f"replay/{name}.jsonl", "--name", f"<b>{name}", "-q", *extra)
            tap.check(f"run {name}", done.returncode == 0, done.stderr)

        done = run("export", "<b>a", "--format", "html", "-o", "out/")
        tap.check("export into a folder", done.returncode == 0 and os.path.exists(os.path.join(folder, "out", "<b>a.html")),
                  done.stderr)
        text = read("out/<b>a.html")
        page = check_page(tap, "experiment", text)
        data = page.data()
        replies = {a["id"]: restored(a["reply"]) for a in data["attempts"]}
        want = {row["id"]: reply if len(reply) <= 20000 else (reply[:15000], len(reply) - 20000, reply[-5000:])
                for row, reply in zip(rows, EVIL)}
        tap.check("experiment: every reply is there, byte for byte", replies == want,
                  [k for k in want if replies.get(k) != want[k]])
        tap.check("experiment: both variants", len(data["attempts"]) == 2 * len(EVIL) and len(data["runs"]) == 2)
        prompts = {a["id"]: a["prompt"] for a in data["attempts"] if data["runs"][a["run"]]["variant"] == "shout"}
        base = next(r["prompt"] for r in data["runs"] if r["variant"] == "shout")
        whole = {k: p if isinstance(p, str) else base[:p["from"]] + p["rest"] for k, p in prompts.items()}
        tap.check("experiment: prompts read back", whole == {r["id"]: "LOUD " + r["q"] for r in rows}, whole)
        scores = run("show", "<b>a", "--json")
        metric = json.loads(scores.stdout)["runs"][0]["metrics"][0]
        cells = page.texts["td"]
        tap.check("experiment: the table says what show says", f"{metric['value']:.3f}" in cells
                  and f"[{metric['interval'][0]:.3f}, {metric['interval'][1]:.3f}] " in cells, cells[:12])
        tap.check("experiment: name and tag are text", page.text("h1").strip() == "<b>a"
                  and "x=<img src=x onerror=alert(1)>" in page.text("span"))
        browse(tap, "experiment", os.path.join(folder, "out", "<b>a.html"))

        done = run("export", "<b>a:variant=shout", "--format", "html", "--samples", "3")
        page = check_page(tap, "part of it", done.stdout.decode())
        tap.check("part of it: its name says so", page.text("h1").strip() + page.text("small")[:14] == "<b>a:variant=shout",
                  page.text("h1"))
        tap.check("part of it: one run, three attempts", [len(page.data()[k]) for k in ("runs", "attempts")] == [1, 3])
        tap.check("part of it: says what is left out", f"3 of {len(EVIL)} attempts are in this file" in page.text("p"))

        done = run("diff", "<b>a", "<b>b", "--html", "diff.html")
        tap.check("diff: the table is printed too", done.returncode == 0 and b"what changed" in done.stdout, done.stderr)
        page = check_page(tap, "diff", read("diff.html"))
        data = page.data()
        flips = json.loads(run("diff", "<b>a", "<b>b", "--json").stdout)["diffs"][0]["flips"]
        tap.check("diff: the flips are those of --json", sorted(f["id"] for f in data["flips"]) ==
                  sorted(f["id"] for f in flips) and len(flips) > 10, flips[:2])
        tap.check("diff: both replies of each", all(
            data["attempts"][f["base_attempts"][0]]["id"] == data["attempts"][f["candidate_attempts"][0]]["id"] == f["id"]
            and data["runs"][data["attempts"][f["base_attempts"][0]]["run"]]["side"] == 0
            and data["runs"][data["attempts"][f["candidate_attempts"][0]]["run"]]["side"] == 1 for f in data["flips"]))
        browse(tap, "diff", os.path.join(folder, "diff.html"))

        for args, code, words in (
                (["export", "<b>a", "-f", "html", "--samples", "x"], 2, b"--samples wants a number or 'all', not 'x'"),
                (["diff", "<b>a", "<b>b", "<b>a", "--html", "x.html"], 2, b"one file holds one candidate"),
                (["diff", "<b>a", "<b>b", "--html", "-", "--json"], 2, b"stdout is for one report only"),
                (["export", "<b>a", "-f", "html", "-o", "evil.yaml/x.html"], 2, b"can not write the report")):
            done = run(*args)
            tap.check(" ".join(args[-3:]), done.returncode == code and words in done.stderr, (done.returncode, done.stderr))
        done = run("diff", "<b>a", "<b>b", "--html", "-")
        tap.check("diff --html -: a page and nothing else", done.stdout.startswith(b"<!doctype html>")
                  and done.stdout.endswith(b"</html>\n"))
    print(f"1..{tap.n}")
    return tap.failed > 0


sys.exit(main())
