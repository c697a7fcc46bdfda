// SPDX-License-Identifier: MIT
#include "fake_sampler.h"

#include <pthread.h>
#include <string.h>

FakePlan fake;

typedef struct FakeRequest {
    uint64_t id;
    const Request *request;
    bool cancelled;
} FakeRequest;

typedef struct FakeSampler {
    Sampler base;
    SamplerHost *host;
    Str name; // of the model
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    FakeRequest *waiting;
    size_t n_waiting, cap_waiting;
    bool go;
    bool closing;
    size_t n_done;
    Rng rng;
} FakeSampler;

Completion *completion_create(uint64_t id)
{
    Completion *completion = mem_zalloc(1, sizeof(*completion));
    completion->id = id;
    arena_init(&completion->arena, 256);
    return completion;
}

void completion_destroy(Completion *completion)
{
    if (completion != NULL) {
        if (completion->failed) {
            mem_free(completion->err);
        }
        arena_finish(&completion->arena);
        mem_free(completion);
    }
}

Err *completion_fail(Completion *completion)
{
    completion->failed = true;
    completion->err = mem_zalloc(1, sizeof(Err));
    return completion->err;
}

/** The reply: the sample's id and the call's path, so that scores tell which reply came where. */
static Completion *answer(FakeSampler *sampler, const FakeRequest *waiting)
{
    Completion *completion = completion_create(waiting->id);
    const Request *request = waiting->request;
    if (waiting->cancelled && !fake.late) {
        ERR_SET(completion_fail(completion), ERR_CANCELLED, "cancelled");
        fake.n_cancelled++;
    } else if (fake.fail_with != NULL && str_eq_c(request->sample_id, fake.fail_with) &&
               (!fake.fail_chats_only || request->prompt.is_chat)) {
        ERR_SET(completion_fail(completion), fake.fail_code, "the fake fails sample " STR_FMT,
                STR_ARG(request->sample_id));
    } else if (fake.names_itself) {
        const Prompt *prompt = &request->prompt;
        completion->reply.text =
            str_printf(&completion->arena, STR_FMT " " STR_FMT, STR_ARG(sampler->name),
                       STR_ARG(prompt->is_chat ? prompt->messages[0].content : prompt->text));
        completion->reply.usage = (Usage){.input = 3, .output = 2};
        completion->reply.cost_usd = 0.5;
    } else {
        completion->reply.text = str_printf(&completion->arena, STR_FMT "/" STR_FMT,
                                            STR_ARG(request->sample_id), STR_ARG(request->call));
        completion->reply.usage = (Usage){.input = (int64_t)request->prompt.text.len, .output = 2};
    }
    sampler->n_done++;
    if (fake.stop_after > 0 && sampler->n_done >= fake.stop_after) {
        *fake.stop = 1;
    }
    return completion;
}

/** Which request to answer now; n_waiting when none. */
static size_t pick_one(FakeSampler *sampler)
{
    bool stalled = fake.stall && sampler->n_done >= fake.stop_after;
    size_t pick = stalled ? 0 : rng_below(&sampler->rng, sampler->n_waiting);
    while (stalled && pick < sampler->n_waiting && !sampler->waiting[pick].cancelled) {
        pick++;
    }
    return pick;
}

static void *fake_main(void *arg)
{
    FakeSampler *sampler = arg;
    pthread_mutex_lock(&sampler->mutex);
    while (!sampler->closing) {
        if (sampler->n_waiting == 0 || (fake.wants_all && !sampler->go)) {
            sampler->go = false;
            pthread_cond_wait(&sampler->wake, &sampler->mutex);
            continue;
        }
        size_t pick = pick_one(sampler);
        if (pick == sampler->n_waiting) {
            pthread_cond_wait(&sampler->wake, &sampler->mutex);
            continue;
        }
        FakeRequest request = sampler->waiting[pick];
        sampler->waiting[pick] = sampler->waiting[--sampler->n_waiting];
        Completion *completion = answer(sampler, &request);
        pthread_mutex_unlock(&sampler->mutex);
        queue_push(sampler->host->completions, &completion->node);
        pthread_mutex_lock(&sampler->mutex);
    }
    pthread_mutex_unlock(&sampler->mutex);
    return NULL;
}

static bool fake_submit(Sampler *base, uint64_t id, const Request *request, Err *err)
{
    (void)err;
    FakeSampler *sampler = (FakeSampler *)base;
    pthread_mutex_lock(&sampler->mutex);
    if (sampler->n_waiting == sampler->cap_waiting) {
        sampler->cap_waiting = sampler->cap_waiting == 0 ? 64 : sampler->cap_waiting * 2;
        sampler->waiting =
            mem_realloc(sampler->waiting, sampler->cap_waiting, sizeof(*sampler->waiting));
    }
    sampler->waiting[sampler->n_waiting++] = (FakeRequest){.id = id, .request = request};
    fake.n_submitted++;
    fake.n_chats += request->prompt.is_chat;
    if (fake.count_bytes) {
        fake.bytes += request->prompt.text.len + request->sample_id.len + request->call.len;
    }
    pthread_cond_signal(&sampler->wake);
    pthread_mutex_unlock(&sampler->mutex);
    return true;
}

static void fake_quiesce(Sampler *base, bool closed)
{
    FakeSampler *sampler = (FakeSampler *)base;
    pthread_mutex_lock(&sampler->mutex);
    fake.n_quiesce++;
    if (closed && fake.n_before_closed == 0) {
        fake.n_before_closed = fake.n_submitted;
    }
    sampler->go = true;
    pthread_cond_signal(&sampler->wake);
    pthread_mutex_unlock(&sampler->mutex);
}

static void fake_cancel(Sampler *base, uint64_t id)
{
    FakeSampler *sampler = (FakeSampler *)base;
    pthread_mutex_lock(&sampler->mutex);
    for (size_t i = 0; i < sampler->n_waiting; i++) {
        if (sampler->waiting[i].id == id) {
            sampler->waiting[i].cancelled = true;
        }
    }
    sampler->go = true;
    pthread_cond_signal(&sampler->wake);
    pthread_mutex_unlock(&sampler->mutex);
}

static void fake_close(Sampler *base)
{
    FakeSampler *sampler = (FakeSampler *)base;
    pthread_mutex_lock(&sampler->mutex);
    sampler->closing = true;
    pthread_cond_signal(&sampler->wake);
    pthread_mutex_unlock(&sampler->mutex);
    pthread_join(sampler->thread, NULL);
    mem_free(sampler->waiting);
    mem_free(sampler);
}

static const SamplerOps fake_ops = {
    .provider = "fake",
    .submit = fake_submit,
    .quiesce = fake_quiesce,
    .cancel = fake_cancel,
    .close = fake_close,
};

bool sampler_open(const Model *model, SamplerHost *host, Sampler **out, Err *err)
{
    (void)err;
    FakeSampler *sampler = mem_zalloc(1, sizeof(*sampler));
    fake.n_opened++;
    sampler->name = model->name;
    sampler->base = (Sampler){.ops = &fake_ops,
                              .caps = CAP_TEXT | CAP_CHAT | (fake.wants_all ? CAP_WANTS_ALL : 0),
                              .max_in_flight = fake.max_in_flight,
                              .description = STR("fake")};
    if (fake.caps != 0 && str_eq(model->name, STR("weak"))) {
        sampler->base.caps = fake.caps;
    }
    sampler->host = host;
    rng_init(&sampler->rng, 1);
    pthread_mutex_init(&sampler->mutex, NULL);
    pthread_cond_init(&sampler->wake, NULL);
    pthread_create(&sampler->thread, NULL, fake_main, sampler);
    *out = &sampler->base;
    return true;
}
