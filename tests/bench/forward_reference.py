# SPDX-License-Identifier: MIT
"""An independent float32 forward pass of a Llama-architecture GGUF, to check the engine against.

Written from the paper (Touvron et al. 2023) over the dequantised weights of the `gguf` package; needs
numpy, gguf, and tokenizers or transformers only for `cases`. Not part of any test that CI runs.

  forward_reference.py cases MODEL.gguf OPENBOOKQA.jsonl COUNT > cases.txt
  forward_reference.py run MODEL.gguf < cases.txt > reference.json [--acts KIND] [--kv KIND]
  forward_reference.py compare reference.json engine.json [cases.txt]

cases.txt is what forward_dump reads: "N_CONTEXT LOGITS ID ID ...", the choices of an item in sequence.
--acts f32 | q16 | q8 | bf16 | f16 simulates how products hold their activations (blocks of 32), and
--kv f32 | i16 | f16 | bf16 how keys and values are held; both default to f32.
"""
import argparse
import json
import re
import sys

import numpy as np

F32 = np.float32


def bf16(x):
    """Round to bfloat16 (to even), as float32."""
    u = np.ascontiguousarray(x, F32).view(np.uint32)
    u = (u + 0x7FFF + ((u >> 16) & 1)) & np.uint32(0xFFFF0000)
    return u.view(F32)


def fixed(x, levels, block):
    """x per block as integers of +-levels with one scale."""
    shape = x.shape
    blocks = x.reshape(*shape[:-1], -1, block)
    most = np.abs(blocks).max(axis=-1, keepdims=True)
    scale = np.where(most > 0, most / F32(levels), F32(1))
    return (np.rint(blocks / scale) * scale).reshape(shape).astype(F32)


ACTS = {
    "f32": lambda x: x,
    "q16": lambda x: fixed(x, 32512, 32),
    "q16row": lambda x: fixed(x, 32512, x.shape[-1]),
    "q8": lambda x: fixed(x, 127, 32),
    "q8b16": lambda x: fixed(x, 127, 16),
    "bf16": bf16,
    "f16": lambda x: x.astype(np.float16).astype(F32),
}
KV = {
    "f32": lambda x: x,
    "i16": lambda x: fixed(x, 32767, x.shape[-1]),
    "f16": lambda x: x.astype(np.float16).astype(F32),
    "bf16": bf16,
}


class Model:
    """Weights as float32 and the hyper-parameters of general.architecture llama."""

    def __init__(self, path, acts="f32", kv="f32"):
        import gguf

        reader = gguf.GGUFReader(path)
        get = lambda key, default=None: (
            reader.fields[key].contents() if key in reader.fields else default
        )
        assert get("general.architecture") == "llama"
        self.n_layers = get("llama.block_count")
        self.dim = get("llama.embedding_length")
        self.n_heads = get("llama.attention.head_count")
        self.n_kv_heads = get("llama.attention.head_count_kv", self.n_heads)
        self.head_dim = get("llama.attention.key_length", self.dim // self.n_heads)
        self.eps = F32(get("llama.attention.layer_norm_rms_epsilon"))
        rope_dim = get("llama.rope.dimension_count", self.head_dim)
        base = get("llama.rope.freq_base", 10000.0)
        self.inverse = base ** (-np.arange(0, rope_dim, 2, dtype=np.float64) / rope_dim)
        self.w = {
            t.name: np.ascontiguousarray(gguf.quants.dequantize(t.data, t.tensor_type), F32)
            for t in reader.tensors
        }
        if "rope_freqs.weight" in self.w:
            self.inverse = self.inverse / self.w["rope_freqs.weight"]
        self.head = self.w.get("output.weight", self.w["token_embd.weight"])
        self.acts = ACTS[acts]
        self.kv = KV[kv]

    def norm(self, x, weight):
        mean = np.mean(x * x, axis=-1, keepdims=True, dtype=F32)
        return x / np.sqrt(mean + self.eps) * weight

    def rope(self, x, positions):
        """x (n, heads, head_dim): rotate pairs (2i, 2i+1), the order that GGUF's q and k are in."""
        angle = positions[:, None] * self.inverse[None, :]
        cos, sin = np.cos(angle).astype(F32)[:, None, :], np.sin(angle).astype(F32)[:, None, :]
        n = 2 * len(self.inverse)
        even, odd = x[..., 0:n:2], x[..., 1:n:2]
        out = x.copy()
        out[..., 0:n:2] = even * cos - odd * sin
        out[..., 1:n:2] = even * sin + odd * cos
        return out

    def attention(self, q, k, v):
        group = self.n_heads // self.n_kv_heads
        n = q.shape[0]
        mask = np.triu(np.full((n, n), -np.inf, F32), 1)
        out = np.empty_like(q)
        for h in range(self.n_heads):
            scores = q[:, h] @ k[:, h // group].T / np.sqrt(F32(self.head_dim)) + mask
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            scores /= scores.sum(axis=-1, keepdims=True)
            out[:, h] = scores @ v[:, h // group]
        return out.reshape(n, -1)

    def logits(self, ids):
        """(n, vocab) for n tokens."""
        w, n = self.w, len(ids)
        positions = np.arange(n, dtype=np.float64)
        x = w["token_embd.weight"][ids]
        for layer in range(self.n_layers):
            name = f"blk.{layer}."
            at = lambda part: w[f"{name}{part}.weight"].T
            h = self.acts(self.norm(x, w[name + "attn_norm.weight"]))
            q = (h @ at("attn_q")).reshape(n, self.n_heads, -1)
            k = (h @ at("attn_k")).reshape(n, self.n_kv_heads, -1)
            v = (h @ at("attn_v")).reshape(n, self.n_kv_heads, -1)
            q, k, v = self.rope(q, positions), self.kv(self.rope(k, positions)), self.kv(v)
            x = x + self.acts(self.attention(q, k, v)) @ at("attn_output")
            h = self.acts(self.norm(x, w[name + "ffn_norm.weight"]))
            gate, up = h @ at("ffn_gate"), h @ at("ffn_up")
            hidden = gate / (1 + np.exp(-gate)) * up
            x = x + self.acts(hidden) @ at("ffn_down")
        return self.acts(self.norm(x, w["output_norm.weight"])) @ self.head.T


def read_cases(file):
    for line in file:
        n_context, want_logits, *ids = (int(t) for t in line.split())
        yield n_context, bool(want_logits), ids


def run(args):
    model = Model(args.model, args.acts, args.kv)
    out = []
    for n_context, want_logits, ids in read_cases(sys.stdin):
        logits = model.logits(ids).astype(np.float64)
        most = logits.max(axis=-1, keepdims=True)
        logprobs = logits - most - np.log(np.exp(logits - most).sum(axis=-1, keepdims=True))
        row = {"logprob": sum(logprobs[i - 1, ids[i]] for i in range(n_context, len(ids)))}
        if want_logits:
            row["logits"] = [float(F32(x)) for x in logits[-1]]
        out.append(row)
    json.dump(out, sys.stdout)


def compare(args):
    reference, engine = (json.load(open(path)) for path in (args.reference, args.engine))
    assert len(reference) == len(engine)
    difference = np.array([e["logprob"] - r["logprob"] for r, e in zip(reference, engine)])
    print(f"choices {len(difference)}: mean |d| {np.abs(difference).mean():.6f} nat, "
          f"bias {difference.mean():+.6f}, max {np.abs(difference).max():.6f}")
    if args.choices > 1:
        pick = lambda rows: np.array([r["logprob"] for r in rows]).reshape(-1, args.choices).argmax(1)
        agree = pick(reference) == pick(engine)
        print(f"items {len(agree)}: {agree.sum()} choose the same")
    both = [(r["logits"], e["logits"]) for r, e in zip(reference, engine) if "logits" in r]
    if both:
        worst = max(np.abs(np.subtract(a, b)).max() for a, b in both)
        print(f"logits of {len(both)} rows: max |d| {worst:.6f}")


def encoder(path):
    """The model's own byte-level BPE, from its GGUF metadata, by the tokenizers package."""
    import gguf
    from tokenizers import Tokenizer, models, pre_tokenizers

    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    return lambda text: tokenizer.encode(text).ids


def cases(args):
    encode = encoder(args.model)
    for i, line in enumerate(open(args.data)):
        if i == args.count:
            break
        row = json.loads(line)
        question = row.get("question_stem") or row["question"]["stem"]
        choices = row.get("choices") or row["question"]["choices"]
        texts = choices["text"] if isinstance(choices, dict) else [c["text"] for c in choices]
        context = encode(re.sub(r"\s+$", "", question))
        for c, text in enumerate(texts):
            ids = context + encode(" " + text)
            print(len(context), int(c == 0), *ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("cases")
    p.add_argument("model")
    p.add_argument("data")
    p.add_argument("count", type=int)
    p.set_defaults(do=cases)
    p = commands.add_parser("run")
    p.add_argument("model")
    p.add_argument("--acts", choices=ACTS, default="f32")
    p.add_argument("--kv", choices=KV, default="f32")
    p.set_defaults(do=run)
    p = commands.add_parser("compare")
    p.add_argument("reference")
    p.add_argument("engine")
    p.add_argument("--choices", type=int, default=4)
    p.set_defaults(do=compare)
    args = parser.parse_args()
    args.do(args)


if __name__ == "__main__":
    main()
