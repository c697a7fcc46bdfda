// SPDX-License-Identifier: MIT
// Attempts as they were, in canonical order, and the digest over their results.
#include "results/read_internal.h"

#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool scores_read(Results *results, Arena *arena, AttemptInfo *attempt, Err *err)
{
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_ATTEMPT_SCORES);
    bind_i64(row, 1, attempt->id);
    Score *scores = NULL;
    size_t cap = 0;
    for (;;) {
        bool more;
        if (!db_step(&results->db, READ_SQL_ATTEMPT_SCORES, &more, err)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (attempt->n_scores == cap) {
            cap = cap == 0 ? 8 : cap * 2;
            Score *grown = ARENA_ARRAY(arena, Score, cap);
            if (attempt->n_scores > 0) {
                memcpy(grown, scores, attempt->n_scores * sizeof(*scores));
            }
            scores = grown;
        }
        Score *score = &scores[attempt->n_scores++];
        *score = (Score){
            .grader = column_copy(row, 0, arena),
            .state = column_is_null(row, 1) ? SCORE_UNSCORED : SCORE_VALUE,
            .value = column_is_null(row, 1) ? 0 : column_f64(row, 1),
            .reason = column_copy(row, 2, arena),
            .is_boolean = column_i64(row, 3) != 0,
            .weight = column_f64(row, 4),
            .answer = column_copy(row, 5, arena),
            .has_answer = !column_is_null(row, 5),
            .why = column_copy(row, 6, arena),
        };
        if (!column_json(row, 7, arena, &score->detail, err)) {
            sqlite3_reset(row);
            return false;
        }
    }
    attempt->scores = scores;
    return true;
}

/** One call as {path, request, reply}. */
static bool call_from_row(sqlite3_stmt *row, Arena *arena, Value *out, Err *err)
{
    Value request;
    Value reply;
    Value prompt;
    bool is_chat = column_i64(row, 1) != 0;
    if (!column_json(row, 2, arena, &request, err) || !column_json(row, 4, arena, &reply, err)) {
        return false;
    }
    if (!is_chat) {
        prompt = value_str(column_copy(row, 3, arena));
    } else if (!column_json(row, 3, arena, &prompt, err)) {
        return false;
    }
    if (!column_is_null(row, 5) && reply.kind == VALUE_MAP) {
        MapBuilder map;
        map_builder_init(&map, arena);
        for (size_t i = 0; i < reply.as.map.n; i++) {
            const ValuePair *pair = &reply.as.map.pairs[i];
            bool is_text = str_eq(pair->key, STR("text"));
            map_builder_put(&map, pair->key,
                            is_text ? value_str(column_copy(row, 5, arena)) : pair->value);
        }
        reply = map_builder_done(&map);
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("path"), value_str(column_copy(row, 0, arena)));
    map_builder_put(&map, STR("request"), request_join(arena, &request, &prompt));
    map_builder_put(&map, STR("reply"), reply);
    *out = map_builder_done(&map);
    return true;
}

/** How many bytes at the start of s are digits. */
static size_t digits_at(Str s)
{
    size_t n = 0;
    while (n < s.len && s.data[n] >= '0' && s.data[n] <= '9') {
        n++;
    }
    return n;
}

/** By the numbers of their paths, 2 before 10: the order in which a solver asked. */
static int compare_calls(const void *a, const void *b)
{
    Str x = value_get_str(a, "path", STR_EMPTY);
    Str y = value_get_str(b, "path", STR_EMPTY);
    while (x.len > 0 && y.len > 0) {
        size_t n_x = digits_at(x);
        size_t n_y = digits_at(y);
        if (n_x != n_y) { // two numbers: the shorter is less; else a number before a letter
            bool numbers = n_x > 0 && n_y > 0;
            return (n_x < n_y) == numbers ? -1 : 1;
        }
        size_t n = n_x > 0 ? n_x : 1;
        int order = memcmp(x.data, y.data, n);
        if (order != 0) {
            return order;
        }
        x = str_slice(x, n, x.len);
        y = str_slice(y, n, y.len);
    }
    return (x.len > 0) - (y.len > 0);
}

static bool calls_read(Results *results, Arena *arena, AttemptInfo *attempt, Err *err)
{
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_ATTEMPT_CALLS);
    bind_i64(row, 1, attempt->id);
    Value *calls = NULL;
    size_t n = 0;
    size_t cap = 0;
    for (;;) {
        bool more;
        if (!db_step(&results->db, READ_SQL_ATTEMPT_CALLS, &more, err)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (n == cap) {
            cap = cap == 0 ? 8 : cap * 2;
            Value *grown = ARENA_ARRAY(arena, Value, cap);
            if (n > 0) {
                memcpy(grown, calls, n * sizeof(*calls));
            }
            calls = grown;
        }
        if (!call_from_row(row, arena, &calls[n++], err)) {
            sqlite3_reset(row);
            return false;
        }
    }
    if (n > 1) {
        qsort(calls, n, sizeof(*calls), compare_calls);
    }
    attempt->calls = value_list(calls, n);
    return true;
}

/** The two stored lists as one: {text, logprob, unconditional, tokens, greedy} a choice. */
static bool choices_from_row(sqlite3_stmt *row, Arena *arena, Value *out, Err *err)
{
    Value logprobs;
    Value infos;
    *out = value_null();
    if (column_is_null(row, 12)) {
        return true;
    }
    if (!column_json(row, 12, arena, &logprobs, err) || !column_json(row, 13, arena, &infos, err)) {
        return false;
    }
    if (logprobs.kind != VALUE_LIST || infos.kind != VALUE_LIST ||
        logprobs.as.list.n != infos.as.list.n) {
        return ERR_SET(err, ERR_STORE, "the choices of an attempt are damaged");
    }
    Value *choices = ARENA_ARRAY(arena, Value, infos.as.list.n);
    for (size_t i = 0; i < infos.as.list.n; i++) {
        const Value *info = &infos.as.list.items[i];
        const Value *text = value_get_c(info, "text");
        MapBuilder map;
        map_builder_init(&map, arena);
        if (text != NULL) {
            map_builder_put(&map, STR("text"), *text);
        }
        map_builder_put(&map, STR("logprob"), logprobs.as.list.items[i]);
        for (size_t j = 0; info->kind == VALUE_MAP && j < info->as.map.n; j++) {
            if (!str_eq(info->as.map.pairs[j].key, STR("text"))) {
                map_builder_put(&map, info->as.map.pairs[j].key, info->as.map.pairs[j].value);
            }
        }
        choices[i] = map_builder_done(&map);
    }
    *out = value_list(choices, infos.as.list.n);
    return true;
}

/** An attempt without its scores and calls. */
static bool attempt_from_row(Arena *arena, sqlite3_stmt *row, const RunInfo *run, AttemptInfo *out,
                             Err *err)
{
    *out = (AttemptInfo){
        .id = column_i64(row, 0),
        .run_id = run->id,
        .eval = run->eval,
        .part = run->part,
        .variant = run->variant,
        .model = run->model,
        .sample_id = column_copy(row, 1, arena),
        .epoch = column_i64(row, 2),
        .state = column_copy(row, 3, arena),
        .error_code = column_copy(row, 4, arena),
        .error = column_copy(row, 5, arena),
        .input = column_copy(row, 6, arena),
        .target = column_copy(row, 7, arena),
        .metadata = column_copy(row, 8, arena),
        .prompt = column_copy(row, 9, arena),
        .reply_text = column_copy(row, 10, arena),
        .stop = column_copy(row, 11, arena),
        .usage = {.input = column_i64(row, 14),
                  .output = column_i64(row, 15),
                  .cached = column_i64(row, 16),
                  .reasoning = column_i64(row, 17)},
        .seconds = column_f64(row, 18),
        .cost_usd = column_f64(row, 19),
        .notes = column_copy(row, 20, arena),
        .sample_hash = column_hash(row, 21),
    };
    return choices_from_row(row, arena, &out->choices, err);
}

bool attempt_is_failed(const AttemptInfo *attempt)
{
    if (!str_eq(attempt->state, STR("done"))) {
        return true;
    }
    return attempt->n_scores > 0 &&
           (attempt->scores[0].state != SCORE_VALUE || attempt->scores[0].value < 1);
}

/** A visit under way. */
typedef struct Visit {
    const AttemptFilter *filter;
    AttemptVisit *visit;
    void *ctx;
    int64_t n_visited;
    bool stopped;
} Visit;

static bool visit_run(Results *results, const RunInfo *run, Visit *visit, Err *err)
{
    const AttemptFilter *filter = visit->filter;
    int index = filter->sample_id.len > 0 ? READ_SQL_ATTEMPTS_OF_SAMPLE : READ_SQL_ATTEMPTS;
    sqlite3_stmt *row = db_statement(&results->db, index);
    bind_i64(row, 1, run->id);
    if (filter->sample_id.len > 0) {
        bind_str(row, 2, filter->sample_id);
    }
    Arena arena = {0};
    bool ok = true;
    while (ok && !visit->stopped) {
        bool more;
        arena_reset(&arena);
        ok = db_step(&results->db, index, &more, err);
        if (!ok || !more) {
            break;
        }
        AttemptInfo attempt;
        ok = attempt_from_row(&arena, row, run, &attempt, err);
        if (ok && filter->wanted != NULL && !filter->wanted(visit->ctx, &attempt)) {
            continue;
        }
        ok = ok && scores_read(results, &arena, &attempt, err) &&
             (!filter->with_calls || calls_read(results, &arena, &attempt, err));
        if (ok && (!filter->failed_only || attempt_is_failed(&attempt))) {
            visit->n_visited++;
            visit->stopped = !visit->visit(visit->ctx, &attempt) ||
                             (filter->limit > 0 && visit->n_visited >= filter->limit);
        }
    }
    sqlite3_reset(row);
    arena_finish(&arena);
    return ok;
}

bool results_run_attempts(Results *results, const RunInfo *run, const AttemptFilter *filter,
                          AttemptVisit *visit, void *ctx, Err *err)
{
    Visit state = {.filter = filter, .visit = visit, .ctx = ctx};
    return visit_run(results, run, &state, err);
}

static bool filter_takes(Str wanted, Str got)
{
    return wanted.len == 0 || str_eq(wanted, got);
}

bool results_attempts(Results *results, int64_t experiment_id, const AttemptFilter *filter,
                      AttemptVisit *visit, void *ctx, Err *err)
{
    Arena arena = {0};
    RunRead *runs;
    size_t n;
    Visit state = {.filter = filter, .visit = visit, .ctx = ctx};
    bool ok = runs_read_sorted(results, &arena, experiment_id, &runs, &n, err);
    for (size_t i = 0; ok && i < n && !state.stopped; i++) {
        const RunInfo *run = &runs[i].info;
        if (filter_takes(filter->eval, run->eval) && filter_takes(filter->part, run->part) &&
            filter_takes(filter->variant, run->variant) &&
            filter_takes(filter->model, run->model)) {
            ok = visit_run(results, run, &state, err);
        }
    }
    arena_finish(&arena);
    return ok;
}

// ---- Digest -------------------------------------------------------------------------------------

static void hash_column(Sha256 *sha, sqlite3_stmt *row, int at)
{
    Value null = value_null();
    switch (sqlite3_column_type(row, at)) {
    case SQLITE_INTEGER:
        hash_i64(sha, column_i64(row, at));
        break;
    case SQLITE_FLOAT:
        hash_f64(sha, column_f64(row, at));
        break;
    case SQLITE_NULL:
        hash_value(sha, &null);
        break;
    default:
        hash_str(sha, column_str(row, at));
        break;
    }
}

static bool digest_run(Results *results, Sha256 *sha, const RunInfo *run, Err *err)
{
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_RUN_RESULT);
    bind_i64(row, 1, run->id);
    for (;;) {
        bool more;
        if (!db_step(&results->db, READ_SQL_RUN_RESULT, &more, err)) {
            return false;
        }
        if (!more) {
            return true;
        }
        hash_str(sha, run->eval);
        hash_str(sha, run->part);
        hash_str(sha, run->variant);
        hash_str(sha, run->model);
        for (int i = 0; i < sqlite3_column_count(row); i++) {
            hash_column(sha, row, i);
        }
    }
}

bool results_digest(Results *results, int64_t experiment_id, Hash *out, Err *err)
{
    Arena arena = {0};
    RunRead *runs;
    size_t n;
    Sha256 sha;
    hash_begin(&sha, STR("muster.result.1"));
    bool ok = runs_read_sorted(results, &arena, experiment_id, &runs, &n, err);
    for (size_t i = 0; ok && i < n; i++) {
        ok = digest_run(results, &sha, &runs[i].info, err);
    }
    arena_finish(&arena);
    if (ok) {
        *out = hash_end(&sha);
    }
    return ok;
}
