# SPDX-License-Identifier: MIT
"""The grader match against Inspect's own function, on generated pairs.

inspect_match.py VECTORS_PROGRAM                 2,000 pairs in 32 settings each: four locations, with and without
                                                 numeric, ignore_case, ignore_punctuation
inspect_match.py VECTORS_PROGRAM --record FILE   also writes the pairs, each with one setting's verdict, for CI
Needs inspect_ai (0.3.285 at the time of the record); run by hand."""

import itertools
import json
import random
import subprocess
import sys
import tempfile

from inspect_ai.scorer._common import match_str

N_PAIRS = 2000
LOCATIONS = ["begin", "end", "any", "exact"]
SETTINGS = [dict(location=location, numeric=numeric, ignore_case=case, ignore_punctuation=punctuation)
            for numeric, case, punctuation, location in itertools.product([False, True], [True, False], [True, False], LOCATIONS)]
DEFAULTS = dict(location="end", numeric=False, ignore_case=True, ignore_punctuation=True)

WORDS = ("yes no Paris PARIS the answer is It maybe not Straße STRASSE ΟΔΟΣ οδος ﬁn FIN İstanbul ırmak 東京 はい да Да (A) B. "
         "\"quoted\" 'x' don't U.S. e.g. naïve --- ... * _ __ $ € £ , . ? ! 50% #1 x=5 -5 5 25 ½ 3² x² ² Ⅻ ① 二十五 负三点五 "
         "十 百万 两千零三 廿三 点 ٤٢ ４２ १२ 1e5 1e400 nan inf Infinity 0x10 1_000 +7 −8 ＋9 5.0 5. .5 0.5000001 42.").split(" ")
SPACES = [" ", " ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u2003", "\u3000", "\x1c", "\x85", "\r\n", ""]
AROUND = ["", "", "", "", ".", "!", "?", "...", "**", "_", "\"", "'", "(", ")", "[", "]", "`", "$", "€", "%", ":", ";", "~", "<",
          ">", "\\$", "\\", ",", "。", "」", "°", "=", "#"]
FRACTIONS = "½⅓¼¾⅕⅛⅞"
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
OTHER_ZEROS = "٠०০０"


def digits_of(rng, s):
    zero = ord(rng.choice(OTHER_ZEROS))
    return "".join(chr(zero + int(c)) if c.isascii() and c.isdigit() else c for c in s)


def han(n):
    """A whole number below 10^12 in Chinese numerals."""
    def below_myriad(n):
        out, gap = "", False
        for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
            d, n = divmod(n, unit)
            if d:
                out += ("零" if gap else "") + "零一二三四五六七八九"[d] + name
                gap = False
            elif out:
                gap = True
        return out
    out = ""
    for unit, name in ((10 ** 8, "亿"), (10 ** 4, "万"), (1, "")):
        part, n = divmod(n, unit)
        if part:
            out += below_myriad(part) + name
    return out or "零"


def written(rng, value):
    """A number as somebody may write it; now and then something near it."""
    whole = float(value).is_integer() and abs(value) < 10 ** 12
    ways = [lambda: f"{value:g}", lambda: f"{value:.6g}", lambda: f"{value:,.2f}", lambda: f"{value:.3e}", lambda: str(value),
            lambda: f"${value:,.2f}", lambda: f"{value:g}%", lambda: f"+{value:g}", lambda: f"\u2212{abs(value):g}",
            lambda: f"--{value:g}", lambda: digits_of(rng, f"{value:g}"), lambda: f"\\${value:g}", lambda: f"*{value:g}*",
            lambda: f"{value:g}{rng.choice(FRACTIONS)}", lambda: f"{value:g}{rng.choice(SUPERSCRIPTS)}",
            lambda: f"{value:g}⁻{rng.choice(SUPERSCRIPTS)}", lambda: f"{value:g}kg", lambda: f"={value:g}",
            lambda: f"{value:,.0f}".replace(",", rng.choice([" ", "'", "’", "\u202f", "，", "_"])),
            lambda: f"{value:g}/2", lambda: f"{value:g}.{rng.randrange(100)}.{rng.randrange(10)}"]
    if whole:
        ways += [lambda: f"{int(value)}", lambda: f"{int(value)}.", lambda: f"{int(value)}.0", lambda: f"{int(value):_}",
                 lambda: ("负" if value < 0 else "") + han(abs(int(value))), lambda: ("負" if value < 0 else "") + han(abs(int(value))) + "點五"]
    return rng.choice(ways)()


def number(rng):
    return rng.choice([lambda: rng.randrange(10), lambda: rng.randrange(-50, 100), lambda: rng.randrange(10 ** 6),
                       lambda: rng.randrange(10 ** 11), lambda: round(rng.uniform(-100, 100), 2), lambda: rng.uniform(-1, 1),
                       lambda: rng.randrange(1, 10) * 10 ** rng.randrange(7)])()


def dressed(rng, s):
    return rng.choice(AROUND) + rng.choice(AROUND) + s + rng.choice(AROUND) + rng.choice(AROUND)


def sentence(rng, words):
    return "".join(w + rng.choice(SPACES) for w in words)


def text_pair(rng):
    target = sentence(rng, [rng.choice(WORDS) for _ in range(rng.choice([1, 1, 1, 2, 3]))])
    if rng.random() < 0.3:
        target = dressed(rng, target)
    core = target if rng.random() < 0.7 else rng.choice(WORDS)
    core = rng.choice([core, core.upper(), core.lower(), core.swapcase(), core.strip()])
    words = [rng.choice(WORDS) for _ in range(rng.randrange(6))]
    words.insert(rng.choice([0, len(words), rng.randrange(len(words) + 1)]), dressed(rng, core))
    return target, sentence(rng, words)


def number_pair(rng):
    value = number(rng)
    target = written(rng, value) if rng.random() < 0.5 else f"{value:g}"
    near = rng.choice([value, value, value, value + 1, -value, value * (1 + 1e-6), number(rng)])
    words = [rng.choice(WORDS) if rng.random() < 0.6 else written(rng, number(rng)) for _ in range(rng.choice([0, 0, 1, 2, 5]))]
    words.insert(rng.choice([0, len(words), rng.randrange(len(words) + 1)]), dressed(rng, written(rng, near)))
    reply = sentence(rng, words)
    if rng.random() < 0.3:
        reply = reply.strip()
    return target, reply


def verdict(target, reply, setting):
    """Inspect's, or None where its function raises."""
    try:
        return match_str(value=reply, target=target, **setting)[1]
    except (OverflowError, ZeroDivisionError, ValueError) as error:
        print(f"# inspect raises {error!r} on {target!r}, {reply!r}")
        return None


def main():
    program = sys.argv[1]
    rng = random.Random(20250)
    pairs = []
    while len(pairs) < N_PAIRS:
        pair = (text_pair if rng.random() < 0.4 else number_pair)(rng)
        if pair not in pairs:
            pairs.append(pair)
    lines = []
    for target, reply in pairs:
        wants = [{"use": "match", "params": s, "value": verdict(target, reply, s)} for s in SETTINGS]
        lines.append({"target": target, "reply": reply, "want": wants})
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
        file.flush()
        out = subprocess.run([program, "--print", file.name], stdout=subprocess.PIPE, check=True).stdout.decode()
    got = iter([json.loads(line) for line in out.split("\n") if line])
    counts, shown = {}, 0
    for line in lines:
        for want in line["want"]:
            score = next(got)
            if want["value"] is None:
                continue
            key = (want["params"]["location"], want["params"]["numeric"])
            n = counts.setdefault(key, [0, 0, 0])
            n[0] += 1
            n[1] += want["value"]
            if score.get("value") != want["value"]:
                n[2] += 1
                shown += 1
                if shown <= 20:
                    print("#", repr(line["target"]), repr(line["reply"]), want, "got", score)
    for (location, numeric), (n, right, other) in counts.items():
        print(f"{location}{' numeric' if numeric else ''}: {n} verdicts, {right} right, {other} differ")
    print(f"{len(lines)} pairs, {sum(n[0] for n in counts.values())} verdicts, {sum(n[2] for n in counts.values())} differ")
    if "--record" in sys.argv:
        with open(sys.argv[sys.argv.index("--record") + 1], "w", encoding="utf-8") as file:
            for i, line in enumerate(lines):
                # every location, numeric or not; now and then case or punctuation that counts
                kinds = [0, 1, 2, 3, 16, 17, 18, 19] * 3 + [4, 5, 6, 7, 8, 9, 10, 11]
                want = line["want"][kinds[i % len(kinds)]]
                params = {k: v for k, v in want["params"].items() if DEFAULTS[k] != v}
                if want["value"] is not None:
                    file.write(json.dumps({"target": line["target"], "reply": line["reply"], "params": params,
                                           "value": int(want["value"])}, ensure_ascii=False) + "\n")
    return 1 if any(n[2] for n in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
