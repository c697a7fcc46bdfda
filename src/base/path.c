// SPDX-License-Identifier: MIT
// Paths as text: nothing here looks at the disk.
#include "base/base_internal.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

bool cpath_from(CPath *out, Str path)
{
    if (path.len == 0 || path.len >= sizeof out->text || memchr(path.data, 0, path.len) != NULL) {
        return false;
    }
    memcpy(out->text, path.data, path.len);
    out->text[path.len] = '\0';
    return true;
}

Str path_join(Arena *arena, Str dir, Str name)
{
    if (dir.len == 0 || str_eq(dir, STR(".")) || str_starts_with(name, STR("/"))) {
        return str_copy(arena, name);
    }
    if (name.len == 0) {
        return str_copy(arena, dir);
    }
    const char *slash = str_ends_with(dir, STR("/")) ? "" : "/";
    size_t n_slash = strlen(slash);
    char *data = arena_alloc_raw(arena, dir.len + n_slash + name.len + 1, 1);
    memcpy(data, dir.data, dir.len);
    memcpy(data + dir.len, slash, n_slash);
    memcpy(data + dir.len + n_slash, name.data, name.len);
    data[dir.len + n_slash + name.len] = '\0';
    return (Str){data, dir.len + n_slash + name.len};
}

/** Without slashes at the end; the root stays. */
static Str without_end_slashes(Str path)
{
    while (path.len > 1 && path.data[path.len - 1] == '/') {
        path.len--;
    }
    return path;
}

Str path_dir(Str path)
{
    path = without_end_slashes(path);
    size_t slash = str_find_last(path, STR("/"));
    if (slash == STR_NONE) {
        return STR(".");
    }
    return without_end_slashes(str_slice(path, 0, slash > 0 ? slash : 1));
}

Str path_base(Str path)
{
    path = without_end_slashes(path);
    size_t slash = str_find_last(path, STR("/"));
    return slash == STR_NONE || path.len == 1 ? path : str_slice(path, slash + 1, path.len);
}

Str path_stem(Str path)
{
    Str base = path_base(path);
    size_t dot = str_find_last(base, STR("."));
    return dot == STR_NONE || dot == 0 ? base : str_slice(base, 0, dot);
}

bool path_is_inside(Str path)
{
    if (path.len == 0 || path.data[0] == '/' || memchr(path.data, 0, path.len) != NULL) {
        return false;
    }
    for (bool more = true; more;) {
        Str part;
        more = str_cut(path, STR("/"), &part, &path);
        if (str_eq(part, STR(".."))) {
            return false;
        }
    }
    return true;
}

Str env_get(const char *name, Str otherwise)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? str_from_c(value) : otherwise;
}
