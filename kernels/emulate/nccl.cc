// SPDX-License-Identifier: MIT
// NCCL between emulated devices. A collective is work at the head of a stream of each rank; the
// first stream that finds all ranks there does it for all. Ranks are threads of the host, or one
// thread that goes through them in a group. Sums are made in the order of ranks, starting at
// another one for each part of the data, as a ring does it: not the order that our own tree has.
#include "kernels/cuda/vendor.h"
#include "kernels/emulate/internal.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include <stdio.h>
#include <stdlib.h>

#define WAIT_SECONDS 60 // for the other ranks to come

struct Round {                        // one collective, as far as its ranks have come
    std::vector<struct Work *> works; // by rank; NULL: not there yet
    size_t n_there = 0;
    size_t n_left = 0; // that have seen that it is done
    bool done = false;
    GpuError error = GPU_OK;
};

struct Clique {
    int n_ranks;
    int n_joined = 0;
    int n_alive = 0;
    bool failed = false;
    bool aborted = false;          // and what is queued ends without doing anything
    std::vector<uint64_t> n_begun; // collectives that came to the head of a stream, by rank
    std::map<uint64_t, Round> rounds;
};

struct NcclComm {
    std::shared_ptr<Clique> clique;
    int rank;
    int device;
};

struct Work {
    std::shared_ptr<Clique> clique;
    int rank;
    uint64_t number; // of the rank's collectives, once it is there
    bool gather;
    int type, operation;
    size_t count;
    const uint8_t *from;
    uint8_t *to;
    bool there;
};

typedef struct Joining { // a rank in a group, or one that waits in its thread
    NcclComm **out;
    NcclComm *comm;
} Joining;

typedef struct Queued {
    GpuStream stream;
    Work *work;
} Queued;

static std::mutex lock;
static std::condition_variable changed;
static std::map<uint64_t, std::shared_ptr<Clique>> *cliques; // by id
static uint64_t next_id = 1;
static size_t n_comms;
static thread_local int group_depth;
static thread_local std::vector<Joining> *group_joining;
static thread_local std::vector<Queued> *group_queued;

static size_t type_bytes(int type)
{
    return type == NCCL_INT8                       ? 1
           : type == NCCL_F32                      ? 4
           : type == NCCL_F16 || type == NCCL_BF16 ? 2
                                                   : 0;
}

// ---- Collectives --------------------------------------------------------------------------------

static float element(int type, const uint8_t *from, size_t i)
{
    uint16_t h = 0;
    float x = 0;
    if (type == NCCL_INT8) {
        return (float)(int8_t)from[i];
    }
    if (type == NCCL_F32) {
        memcpy(&x, from + i * 4, 4);
        return x;
    }
    memcpy(&h, from + i * 2, 2);
    return type == NCCL_F16 ? f16_to_float(h) : bf16_to_float(h);
}

static void element_set(int type, uint8_t *to, size_t i, float x)
{
    if (type == NCCL_INT8) {
        to[i] = (uint8_t)(int8_t)x;
    } else if (type == NCCL_F32) {
        memcpy(to + i * 4, &x, 4);
    } else {
        uint16_t h = type == NCCL_F16 ? float_to_f16(x) : float_to_bf16(x);
        memcpy(to + i * 2, &h, 2);
    }
}

static bool memory_sound(const Work *w, size_t n)
{
    size_t bytes = w->count * type_bytes(w->type);
    const void *sides[] = {w->from, w->to};
    size_t lengths[] = {bytes, w->gather ? bytes * n : bytes};
    for (int i = 0; i < 2; i++) {
        if (!memory_valid(sides[i], lengths[i])) {
            char text[300];
            memory_explain(sides[i], lengths[i], text, sizeof(text));
            fault(NULL, 0, "NCCL, rank %d, %s: %s", w->rank, i == 0 ? "from" : "to", text);
            return false;
        }
    }
    return true;
}

static GpuError round_do(const Round &round)
{
    const Work *first = round.works[0];
    size_t n = round.works.size(), bytes = first->count * type_bytes(first->type);
    for (const Work *w : round.works) {
        if (w->gather != first->gather || w->count != first->count || w->type != first->type ||
            w->operation != first->operation) {
            fault(NULL, 0, "NCCL: rank %d asks for something else than rank 0", w->rank);
            return GPU_ERROR_LAUNCH;
        }
        if (!memory_sound(w, n)) {
            return GPU_ERROR_ADDRESS;
        }
    }
    std::vector<uint8_t> result(first->gather ? bytes * n : bytes);
    for (size_t r = 0; r < n && first->gather; r++) {
        memcpy(result.data() + r * bytes, round.works[r]->from, bytes);
    }
    for (size_t i = 0; i < first->count && !first->gather; i++) {
        size_t start = i * n / first->count;
        float x = element(first->type, round.works[start]->from, i);
        for (size_t s = 1; s < n; s++) {
            float y = element(first->type, round.works[(start + s) % n]->from, i);
            x = first->operation == NCCL_SUM ? x + y : x > y ? x : y;
        }
        element_set(first->type, result.data(), i, x);
    }
    for (const Work *w : round.works) {
        memcpy(w->to, result.data(), result.size());
    }
    return GPU_OK;
}

/** At the head of its stream: is everybody? */
static bool work_ready(void *self)
{
    Work *w = (Work *)self;
    std::lock_guard<std::mutex> guard(lock);
    if (w->clique->failed) {
        return true;
    }
    if (!w->there) { // not when it was asked for: a graph asks once and runs often
        w->number = w->clique->n_begun[(size_t)w->rank]++;
    }
    Round &round = w->clique->rounds[w->number];
    if (!w->there) {
        w->there = true;
        round.works.resize((size_t)w->clique->n_ranks);
        round.works[(size_t)w->rank] = w;
        round.n_there++;
    }
    return round.done || round.n_there == (size_t)w->clique->n_ranks;
}

static GpuError work_run(void *self)
{
    Work *w = (Work *)self;
    std::lock_guard<std::mutex> guard(lock);
    if (!w->there) { // the clique had failed before it came
        return w->clique->aborted ? GPU_OK : GPU_ERROR_LAUNCH;
    }
    Round &round = w->clique->rounds[w->number];
    if (w->clique->failed && !round.done) {
        return w->clique->aborted ? GPU_OK : GPU_ERROR_LAUNCH;
    }
    if (!round.done) {
        round.error = round_do(round);
        round.done = true;
    }
    GpuError e = round.error;
    if (++round.n_left == round.works.size()) {
        w->clique->rounds.erase(w->number);
    }
    w->there = false;
    return e;
}

/** Its rank is lost, and nobody shall wait for it. */
static void work_cancel(void *self)
{
    std::lock_guard<std::mutex> guard(lock);
    ((Work *)self)->clique->failed = true;
}

static void work_free(void *self)
{
    Work *w = (Work *)self;
    {
        std::lock_guard<std::mutex> guard(lock);
        if (w->there) { // taken from its stream before it ran
            Round &round = w->clique->rounds[w->number];
            round.works[(size_t)w->rank] = NULL;
            round.n_there--;
        }
    }
    delete w;
}

static int queue(const Queued &q)
{
    GpuError e =
        stream_add(q.stream, StreamWork{work_ready, work_run, work_cancel, work_free, q.work});
    return e == GPU_OK ? NCCL_OK : NCCL_ERROR_CUDA;
}

static int collective(const void *from, void *to, size_t count, int type, int operation,
                      bool gather, NcclComm *comm, void *stream)
{
    if (comm == NULL || type_bytes(type) == 0 || (operation != NCCL_SUM && operation != NCCL_MAX)) {
        return NCCL_ERROR_VALUE;
    }
    if (comm->device != stream_device((GpuStream)stream)) {
        fault(NULL, 0, "NCCL: rank %d is of device %d, the stream of another", comm->rank,
              comm->device);
        return NCCL_ERROR_VALUE;
    }
    if (failure_now(EMULATE_FAIL_NCCL)) {
        return NCCL_ERROR_SYSTEM;
    }
    Work *w;
    {
        std::lock_guard<std::mutex> guard(lock);
        w = new Work{comm->clique,          comm->rank,    0,    gather, type, operation, count,
                     (const uint8_t *)from, (uint8_t *)to, false};
    }
    Queued q = {(GpuStream)stream, w};
    if (group_depth > 0) {
        group_queued->push_back(q);
        return NCCL_OK;
    }
    return queue(q);
}

static int all_gather(const void *from, void *to, size_t count, int type, NcclComm *comm,
                      void *stream)
{
    return collective(from, to, count, type, NCCL_SUM, true, comm, stream);
}

static int all_reduce(const void *from, void *to, size_t count, int type, int operation,
                      NcclComm *comm, void *stream)
{
    return collective(from, to, count, type, operation, false, comm, stream);
}

// ---- Ranks --------------------------------------------------------------------------------------

/** Under the lock: a rank is gone. */
static void comm_drop(NcclComm *comm)
{
    n_comms--;
    if (--comm->clique->n_alive == 0) {
        for (auto it = cliques->begin(); it != cliques->end(); ++it) {
            if (it->second == comm->clique) {
                cliques->erase(it);
                break;
            }
        }
    }
    delete comm;
}

/** Wait until all ranks of a communicator are there. */
static int join(const Joining &j)
{
    std::unique_lock<std::mutex> held(lock);
    Clique *clique = j.comm->clique.get();
    bool all = changed.wait_for(held, std::chrono::seconds(WAIT_SECONDS), [clique] {
        return clique->n_joined == clique->n_ranks || clique->failed;
    });
    if (!all || clique->failed) {
        clique->failed = true;
        changed.notify_all();
        comm_drop(j.comm);
        return NCCL_ERROR_SYSTEM;
    }
    *j.out = j.comm;
    return NCCL_OK;
}

static int version(int *out)
{
    *out = 22800;
    return NCCL_OK;
}

static const char *error_string(int error)
{
    static const char *const words[] = {
        "no error",       "unhandled cuda error", "unhandled system error",
        "internal error", "invalid argument",     "invalid usage"};
    return error >= 0 && error <= NCCL_ERROR_USAGE ? words[error] : "unknown result code";
}

static int unique_id(NcclId *out)
{
    if (failure_now(EMULATE_FAIL_NCCL)) {
        return NCCL_ERROR_SYSTEM;
    }
    std::lock_guard<std::mutex> guard(lock);
    memset(out, 0, sizeof(*out));
    memcpy(out->bytes, &next_id, sizeof(next_id));
    next_id++;
    return NCCL_OK;
}

static int init_rank(NcclComm **out, int n_ranks, NcclId id, int rank)
{
    if (rank < 0 || rank >= n_ranks) {
        return NCCL_ERROR_VALUE;
    }
    bool fails = failure_now(EMULATE_FAIL_NCCL);
    uint64_t number;
    memcpy(&number, id.bytes, sizeof(number));
    Joining j = {out, NULL};
    {
        std::lock_guard<std::mutex> guard(lock);
        if (cliques == NULL) {
            cliques = new std::map<uint64_t, std::shared_ptr<Clique>>;
        }
        std::shared_ptr<Clique> &clique = (*cliques)[number];
        if (clique == NULL) {
            clique = std::make_shared<Clique>();
            clique->n_ranks = n_ranks;
            clique->n_begun.resize((size_t)n_ranks);
        }
        if (clique->n_ranks != n_ranks || fails) {
            clique->failed = true;
            changed.notify_all();
            return fails ? NCCL_ERROR_SYSTEM : NCCL_ERROR_VALUE;
        }
        clique->n_joined++;
        clique->n_alive++;
        n_comms++;
        j.comm = new NcclComm{clique, rank, stream_current_device()};
        changed.notify_all();
    }
    if (group_depth > 0) {
        group_joining->push_back(j);
        return NCCL_OK;
    }
    return join(j);
}

static int group_start(void)
{
    if (group_depth++ == 0) {
        group_joining = new std::vector<Joining>;
        group_queued = new std::vector<Queued>;
    }
    return NCCL_OK;
}

static int group_end(void)
{
    if (group_depth == 0) {
        return NCCL_ERROR_USAGE;
    }
    if (--group_depth > 0) {
        return NCCL_OK;
    }
    int result = NCCL_OK;
    for (const Joining &j : *group_joining) {
        int e = join(j);
        result = result == NCCL_OK ? e : result;
    }
    for (const Queued &q : *group_queued) {
        int e = queue(q);
        result = result == NCCL_OK ? e : result;
    }
    delete group_joining;
    delete group_queued;
    group_joining = NULL;
    group_queued = NULL;
    return result;
}

static int comm_destroy(NcclComm *comm)
{
    if (comm != NULL) {
        std::lock_guard<std::mutex> guard(lock);
        comm_drop(comm);
    }
    return NCCL_OK;
}

static int comm_abort(NcclComm *comm)
{
    if (comm != NULL) {
        std::lock_guard<std::mutex> guard(lock);
        comm->clique->failed = true;
        comm->clique->aborted = true;
    }
    return comm_destroy(comm);
}

static int init_all(NcclComm **out, int n, const int *devices)
{
    NcclId id;
    int before = stream_current_device(), e = unique_id(&id);
    if (e != NCCL_OK) {
        return e;
    }
    std::vector<NcclComm *> comms((size_t)n);
    group_start();
    for (int i = 0; i < n && e == NCCL_OK; i++) {
        e = gpu_set_device(devices != NULL ? devices[i] : i) == GPU_OK
                ? init_rank(&comms[(size_t)i], n, id, i)
                : NCCL_ERROR_VALUE;
    }
    if (e != NCCL_OK) { // nobody waits for the ones that will not come
        std::lock_guard<std::mutex> guard(lock);
        for (const Joining &j : *group_joining) {
            j.comm->clique->failed = true;
        }
    }
    int f = group_end();
    e = e != NCCL_OK ? e : f;
    gpu_set_device(before);
    for (int i = 0; i < n && e == NCCL_OK; i++) {
        out[i] = comms[(size_t)i];
    }
    return e;
}

const NcclApi *nccl_api(void)
{
    static const NcclApi api = {version,    error_string, unique_id,  init_rank,
                                init_all,   comm_destroy, comm_abort, all_gather,
                                all_reduce, group_start,  group_end};
    return library_absent("nccl") ? NULL : &api;
}

size_t nccl_live(void)
{
    std::lock_guard<std::mutex> guard(lock);
    return n_comms;
}
