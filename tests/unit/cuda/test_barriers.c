// SPDX-License-Identifier: MIT
// Every barrier of the kernels is needed: with one of them left out, the race checker reports
// something, or results differ, under one of the schedules. Whole engines run, so a barrier that no
// kernel comes to on the way from tokens to results is noticed, too.
//
// test_barriers FILE.cu...: the sources, for their list of barriers; only those of $BARRIERS_OF, a
// part of a file's name, are left out when that is set.
#include "engine/engine.h"
#include "engine/gguf.h"
#include "kernels/emulate/control.h"

#include "../engine/requests.h"
#include "../engine/tiny_gguf.h"
#include "rig.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { BARRIERS_MAX = 256, SEEDS = 5, CPU_SECONDS = 200, WALL_SECONDS = 1800 };

KOps cuda_test_ops; // what forward.c calls k_cpu_ops here

typedef struct Work {
    const char *name;
    Precision precision;
    uint32_t type; // of matrices; 0: the tiny model's, quantised
    Str path;
    Hash expected;
} Work;

static Work works[] = {{.name = "default", .precision = PRECISION_DEFAULT},
                       {.name = "f32", .precision = PRECISION_F32},
                       {.name = "halves", .precision = PRECISION_DEFAULT, .type = GGUF_BF16}};
static RequestSet set;
static EmulateBarrier barriers[BARRIERS_MAX];
static size_t n_barriers;

static void model_make(Work *work, int number)
{
    const char *folder = getenv("TMPDIR");
    work->path = str_printf(&arena, "%s/test_cuda_barriers_%d_%d.gguf",
                            folder != NULL ? folder : "/tmp", (int)getpid(), number);
    TinyModel model = tiny_model_default();
    model.n_layers = 1;
    model.dim = 128; // enough blocks for loops to come round
    model.ffn_dim = 192;
    model.n_heads = 2; // of 64 elements: a lane reads keys that others have copied
    model.n_kv_heads = 1;
    model.vocab = 300;
    model.type = work->type != 0 ? work->type : model.type;
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&model, work->path, &err), &err);
}

/** False when a request or the engine failed. */
static bool work_run(const Work *work, uint64_t seed, Hash *out)
{
    EmulateOptions emulate;
    emulate_options(&emulate);
    emulate.seed = seed;
    emulate_configure(&emulate);
    EngineOptions options = {.model_path = work->path,
                             .device = STR("cpu"),
                             .threads = 1,
                             .precision = work->precision,
                             .kv_bytes = 4 << 20};
    Engine *engine = NULL;
    Err err = ERR_INIT;
    Sink sink;
    sink_init(&sink);
    bool ok = engine_open(&options, sink_take, &sink, &engine, &err);
    for (size_t i = 0; ok && i < set.n; i++) {
        ok = engine_submit(engine, i, &set.requests[i], &err);
    }
    if (ok) {
        engine_quiesce(engine, true);
        sink_wait(&sink, set.n);
    }
    engine_close(engine);
    *out = sink_digest(&sink, set.n);
    return ok && sink.n_failed == 0;
}

static void test_barriers__all_are_met(void)
{
    emulate_note_barriers();
    for (size_t w = 0; w < COUNT(works); w++) {
        model_make(&works[w], (int)w);
        CHECK(work_run(&works[w], 0, &works[w].expected));
    }
    CHECK(emulate_take_fault() == NULL);
    while (n_barriers < BARRIERS_MAX && emulate_barrier(n_barriers, &barriers[n_barriers])) {
        n_barriers++;
    }
    CHECK(n_barriers > 0 && n_barriers < BARRIERS_MAX);
    emulate_leave_out(NULL);
}

// ---- The list in the sources ------------------------------------------------------------------

static bool is_met(Str path, int line)
{
    for (size_t i = 0; i < n_barriers; i++) {
        Str file = str_from_c(barriers[i].file);
        if (barriers[i].line == line && str_eq(path_base(file), path_base(path))) {
            return true;
        }
    }
    return false;
}

static char **sources;

static void test_barriers__are_those_of_the_sources(void)
{
    size_t n = 0;
    for (size_t s = 0; sources[s] != NULL; s++) {
        Str text = STR_EMPTY, line;
        Err err = ERR_INIT;
        CHECK_OK(file_read(&arena, str_from_c(sources[s]), 1 << 20, &text, &err), &err);
        for (int number = 1; text.len > 0; number++) {
            if (!str_cut(text, STR("\n"), &line, &text)) {
                line = text;
                text = STR_EMPTY;
            }
            Str code = str_trim(line);
            if (!str_starts_with(code, STR("SYNC()")) &&
                !str_starts_with(code, STR("SYNC_WARP()"))) {
                continue;
            }
            n++;
            if (!is_met(str_from_c(sources[s]), number)) {
                printf("# no kernel came to %s:%d\n", sources[s], number);
                CHECK(false);
            }
        }
    }
    printf("# %zu barriers\n", n);
    CHECK_INT(n, n_barriers);
}

// ---- Without one ------------------------------------------------------------------------------

typedef enum Found { FOUND_NOTHING, FOUND_RACE, FOUND_VALUES, FOUND_NO_END } Found;

/** In a process of its own: what is left out may keep a kernel from ending. */
static Found without(const EmulateBarrier *barrier, const Work *work, uint64_t seed)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {CPU_SECONDS, CPU_SECONDS};
        setrlimit(RLIMIT_CPU, &limit);
        alarm(WALL_SECONDS);
        emulate_leave_out(barrier);
        Hash got;
        bool ok = work_run(work, seed, &got);
        const char *fault = emulate_take_fault();
        if (fault != NULL) {
            printf("# %s\n", fault);
            fflush(stdout);
        }
        _exit(fault != NULL                            ? FOUND_RACE
              : !ok || !hash_eq(&got, &work->expected) ? FOUND_VALUES
                                                       : FOUND_NOTHING);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) {
        CHECK(WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGXCPU ||
              WTERMSIG(status) == SIGKILL); // hard limit
        return FOUND_NO_END;
    }
    return (Found)WEXITSTATUS(status);
}

static void test_barriers__each_is_needed(void)
{
    static const char *const words[] = {"NOTHING", "a race", "other values", "no end"};
    const char *only = getenv("BARRIERS_OF");
    for (size_t i = 0; i < n_barriers; i++) {
        if (only != NULL && strstr(barriers[i].file, only) == NULL) {
            continue;
        }
        Found found = FOUND_NOTHING;
        for (uint64_t seed = 0; seed < SEEDS && found == FOUND_NOTHING; seed++) {
            for (size_t w = 0; w < COUNT(works) && found == FOUND_NOTHING; w++) {
                found = without(&barriers[i], &works[w], seed);
            }
        }
        printf("# without %s:%d: %s\n", barriers[i].file, barriers[i].line, words[found]);
        CHECK(found != FOUND_NOTHING);
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    sources = argv + 1;
    memcpy(&cuda_test_ops, muster_cuda_ops(), sizeof(cuda_test_ops));
    request_set_make(&set, 122, 5, 256);
    tap_run("engines run with all barriers", test_barriers__all_are_met);
    tap_run("all barriers of the sources are met", test_barriers__are_those_of_the_sources);
    tap_run("each barrier is needed", test_barriers__each_is_needed);
    for (size_t w = 0; w < COUNT(works); w++) {
        unlink(works[w].path.data);
    }
    request_set_finish(&set);
    arena_finish(&arena);
    return tap_done();
}
