# SPDX-License-Identifier: MIT
"""How near the engine is to float32 on the same weights, with llama.cpp's own figures beside.

    fidelity.py MUSTER MODEL.gguf [--items N] [--peer-items N] [--part N] [--threads N]
                               [--keep FILE]

N items each of OpenBookQA and HellaSwag (500); needs MUSTER_MIRROR (or pulled datasets) and a Python with torch,
transformers, gguf and llama-cpp-python. Reference: muster's own --precision f32 on all items, itself checked on a part
of them (100 each) against transformers in float32 on the dequantised weights. Prints the mean and largest difference of
a choice's log-likelihood, the choices that agree, and where the greedy texts of 20 chat prompts part. FILE keeps what
the other programs said of each item, for a second call. Exits 1 when a bar is missed."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np
import torch
from llama_cpp import llama_cpp as lc
from transformers import AutoModelForCausalLM

THREADS = []  # options of muster run
EVALS = ("openbookqa", "hellaswag_abstainqa")
QUESTIONS = ["Name three colors.", "What is the capital of Italy?", "Write a short poem about rain.",
             "How do I boil an egg?", "Explain what a prime number is.", "Give me a synonym for happy.",
             "What is 12 plus 30?", "Tell me a fact about whales.", "Translate good morning into French.",
             "What do bees make?", "Describe the moon in one sentence.", "Who wrote Hamlet?",
             "List two uses of salt.", "Why is the sky blue?", "What is a noun?", "Suggest a name for a cat.",
             "How many days are in a leap year?", "What is photosynthesis?", "Give an example of a mammal.",
             "Finish the sentence: The early bird"]


def muster(program, *args):
    done = subprocess.run([program, *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"muster {' '.join(args)}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]


class Torch:
    def __init__(self, path):
        folder, name = os.path.split(path)
        self.model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
        self.model.eval()

    @torch.no_grad()
    def logits(self, ids, first):
        """The rows from position first on."""
        return self.model(torch.tensor([ids]), logits_to_keep=len(ids) - first).logits[0].numpy()

    @torch.no_grad()
    def start(self, ids):
        """Logits after ids, and what continues from there."""
        out = self.model(torch.tensor([ids]), use_cache=True)
        self.past = out.past_key_values
        return out.logits[0, -1].double().numpy()

    @torch.no_grad()
    def step(self, token):
        out = self.model(torch.tensor([[token]]), past_key_values=self.past, use_cache=True)
        self.past = out.past_key_values
        return out.logits[0, -1].double().numpy()


class Llama:
    def __init__(self, path, threads):
        self.quiet = lc.llama_log_callback(lambda level, text, data: None)
        lc.llama_log_set(self.quiet, None)
        lc.llama_backend_init()
        self.model = lc.llama_model_load_from_file(path.encode(), lc.llama_model_default_params())
        params = lc.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max, params.kv_unified = 4096, 2048, 512, 16, True
        params.n_threads = params.n_threads_batch = threads
        self.context = lc.llama_init_from_model(self.model, params)
        self.vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(self.model))

    def rows(self, rows):
        """Logits of the wanted ones of rows (token, position, sequence, wanted)."""
        batch = lc.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
            batch.seq_id[i][0] = sequence
        if lc.llama_decode(self.context, batch) != 0:
            sys.exit("llama_decode failed")
        logits = [np.ctypeslib.as_array(lc.llama_get_logits_ith(self.context, i), (self.vocab,))
                  for i, row in enumerate(rows) if row[3]]
        lc.llama_batch_free(batch)
        return np.stack(logits)  # a copy: the next batch overwrites what they are views of

    def run(self, ids, first, wanted):
        """Logits of the wanted rows of ids at positions first, first + 1, ..."""
        return self.rows([(token, first + i, 0, i in wanted) for i, token in enumerate(ids)])

    def scores(self, sequences):
        """The log-likelihood of each; what all begin with is computed once."""
        self.clear()
        shared = min(s["n_context"] for s in sequences)
        while any(s["ids"][:shared] != sequences[0]["ids"][:shared] for s in sequences):
            shared -= 1
        if shared > 1:
            self.run(sequences[0]["ids"][:shared - 1], 0, {shared - 2})
        rows = []
        for n, sequence in enumerate(sequences):
            if n > 0:
                lc.llama_memory_seq_cp(lc.llama_get_memory(self.context), 0, n, -1, -1)
            rows += [(sequence["ids"][i], i, n, i + 1 >= sequence["n_context"])
                     for i in range(shared - 1, len(sequence["ids"]) - 1)]
        logits, at, out = self.rows(rows), 0, []
        for sequence in sequences:
            scored = sequence["ids"][sequence["n_context"]:]
            out.append(log_likelihood(logits[at:at + len(scored)], scored))
            at += len(scored)
        return out

    def clear(self):
        lc.llama_memory_clear(lc.llama_get_memory(self.context), True)

    def start(self, ids):
        self.clear()
        self.at = len(ids)
        return self.run(ids, 0, {len(ids) - 1})[0].astype(np.float64)

    def step(self, token):
        self.at += 1
        return self.run([token], self.at - 1, {0})[0].astype(np.float64)


def log_softmax(x):
    top = x.max(axis=-1, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(axis=-1, keepdims=True))


def log_likelihood(logits, ids):
    """Of ids, by rows of float32 logits; sums in float64, and only what is asked for."""
    top = logits.max(axis=-1)
    sums = np.exp(logits - top[:, None]).sum(axis=-1, dtype=np.float64)
    own = logits[np.arange(len(ids)), ids].astype(np.float64)
    return float((own - top - np.log(sums)).sum())


def score(engine, sequence):
    ids, cut = sequence["ids"], sequence["n_context"]
    return log_likelihood(engine.logits(ids[:-1], cut - 1), ids[cut:])


def choices_of(program, store, eval_name, model, extra, items):
    muster(program, "run", eval_name, "-m", model, "--limit", str(items), "--db", store, "--quiet", "--name",
           eval_name + extra.strip("-").replace(" ", ""), "--json", *THREADS, *extra.split())
    rows = muster(program, "show", "latest", "--samples", "--json", "--limit", str(items), "--db", store)
    return {row["id"]: [c["logprob"] for c in row["choices"]] for row in rows}


def compare(name, got, want, margin=0.0):
    """Mean and largest difference, and how many choices agree where the best two are further apart than margin."""
    ids = [i for i in want if i in got]
    diffs = np.array([abs(a - b) for i in ids for a, b in zip(got[i], want[i])])
    clear = [i for i in ids if np.diff(np.sort(want[i])[-2:])[0] > margin]
    agree = sum(int(np.argmax(got[i]) == np.argmax(want[i])) for i in clear)
    print(f"| {name}, {len(ids)} items | {diffs.mean():.6f} | {diffs.max():.5f} | {agree} of {len(clear)} |", flush=True)
    return diffs.mean(), agree / len(clear)


def others_say(program, path, args, reference, llama):
    """(llama.cpp's log-likelihoods of all items, transformers' of the first args.part of each eval)."""
    said = {"llama.cpp": {}, "transformers": {}}
    ask = {"llama.cpp": llama.scores, "transformers": lambda sequences: [score(reference, s) for s in sequences]}
    if args.keep and os.path.exists(args.keep):
        with open(args.keep, encoding="utf-8") as f:
            for who, eval_name, key, scores in map(json.loads, f):
                said[who][eval_name, key] = scores
    with open(args.keep or os.devnull, "a", encoding="utf-8") as f:
        for eval_name in EVALS:
            sent = muster(program, "explain", eval_name, "-m", "local/" + path, "--sample", "all", "--json")[:args.items]
            for who, rows in (("llama.cpp", sent[:args.peer_items]), ("transformers", sent[:args.part])):
                for row in rows:
                    if (eval_name, row["id"]) not in said[who]:
                        scores = said[who][eval_name, row["id"]] = ask[who](row["sequences"])
                        f.write(json.dumps([who, eval_name, row["id"], scores]) + "\n")
                        f.flush()
    return said["llama.cpp"], said["transformers"]


def likelihoods(program, path, folder, args, reference, llama):
    """All items: against --precision f32; the first args.part of each eval: that against transformers."""
    theirs, part = others_say(program, path, args, reference, llama)
    model, store = "local/" + path, os.path.join(folder, "store.db")
    ours, exact = {}, {}
    for eval_name in EVALS:
        for out, extra in ((ours, ""), (exact, "--precision f32")):
            scores = choices_of(program, store, eval_name, model, extra, args.items)
            out.update({(eval_name, key): value for key, value in scores.items()})
    print(f"{len(exact)} items of {' and '.join(EVALS)}, {sum(map(len, exact.values()))} choices:\n")
    print("| log-likelihood of a choice | mean error (nat) | largest | choices that agree |\n|---|---|---|---|")
    good = True
    for eval_name in (*EVALS, None):
        def chosen(scores, eval_name=eval_name):
            return {key: value for key, value in scores.items() if eval_name in (None, key[0])}
        label = f", {eval_name}" if eval_name else ""
        mean, agree = compare(f"muster against its f32{label}", chosen(ours), chosen(exact))
        compare(f"llama-cpp-python {llama_cpp.__version__} against muster's f32{label}", chosen(theirs), chosen(exact))
        good &= eval_name is not None or (mean <= 0.005 and agree >= 0.995)
    mean, agree = compare("muster's f32 against transformers float32", exact, part, 0.001)
    compare("muster against transformers float32", ours, part)
    compare("llama-cpp-python against transformers float32", theirs, part)
    return good and mean <= 0.001 and agree == 1.0


def greedy(engine, ids, n, ends):
    """n greedy tokens with the gap between the two best log-probabilities at each."""
    out = []
    logits = engine.start(ids)
    for _ in range(n):
        logprobs = log_softmax(logits)
        best = np.argsort(-logprobs)[:2]
        out.append((int(best[0]), float(logprobs[best[0]] - logprobs[best[1]])))
        if int(best[0]) in ends:
            break
        logits = engine.step(int(best[0]))
    return out


def lc_piece(model, token):
    buffer = lc.ctypes.create_string_buffer(256)
    n = lc.llama_token_to_piece(lc.llama_model_get_vocab(model), token, buffer, 256, 0, False)
    return buffer.raw[:n] if n > 0 else b""


def texts(program, store, model, folder, extra):
    path = os.path.join(folder, "chat20.yaml")
    with open(path, "w", encoding="utf-8") as f:
        rows = "".join(f"    - {{q: {json.dumps(q)}}}\n" for q in QUESTIONS)
        f.write("schema: 1\neval: chat20\nversion: 1\ndescription: Greedy texts.\ndataset:\n  rows:\n" + rows +
                'sample: {input: "{{ q }}", target: "e"}\nmessages: [{role: user, content: "{{ input }}"}]\n'
                'solver: {use: generate, max_tokens: 32, temperature: 0}\n'
                'graders: [{use: includes}]\nmetrics: [accuracy]\n')
    muster(program, "run", path, "-m", model, "--db", store, "--quiet", "--json", "--name",
           "chat" + extra.strip("-").replace(" ", ""),
           *THREADS, *extra.split())
    rows = muster(program, "show", "latest", "--samples", "--json", "--limit", "20", "--db", store)
    sent = muster(program, "explain", path, "-m", model, "--sample", "all", "--json")
    ids = {row["id"]: row["sequences"][0]["ids"] for row in sent}
    return {row["id"]: (ids[row["id"]], row["text"].encode()) for row in rows}


def partings(name, got, engine, llama_model, ends, bar):
    """Where our text leaves the engine's, and the gap there."""
    gaps = []
    for ids, text in got.values():
        steps = greedy(engine, list(ids), 32, ends)
        at = 0
        for token, gap in steps:
            piece = lc_piece(llama_model, token)
            if token in ends:
                gaps += [gap] if text[at:] else []
                break
            if not text[at:].startswith(piece):
                gaps.append(gap)
                break
            at += len(piece)
    worst = max(gaps, default=0.0)
    print(f"{name:28} {20 - len(gaps)} of 20 texts equal; gaps at the partings: "
          f"{[round(g, 4) for g in sorted(gaps)]}")
    return worst < bar


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("muster")
    parser.add_argument("model")
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--peer-items", type=int, help="fewer for llama.cpp, which takes long")
    parser.add_argument("--part", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--keep", metavar="FILE")
    args = parser.parse_args()
    program, path = os.path.abspath(args.muster), os.path.abspath(args.model)
    torch.set_num_threads(args.threads)
    THREADS.extend(["--threads", str(args.threads)])
    reference, llama = Torch(path), Llama(path, args.threads)
    with tempfile.TemporaryDirectory() as folder:
        ok = likelihoods(program, path, folder, args, reference, llama)
        store = os.path.join(folder, "chat.db")
        chat = texts(program, store, "local/" + path, folder, "")
        chat32 = texts(program, store, "local/" + path, folder, "--precision f32")
    vocab = lc.llama_model_get_vocab(llama.model)
    ends = {t for t in range(llama.vocab) if lc.llama_vocab_is_eog(vocab, t)}
    print("\ngreedy texts, 32 tokens:")
    ok &= partings("muster against float32", chat, reference, llama.model, ends, 0.02)
    ok &= partings("muster f32 against float32", chat32, reference, llama.model, ends, 0.02)
    ok &= partings("muster against llama.cpp", chat, llama, llama.model, ends, 0.25)
    print("all bars met" if ok else "A BAR IS MISSED")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
