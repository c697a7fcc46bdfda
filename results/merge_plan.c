// SPDX-License-Identifier: MIT
// Which experiments of the stores belong together. Pure: decided before anything is written.
#include "results/merge_plan.h"

#include "text/text.h"

#include <string.h>

static bool same_experiment(const MergeExperiment *a, const MergeExperiment *b)
{
    return str_eq(a->short_id, b->short_id) && a->started_ms == b->started_ms;
}

static bool claims(const MergeExperiment *experiment, int64_t k)
{
    for (size_t i = 0; i < experiment->n_have; i++) {
        if (experiment->have[i] == k) {
            return true;
        }
    }
    return false;
}

static bool share_a_shard(const MergeExperiment *a, const MergeExperiment *b)
{
    for (size_t i = 0; i < a->n_have; i++) {
        if (claims(b, a->have[i])) {
            return true;
        }
    }
    return false;
}

static bool same_class(const MergeExperiment *a, const MergeExperiment *b)
{
    return a->n_shards > 0 && a->n_shards == b->n_shards && hash_eq(&a->base_hash, &b->base_hash);
}

/** Mark the shards whose class has one of them twice: names tell such runs apart. */
static void mark_ambiguous(const MergeExperiment *const *sources, size_t n, bool *ambiguous)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (same_class(sources[i], sources[j]) && !same_experiment(sources[i], sources[j]) &&
                share_a_shard(sources[i], sources[j])) {
                ambiguous[i] = ambiguous[j] = true;
            }
        }
    }
    for (size_t i = 0; i < n; i++) { // and so is all of the class
        for (size_t j = 0; j < n && !ambiguous[i]; j++) {
            ambiguous[i] = ambiguous[j] && same_class(sources[i], sources[j]);
        }
    }
}

static bool belong_together(const MergeExperiment *a, const MergeExperiment *b, bool by_name)
{
    if (a->n_shards == 0 || b->n_shards == 0) {
        return a->n_shards == b->n_shards && same_experiment(a, b);
    }
    return same_class(a, b) && (!by_name || str_eq(a->base_name, b->base_name));
}

/** Shards first by what they have, so that the first one gives name, tags and provenance. */
static void group_add(MergeGroup *group, const MergeExperiment *source)
{
    size_t at = group->n++;
    while (at > 0 && source->n_have > 0 && source->have[0] < group->sources[at - 1]->have[0]) {
        group->sources[at] = group->sources[at - 1];
        at--;
    }
    group->sources[at] = source;
}

bool merge_spec_refuse(const MergeExperiment *a, const MergeExperiment *b, const char *what,
                       Err *err)
{
    Arena arena = {0};
    ExperimentSpec old = merge_base_spec(a, &arena);
    ExperimentSpec new = merge_base_spec(b, &arena);
    SpecDiff *diff = ARENA_NEW(&arena, SpecDiff);
    diff->arena = &arena;
    if (a->n_shards != b->n_shards) {
        Value from = value_int(a->n_shards);
        Value to = value_int(b->n_shards);
        spec_diff_values(diff, STR("shard.n"), false, &from, &to);
    }
    spec_diff_values(diff, STR_EMPTY, false, &old.spec, &new.spec);
    spec_diff_runs(diff, old.runs, old.n_runs, new.runs, new.n_runs);
    Str text = spec_diff_text(diff);
    ERR_SET(err, ERR_USAGE,
            "'" STR_FMT "' of " STR_FMT " and '" STR_FMT "' of " STR_FMT " %s (" STR_FMT ")",
            STR_ARG(a->name), STR_ARG(a->store), STR_ARG(b->name), STR_ARG(b->store), what,
            STR_ARG(text));
    arena_finish(&arena);
    return false;
}

/** Shards of one name that are not of one run: somebody changed something in between. */
static bool names_check(const MergeGroup *groups, size_t n, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            const MergeExperiment *a = groups[j].sources[0];
            const MergeExperiment *b = groups[i].sources[0];
            if (a->n_shards > 0 && b->n_shards > 0 && str_eq(a->base_name, b->base_name)) {
                return merge_spec_refuse(a, b, "are called alike and are no shards of one run",
                                         err);
            }
        }
    }
    return true;
}

bool merge_groups(const MergeExperiment *const *sources, size_t n, Arena *arena, MergeGroup **out,
                  size_t *out_n, Err *err)
{
    MergeGroup *groups = ARENA_ARRAY(arena, MergeGroup, n + 1);
    size_t n_groups = 0;
    bool *ambiguous = ARENA_ARRAY(arena, bool, n + 1);
    mark_ambiguous(sources, n, ambiguous);
    for (size_t i = 0; i < n; i++) {
        size_t g = 0;
        while (g < n_groups && !belong_together(groups[g].sources[0], sources[i], ambiguous[i])) {
            g++;
        }
        if (g == n_groups) {
            groups[n_groups++].sources = ARENA_ARRAY(arena, const MergeExperiment *, n);
        }
        group_add(&groups[g], sources[i]);
    }
    *out = groups;
    *out_n = n_groups;
    return names_check(groups, n_groups, err);
}

// ---- Where a group goes -------------------------------------------------------------------------

/** Whether an experiment of the output was made from this one, or is it. */
static bool is_made_from(const MergeExperiment *experiment, const MergeExperiment *source)
{
    const Value *merged = value_get_c(&experiment->provenance, "merged");
    for (size_t i = 0; merged != NULL && merged->kind == VALUE_LIST && i < merged->as.list.n; i++) {
        const Value *entry = &merged->as.list.items[i];
        if (str_eq(value_get_str(entry, "id", STR_EMPTY), source->short_id) &&
            value_get_int(entry, "started_ms", -1) == source->started_ms) {
            return true;
        }
    }
    return source->n_shards == 0 && same_experiment(experiment, source);
}

static bool is_merge_of_shards(const MergeExperiment *experiment)
{
    const Value *merged = value_get_c(&experiment->provenance, "merged");
    return merged != NULL && merged->kind == VALUE_LIST && merged->as.list.n > 0 &&
           value_get_c(&merged->as.list.items[0], "shards") != NULL;
}

static const MergeExperiment *made_from(const MergeExperiment *existing, size_t n,
                                        const MergeGroup *group, Str name)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t s = 0; s < group->n; s++) {
            if ((name.len == 0 || str_eq(existing[i].name, name)) &&
                is_made_from(&existing[i], group->sources[s])) {
                return &existing[i];
            }
        }
    }
    return NULL;
}

/** A merge of the same run that lacks what the group brings. */
static const MergeExperiment *waiting_for(const MergeExperiment *existing, size_t n,
                                          const MergeGroup *group)
{
    for (size_t i = 0; i < n; i++) {
        bool waits =
            is_merge_of_shards(&existing[i]) && same_class(&existing[i], group->sources[0]);
        for (size_t s = 0; waits && s < group->n; s++) {
            waits = !share_a_shard(&existing[i], group->sources[s]);
        }
        if (waits) {
            return &existing[i];
        }
    }
    return NULL;
}

bool merge_target(const MergeExperiment *existing, size_t n, const MergeGroup *group, Str name,
                  const MergeExperiment **out, Err *err)
{
    const MergeExperiment *first = group->sources[0];
    *out = made_from(existing, n, group, name);
    if (*out != NULL) {
        return hash_eq(&(*out)->base_hash, &first->base_hash) ||
               merge_spec_refuse(*out, first, "have different specs", err);
    }
    Str wanted = name.len > 0 ? name : first->base_name;
    for (size_t i = 0; i < n; i++) {
        const MergeExperiment *taken = &existing[i];
        if (!str_eq(taken->name, wanted) || (first->n_shards == 0 && name.len == 0)) {
            continue;
        }
        if (first->n_shards == 0) {
            return ERR_SET(err, ERR_EXISTS,
                           "the output has an experiment '" STR_FMT
                           "' already; give another --name",
                           STR_ARG(wanted));
        }
        if (!hash_eq(&taken->base_hash, &first->base_hash) ||
            (taken->n_shards > 0 && taken->n_shards != first->n_shards)) {
            return merge_spec_refuse(
                taken, first, "have different specs: give another --name for the merge", err);
        }
        if (!is_merge_of_shards(taken)) {
            return ERR_SET(err, ERR_EXISTS,
                           "'" STR_FMT "' of " STR_FMT " is no merge of shards; give another "
                           "--name for this one",
                           STR_ARG(taken->name), STR_ARG(taken->store));
        }
        *out = taken;
        return true;
    }
    *out = first->n_shards > 0 && name.len == 0 ? waiting_for(existing, n, group) : NULL;
    return true;
}
