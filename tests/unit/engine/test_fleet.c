// SPDX-License-Identifier: MIT
// An engine on several devices, which are the CPU under another name (tests/unit/backends): for
// one, two and three of them the same bits, what is computed twice as the plan says, conversations
// that stay where their beginning is, jobs given up, a device that is lost, closing in the middle.
//
//     test_fleet MODULE
#include "engine/engine.h"

#include "../tap.h"
#include "requests.h"
#include "tiny_gguf.h"

#include <stdlib.h>
#include <unistd.h>

enum { N_REQUESTS = 150, DEVICES_MAX = 3, TALKS = 24, TURNS = 3, REPLY = 9 };

static Str path;
static RequestSet set;
static Sink expected; // of one device

// ---- Engines ----------------------------------------------------------------------------------

static Engine *fleet_open(int n_gpus, EngineDone *done, void *ctx)
{
    Engine *engine = NULL;
    Err err = ERR_INIT;
    EngineOptions options = {.model_path = path,
                             .device = STR("cuda"),
                             .n_gpus = n_gpus,
                             .threads = 1,
                             .kv_bytes = (uint64_t)64 << 20,
                             .max_rows = 64};
    return CHECK_OK(engine_open(&options, done, ctx, &engine, &err), &err) ? engine : NULL;
}

static void submit(Engine *engine, size_t id)
{
    Err err = ERR_INIT;
    CHECK_OK(engine_submit(engine, id, &set.requests[id], &err), &err);
}

/** Wait until n jobs have ended in whatever way. */
static void wait_ended(Sink *sink, size_t n)
{
    pthread_mutex_lock(&sink->mutex);
    while (sink->n_done + sink->n_cancelled < n) {
        pthread_cond_wait(&sink->changed, &sink->mutex);
    }
    pthread_mutex_unlock(&sink->mutex);
}

static void check_results(const Sink *sink, const char *what)
{
    for (size_t i = 0; i < set.n; i++) {
        if (sink->done[i] && !hash_eq(&sink->hashes[i], &expected.hashes[i])) {
            printf("# %s: request %zu differs\n", what, i);
            CHECK(false);
            return;
        }
    }
}

// ---- Tests ------------------------------------------------------------------------------------

static void test_fleet__same_bits(void)
{
    uint64_t distinct = request_set_distinct(&set);
    for (int n = 1; n <= DEVICES_MAX; n++) {
        Sink sink;
        sink_init(&sink);
        Engine *engine = fleet_open(n, sink_take, &sink);
        for (size_t i = 0; i < set.n; i++) {
            submit(engine, i);
        }
        engine_quiesce(engine, true);
        sink_wait(&sink, set.n);
        EngineStats stats;
        engine_stats(engine, &stats);
        CHECK_INT(sink.n_failed, 0);
        CHECK_INT(stats.plan.requests, set.n);
        CHECK_INT(stats.plan.n_devices, n);
        CHECK_INT(stats.plan.distinct - stats.plan.doubled, distinct);
        CHECK_INT(stats.prefill_tokens_needed, stats.plan.distinct);
        CHECK_INT(stats.prefill_tokens_computed, stats.plan.distinct);
        CHECK_INT(stats.decode_tokens, sink.n_decode_rows + stats.plan.replies);
        CHECK(n == 1 || (stats.plan.tokens_least > 0 && stats.plan.pieces >= (uint64_t)n));
        CHECK(n == 1 || stats.plan.tokens_most < distinct * 3 / 4);
        const EngineModelInfo *info = engine_model_info(engine);
        CHECK_INT(info->n_gpus, n);
        CHECK_INT(info->gpus[n - 1], n - 1);
        CHECK_STR(info->device_words, n == 1   ? STR("cuda Fake 9000")
                                      : n == 2 ? STR("2 x cuda Fake 9000")
                                               : STR("3 x cuda Fake 9000"));
        engine_close(engine);
        printf("# %d devices: %llu pieces, %llu to %llu tokens, %llu of %llu computed twice\n", n,
               (unsigned long long)stats.plan.pieces, (unsigned long long)stats.plan.tokens_least,
               (unsigned long long)stats.plan.tokens_most, (unsigned long long)stats.plan.doubled,
               (unsigned long long)distinct);
        if (n == 1) {
            expected = sink;
        }
        check_results(&sink, "all at once");
    }
}

/** In lots, each when the one before has ended; some twice, which finds what is there. */
static void test_fleet__late_arrivals(void)
{
    uint64_t again_on_one = 0;
    for (int n = 1; n <= DEVICES_MAX; n++) {
        Sink sink;
        sink_init(&sink);
        Engine *engine = fleet_open(n, sink_take, &sink);
        for (size_t i = 0; i < set.n; i++) {
            submit(engine, i);
            if (i % 40 == 39 || i + 1 == set.n) {
                engine_quiesce(engine, i + 1 == set.n);
                sink_wait(&sink, i + 1);
            }
        }
        check_results(&sink, "in lots");
        EngineStats before, after;
        engine_stats(engine, &before);
        for (size_t i = 0; i < set.n; i++) {
            submit(engine, i);
        }
        engine_quiesce(engine, true);
        sink_wait(&sink, 2 * set.n);
        engine_stats(engine, &after);
        check_results(&sink, "again");
        // What is wanted of a sequence is computed again, its beginning is not: about as on one.
        uint64_t again = after.prefill_tokens_computed - before.prefill_tokens_computed;
        again_on_one = n == 1 ? again : again_on_one;
        printf("# %d devices: %llu in lots, %llu again\n", n,
               (unsigned long long)before.prefill_tokens_computed, (unsigned long long)again);
        CHECK(again * 4 <= again_on_one * 5);
        engine_close(engine);
    }
}

/** Conversations: each turn is what was said before, and something new. */
typedef struct Talk {
    int32_t tokens[512];
    size_t n;
    size_t n_before; // computed by the turn before
    int turn;
    uint64_t cached[TURNS];
    uint64_t beginnings[TURNS];
} Talk;

typedef struct Talks {
    Sink sink;
    Talk talks[TALKS];
    size_t ended[TALKS * TURNS]; // talks whose reply came, in that order
    size_t n_ended;
} Talks;

static void talk_take(void *ctx, uint64_t id, const EngineResult *result)
{
    Talks *talks = ctx;
    Talk *talk = &talks->talks[id];
    if (result->err == NULL) {
        talk->cached[talk->turn] = result->n_cached_tokens;
        talk->beginnings[talk->turn] = talk->n_before;
        talk->n_before = talk->n + result->texts[0].n_tokens - 1;
        for (size_t k = 0; k < result->texts[0].n_tokens; k++) {
            talk->tokens[talk->n++] = result->texts[0].tokens[k].id;
        }
    }
    pthread_mutex_lock(&talks->sink.mutex);
    talks->ended[talks->n_ended++] = id;
    pthread_cond_signal(&talks->sink.changed);
    pthread_mutex_unlock(&talks->sink.mutex);
}

static void talk_say(Engine *engine, Talk *talk, size_t id)
{
    Err err = ERR_INIT;
    for (size_t k = 0; k < 11 + id % 7; k++) {
        talk->tokens[talk->n++] = (int32_t)(rng_mix(id * 1000 + talk->turn * 100 + k) % 250);
    }
    EngineRequest request = {
        .prompt = talk->tokens,
        .n_prompt = talk->n,
        .max_tokens = 1 + (int64_t)(id + talk->turn) % REPLY,
        .n_replies = 1,
        .picker = {.temperature = id % 2 == 0 ? 0 : 0.9, .top_p = 1, .seed = id * 10 + talk->turn}};
    CHECK_OK(engine_submit(engine, id, &request, &err), &err);
}

/** All conversations to their end, on n devices; hashes of what was said. */
static Hash talks_run(int n, Talks *talks)
{
    *talks = (Talks){0};
    sink_init(&talks->sink);
    Engine *engine = fleet_open(n, talk_take, talks);
    for (size_t t = 0; t < TALKS; t++) {
        Talk *talk = &talks->talks[t];
        for (; talk->n < 70; talk->n++) { // what all begin with
            talk->tokens[talk->n] = (int32_t)(talk->n * 3 % 250);
        }
        talk_say(engine, talk, t);
    }
    engine_quiesce(engine, true);
    for (size_t done = 0; done < TALKS * TURNS; done++) {
        pthread_mutex_lock(&talks->sink.mutex);
        while (talks->n_ended == done) {
            pthread_cond_wait(&talks->sink.changed, &talks->sink.mutex);
        }
        size_t id = talks->ended[done];
        pthread_mutex_unlock(&talks->sink.mutex);
        Talk *talk = &talks->talks[id];
        if (++talk->turn < TURNS) {
            talk_say(engine, talk, id);
        }
        engine_quiesce(engine, false);
    }
    EngineStats stats;
    engine_stats(engine, &stats);
    CHECK_INT(stats.prefill_tokens_computed, stats.prefill_tokens_needed);
    engine_close(engine);
    Sha256 sha;
    hash_begin(&sha, STR("talks"));
    for (size_t t = 0; t < TALKS; t++) {
        hash_str(&sha, (Str){.data = (const char *)talks->talks[t].tokens,
                             .len = talks->talks[t].n * sizeof(int32_t)});
    }
    return hash_end(&sha);
}

static void test_fleet__conversations_stay(void)
{
    static Talks talks;
    Hash one = talks_run(1, &talks);
    for (int n = 1; n <= DEVICES_MAX; n++) {
        Hash got = talks_run(n, &talks);
        CHECK(hash_eq(&got, &one));
        for (size_t t = 0; t < TALKS; t++) {
            for (int turn = 1; turn < TURNS; turn++) { // prompt and reply of the turn before
                CHECK(talks.talks[t].cached[turn] >= talks.talks[t].beginnings[turn]);
            }
        }
    }
}

static void test_fleet__gives_up(void)
{
    Sink sink;
    sink_init(&sink);
    Engine *engine = fleet_open(3, sink_take, &sink);
    for (size_t i = 0; i < set.n; i++) {
        submit(engine, i);
        if (i == set.n / 2) {
            engine_quiesce(engine, false);
        }
    }
    for (size_t i = 0; i < set.n; i += 2) { // some of them have not been planned
        engine_cancel(engine, i);
    }
    engine_cancel(engine, 12345);
    engine_quiesce(engine, true);
    wait_ended(&sink, set.n);
    CHECK_INT(sink.n_failed, 0);
    CHECK(sink.n_cancelled > 0 && sink.n_done >= set.n / 2);
    for (size_t i = 1; i < set.n; i += 2) {
        CHECK(sink.done[i]);
    }
    check_results(&sink, "half of them");
    engine_close(engine);
}

/** What a device had that is lost goes to the others; where there are none it fails, in words that
 * name the device. */
static void test_fleet__device_lost(void)
{
    static const char *const loses[] = {"1:6", "0:3", "1:1"};
    for (size_t l = 0; l < sizeof(loses) / sizeof(loses[0]); l++) {
        for (int n = 2; n <= DEVICES_MAX; n++) {
            setenv("FAKE_CUDA_LOSE", loses[l], 1);
            Sink sink;
            sink_init(&sink);
            Engine *engine = fleet_open(n, sink_take, &sink);
            for (size_t i = 0; i < set.n; i++) {
                submit(engine, i);
            }
            engine_quiesce(engine, true);
            sink_wait(&sink, set.n);
            CHECK_INT(sink.n_failed, 0);
            check_results(&sink, "with a device lost");
            EngineStats stats;
            engine_stats(engine, &stats);
            CHECK_INT(stats.n_lost, 1);
            CHECK_STR(str_from_c(stats.lost_why), loses[l][0] == '1'
                                                      ? STR("cuda:1: the device is lost")
                                                      : STR("cuda:0: the device is lost"));
            for (size_t i = 0; i < set.n; i++) { // what comes later too
                submit(engine, i);
            }
            engine_quiesce(engine, true);
            sink_wait(&sink, 2 * set.n);
            CHECK_INT(sink.n_failed, 0);
            engine_close(engine);
        }
    }
    setenv("FAKE_CUDA_LOSE", "all:4", 1);
    Sink sink;
    sink_init(&sink);
    Engine *engine = fleet_open(2, sink_take, &sink);
    for (size_t i = 0; i < set.n; i++) {
        submit(engine, i);
    }
    engine_quiesce(engine, true);
    sink_wait(&sink, set.n);
    printf("# %zu of %zu failed with all devices\n", sink.n_failed, set.n);
    CHECK(sink.n_failed > 0 && sink.n_failed < set.n);
    CHECK(strstr(sink.message, "cuda:") != NULL && strstr(sink.message, "is lost") != NULL);
    check_results(&sink, "before all devices were lost");
    engine_close(engine);
    unsetenv("FAKE_CUDA_LOSE");
}

/** Closed with replies half written and jobs that were never planned: each ends once. */
static void test_fleet__closes_in_the_middle(void)
{
    for (size_t after = 0; after < set.n; after += 37) {
        Sink sink;
        sink_init(&sink);
        Engine *engine = fleet_open(3, sink_take, &sink);
        for (size_t i = 0; i < set.n; i++) {
            submit(engine, i);
            if (i == set.n - 20) {
                engine_quiesce(engine, false);
            }
        }
        sink_wait(&sink, after < set.n - 20 ? after : set.n - 20);
        engine_close(engine);
        CHECK_INT(sink.n_done + sink.n_cancelled, set.n);
        CHECK_INT(sink.n_failed, 0);
        check_results(&sink, "before closing");
    }
}

/** All there are that can be used. */
static void test_fleet__all(void)
{
    for (int n = 1; n <= 2; n++) {
        if (n == 2) {
            setenv("FAKE_DRIVER_NEW", "1", 1);
        }
        Sink sink;
        Engine *engine = fleet_open(ENGINE_GPUS_ALL, sink_take, &sink);
        CHECK_INT(engine_model_info(engine)->n_gpus, n);
        engine_close(engine);
    }
    unsetenv("FAKE_DRIVER_NEW");
    Engine *engine = NULL;
    Err err = ERR_INIT;
    EngineOptions options = {.model_path = path, .n_gpus = ENGINE_GPUS_ALL, .tp = 2, .threads = 1};
    CHECK(!engine_open(&options, sink_take, NULL, &engine, &err));
    CHECK(strstr(err.message, "from cuda:0 on there are no 2 that can be used") != NULL);
}

static void test_fleet__refused(void)
{
    static const struct {
        const char *device;
        int n_gpus, tp;
        ErrCode code;
        const char *says;
        int line;
    } cases[] = {
        {"cpu", 2, 0, ERR_USAGE, "--gpus 2 is for GPUs, and the device is cpu", __LINE__},
        {"cpu", ENGINE_GPUS_ALL, 0, ERR_USAGE, "--gpus all is for GPUs", __LINE__},
        {"cuda", 3, 2, ERR_USAGE, "--gpus 3 can not be shared out in lots of --tp 2", __LINE__},
        {"cuda:60", 5, 0, ERR_USAGE, "there is no device past 63", __LINE__},
        {"", 4, 0, ERR_DEVICE, "device 'cuda:3' can not be used", __LINE__},
        {"cuda:2", 2, 0, ERR_DEVICE, "there is no device 3, only 3", __LINE__},
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        Engine *engine = NULL;
        Err err = ERR_INIT;
        Sink sink;
        sink_init(&sink);
        EngineOptions options = {.model_path = path,
                                 .device = str_from_c(cases[c].device),
                                 .n_gpus = cases[c].n_gpus,
                                 .tp = cases[c].tp,
                                 .threads = 1};
        bool opened = engine_open(&options, sink_take, &sink, &engine, &err);
        if (opened || err.code != cases[c].code || strstr(err.message, cases[c].says) == NULL) {
            printf("# line %d: %s [%s]\n", cases[c].line, opened ? "opened" : err.message,
                   err_code_word(err.code));
            CHECK(false);
        }
        engine_close(engine);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    Arena arena;
    arena_init(&arena, 1 << 10);
    const char *folder = getenv("TMPDIR");
    path = str_printf(&arena, "%s/fleet_%d.gguf", folder != NULL ? folder : "/tmp", getpid());
    setenv("MUSTER_CUDA_MODULE", argv[1], 1);
    setenv("FAKE_CUDA_DEVICES", "3", 1);
    TinyModel model = tiny_model_default();
    Err err = ERR_INIT;
    if (!CHECK_OK(tiny_gguf_write(&model, path, &err), &err)) {
        return 1;
    }
    request_set_make(&set, 77, N_REQUESTS, 256);
    tap_run("one, two and three devices: the same bits", test_fleet__same_bits);
    tap_run("late arrivals", test_fleet__late_arrivals);
    tap_run("conversations stay where they began", test_fleet__conversations_stay);
    tap_run("jobs that are given up", test_fleet__gives_up);
    tap_run("a device is lost", test_fleet__device_lost);
    tap_run("closed in the middle", test_fleet__closes_in_the_middle);
    tap_run("all GPUs", test_fleet__all);
    tap_run("what is refused", test_fleet__refused);
    request_set_finish(&set);
    unlink(path.data);
    arena_finish(&arena);
    return tap_done();
}
