// SPDX-License-Identifier: MIT
// Whom effects go to: the samplers of the models under test and of those that play roles, each
// opened once. A model that plays a role in its own test is asked through the same sampler, so that
// a local engine shares its weights and prefixes.
#include "run/loop_internal.h"

#include <math.h>

#define ROLE_REQUESTS_MAX 4096 // waiting at a sampler that takes all it gets

// ---- Nobody -----------------------------------------------------------------------------------

static bool nobody_submit(Sampler *sampler, uint64_t id, const Request *request, Err *err)
{
    (void)sampler;
    (void)id;
    (void)request;
    return ERR_SET(err, ERR_CONFIG, "no model: give -m provider/name");
}

static void nobody_close(Sampler *sampler)
{
    (void)sampler;
}

// Stands in for the model under test where a run has none: the evals ask nobody, or only roles.
static const SamplerOps nobody_ops = {
    .provider = "none", .submit = nobody_submit, .close = nobody_close};
static const Model nobody_model = {
    .spec = {"none", 4}, .provider = {"none", 4}, .name = {"none", 4}};
const Model *const run_no_model[1] = {&nobody_model};

static void nobody_open(Sampler *nobody)
{
    *nobody = (Sampler){.ops = &nobody_ops,
                        .caps = CAP_CHAT | CAP_TEXT | CAP_LOGLIK,
                        .max_in_flight = 256,
                        .identity = sha256_of(STR("muster.none.1")),
                        .description = STR("no model")};
}

// ---- Opening ----------------------------------------------------------------------------------

/** Whether two models are one: the same weights or endpoint, asked in the same way. */
static bool same_model(const Model *a, const Model *b)
{
    return str_eq(a->provider, b->provider) && hash_eq(&a->identity, &b->identity) &&
           str_eq(a->chat_template, b->chat_template) && str_eq(a->base_url, b->base_url) &&
           str_eq(a->api_key_env, b->api_key_env) && value_equal(&a->settings, &b->settings) &&
           (str_eq(a->provider, STR("local")) || str_eq(a->name, b->name));
}

/** What a sampler says of itself; the same of several is said once. */
static void note_once(const Loop *loop, Str note)
{
    bool said = note.len == 0;
    for (size_t i = 0; i + 1 < loop->n_sources; i++) {
        said = said || str_eq(loop->sources[i].sampler->note, note);
    }
    if (!said) {
        loop_note(loop, false, "local models run on " STR_FMT, STR_ARG(note));
    }
}

static bool source_open(Loop *loop, const Model *model, Err *err)
{
    Source *source = &loop->sources[loop->n_sources];
    int64_t from_ns = clock_ns();
    *source = (Source){.model = model};
    if (model == &nobody_model) {
        nobody_open(&loop->nobody);
        source->sampler = &loop->nobody;
    } else if (!sampler_open(model, &loop->host, &source->sampler, err)) {
        return ERR_WRAP(err, "model '" STR_FMT "'", STR_ARG(model->spec));
    }
    loop->n_sources++;
    source->load_seconds = (double)(clock_ns() - from_ns) * 1e-9;
    const Sampler *sampler = source->sampler;
    note_once(loop, sampler->note);
    return sampler->ops->ready == NULL || sampler->ops->ready(sampler, err) ||
           ERR_WRAP(err, "model '" STR_FMT "'", STR_ARG(model->spec));
}

static bool role_open(Loop *loop, Role *role, Err *err)
{
    for (size_t i = 0; i < loop->n_sources && role->source == NULL; i++) {
        role->source = same_model(loop->sources[i].model, role->model) ? &loop->sources[i] : NULL;
    }
    if (role->source == NULL) {
        if (!source_open(loop, role->model, err)) {
            return ERR_WRAP(err, "role '" STR_FMT "'", STR_ARG(role->name));
        }
        role->source = &loop->sources[loop->n_sources - 1];
    }
    return true;
}

bool sources_open(Loop *loop, Err *err)
{
    size_t most = loop->config->n_models;
    for (size_t c = 0; c < loop->plan.n_cells; c++) {
        most += loop->plan.cells[c].n_roles;
    }
    loop->sources = mem_zalloc(most, sizeof(*loop->sources));
    for (size_t m = 0; m < loop->config->n_models; m++) {
        loop->model = m;
        progress_show(loop, "loading", true);
        if (!source_open(loop, loop->config->models[m], err)) {
            return false;
        }
    }
    loop->model = 0;
    loop->source = &loop->sources[0];
    for (size_t c = 0; c < loop->plan.n_cells; c++) {
        Cell *cell = &loop->plan.cells[c];
        for (size_t i = 0; i < cell->n_roles; i++) {
            if (cell->roles[i].source == NULL && !role_open(loop, &cell->roles[i], err)) {
                return false;
            }
        }
    }
    return true;
}

void sources_close(Loop *loop)
{
    for (size_t i = 0; i < loop->n_sources; i++) {
        loop->sources[i].sampler->ops->close(loop->sources[i].sampler);
    }
    mem_free(loop->sources);
}

// ---- At work ----------------------------------------------------------------------------------

static bool wants_all(const Source *source)
{
    return (source->sampler->caps & CAP_WANTS_ALL) != 0;
}

bool sources_have_room(const Loop *loop)
{
    if (wants_all(loop->source)) {
        return true;
    }
    for (size_t i = 0; i < loop->n_sources; i++) {
        const Source *source = &loop->sources[i];
        size_t most =
            wants_all(source) ? ROLE_REQUESTS_MAX : (size_t)source->sampler->max_in_flight;
        if (source->n_requests >= most) {
            return false;
        }
    }
    return true;
}

void sources_quiesce(Loop *loop, bool closed)
{
    for (size_t i = 0; i < loop->n_sources; i++) {
        Source *source = &loop->sources[i];
        bool tested = source == loop->source;
        if (source->sampler->ops->quiesce != NULL && (tested || source->n_requests > 0)) {
            source->sampler->ops->quiesce(source->sampler, tested && closed);
        }
    }
}

void source_stats(const Source *source, SamplerStats *out)
{
    *out = (SamplerStats){0};
    if (source != NULL && source->sampler->ops->stats != NULL) {
        source->sampler->ops->stats(source->sampler, out);
    }
}

// ---- Routing ----------------------------------------------------------------------------------

/** A role's prompt: a chat model is asked in a chat, whatever the prompts of the eval are. */
static bool role_effect(const Loop *loop, const Cell *cell, const Role *role, const Sample *sample,
                        int64_t epoch, Effect *effect, Arena *arena, Err *err)
{
    const Sampler *sampler = role->source->sampler;
    bool chat = effect->request.kind == REQUEST_GENERATE && (sampler->caps & CAP_CHAT) != 0;
    if (effect_finish(effect, cell->task, sample, epoch, loop->config->seed, sampler, chat, arena,
                      err)) {
        return true;
    }
    err->code = err->code == ERR_CONFIG ? ERR_MODEL : err->code;
    return ERR_WRAP(err, "role '" STR_FMT "', model '" STR_FMT "'", STR_ARG(role->name),
                    STR_ARG(role->model->spec));
}

bool effect_route(const Loop *loop, const Cell *cell, Source *tested, const Sample *sample,
                  int64_t epoch, Effect *effect, Role **out_role, Arena *arena, Err *err)
{
    Str name = effect->request.role;
    *out_role = NULL;
    if (name.len > 0) {
        Role *role = role_find(cell, name);
        *out_role = role;
        if (role == NULL) {
            return ERR_SET(err, ERR_CONFIG,
                           "nobody plays role '" STR_FMT "': give --role " STR_FMT
                           "=MODEL, or write roles: {" STR_FMT ": MODEL} into the eval",
                           STR_ARG(name), STR_ARG(name), STR_ARG(name));
        }
        return role_effect(loop, cell, role, sample, epoch, effect, arena, err);
    }
    if (tested->model == &nobody_model) {
        return ERR_SET(err, ERR_USAGE,
                       "no model: give -m provider/name, e.g. -m local/smollm2-135m-instruct");
    }
    return effect_finish(effect, cell->task, sample, epoch, loop->config->seed, tested->sampler,
                         loop->config->sampler.force_chat, arena, err);
}

bool request_submit(Loop *loop, Role *role, uint64_t id, const Request *request, Err *err)
{
    Source *source = role != NULL ? role->source : loop->source;
    if (!source->sampler->ops->submit(source->sampler, id, request, err)) {
        if (role != NULL) {
            ERR_WRAP(err, "role '" STR_FMT "'", STR_ARG(role->name));
        }
        return false;
    }
    source->n_requests++;
    loop->n_requests++;
    return true;
}

void request_done(Loop *loop, Role *role, const Reply *reply)
{
    Source *source = role != NULL ? role->source : loop->source;
    source->n_requests--;
    loop->n_requests--;
    if (role == NULL || reply == NULL) {
        return;
    }
    role->n_calls++;
    role->usage.input += reply->usage.input;
    role->usage.output += reply->usage.output;
    role->usage.cached += reply->usage.cached;
    role->usage.reasoning += reply->usage.reasoning;
    role->seconds += reply->seconds;
    role->cost_usd += reply->cost_usd;
}
