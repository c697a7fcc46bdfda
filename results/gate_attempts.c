// SPDX-License-Identifier: MIT
// Checks that look at attempts one by one: samples that have to be right, and budgets.
#include "results/gate_internal.h"

#include "results/read_internal.h"
#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES_NAMED 10 // failing ones, in a line

// ---- must_pass ----------------------------------------------------------------------------------

/** Tagged samples on their way by; the epochs of a sample follow each other. */
typedef struct Tagged {
    GateWork *work;
    const GateDemand *demand;
    const Side *side;
    bool is_base;
    Arena arena;    // of one attempt
    Interner seen;  // samples of the candidate that have the tag: "eval part id"
    int64_t run_id; // of the current sample
    Str sample_id;
    Buf current; // its id, kept from one attempt to the next
    bool is_wrong;
    size_t n;
    size_t n_wrong;
    size_t n_absent; // only the baseline has them
    Buf named;       // the first failing ones
    size_t n_named;
} Tagged;

static bool text_is_tag(const GateDemand *demand, const Value *value)
{
    for (size_t i = 0; i < demand->n_tags; i++) {
        if (value->kind == VALUE_STR && str_eq(value->as.str, demand->tags[i])) {
            return true;
        }
    }
    return false;
}

static bool has_tag(const GateDemand *demand, const Value *metadata, const char *key)
{
    const Value *value = value_get_c(metadata, key);
    bool is = value != NULL && text_is_tag(demand, value);
    for (size_t i = 0; value != NULL && value->kind == VALUE_LIST && i < value->as.list.n; i++) {
        is = is || text_is_tag(demand, &value->as.list.items[i]);
    }
    return is;
}

static const RunInfo *run_of(const Side *side, int64_t id)
{
    for (size_t i = 0; i < side->n_runs; i++) {
        if (side->runs[i].id == id) {
            return &side->runs[i];
        }
    }
    return NULL;
}

/** The best score of a grader, from what the run says of it; 1 where it says nothing. */
static double best_score(const RunInfo *run, Str grader, bool *out_lower)
{
    const Value *metrics = &run->spec.metrics;
    *out_lower = false;
    for (size_t i = 0; metrics->kind == VALUE_LIST && i < metrics->as.list.n; i++) {
        const Value *graders = value_get_c(&metrics->as.list.items[i], "graders");
        for (size_t g = 0; graders != NULL && graders->kind == VALUE_LIST && g < graders->as.list.n;
             g++) {
            const Value *one = &graders->as.list.items[g];
            if (str_eq(value_get_str(one, "name", STR_EMPTY), grader)) {
                *out_lower = value_get_bool(one, "lower_is_better", false);
                return *out_lower ? value_get_real(one, "low", 0) : value_get_real(one, "high", 1);
            }
        }
    }
    return 1;
}

/** Right is the best score of the first grader that applies. */
static bool is_right(const RunInfo *run, const AttemptInfo *attempt)
{
    if (!str_eq(attempt->state, STR("done")) || attempt->n_scores == 0 ||
        attempt->scores[0].state != SCORE_VALUE) {
        return false;
    }
    bool lower;
    double best = best_score(run, attempt->scores[0].grader, &lower);
    return lower ? attempt->scores[0].value <= best : attempt->scores[0].value >= best;
}

static void name_sample(Tagged *tagged, const AttemptInfo *attempt)
{
    if (tagged->n_named++ < SAMPLES_NAMED) {
        buf_c(&tagged->named, tagged->named.len > 0 ? ", " : "");
        if (attempt->part.len > 0) {
            buf_str(&tagged->named, gate_word(&tagged->arena, attempt->part));
            buf_char(&tagged->named, '/');
        }
        buf_str(&tagged->named, gate_word(&tagged->arena, attempt->sample_id));
    }
}

static bool tagged_visit(void *ctx, const AttemptInfo *attempt)
{
    Tagged *tagged = ctx;
    const RunInfo *run = run_of(tagged->side, attempt->run_id);
    if (run == NULL || str_find(attempt->metadata, STR("tag"), 0) == STR_NONE) {
        return true;
    }
    arena_reset(&tagged->arena);
    Value metadata;
    Err ignored = ERR_INIT;
    if (!json_parse(&tagged->arena, attempt->metadata, NULL, &metadata, NULL, &ignored) ||
        !(has_tag(tagged->demand, &metadata, "tag") ||
          has_tag(tagged->demand, &metadata, "tags"))) {
        return true;
    }
    bool same =
        attempt->run_id == tagged->run_id && str_eq(attempt->sample_id, buf_view(&tagged->current));
    if (!same) {
        tagged->run_id = attempt->run_id;
        tagged->is_wrong = false;
        buf_clear(&tagged->current);
        buf_str(&tagged->current, attempt->sample_id);
    }
    Str key = str_printf(&tagged->arena, STR_FMT "%c" STR_FMT "%c" STR_FMT, STR_ARG(attempt->eval),
                         0, STR_ARG(attempt->part), 0, STR_ARG(attempt->sample_id));
    bool is_new;
    intern(&tagged->seen, key, 0, &is_new);
    if (tagged->is_base) {
        tagged->n_absent += is_new;
        if (is_new) {
            name_sample(tagged, attempt);
        }
        return true;
    }
    tagged->n += !same;
    if (!tagged->is_wrong && !is_right(run, attempt)) {
        tagged->is_wrong = true; // one epoch is enough
        tagged->n_wrong++;
        name_sample(tagged, attempt);
    }
    return true;
}

static Str tags_listed(Arena *arena, const GateDemand *demand)
{
    Str list = STR_EMPTY;
    for (size_t i = 0; i < demand->n_tags; i++) {
        list = str_printf(arena, STR_FMT "%s" STR_FMT, STR_ARG(list), i > 0 ? " or " : "",
                          STR_ARG(gate_word(arena, demand->tags[i])));
    }
    return list;
}

static Str must_pass_words(Arena *arena, const Tagged *tagged, Str tags)
{
    if (tagged->n + tagged->n_absent == 0) {
        return str_printf(arena,
                          "no sample has tag " STR_FMT ": give samples metadata: {tag: ..} or "
                          "{tags: [..]} in the eval",
                          STR_ARG(tags));
    }
    Str text = tagged->n_wrong == 0 ? str_printf(arena, "all %zu samples are right", tagged->n)
                                    : str_printf(arena, "%zu of %zu samples are not right",
                                                 tagged->n_wrong, tagged->n);
    return tagged->n_absent == 0
               ? text
               : str_printf(arena, STR_FMT ", and %zu of the baseline are not there", STR_ARG(text),
                            tagged->n_absent);
}

static bool visit_side(GateWork *work, Tagged *tagged, const Side *side, bool is_base)
{
    AttemptFilter filter = {.sample_id = STR_EMPTY, .eval = tagged->demand->eval};
    tagged->side = side;
    tagged->is_base = is_base;
    tagged->run_id = 0;
    return results_attempts(work->results, side->experiment.id, &filter, tagged_visit, tagged,
                            work->err);
}

bool gate_check_must_pass(GateWork *work, const GateDemand *demand)
{
    Tagged tagged = {.work = work, .demand = demand};
    bool ok = visit_side(work, &tagged, &work->candidate, false) &&
              (work->baseline.n_runs == 0 || visit_side(work, &tagged, &work->baseline, true));
    if (ok) {
        Str tags = tags_listed(work->arena, demand);
        GateLine *line = gate_line_add(work, "must_pass");
        Str of = demand->eval.len == 0
                     ? STR_EMPTY
                     : str_concat(work->arena, gate_word(work->arena, demand->eval), STR(" "));
        line->name =
            str_printf(work->arena, STR_FMT "must pass: tag " STR_FMT, STR_ARG(of), STR_ARG(tags));
        line->eval = demand->eval;
        line->value = (double)tagged.n_wrong;
        line->bound = 0;
        line->ok = tagged.n > 0 && tagged.n_wrong + tagged.n_absent == 0;
        line->verdict = line->ok ? GATE_PASS : GATE_FAIL;
        line->samples = str_copy(work->arena, buf_view(&tagged.named));
        if (tagged.n_named > SAMPLES_NAMED) {
            line->samples = str_printf(work->arena, STR_FMT " and %zu more", STR_ARG(line->samples),
                                       tagged.n_named - SAMPLES_NAMED);
        }
        line->message = must_pass_words(work->arena, &tagged, tags);
    }
    arena_finish(&tagged.arena);
    interner_finish(&tagged.seen);
    buf_finish(&tagged.current);
    buf_finish(&tagged.named);
    return ok;
}

// ---- Budgets ------------------------------------------------------------------------------------

static const struct {
    const char *name;
    const char *unit;
} budgets[GATE_DEMAND_COUNT] = {
#define X(NAME, key, in_budget, unit) [GATE_DEMAND_##NAME] = {key, unit},
#include "results/gate_demand.def"
#undef X
};

static bool in_budget(const GateDemand *demand, const RunInfo *run)
{
    return demand->eval.len == 0 || str_eq(demand->eval, run->eval);
}

static int compare_seconds(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/** The 95th percentile of the seconds of all closed attempts; NaN when there are none. */
static bool latency_p95(GateWork *work, const GateDemand *demand, double *out)
{
    Db *db = &work->results->db;
    sqlite3_stmt *row = db_statement(db, READ_SQL_RUN_SECONDS);
    double *seconds = NULL;
    size_t n = 0;
    size_t cap = 0;
    bool ok = true;
    for (size_t i = 0; i < work->candidate.n_runs && ok; i++) {
        if (!in_budget(demand, &work->candidate.runs[i])) {
            continue;
        }
        bind_i64(row, 1, work->candidate.runs[i].id);
        bool more = true;
        while (ok && more) {
            ok = db_step(db, READ_SQL_RUN_SECONDS, &more, work->err);
            if (!ok || !more) {
                break;
            }
            if (n == cap) {
                cap = cap == 0 ? 1024 : cap * 2;
                seconds = mem_realloc(seconds, cap, sizeof(*seconds));
            }
            seconds[n++] = column_f64(row, 0);
        }
    }
    if (n > 0) {
        qsort(seconds, n, sizeof(*seconds), compare_seconds);
    }
    *out = n > 0 ? stats_quantile(seconds, n, 0.95) : (double)NAN;
    mem_free(seconds);
    return ok;
}

static bool observed(GateWork *work, const GateDemand *demand, double *out)
{
    if (demand->kind == GATE_DEMAND_LATENCY) {
        return latency_p95(work, demand, out);
    }
    int64_t n_planned = 0;
    int64_t n_errors = 0;
    int64_t n_done = 0;
    double cost = 0;
    double tokens = 0;
    for (size_t i = 0; i < work->candidate.n_runs; i++) {
        const RunInfo *run = &work->candidate.runs[i];
        if (in_budget(demand, run)) {
            n_planned += run->n_planned;
            n_errors += run->n_errors;
            n_done += run->n_done;
            cost += run->cost_usd;
            tokens += (double)(run->usage.input + run->usage.output);
        }
    }
    if (tokens == 0 && n_done > 0) {
        tokens = NAN; // nobody answers without reading: the provider does not say
    }
    *out = demand->kind == GATE_DEMAND_COST     ? cost
           : demand->kind == GATE_DEMAND_TOKENS ? tokens
           : n_planned > 0                      ? (double)n_errors / (double)n_planned
                                                : (double)NAN;
    return true;
}

static Str budget_words(Arena *arena, const GateLine *line, GateDemandKind kind)
{
    const char *unit = budgets[kind].unit;
    if (isnan(line->value)) {
        return kind == GATE_DEMAND_COST
                   ? STR("what it cost is not known, and so it is over budget: give the model a "
                         "price_usd in registry/models")
               : kind == GATE_DEMAND_TOKENS
                   ? STR("how many tokens it took is not known, and so it is over budget: the "
                         "model does not say")
                   : STR("there are no attempts to measure");
    }
    return str_printf(arena, "%.6g%s of %.6g%s", line->value, unit, line->bound, unit);
}

bool gate_check_budget(GateWork *work, const GateDemand *demand)
{
    double value;
    if (!observed(work, demand, &value)) {
        return false;
    }
    GateLine *line = gate_line_add(work, "budget");
    Str of = demand->eval.len == 0
                 ? STR_EMPTY
                 : str_concat(work->arena, gate_word(work->arena, demand->eval), STR(" "));
    line->name = str_printf(work->arena, STR_FMT "%s <= %.12g", STR_ARG(of),
                            budgets[demand->kind].name, demand->bound);
    line->eval = demand->eval;
    line->metric = str_from_c(budgets[demand->kind].name);
    line->value = value;
    line->bound = demand->bound;
    line->ok = gate_budget(value, demand->bound);
    line->verdict = line->ok ? GATE_PASS : GATE_FAIL;
    line->message = budget_words(work->arena, line, demand->kind);
    return true;
}
