// SPDX-License-Identifier: MIT
// Whatever fails on an emulated device, at every call of its kind from the opening of an engine to
// its last step: opening or the requests end with an error that says so, nothing hangs, nothing
// stays, and another engine that does the rest comes to the results of an undisturbed one.
//
// test_engine_failures [RANKS [TRIES]]: no more than TRIES launches, kernels and copies each, of
// all that there are; of what takes memory always every one.
#include "engine/engine.h"
#include "kernels/emulate/control.h"

#include "../engine/requests.h"
#include "../engine/tiny_gguf.h"
#include "rig.h"

#include <stdlib.h>
#include <unistd.h>

enum { N_REQUESTS = 4 };

KOps cuda_test_ops; // what forward.c calls k_cpu_ops here

/** What came back, and which of it were failures. */
typedef struct Heard {
    Sink sink;
    bool failed[N_REQUESTS];
    Err err; // the last one
} Heard;

static const char *const kinds[EMULATE_FAILURES] = {
    "allocation", "pinned memory", "creation", "launch", "kernel", "copy", "NCCL", "cuBLAS"};
static Str path;
static EngineRequest requests[N_REQUESTS];
static Hash expected;
static char ranks_text[16];
static uint64_t most_tries = UINT64_MAX;

static bool open_ranks(const KDeviceOptions *options, KDevice **out, Err *err)
{
    KDeviceOptions own = *options;
    own.path = ranks_text;
    return muster_cuda_ops()->device_open(&own, out, err);
}

static void requests_make(void)
{
    static int32_t tokens[24];
    static EngineLeaf leaves[2];
    for (int i = 0; i < 24; i++) {
        tokens[i] = (int32_t)(rng_at(5, 1, (uint64_t)i) * 256);
    }
    leaves[0] = (EngineLeaf){.tokens = tokens, .n_tokens = 18, .n_context = 12};
    leaves[1] = (EngineLeaf){.tokens = tokens, .n_tokens = 16, .n_context = 12};
    requests[0] = (EngineRequest){
        .prompt = tokens, .n_prompt = 12, .max_tokens = 2, .n_replies = 2, .top_logprobs = 4};
    requests[0].picker = (PickerSettings){.temperature = 1, .top_p = 0.9, .seed = 3};
    requests[1] = (EngineRequest){.leaves = leaves, .n_leaves = 2, .per_token = true};
    requests[2] = (EngineRequest){.prompt = tokens, .n_prompt = 9, .max_tokens = 3, .n_replies = 1};
    requests[2].picker = (PickerSettings){.top_p = 1};
    requests[3] = (EngineRequest){.prompt = tokens + 8, .n_prompt = 8, .max_tokens = 4};
    requests[3].n_replies = 1;
    requests[3].picker = (PickerSettings){.temperature = 0.7, .top_p = 1, .seed = 4};
}

static void hear(void *ctx, uint64_t id, const EngineResult *result)
{
    Heard *heard = ctx;
    heard->failed[id] = result->err != NULL;
    if (result->err != NULL) {
        heard->err = *result->err;
    }
    sink_take(&heard->sink, id, result);
}

/** Open an engine and run what has no result; false when it can not be opened. */
static bool run_rest(Heard *heard, Err *err)
{
    EngineOptions options = {.model_path = path,
                             .device = STR("cpu"),
                             .threads = 1,
                             .kv_bytes = 1 << 16,
                             .max_rows = 24,
                             .max_batch = 8,
                             .skip_hash = true};
    Engine *engine = NULL;
    if (!engine_open(&options, hear, heard, &engine, err)) {
        return false;
    }
    for (size_t i = 0; i < N_REQUESTS; i++) {
        if (!heard->sink.done[i]) {
            CHECK_OK(engine_submit(engine, i, &requests[i], err), err);
        }
    }
    engine_quiesce(engine, true);
    sink_wait(&heard->sink, N_REQUESTS);
    engine_close(engine);
    return true;
}

static void check_nothing_stays(EmulateFailure what, uint64_t nth)
{
    EmulateLive live;
    emulate_live(&live);
    if (live.allocations + live.host_allocations + live.streams + live.events + live.graphs +
            live.blas_handles + live.nccl_ranks >
        0) {
        printf("# %s %llu: %zu allocations, %zu pinned, %zu streams, %zu events, %zu graphs stay\n",
               kinds[what], (unsigned long long)nth, live.allocations, live.host_allocations,
               live.streams, live.events, live.graphs);
        CHECK(false);
    }
}

typedef struct Tally {
    uint64_t unopened, unfinished, unharmed;
} Tally;

static void check_failure(EmulateFailure what, uint64_t nth, Tally *tally)
{
    Heard heard = {.err = ERR_INIT};
    Err err = ERR_INIT;
    sink_init(&heard.sink);
    emulate_reset();
    emulate_fail(what, nth);
    bool opened = run_rest(&heard, &err);
    err = opened ? heard.err : err;
    bool harmed = !opened || heard.sink.n_failed > 0;
    tally->unopened += !opened;
    tally->unfinished += opened && harmed;
    tally->unharmed += !harmed;
    if (harmed) { // in a step it is the device's failure, whatever it lacked
        CHECK(err.code == ERR_DEVICE || (err.code == ERR_LIMIT && !opened));
        CHECK(err.message[0] != '\0' && err.n_frames > 0);
        if (err.code != ERR_DEVICE && err.code != ERR_LIMIT) {
            printf("# %s %llu: code %d: %s\n", kinds[what], (unsigned long long)nth, (int)err.code,
                   err.message);
        }
    }
    emulate_fail(what, 0);
    emulate_reset();
    check_nothing_stays(what, nth);
    if (!opened && nth % 8 != 0) {
        return;
    }
    // Another engine does the rest.
    for (size_t i = 0; i < N_REQUESTS; i++) {
        if (heard.failed[i]) {
            heard.sink.done[i] = false;
            heard.sink.n_done--;
            heard.sink.n_failed--;
        }
    }
    Err second = ERR_INIT;
    CHECK_OK(run_rest(&heard, &second), &second);
    Hash got = sink_digest(&heard.sink, N_REQUESTS);
    CHECK_INT(heard.sink.n_failed, 0);
    CHECK(hash_eq(&got, &expected));
}

/** Every one of a kind that a run has, or the first, the last and some in between. */
static void check_kind(EmulateFailure what, uint64_t tries)
{
    Heard heard = {.err = ERR_INIT};
    Err err = ERR_INIT;
    sink_init(&heard.sink);
    emulate_reset();
    uint64_t before = emulate_count(what);
    CHECK_OK(run_rest(&heard, &err), &err);
    uint64_t n = emulate_count(what) - before;
    Tally tally = {0};
    uint64_t n_tried = n < tries ? n : tries;
    for (uint64_t i = 0; i < n_tried; i++) {
        check_failure(what, n - i * (n - 1) / (n_tried > 1 ? n_tried - 1 : 1), &tally);
    }
    printf("# %s: %llu of %llu tried; %llu kept the engine from opening, %llu ended the requests, "
           "%llu "
           "did no harm\n",
           kinds[what], (unsigned long long)n_tried, (unsigned long long)n,
           (unsigned long long)tally.unopened, (unsigned long long)tally.unfinished,
           (unsigned long long)tally.unharmed);
    CHECK(n > 0 && tally.unopened + tally.unfinished > 0);
}

static void test_engine__undisturbed(void)
{
    Heard heard = {.err = ERR_INIT};
    Err err = ERR_INIT;
    sink_init(&heard.sink);
    CHECK_OK(run_rest(&heard, &err), &err);
    CHECK_INT(heard.sink.n_failed, 0);
    expected = sink_digest(&heard.sink, N_REQUESTS);
    check_nothing_stays(EMULATE_FAIL_ALLOC, 0);
}

static void test_engine__memory(void)
{
    check_kind(EMULATE_FAIL_ALLOC, UINT64_MAX);
    check_kind(EMULATE_FAIL_HOST, UINT64_MAX);
    check_kind(EMULATE_FAIL_CREATE, UINT64_MAX);
}

static void test_engine__launches(void)
{
    check_kind(EMULATE_FAIL_LAUNCH, most_tries);
}

static void test_engine__lost_device(void)
{
    check_kind(EMULATE_FAIL_KERNEL, most_tries);
    check_kind(EMULATE_FAIL_COPY, most_tries);
}

int main(int argc, char **argv)
{
    EmulateOptions emulate;
    emulate_options(&emulate);
    emulate.n_devices = 4;
    emulate_configure(&emulate);
    memcpy(&cuda_test_ops, muster_cuda_ops(), sizeof(cuda_test_ops));
    cuda_test_ops.device_open = open_ranks;
    snprintf(ranks_text, sizeof(ranks_text), "tp=%.8s", argc > 1 ? argv[1] : "1");
    most_tries = argc > 2 ? strtoul(argv[2], NULL, 10) : UINT64_MAX;
    const char *folder = getenv("TMPDIR");
    path = str_printf(&arena, "%s/test_cuda_engine_failures_%d.gguf",
                      folder != NULL ? folder : "/tmp", (int)getpid());
    TinyModel tiny = tiny_model_default();
    tiny.n_layers = 1;
    tiny.dim = tiny.ffn_dim = 64;
    tiny.n_heads = tiny.n_kv_heads = 2;
    tiny.vocab = 260;
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&tiny, path, &err), &err);
    requests_make();
    tap_run("an engine runs", test_engine__undisturbed);
    tap_run("every allocation", test_engine__memory);
    tap_run("every launch", test_engine__launches);
    tap_run("every kernel and copy", test_engine__lost_device);
    unlink(path.data);
    arena_finish(&arena);
    return tap_done();
}
