// SPDX-License-Identifier: MIT
// tiny_model FILE [wide]: writes the default miniature model, or one that four devices can share,
// for tests of the whole program.
#include "../engine/tiny_gguf.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    TinyModel model = tiny_model_default();
    Err err = ERR_INIT;
    if (argc == 3 && strcmp(argv[2], "wide") == 0) {
        model.dim = model.ffn_dim = 128;
        model.n_heads = model.n_kv_heads = 4;
        argc = 2;
    }
    if (argc != 2 || !tiny_gguf_write(&model, str_from_c(argv[1]), &err)) {
        fprintf(stderr, "%s\n", argc == 2 ? err.message : "usage: tiny_model FILE [wide]");
        return 1;
    }
    return 0;
}
