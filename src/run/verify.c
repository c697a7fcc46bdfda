// SPDX-License-Identifier: MIT
// A random part of a stored experiment's attempts, run again from the eval to the scores in a store
// of its own, and compared bit for bit: replies, stop reasons, log-probabilities, scores. A fast
// run's are compared by what such a run does promise.
#include "run/run.h"

#include <math.h>
#include <string.h>

#include "text/text.h"

/** What has to agree, as texts that are equal only when all bits are. */
typedef struct Facts {
    Str of[VERIFY_FACTS];
    double *logprobs; // of the choices, each followed by the unconditional one
    size_t n_logprobs;
} Facts;

typedef struct Chosen {
    Str eval, part, variant, model, sample_id;
    int64_t epoch;
    bool met; // in the new run
    Facts facts;
} Chosen;

typedef struct Verify {
    const VerifyConfig *config;
    Arena *arena;
    Chosen *chosen;
    size_t n_chosen;
    size_t n_seen; // attempts that could be chosen
    Rng rng;
    VerifyOutcome *out;
} Verify;

enum { FACT_END = 0 };
static const char *const fact_words[VERIFY_FACTS] = {"end",     "stop reason", "reply",
                                                     "choices", "scores",      "calls"};

// ---- Choosing ---------------------------------------------------------------------------------

static bool chosen_is(const Chosen *chosen, const AttemptInfo *attempt)
{
    return chosen->epoch == attempt->epoch && str_eq(chosen->sample_id, attempt->sample_id) &&
           str_eq(chosen->eval, attempt->eval) && str_eq(chosen->part, attempt->part) &&
           str_eq(chosen->variant, attempt->variant) && str_eq(chosen->model, attempt->model);
}

static Chosen *chosen_find(Verify *verify, const AttemptInfo *attempt)
{
    for (size_t i = 0; i < verify->n_chosen; i++) {
        if (chosen_is(&verify->chosen[i], attempt)) {
            return &verify->chosen[i];
        }
    }
    return NULL;
}

/** Each finished attempt is as likely as any other: a reservoir. */
static bool choose_visit(void *ctx, const AttemptInfo *attempt)
{
    Verify *verify = ctx;
    if (!str_eq(attempt->state, STR("done"))) {
        return true;
    }
    size_t want = (size_t)verify->config->n_samples;
    size_t at = verify->n_seen++;
    if (at >= want) {
        at = (size_t)rng_below(&verify->rng, verify->n_seen);
    }
    if (at < want) {
        Arena *arena = verify->arena;
        verify->chosen[at] = (Chosen){.eval = str_copy(arena, attempt->eval),
                                      .part = str_copy(arena, attempt->part),
                                      .variant = str_copy(arena, attempt->variant),
                                      .model = str_copy(arena, attempt->model),
                                      .sample_id = str_copy(arena, attempt->sample_id),
                                      .epoch = attempt->epoch};
        verify->n_chosen = at >= verify->n_chosen ? at + 1 : verify->n_chosen;
    }
    return true;
}

// ---- What has to agree ------------------------------------------------------------------------

static Str scores_text(Arena *arena, const AttemptInfo *attempt)
{
    Buf buf = {0};
    for (size_t i = 0; i < attempt->n_scores; i++) {
        const Score *score = &attempt->scores[i];
        buf_printf(&buf, STR_FMT " %d %a " STR_FMT " " STR_FMT "\n", STR_ARG(score->grader),
                   (int)score->state, score->state == SCORE_VALUE ? score->value : 0,
                   STR_ARG(score->reason), STR_ARG(score->answer));
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

/** Of every call what the model said; not how long it took, nor what was found in a cache. */
static Str calls_text(Arena *arena, const AttemptInfo *attempt)
{
    static const char *const said[] = {"text", "stop", "choices", "logprobs", "more", "tool_calls"};
    Buf buf;
    buf_init(&buf, (size_t)1 << 30);
    size_t n = attempt->calls.kind == VALUE_LIST ? attempt->calls.as.list.n : 0;
    for (size_t i = 0; i < n; i++) {
        const Value *call = &attempt->calls.as.list.items[i];
        const Value *reply = value_get_c(call, "reply");
        json_write_str(&buf, value_get_str(call, "path", STR_EMPTY));
        for (size_t k = 0; k < sizeof(said) / sizeof(said[0]); k++) {
            const Value *value = value_get_c(reply, said[k]);
            if (value != NULL && !str_eq_c(STR("more"), said[k])) {
                json_write(&buf, value, JSON_COMPACT);
            }
            for (size_t m = 0; value != NULL && str_eq_c(STR("more"), said[k]) &&
                               value->kind == VALUE_LIST && m < value->as.list.n;
                 m++) {
                json_write_str(&buf, value_get_str(&value->as.list.items[m], "text", STR_EMPTY));
            }
        }
        buf_char(&buf, '\n');
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

static Facts facts_of(Arena *arena, const AttemptInfo *attempt)
{
    Str error =
        attempt->error_code.len > 0
            ? str_printf(arena, STR_FMT ": " STR_FMT " [" STR_FMT "]", STR_ARG(attempt->state),
                         STR_ARG(attempt->error), STR_ARG(attempt->error_code))
            : str_copy(arena, attempt->state);
    return (Facts){.of = {error, str_copy(arena, attempt->stop),
                          str_copy(arena, attempt->reply_text),
                          json_plain(arena, &attempt->choices), scores_text(arena, attempt),
                          calls_text(arena, attempt)}};
}

static void facts_logprobs(Arena *arena, const AttemptInfo *attempt, Facts *facts)
{
    size_t n = attempt->choices.kind == VALUE_LIST ? attempt->choices.as.list.n : 0;
    facts->logprobs = ARENA_ARRAY(arena, double, 2 * n + 1);
    facts->n_logprobs = 2 * n;
    for (size_t i = 0; i < n; i++) {
        const Value *choice = &attempt->choices.as.list.items[i];
        facts->logprobs[2 * i] = value_get_real(choice, "logprob", (double)NAN);
        facts->logprobs[2 * i + 1] = value_get_real(choice, "unconditional", (double)NAN);
    }
}

/** Whether what differs is no more than a fast run may: how it ended and what its choices came to
 * have to be the same, but for a little. */
static bool facts_near(const Facts *then, const Facts *now)
{
    if (!str_eq(then->of[FACT_END], now->of[FACT_END]) || then->n_logprobs != now->n_logprobs) {
        return false;
    }
    for (size_t i = 0; i < then->n_logprobs; i++) {
        double a = then->logprobs[i];
        double b = now->logprobs[i];
        bool near = fabs(a - b) <= VERIFY_FAST_NAT + VERIFY_FAST_SHARE * fabs(a);
        if (!near && !(isnan(a) && isnan(b)) && a != b) {
            return false;
        }
    }
    return true;
}

static bool wanted_visit(void *ctx, const AttemptInfo *attempt)
{
    return chosen_find(ctx, attempt) != NULL;
}

static bool remember_visit(void *ctx, const AttemptInfo *attempt)
{
    Verify *verify = ctx;
    Chosen *chosen = chosen_find(verify, attempt);
    chosen->facts = facts_of(verify->arena, attempt);
    facts_logprobs(verify->arena, attempt, &chosen->facts);
    return true;
}

static bool compare_visit(void *ctx, const AttemptInfo *attempt)
{
    Verify *verify = ctx;
    Chosen *chosen = chosen_find(verify, attempt);
    VerifyOutcome *out = verify->out;
    Facts now = facts_of(verify->arena, attempt);
    facts_logprobs(verify->arena, attempt, &now);
    VerifyDifference difference = {.eval = chosen->eval,
                                   .part = chosen->part,
                                   .variant = chosen->variant,
                                   .model = chosen->model,
                                   .sample_id = chosen->sample_id,
                                   .epoch = chosen->epoch};
    chosen->met = true;
    for (size_t i = 0; i < VERIFY_FACTS; i++) {
        if (!str_eq(chosen->facts.of[i], now.of[i]) && difference.what == NULL) {
            difference.what = fact_words[i];
            difference.then = chosen->facts.of[i];
            difference.now = now.of[i];
        }
    }
    out->n_agree += difference.what == NULL;
    if (difference.what != NULL) {
        difference.allowed = out->fast && facts_near(&chosen->facts, &now);
        out->n_allowed += difference.allowed;
        out->differences[out->n_differences++] = difference;
    }
    return true;
}

// ---- Running again ----------------------------------------------------------------------------

static bool takes(void *ctx, const Task *task, Str model, Str sample_id, int64_t epoch)
{
    AttemptInfo as = {.eval = task->eval->name,
                      .part = task->part,
                      .variant = task->variant->name,
                      .model = model,
                      .sample_id = sample_id,
                      .epoch = epoch};
    return chosen_find(ctx, &as) != NULL;
}

static bool is_chosen_part(const Verify *verify, const RunTarget *target)
{
    for (size_t i = 0; i < verify->n_chosen; i++) {
        if (str_eq(verify->chosen[i].eval, target->eval->name) &&
            str_eq(verify->chosen[i].part, target->part)) {
            return true;
        }
    }
    return false;
}

static bool run_again(Verify *verify, Err *err)
{
    const VerifyConfig *config = verify->config;
    const Value *settings = &config->of->spec;
    RunTarget *targets = ARENA_ARRAY(verify->arena, RunTarget, config->n_targets + 1);
    size_t n_targets = 0;
    for (size_t i = 0; i < config->n_targets; i++) {
        if (is_chosen_part(verify, &config->targets[i])) {
            targets[n_targets++] = config->targets[i];
        }
    }
    RunConfig run = {
        .registry = config->registry,
        .script = config->script,
        .targets = targets,
        .n_targets = n_targets,
        .models = config->models,
        .n_models = config->n_models,
        .roles = config->roles,
        .n_roles = config->n_roles,
        .epochs = value_get_int(settings, "epochs", 0),
        .seed = (uint64_t)value_get_int(settings, "seed", 0),
        .name = STR("again"),
        .sampler = config->sampler,
        .store_path = config->scratch_store_path,
        .events_fd = -1,
        .stop = config->stop,
        .takes = takes,
        .takes_ctx = verify,
        .on_progress = config->on_progress,
        .ctx = config->ctx,
    };
    run.sampler.force_chat = value_get_bool(settings, "chat", false);
    run.sampler.precision_f32 = str_eq(value_get_str(settings, "precision", STR_EMPTY), STR("f32"));
    run.sampler.fast = verify->out->fast;
    if (run.sampler.device.len == 0) { // other devices give other bits
        run.sampler.device = value_get_str(settings, "device", STR("cpu"));
    }
    RunOutcome outcome;
    if (!run_experiment(&run, verify->arena, &outcome, err)) {
        return false;
    }
    verify->out->interrupted = outcome.interrupted;
    return true;
}

/** Warn of what is not what it was: then a difference is no wonder. */
static void hashes_compare(Verify *verify, const RunInfo *now, size_t n_now)
{
    const VerifyConfig *config = verify->config;
    VerifyOutcome *out = verify->out;
    for (size_t i = 0; i < n_now; i++) {
        for (size_t k = 0; k < config->n_runs; k++) {
            const RunSpec *a = &now[i].spec;
            const RunSpec *b = &config->runs[k].spec;
            if (str_eq(now[i].eval, config->runs[k].eval) &&
                str_eq(now[i].part, config->runs[k].part) &&
                str_eq(now[i].variant, config->runs[k].variant) &&
                str_eq(now[i].model, config->runs[k].model)) {
                out->model_changed = out->model_changed || !hash_eq(&a->model_hash, &b->model_hash);
                out->eval_changed = out->eval_changed || !hash_eq(&a->eval_hash, &b->eval_hash) ||
                                    !hash_eq(&a->program_hash, &b->program_hash);
                out->data_changed = out->data_changed || !hash_eq(&a->data_hash, &b->data_hash);
            }
        }
    }
}

static bool compare(Verify *verify, Err *err)
{
    Results *results = NULL;
    ExperimentInfo again;
    RunInfo *runs = NULL;
    size_t n_runs = 0;
    AttemptFilter filter = {.with_calls = true, .wanted = wanted_visit};
    bool ok = results_open(verify->config->scratch_store_path, &results, err) &&
              results_experiment(results, verify->arena, STR("again"), &again, err) &&
              results_runs(results, verify->arena, again.id, &runs, &n_runs, err) &&
              results_attempts(results, again.id, &filter, compare_visit, verify, err);
    if (ok) {
        hashes_compare(verify, runs, n_runs);
    }
    results_close(results);
    for (size_t i = 0; ok && i < verify->n_chosen; i++) {
        verify->out->n_gone += verify->chosen[i].met ? 0 : 1;
    }
    return ok;
}

bool run_verify(const VerifyConfig *config, Arena *arena, VerifyOutcome *out, Err *err)
{
    *out = (VerifyOutcome){0};
    out->fast = str_eq(value_get_str(&config->of->spec, "precision", STR_EMPTY), STR("fast"));
    Verify verify = {.config = config, .arena = arena, .out = out};
    rng_init(&verify.rng, config->seed);
    verify.chosen = ARENA_ARRAY(arena, Chosen, (size_t)config->n_samples);
    AttemptFilter all = {0};
    if (!results_attempts(config->results, config->of->id, &all, choose_visit, &verify, err)) {
        return false;
    }
    out->n_chosen = (int64_t)verify.n_chosen;
    out->n_attempts = (int64_t)verify.n_seen;
    out->differences = ARENA_ARRAY(arena, VerifyDifference, verify.n_chosen + 1);
    if (verify.n_chosen == 0) {
        return ERR_SET(err, ERR_USAGE, "experiment '" STR_FMT "' has no finished attempt to verify",
                       STR_ARG(config->of->name));
    }
    AttemptFilter wanted = {.with_calls = true, .wanted = wanted_visit};
    return results_attempts(config->results, config->of->id, &wanted, remember_visit, &verify,
                            err) &&
           run_again(&verify, err) && compare(&verify, err);
}
