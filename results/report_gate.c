// SPDX-License-Identifier: MIT
// A gate's verdict for people at a terminal, and as a JSON value; what all reports of it share.
#include "results/gate_internal.h"

#include "results/report_internal.h"
#include "text/text.h"

#include <math.h>

const char *gate_line_word(const GateLine *line)
{
    switch (line->verdict) {
    case GATE_PASS:
        return "PASS";
    case GATE_FAIL:
        return "FAIL";
    case GATE_INCONCLUSIVE:
        return line->ok ? "NOT PROVEN" : line->outcome.too_few ? "TOO FEW" : "INCONCLUSIVE";
    }
    return "";
}

// ---- Shared -------------------------------------------------------------------------------------

Str gate_clean(Arena *arena, Str text)
{
    Str clean = report_clean(arena, text);
    // "##[command]" and "##vso[..]" mean something to runners wherever they stand in a line.
    if (str_find(clean, STR("##"), 0) == STR_NONE) {
        return clean;
    }
    Buf buf = {0};
    for (size_t i = 0; i < clean.len; i++) {
        bool second = i > 0 && clean.data[i] == '#' && clean.data[i - 1] == '#';
        buf_c(&buf, second ? "\\" : "");
        buf_char(&buf, clean.data[i]);
    }
    Str copy = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}

static size_t count_failed(const GateReport *gate)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_lines; i++) {
        n += !gate->lines[i].ok;
    }
    return n;
}

static size_t count_unproven(const GateReport *gate)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_lines; i++) {
        n += gate->lines[i].ok && gate->lines[i].verdict == GATE_INCONCLUSIVE;
    }
    return n;
}

Str gate_headline(Arena *arena, const GateReport *gate)
{
    Str name = gate_clean(arena, gate_word(arena, gate->policy.name));
    Str head = str_printf(arena, "gate%s" STR_FMT ": %s", name.len > 0 ? " " : "", STR_ARG(name),
                          gate->ok ? "PASS" : "FAIL");
    size_t n_failed = count_failed(gate);
    size_t n_unproven = count_unproven(gate);
    if (gate->n_lines == 0) {
        return str_concat(arena, head, STR(", nothing to check yet"));
    }
    head = n_failed > 0 ? str_printf(arena, STR_FMT ", %zu of %zu checks failed", STR_ARG(head),
                                     n_failed, gate->n_lines)
                        : str_printf(arena, STR_FMT ", %zu check%s", STR_ARG(head), gate->n_lines,
                                     gate->n_lines == 1 ? "" : "s");
    return n_unproven == 0
               ? head
               : str_printf(arena, STR_FMT ", %zu NOT PROVEN", STR_ARG(head), n_unproven);
}

static Str side_words(Arena *arena, const char *word, const Side *side)
{
    Str name = gate_clean(arena, gate_word(arena, side->experiment.name));
    Str id = gate_clean(arena, side->experiment.short_id);
    Str only = gate_clean(arena, results_subset_words(arena, &side->experiment));
    return str_printf(arena, "%s " STR_FMT " (" STR_FMT "%s" STR_FMT ")", word, STR_ARG(name),
                      STR_ARG(id), only.len > 0 ? ", only " : "", STR_ARG(only));
}

Str gate_sides_words(Arena *arena, const GateReport *gate)
{
    Str candidate = side_words(arena, "candidate", &gate->candidate);
    if (gate->baseline.n_runs == 0) {
        return candidate;
    }
    Str base = side_words(arena, "baseline", &gate->baseline);
    return str_printf(arena, STR_FMT ", " STR_FMT, STR_ARG(candidate), STR_ARG(base));
}

Str gate_family_words(Arena *arena, const GateReport *gate)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_lines; i++) {
        n += gate->lines[i].by_limits;
    }
    if (n < 2 || isnan(gate->family_wise)) {
        return STR_EMPTY;
    }
    return str_printf(arena,
                      "chance that any of the %zu checks by limits fails by accident, were each at "
                      "its bound and all independent: %.3g %%",
                      n, 100 * gate->family_wise);
}

static Str signed_number(Arena *arena, double d)
{
    Str number = report_number(arena, d);
    return d > 0 ? str_concat(arena, STR("+"), number) : number;
}

GateCells gate_cells(Arena *arena, const GateLine *line)
{
    const GateOutcome *out = &line->outcome;
    GateCells cells = {.value = STR_EMPTY,
                       .baseline = STR_EMPTY,
                       .better_by = STR_EMPTY,
                       .limits = STR_EMPTY,
                       .n = STR_EMPTY,
                       .decide = STR_EMPTY};
    if (!isnan(line->value)) {
        bool whole = !line->by_limits && line->value == floor(line->value);
        cells.value =
            whole ? str_printf(arena, "%.0f", line->value) : report_number(arena, line->value);
    }
    if (!line->by_limits) {
        return cells;
    }
    bool is_loss = str_eq_c(STR("max_regression"), line->kind);
    if (is_loss) {
        cells.baseline = report_number(arena, line->baseline);
        cells.better_by = signed_number(arena, out->limits.value);
    }
    if (!isnan(out->limits.low)) {
        Str low =
            is_loss ? signed_number(arena, out->limits.low) : report_number(arena, out->limits.low);
        Str high = is_loss ? signed_number(arena, out->limits.high)
                           : report_number(arena, out->limits.high);
        cells.limits = str_printf(arena, "[" STR_FMT ", " STR_FMT "]", STR_ARG(low), STR_ARG(high));
    }
    cells.n = str_printf(arena, "%zu", out->n);
    if (line->verdict == GATE_INCONCLUSIVE) {
        bool as_seen;
        double n = gate_n_decide(line, &as_seen);
        cells.decide = isnan(n)   ? STR("more")
                       : n < 1e15 ? str_printf(arena, "%.0f", ceil(n))
                                  : STR("none");
    }
    return cells;
}

// ---- Terminal -----------------------------------------------------------------------------------

static void put_table(Buf *buf, Arena *arena, const GateReport *gate, const ReportOptions *options)
{
    static const Column columns[] = {
        {.title = "verdict"},         {.title = "check"},
        {"value", .right = true},     {"baseline", .right = true},
        {"better by", .right = true}, {.title = "limits"},
        {"n", .right = true},         {"n to decide", .right = true},
    };
    Table table = {
        .arena = arena, .columns = columns, .n_columns = sizeof(columns) / sizeof(columns[0])};
    for (size_t i = 0; i < gate->n_lines; i++) {
        const GateLine *line = &gate->lines[i];
        GateCells cells = gate_cells(arena, line);
        Str *row = table_row(&table);
        row[0] = str_from_c(gate_line_word(line));
        row[1] = gate_clean(arena, line->name);
        row[2] = cells.value;
        row[3] = cells.baseline;
        row[4] = cells.better_by;
        row[5] = cells.limits;
        row[6] = cells.n;
        row[7] = cells.decide;
    }
    if (gate->n_lines > 0) {
        table_put(buf, &table, options);
    }
}

void report_gate(Buf *buf, const GateReport *gate, const ReportOptions *options)
{
    Arena arena = {0};
    Str sides = gate_sides_words(&arena, gate);
    buf_str(buf, sides);
    buf_char(buf, '\n');
    put_table(buf, &arena, gate, options);
    bool any = false;
    for (size_t i = 0; i < gate->n_lines; i++) {
        const GateLine *line = &gate->lines[i];
        if (line->verdict == GATE_PASS) {
            continue;
        }
        Str name = gate_clean(&arena, line->name);
        Str message = gate_clean(&arena, line->message);
        buf_printf(buf, "%s%s  " STR_FMT ": " STR_FMT "\n", any ? "" : "\n", gate_line_word(line),
                   STR_ARG(name), STR_ARG(message));
        if (line->samples.len > 0) {
            Str samples = gate_clean(&arena, line->samples);
            buf_printf(buf, "      samples " STR_FMT "\n", STR_ARG(samples));
        }
        any = true;
    }
    Str family = gate_family_words(&arena, gate);
    Str headline = gate_headline(&arena, gate);
    if (family.len > 0) {
        buf_printf(buf, "\n" STR_FMT "\n", STR_ARG(family));
    } else if (any || gate->n_lines > 0) {
        buf_char(buf, '\n');
    }
    const char *color = !options->color ? "" : gate->ok ? "\033[1;32m" : "\033[1;31m";
    buf_printf(buf, "%s" STR_FMT "%s\n", color, STR_ARG(headline), options->color ? "\033[0m" : "");
    arena_finish(&arena);
}

// ---- JSON ---------------------------------------------------------------------------------------

static Value number(double d)
{
    return isfinite(d) ? value_real(d) : value_null();
}

static void put_str(MapBuilder *map, const char *key, Str s)
{
    if (s.len > 0) {
        map_builder_put(map, str_from_c(key), value_str(s));
    }
}

static void put_states(MapBuilder *map, const char *key, const size_t states[SAMPLE_STATE_COUNT])
{
    static const char *const words[SAMPLE_STATE_COUNT] = {
        [SAMPLE_SCORED] = "scored",     [SAMPLE_MISSING] = "missing", [SAMPLE_ERRORED] = "errored",
        [SAMPLE_UNSCORED] = "unscored", [SAMPLE_CHANGED] = "changed",
    };
    MapBuilder counts;
    map_builder_init(&counts, map->arena);
    for (size_t i = 0; i < SAMPLE_STATE_COUNT; i++) {
        map_builder_put(&counts, str_from_c(words[i]), value_int((int64_t)states[i]));
    }
    map_builder_put(map, str_from_c(key), map_builder_done(&counts));
}

static Value limits_value(Arena *arena, const GateOutcome *out)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("value"), number(out->limits.value));
    map_builder_put(&map, STR("stderr"), number(out->limits.stderr_));
    map_builder_put(&map, STR("low"), number(out->limits.low));
    map_builder_put(&map, STR("high"), number(out->limits.high));
    return map_builder_done(&map);
}

static void put_outcome(MapBuilder *map, const GateLine *line)
{
    const GateOutcome *out = &line->outcome;
    bool is_loss = str_eq_c(STR("max_regression"), line->kind);
    map_builder_put(map, STR("confidence"), number(line->confidence));
    map_builder_put(map, is_loss ? STR("better_by") : STR("limits"), limits_value(map->arena, out));
    put_str(map, "method", str_from_c(stats_method_word(out->method)));
    put_str(map, "reason", str_from_c(gate_reason_words(out->reason)));
    map_builder_put(map, STR("n"), value_int((int64_t)out->n));
    map_builder_put(map, STR("n_missing"), value_int((int64_t)out->n_missing));
    map_builder_put(map, STR("n_clusters"), value_int((int64_t)out->n_clusters));
    map_builder_put(map, STR("n_partial"), value_int((int64_t)line->n_partial));
    if (is_loss) {
        map_builder_put(map, STR("n_better"), value_int((int64_t)out->n_better));
        map_builder_put(map, STR("n_worse"), value_int((int64_t)out->n_worse));
        put_states(map, "samples_baseline", line->n_states[0]);
    }
    put_states(map, "samples_candidate", line->n_states[1]);
    map_builder_put(map, STR("p"), number(out->margin_p));
    map_builder_put(map, STR("too_few"), value_bool(out->too_few));
    map_builder_put(map, STR("effect"), number(out->effect));
    map_builder_put(map, STR("detect"), number(out->detect));
    map_builder_put(map, STR("n_decide"), number(out->n_decide));
    map_builder_put(map, STR("n_detect"), number(out->n_detect));
    put_str(map, "observed", str_from_c(gate_verdict_word(out->observed)));
}

static Value line_value(Arena *arena, const GateLine *line)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put_str(&map, "name", line->name);
    put_str(&map, "kind", str_from_c(line->kind));
    put_str(&map, "eval", line->eval);
    put_str(&map, "variant", line->variant);
    put_str(&map, "model", line->model);
    put_str(&map, "metric", line->metric);
    put_str(&map, "slice", line->slice);
    put_str(&map, "verdict", str_from_c(gate_verdict_word(line->verdict)));
    map_builder_put(&map, STR("ok"), value_bool(line->ok));
    map_builder_put(&map, STR("value"), number(line->value));
    map_builder_put(&map, STR("baseline"), number(line->baseline));
    map_builder_put(&map, STR("bound"), number(line->bound));
    if (line->by_limits) {
        put_outcome(&map, line);
    }
    put_str(&map, "message", line->message);
    put_str(&map, "samples", line->samples);
    return map_builder_done(&map);
}

static Value side_value(Arena *arena, const Side *side)
{
    if (side->n_runs == 0) {
        return value_null();
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    put_str(&map, "selector", side->selector.text);
    put_str(&map, "name", side->experiment.name);
    put_str(&map, "id", side->experiment.short_id);
    put_str(&map, "state", side->experiment.state);
    map_builder_put(&map, STR("runs"), value_int((int64_t)side->n_runs));
    return map_builder_done(&map);
}

Value report_gate_value(Arena *arena, const GateReport *gate)
{
    Value *lines = ARENA_ARRAY(arena, Value, gate->n_lines + 1);
    for (size_t i = 0; i < gate->n_lines; i++) {
        lines[i] = line_value(arena, &gate->lines[i]);
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    put_str(&map, "gate", gate->policy.name);
    put_str(&map, "file", gate->policy.file);
    map_builder_put(&map, STR("ok"), value_bool(gate->ok));
    map_builder_put(&map, STR("candidate"), side_value(arena, &gate->candidate));
    map_builder_put(&map, STR("baseline"), side_value(arena, &gate->baseline));
    map_builder_put(&map, STR("checks"), value_list(lines, gate->n_lines));
    map_builder_put(&map, STR("family_wise"), number(gate->family_wise));
    return map_builder_done(&map);
}
