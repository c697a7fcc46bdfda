# SPDX-License-Identifier: MIT
"""Writes a llama2.c checkpoint (version 0) and its tokenizer as one GGUF file of float32 tensors.

usage: stories_to_gguf.py model.bin tokenizer.bin out.gguf

Queries and keys need no permutation: llama2.c rotates neighbouring pairs, as GGUF's llama does. (It is
Hugging Face's layout that has to be permuted.)
"""
import struct
import sys

import gguf_write as gw

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
FIRST_BYTE = 3  # ids 0, 1, 2 are <unk>, <s>, </s>; the 256 bytes follow


class Checkpoint:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        (self.dim, self.hidden, self.layers, self.heads, self.kv_heads, vocab,
         self.context) = struct.unpack_from("<7i", self.data)
        self.vocab, self.tied = abs(vocab), vocab > 0
        self.at = 28

    def take(self, n):
        """The next n floats, as bytes."""
        part = self.data[self.at:self.at + 4 * n]
        assert len(part) == 4 * n, "the checkpoint is too short"
        self.at += 4 * n
        return part

    def take_layers(self, n):
        return [self.take(n) for _ in range(self.layers)]


def add_tensors(writer, model):
    dim, hidden = model.dim, model.hidden
    kv_dim = dim // model.heads * model.kv_heads
    writer.add_tensor("token_embd.weight", [dim, model.vocab], model.take(dim * model.vocab))
    names = [("attn_norm", [dim]), ("attn_q", [dim, dim]), ("attn_k", [dim, kv_dim]),
             ("attn_v", [dim, kv_dim]), ("attn_output", [dim, dim]), ("ffn_norm", [dim]),
             ("ffn_gate", [dim, hidden]), ("ffn_down", [hidden, dim]), ("ffn_up", [dim, hidden])]
    for name, dims in names:
        parts = model.take_layers(dims[0] * (dims[1] if len(dims) > 1 else 1))
        for layer, part in enumerate(parts):
            writer.add_tensor("blk.%d.%s.weight" % (layer, name), dims, part)
    writer.add_tensor("output_norm.weight", [dim], model.take(dim))
    model.take(model.context * dim // model.heads)  # tables of cosines and sines
    if not model.tied:
        writer.add_tensor("output.weight", [dim, model.vocab], model.take(dim * model.vocab))
    assert model.at == len(model.data), "bytes are left over"


def add_settings(writer, model):
    for key, value in [("context_length", model.context), ("embedding_length", model.dim),
                       ("block_count", model.layers), ("feed_forward_length", model.hidden),
                       ("attention.head_count", model.heads),
                       ("attention.head_count_kv", model.kv_heads),
                       ("rope.dimension_count", model.dim // model.heads),
                       ("vocab_size", model.vocab)]:
        writer.add("llama." + key, gw.U32, value)
    writer.add("llama.attention.layer_norm_rms_epsilon", gw.F32, 1e-5)
    writer.add("llama.rope.freq_base", gw.F32, 10000.0)


def read_tokens(path, n):
    """(text, score, kind) by id. The file has spaces for U+2581 and its own texts for <s> and </s>."""
    with open(path, "rb") as file:
        data = file.read()
    rows, at = [], 4
    for i in range(n):
        score, length = struct.unpack_from("<fi", data, at)
        text = data[at + 8:at + 8 + length]
        at += 8 + length
        if i < FIRST_BYTE:
            rows.append(([b"<unk>", b"<s>", b"</s>"][i], score, UNKNOWN if i == 0 else CONTROL))
        elif i < FIRST_BYTE + 256:
            rows.append((b"<0x%02X>" % (i - FIRST_BYTE), score, BYTE))
        else:
            rows.append((text.replace(b" ", "\u2581".encode()), score, NORMAL))
    assert at == len(data), "bytes are left over"
    return rows


def convert(checkpoint, tokenizer, path):
    model, writer = Checkpoint(checkpoint), gw.Writer()
    rows = read_tokens(tokenizer, model.vocab)
    writer.add("general.architecture", gw.STRING, "llama")
    writer.add("general.name", gw.STRING, "stories260K")
    add_settings(writer, model)
    writer.add("tokenizer.ggml.model", gw.STRING, "llama")
    writer.add_array("tokenizer.ggml.tokens", gw.STRING, [row[0] for row in rows])
    writer.add_array("tokenizer.ggml.scores", gw.F32, [row[1] for row in rows])
    writer.add_array("tokenizer.ggml.token_type", gw.INT32, [row[2] for row in rows])
    for key, value in [("bos", 1), ("eos", 2), ("unknown", 0)]:
        writer.add("tokenizer.ggml.%s_token_id" % key, gw.U32, value)
    writer.add("tokenizer.ggml.add_bos_token", gw.BOOL, True)
    writer.add("tokenizer.ggml.add_space_prefix", gw.BOOL, True)
    add_tensors(writer, model)
    writer.write(path)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    convert(*sys.argv[1:])
