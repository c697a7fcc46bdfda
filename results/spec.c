// SPDX-License-Identifier: MIT
// What an experiment is made of, as one hash, and in words how two of them differ: a resumed
// experiment has to be the same one.
#include "results/store_internal.h"

#include "text/text.h"

#include <stdlib.h>
#include <string.h>

#define DIFF_SHOWN     8
#define DIFF_VALUE_MAX 48 // bytes of one value in a message
#define SUBSET_SHOWN   3

int spec_run_compare(const RunSpec *a, const RunSpec *b)
{
    int order = str_cmp(a->eval, b->eval);
    order = order != 0 ? order : str_cmp(a->part, b->part);
    order = order != 0 ? order : str_cmp(a->variant, b->variant);
    return order != 0 ? order : str_cmp(a->model, b->model);
}

static int compare_run_pointers(const void *a, const void *b)
{
    return spec_run_compare(*(const RunSpec *const *)a, *(const RunSpec *const *)b);
}

Hash spec_hash(const ExperimentSpec *spec)
{
    const RunSpec **runs = mem_alloc(spec->n_runs + 1, sizeof(*runs));
    for (size_t i = 0; i < spec->n_runs; i++) {
        runs[i] = &spec->runs[i];
    }
    qsort(runs, spec->n_runs, sizeof(*runs), compare_run_pointers);
    Sha256 sha;
    hash_begin(&sha, STR("muster.spec.1"));
    hash_value(&sha, &spec->spec);
    hash_i64(&sha, (int64_t)spec->n_runs);
    for (size_t i = 0; i < spec->n_runs; i++) {
        const RunSpec *run = runs[i];
        hash_str(&sha, run->eval);
        hash_i64(&sha, run->eval_version);
        hash_str(&sha, run->part);
        hash_str(&sha, run->variant);
        hash_str(&sha, run->model);
        hash_i64(&sha, run->n_planned);
        hash_i64(&sha, run->epochs);
        hash_hash(&sha, &run->eval_hash);
        hash_hash(&sha, &run->program_hash);
        hash_hash(&sha, &run->data_hash);
        hash_hash(&sha, &run->model_hash);
        hash_value(&sha, &run->spec);
    }
    mem_free(runs);
    return hash_end(&sha);
}

// ---- Differences --------------------------------------------------------------------------------

static void add_line(SpecDiff *diff, Str line, bool of_run)
{
    for (size_t i = 0; i < diff->n; i++) {
        if (str_eq(diff->lines[i], line)) {
            diff->n_runs[i] += of_run;
            return;
        }
    }
    if (diff->n == sizeof(diff->lines) / sizeof(diff->lines[0])) {
        diff->n_dropped++;
        return;
    }
    diff->lines[diff->n] = line;
    diff->n_runs[diff->n++] = of_run;
}

/** One line of text for a value, cut where it is long; NULL is a member that is not there. */
static Str value_words(Arena *arena, const Value *value)
{
    if (value == NULL) {
        return STR("absent");
    }
    if (value->kind == VALUE_MAP || value->kind == VALUE_LIST) {
        return str_from_c(value_kind_word(value));
    }
    Buf buf = {0};
    json_write(&buf, value, JSON_SPACED);
    Str text = buf_view(&buf);
    if (text.len > DIFF_VALUE_MAX) {
        Str cut = str_slice(text, 0, DIFF_VALUE_MAX);
        cut.len = utf8_valid_prefix(cut);
        text = str_printf(arena, STR_FMT "...", STR_ARG(cut));
    } else {
        text = str_copy(arena, text);
    }
    buf_finish(&buf);
    return text;
}

static void add_change(SpecDiff *diff, Str name, bool of_run, Str old, Str new)
{
    if (str_eq(old, new)) {
        // Two long texts or lists that are told apart only further on.
        add_line(diff, str_printf(diff->arena, STR_FMT ": changed", STR_ARG(name)), of_run);
        return;
    }
    add_line(diff,
             str_printf(diff->arena, STR_FMT ": " STR_FMT " -> " STR_FMT, STR_ARG(name),
                        STR_ARG(old), STR_ARG(new)),
             of_run);
}

static Str member_name(Arena *arena, Str prefix, Str key)
{
    return prefix.len == 0 ? key
                           : str_printf(arena, STR_FMT "." STR_FMT, STR_ARG(prefix), STR_ARG(key));
}

/** Equal whatever the order of keys. */
static bool same_value(const Value *a, const Value *b)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.value.1"));
    hash_value(&sha, a);
    Hash hash_a = hash_end(&sha);
    hash_begin(&sha, STR("muster.value.1"));
    hash_value(&sha, b);
    Hash hash_b = hash_end(&sha);
    return hash_eq(&hash_a, &hash_b);
}

void spec_diff_values(SpecDiff *diff, Str prefix, bool of_run, const Value *old, const Value *new)
{
    if (old != NULL && new != NULL && same_value(old, new)) {
        return;
    }
    bool maps = old != NULL && new != NULL && old->kind == VALUE_MAP &&new->kind == VALUE_MAP;
    bool lists = old != NULL && new != NULL && old->kind == VALUE_LIST &&new->kind == VALUE_LIST &&
                 old->as.list.n == new->as.list.n;
    if (lists) {
        for (size_t i = 0; i < old->as.list.n; i++) {
            Str name = str_printf(diff->arena, STR_FMT "[%zu]", STR_ARG(prefix), i);
            spec_diff_values(diff, name, of_run, &old->as.list.items[i], &new->as.list.items[i]);
        }
        return;
    }
    if (!maps) {
        add_change(diff, prefix, of_run, value_words(diff->arena, old),
                   value_words(diff->arena, new));
        return;
    }
    for (size_t i = 0; i < old->as.map.n; i++) {
        const ValuePair *pair = &old->as.map.pairs[i];
        spec_diff_values(diff, member_name(diff->arena, prefix, pair->key), of_run, &pair->value,
                         value_get(new, pair->key));
    }
    for (size_t i = 0; i < new->as.map.n; i++) {
        const ValuePair *pair = &new->as.map.pairs[i];
        if (value_get(old, pair->key) == NULL) {
            spec_diff_values(diff, member_name(diff->arena, prefix, pair->key), of_run, NULL,
                             &pair->value);
        }
    }
}

static void diff_i64(SpecDiff *diff, const char *name, int64_t old, int64_t new)
{
    if (old != new) {
        add_change(diff, str_from_c(name), true, str_printf(diff->arena, "%lld", (long long)old),
                   str_printf(diff->arena, "%lld", (long long)new));
    }
}

static void diff_hash(SpecDiff *diff, const char *name, const Hash *old, const Hash *new)
{
    if (!hash_eq(old, new)) {
        char old_hex[HASH_HEX_LEN + 1];
        char new_hex[HASH_HEX_LEN + 1];
        hash_hex(old, old_hex);
        hash_hex(new, new_hex);
        add_change(diff, str_from_c(name), true, str_printf(diff->arena, "%.8s", old_hex),
                   str_printf(diff->arena, "%.8s", new_hex));
    }
}

/** A run's spec without what has a line of its own. */
static Value spec_rest(Arena *arena, const Value *spec)
{
    static const char *const said[] = {"eval",      "version",      "part",      "variant",
                                       "model",     "epochs",       "n_planned", "eval_hash",
                                       "data_hash", "program_hash", "model_hash"};
    if (spec->kind != VALUE_MAP) {
        return *spec;
    }
    MapBuilder rest;
    map_builder_init(&rest, arena);
    for (size_t i = 0; i < spec->as.map.n; i++) {
        const ValuePair *pair = &spec->as.map.pairs[i];
        bool again = false;
        for (size_t s = 0; s < sizeof(said) / sizeof(said[0]); s++) {
            again = again || str_eq_c(pair->key, said[s]);
        }
        if (!again) {
            map_builder_put(&rest, pair->key, pair->value);
        }
    }
    return map_builder_done(&rest);
}

/** What people can act on comes first: a text that changed, a setting; then what only hashes tell.
 */
static void diff_run(SpecDiff *diff, const RunSpec *old, const RunSpec *new)
{
    diff_i64(diff, "eval_version", old->eval_version, new->eval_version);
    diff_i64(diff, "epochs", old->epochs, new->epochs);
    diff_i64(diff, "n_planned", old->n_planned, new->n_planned);
    diff_hash(diff, "model (weights, or address and settings of an endpoint)", &old->model_hash,
              &new->model_hash);
    diff_hash(diff, "data (the dataset's files)", &old->data_hash, &new->data_hash);
    Value old_rest = spec_rest(diff->arena, &old->spec);
    Value new_rest = spec_rest(diff->arena, &new->spec);
    spec_diff_values(diff, STR_EMPTY, true, &old_rest, &new_rest);
    diff_hash(diff, "eval (its file)", &old->eval_hash, &new->eval_hash);
    diff_hash(diff, "program (Lua and templates)", &old->program_hash, &new->program_hash);
}

Str spec_run_words(Arena *arena, const RunSpec *run)
{
    return str_printf(arena, STR_FMT "%s" STR_FMT "%s" STR_FMT " on " STR_FMT, STR_ARG(run->eval),
                      run->part.len > 0 ? "/" : "", STR_ARG(run->part),
                      run->variant.len > 0 ? " " : "", STR_ARG(run->variant), STR_ARG(run->model));
}

void spec_diff_runs(SpecDiff *diff, const RunSpec *old, size_t n_old, const RunSpec *new,
                    size_t n_new)
{
    bool *met = mem_zalloc(n_new + 1, sizeof(*met));
    for (size_t i = 0; i < n_old; i++) {
        size_t j = 0;
        while (j < n_new && spec_run_compare(&old[i], &new[j]) != 0) {
            j++;
        }
        if (j < n_new) {
            met[j] = true;
            diff_run(diff, &old[i], &new[j]);
        } else {
            Str name = spec_run_words(diff->arena, &old[i]);
            add_change(diff, str_printf(diff->arena, "run " STR_FMT, STR_ARG(name)), false,
                       STR("there"), STR("absent"));
        }
    }
    for (size_t j = 0; j < n_new; j++) {
        if (!met[j]) {
            Str name = spec_run_words(diff->arena, &new[j]);
            add_change(diff, str_printf(diff->arena, "run " STR_FMT, STR_ARG(name)), false,
                       STR("absent"), STR("there"));
        }
    }
    mem_free(met);
}

Str spec_diff_text(const SpecDiff *diff)
{
    Buf buf = {0};
    size_t n_shown = diff->n < DIFF_SHOWN ? diff->n : DIFF_SHOWN;
    for (size_t i = 0; i < n_shown; i++) {
        buf_printf(&buf, "%s" STR_FMT, i > 0 ? "; " : "", STR_ARG(diff->lines[i]));
        if (diff->n_runs[i] > 1) {
            buf_printf(&buf, " (%lld runs)", (long long)diff->n_runs[i]);
        }
    }
    size_t n_more = diff->n - n_shown + diff->n_dropped;
    if (n_more > 0) {
        buf_printf(&buf, "; and %zu more", n_more);
    }
    Str text = str_copy(diff->arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

// ---- What is left out ---------------------------------------------------------------------------

static void put_samples(Buf *buf, const Value *samples)
{
    size_t n = samples->kind == VALUE_LIST ? samples->as.list.n : 0;
    buf_printf(buf, "%ssamples", buf->len > 0 ? ", " : "");
    for (size_t i = 0; i < n && i < SUBSET_SHOWN; i++) {
        if (samples->as.list.items[i].kind != VALUE_STR) { // of a foreign store
            continue;
        }
        buf_printf(buf, " " STR_FMT, STR_ARG(samples->as.list.items[i].as.str));
    }
    if (n > SUBSET_SHOWN) {
        buf_printf(buf, " and %zu more", n - SUBSET_SHOWN);
    }
}

Str results_subset_words(Arena *arena, const ExperimentInfo *experiment)
{
    const Value *spec = &experiment->spec;
    long long from = (long long)value_get_int(spec, "limit_from", 0);
    long long to = (long long)value_get_int(spec, "limit_to", 0);
    long long total = (long long)value_get_int(spec, "limit_total", 0);
    const Value *samples = value_get_c(spec, "samples");
    Buf buf = {0};
    if (from > 1 && to > 0) {
        buf_printf(&buf, "limit %lld-%lld", from, to);
    } else if (from > 1) {
        buf_printf(&buf, "limit %lld-", from); // no command writes it, but a store may hold it
    } else if (to > 0) {
        buf_printf(&buf, "limit %lld", to);
    }
    if (total > 0) {
        buf_printf(&buf, "%slimit-total %lld", buf.len > 0 ? ", " : "", total);
    }
    if (samples != NULL) {
        put_samples(&buf, samples);
    }
    if (value_get_c(spec, "sample_ids") != NULL) {
        buf_printf(&buf, "%sthose that failed elsewhere", buf.len > 0 ? ", " : "");
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}
