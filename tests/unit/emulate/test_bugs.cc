// SPDX-License-Identifier: MIT
// Bugs on purpose, each beside the kernel without it: the right one passes under every schedule and
// in every flavour, the wrong one is found. BUG 0 is right; the number says which place is wrong.
#include "emulated.h"

#define N      64 // threads of a block
#define STAGES 3

// ---- Races --------------------------------------------------------------------------------------

/** out[t] = in[N-1-t] of each of 4 rounds, summed. 1: no barrier before the read; 2: none after. */
template <int BUG> KERNEL(exchange)(const float *in, float *out)
{
    SHARED(float, s, [N]);
    float sum = 0;
    for (int round = 0; round < 4; round++) {
        s[thread_x()] = in[thread_x()] * (float)(round + 1);
        if (BUG != 1) {
            SYNC();
        }
        sum += s[N - 1 - thread_x()];
        if (BUG != 2) {
            SYNC();
        }
    }
    out[thread_x()] = sum;
}

/** Thread 0 says, all hear. 1: no barrier between. */
template <int BUG> KERNEL(publish)(const float *in, float *out)
{
    SHARED(float, s, [1]);
    if (thread_x() == 0) {
        s[0] = in[5];
    }
    if (BUG != 1) {
        SYNC();
    }
    out[thread_x()] = s[0] + (float)thread_x();
}

/** Lanes of one warp exchange through memory. 1: only a shuffle between, which orders nothing. */
template <int BUG> KERNEL(within_warp)(const float *in, float *out)
{
    SHARED(float, s, [N]);
    s[thread_x()] = in[thread_x()];
    float other = shfl_xor(in[thread_x()], 1);
    if (BUG != 1) {
        SYNC_WARP();
    }
    out[thread_x()] = s[thread_x() ^ 5] + other;
}

/** Rows of in, a stage of shared memory each, the copies STAGES - 1 ahead. 1: waits for too few;
 * 2: no barrier between copies of others and their use; 3: none before a stage is overwritten. */
template <int BUG> KERNEL(pipeline)(const float *in, float *out)
{
    SHARED(float, s, [STAGES][N * 4]);
    const int rows = 8;
    uint32_t t = thread_x();
    for (int r = 0; r < STAGES - 1; r++) {
        cp_async16(&s[r][t * 4], in + r * N * 4 + t * 4, true);
        cp_async_commit();
    }
    float sum = 0;
    for (int r = 0; r < rows; r++) {
        cp_async_wait<BUG == 1 ? STAGES - 1 : STAGES - 2>();
        if (BUG != 2) {
            SYNC();
        }
        for (int i = 0; BUG == 3 && i < 4; i++) {
            sum += s[r % STAGES][(N - 1 - t) * 4 + i];
        }
        int next = r + STAGES - (BUG == 3 ? 0 : 1);
        if (next < rows) {
            cp_async16(&s[next % STAGES][t * 4], in + next * N * 4 + t * 4, true);
        }
        cp_async_commit();
        for (int i = 0; BUG != 3 && i < 4; i++) {
            sum += s[r % STAGES][(N - 1 - t) * 4 + i];
        }
    }
    out[t] = sum;
}

/** Barriers before and after reading; 1: the second of two in a row is missing, which is no bug. */
template <int BUG> KERNEL(redundant)(const float *in, float *out)
{
    SHARED(float, s, [N]);
    s[thread_x()] = in[thread_x()];
    SYNC();
    if (BUG != 1) {
        SYNC();
    }
    out[thread_x()] = s[N - 1 - thread_x()];
}

/** ldmatrix of a tile that all wrote. 1: no barrier. */
template <int BUG> KERNEL(tile)(const float *in, float *out)
{
    SHARED(uint16_t, s, [N][8]);
    for (int i = 0; i < 8; i++) {
        s[thread_x()][i] = float_to_f16(in[thread_x()]);
    }
    if (BUG != 1) {
        SYNC();
    }
    uint32_t r[4];
    ldmatrix_x4(r, s[(thread_x() * 7) % N]);
    out[thread_x()] = f16_to_float((uint16_t)r[0]) + f16_to_float((uint16_t)(r[3] >> 16));
}

typedef void (*Kernel)(const float *in, float *out);

typedef struct Race {
    int line;
    const char *name;
    Kernel right;
    Kernel wrong;
    bool shows;       // in values, under some schedule of seeds 0 .. 8
    const char *said; // by the race checker; NULL: nothing, since it is right
} Race;

static const Race races[] = {
    {__LINE__, "no barrier before a read", exchange<0>, exchange<1>, true, ""},
    {__LINE__, "no barrier after a read", exchange<0>, exchange<2>, true, "race"},
    {__LINE__, "no barrier after one thread's write", publish<0>, publish<1>, true, ""},
    {__LINE__, "no SYNC_WARP", within_warp<0>, within_warp<1>, false, "race"},
    {__LINE__, "waits for too few copies", pipeline<0>, pipeline<1>, true, "too early"},
    {__LINE__, "copies of others without a barrier", pipeline<0>, pipeline<2>, true, ""},
    {__LINE__, "a stage is overwritten early", pipeline<0>, pipeline<3>, true, ""},
    {__LINE__, "a barrier that is not needed", redundant<0>, redundant<1>, false, NULL},
    {__LINE__, "no barrier before ldmatrix", tile<0>, tile<1>, true, ""},
};

static float input[8 * N * 4];

static bool run_once(Kernel kernel, float *out)
{
    float *in = device_of(input, COUNT(input));
    float *result = device_of((const float *)NULL, N);
    LAUNCH(kernel, dim3(1), dim3(N), 0, NULL, in, result);
    bool ok = gpu_last_error() == GPU_OK &&
              gpu_copy_d2h_async(out, result, N * sizeof(*out), NULL) == GPU_OK;
    gpu_free(in);
    gpu_free(result);
    return ok;
}

static void test_races__are_found(void)
{
    for (size_t i = 0; i < COUNT(races); i++) {
        const Race *r = &races[i];
        int n_shown = 0, n_said = 0;
        char said[400] = "";
        float want[N];
        for (uint64_t seed = 0; seed <= 8; seed++) {
            float out[N];
            emulate_as(seed, seed % 2 == 1);
            if (!run_once(r->right, out)) {
                tap_checks_failed++;
                printf("# line %d: right, seed %d: %s\n", r->line, (int)seed, emulate_take_fault());
                emulate_reset();
            }
            if (seed == 0) {
                memcpy(want, out, sizeof(want));
            }
            CHECK(memcmp(want, out, sizeof(want)) == 0);
            if (!run_once(r->wrong, out)) {
                n_said++;
                snprintf(said, sizeof(said), "%s", emulate_take_fault());
                emulate_reset();
            } else {
                n_shown += memcmp(want, out, sizeof(want)) != 0;
            }
        }
        printf("# %s: values differ in %d of 9 schedules, said in %d: %s\n", r->name, n_shown,
               n_said, said);
        if (RACE) {
            CHECK_INT(n_said, r->said != NULL ? 9 : 0);
            if (r->said != NULL) {
                CHECK_CONTAINS(said, r->said);
                CHECK_CONTAINS(said, "test_bugs.cc:");
            }
        } else {
            CHECK_INT(n_shown + n_said > 0, r->shows);
        }
    }
}

// ---- Wrong accesses -----------------------------------------------------------------------------

static float host_memory[4];

KERNEL(shared_over)(float *out, int by)
{
    SHARED(float, s, [N]);
    s[thread_x()] = 1;
    SYNC();
    float *last = s + N - 1; // UBSan knows the size of s
    if (thread_x() == 0) {
        last[by] = 2;
    }
    SYNC();
    out[thread_x()] = s[thread_x()];
}

KERNEL(launch_shared_over)(float *out, int by)
{
    DYN_SHARED(float, s);
    s[thread_x() + (uint32_t)by] = 1;
    SYNC();
    out[thread_x()] = s[thread_x()];
}

KERNEL(global_over)(float *out, int by)
{
    out[thread_x() + (uint32_t)by] = 1;
}

KERNEL(global_over_read)(float *out, int by)
{
    float x = out[N - 1 + by];
    out[thread_x()] = thread_x() == 0 ? x : 0;
}

KERNEL(reads_host)(float *out, const float *host)
{
    out[thread_x()] = host[thread_x() % 4];
}

KERNEL(uninitialised)(float *out)
{
    SHARED(float, s, [N]);
    if (thread_x() > 0) {
        s[thread_x()] = 1;
    }
    SYNC();
    out[thread_x()] = s[N - 1 - thread_x()];
}

KERNEL(blocks_collide)(float *out)
{
    if (thread_x() == 0) {
        out[0] = (float)block_x();
    }
}

KERNEL(misaligned)(float *out)
{
    float4 *four = (float4 *)(out + 1);
    four->x = 1;
    four->y = 2;
}

/** 1 KiB a call, and as many calls as a stack has no room for. */
static float deep(float *out, int n)
{
    volatile float local[256];
    local[n % 256] = 1;
    return n == 0 ? out[0] : deep(out, n - 1) + local[n % 256];
}

KERNEL(fills_stack)(float *out)
{
    out[thread_x()] = deep(out, 400);
}

static float *device_out;

static void launch_shared_by_one(void)
{
    LAUNCH(shared_over, dim3(1), dim3(N), 0, NULL, device_out, 1);
}
static void launch_shared_of_launch(void)
{
    LAUNCH(launch_shared_over, dim3(1), dim3(N), N * sizeof(float), NULL, device_out, 1);
}
static void launch_global_by_one(void)
{
    LAUNCH(global_over, dim3(1), dim3(N), 0, NULL, device_out, 1);
}
static void launch_global_far(void)
{
    LAUNCH(global_over, dim3(1), dim3(N), 0, NULL, device_out, 100000);
}
static void launch_global_read(void)
{
    LAUNCH(global_over_read, dim3(1), dim3(N), 0, NULL, device_out, 1);
}
static void launch_after_free(void)
{
    float *other = device_of((const float *)NULL, N);
    gpu_free(other);
    LAUNCH(global_over, dim3(1), dim3(N), 0, NULL, other, 0);
}
static void launch_reads_host(void)
{
    LAUNCH(reads_host, dim3(1), dim3(N), 0, NULL, device_out, (const float *)host_memory);
}
static void launch_uninitialised(void)
{
    LAUNCH(uninitialised, dim3(1), dim3(N), 0, NULL, device_out);
}
static void launch_collide(void)
{
    LAUNCH(blocks_collide, dim3(4), dim3(N), 0, NULL, device_out);
}
static void launch_fills_stack(void)
{
    LAUNCH(fills_stack, dim3(1), dim3(1), 0, NULL, device_out);
}
static void launch_misaligned(void)
{
    LAUNCH(misaligned, dim3(1), dim3(1), 0, NULL, device_out);
}

static void launch_other_device(void)
{
    EmulateOptions options = {0, false, false, 2, 0, 0};
    emulate_configure(&options);
    gpu_set_device(1);
    LAUNCH(global_over, dim3(1), dim3(N), 0, NULL, device_out, 0);
}

typedef struct Stray {
    int line;
    const char *name;
    void (*launch)(void);
    // What each flavour says; "" nothing.
    const char *plain;
    const char *asan;
    const char *race;
} Stray;

static const Stray strays[] = {
    {__LINE__, "past shared memory", launch_shared_by_one, "byte 256 of shared memory 's'",
     "AddressSanitizer", "out of bounds"},
    {__LINE__, "past the launch's shared memory", launch_shared_of_launch,
     "of shared memory 'of the launch'", "AddressSanitizer", "out of bounds"},
    {__LINE__, "past global memory", launch_global_by_one, "byte 256 of 256 bytes",
     "AddressSanitizer", "out of bounds"},
    {__LINE__, "far past global memory", launch_global_far, "out of bounds", "", "out of bounds"},
    {__LINE__, "reads past global memory", launch_global_read, "", "AddressSanitizer",
     "out of bounds"},
    {__LINE__, "freed memory", launch_after_free, "that were freed", "", "that were freed"},
    {__LINE__, "the host's memory", launch_reads_host, "", "", "which is not device memory"},
    {__LINE__, "shared memory without a value", launch_uninitialised, "", "", "never wrote"},
    {__LINE__, "blocks that write the same", launch_collide, "", "", "of another block"},
    {__LINE__, "another device's memory", launch_other_device, "", "", "of another device"},
    {__LINE__, "a stack that is full", launch_fills_stack, "its stack is full", "stack",
     "its stack is full"},
    {__LINE__, "alignment", launch_misaligned, "", "alignment", ""},
};

static void (*child_launch)(void);

static void child_run(void)
{
    float *x = device_of((const float *)NULL, N);
    device_out = x;
    child_launch();
    gpu_device_sync();
    const char *text = emulate_take_fault();
    fprintf(stderr, "%s\n", text != NULL ? text : "no fault");
}

static void test_strays__are_found(void)
{
    emulate_as(0, false);
    for (size_t i = 0; i < COUNT(strays); i++) {
        const Stray *s = &strays[i];
        const char *want = RACE ? s->race : ASAN ? s->asan : s->plain;
        child_launch = s->launch;
        char text[8000];
        int before = tap_checks_failed;
        in_child(child_run, text, sizeof(text));
        if (*want != '\0') {
            CHECK_CONTAINS(text, want);
        } else if (!ASAN) {
            CHECK_CONTAINS(text, "no fault");
        }
        if (RACE && *want != '\0') {
            CHECK(strstr(text, "test_bugs.cc:") != NULL || s->launch == launch_fills_stack);
        }
        if (tap_checks_failed != before) {
            printf("# of line %d: %s\n", s->line, s->name);
        }
    }
}

// ---- Threads that do not meet -------------------------------------------------------------------

KERNEL(barrier_missed)(float *out)
{
    if (thread_x() < 32) {
        SYNC();
    }
    out[thread_x()] = 1;
}

KERNEL(barrier_diverges)(float *out)
{
    if (thread_x() < 40) {
        SYNC();
    } else {
        SYNC();
    }
    out[thread_x()] = 1;
}

KERNEL(lane_ended)(float *out)
{
    if (thread_x() == 7) {
        return;
    }
    out[thread_x()] = shfl_xor(1.0f, 1);
}

KERNEL(lanes_differ)(float *out)
{
    if (thread_x() % 2 == 0) {
        out[thread_x()] = shfl_xor(1.0f, 1);
    } else {
        out[thread_x()] = (float)ballot(true);
    }
}

KERNEL(lane_at_barrier)(float *out)
{
    if (thread_x() < 16) {
        SYNC();
    } else {
        out[thread_x()] = shfl_xor(1.0f, 1);
    }
}

KERNEL(copies_collide)(float *out)
{
    SHARED(float, s, [8]);
    cp_async16(s + 1, out, true);
}

KERNEL(prefetch_past)(float *out)
{
    prefetch_l2(out + 16, N * 4 - 48);
}

KERNEL(prefetch_unaligned)(float *out)
{
    prefetch_l2(out + 1, 16);
}

typedef struct Meet {
    int line;
    void (*kernel)(float *);
    uint32_t n_threads;
    const char *want;
} Meet;

static const Meet meets[] = {
    {__LINE__, barrier_missed, N, "deadlock; threads 0-31 wait for the block at"},
    {__LINE__, barrier_diverges, N, "divergent barrier"},
    {__LINE__, lane_ended, 32, "waits for lanes 00000080 of its warp, which have ended"},
    {__LINE__, lane_ended, 48, "which"},
    {__LINE__, lanes_differ, 32, "divergent warp"},
    {__LINE__, lane_at_barrier, 32, "deadlock; threads 0-15 wait for the block"},
    {__LINE__, copies_collide, 1, "is not aligned to 16 bytes"},
    {__LINE__, prefetch_past, 1, "prefetch_l2 of"},
    {__LINE__, prefetch_unaligned, 1, "no multiples of 16"},
};

static void test_meetings__are_checked(void)
{
    for (size_t i = 0; i < COUNT(meets); i++) {
        for (uint64_t seed = 0; seed <= 4; seed++) {
            int before = tap_checks_failed;
            emulate_as(seed, false);
            float *out = device_of((const float *)NULL, N);
            LAUNCH(meets[i].kernel, dim3(1), dim3(meets[i].n_threads), 0, NULL, out);
            CHECK_INT(gpu_device_sync(), GPU_ERROR_LAUNCH);
            const char *text = emulate_take_fault();
            CHECK_CONTAINS(text, meets[i].want);
            CHECK_CONTAINS(text, "test_bugs.cc:");
            CHECK(emulate_take_fault() == NULL);
            void *more;
            CHECK_INT(gpu_stream_create((GpuStream *)&more), GPU_ERROR_LAUNCH); // it is lost
            emulate_reset();
            CHECK_INT(gpu_free(out), GPU_OK);
            if (tap_checks_failed != before) {
                printf("# of line %d, seed %d\n", meets[i].line, (int)seed);
            }
        }
    }
}

static void test_launches__have_limits(void)
{
    emulate_as(0, false);
    float *out = device_of((const float *)NULL, N);
    struct {
        dim3 grid, block;
        size_t shared_bytes;
        GpuError want;
    } cases[] = {{dim3(0), dim3(32), 0, GPU_ERROR_CONFIG},
                 {dim3(1), dim3(1025), 0, GPU_ERROR_CONFIG},
                 {dim3(1, 65536), dim3(32), 0, GPU_ERROR_CONFIG},
                 {dim3(1), dim3(32), 228 * 1024, GPU_ERROR_VALUE},
                 {dim3(1), dim3(32), 227 * 1024, GPU_OK}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        LAUNCH(blocks_collide, cases[i].grid, cases[i].block, cases[i].shared_bytes, NULL, out);
        CHECK_INT(gpu_last_error(), cases[i].want);
        CHECK_INT(gpu_last_error(), GPU_OK);
        CHECK((emulate_take_fault() != NULL) == (cases[i].want != GPU_OK));
        emulate_reset();
    }
    CHECK_INT(gpu_free(out), GPU_OK);
}

static void ends_with_fault(void)
{
    LAUNCH(barrier_diverges, dim3(1), dim3(N), 0, NULL, device_of((const float *)NULL, N));
    exit(0);
}

static void test_faults__end_the_program(void)
{
    char text[8000];
    emulate_as(0, false);
    int status = in_child(ends_with_fault, text, sizeof(text));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 70);
    CHECK_CONTAINS(text, "divergent barrier");
}

int main(void)
{
    for (size_t i = 0; i < COUNT(input); i++) {
        input[i] = (float)((i * 37 + 11) % 101);
    }
    tap_run("races are found", test_races__are_found);
    tap_run("strays are found", test_strays__are_found);
    tap_run("meetings are checked", test_meetings__are_checked);
    tap_run("launches have limits", test_launches__have_limits);
    tap_run("faults end the program", test_faults__end_the_program);
    return tap_done();
}
