// SPDX-License-Identifier: MIT
// The runtime: order of streams, and what goes wrong when the host does not wait; graphs, events,
// memory, failures on order.
#include "emulated.h"

#include <thread>

#define N 256

KERNEL(add_one)(const float *in, float *out)
{
    uint32_t i = block_x() * block_dim_x() + thread_x();
    out[i] = in[i] + 1;
}

typedef struct Setup {
    GpuStream one, two;
    GpuEvent event;
    float *a, *b; // device
    float *pinned;
} Setup;

static void setup(Setup *s, uint64_t seed, bool lazy)
{
    emulate_as(seed, lazy);
    CHECK_INT(gpu_stream_create(&s->one), GPU_OK);
    CHECK_INT(gpu_stream_create(&s->two), GPU_OK);
    CHECK_INT(gpu_event_create(&s->event), GPU_OK);
    CHECK_INT(gpu_malloc((void **)&s->a, N * sizeof(float)), GPU_OK);
    CHECK_INT(gpu_malloc((void **)&s->b, N * sizeof(float)), GPU_OK);
    CHECK_INT(gpu_malloc_host((void **)&s->pinned, N * sizeof(float)), GPU_OK);
    for (int i = 0; i < N; i++) {
        s->pinned[i] = (float)i;
    }
}

static void finish(Setup *s)
{
    CHECK_INT(gpu_stream_destroy(s->one), GPU_OK);
    CHECK_INT(gpu_stream_destroy(s->two), GPU_OK);
    CHECK_INT(gpu_event_destroy(s->event), GPU_OK);
    CHECK_INT(gpu_free(s->a), GPU_OK);
    CHECK_INT(gpu_free(s->b), GPU_OK);
    CHECK_INT(gpu_free_host(s->pinned), GPU_OK);
    EmulateLive live;
    emulate_live(&live);
    CHECK_INT(live.allocations + live.host_allocations + live.streams + live.events + live.graphs,
              0);
    CHECK(emulate_take_fault() == NULL);
}

/** Up, one kernel, down; wait or not. */
static bool round_trip(Setup *s, bool wait, bool reuse_early)
{
    const size_t bytes = N * sizeof(float);
    gpu_copy_h2d_async(s->a, s->pinned, bytes, s->one);
    if (reuse_early) {
        memset(s->pinned, 0, bytes);
    }
    LAUNCH(add_one, dim3(N / 64), dim3(64), 0, s->one, s->a, s->b);
    gpu_copy_d2h_async(s->pinned, s->b, bytes, s->one);
    bool right = true;
    if (wait) {
        CHECK_INT(gpu_stream_sync(s->one), GPU_OK);
    }
    for (int i = 0; i < N; i++) {
        right = right && s->pinned[i] == (float)(i + 1);
    }
    CHECK_INT(gpu_stream_sync(s->one), GPU_OK);
    return right;
}

static void test_lazy__shows_what_did_not_wait(void)
{
    for (int lazy = 0; lazy < 2; lazy++) {
        for (int bug = 0; bug < 3; bug++) {
            Setup s;
            setup(&s, 5, lazy != 0);
            bool right = round_trip(&s, bug != 1, bug == 2);
            CHECK_INT(right, bug == 0 || !lazy); // eager streams hide both bugs
            finish(&s);
        }
    }
}

/** A kernel on one stream, its reader on the other. */
static bool two_streams(Setup *s, bool wait_for_event)
{
    const size_t bytes = N * sizeof(float);
    gpu_copy_h2d_async(s->a, s->pinned, bytes, s->one);
    LAUNCH(add_one, dim3(N / 64), dim3(64), 0, s->one, s->a, s->b);
    CHECK_INT(gpu_event_record(s->event, s->one), GPU_OK);
    if (wait_for_event) {
        CHECK_INT(gpu_stream_wait_event(s->two, s->event), GPU_OK);
    }
    float out[N];
    gpu_copy_d2h_async(out, s->b, bytes, s->two); // pageable: on return it is there
    bool right = true;
    for (int i = 0; i < N; i++) {
        right = right && out[i] == (float)(i + 1);
    }
    CHECK_INT(gpu_device_sync(), GPU_OK);
    return right;
}

static void test_events__order_streams(void)
{
    int n_wrong = 0;
    for (uint64_t seed = 0; seed < 16; seed++) {
        Setup s;
        setup(&s, seed, true);
        CHECK(two_streams(&s, true));
        CHECK_INT(gpu_memset_async(s.b, 0, N * sizeof(float), s.one), GPU_OK);
        CHECK_INT(gpu_device_sync(), GPU_OK);
        n_wrong += !two_streams(&s, false);
        CHECK_INT(gpu_event_query(s.event), GPU_OK);
        float ms = -1;
        CHECK_INT(gpu_event_elapsed_ms(&ms, s.event, s.event), GPU_OK);
        CHECK(ms == 0);
        finish(&s);
    }
    CHECK(n_wrong > 0); // without the event
}

static void test_graphs__replay(void)
{
    for (uint64_t seed = 0; seed < 4; seed++) {
        Setup s;
        setup(&s, seed, seed % 2 == 1);
        const size_t bytes = N * sizeof(float);
        GpuGraph graph;
        GpuGraphExec exec;
        CHECK_INT(gpu_capture_begin(s.one), GPU_OK);
        gpu_copy_h2d_async(s.a, s.pinned, bytes, s.one);
        LAUNCH(add_one, dim3(N / 64), dim3(64), 0, s.one, s.a, s.b);
        gpu_copy_d2h_async(s.pinned, s.b, bytes, s.one);
        CHECK_INT(gpu_capture_end(s.one, &graph), GPU_OK);
        CHECK_INT(gpu_graph_instantiate(&exec, graph), GPU_OK);
        CHECK_INT(gpu_graph_destroy(graph), GPU_OK);
        CHECK_INT(gpu_stream_sync(s.one), GPU_OK);
        CHECK(s.pinned[7] == 7); // nothing has run
        for (int i = 0; i < 3; i++) {
            CHECK_INT(gpu_graph_launch(exec, s.one), GPU_OK);
        }
        CHECK_INT(gpu_stream_sync(s.one), GPU_OK);
        for (int i = 0; i < N; i++) {
            CHECK(s.pinned[i] == (float)(i + 3));
        }
        CHECK_INT(gpu_graph_exec_destroy(exec), GPU_OK);
        finish(&s);
    }
}

static void test_captures__refuse(void)
{
    Setup s;
    setup(&s, 0, false);
    GpuGraph graph;
    float pageable[N];
    CHECK_INT(gpu_capture_begin(s.one), GPU_OK);
    CHECK_INT(gpu_copy_d2h_async(pageable, s.a, sizeof(pageable), s.one), GPU_ERROR_CAPTURE);
    CHECK_CONTAINS(emulate_take_fault(), "not pinned");
    CHECK_INT(gpu_stream_sync(s.one), GPU_ERROR_CAPTURE);
    CHECK_CONTAINS(emulate_take_fault(), "being captured");
    void *memory;
    CHECK_INT(gpu_malloc(&memory, 64), GPU_ERROR_CAPTURE);
    CHECK_CONTAINS(emulate_take_fault(), "memory is allocated while");
    CHECK_INT(gpu_free(s.a), GPU_ERROR_CAPTURE);
    CHECK_CONTAINS(emulate_take_fault(), "memory is freed while");
    CHECK_INT(gpu_capture_end(s.one, &graph), GPU_ERROR_CAPTURE);
    emulate_reset();
    finish(&s);
}

// ---- Host and device ----------------------------------------------------------------------------

static float *guarded;

static void touches_device(void)
{
    EmulateOptions options = {0, false, true, 1, 0, 0};
    emulate_configure(&options);
    gpu_malloc((void **)&guarded, N * sizeof(float));
    gpu_memset_async(guarded, 0, N * sizeof(float), NULL);
    gpu_device_sync();
    printf("%f\n", (double)guarded[5]);
}

static void test_guard__keeps_the_host_out(void)
{
    char text[8000];
    int status = in_child(touches_device, text, sizeof(text));
    CHECK(status != 0);
    CHECK_CONTAINS(text, "the host touches 1 bytes at byte 20 of 1024 bytes of device memory");
    // And lets kernels and copies in.
    EmulateOptions options = {0, true, true, 1, 0, 0};
    Setup s;
    setup(&s, 0, true);
    emulate_configure(&options);
    CHECK(round_trip(&s, true, false));
    emulate_as(0, false);
    finish(&s);
}

static void test_copies__are_checked(void)
{
    Setup s;
    setup(&s, 0, false);
    float host[N];
    CHECK_INT(gpu_copy_h2d_async(host, s.pinned, 4, s.one), GPU_ERROR_VALUE);
    CHECK_CONTAINS(emulate_take_fault(), "is something else");
    CHECK_INT(gpu_copy_h2d_async(s.a, s.b, 4, s.one), GPU_ERROR_VALUE);
    CHECK_CONTAINS(emulate_take_fault(), "is something else");
    gpu_copy_h2d_async(s.a + 1, s.pinned, N * sizeof(float), s.one);
    CHECK_INT(gpu_stream_sync(s.one), GPU_ERROR_LAUNCH);
    CHECK_CONTAINS(emulate_take_fault(),
                   "1024 bytes at byte 4 of 1024 bytes of device memory: out of bounds");
    emulate_reset();
    CHECK_INT(gpu_free(s.a + 1), GPU_ERROR_VALUE);
    CHECK_CONTAINS(emulate_take_fault(), "gpu_free of");
    CHECK_INT(gpu_free(NULL), GPU_OK);
    finish(&s);
}

static void test_memory__has_an_end(void)
{
    EmulateOptions options = {0, false, false, 2, 1 << 20, 0};
    emulate_configure(&options);
    void *a, *b;
    size_t left, total;
    CHECK_INT(gpu_malloc(&a, 900 << 10), GPU_OK);
    CHECK_INT(gpu_malloc(&b, 200 << 10), GPU_ERROR_MEMORY);
    CHECK_INT(gpu_memory_info(&left, &total), GPU_OK);
    CHECK_INT(left, (1 << 20) - (900 << 10));
    CHECK_INT(gpu_set_device(1), GPU_OK); // has its own
    CHECK_INT(gpu_malloc(&b, 200 << 10), GPU_OK);
    CHECK_INT(gpu_set_device(2), GPU_ERROR_DEVICE);
    CHECK_INT(gpu_free(a), GPU_OK);
    CHECK_INT(gpu_free(b), GPU_OK);
    CHECK_INT(gpu_set_device(0), GPU_OK);
    options.n_devices = -1;
    emulate_configure(&options);
    int n = 7;
    CHECK_INT(gpu_device_count(&n), GPU_ERROR_NO_DRIVER);
    CHECK_INT(n, 0);
    emulate_as(0, false);
    CHECK(emulate_take_fault() == NULL);
}

static void test_failures__come_on_order(void)
{
    Setup s;
    void *more;
    setup(&s, 0, false);
    emulate_fail(EMULATE_FAIL_ALLOC, 2);
    CHECK_INT(gpu_malloc(&more, 16), GPU_OK);
    CHECK_INT(gpu_free(more), GPU_OK);
    CHECK_INT(gpu_malloc(&more, 16), GPU_ERROR_MEMORY);
    CHECK_INT(gpu_last_error(), GPU_ERROR_MEMORY); // would be taken for the next launch's
    CHECK_INT(gpu_malloc(&more, 16), GPU_OK);
    CHECK_INT(gpu_free(more), GPU_OK);
    emulate_fail(EMULATE_FAIL_LAUNCH, 1);
    LAUNCH(add_one, dim3(1), dim3(64), 0, s.one, s.a, s.a);
    CHECK_INT(gpu_last_error(), GPU_ERROR_LAUNCH_RESOURCES);
    LAUNCH(add_one, dim3(1), dim3(64), 0, s.one, s.a, s.a);
    CHECK_INT(gpu_last_error(), GPU_OK);
    emulate_fail(EMULATE_FAIL_KERNEL, 1);
    LAUNCH(add_one, dim3(1), dim3(64), 0, s.one, s.a, s.a);
    CHECK_INT(gpu_stream_sync(s.one), GPU_ERROR_LAUNCH);
    CHECK_INT(gpu_copy_h2d_async(s.a, s.pinned, 4, s.one), GPU_ERROR_LAUNCH); // it stays lost
    emulate_reset();
    finish(&s);
}

// ---- Threads of the host ------------------------------------------------------------------------

static void record(GpuEvent event, GpuStream stream)
{
    CHECK_INT(gpu_event_record(event, stream), GPU_OK);
}

static void test_threads__wait_for_each_other(void)
{
    Setup s;
    setup(&s, 0, true);
    gpu_copy_h2d_async(s.a, s.pinned, N * sizeof(float), s.one);
    GpuStream one = s.one;
    GpuEvent event = s.event;
    std::thread other(record, event, one);
    other.join();
    CHECK_INT(gpu_stream_wait_event(s.two, s.event), GPU_OK);
    CHECK_INT(gpu_stream_sync(s.two), GPU_OK);
    finish(&s);
}

int main(void)
{
    tap_run("lazy streams show what did not wait", test_lazy__shows_what_did_not_wait);
    tap_run("events order streams", test_events__order_streams);
    tap_run("graphs replay", test_graphs__replay);
    tap_run("captures refuse", test_captures__refuse);
    tap_run("the guard keeps the host out", test_guard__keeps_the_host_out);
    tap_run("copies are checked", test_copies__are_checked);
    tap_run("memory has an end", test_memory__has_an_end);
    tap_run("failures come on order", test_failures__come_on_order);
    tap_run("threads wait for each other", test_threads__wait_for_each_other);
    return tap_done();
}
