// SPDX-License-Identifier: MIT
// The gate: what has to be so before anything is compared, then every check of the policy. Lines
// come in this order: structure, bounds eval by eval, must_pass, budgets.
#include "results/gate_internal.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

// ---- Lines --------------------------------------------------------------------------------------

GateLine *gate_line_add(GateWork *work, const char *kind)
{
    if (work->n_lines == work->cap_lines) {
        work->cap_lines = work->cap_lines == 0 ? 16 : work->cap_lines * 2;
        GateLine *grown = ARENA_ARRAY(work->arena, GateLine, work->cap_lines);
        if (work->n_lines > 0) {
            memcpy(grown, work->lines, work->n_lines * sizeof(*grown));
        }
        work->lines = grown;
    }
    GateLine *line = &work->lines[work->n_lines++];
    *line = (GateLine){
        .name = STR_EMPTY,
        .eval = STR_EMPTY,
        .variant = STR_EMPTY,
        .model = STR_EMPTY,
        .metric = STR_EMPTY,
        .slice = STR_EMPTY,
        .kind = kind,
        .verdict = GATE_PASS,
        .ok = true,
        .value = NAN,
        .baseline = NAN,
        .bound = NAN,
        .confidence = NAN,
        .message = STR_EMPTY,
        .samples = STR_EMPTY,
    };
    return line;
}

void gate_structure_failed(GateWork *work, Str what, Str message)
{
    GateLine *line = gate_line_add(work, "structure");
    line->name = what;
    line->verdict = GATE_FAIL;
    line->ok = false;
    line->message = message;
}

/** Names as reports show them; those of equal name get a number. */
static void names_make_unique(GateWork *work)
{
    for (size_t i = 0; i < work->n_lines; i++) {
        work->lines[i].name = gate_clean(work->arena, work->lines[i].name);
    }
    for (size_t i = 0; i < work->n_lines; i++) {
        Str name = work->lines[i].name;
        for (size_t number = 2, j = 0; j < i; j++) {
            if (str_eq(work->lines[j].name, work->lines[i].name)) {
                work->lines[i].name =
                    str_printf(work->arena, STR_FMT " (%zu)", STR_ARG(name), number++);
                j = (size_t)-1; // from the start again
            }
        }
    }
}

// ---- Pairings -----------------------------------------------------------------------------------

bool gate_has_candidate(const Pairing *pairing)
{
    bool any = false;
    for (size_t i = 0; i < pairing->n_parts; i++) {
        any = any || pairing->candidate[i] != NULL;
    }
    return any;
}

bool gate_has_base(const Pairing *pairing)
{
    bool any = false;
    for (size_t i = 0; i < pairing->n_parts; i++) {
        any = any || pairing->base[i] != NULL;
    }
    return any;
}

/** A pairing by what its candidate is, or where there is none, its base. */
static Str variant_of(const Pairing *pairing)
{
    return gate_has_candidate(pairing) ? pairing->candidate_variant : pairing->base_variant;
}

static Str model_of(const Pairing *pairing)
{
    return gate_has_candidate(pairing) ? pairing->candidate_model : pairing->base_model;
}

Str gate_pairing_label(const GateWork *work, const Pairing *pairing)
{
    Str variant = variant_of(pairing);
    Str model = model_of(pairing);
    bool variants = false;
    bool models = false;
    for (size_t i = 0; i < work->n_pairings; i++) {
        const Pairing *other = &work->pairings[i];
        bool same = str_eq(other->eval, pairing->eval);
        variants = variants || (same && !str_eq(variant_of(other), variant));
        models = models || (same && !str_eq(model_of(other), model));
    }
    Str label = gate_word(work->arena, pairing->eval);
    if (variants) {
        Str word = gate_word(work->arena, variant);
        label = str_printf(work->arena, STR_FMT ":variant=" STR_FMT, STR_ARG(label), STR_ARG(word));
    }
    if (models) {
        Str word = gate_word(work->arena, model);
        label = str_printf(work->arena, STR_FMT "%smodel=" STR_FMT, STR_ARG(label),
                           variants ? "," : ":", STR_ARG(word));
    }
    return label;
}

// ---- Structure ----------------------------------------------------------------------------------

/** shards_missing: an experiment that has done all it could is not asked to go on. */
static void check_finished(GateWork *work, const char *side, const Side *of, bool shards_missing)
{
    const ExperimentInfo *info = &of->experiment;
    int64_t n_open = 0;
    for (size_t i = 0; i < of->n_runs; i++) {
        const RunInfo *run = &of->runs[i];
        int64_t open = run->n_planned - run->n_done - run->n_errors;
        n_open += open > 0 ? open : 0;
    }
    Str name = gate_word(work->arena, info->name);
    if (shards_missing && info->n_done + info->n_errors >= info->n_planned) {
        return;
    }
    if (!str_eq(info->state, STR("finished"))) {
        gate_structure_failed(
            work, str_printf(work->arena, "%s is finished", side),
            str_printf(work->arena,
                       "experiment '" STR_FMT "' is " STR_FMT ": %lld of %lld attempts are done; "
                       "finish it with the same muster run and --resume --name " STR_FMT,
                       STR_ARG(name), STR_ARG(info->state), (long long)info->n_done,
                       (long long)info->n_planned, STR_ARG(name)));
    } else if (n_open > 0) {
        gate_structure_failed(
            work, str_printf(work->arena, "%s is finished", side),
            str_printf(work->arena,
                       "%lld planned attempts of experiment '" STR_FMT "' were never closed; "
                       "finish it with the same muster run and --resume --name " STR_FMT,
                       (long long)n_open, STR_ARG(name), STR_ARG(name)));
    }
}

/** spec.shard {k, n}; of an incomplete merge spec.shards {n, have}. True: some are missing. */
static bool check_shards(GateWork *work, const char *side, const Side *of)
{
    const Value *shard = value_get_c(&of->experiment.spec, "shard");
    const Value *shards = value_get_c(&of->experiment.spec, "shards");
    int64_t n = 0;
    int64_t have = 0;
    if (shards != NULL && shards->kind == VALUE_MAP) {
        const Value *list = value_get_c(shards, "have");
        n = value_get_int(shards, "n", 0);
        have = list != NULL && list->kind == VALUE_LIST ? (int64_t)list->as.list.n : 0;
    } else if (shard != NULL && shard->kind == VALUE_MAP) {
        n = value_get_int(shard, "n", 0);
        have = 1;
    } else if (shards != NULL && shards->kind == VALUE_INT) {
        n = shards->as.integer;
        have = 1;
    }
    bool missing = n > 1 && have < n;
    if (missing) {
        Str name = gate_word(work->arena, of->experiment.name);
        gate_structure_failed(work, str_printf(work->arena, "%s has all shards", side),
                              str_printf(work->arena,
                                         "experiment '" STR_FMT
                                         "' has %lld of %lld shards: bring the others in with "
                                         "muster merge",
                                         STR_ARG(name), (long long)have, (long long)n));
    }
    return missing;
}

/** "a, b, c and 4 more" */
static void put_name(Arena *arena, Str *list, size_t *n, Str name)
{
    if (++*n <= 5) {
        Str word = gate_word(arena, name.len > 0 ? name : STR("the unnamed one"));
        *list = list->len == 0
                    ? word
                    : str_printf(arena, STR_FMT ", " STR_FMT, STR_ARG(*list), STR_ARG(word));
    }
}

static Str and_more(Arena *arena, Str list, size_t n)
{
    return n <= 5 ? list : str_printf(arena, STR_FMT " and %zu more", STR_ARG(list), n - 5);
}

/** Runs of the baseline that the candidate lacks. */
static void check_runs_present(GateWork *work, const Pairing *pairing)
{
    Arena *arena = work->arena;
    Str label = gate_pairing_label(work, pairing);
    Str name = str_printf(arena, STR_FMT ": runs of the baseline are there", STR_ARG(label));
    if (!gate_has_candidate(pairing)) {
        gate_structure_failed(work, name,
                              str_printf(arena,
                                         "the baseline has runs of " STR_FMT
                                         ", the candidate has none: run it, or select what is to "
                                         "be compared",
                                         STR_ARG(label)));
        return;
    }
    Str parts = STR_EMPTY;
    size_t n = 0;
    for (size_t i = 0; i < pairing->n_parts; i++) {
        if (pairing->candidate[i] == NULL) {
            put_name(arena, &parts, &n, pairing->parts[i]);
        }
    }
    if (n > 0) {
        parts = and_more(arena, parts, n);
        gate_structure_failed(
            work, name,
            str_printf(arena, "the candidate lacks %zu of the %zu parts of " STR_FMT ": " STR_FMT,
                       n, pairing->n_parts, STR_ARG(label), STR_ARG(parts)));
    }
}

/** Evals that the policy names and the candidate has no run of. */
static void check_policy_evals(GateWork *work)
{
    for (size_t d = 0; d < work->policy->n_demands; d++) {
        Str eval = work->policy->demands[d].eval;
        bool seen = eval.len == 0;
        for (size_t i = 0; i < d && !seen; i++) {
            seen = str_eq(work->policy->demands[i].eval, eval);
        }
        for (size_t i = 0; i < work->candidate.n_runs && !seen; i++) {
            seen = str_eq(work->candidate.runs[i].eval, eval);
        }
        if (!seen) {
            Str word = gate_word(work->arena, eval);
            gate_structure_failed(
                work,
                str_printf(work->arena, STR_FMT ": runs of the policy are there", STR_ARG(word)),
                str_printf(work->arena,
                           "the policy is about eval '" STR_FMT "', of which the candidate has no "
                           "run: run it, or leave it out of the policy",
                           STR_ARG(word)));
        }
    }
}

/** Whether both runs were scored by the same graders. */
static bool graders_equal(const RunInfo *base, const RunInfo *candidate)
{
    Str left = value_get_str(&base->spec.spec, "grader_hash", STR_EMPTY);
    Str right = value_get_str(&candidate->spec.spec, "grader_hash", STR_EMPTY);
    if (left.len == 0 && right.len == 0) { // stored by an earlier version: all Lua has to be equal
        return hash_eq(&base->spec.program_hash, &candidate->spec.program_hash) &&
               hash_eq(&base->spec.eval_hash, &candidate->spec.eval_hash);
    }
    return str_eq(left, right);
}

static void check_graders(GateWork *work, const Pairing *pairing)
{
    size_t n_other = 0;
    size_t n_both = 0;
    for (size_t i = 0; i < pairing->n_parts; i++) {
        if (pairing->base[i] != NULL && pairing->candidate[i] != NULL) {
            n_both++;
            n_other += !graders_equal(pairing->base[i], pairing->candidate[i]);
        }
    }
    if (n_other > 0) {
        Str label = gate_pairing_label(work, pairing);
        Str base = gate_word(work->arena, work->baseline.experiment.name);
        gate_structure_failed(
            work, str_printf(work->arena, STR_FMT ": graders are the same", STR_ARG(label)),
            str_printf(work->arena,
                       "the graders of " STR_FMT " (or the models they ask) changed since the "
                       "baseline was scored, in %zu of %zu runs: apply the graders of now to its "
                       "replies with muster rescore " STR_FMT ", and compare with that",
                       STR_ARG(label), n_other, n_both, STR_ARG(base)));
    }
}

/** The same runs on both sides: nothing is compared. */
static bool check_sides_differ(GateWork *work)
{
    for (size_t p = 0; p < work->n_pairings; p++) {
        const Pairing *pairing = &work->pairings[p];
        for (size_t i = 0; i < pairing->n_parts; i++) {
            if (pairing->base[i] != NULL && pairing->candidate[i] != NULL &&
                pairing->base[i]->id == pairing->candidate[i]->id) {
                Str name = gate_word(work->arena, work->candidate.experiment.name);
                gate_structure_failed(work, STR("candidate and baseline differ"),
                                      str_printf(work->arena,
                                                 "experiment '" STR_FMT
                                                 "' is on both sides: compare it with "
                                                 "another one, such as latest~1 or @NAME",
                                                 STR_ARG(name)));
                return false;
            }
        }
    }
    return true;
}

static bool needs_baseline(const GatePolicy *policy)
{
    for (size_t i = 0; i < policy->n_demands; i++) {
        if (policy->demands[i].kind == GATE_DEMAND_LOSS) {
            return true;
        }
    }
    return false;
}

static void check_structure(GateWork *work, bool baseline_wanted)
{
    bool partial = check_shards(work, "candidate", &work->candidate);
    check_finished(work, "candidate", &work->candidate, partial);
    if (work->baseline.n_runs > 0) {
        bool same = work->baseline.experiment.id == work->candidate.experiment.id;
        if (!same) {
            partial = check_shards(work, "baseline", &work->baseline);
            check_finished(work, "baseline", &work->baseline, partial);
        }
        check_sides_differ(work);
    } else if (!work->first_allowed && (baseline_wanted || needs_baseline(work->policy))) {
        gate_structure_failed(work, STR("baseline is there"), work->no_baseline);
    }
    check_policy_evals(work);
    for (size_t i = 0; i < work->n_pairings; i++) {
        if (gate_has_base(&work->pairings[i])) {
            check_runs_present(work, &work->pairings[i]);
            check_graders(work, &work->pairings[i]);
        }
    }
}

// ---- Sides --------------------------------------------------------------------------------------

/** What the candidate's selector leaves out is not asked of the baseline either. */
static Selector selector_of_baseline(const Selector *candidate, const Selector *baseline)
{
    Selector selector = *baseline;
    if (selector.eval.len == 0) {
        selector.eval = candidate->eval;
    }
    if (selector.part.len == 0) {
        selector.part = candidate->part;
    }
    return selector;
}

/** false: *err. No such baseline is no error: work->no_baseline says so. */
static bool baseline_open(GateWork *work, const Selector *candidate, const Selector *baseline)
{
    Arena *arena = work->arena;
    if (baseline == NULL) {
        work->no_baseline =
            STR("the policy compares with a baseline, and none is given: --baseline @NAME, or an "
                "experiment");
        return true;
    }
    if (str_starts_with(baseline->experiment, STR("@"))) {
        Str name = str_slice(baseline->experiment, 1, baseline->experiment.len);
        BaselineInfo info;
        Err missing = ERR_INIT;
        if (!results_baseline(work->results, arena, name, &info, &missing)) {
            if (missing.code != ERR_NOT_FOUND) {
                *work->err = missing;
                return false;
            }
            Str word = gate_word(arena, name);
            Str experiment = gate_word(arena, work->candidate.experiment.name);
            work->no_baseline = str_printf(
                arena,
                "there is no baseline '" STR_FMT "' yet: once this experiment is good enough to be "
                "the first one, muster promote " STR_FMT " " STR_FMT " --first",
                STR_ARG(word), STR_ARG(experiment), STR_ARG(word));
            return true;
        }
    }
    Selector selector = selector_of_baseline(candidate, baseline);
    return side_open(work->results, arena, &selector, &work->baseline, work->err);
}

// ---- The whole ----------------------------------------------------------------------------------

static bool check_demands(GateWork *work)
{
    for (size_t i = 0; i < work->n_pairings; i++) {
        if (gate_has_candidate(&work->pairings[i]) &&
            !gate_check_pairing(work, &work->pairings[i])) {
            return false;
        }
    }
    const GatePolicy *policy = work->policy;
    for (size_t i = 0; i < policy->n_demands; i++) {
        if (policy->demands[i].kind == GATE_DEMAND_MUST_PASS &&
            !gate_check_must_pass(work, &policy->demands[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < policy->n_demands; i++) {
        if (policy->demands[i].kind > GATE_DEMAND_MUST_PASS &&
            !gate_check_budget(work, &policy->demands[i])) {
            return false;
        }
    }
    return true;
}

bool gate_compute(Results *results, Arena *arena, const GatePolicy *policy,
                  const Selector *candidate, const Selector *baseline, bool first_allowed,
                  GateReport *out, Err *err)
{
    GateWork work = {
        .results = results,
        .arena = arena,
        .policy = policy,
        .first_allowed = first_allowed,
        .no_false = 1,
        .err = err,
    };
    if (policy->n_demands == 0) {
        return ERR_SET(err, ERR_USAGE, "a policy without checks judges nothing");
    }
    if (!side_open(results, arena, candidate, &work.candidate, err) ||
        !baseline_open(&work, candidate, baseline) ||
        !compare_pairings(arena, &work.baseline, &work.candidate, &work.pairings, &work.n_pairings,
                          err)) {
        return false;
    }
    check_structure(&work, baseline != NULL);
    if (!check_demands(&work)) {
        return false;
    }
    names_make_unique(&work);
    bool ok = true;
    for (size_t i = 0; i < work.n_lines; i++) {
        ok = ok && work.lines[i].ok;
    }
    *out = (GateReport){
        .policy = *policy,
        .candidate = work.candidate,
        .baseline = work.baseline,
        .lines = work.lines,
        .n_lines = work.n_lines,
        .ok = ok,
        .family_wise = work.n_checks > 0 ? 1 - work.no_false : (double)NAN,
    };
    return true;
}
