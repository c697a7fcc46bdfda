// SPDX-License-Identifier: MIT
// tiny_model FILE: writes the default miniature model, for tests of the whole program.
#include "../engine/tiny_gguf.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    TinyModel model = tiny_model_default();
    Err err = ERR_INIT;
    if (argc != 2 || !tiny_gguf_write(&model, str_from_c(argv[1]), &err)) {
        fprintf(stderr, "%s\n", argc == 2 ? err.message : "usage: tiny_model FILE");
        return 1;
    }
    return 0;
}
