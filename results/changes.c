// SPDX-License-Identifier: MIT
// What changed between two sides: told from hashes, and shown as text where the texts are known
// (RunSpec.spec's sources). Whatever is equal is not listed.
#include "results/read_internal.h"

#include "results/compare.h"
#include "results/eval_text.h"
#include "results/text_diff.h"
#include "text/text.h"

#include <string.h>

#define VALUE_MAX 100 // bytes of a setting that are shown

/** In the order in which changes are listed. */
static const char *const KINDS[] = {"model",        "roles",   "prompt",  "solver", "graders",
                                    "metrics",      "dataset", "samples", "eval",   "settings",
                                    "eval-version", "program", "git"};

typedef struct ChangeList {
    Arena *arena;
    Change *items;
    size_t n;
    size_t cap;
} ChangeList;

static void change_put(ChangeList *list, const Change *change)
{
    for (size_t i = 0; i < list->n; i++) {
        const Change *other = &list->items[i];
        if (strcmp(other->what, change->what) == 0 && str_eq(other->eval, change->eval) &&
            str_eq(other->from, change->from) && str_eq(other->to, change->to) &&
            str_eq(other->detail, change->detail)) {
            return; // another variant, or part, of the same eval
        }
    }
    if (list->n == list->cap) {
        list->cap = list->cap == 0 ? 16 : list->cap * 2;
        Change *grown = ARENA_ARRAY(list->arena, Change, list->cap);
        for (size_t i = 0; i < list->n; i++) {
            grown[i] = list->items[i];
        }
        list->items = grown;
    }
    list->items[list->n++] = *change;
}

static Str short_hash(Arena *arena, const Hash *hash)
{
    char hex[HASH_HEX_LEN + 1];
    hash_hex(hash, hex);
    return str_copy(arena, str_slice(str_from_c(hex), 0, 8));
}

static Str short_text_hash(Arena *arena, Str text)
{
    Hash hash = sha256_of(text);
    return short_hash(arena, &hash);
}

static Str diff_text(Arena *arena, Str from, Str to)
{
    Buf buf = {0};
    text_diff(&buf, from, to);
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

// ---- Two runs -----------------------------------------------------------------------------------

/** Two paired runs while they are compared. */
typedef struct RunPair {
    ChangeList *list;
    Str eval;
    Str variants[2];
    const RunInfo *runs[2];
    Sources sources[2];
    bool any; // something of the eval changed
} RunPair;

static void pair_put(RunPair *pair, const char *what, Str from, Str to, Str detail)
{
    pair->any = true;
    change_put(
        pair->list,
        &(Change){.what = what, .eval = pair->eval, .from = from, .to = to, .detail = detail});
}

static bool both_known(const RunPair *pair)
{
    return pair->sources[0].eval != NULL && pair->sources[1].eval != NULL;
}

/** A hash of the run's spec, as grader_hash is one. */
static bool spec_hash_of(const RunInfo *run, const char *key, Hash *out)
{
    return hash_from_hex(value_get_str(&run->spec.spec, key, STR_EMPTY), out);
}

static void change_model(RunPair *pair)
{
    const RunSpec *specs[2] = {&pair->runs[0]->spec, &pair->runs[1]->spec};
    if (hash_eq(&specs[0]->model_hash, &specs[1]->model_hash)) {
        return;
    }
    Arena *arena = pair->list->arena;
    Str names[2];
    bool same = str_eq(specs[0]->model, specs[1]->model);
    for (size_t s = 0; s < 2; s++) {
        Str digits = short_hash(arena, &specs[s]->model_hash);
        names[s] = same ? str_printf(arena, STR_FMT " (" STR_FMT ")", STR_ARG(specs[s]->model),
                                     STR_ARG(digits))
                        : specs[s]->model;
    }
    pair_put(pair, "model", names[0], names[1], STR_EMPTY);
}

static Str role_words(Arena *arena, Str role, const Value *roles)
{
    const Value *one = roles == NULL ? NULL : value_get(roles, role);
    Str hash = str_slice(value_get_str(one, "hash", STR_EMPTY), 0, 8);
    return one == NULL ? str_printf(arena, STR_FMT ": nobody", STR_ARG(role))
                       : str_printf(arena, STR_FMT ": " STR_FMT " (" STR_FMT ")", STR_ARG(role),
                                    STR_ARG(value_get_str(one, "model", STR_EMPTY)), STR_ARG(hash));
}

/** Who plays the roles: judges, mostly. */
static void change_roles(RunPair *pair)
{
    const Value *roles[2];
    for (size_t s = 0; s < 2; s++) {
        roles[s] = value_get_c(&pair->runs[s]->spec.spec, "roles");
    }
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; roles[s] != NULL && i < roles[s]->as.map.n; i++) {
            Str role = roles[s]->as.map.pairs[i].key;
            if (s == 1 && roles[0] != NULL && value_get(roles[0], role) != NULL) {
                continue;
            }
            Str from = role_words(pair->list->arena, role, roles[0]);
            Str to = role_words(pair->list->arena, role, roles[1]);
            if (!str_eq(from, to)) {
                pair_put(pair, "roles", from, to, STR_EMPTY);
            }
        }
    }
}

static void aspect_texts(const RunPair *pair, EvalAspect aspect, Str out[2])
{
    for (size_t s = 0; s < 2; s++) {
        out[s] = eval_text(pair->list->arena, &pair->sources[s], pair->variants[s], aspect);
    }
}

/** Variants are told by their names, texts of one name by their hashes. */
static void put_texts(RunPair *pair, const char *what, Str from, Str to)
{
    if (str_eq(from, to)) {
        return;
    }
    Arena *arena = pair->list->arena;
    Str detail = diff_text(arena, from, to);
    if (!str_eq(pair->variants[0], pair->variants[1])) {
        Str unnamed = STR("(unnamed)");
        pair_put(pair, what, pair->variants[0].len > 0 ? pair->variants[0] : unnamed,
                 pair->variants[1].len > 0 ? pair->variants[1] : unnamed, detail);
    } else {
        pair_put(pair, what, short_text_hash(arena, from), short_text_hash(arena, to), detail);
    }
}

static void change_graders(RunPair *pair)
{
    Arena *arena = pair->list->arena;
    Hash hashes[2] = {{{0}}, {{0}}};
    bool known = spec_hash_of(pair->runs[0], "grader_hash", &hashes[0]) &&
                 spec_hash_of(pair->runs[1], "grader_hash", &hashes[1]);
    Str detail = STR_EMPTY;
    if (both_known(pair)) {
        Str texts[2];
        aspect_texts(pair, ASPECT_GRADERS, texts);
        detail = diff_text(arena, texts[0], texts[1]);
        if (!known && detail.len > 0) {
            hashes[0] = sha256_of(texts[0]);
            hashes[1] = sha256_of(texts[1]);
        }
    }
    if (!hash_eq(&hashes[0], &hashes[1])) {
        pair_put(pair, "graders", short_hash(arena, &hashes[0]), short_hash(arena, &hashes[1]),
                 detail);
    }
}

/** The Lua of a run's own metrics, one after the other. */
static Str metrics_lua(Arena *arena, const RunInfo *run)
{
    const Value *metrics = &run->spec.metrics;
    Str text = STR_EMPTY;
    for (size_t i = 0; metrics->kind == VALUE_LIST && i < metrics->as.list.n; i++) {
        const Value *one = &metrics->as.list.items[i];
        Str lua = value_get_str(one, "lua", STR_EMPTY);
        if (lua.len > 0) {
            text = str_printf(arena, STR_FMT "-- metric " STR_FMT "\n" STR_FMT, STR_ARG(text),
                              STR_ARG(value_get_str(one, "use", STR_EMPTY)), STR_ARG(lua));
        }
    }
    return text;
}

static void change_metrics(RunPair *pair)
{
    Arena *arena = pair->list->arena;
    Str from = metrics_lua(arena, pair->runs[0]);
    Str to = metrics_lua(arena, pair->runs[1]);
    if (!str_eq(from, to)) {
        pair_put(pair, "metrics", short_text_hash(arena, from), short_text_hash(arena, to),
                 diff_text(arena, from, to));
    }
}

static void change_texts(RunPair *pair)
{
    Arena *arena = pair->list->arena;
    const RunSpec *specs[2] = {&pair->runs[0]->spec, &pair->runs[1]->spec};
    bool same_eval = hash_eq(&specs[0]->eval_hash, &specs[1]->eval_hash);
    if (!both_known(pair)) {
        bool variants = !str_eq(pair->variants[0], pair->variants[1]);
        if (!same_eval) {
            pair_put(pair, "eval", short_hash(arena, &specs[0]->eval_hash),
                     short_hash(arena, &specs[1]->eval_hash), STR_EMPTY);
        } else if (variants) {
            pair_put(pair, "prompt", pair->variants[0], pair->variants[1], STR_EMPTY);
        }
        return;
    }
    Str texts[2];
    aspect_texts(pair, ASPECT_PROMPT, texts);
    put_texts(pair, "prompt", texts[0], texts[1]);
    aspect_texts(pair, ASPECT_SOLVER, texts);
    put_texts(pair, "solver", texts[0], texts[1]);
    aspect_texts(pair, ASPECT_OTHER, texts);
    if (!str_eq(texts[0], texts[1])) {
        pair_put(pair, "eval", short_hash(arena, &specs[0]->eval_hash),
                 short_hash(arena, &specs[1]->eval_hash), diff_text(arena, texts[0], texts[1]));
    }
}

static void change_numbers(RunPair *pair)
{
    Arena *arena = pair->list->arena;
    const RunSpec *specs[2] = {&pair->runs[0]->spec, &pair->runs[1]->spec};
    if (specs[0]->epochs != specs[1]->epochs) {
        pair_put(pair, "settings", str_printf(arena, "epochs %lld", (long long)specs[0]->epochs),
                 str_printf(arena, "epochs %lld", (long long)specs[1]->epochs), STR_EMPTY);
    }
    if (specs[0]->eval_version != specs[1]->eval_version) {
        pair_put(pair, "eval-version", str_printf(arena, "%lld", (long long)specs[0]->eval_version),
                 str_printf(arena, "%lld", (long long)specs[1]->eval_version), STR_EMPTY);
    }
}

// ---- Datasets -----------------------------------------------------------------------------------

/** Samples of two runs by id and hash. */
typedef struct SampleCounts {
    int64_t n[2];
    int64_t n_changed;
    int64_t n_alone[2];
} SampleCounts;

typedef struct SampleMark {
    Str id;
    Hash hash;
} SampleMark;

typedef struct SampleMarks {
    SampleMark *items;
    size_t n;
    size_t cap;
} SampleMarks;

/** The samples of a run that have any attempt, by id. */
static bool marks_read(Results *results, Arena *arena, int64_t run_id, SampleMarks *out, Err *err)
{
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_SAMPLE_HASHES);
    bind_i64(row, 1, run_id);
    for (;;) {
        bool more;
        if (!db_step(&results->db, READ_SQL_SAMPLE_HASHES, &more, err)) {
            return false;
        }
        if (!more) {
            return true;
        }
        if (out->n > 0 && str_eq(out->items[out->n - 1].id, column_str(row, 0))) {
            continue; // another epoch
        }
        if (out->n == out->cap) {
            out->cap = out->cap == 0 ? 256 : out->cap * 2;
            out->items = mem_realloc(out->items, out->cap, sizeof(*out->items));
        }
        out->items[out->n++] =
            (SampleMark){.id = column_copy(row, 0, arena), .hash = column_hash(row, 1)};
    }
}

static void marks_count(const SampleMarks *base, const SampleMarks *candidate, SampleCounts *counts)
{
    size_t i = 0;
    size_t j = 0;
    while (i < base->n || j < candidate->n) {
        int order = i == base->n        ? 1
                    : j == candidate->n ? -1
                                        : str_cmp(base->items[i].id, candidate->items[j].id);
        if (order == 0) {
            counts->n_changed += !hash_eq(&base->items[i].hash, &candidate->items[j].hash);
        }
        counts->n_alone[0] += order < 0;
        counts->n_alone[1] += order > 0;
        i += order <= 0;
        j += order >= 0;
    }
    counts->n[0] += (int64_t)base->n;
    counts->n[1] += (int64_t)candidate->n;
}

static bool count_samples(Results *results, const RunInfo *base, const RunInfo *candidate,
                          SampleCounts *counts, Err *err)
{
    Arena scratch = {0};
    SampleMarks marks[2] = {{0}, {0}};
    bool ok = marks_read(results, &scratch, base->id, &marks[0], err) &&
              marks_read(results, &scratch, candidate->id, &marks[1], err);
    if (ok) {
        marks_count(&marks[0], &marks[1], counts);
    }
    mem_free(marks[0].items);
    mem_free(marks[1].items);
    arena_finish(&scratch);
    return ok;
}

/** "102 (3 changed, 2 new, 1 gone)". */
static Str samples_words(Arena *arena, const SampleCounts *counts)
{
    const struct {
        int64_t n;
        const char *word;
    } parts[] = {
        {counts->n_changed, "changed"}, {counts->n_alone[1], "new"}, {counts->n_alone[0], "gone"}};
    Str words = STR_EMPTY;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].n > 0) {
            words = str_printf(arena, STR_FMT "%s%lld %s", STR_ARG(words),
                               words.len > 0 ? ", " : "", (long long)parts[i].n, parts[i].word);
        }
    }
    return str_printf(arena, "%lld (" STR_FMT ")", (long long)counts->n[1], STR_ARG(words));
}

static const Value *few_shot_of(const RunPair *pair, size_t s)
{
    return eval_member(&pair->sources[s], pair->variants[s], STR("few_shot"));
}

/** Whether both variants take their shots in the same way. */
static bool same_shots(const RunPair *pair)
{
    const Value *from = few_shot_of(pair, 0);
    const Value *to = few_shot_of(pair, 1);
    return from == NULL || to == NULL ? from == to : value_equal(from, to);
}

/** data_hash is of the rows' files and of the shots: what changed shows in samples or few_shot. */
static bool change_dataset(Results *results, RunPair *pair, const Pairing *pairing, Err *err)
{
    Arena *arena = pair->list->arena;
    SampleCounts counts = {0};
    const RunSpec *differ[2] = {NULL, NULL};
    for (size_t p = 0; p < pairing->n_parts; p++) {
        const RunInfo *base = pairing->base[p];
        const RunInfo *candidate = pairing->candidate[p];
        if (base == NULL || candidate == NULL ||
            hash_eq(&base->spec.data_hash, &candidate->spec.data_hash)) {
            continue;
        }
        if (differ[0] == NULL) {
            differ[0] = &base->spec;
            differ[1] = &candidate->spec;
        }
        if (!count_samples(results, base, candidate, &counts, err)) {
            return false;
        }
    }
    if (differ[0] == NULL) {
        return true;
    }
    bool same = counts.n_changed + counts.n_alone[0] + counts.n_alone[1] == 0;
    bool known = both_known(pair);
    if (same && known && !same_shots(pair)) {
        return true; // the prompt says so
    }
    Str detail = STR_EMPTY;
    if (known) {
        Str texts[2];
        aspect_texts(pair, ASPECT_DATASET, texts);
        detail = diff_text(arena, texts[0], texts[1]);
    }
    pair_put(pair, "dataset", short_hash(arena, &differ[0]->data_hash),
             short_hash(arena, &differ[1]->data_hash), detail);
    if (!same) {
        pair_put(pair, "samples", str_printf(arena, "%lld", (long long)counts.n[0]),
                 samples_words(arena, &counts), STR_EMPTY);
    }
    return true;
}

// ---- Settings and provenance --------------------------------------------------------------------

static Str value_words(Arena *arena, const Value *value)
{
    if (value == NULL) {
        return STR("none");
    }
    if (value->kind == VALUE_STR) {
        return value->as.str;
    }
    Buf buf = {0};
    json_write(&buf, value, JSON_SPACED);
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    if (text.len > VALUE_MAX) { // the ids of many samples
        Str cut = str_slice(text, 0, VALUE_MAX - 20);
        cut.len = utf8_valid_prefix(cut);
        Str hash = short_text_hash(arena, text);
        return str_printf(arena, STR_FMT "... (" STR_FMT ")", STR_ARG(cut), STR_ARG(hash));
    }
    return text;
}

static void change_setting(ChangeList *list, Str key, const Value *from, const Value *to)
{
    bool same = from == NULL || to == NULL ? from == to : value_equal(from, to);
    if (same || str_eq_c(key, "epochs")) { // what holds for each run is told of it
        return;
    }
    Arena *arena = list->arena;
    Str from_words = value_words(arena, from);
    Str to_words = value_words(arena, to);
    change_put(
        list,
        &(Change){.what = "settings",
                  .eval = STR_EMPTY,
                  .from = str_printf(arena, STR_FMT " " STR_FMT, STR_ARG(key), STR_ARG(from_words)),
                  .to = str_printf(arena, STR_FMT " " STR_FMT, STR_ARG(key), STR_ARG(to_words)),
                  .detail = STR_EMPTY});
}

static void change_settings(ChangeList *list, const Value *from, const Value *to)
{
    for (size_t i = 0; from->kind == VALUE_MAP && i < from->as.map.n; i++) {
        const ValuePair *pair = &from->as.map.pairs[i];
        change_setting(list, pair->key, &pair->value, value_get(to, pair->key));
    }
    for (size_t i = 0; to->kind == VALUE_MAP && i < to->as.map.n; i++) {
        const ValuePair *pair = &to->as.map.pairs[i];
        if (value_get(from, pair->key) == NULL) {
            change_setting(list, pair->key, NULL, &pair->value);
        }
    }
}

/** Where it ran from: for information. */
static void change_provenance(ChangeList *list, const Value *from, const Value *to)
{
    static const struct {
        const char *what;
        const char *key;
        size_t digits; // 0: all
    } members[] = {{"program", "program", 0}, {"git", "git_commit", 8}};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        Str words[2] = {value_get_str(from, members[i].key, STR_EMPTY),
                        value_get_str(to, members[i].key, STR_EMPTY)};
        if (words[0].len == 0 || words[1].len == 0 || str_eq(words[0], words[1])) {
            continue;
        }
        for (size_t s = 0; s < 2 && members[i].digits > 0; s++) {
            words[s] = str_slice(words[s], 0, members[i].digits);
        }
        change_put(list, &(Change){.what = members[i].what,
                                   .eval = STR_EMPTY,
                                   .from = words[0],
                                   .to = words[1],
                                   .detail = STR_EMPTY});
    }
}

// ---- All of it ----------------------------------------------------------------------------------

/** The sources of an eval, which one of its runs has, selected or not. */
static bool sources_find(Results *results, Arena *arena, const Side *side, Str eval, Sources *out,
                         Err *err)
{
    *out = (Sources){0};
    for (size_t i = 0; i < side->n_runs && out->eval == NULL; i++) {
        if (str_eq(side->runs[i].eval, eval)) {
            *out = eval_sources(&side->runs[i].spec.spec);
        }
    }
    if (out->eval != NULL) {
        return true;
    }
    RunRead *runs;
    size_t n;
    if (!runs_read_sorted(results, arena, side->experiment.id, &runs, &n, err)) {
        return false;
    }
    for (size_t i = 0; i < n && out->eval == NULL; i++) {
        if (str_eq(runs[i].info.eval, eval)) {
            *out = eval_sources(&runs[i].info.spec.spec);
        }
    }
    return true;
}

static bool pairing_changes(Results *results, ChangeList *list, const Side *base,
                            const Side *candidate, const Pairing *pairing, Err *err)
{
    RunPair pair = {
        .list = list,
        .eval = pairing->eval,
        .variants = {pairing->base_variant, pairing->candidate_variant},
    };
    for (size_t p = 0; p < pairing->n_parts && pair.runs[0] == NULL; p++) {
        if (pairing->base[p] != NULL && pairing->candidate[p] != NULL) {
            pair.runs[0] = pairing->base[p];
            pair.runs[1] = pairing->candidate[p];
        }
    }
    if (pair.runs[0] == NULL) {
        return true;
    }
    const Side *sides[2] = {base, candidate};
    for (size_t s = 0; s < 2; s++) {
        if (!sources_find(results, list->arena, sides[s], pairing->eval, &pair.sources[s], err)) {
            return false;
        }
    }
    change_model(&pair);
    change_roles(&pair);
    change_texts(&pair);
    change_graders(&pair);
    change_metrics(&pair);
    change_numbers(&pair);
    if (!change_dataset(results, &pair, pairing, err)) {
        return false;
    }
    const RunSpec *specs[2] = {&pair.runs[0]->spec, &pair.runs[1]->spec};
    if (!pair.any && !hash_eq(&specs[0]->program_hash, &specs[1]->program_hash)) {
        // Lua that all evals share; nothing else tells of it.
        pair_put(&pair, "program", short_hash(list->arena, &specs[0]->program_hash),
                 short_hash(list->arena, &specs[1]->program_hash), STR_EMPTY);
    }
    return true;
}

static size_t kind_of(const Change *change)
{
    size_t kind = 0;
    while (strcmp(KINDS[kind], change->what) != 0) {
        kind++;
    }
    return kind;
}

static size_t count_evals(const Pairing *pairings, size_t n)
{
    size_t n_evals = 0;
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) {
            seen = str_eq(pairings[j].eval, pairings[i].eval);
        }
        n_evals += !seen;
    }
    return n_evals;
}

static bool same_change(const Change *a, const Change *b)
{
    return strcmp(a->what, b->what) == 0 && str_eq(a->from, b->from) && str_eq(a->to, b->to) &&
           str_eq(a->detail, b->detail);
}

/** A change that all evals share is one of the whole experiment. */
static void changes_join(ChangeList *list, size_t n_evals)
{
    for (size_t i = 0; i < list->n && n_evals > 1; i++) {
        size_t n_same = 0;
        for (size_t j = 0; j < list->n; j++) {
            n_same += list->items[j].eval.len > 0 && same_change(&list->items[i], &list->items[j]);
        }
        if (n_same < n_evals) {
            continue;
        }
        size_t kept = i + 1;
        list->items[i].eval = STR_EMPTY;
        for (size_t j = i + 1; j < list->n; j++) {
            if (!same_change(&list->items[i], &list->items[j])) {
                list->items[kept++] = list->items[j];
            }
        }
        list->n = kept;
    }
}

bool compare_changes(Results *results, Arena *arena, const Side *base, const Side *candidate,
                     const Pairing *pairings, size_t n, Change **out, size_t *out_n, Err *err)
{
    ChangeList list = {.arena = arena};
    for (size_t i = 0; i < n; i++) {
        if (!pairing_changes(results, &list, base, candidate, &pairings[i], err)) {
            return false;
        }
    }
    changes_join(&list, count_evals(pairings, n));
    change_settings(&list, &base->experiment.spec, &candidate->experiment.spec);
    change_provenance(&list, &base->experiment.provenance, &candidate->experiment.provenance);
    for (size_t i = 1; i < list.n; i++) { // few, and in order among equals
        Change change = list.items[i];
        size_t at = i;
        while (at > 0 && kind_of(&list.items[at - 1]) > kind_of(&change)) {
            list.items[at] = list.items[at - 1];
            at--;
        }
        list.items[at] = change;
    }
    *out = list.items;
    *out_n = list.n;
    return true;
}
