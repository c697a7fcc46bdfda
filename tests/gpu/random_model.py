# SPDX-License-Identifier: MIT
"""Writes a GGUF of an 8B Llama's shape with random BF16 weights, to time an engine on: random_model.py FILE [LAYERS].

Only speed can be measured with it. Needs nothing but Python; 32 layers are 16 GB on disk."""
import random
import struct
import sys

DIM, FFN, HEADS, KV_HEADS, VOCAB, CONTEXT = 4096, 14336, 32, 8, 128256, 8192
U32, F32, STRING, ARRAY, INT32 = 4, 6, 8, 9, 5
TYPE_F32, TYPE_BF16 = 0, 30
ALIGNMENT = 32


def text(value):
    data = value.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def key(name, kind, value):
    packed = text(value) if kind == STRING else struct.pack({U32: "<I", F32: "<f"}[kind], value)
    return text(name) + struct.pack("<I", kind) + packed


def array(name, kind, values):
    packed = b"".join(map(text, values)) if kind == STRING else struct.pack(f"<{len(values)}i", *values)
    return text(name) + struct.pack("<IIQ", ARRAY, kind, len(values)) + packed


def byte_letters():
    """The letters that stand for bytes in byte-level vocabularies."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {}, 256
    for byte in range(256):
        letters[byte] = chr(byte) if byte in plain else chr(extra)
        extra += byte not in plain
    return [letters[byte] for byte in range(256)]


def keys(layers):
    letters = byte_letters()  # and one merge, since a vocabulary without is refused
    tokens = letters + ["<|end|>", letters[0] + letters[1]] + [f"<|unused{i}|>" for i in range(VOCAB - 258)]
    return [
        key("general.architecture", STRING, "llama"), key("general.name", STRING, "random 8B"),
        key("llama.context_length", U32, CONTEXT), key("llama.embedding_length", U32, DIM),
        key("llama.block_count", U32, layers), key("llama.feed_forward_length", U32, FFN),
        key("llama.attention.head_count", U32, HEADS), key("llama.attention.head_count_kv", U32, KV_HEADS),
        key("llama.attention.layer_norm_rms_epsilon", F32, 1e-5), key("llama.rope.freq_base", F32, 500000.0),
        key("llama.rope.dimension_count", U32, DIM // HEADS), key("llama.vocab_size", U32, VOCAB),
        key("tokenizer.ggml.model", STRING, "gpt2"), key("tokenizer.ggml.pre", STRING, "default"),
        array("tokenizer.ggml.tokens", STRING, tokens),
        array("tokenizer.ggml.token_type", INT32, [1] * 256 + [3, 1] + [3] * (VOCAB - 258)),
        array("tokenizer.ggml.merges", STRING, [f"{letters[0]} {letters[1]}"]),
        key("tokenizer.ggml.bos_token_id", U32, 256), key("tokenizer.ggml.eos_token_id", U32, 256),
    ]


def tensors(layers):
    """(name, dimensions fastest first, type)."""
    kv = DIM // HEADS * KV_HEADS
    yield "token_embd.weight", (DIM, VOCAB), TYPE_BF16
    yield "output_norm.weight", (DIM,), TYPE_F32
    yield "output.weight", (DIM, VOCAB), TYPE_BF16
    for layer in range(layers):
        for name, dims in [("attn_q", (DIM, DIM)), ("attn_k", (DIM, kv)), ("attn_v", (DIM, kv)),
                           ("attn_output", (DIM, DIM)), ("ffn_gate", (DIM, FFN)), ("ffn_up", (DIM, FFN)),
                           ("ffn_down", (FFN, DIM))]:
            yield f"blk.{layer}.{name}.weight", dims, TYPE_BF16
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", (DIM,), TYPE_F32


def size_of(dims, kind):
    n = 1
    for dim in dims:
        n *= dim
    return n * (4 if kind == TYPE_F32 else 2)


def main():
    global DIM, FFN, HEADS, KV_HEADS, VOCAB, CONTEXT  # pylint: disable=global-statement
    path, layers = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 32
    if sys.argv[3:] == ["small"]:  # for an emulated GPU
        DIM, FFN, HEADS, KV_HEADS, VOCAB, CONTEXT = 128, 256, 4, 2, 512, 1024
    rng = random.Random(0)
    infos, offset, all_tensors = [], 0, list(tensors(layers))
    for name, dims, kind in all_tensors:
        infos.append(text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) +
                     struct.pack("<IQ", kind, offset))
        offset += -(-size_of(dims, kind) // ALIGNMENT) * ALIGNMENT
    all_keys = keys(layers)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(all_keys)) + b"".join(all_keys) + b"".join(infos)
    # Numbers of about 1/64 in size with either sign: sums over thousands of them stay small.
    noise = bytearray(rng.randbytes(1 << 24))
    noise[1::2] = bytes(0x3c | (b & 0x80) for b in noise[1::2])
    ones = struct.pack("<f", 1.0) * max(DIM, FFN)
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % ALIGNMENT))
        for _, dims, kind in all_tensors:
            left = size_of(dims, kind)
            while left > 0:
                piece = ones[:left] if kind == TYPE_F32 else noise[:left]
                file.write(piece)
                left -= len(piece)
            file.write(b"\0" * (-size_of(dims, kind) % ALIGNMENT))


main()
