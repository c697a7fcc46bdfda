# SPDX-License-Identifier: MIT
"""tokens/s of llama.cpp (llama-cpp-python) on a model, to set beside `forward_dump MODEL speed`.

engine_peer.py MODEL.gguf [REPEATS]: a prompt of 512 tokens, one reply at context 64, 16 replies at context 64,
on all cores; one line a repeat. Batches are built by hand: the high-level class costs more than the model."""
import os
import sys
import time

from llama_cpp import llama_cpp as lc


def batch_of(tokens, positions, sequences, wanted):
    batch = lc.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, positions[i], 1
        batch.seq_id[i][0], batch.logits[i] = sequences[i], wanted[i]
    return batch


class Peer:
    def __init__(self, path):
        self.quiet = lc.llama_log_callback(lambda level, text, data: None)
        lc.llama_log_set(self.quiet, None)
        lc.llama_backend_init()
        model = lc.llama_model_load_from_file(path.encode(), lc.llama_model_default_params())
        params = lc.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 4096, 2048, 512, 16
        params.n_threads = params.n_threads_batch = os.cpu_count()
        params.kv_unified = True
        self.context = lc.llama_init_from_model(model, params)

    def run(self, *columns):
        if lc.llama_decode(self.context, batch_of(*columns)) != 0:
            sys.exit("llama_decode failed")
        lc.llama_synchronize(self.context)

    def prompt(self, n, sequence=0):
        self.run([i % 4000 + 100 for i in range(n)], list(range(n)), [sequence] * n, [0] * (n - 1) + [1])

    def clear(self):
        lc.llama_memory_clear(lc.llama_get_memory(self.context), True)

    def prefill(self, n):
        self.clear()
        began = time.perf_counter()
        self.prompt(n)
        return n / (time.perf_counter() - began)

    def decode(self, n_sequences, context, steps):
        self.clear()
        for sequence in range(n_sequences):
            self.prompt(context, sequence)
        began = time.perf_counter()
        for step in range(steps):
            self.run([200 + step + s for s in range(n_sequences)], [context + step] * n_sequences,
                     list(range(n_sequences)), [1] * n_sequences)
        return n_sequences * steps / (time.perf_counter() - began)


def main():
    peer = Peer(sys.argv[1])
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 3):
        print(f"prefill 512: {peer.prefill(512):.0f}  decode of 1 at 64: {peer.decode(1, 64, 32):.0f}  "
              f"decode of 16 at 64: {peer.decode(16, 64, 16):.0f} tok/s", flush=True)


main()
