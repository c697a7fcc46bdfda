// SPDX-License-Identifier: MIT
// cuBLASLt and NCCL as the emulator plays them: results against plain loops, what is recorded, and
// what a wrong use leads to.
#include "emulated.h"
#include "kernels/cuda/vendor.h"

#include <thread>
#include <vector>

#define RANKS 4
#define N     64

static void devices(int n, uint64_t seed, bool lazy)
{
    EmulateOptions options = {seed, lazy, false, n, 0, 0};
    emulate_configure(&options);
}

// ---- cuBLASLt -----------------------------------------------------------------------------------

typedef struct Call {
    BlasHandle *handle;
    BlasDesc *desc;
    BlasLayout *a, *b, *d;
    BlasPreference *preference;
    BlasChoice choices[4];
    int n_choices;
} Call;

/** d (m, n) = transposed a (k, m) times b (k, n), columns contiguous: rows of weights and of
 * inputs. */
static void call_make(Call *c, const BlasApi *api, int type, uint64_t m, uint64_t n, uint64_t k,
                      uint64_t workspace, uint32_t reductions)
{
    int32_t yes = 1;
    CHECK_INT(api->create(&c->handle), BLAS_OK);
    CHECK_INT(api->desc_create(&c->desc, BLAS_COMPUTE_32F, BLAS_R_32F), BLAS_OK);
    CHECK_INT(api->desc_set(c->desc, BLAS_DESC_TRANSA, &yes, sizeof(yes)), BLAS_OK);
    CHECK_INT(api->layout_create(&c->a, type, k, m, (int64_t)k), BLAS_OK);
    CHECK_INT(api->layout_create(&c->b, type, k, n, (int64_t)k), BLAS_OK);
    CHECK_INT(api->layout_create(&c->d, BLAS_R_32F, m, n, (int64_t)m), BLAS_OK);
    CHECK_INT(api->preference_create(&c->preference), BLAS_OK);
    CHECK_INT(
        api->preference_set(c->preference, BLAS_PREFER_WORKSPACE, &workspace, sizeof(workspace)),
        BLAS_OK);
    CHECK_INT(
        api->preference_set(c->preference, BLAS_PREFER_REDUCTIONS, &reductions, sizeof(reductions)),
        BLAS_OK);
    CHECK_INT(api->choose(c->handle, c->desc, c->a, c->b, c->d, c->d, c->preference, 4, c->choices,
                          &c->n_choices),
              BLAS_OK);
}

static void call_free(Call *c, const BlasApi *api)
{
    api->preference_destroy(c->preference);
    api->layout_destroy(c->a);
    api->layout_destroy(c->b);
    api->layout_destroy(c->d);
    api->desc_destroy(c->desc);
    api->destroy(c->handle);
}

static int split_of(const BlasApi *api, const BlasChoice *choice)
{
    int32_t split = 0;
    CHECK_INT(api->algo_get(&choice->algo, BLAS_ALGO_SPLIT_K, &split, sizeof(split), NULL),
              BLAS_OK);
    return split;
}

static void test_matmul__is_the_product(void)
{
    enum { M = 5, COLUMNS = 3, K = 40 };
    devices(1, 0, true);
    emulate_reset();
    const BlasApi *api = blas_api();
    uint16_t a[M * K], b[COLUMNS * K];
    for (int i = 0; i < M * K; i++) {
        a[i] = float_to_bf16((float)(i * 7 % 23) - 11);
        b[i % (COLUMNS * K)] = float_to_bf16((float)(i * 5 % 17) / 8);
    }
    uint16_t *da = device_of(a, COUNT(a)), *db = device_of(b, COUNT(b));
    float *dd = device_of((const float *)NULL, M * COLUMNS), out[M * COLUMNS], one = 1, zero = 0;
    void *workspace = device_of((const float *)NULL, 1024);
    Call c;
    call_make(&c, api, BLAS_R_16BF, M, COLUMNS, K, 4096, 0);
    CHECK_INT(c.n_choices, 1); // without reductions K is not split
    CHECK_INT(split_of(api, &c.choices[0]), 1);
    call_free(&c, api);
    call_make(&c, api, BLAS_R_16BF, M, COLUMNS, K, 4096, UINT32_MAX);
    CHECK_INT(c.n_choices, 2);
    CHECK_INT(split_of(api, &c.choices[0]), 2); // the library's first choice splits
    for (int i = 0; i < 2; i++) {
        CHECK_INT(api->matmul(c.handle, c.desc, &one, da, c.a, db, c.b, &zero, dd, c.d, dd, c.d,
                              &c.choices[i].algo, workspace, 4096, NULL),
                  BLAS_OK);
        CHECK_INT(gpu_copy_d2h_async(out, dd, sizeof(out), NULL), GPU_OK);
        for (int m = 0; m < M; m++) {
            for (int n = 0; n < COLUMNS; n++) {
                double want = 0;
                for (int k = 0; k < K; k++) {
                    want +=
                        (double)bf16_to_float(a[m * K + k]) * (double)bf16_to_float(b[n * K + k]);
                }
                CHECK_NEAR(out[n * M + m], want, 1e-3);
            }
        }
    }
    EmulateBlasCall call;
    CHECK(emulate_blas_call(1, &call) && call.m == M && call.n == COLUMNS && call.k == K &&
          call.split_k == 1 && call.algo == 0 && call.type_a == BLAS_R_16BF &&
          call.type_d == BLAS_R_32F && call.trans_a == 1 && call.trans_b == 0 && call.lead_a == K &&
          call.lead_b == K && call.lead_d == M && call.beta == 0);
    CHECK(!emulate_blas_call(2, &call));
    emulate_without(true, false);
    CHECK(blas_api() == NULL && nccl_api() != NULL);
    emulate_without(false, true);
    CHECK(blas_api() == api && nccl_api() == NULL);
    emulate_without(false, false);
    // Matrices that are not there, and a workspace that is too small.
    CHECK_INT(api->matmul(c.handle, c.desc, &one, da, c.a, db, c.b, &zero, dd, c.d, dd, c.d,
                          &c.choices[0].algo, workspace, 8, NULL),
              BLAS_ERROR_VALUE);
    CHECK_INT(api->matmul(c.handle, c.desc, &one, da + 1, c.a, db, c.b, &zero, dd, c.d, dd, c.d,
                          NULL, NULL, 0, NULL),
              BLAS_OK);
    CHECK_INT(gpu_device_sync(), GPU_ERROR_LAUNCH);
    CHECK_CONTAINS(emulate_take_fault(), "cuBLASLt: matrix a: 400 bytes at byte 2 of 400");
    emulate_reset();
    call_free(&c, api);
    gpu_free(da);
    gpu_free(db);
    gpu_free(dd);
    gpu_free(workspace);
    EmulateLive live;
    emulate_live(&live);
    CHECK_INT(live.blas_handles + live.allocations, 0);
}

// ---- NCCL ---------------------------------------------------------------------------------------

typedef struct Rank {
    NcclComm *comm;
    GpuStream stream;
    float *from, *to; // device: N, RANKS * N
    float out[RANKS * N];
    int status;
} Rank;

static float value(int rank, int i)
{
    return (float)((rank * 31 + i * 7) % 19) + 0.1f * (float)rank;
}

static void rank_open(Rank *r, int rank)
{
    float host[N];
    for (int i = 0; i < N; i++) {
        host[i] = value(rank, i);
    }
    r->status |= gpu_stream_create(&r->stream);
    r->status |= gpu_malloc((void **)&r->from, sizeof(host));
    r->status |= gpu_malloc((void **)&r->to, sizeof(r->out));
    r->status |= gpu_copy_h2d_async(r->from, host, sizeof(host), r->stream);
}

static void rank_close(Rank *r, const NcclApi *api)
{
    r->status |= api->destroy(r->comm);
    r->status |= gpu_stream_destroy(r->stream);
    r->status |= gpu_free(r->from);
    r->status |= gpu_free(r->to);
}

static void check_gathered(const Rank *r)
{
    for (int i = 0; i < RANKS * N; i++) {
        CHECK(r->out[i] == value(i / N, i % N));
    }
}

static void check_summed(const Rank *r, const Rank *first)
{
    for (int i = 0; i < N; i++) {
        double want = 0;
        for (int s = 0; s < RANKS; s++) {
            want += (double)value(s, i);
        }
        CHECK_NEAR(r->out[i], want, 1e-4);
    }
    CHECK(memcmp(r->out, first->out, N * sizeof(float)) == 0); // all ranks the same
}

/** One rank in its own thread of the host. */
static void rank_thread(Rank *r, const NcclApi *api, NcclId id, int rank, bool gather)
{
    r->status = gpu_set_device(rank);
    r->status |= api->init_rank(&r->comm, RANKS, id, rank);
    if (r->status != 0) {
        return;
    }
    rank_open(r, rank);
    for (int again = 0; again < 3; again++) {
        r->status |=
            gather ? api->all_gather(r->from, r->to, N, NCCL_F32, r->comm, r->stream)
                   : api->all_reduce(r->from, r->to, N, NCCL_F32, NCCL_SUM, r->comm, r->stream);
    }
    r->status |=
        gpu_copy_d2h_async(r->out, r->to, (gather ? RANKS : 1) * N * sizeof(float), r->stream);
    r->status |= gpu_stream_sync(r->stream);
    rank_close(r, api);
}

static void test_ranks__as_threads(void)
{
    const NcclApi *api = nccl_api();
    for (int round = 0; round < 8; round++) {
        bool gather = round % 2 == 0;
        devices(RANKS, (uint64_t)round, round >= 4);
        NcclId id;
        CHECK_INT(api->unique_id(&id), NCCL_OK);
        static Rank ranks[RANKS];
        std::vector<std::thread> threads;
        for (int r = 0; r < RANKS; r++) {
            threads.emplace_back(rank_thread, &ranks[r], api, id, r, gather);
        }
        for (std::thread &t : threads) {
            t.join();
        }
        for (int r = 0; r < RANKS; r++) {
            CHECK_INT(ranks[r].status, 0);
            if (gather) {
                check_gathered(&ranks[r]);
            } else {
                check_summed(&ranks[r], &ranks[0]);
            }
        }
    }
    EmulateLive live;
    emulate_live(&live);
    CHECK_INT(live.nccl_ranks + live.allocations + live.streams, 0);
}

static void open_all(Rank *ranks, const NcclApi *api)
{
    NcclComm *comms[RANKS];
    memset(ranks, 0, RANKS * sizeof(*ranks));
    CHECK_INT(api->init_all(comms, RANKS, NULL), NCCL_OK);
    for (int r = 0; r < RANKS; r++) {
        ranks[r].comm = comms[r];
        CHECK_INT(gpu_set_device(r), GPU_OK);
        rank_open(&ranks[r], r);
    }
}

static void close_all(Rank *ranks, const NcclApi *api)
{
    for (int r = 0; r < RANKS; r++) {
        CHECK_INT(gpu_set_device(r), GPU_OK);
        rank_close(&ranks[r], api);
        CHECK_INT(ranks[r].status, 0);
    }
    CHECK_INT(gpu_set_device(0), GPU_OK);
}

static void test_ranks__in_one_thread(void)
{
    const NcclApi *api = nccl_api();
    static Rank ranks[RANKS];
    for (int lazy = 0; lazy < 2; lazy++) {
        devices(RANKS, 3, lazy != 0);
        open_all(ranks, api);
        CHECK_INT(api->group_start(), NCCL_OK);
        for (Rank &r : ranks) {
            CHECK_INT(api->all_gather(r.from, r.to, N, NCCL_F32, r.comm, r.stream), NCCL_OK);
        }
        CHECK_INT(api->group_end(), NCCL_OK);
        for (Rank &r : ranks) {
            CHECK_INT(gpu_copy_d2h_async(r.out, r.to, sizeof(r.out), r.stream), GPU_OK);
            check_gathered(&r);
        }
        close_all(ranks, api);
    }
}

static void test_ranks__in_graphs(void)
{
    const NcclApi *api = nccl_api();
    static Rank ranks[RANKS];
    GpuGraphExec execs[RANKS];
    devices(RANKS, 2, true);
    open_all(ranks, api);
    for (int r = 0; r < RANKS; r++) {
        GpuGraph graph;
        CHECK_INT(gpu_capture_begin(ranks[r].stream), GPU_OK);
        CHECK_INT(api->all_gather(ranks[r].from, ranks[r].to, N, NCCL_F32, ranks[r].comm,
                                  ranks[r].stream),
                  NCCL_OK);
        CHECK_INT(gpu_capture_end(ranks[r].stream, &graph), GPU_OK);
        CHECK_INT(gpu_graph_instantiate(&execs[r], graph), GPU_OK);
        CHECK_INT(gpu_graph_destroy(graph), GPU_OK);
    }
    for (int again = 0; again < 3; again++) {
        for (int r = 0; r < RANKS; r++) {
            CHECK_INT(gpu_memset_async(ranks[r].to, 0, sizeof(ranks[r].out), ranks[r].stream),
                      GPU_OK);
            CHECK_INT(gpu_graph_launch(execs[r], ranks[r].stream), GPU_OK);
        }
        for (Rank &r : ranks) {
            CHECK_INT(gpu_copy_d2h_async(r.out, r.to, sizeof(r.out), r.stream), GPU_OK);
            check_gathered(&r);
        }
    }
    for (GpuGraphExec e : execs) {
        CHECK_INT(gpu_graph_exec_destroy(e), GPU_OK);
    }
    close_all(ranks, api);
}

static void test_ranks__must_agree(void)
{
    const NcclApi *api = nccl_api();
    static Rank ranks[RANKS];
    devices(RANKS, 0, false);
    open_all(ranks, api);
    CHECK_INT(api->group_start(), NCCL_OK);
    for (int r = 0; r < RANKS; r++) {
        CHECK_INT(api->all_gather(ranks[r].from, ranks[r].to, r == 2 ? N / 2 : N, NCCL_F32,
                                  ranks[r].comm, ranks[r].stream),
                  NCCL_OK);
    }
    (void)api->group_end();
    CHECK_INT(gpu_stream_sync(ranks[0].stream) | gpu_stream_sync(ranks[3].stream),
              GPU_ERROR_LAUNCH);
    CHECK_CONTAINS(emulate_take_fault(), "rank 2 asks for something else");
    emulate_reset();
    close_all(ranks, api);
    CHECK(emulate_take_fault() == NULL);
}

/** A rank whose device is lost: the others learn of it and do not hang. */
static void test_ranks__may_be_lost(void)
{
    const NcclApi *api = nccl_api();
    static Rank ranks[RANKS];
    devices(RANKS, 0, true);
    open_all(ranks, api);
    for (Rank &r : ranks) {
        CHECK_INT(gpu_stream_sync(r.stream), GPU_OK);
    }
    emulate_fail(EMULATE_FAIL_COPY, 1);
    CHECK_INT(gpu_copy_d2d_async(ranks[1].from, ranks[1].to, 4, ranks[1].stream), GPU_OK);
    for (Rank &r : ranks) {
        CHECK_INT(api->all_gather(r.from, r.to, N, NCCL_F32, r.comm, r.stream), NCCL_OK);
    }
    for (Rank &r : ranks) {
        CHECK_INT(gpu_stream_sync(r.stream), GPU_ERROR_LAUNCH);
    }
    emulate_reset();
    close_all(ranks, api);
    CHECK(emulate_take_fault() == NULL);
}

static void test_nccl__fails_on_order(void)
{
    const NcclApi *api = nccl_api();
    NcclComm *comms[RANKS];
    devices(RANKS, 0, false);
    for (uint64_t nth = 1; nth <= 1 + RANKS; nth++) {
        emulate_fail(EMULATE_FAIL_NCCL, nth);
        CHECK_INT(api->init_all(comms, RANKS, NULL), NCCL_ERROR_SYSTEM);
    }
    EmulateLive live;
    emulate_live(&live);
    CHECK_INT(live.nccl_ranks, 0);
    emulate_reset();
}

int main(void)
{
    tap_run("matmul is the product", test_matmul__is_the_product);
    tap_run("ranks as threads", test_ranks__as_threads);
    tap_run("ranks in one thread", test_ranks__in_one_thread);
    tap_run("ranks in graphs", test_ranks__in_graphs);
    tap_run("ranks must agree", test_ranks__must_agree);
    tap_run("ranks may be lost", test_ranks__may_be_lost);
    tap_run("NCCL fails on order", test_nccl__fails_on_order);
    return tap_done();
}
