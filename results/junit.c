// SPDX-License-Identifier: MIT
// A gate's verdict as JUnit XML, as strict as Jenkins' xunit schema wants it (junit-10.xsd): no
// attribute and no element that it does not know. One testcase a line; a check that fails is a
// failure, structure that is not as it has to be an error, an open verdict that passes is skipped.
#include "results/gate_internal.h"

#include "text/text.h"

#include <string.h>

#define OUTPUT_MAX ((size_t)64 * 1024) // of system-out
#define TEXT_MAX   ((size_t)16 * 1024) // of one name or sentence

/** What XML 1.0 allows a document to hold. */
static bool is_xml(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0xd7ff) ||
           (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c <= 0x10ffff);
}

/** At most max bytes of text as character data, good in attributes too. */
static void put_xml(Buf *buf, Str text, size_t max)
{
    size_t end = buf->len + max;
    for (size_t at = 0; at < text.len && buf->len < end;) {
        uint32_t c = utf8_next(text, &at); // what is no UTF-8 becomes U+FFFD
        char bytes[4];
        switch (c) {
        case '&':
            buf_c(buf, "&amp;");
            break;
        case '<':
            buf_c(buf, "&lt;");
            break;
        case '>':
            buf_c(buf, "&gt;");
            break;
        case '"':
            buf_c(buf, "&quot;");
            break;
        case '\'':
            buf_c(buf, "&apos;");
            break;
        case '\t':
        case '\n':
        case '\r':
            buf_printf(buf, "&#%u;", c);
            break;
        default:
            if (is_xml(c)) {
                buf_append(buf, bytes, utf8_encode(c, bytes));
            }
            break;
        }
    }
}

/** Harmless on a terminal too: reports of tests are read there. */
static void put_clean(Buf *buf, Arena *arena, Str text)
{
    put_xml(buf, gate_clean(arena, text), TEXT_MAX);
}

static void put_attribute(Buf *buf, Arena *arena, const char *name, Str text)
{
    buf_printf(buf, " %s=\"", name);
    put_clean(buf, arena, text);
    buf_char(buf, '"');
}

/** What came of a line, as JUnit knows it. */
typedef enum Result {
    RESULT_PASS,
    RESULT_SKIPPED,
    RESULT_FAILURE,
    RESULT_ERROR,
} Result;

static Result result_of(const GateLine *line)
{
    if (line->ok) {
        return line->verdict == GATE_INCONCLUSIVE ? RESULT_SKIPPED : RESULT_PASS;
    }
    return strcmp(line->kind, "structure") == 0 ? RESULT_ERROR : RESULT_FAILURE;
}

static size_t count(const GateReport *gate, Result result)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_lines; i++) {
        n += result_of(&gate->lines[i]) == result;
    }
    return n;
}

static Str suite_name(Arena *arena, const GateReport *gate)
{
    Str name = gate_word(arena, gate->policy.name);
    return name.len > 0 ? str_printf(arena, "muster gate " STR_FMT, STR_ARG(name))
                        : STR("muster gate");
}

/** Numbers of a line for those who read the report of a test that passed. */
static void put_output(Buf *buf, Arena *arena, const GateLine *line)
{
    GateCells cells = gate_cells(arena, line);
    const struct {
        const char *name;
        Str value;
    } rows[] = {
        {"value", cells.value},
        {"baseline", cells.baseline},
        {"better by", cells.better_by},
        {"limits", cells.limits},
        {"n", cells.n},
        {"n to decide", cells.decide},
        {"", line->message},
        {"samples", line->samples},
    };
    buf_c(buf, "      <system-out>");
    size_t from = buf->len;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].value.len > 0 && buf->len - from < OUTPUT_MAX / 2) {
            buf_printf(buf, "%s%s", rows[i].name, rows[i].name[0] != '\0' ? ": " : "");
            put_clean(buf, arena, rows[i].value);
            buf_char(buf, '\n');
        }
    }
    buf_c(buf, "</system-out>\n");
}

static void put_testcase(Buf *buf, const GateLine *line, Str suite)
{
    static const char *const elements[] = {
        [RESULT_SKIPPED] = "skipped", [RESULT_FAILURE] = "failure", [RESULT_ERROR] = "error"};
    Arena arena = {0};
    Result result = result_of(line);
    buf_c(buf, "    <testcase");
    put_attribute(buf, &arena, "classname", suite);
    put_attribute(buf, &arena, "name", line->name);
    buf_c(buf, ">\n");
    if (result != RESULT_PASS) {
        buf_printf(buf, "      <%s", elements[result]);
        put_attribute(buf, &arena, "type", str_from_c(gate_line_word(line)));
        put_attribute(buf, &arena, "message", line->message);
        buf_c(buf, "/>\n");
    }
    put_output(buf, &arena, line);
    buf_c(buf, "    </testcase>\n");
    arena_finish(&arena);
}

void report_gate_junit(Buf *buf, const GateReport *gate)
{
    Arena arena = {0};
    Str suite = suite_name(&arena, gate);
    buf_c(buf, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite");
    put_attribute(buf, &arena, "name", suite);
    buf_printf(buf, " tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\" time=\"0\">\n",
               gate->n_lines, count(gate, RESULT_FAILURE), count(gate, RESULT_ERROR),
               count(gate, RESULT_SKIPPED));
    buf_c(buf, "    <properties>\n");
    const struct {
        const char *name;
        Str value;
    } properties[] = {
        {"candidate", gate->candidate.experiment.name},
        {"baseline", gate->baseline.n_runs > 0 ? gate->baseline.experiment.name : STR_EMPTY},
        {"verdict", gate->ok ? STR("pass") : STR("fail")},
    };
    for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++) {
        if (properties[i].value.len > 0) {
            buf_printf(buf, "      <property name=\"%s\"", properties[i].name);
            put_attribute(buf, &arena, "value", gate_word(&arena, properties[i].value));
            buf_c(buf, "/>\n");
        }
    }
    buf_c(buf, "    </properties>\n");
    for (size_t i = 0; i < gate->n_lines; i++) {
        put_testcase(buf, &gate->lines[i], suite);
    }
    buf_c(buf, "  </testsuite>\n</testsuites>\n");
    arena_finish(&arena);
}
