// SPDX-License-Identifier: MIT
// Rows of dataset files without holding them: a file is indexed once as places (8 bytes a row), and
// a row is read and parsed when it is asked for. Small files and inflated ones stay in memory.
// Files are hostile input: every size has a limit.
#include "registry/registry_internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define ROW_LEN_BITS       24
#define ROW_MAX_BYTES      (((uint64_t)1 << ROW_LEN_BITS) - 1)
#define FILE_MAX_BYTES     (((uint64_t)1 << (64 - ROW_LEN_BITS)) - 1)
#define ROWS_MAX           ((size_t)1 << 31)
#define MEMORY_FILE_BYTES  ((uint64_t)1 << 20) // files up to this size are kept, not read row by row
#define INFLATED_MAX_BYTES ((size_t)2 << 30)
#define SCAN_PIECE_BYTES   ((size_t)1 << 18)

struct RowFile {
    Str label;
    RowFormat format;
    int fd;          // -1 when the bytes are in memory
    char *memory;    // owned
    size_t len;      // of the text, inflated
    uint64_t *spans; // offset << ROW_LEN_BITS | length
    size_t n;
    size_t cap;
    size_t first; // number of its first row among all files
    Arena arena;
    const Str *names; // CSV
    size_t n_names;
};

// ---- The index ---------------------------------------------------------------------------------

static bool span_add(RowFile *file, uint64_t from, uint64_t to, Err *err)
{
    if (to - from > ROW_MAX_BYTES) {
        return ERR_SET(err, ERR_LIMIT, STR_FMT ": row %zu is longer than 16 MiB",
                       STR_ARG(file->label), file->n);
    }
    if (file->n == file->cap) {
        file->cap = file->cap == 0 ? 256 : file->cap + file->cap / 2;
        file->spans = mem_realloc(file->spans, file->cap, sizeof(*file->spans));
    }
    file->spans[file->n++] = from << ROW_LEN_BITS | (to - from);
    if (file->n > ROWS_MAX) {
        return ERR_SET(err, ERR_LIMIT, STR_FMT ": more than %zu rows", STR_ARG(file->label),
                       ROWS_MAX);
    }
    return true;
}

static bool spans_take(RowFile *file, const TextSpan *spans, size_t n, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!span_add(file, spans[i].from, spans[i].to, err)) {
            return false;
        }
    }
    return true;
}

/** A scan over a file's lines that holds one piece of it. */
typedef struct LineScan {
    RowFile *file;
    uint64_t line_from; // offset of the current line
    uint64_t last_text; // offset behind its last byte that is not white space
    bool blank;
} LineScan;

static bool line_end(LineScan *scan, uint64_t next, Err *err)
{
    bool ok = scan->blank || span_add(scan->file, scan->line_from, scan->last_text, err);
    scan->line_from = next;
    scan->blank = true;
    return ok;
}

/** Bytes [at, at + n) of the file; leading white space belongs to no row. */
static bool line_piece(LineScan *scan, const char *data, size_t n, uint64_t at, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        char c = data[i];
        if (c == '\n') {
            if (!line_end(scan, at + i + 1, err)) {
                return false;
            }
            continue;
        }
        if (c == ' ' || c == '\t' || c == '\r') {
            continue;
        }
        if (scan->blank) {
            scan->blank = false;
            scan->line_from = at + i;
        }
        // Most of a line is looked at once: go on from its end.
        const char *newline = memchr(data + i, '\n', n - i);
        size_t end = newline != NULL ? (size_t)(newline - data) : n;
        size_t last = end;
        while (last > i + 1 &&
               (data[last - 1] == ' ' || data[last - 1] == '\t' || data[last - 1] == '\r')) {
            last--;
        }
        scan->last_text = at + last;
        i = end - 1;
    }
    return true;
}

static bool read_at(const RowFile *file, uint64_t at, char *out, size_t n, Err *err)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(file->fd, out + done, n - done, (off_t)(at + done));
        if (got < 0) {
            return ERR_SET_ERRNO(err, "can not read " STR_FMT, STR_ARG(file->label));
        }
        if (got == 0) {
            return ERR_SET(err, ERR_IO, STR_FMT " became shorter while it was in use",
                           STR_ARG(file->label));
        }
        done += (size_t)got;
    }
    return true;
}

static bool index_lines(RowFile *file, Err *err)
{
    LineScan scan = {.file = file, .blank = true};
    char *piece = file->memory == NULL ? mem_alloc(1, SCAN_PIECE_BYTES) : NULL;
    bool ok = true;
    for (uint64_t at = 0; ok && at < file->len;) {
        size_t n = file->len - at < SCAN_PIECE_BYTES ? file->len - at : SCAN_PIECE_BYTES;
        ok = piece == NULL || read_at(file, at, piece, n, err);
        const char *data = piece == NULL ? file->memory + at : piece;
        size_t skip = at == 0 && n >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
        ok = ok && line_piece(&scan, data + skip, n - skip, at + skip, err);
        at += n;
    }
    mem_free(piece);
    return ok && line_end(&scan, file->len, err);
}

/** Index a text that has to be seen whole: JSON arrays and CSV. */
static bool index_text(RowFile *file, const RowFileSpec *spec, Str text, Err *err)
{
    Arena scratch = {0};
    TextSpan *spans = NULL;
    Str *names = NULL;
    size_t n = 0;
    bool ok;
    if (file->format == ROW_JSON) {
        ok = json_index_array(&scratch, text, spec->at, &spans, &n, err);
    } else {
        ok = csv_index(&scratch, text, file->format == ROW_TSV ? '\t' : ',', spec->columns,
                       spec->n_columns, &names, &file->n_names, &spans, &n, err);
    }
    if (ok) {
        Str *own = ARENA_ARRAY(&file->arena, Str, file->n_names + 1);
        for (size_t i = 0; i < file->n_names; i++) {
            own[i] = str_copy(&file->arena, names[i]);
        }
        file->names = own;
        ok = spans_take(file, spans, n, err);
    } else {
        ERR_WRAP(err, STR_FMT, STR_ARG(file->label));
    }
    arena_finish(&scratch);
    return ok;
}

// ---- Opening -----------------------------------------------------------------------------------

Str format_of_path(Str path)
{
    path = str_ends_with(path, STR(".gz")) ? str_slice(path, 0, path.len - 3) : path;
    size_t dot = str_find_last(path, STR("."));
    return dot == STR_NONE ? STR_EMPTY : str_slice(path, dot + 1, path.len);
}

static bool format_of(const RowFileSpec *spec, RowFormat *out, Err *err)
{
    static const struct {
        const char *word;
        RowFormat format;
    } formats[] = {
        {"jsonl", ROW_JSONL}, {"ndjson", ROW_JSONL}, {"json", ROW_JSON},
        {"csv", ROW_CSV},     {"tsv", ROW_TSV},
    };
    Str word = spec->format;
    word = word.len == 0 ? format_of_path(spec->path) : word;
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (str_eq_c(word, formats[i].word)) {
            *out = formats[i].format;
            return true;
        }
    }
    return ERR_SET(err, ERR_CONFIG,
                   STR_FMT ": the format of '" STR_FMT
                           "' is not known (jsonl, json, csv, tsv; .gz of them)",
                   STR_ARG(spec->label), STR_ARG(path_base(spec->path)));
}

/** Inflate one or several gzip members that follow each other. */
static bool inflate_all(RowFile *file, Str packed, Err *err)
{
    z_stream z = {0};
    if (inflateInit2(&z, 15 + 16) != Z_OK) {
        return ERR_SET(err, ERR_INTERNAL, "zlib does not start");
    }
    Buf buf;
    buf_init(&buf, INFLATED_MAX_BYTES);
    size_t at = 0;
    int rc = Z_OK;
    bool room = true;
    while (room && (rc == Z_OK || (rc == Z_STREAM_END && at < packed.len))) {
        if (rc == Z_STREAM_END && inflateReset(&z) != Z_OK) {
            break;
        }
        size_t n_in = packed.len - at < UINT32_MAX ? packed.len - at : UINT32_MAX;
        union {
            const char *in;
            Bytef *z; // zlib's next_in is not const in all builds
        } from = {.in = packed.data + at};
        z.next_in = from.z;
        z.avail_in = (uInt)n_in;
        char *out = buf_reserve(&buf, SCAN_PIECE_BYTES);
        room = out != NULL;
        if (room) {
            z.next_out = (Bytef *)out;
            z.avail_out = (uInt)SCAN_PIECE_BYTES;
            rc = inflate(&z, Z_NO_FLUSH);
            buf.len += SCAN_PIECE_BYTES - z.avail_out;
            at += n_in - z.avail_in;
        }
    }
    inflateEnd(&z);
    if (!room || rc != Z_STREAM_END) {
        buf_finish(&buf);
        return room ? ERR_SET(err, ERR_PARSE, STR_FMT ": damaged gzip data", STR_ARG(file->label))
                    : ERR_SET(err, ERR_LIMIT, STR_FMT ": inflates to more than 2 GiB",
                              STR_ARG(file->label));
    }
    file->memory = buf.data;
    file->len = buf.len;
    return true;
}

static bool load_small(RowFile *file, uint64_t bytes, Err *err)
{
    file->memory = mem_alloc(1, bytes + 1);
    if (!read_at(file, 0, file->memory, bytes, err)) {
        return false;
    }
    file->memory[bytes] = '\0';
    close(file->fd);
    file->fd = -1;
    return true;
}

static bool index_file(RowFile *file, const RowFileSpec *spec, FileMap *map, Err *err)
{
    Str text = file->memory != NULL ? (Str){file->memory, file->len}
                                    : (Str){(const char *)map->data, map->len};
    // A .json file without `at` that holds one object a line is JSON Lines by another name.
    if (file->format == ROW_JSON && spec->at.len == 0 && spec->format.len == 0) {
        Str head = str_trim(str_slice(text, 0, 4096));
        file->format = head.len > 0 && head.data[0] == '{' ? ROW_JSONL : ROW_JSON;
    }
    return file->format == ROW_JSONL ? index_lines(file, err) : index_text(file, spec, text, err);
}

static bool row_file_open(const RowFileSpec *spec, RowFile *file, Err *err)
{
    *file = (RowFile){.fd = -1};
    file->label = str_copy(&file->arena, spec->label);
    Arena scratch = {0};
    const char *path = str_to_c(&scratch, spec->path);
    struct stat st;
    FileMap map = {0};
    bool ok = format_of(spec, &file->format, err);
    if (ok) {
        file->fd = open(path, O_RDONLY | O_CLOEXEC);
        ok = file->fd >= 0 && fstat(file->fd, &st) == 0
                 ? true
                 : ERR_SET_ERRNO(err, "can not open %s", path);
    }
    if (ok && (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > FILE_MAX_BYTES)) {
        ok = ERR_SET(err, ERR_LIMIT, "%s is not a file of at most 1 TiB", path);
    }
    unsigned char magic[2] = {0, 0};
    bool gzip = ok && pread(file->fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
    file->len = ok ? (size_t)st.st_size : 0;
    if (ok && !gzip && file->len <= MEMORY_FILE_BYTES) {
        ok = load_small(file, file->len, err);
    } else if (ok && (gzip || file->format != ROW_JSONL)) {
        ok = file_map(spec->path, &map, err);
    }
    if (ok && gzip) {
        ok = inflate_all(file, (Str){(const char *)map.data, map.len}, err);
        close(file->fd);
        file->fd = -1;
    }
    ok = ok && index_file(file, spec, &map, err);
    file_map_close(&map);
    arena_finish(&scratch);
    if (ok && file->n < file->cap) { // the index stays for the whole run
        file->spans = mem_realloc(file->spans, file->n + 1, sizeof(*file->spans));
        file->cap = file->n + 1;
    }
    return ok;
}

static void row_file_close(RowFile *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    mem_free(file->memory);
    mem_free(file->spans);
    arena_finish(&file->arena);
}

static void rows_destroy(Rows *rows)
{
    for (size_t i = 0; i < rows->n_files; i++) {
        row_file_close(&rows->files[i]);
    }
    mem_free(rows->files);
    mem_free((void *)(uintptr_t)rows->key.data);
    mem_free(rows);
}

/** What distinguishes one way of reading files from another. */
static void rows_key(Buf *buf, const RowFileSpec *specs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_printf(buf, STR_FMT "\n" STR_FMT "\n" STR_FMT "\n", STR_ARG(specs[i].path),
                   STR_ARG(specs[i].format), STR_ARG(specs[i].at));
        for (size_t k = 0; k < specs[i].n_columns; k++) {
            buf_printf(buf, STR_FMT "\t", STR_ARG(specs[i].columns[k]));
        }
        buf_char(buf, '\n');
    }
}

static bool rows_hash(Registry *registry, const RowFileSpec *specs, size_t n, Hash *out, Err *err)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.rows.1"));
    hash_i64(&sha, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        Hash hash;
        RowFormat format;
        if (!files_hash(registry, specs[i].path, &hash, err) ||
            !format_of(&specs[i], &format, err)) {
            return false;
        }
        hash_hash(&sha, &hash);
        hash_i64(&sha, format);
        hash_str(&sha, specs[i].at);
        hash_i64(&sha, (int64_t)specs[i].n_columns);
        for (size_t k = 0; k < specs[i].n_columns; k++) {
            hash_str(&sha, specs[i].columns[k]);
        }
    }
    *out = hash_end(&sha);
    return true;
}

bool rows_open_files(Registry *registry, const RowFileSpec *specs, size_t n, Rows **out, Err *err)
{
    Buf key = {0};
    rows_key(&key, specs, n);
    for (Rows *rows = registry->rows; rows != NULL; rows = rows->next) {
        if (str_eq(rows->key, buf_view(&key))) {
            buf_finish(&key);
            rows->refs++;
            *out = rows;
            return true;
        }
    }
    Rows *rows = mem_zalloc(1, sizeof(*rows));
    rows->key = buf_view(&key); // the buffer's bytes are the rows' now
    rows->refs = 1;
    rows->files = mem_zalloc(n + 1, sizeof(*rows->files));
    bool ok = rows_hash(registry, specs, n, &rows->hash, err);
    for (size_t i = 0; ok && i < n; i++) {
        rows->n_files = i + 1;
        ok = row_file_open(&specs[i], &rows->files[i], err);
        rows->files[i].first = rows->n;
        rows->n += rows->files[i].n;
    }
    if (ok && rows->n > ROWS_MAX) {
        ok = ERR_SET(err, ERR_LIMIT, "more than %zu rows", ROWS_MAX);
    }
    if (!ok) {
        rows_destroy(rows);
        return false;
    }
    rows->next = registry->rows;
    registry->rows = rows;
    *out = rows;
    return true;
}

Rows *rows_of_list(const Value *list)
{
    Rows *rows = mem_zalloc(1, sizeof(*rows));
    rows->refs = 1;
    rows->inline_rows = list;
    rows->n = list->as.list.n;
    Sha256 sha;
    hash_begin(&sha, STR("muster.rows.1"));
    hash_value(&sha, list);
    rows->hash = hash_end(&sha);
    return rows;
}

void rows_release(Registry *registry, Rows *rows)
{
    if (rows == NULL || --rows->refs > 0) {
        return;
    }
    for (Rows **at = &registry->rows; *at != NULL; at = &(*at)->next) {
        if (*at == rows) {
            *at = rows->next;
            break;
        }
    }
    rows_destroy(rows);
}

// ---- Reading -----------------------------------------------------------------------------------

static const RowFile *file_of(const Rows *rows, size_t index)
{
    size_t low = 0, high = rows->n_files;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (rows->files[middle].first <= index) {
            low = middle;
        } else {
            high = middle;
        }
    }
    // Of several files with the same first row all but the last are empty.
    return &rows->files[low];
}

/** The line of an offset, counted again only for messages. */
static uint64_t line_of(const RowFile *file, uint64_t offset)
{
    uint64_t line = 1;
    char piece[4096];
    for (uint64_t at = 0; at < offset;) {
        size_t n = offset - at < sizeof(piece) ? (size_t)(offset - at) : sizeof(piece);
        Err ignored = ERR_INIT; // the place is then not as exact
        if (file->memory == NULL && !read_at(file, at, piece, n, &ignored)) {
            break;
        }
        const char *data = file->memory != NULL ? file->memory + at : piece;
        for (size_t i = 0; i < n; i++) {
            line += data[i] == '\n';
        }
        at += n;
    }
    return line;
}

Str rows_place(const Rows *rows, size_t index, Arena *arena)
{
    if (rows->inline_rows != NULL) {
        const Value *row = &rows->inline_rows->as.list.items[index];
        return str_printf(arena, "row %zu (line %u)", index, row->line);
    }
    const RowFile *file = file_of(rows, index);
    uint64_t offset = file->spans[index - file->first] >> ROW_LEN_BITS;
    return str_printf(arena, STR_FMT ":%llu, row %zu", STR_ARG(file->label),
                      (unsigned long long)line_of(file, offset), index);
}

static bool bad_row(const Rows *rows, size_t index, Err *err)
{
    static const char own_line[] = "line 1, "; // of a row's text: the file's line is in its place
    if (strncmp(err->message, own_line, sizeof(own_line) - 1) == 0) {
        memmove(err->message, err->message + sizeof(own_line) - 1,
                strlen(err->message) - sizeof(own_line) + 2);
    }
    Arena scratch = {0};
    Str place = rows_place(rows, index, &scratch);
    ERR_WRAP(err, STR_FMT, STR_ARG(place));
    arena_finish(&scratch);
    return false;
}

static bool row_parse(const RowFile *file, Str text, Arena *arena, Value *out, Err *err)
{
    if (file->format == ROW_CSV || file->format == ROW_TSV) {
        return csv_record(arena, text, file->format == ROW_TSV ? '\t' : ',', file->names,
                          file->n_names, out, err);
    }
    const JsonOptions options = {0};
    if (!json_parse(arena, text, &options, out, NULL, err)) {
        return false;
    }
    if (out->kind != VALUE_MAP) {
        return ERR_SET(err, ERR_TYPE, "a row has to be an object, not %s", value_kind_word(out));
    }
    return true;
}

bool rows_get(const Rows *rows, size_t index, Arena *arena, Value *out, Err *err)
{
    if (rows->inline_rows != NULL) {
        *out = rows->inline_rows->as.list.items[index];
        return true;
    }
    const RowFile *file = file_of(rows, index);
    uint64_t span = file->spans[index - file->first];
    uint64_t from = span >> ROW_LEN_BITS;
    size_t len = (size_t)(span & ROW_MAX_BYTES);
    Str text;
    if (file->memory != NULL) {
        text = (Str){file->memory + from, len};
    } else {
        char *data = arena_alloc_raw(arena, len + 1, 1);
        if (!read_at(file, from, data, len, err)) {
            return false;
        }
        data[len] = '\0';
        text = (Str){data, len};
    }
    return row_parse(file, text, arena, out, err) || bad_row(rows, index, err);
}
