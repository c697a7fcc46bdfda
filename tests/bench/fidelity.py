# SPDX-License-Identifier: MIT
"""How near the engine is to float32 on the same weights, with llama.cpp's own figures beside.

fidelity.py MUSTER MODEL.gguf [ITEMS]: needs MUSTER_MIRROR (or a pulled openbookqa) and a Python with torch,
transformers, gguf and llama-cpp-python. Reference: transformers in float32 on the dequantised weights.
Prints the mean and largest difference of a choice's log-likelihood, the choices that agree, and where the
greedy texts of 20 chat prompts part. Exits 1 when a bar is missed."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from llama_cpp import llama_cpp as lc
from transformers import AutoModelForCausalLM

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
        return self.model(torch.tensor([ids])).logits[0, first:].double().numpy()

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
    def __init__(self, path):
        self.quiet = lc.llama_log_callback(lambda level, text, data: None)
        lc.llama_log_set(self.quiet, None)
        lc.llama_backend_init()
        self.model = lc.llama_model_load_from_file(path.encode(), lc.llama_model_default_params())
        params = lc.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_threads, params.n_threads_batch = 2048, 2048, 512, 2, 2
        self.context = lc.llama_init_from_model(self.model, params)
        self.vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(self.model))

    def run(self, ids, first, wanted):
        """Logits of the wanted rows of ids at positions first, first + 1, ..."""
        batch = lc.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, first + i, 1, i in wanted
            batch.seq_id[i][0] = 0
        if lc.llama_decode(self.context, batch) != 0:
            sys.exit("llama_decode failed")
        rows = [np.ctypeslib.as_array(lc.llama_get_logits_ith(self.context, i), (self.vocab,)).astype(np.float64)
                for i in sorted(wanted)]
        lc.llama_batch_free(batch)
        return np.stack(rows)

    def clear(self):
        lc.llama_memory_clear(lc.llama_get_memory(self.context), True)

    def logits(self, ids, first):
        self.clear()
        return self.run(ids, 0, set(range(first, len(ids))))

    def start(self, ids):
        self.clear()
        self.at = len(ids)
        return self.run(ids, 0, {len(ids) - 1})[0]

    def step(self, token):
        self.at += 1
        return self.run([token], self.at - 1, {0})[0]


def log_softmax(x):
    top = x.max(axis=-1, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(axis=-1, keepdims=True))


def score(engine, sequence):
    ids, cut = sequence["ids"], sequence["n_context"]
    logprobs = log_softmax(engine.logits(ids[:-1], cut - 1))
    return float(sum(logprobs[i - cut, ids[i]] for i in range(cut, len(ids))))


def choices_of(program, store, model, extra, items):
    muster(program, "run", "openbookqa", "-m", model, "--limit", str(items), "--db", store, "--quiet", "--name",
           "run" + extra.strip("-").replace(" ", ""), "--json", *extra.split())
    rows = muster(program, "show", "latest", "--samples", "--json", "--limit", str(items), "--db", store)
    return {row["id"]: [c["logprob"] for c in row["choices"]] for row in rows}


def compare(name, got, want, margin):
    ids = list(want)
    diffs = np.array([abs(a - b) for i in ids for a, b in zip(got[i], want[i])])
    clear = [i for i in ids if np.diff(np.sort(want[i])[-2:])[0] > margin]
    agree = sum(int(np.argmax(got[i]) == np.argmax(want[i])) for i in clear)
    print(f"{name:28} mean {diffs.mean():.6f}  max {diffs.max():.6f} nat  choices agree {agree} of {len(clear)}")
    return diffs.mean(), diffs.max(), agree / len(clear)


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
    muster(program, "run", path, "-m", model, "--db", store, "--quiet", "--json", "--name", "chat" + extra.strip("-").replace(" ", ""),
           *extra.split())
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
    program, path = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    items = int(sys.argv[3]) if len(sys.argv) > 3 else 300
    model = "local/" + path
    torch.set_num_threads(os.cpu_count())
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store.db")
        ours = choices_of(program, store, model, "", items)
        ours32 = choices_of(program, store, model, "--precision f32", items)
        sent = muster(program, "explain", "openbookqa", "-m", model, "--sample", "all", "--json")[:items]
        chat = texts(program, store, model, folder, "")
        chat32 = texts(program, store, model, folder, "--precision f32")
    reference, llama = Torch(path), Llama(path)
    want = {row["id"]: [score(reference, s) for s in row["sequences"]] for row in sent}
    theirs = {row["id"]: [score(llama, s) for s in row["sequences"]] for row in sent}
    print(f"log-likelihood of a choice, {len(want)} OpenBookQA items, against transformers float32:")
    mean32, _, agree32 = compare("muster --precision f32", ours32, want, 0.001)
    mean, _, agree = compare("muster", ours, want, 0.0)
    compare("llama-cpp-python", theirs, want, 0.0)
    vocab = lc.llama_model_get_vocab(llama.model)
    ends = {t for t in range(llama.vocab) if lc.llama_vocab_is_eog(vocab, t)}
    print("greedy texts, 32 tokens:")
    ok = partings("muster against float32", chat, reference, llama.model, ends, 0.02)
    ok &= partings("muster f32 against float32", chat32, reference, llama.model, ends, 0.02)
    ok &= partings("muster against llama.cpp", chat, llama, llama.model, ends, 0.25)
    ok &= agree32 == 1.0 and mean <= 0.005 and agree >= 0.995 and mean32 <= 0.001
    print("all bars met" if ok else "A BAR IS MISSED")
    return 0 if ok else 1


sys.exit(main())
