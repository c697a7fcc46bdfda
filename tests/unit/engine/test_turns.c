// SPDX-License-Identifier: MIT
// Conversations through the whole engine on a small random model, answered from another thread as
// src/run/loop.c does it: what came is taken at once and gone on from, and when nothing more has
// come the engine is told so. In a part of the memory that all conversations come to, next to
// nothing is computed twice, and every reply has the bits that it has in ample memory.
#include "engine/engine.h"

#include "../tap.h"
#include "tiny_gguf.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ATTEMPTS_MAX = 200,
    TURNS_MAX = 4,
    ASK_TOKENS = 12,
    REPLY_TOKENS = 16,
    FIRST_MAX = 60,
    OPENING = 8
};

static Str path;

/** A reply on its way to the thread that answers. */
typedef struct Said {
    QueueNode node;
    uint64_t id;
    bool failed;
    uint32_t n_tokens;
    int32_t tokens[REPLY_TOKENS];
} Said;

typedef struct Talk {
    int32_t tokens[FIRST_MAX + TURNS_MAX * (ASK_TOKENS + REPLY_TOKENS)];
    size_t n;
} Talk;

typedef struct Talks {
    Engine *engine;
    Queue said;
    size_t n_attempts;
    uint64_t n_turns;
    uint64_t n_needed; // tokens of prompts that no earlier prompt or reply has left computed
    uint64_t n_final;  // keys and values that all come to
    size_t n_failed;
    Talk talks[ATTEMPTS_MAX];
} Talks;

static void on_done(void *ctx, uint64_t id, const EngineResult *result)
{
    Talks *talks = ctx;
    Said *said = mem_zalloc(1, sizeof(*said));
    said->id = id;
    said->failed = result->err != NULL;
    for (size_t i = 0; !said->failed && i < result->texts[0].n_tokens; i++) {
        said->tokens[said->n_tokens++] = result->texts[0].tokens[i].id;
    }
    queue_push(&talks->said, &said->node);
}

static void talk_submit(Talks *talks, uint64_t id)
{
    Talk *talk = &talks->talks[id / TURNS_MAX];
    EngineRequest request = {.prompt = talk->tokens,
                             .n_prompt = talk->n,
                             .max_tokens = REPLY_TOKENS,
                             .n_replies = 1,
                             .picker = {.temperature = 1, .top_p = 1, .seed = id}};
    Err err = ERR_INIT;
    CHECK_OK(engine_submit(talks->engine, id, &request, &err), &err);
}

/** Begin an attempt: one of three openings, then words of its own. */
static void talk_begin(Talks *talks, size_t attempt)
{
    Talk *talk = &talks->talks[attempt];
    talk->n = 20 + (size_t)(rng_at(attempt, 1, 0) * (FIRST_MAX - 20));
    for (size_t i = 0; i < talk->n; i++) {
        talk->tokens[i] = (int32_t)(rng_at(attempt, 2, i) * 256);
    }
    for (size_t i = 0; i < OPENING; i++) {
        talk->tokens[i] = (int32_t)(attempt % 3);
    }
    talk->tokens[OPENING] = (int32_t)attempt; // nothing more is shared
    talks->n_needed += talk->n - (attempt < 3 ? 0 : OPENING);
    talk_submit(talks, attempt * TURNS_MAX);
}

/** Go on from a reply, if it was not the last; returns how many attempts ended. */
static size_t talk_answer(Talks *talks, const Said *said)
{
    size_t attempt = said->id / TURNS_MAX;
    Talk *talk = &talks->talks[attempt];
    talks->n_failed += said->failed ? 1 : 0;
    memcpy(talk->tokens + talk->n, said->tokens, said->n_tokens * sizeof(*said->tokens));
    talk->n += said->n_tokens;
    if (said->failed || said->id % TURNS_MAX + 1 == talks->n_turns) {
        talks->n_final += talk->n - 1 - (attempt < 3 ? 0 : OPENING);
        return 1;
    }
    for (size_t i = 0; i < ASK_TOKENS; i++) {
        talk->tokens[talk->n++] = (int32_t)(rng_at(said->id, 3, i) * 256);
    }
    talks->n_needed += ASK_TOKENS + 1; // and the reply's last token
    talk_submit(talks, said->id + 1);
    return 0;
}

/** As the run loop: take all that came; told only when there was nothing, then sleep. */
static void talks_run(Talks *talks)
{
    for (size_t a = 0; a < talks->n_attempts; a++) {
        talk_begin(talks, a);
    }
    for (size_t ended = 0; ended < talks->n_attempts;) {
        QueueNode *node = queue_take_all(&talks->said);
        if (node == NULL) {
            engine_quiesce(talks->engine, true);
            struct pollfd fd = {.fd = talks->said.event_fd, .events = POLLIN};
            poll(&fd, 1, 100);
        }
        while (node != NULL) {
            QueueNode *next = node->next;
            ended += talk_answer(talks, (Said *)node);
            mem_free(node);
            node = next;
        }
    }
}

/** The same attempts in so many slots (0: ample); returns what all came to. */
static Talks *talks_in(size_t n_attempts, uint64_t n_turns, uint64_t slots, EngineStats *stats)
{
    Talks *talks = mem_zalloc(1, sizeof(*talks));
    talks->n_attempts = n_attempts;
    talks->n_turns = n_turns;
    CHECK(queue_init(&talks->said));
    Err err = ERR_INIT;
    EngineOptions options = {.model_path = path, .threads = 1};
    CHECK_OK(engine_open(&options, on_done, talks, &talks->engine, &err), &err);
    const EngineModelInfo *info = engine_model_info(talks->engine);
    size_t head = (size_t)(info->dim / info->n_heads);
    if (slots > 0) { // int16 keys and values with a scale for each head
        options.kv_bytes =
            slots * (uint64_t)(info->n_layers * info->n_kv_heads) * 2 * (head * 2 + 4);
        engine_close(talks->engine);
        CHECK_OK(engine_open(&options, on_done, talks, &talks->engine, &err), &err);
    }
    talks_run(talks);
    engine_stats(talks->engine, stats);
    engine_close(talks->engine);
    queue_finish(&talks->said);
    CHECK_INT(talks->n_failed, 0);
    return talks;
}

static void test_turns__in_a_part_of_their_memory(void)
{
    static const struct {
        int line;
        size_t n_attempts;
        uint64_t n_turns;
        uint64_t divisor;
    } cases[] = {
        {__LINE__, 200, 3, 4}, {__LINE__, 40, 3, 4}, {__LINE__, 60, 4, 5}, {__LINE__, 200, 1, 4}};
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        EngineStats ample;
        EngineStats tight;
        Talks *all = talks_in(cases[c].n_attempts, cases[c].n_turns, 0, &ample);
        CHECK_INT(ample.prefill_tokens_computed, all->n_needed);
        Talks *part = talks_in(cases[c].n_attempts, cases[c].n_turns,
                               all->n_final / cases[c].divisor, &tight);
        CHECK_INT(memcmp(all->talks, part->talks, sizeof(all->talks)), 0);
        printf("# line %d: %llu of %llu slots, computed / needed %.3f\n", cases[c].line,
               (unsigned long long)(all->n_final / cases[c].divisor),
               (unsigned long long)all->n_final,
               (double)tight.prefill_tokens_computed / (double)all->n_needed);
        CHECK(tight.kv_peak_bytes <= tight.kv_pool_bytes);
        CHECK(tight.kv_pool_bytes < ample.kv_peak_bytes);
        CHECK(tight.prefill_tokens_computed >= all->n_needed);
        CHECK(tight.prefill_tokens_computed * 100 <= all->n_needed * 105);
        mem_free(part);
        mem_free(all);
    }
}

int main(void)
{
    Arena arena;
    arena_init(&arena, 1 << 10);
    const char *folder = getenv("TMPDIR");
    path = str_printf(&arena, "%s/test_turns_%d.gguf", folder != NULL ? folder : "/tmp", getpid());
    TinyModel model = tiny_model_default();
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&model, path, &err), &err);
    tap_run("conversations in a part of their memory", test_turns__in_a_part_of_their_memory);
    unlink(path.data);
    arena_finish(&arena);
    return tap_done();
}
