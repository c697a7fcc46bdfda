// SPDX-License-Identifier: MIT
// Text files compiled into the program by src/embed.py (Lua, SQL).
#pragma once

#include <stddef.h>

typedef struct EmbeddedFile {
    const char *name; // base name; NULL ends a table
    const char *data; // NUL-terminated
    size_t len;
} EmbeddedFile;
