// SPDX-License-Identifier: MIT
// Any bytes as a GGUF file: opening must fail cleanly, or every look-up must stay inside the bytes.
#include "engine/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t sum; // so that reads are not optimised away

static void touch(Str s)
{
    for (size_t i = 0; i < s.len; i++) {
        sum = (uint8_t)(sum + (uint8_t)s.data[i]);
    }
}

static void touch_array(const Gguf *gguf, const char *key)
{
    size_t n = 0;
    Str s;
    int64_t i;
    double d;
    if (!gguf_get_array(gguf, key, &n)) {
        return;
    }
    for (size_t at = 0; at <= n; at++) {
        if (gguf_array_str(gguf, key, at, &s)) {
            touch(s);
        }
        gguf_array_i64(gguf, key, at, &i);
        gguf_array_f64(gguf, key, at, &d);
    }
}

static void touch_tensors(const Gguf *gguf)
{
    for (size_t i = 0; i < gguf_n_tensors(gguf); i++) {
        const GgufTensor *tensor = gguf_tensor_at(gguf, i);
        touch(tensor->name);
        touch((Str){(const char *)tensor->data, (size_t)tensor->n_bytes});
        if (gguf_tensor(gguf, tensor->name) != tensor) {
            __builtin_trap(); // names are unique, so the look-up has to find this one
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"general.name", "tokenizer.ggml.tokens", "a", "b", "c"};
    Gguf *gguf = NULL;
    Err err = ERR_INIT;
    if (!gguf_open_memory(data, size, &gguf, &err)) {
        if (err.code == ERR_NONE) {
            __builtin_trap();
        }
        return 0;
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        uint64_t u;
        double d;
        bool b;
        Str s;
        gguf_get_u64(gguf, keys[i], &u);
        gguf_get_f64(gguf, keys[i], &d);
        gguf_get_bool(gguf, keys[i], &b);
        if (gguf_get_str(gguf, keys[i], &s)) {
            touch(s);
        }
        touch_array(gguf, keys[i]);
    }
    touch_tensors(gguf);
    gguf_close(gguf);
    return 0;
}
