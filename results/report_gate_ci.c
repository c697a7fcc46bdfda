// SPDX-License-Identifier: MIT
// A gate's verdict for CI systems: GitHub's workflow commands, and Markdown for pull requests and
// step summaries. Names of samples and models come from outside: each format has one function that
// they all pass through, and nothing of a model's reply is in these reports at all.
#include "results/gate_internal.h"
#include "results/report_internal.h"

#include "text/text.h"

#include <string.h>

#define ANNOTATIONS_MAX 10          // of a type that GitHub shows for a step
#define MARKDOWN_LINES  100         // rows, and sentences, of the comment
#define MARKDOWN_BYTES  (60 * 1024) // after which no sentence is added

// ---- GitHub -------------------------------------------------------------------------------------

/** A command's message, or with is_property the value of one of its properties. */
static void put_command_text(Buf *buf, Arena *arena, Str text, bool is_property)
{
    Str clean = gate_clean(arena, text);
    for (size_t i = 0; i < clean.len; i++) {
        char c = clean.data[i];
        bool escaped =
            c == '%' || c == '\r' || c == '\n' || (is_property && (c == ':' || c == ','));
        if (escaped) {
            buf_printf(buf, "%%%02X", (unsigned)(unsigned char)c);
        } else {
            buf_char(buf, c);
        }
    }
}

static void put_command(Buf *buf, const char *type, Str title, Str message, Str samples)
{
    Arena arena = {0};
    buf_printf(buf, "::%s title=", type);
    put_command_text(buf, &arena, title, true);
    buf_c(buf, "::");
    put_command_text(buf, &arena, message, false);
    if (samples.len > 0) {
        buf_c(buf, ": ");
        put_command_text(buf, &arena, samples, false);
    }
    buf_char(buf, '\n');
    arena_finish(&arena);
}

/** The lines of a type; the last place says how many there is no place for. */
static void put_commands(Buf *buf, const GateReport *gate, const char *type, bool ok)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_lines; i++) {
        n += gate->lines[i].verdict != GATE_PASS && gate->lines[i].ok == ok;
    }
    size_t shown = 0;
    for (size_t i = 0; i < gate->n_lines; i++) {
        const GateLine *line = &gate->lines[i];
        if (line->verdict == GATE_PASS || line->ok != ok) {
            continue;
        }
        if (n > ANNOTATIONS_MAX && shown == ANNOTATIONS_MAX - 1) {
            Arena arena = {0};
            put_command(buf, type, STR("muster gate"),
                        str_printf(&arena, "%zu more checks: see the step summary", n - shown),
                        STR_EMPTY);
            arena_finish(&arena);
            return;
        }
        put_command(buf, type, line->name, line->message, line->samples);
        shown++;
    }
}

void report_gate_github(Buf *buf, const GateReport *gate)
{
    put_commands(buf, gate, "error", false);
    put_commands(buf, gate, "warning", true);
}

// ---- Markdown -----------------------------------------------------------------------------------

static void put_code(Buf *buf, Arena *arena, Str text)
{
    buf_c(buf, "<code>");
    report_markdown(buf, arena, text);
    buf_c(buf, "</code>");
}

static void put_markdown_row(Buf *buf, Arena *arena, const GateLine *line)
{
    GateCells cells = gate_cells(arena, line);
    buf_printf(buf, "| %s%s%s | ", line->ok ? "" : "**", gate_line_word(line),
               line->ok ? "" : "**");
    put_code(buf, arena, line->name);
    buf_printf(buf,
               " | " STR_FMT " | " STR_FMT " | " STR_FMT " | " STR_FMT " | " STR_FMT " | " STR_FMT
               " |\n",
               STR_ARG(cells.value), STR_ARG(cells.baseline), STR_ARG(cells.better_by),
               STR_ARG(cells.limits), STR_ARG(cells.n), STR_ARG(cells.decide));
}

static void put_sentences(Buf *buf, Arena *arena, const GateReport *gate, size_t from)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_lines; i++) {
        const GateLine *line = &gate->lines[i];
        if (line->verdict == GATE_PASS) {
            continue;
        }
        if (n++ >= MARKDOWN_LINES || buf->len - from > MARKDOWN_BYTES) {
            continue;
        }
        buf_printf(buf, "%s- **%s** ", n == 1 ? "\n" : "", gate_line_word(line));
        put_code(buf, arena, line->name);
        buf_c(buf, ": ");
        report_markdown(buf, arena, line->message);
        if (line->samples.len > 0) {
            buf_c(buf, " ");
            put_code(buf, arena, line->samples);
        }
        buf_char(buf, '\n');
    }
}

/** Those that failed come first when there are too many. */
static void put_rows(Buf *buf, Arena *arena, const GateReport *gate)
{
    bool many = gate->n_lines > MARKDOWN_LINES;
    size_t n = 0;
    for (int pass = 0; pass < (many ? 2 : 1); pass++) {
        for (size_t i = 0; i < gate->n_lines; i++) {
            bool now = !many || gate->lines[i].ok == (pass == 1);
            if (now && n < MARKDOWN_LINES) {
                put_markdown_row(buf, arena, &gate->lines[i]);
                n++;
            }
        }
    }
    if (many) {
        buf_printf(buf, "\n%zu more checks are not shown.\n", gate->n_lines - n);
    }
}

void report_gate_markdown(Buf *buf, const GateReport *gate)
{
    Arena arena = {0};
    size_t from = buf->len;
    buf_c(buf, "### ");
    report_markdown(buf, &arena, gate_headline(&arena, gate));
    buf_c(buf, "\n\n");
    report_markdown(buf, &arena, gate_sides_words(&arena, gate));
    buf_c(buf, "\n");
    if (gate->n_lines > 0) {
        buf_c(buf, "\n| verdict | check | value | baseline | better by | limits | n | n to decide "
                   "|\n|---|---|--:|--:|--:|---|--:|--:|\n");
        put_rows(buf, &arena, gate);
        put_sentences(buf, &arena, gate, from);
    }
    Str family = gate_family_words(&arena, gate);
    if (family.len > 0) {
        buf_c(buf, "\n");
        report_markdown(buf, &arena, family);
        buf_c(buf, "\n");
    }
    arena_finish(&arena);
}
