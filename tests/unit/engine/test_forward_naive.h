// SPDX-License-Identifier: MIT
// The forward pass once more, as plainly as possible and in double: what the engine is checked
// against. Shares nothing with the kernels; reads the file through gguf.h and dequantises by
// itself.
#pragma once

#include "base/base.h"

typedef struct Naive Naive;

/** Aborts on a file that is not sound. */
Naive *naive_open(Str path);
void naive_close(Naive *naive);
/** Logits after each of n tokens.  shapes  out (n, vocab) f64. */
void naive_logits(const Naive *naive, const int32_t *ids, size_t n, double *out);
