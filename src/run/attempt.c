// SPDX-License-Identifier: MIT
// The attempt as a log of calls: its records are small, since a hundred thousand of them may wait
// for the local engine at once. A request in flight is one block of memory, the sample is rendered
// again when a reply arrives.
#include "run/run_internal.h"

#include <string.h>

// ---- Packing a request into one block ---------------------------------------------------------

/** Two passes over the same code: first with base NULL to measure, then to copy. */
typedef struct Packer {
    char *base;
    size_t used;
} Packer;

static void *pack_room(Packer *packer, size_t bytes)
{
    size_t at = (packer->used + 7) & ~(size_t)7;
    packer->used = at + bytes;
    return packer->base == NULL ? NULL : packer->base + at;
}

static Str pack_str(Packer *packer, Str s)
{
    if (s.len == 0) {
        return STR_EMPTY;
    }
    char *to = pack_room(packer, s.len + 1);
    if (to != NULL) {
        memcpy(to, s.data, s.len);
        to[s.len] = '\0';
    }
    return (Str){to, s.len};
}

static Value pack_value(Packer *packer, const Value *value)
{
    Value copy = *value;
    if (value->kind == VALUE_STR) {
        copy.as.str = pack_str(packer, value->as.str);
    } else if (value->kind == VALUE_LIST) {
        size_t n = value->as.list.n;
        Value *items = pack_room(packer, n * sizeof(*items));
        for (size_t i = 0; i < n; i++) {
            Value item = pack_value(packer, &value->as.list.items[i]);
            if (items != NULL) {
                items[i] = item;
            }
        }
        copy.as.list.items = items;
    } else if (value->kind == VALUE_MAP) {
        size_t n = value->as.map.n;
        ValuePair *pairs = pack_room(packer, n * sizeof(*pairs));
        for (size_t i = 0; i < n; i++) {
            ValuePair pair = value->as.map.pairs[i];
            pair.key = pack_str(packer, pair.key);
            pair.value = pack_value(packer, &pair.value);
            if (pairs != NULL) {
                pairs[i] = pair;
            }
        }
        copy.as.map.pairs = pairs;
    }
    return copy;
}

static Prompt pack_prompt(Packer *packer, const Prompt *prompt)
{
    Prompt copy = *prompt;
    copy.text = pack_str(packer, prompt->text);
    Message *messages = pack_room(packer, prompt->n_messages * sizeof(*messages));
    for (size_t i = 0; i < prompt->n_messages; i++) {
        const Message *from = &prompt->messages[i];
        Message message = {
            .role = pack_str(packer, from->role),
            .content = pack_str(packer, from->content),
            .name = pack_str(packer, from->name),
            .extra = pack_value(packer, &from->extra),
        };
        if (messages != NULL) {
            messages[i] = message;
        }
    }
    copy.messages = messages;
    return copy;
}

static GenSettings pack_settings(Packer *packer, const GenSettings *settings)
{
    GenSettings copy = *settings;
    Str *stop = pack_room(packer, settings->n_stop * sizeof(*stop));
    for (size_t i = 0; i < settings->n_stop; i++) {
        Str s = pack_str(packer, settings->stop[i]);
        if (stop != NULL) {
            stop[i] = s;
        }
    }
    copy.stop = stop;
    copy.schema = pack_value(packer, &settings->schema);
    return copy;
}

/** Choices of one sample share their context: a prompt equal to the one before is stored once. */
static bool same_prompt(const Prompt *a, const Prompt *b)
{
    return a->is_chat == b->is_chat && a->text.data == b->text.data && a->text.len == b->text.len &&
           a->messages == b->messages && a->n_messages == b->n_messages;
}

static Request pack_into(Packer *packer, const Request *request)
{
    Request copy = *request;
    copy.prompt = pack_prompt(packer, &request->prompt);
    copy.settings = pack_settings(packer, &request->settings);
    LoglikItem *items = pack_room(packer, request->n_items * sizeof(*items));
    Prompt last = {0};
    for (size_t i = 0; i < request->n_items; i++) {
        const LoglikItem *from = &request->items[i];
        if (i == 0 || !same_prompt(&from->context, &request->items[i - 1].context)) {
            last = pack_prompt(packer, &from->context);
        }
        Str text = pack_str(packer, from->text);
        if (items != NULL) {
            items[i] = (LoglikItem){.context = last, .text = text, .window = from->window};
        }
    }
    copy.items = items;
    copy.role = pack_str(packer, request->role);
    copy.eval = pack_str(packer, request->eval);
    copy.part = pack_str(packer, request->part);
    copy.sample_id = pack_str(packer, request->sample_id);
    copy.call = pack_str(packer, request->call);
    return copy;
}

Request *request_pack(const Request *request)
{
    Packer packer = {0};
    pack_room(&packer, sizeof(Request));
    pack_into(&packer, request);
    packer = (Packer){.base = mem_alloc(packer.used, 1)};
    Request *out = pack_room(&packer, sizeof(*out));
    *out = pack_into(&packer, request);
    return out;
}

// ---- Attempts ---------------------------------------------------------------------------------

Call *attempt_call_add(Attempt *attempt, Str path)
{
    if (attempt->n_calls == attempt->cap_calls) {
        attempt->cap_calls = attempt->cap_calls == 0 ? 1 : attempt->cap_calls * 2;
        attempt->calls = mem_realloc(attempt->calls, attempt->cap_calls, sizeof(*attempt->calls));
    }
    Call *call = &attempt->calls[attempt->n_calls++];
    *call = (Call){.path = mem_alloc(path.len + 1, 1)};
    memcpy(call->path, path.data, path.len);
    call->path[path.len] = '\0';
    return call;
}

void attempt_destroy(Attempt *attempt)
{
    if (attempt == NULL) {
        return;
    }
    for (uint32_t i = 0; i < attempt->n_calls; i++) {
        mem_free(attempt->calls[i].path);
        mem_free(attempt->calls[i].request);
        completion_destroy(attempt->calls[i].reply);
    }
    mem_free(attempt->calls);
    if (attempt->restored != NULL) {
        arena_finish(attempt->restored);
        mem_free(attempt->restored);
    }
    mem_free(attempt->failure);
    mem_free(attempt);
}

// ---- Requests ---------------------------------------------------------------------------------

static bool prompt_to_text(Prompt *prompt, const Sampler *sampler, Err *err)
{
    if (prompt->n_messages != 1 || !str_eq(prompt->messages[0].role, STR("user"))) {
        return ERR_SET(err, ERR_CONFIG,
                       "the eval sends a chat, but '" STR_FMT
                       "' has no chat template; give the eval "
                       "a `prompt:`, or choose a chat model",
                       STR_ARG(sampler->description));
    }
    prompt->is_chat = false;
    prompt->text = prompt->messages[0].content;
    prompt->messages = NULL;
    prompt->n_messages = 0;
    return true;
}

bool prompt_adapt(Prompt *prompt, const Sampler *sampler, bool force_chat, Arena *arena, Err *err)
{
    bool takes_chat = (sampler->caps & CAP_CHAT) != 0;
    bool takes_text = (sampler->caps & CAP_TEXT) != 0;
    if (prompt->is_chat && !takes_chat) {
        return prompt_to_text(prompt, sampler, err);
    }
    if (!prompt->is_chat && (force_chat || !takes_text)) {
        if (!takes_chat) {
            return ERR_SET(err, ERR_CONFIG, "--chat: '" STR_FMT "' has no chat template",
                           STR_ARG(sampler->description));
        }
        Message *message = ARENA_NEW(arena, Message);
        message->role = STR("user");
        message->content = prompt->text;
        *prompt = (Prompt){.is_chat = true, .messages = message, .n_messages = 1};
    }
    return true;
}

uint64_t run_seed(uint64_t seed, Str eval, Str part, Str sample_id, int64_t epoch, Str call)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.seed.1"));
    hash_i64(&sha, (int64_t)seed);
    hash_str(&sha, eval);
    hash_str(&sha, part);
    hash_str(&sha, sample_id);
    hash_i64(&sha, epoch);
    hash_str(&sha, call);
    Hash hash = hash_end(&sha);
    return hash_u64(&hash);
}

bool effect_finish(Effect *effect, const Task *task, const Sample *sample, int64_t epoch,
                   uint64_t seed, const Sampler *sampler, bool force_chat, Arena *arena, Err *err)
{
    Request *request = &effect->request;
    request->eval = task->eval->name;
    request->part = task->part;
    request->sample_id = sample->id;
    request->epoch = epoch;
    request->call = effect->path;
    request->seed = run_seed(seed, request->eval, request->part, sample->id, epoch, effect->path);
    if (request->kind == REQUEST_GENERATE) {
        if (request->settings.schema.kind != VALUE_NULL && (sampler->caps & CAP_GRAMMAR) == 0) {
            return ERR_SET(err, ERR_CONFIG,
                           "the eval wants replies of a `schema`, which '" STR_FMT
                           "' can not keep to (no grammar yet): choose an endpoint that can, or "
                           "say it in the prompt and grade with json_schema",
                           STR_ARG(sampler->description));
        }
        return prompt_adapt(&request->prompt, sampler, force_chat, arena, err);
    }
    if ((sampler->caps & CAP_LOGLIK) == 0) {
        return ERR_SET(err, ERR_CONFIG,
                       "the eval needs log-likelihoods, which '" STR_FMT "' does not offer",
                       STR_ARG(sampler->description));
    }
    LoglikItem *items = ARENA_ARRAY(arena, LoglikItem, request->n_items);
    for (size_t i = 0; i < request->n_items; i++) {
        items[i] = request->items[i];
        bool again =
            i > 0 && same_prompt(&request->items[i].context, &request->items[i - 1].context);
        if (again) {
            items[i].context = items[i - 1].context;
        } else if (!prompt_adapt(&items[i].context, sampler, force_chat, arena, err)) {
            return false;
        }
    }
    request->items = items;
    return true;
}

ScriptModel script_model_of(const Sampler *sampler, const Model *model)
{
    return (ScriptModel){
        .name = model->spec,
        .chat = (sampler->caps & CAP_CHAT) != 0,
        .loglik = (sampler->caps & CAP_LOGLIK) != 0,
        .context_tokens = sampler->context_tokens,
    };
}

// ---- One sample by hand -----------------------------------------------------------------------

bool run_first_requests(Script *script, Registry *registry, Task *task, size_t index, int64_t epoch,
                        uint64_t seed, const Sampler *sampler, bool force_chat, Arena *arena,
                        Sample *out_sample, Request **out_requests, size_t *out_n, Err *err)
{
    Sample sample;
    if (!registry_task_sample(registry, task, index, arena, &sample, err)) {
        return false;
    }
    Model model = {.spec = sampler->description};
    ScriptModel script_model = script_model_of(sampler, &model);
    StepInput in = {.sample = &sample,
                    .epoch = epoch,
                    .seed = run_seed(seed, task->eval->name, task->part, sample.id, 0, STR_EMPTY),
                    .model = &script_model,
                    .limits = &task->eval->limits};
    StepOutput step;
    if (!script_solve(script, task->solver_program, &in, arena, &step, err)) {
        return false;
    }
    size_t n = step.done ? 0 : step.n_effects;
    Request *requests = ARENA_ARRAY(arena, Request, n + 1);
    for (size_t i = 0; i < n; i++) {
        Effect effect = step.effects[i];
        if (!effect_finish(&effect, task, &sample, epoch, seed, sampler, force_chat, arena, err)) {
            return false;
        }
        requests[i] = effect.request;
    }
    *out_sample = sample;
    *out_requests = requests;
    *out_n = n;
    return true;
}

bool run_grade_text(Script *script, Task *task, const Sample *sample, const Sampler *sampler,
                    Str text, Arena *arena, StepOutput *out, Err *err)
{
    Model model = {.spec = sampler->description};
    ScriptModel script_model = script_model_of(sampler, &model);
    StepInput in = {.sample = sample,
                    .epoch = 1,
                    .seed = run_seed(0, task->eval->name, task->part, sample->id, 0, STR_EMPTY),
                    .model = &script_model,
                    .limits = &task->eval->limits};
    Reply reply = {.text = text, .stop = STOP_STOP};
    return script_grade(script, task->grader_program, &in, &reply, NULL, 0, arena, out, err);
}
