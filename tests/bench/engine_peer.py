# SPDX-License-Identifier: MIT
"""tokens/s of another program on a model: a line of stdin a request, as `forward_dump MODEL serve` answers them.

engine_peer.py llama|transformers MODEL.gguf [THREADS]: "prefill N" or "decode SEQUENCES CONTEXT STEPS". llama.cpp
through llama-cpp-python's low-level functions, since its high-level class costs more than the model; its batches are
made before the clock is read. transformers in float32."""
import json
import os
import sys
import time


class Llama:
    def __init__(self, path, threads):
        import llama_cpp
        self.name = f"llama-cpp-python {llama_cpp.__version__}"
        self.lc = lc = llama_cpp.llama_cpp
        self.quiet = lc.llama_log_callback(lambda level, text, data: None)
        lc.llama_log_set(self.quiet, None)
        lc.llama_backend_init()
        model = lc.llama_model_load_from_file(path.encode(), lc.llama_model_default_params())
        params = lc.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 4096, 2048, 512, 16
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True  # else each sequence has a sixteenth of the context
        self.context = lc.llama_init_from_model(model, params)

    def batch(self, tokens, positions, sequences, wanted):
        batch = self.lc.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, positions[i], 1
            batch.seq_id[i][0], batch.logits[i] = sequences[i], wanted[i]
        return batch

    def prompt(self, n, sequence=0):
        return self.batch([i % 4000 + 100 for i in range(n)], list(range(n)), [sequence] * n, [0] * (n - 1) + [1])

    def run(self, batches):
        """Seconds of all batches, one after the other."""
        began = time.perf_counter()
        for batch in batches:
            if self.lc.llama_decode(self.context, batch) != 0:
                sys.exit("llama_decode failed")
            self.lc.llama_synchronize(self.context)
        seconds = time.perf_counter() - began
        for batch in batches:
            self.lc.llama_batch_free(batch)
        return seconds

    def clear(self):
        self.lc.llama_memory_clear(self.lc.llama_get_memory(self.context), True)

    def prefill(self, n):
        self.clear()
        return n / self.run([self.prompt(n)])

    def decode(self, sequences, context, steps):
        self.clear()
        self.run([self.prompt(context, s) for s in range(sequences)])
        return sequences * steps / self.run(
            [self.batch([200 + step + s for s in range(sequences)], [context + step] * sequences,
                        list(range(sequences)), [1] * sequences) for step in range(steps)])


class Transformers:
    def __init__(self, path, threads):
        os.environ["HF_HUB_OFFLINE"] = "1"
        import torch
        import transformers
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self.name = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32"
        self.torch = torch
        torch.set_num_threads(threads)
        folder, name = os.path.split(path)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
        self.model.eval()

    def prefill(self, n):
        ids = self.torch.tensor([[i % 4000 + 100 for i in range(n)]])
        with self.torch.no_grad():
            began = time.perf_counter()
            self.model(ids, use_cache=True, logits_to_keep=1)
            return n / (time.perf_counter() - began)


def main():
    peer = {"llama": Llama, "transformers": Transformers}[sys.argv[1]](
        os.path.abspath(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else os.cpu_count())
    print(json.dumps({"name": peer.name}), flush=True)
    for line in sys.stdin:
        what, *numbers = line.split()
        print(f"{getattr(peer, what)(*map(int, numbers)):.2f}", flush=True)


main()
