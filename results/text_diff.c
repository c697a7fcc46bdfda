// SPDX-License-Identifier: MIT
// The longest common subsequence of lines by dynamic programming, after what both texts begin and
// end with is set aside: prompts and Lua files are hundreds of lines, not millions.
#include "results/text_diff.h"

#include <string.h>

#define CONTEXT   3
#define PAIRS_MAX ((size_t)4 << 20)

typedef struct Lines {
    Str *items;
    size_t n;
} Lines;

static Lines lines_of(Arena *arena, Str text)
{
    size_t n = 1;
    for (size_t i = 0; i < text.len; i++) {
        n += text.data[i] == '\n';
    }
    Lines lines = {.items = ARENA_ARRAY(arena, Str, n)};
    Str rest = text;
    bool more = text.len > 0;
    while (more) {
        more = str_cut(rest, STR("\n"), &lines.items[lines.n], &rest) && rest.len > 0;
        lines.n++;
    }
    return lines;
}

/** A line of the result: kept (in both), removed or added. */
typedef struct Edit {
    char mark; // ' ', '-', '+'
    Str line;
} Edit;

typedef struct Edits {
    Edit *items;
    size_t n;
} Edits;

static void edit_put(Edits *edits, char mark, Str line)
{
    edits->items[edits->n++] = (Edit){.mark = mark, .line = line};
}

/** Walk through a table of common lengths: what is common stays. */
static void edits_by_table(Arena *arena, const Str *a, size_t n_a, const Str *b, size_t n_b,
                           Edits *edits)
{
    size_t width = n_b + 1;
    uint32_t *common = ARENA_ARRAY(arena, uint32_t, (n_a + 1) * width); // of a[i..] and b[j..]
    for (size_t i = n_a; i-- > 0;) {
        for (size_t j = n_b; j-- > 0;) {
            uint32_t down = common[(i + 1) * width + j];
            uint32_t right = common[i * width + j + 1];
            common[i * width + j] = str_eq(a[i], b[j]) ? common[(i + 1) * width + j + 1] + 1
                                    : down >= right    ? down
                                                       : right;
        }
    }
    size_t i = 0;
    size_t j = 0;
    while (i < n_a || j < n_b) {
        if (i < n_a && j < n_b && str_eq(a[i], b[j])) {
            edit_put(edits, ' ', a[i++]);
            j++;
        } else if (j == n_b ||
                   (i < n_a && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
            edit_put(edits, '-', a[i++]);
        } else {
            edit_put(edits, '+', b[j++]);
        }
    }
}

static Edits edits_of(Arena *arena, const Lines *a, const Lines *b)
{
    Edits edits = {.items = ARENA_ARRAY(arena, Edit, a->n + b->n + 1)};
    size_t head = 0;
    size_t tail = 0;
    while (head < a->n && head < b->n && str_eq(a->items[head], b->items[head])) {
        edit_put(&edits, ' ', a->items[head++]);
    }
    while (tail < a->n - head && tail < b->n - head &&
           str_eq(a->items[a->n - 1 - tail], b->items[b->n - 1 - tail])) {
        tail++;
    }
    size_t n_a = a->n - head - tail;
    size_t n_b = b->n - head - tail;
    if (n_b == 0 || n_a <= PAIRS_MAX / n_b) {
        edits_by_table(arena, a->items + head, n_a, b->items + head, n_b, &edits);
    } else {
        for (size_t i = 0; i < n_a; i++) {
            edit_put(&edits, '-', a->items[head + i]);
        }
        for (size_t j = 0; j < n_b; j++) {
            edit_put(&edits, '+', b->items[head + j]);
        }
    }
    for (size_t i = a->n - tail; i < a->n; i++) {
        edit_put(&edits, ' ', a->items[i]);
    }
    return edits;
}

/** Where the hunk that begins with the change at `at` ends: past its last change. */
static size_t hunk_end(const Edits *edits, size_t at)
{
    size_t end = at;
    for (size_t i = at; i < edits->n && i <= end + 2 * CONTEXT; i++) {
        end = edits->items[i].mark != ' ' ? i + 1 : end;
    }
    return end;
}

/** "-12,3": the place of a hunk; an empty one is named by the line before it. */
static void put_place(Buf *buf, char mark, size_t line, size_t n)
{
    buf_printf(buf, "%c%zu", mark, n == 0 ? line : line + 1);
    if (n != 1) {
        buf_printf(buf, ",%zu", n);
    }
}

static void put_hunk(Buf *buf, const Edits *edits, size_t from, size_t to, const size_t lines[2])
{
    size_t n[2] = {0, 0};
    for (size_t i = from; i < to; i++) {
        n[0] += edits->items[i].mark != '+';
        n[1] += edits->items[i].mark != '-';
    }
    buf_c(buf, "@@ ");
    put_place(buf, '-', lines[0], n[0]);
    buf_char(buf, ' ');
    put_place(buf, '+', lines[1], n[1]);
    buf_c(buf, " @@\n");
    for (size_t i = from; i < to; i++) {
        buf_char(buf, edits->items[i].mark);
        buf_str(buf, edits->items[i].line);
        buf_char(buf, '\n');
    }
}

void text_diff(Buf *buf, Str from, Str to)
{
    Arena arena = {0};
    Lines a = lines_of(&arena, from);
    Lines b = lines_of(&arena, to);
    Edits edits = edits_of(&arena, &a, &b);
    size_t lines[2] = {0, 0}; // before edit `i`
    size_t done = 0;          // edits before it are counted in lines
    for (size_t i = 0; i < edits.n; i++) {
        if (edits.items[i].mark == ' ') {
            continue;
        }
        size_t start = i - done < CONTEXT ? done : i - CONTEXT;
        size_t end = hunk_end(&edits, i);
        size_t stop = edits.n - end < CONTEXT ? edits.n : end + CONTEXT;
        for (size_t k = done; k < start; k++) {
            lines[0] += edits.items[k].mark != '+';
            lines[1] += edits.items[k].mark != '-';
        }
        put_hunk(buf, &edits, start, stop, lines);
        for (size_t k = start; k < stop; k++) {
            lines[0] += edits.items[k].mark != '+';
            lines[1] += edits.items[k].mark != '-';
        }
        done = stop;
        i = stop - 1;
    }
    arena_finish(&arena);
}
