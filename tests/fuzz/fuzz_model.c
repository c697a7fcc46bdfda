// SPDX-License-Identifier: MIT
// Any GGUF file as a model: loading must fail cleanly, or give weights that can be freed.
#include "engine/gguf.h"
#include "engine/weights.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static KDevice *device;
    static KStream *stream;
    Err err = ERR_INIT;
    if (device == NULL) {
        KDeviceOptions options = {.n_threads = 1, .path = "portable"};
        if (!k_cpu_ops.device_open(&options, &device, &err) ||
            !k_cpu_ops.stream_create(device, &stream, &err)) {
            abort();
        }
    }
    Gguf *gguf;
    if (!gguf_open_memory(data, size, &gguf, &err)) {
        return 0;
    }
    Weights *weights;
    if (weights_load(gguf, &k_cpu_ops, device, stream, &weights, &err)) {
        weights_close(weights);
    } else if (err.code == ERR_NONE || err.message[0] == '\0') {
        abort();
    }
    gguf_close(gguf);
    return 0;
}
