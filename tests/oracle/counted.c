// SPDX-License-Identifier: MIT
// The whole program with the kernels' table wrapped, as in tests/unit/engine/test_engine.c: when it
// ends it says on stderr how many rows went through the kernels, counted where they start. trie.py
// holds the engine's own count against it.
#include "kernels/kernels.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

// forward.c is compiled for this program with k_cpu_ops renamed to this.
extern KOps counting_ops;
KOps counting_ops;
static atomic_ullong n_rows_embedded;

static bool counting_embed(KStream *stream, const KMatrix *table, const int32_t *ids, size_t n_rows,
                           KBuffer *out, Err *err)
{
    atomic_fetch_add(&n_rows_embedded, n_rows); // every row of a batch starts here
    return k_cpu_ops.embed(stream, table, ids, n_rows, out, err);
}

static void say(void)
{
    if (atomic_load(&n_rows_embedded) > 0) {
        fprintf(stderr, "kernels: %llu rows\n", atomic_load(&n_rows_embedded));
    }
}

__attribute__((constructor)) static void wrap(void)
{
    counting_ops = k_cpu_ops;
    counting_ops.embed = counting_embed;
    atexit(say);
}
