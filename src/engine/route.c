// SPDX-License-Identifier: MIT
// What a device holds is remembered as hashes of beginnings: every STRETCH tokens and where a
// sequence ends, with a bit for each device. A collision sends a job to a device that holds less of
// it than was thought, and nothing else.
#include "engine/route.h"

#include <pthread.h>
#include <string.h>

#define STRETCH     64
#define MARKS_MAX   ((size_t)1 << 22) // then all is forgotten: 64 MiB
#define HASH_FACTOR UINT64_C(0x9E3779B97F4A7C15)

/** A beginning, and the devices that computed it. */
typedef struct Mark {
    uint64_t hash; // 0: none
    uint64_t devices;
} Mark;

struct Route {
    pthread_mutex_t mutex;
    uint32_t n_devices;
    uint64_t alive;
    uint64_t load[DIVIDE_DEVICES_MAX]; // of jobs that have not ended
    Mark *marks;                       // open addressing
    size_t n_marks;
    size_t mask; // slots less one; 0: none yet
    bool divided;
    RoutePlan plan;
};

// ---- Beginnings -------------------------------------------------------------------------------

static uint64_t hash_next(uint64_t hash, int32_t token)
{
    return hash * HASH_FACTOR + (uint64_t)(uint32_t)token + 1;
}

/** Where a hash is, or would be. */
static Mark *mark_find(const Route *route, uint64_t hash)
{
    size_t at = rng_mix(hash) & route->mask;
    while (route->marks[at].hash != hash && route->marks[at].hash != 0) {
        at = (at + 1) & route->mask;
    }
    return &route->marks[at];
}

static void marks_grow(Route *route)
{
    Mark *old = route->marks;
    size_t n_old = old == NULL ? 0 : route->mask + 1;
    size_t n = n_old == 0 ? 1024 : n_old * 2;
    route->marks = mem_zalloc(n, sizeof(*route->marks));
    route->mask = n - 1;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].hash != 0) {
            *mark_find(route, old[i].hash) = old[i];
        }
    }
    mem_free(old);
}

static void mark_put(Route *route, uint64_t hash, uint32_t device)
{
    if (route->n_marks >= MARKS_MAX) {
        memset(route->marks, 0, (route->mask + 1) * sizeof(*route->marks));
        route->n_marks = 0;
    }
    if (route->marks == NULL || route->n_marks * 2 > route->mask) {
        marks_grow(route);
    }
    hash = hash == 0 ? 1 : hash;
    Mark *mark = mark_find(route, hash);
    route->n_marks += mark->hash == 0 ? 1 : 0;
    mark->hash = hash;
    mark->devices |= (uint64_t)1 << device;
}

/** How many first tokens some device holds at least, and which devices do. */
static uint32_t held_longest(const Route *route, const Item *item, uint64_t *out_devices)
{
    uint32_t longest = 0;
    uint64_t hash = 0;
    *out_devices = 0;
    for (uint32_t i = 0; route->n_marks > 0 && i < item->n; i++) {
        hash = hash_next(hash, item->tokens[i]);
        const Mark *mark = mark_find(route, hash == 0 ? 1 : hash);
        if ((mark->devices & route->alive) != 0) {
            longest = i + 1;
            *out_devices = mark->devices & route->alive;
        }
    }
    return longest;
}

// ---- Jobs -------------------------------------------------------------------------------------

/** Sorted items with what each shares with the one before. */
typedef struct Sorted {
    Item **items;
    uint32_t *lcp;
    size_t n;
} Sorted;

static void sorted_finish(Sorted *sorted)
{
    mem_free(sorted->items);
    mem_free(sorted->lcp);
}

/** All that a set of jobs asks for. */
static Sorted sorted_make(Job *const *jobs, size_t n)
{
    Sorted all = {0};
    for (size_t i = 0; i < n; i++) {
        all.n += jobs[i]->n_items;
    }
    all.items = mem_alloc(all.n + 1, sizeof(Item *));
    all.lcp = mem_alloc(all.n + 1, sizeof(*all.lcp));
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < jobs[i]->n_items; k++) {
            all.items[at++] = &jobs[i]->items[k];
        }
    }
    items_sort(all.items, all.n, all.lcp);
    return all;
}

typedef bool ItemTest(const Item *item);

static bool is_asked(const Item *item)
{
    return !item_is_empty(item);
}

static bool is_longest(const Item *item)
{
    return item->job->longest == item;
}

static bool has_no_device(const Item *item)
{
    return item->job->device == UINT32_MAX;
}

/** Those that pass a test. */
static Sorted sorted_keep(const Sorted *of, ItemTest *test)
{
    Sorted kept = {.items = mem_alloc(of->n + 1, sizeof(Item *)),
                   .lcp = mem_alloc(of->n + 1, sizeof(*kept.lcp))};
    uint32_t shared = 0;
    for (size_t i = 0; i < of->n; i++) {
        shared = of->lcp[i] < shared ? of->lcp[i] : shared;
        if (test(of->items[i])) {
            kept.items[kept.n] = of->items[i];
            kept.lcp[kept.n++] = shared;
            shared = UINT32_MAX;
        }
    }
    return kept;
}

/**
 * Set a job's longest sequence, which stands for it, and the weight of all else. Weights count
 * tokens of prompts. A token of a reply costs about two of them, since it shares the reading of all
 * weights with few others, and replies come to about half of what they may. */
static void job_weigh(Job *job)
{
    const EngineRequest *request = &job->request;
    const Item *longest = &job->items[0];
    for (uint32_t i = 1; i < job->n_items; i++) {
        longest = job->items[i].n > longest->n ? &job->items[i] : longest;
    }
    job->longest = longest;
    job->weight = job_new_tokens(job);
    for (uint32_t i = 0; request->n_leaves > 0 && i < job->n_items; i++) {
        const Item *item = &job->items[i];
        job->weight += item->n - tokens_common(item->tokens, longest->tokens, 0, item->n);
    }
}

/** Send a job after what has been computed of it, if that is at least half. */
static void job_follow(Route *route, Job *job)
{
    uint64_t devices;
    uint32_t n = job->longest->n;
    uint32_t held = held_longest(route, job->longest, &devices);
    job->device = UINT32_MAX;
    if (devices == 0 || held < n - held) {
        return;
    }
    for (uint32_t d = 0; d < route->n_devices; d++) {
        bool fits = (devices >> d & 1) != 0;
        if (fits && (job->device == UINT32_MAX || route->load[d] < route->load[job->device])) {
            job->device = d;
        }
    }
    job->weight += n - held;
    route->load[job->device] += job->weight;
}

/** Divide the jobs that follow on nothing. */
static void jobs_divide(Route *route, const Sorted *sorted, Divided *out)
{
    size_t n = sorted->n;
    DivideEntry *entries = mem_alloc(n + 1, sizeof(*entries));
    uint32_t *devices = mem_alloc(n + 1, sizeof(*devices));
    uint64_t *weights = mem_alloc(n + 1, sizeof(*weights));
    for (size_t i = 0; i < n; i++) {
        const Item *item = sorted->items[i];
        entries[i] = (DivideEntry){.n = item->n, .lcp = sorted->lcp[i], .own = item->job->weight};
    }
    divide(entries, n, route->n_devices, route->alive, route->load, devices, weights, out);
    for (size_t i = 0; i < n; i++) {
        sorted->items[i]->job->device = devices[i];
        sorted->items[i]->job->weight = weights[i];
    }
    mem_free(weights);
    mem_free(devices);
    mem_free(entries);
}

/** Note what devices will hold. What an item shares with the one before was noted with that, if it
 * is on the same device. */
static void items_mark(Route *route, const Sorted *sorted)
{
    uint32_t longest = 0;
    for (size_t i = 0; i < sorted->n; i++) {
        longest = sorted->items[i]->n > longest ? sorted->items[i]->n : longest;
    }
    uint64_t *hashes = mem_alloc((size_t)longest + 1, sizeof(*hashes)); // of the one before
    hashes[0] = 0;
    for (size_t i = 0; i < sorted->n; i++) {
        const Item *item = sorted->items[i];
        Job *job = item->job;
        for (uint32_t k = sorted->lcp[i]; k < item->n; k++) {
            hashes[k + 1] = hash_next(hashes[k], item->tokens[k]);
        }
        bool same = i > 0 && sorted->items[i - 1]->job->device == job->device;
        uint32_t from = same ? sorted->lcp[i] / STRETCH : 0;
        for (uint32_t k = (from + 1) * STRETCH; k <= item->n; k += STRETCH) {
            mark_put(route, hashes[k], job->device);
        }
        mark_put(route, hashes[item->n], job->device);
        job->prompt_hash = hashes[item->n];
    }
    mem_free(hashes);
}

void route_jobs(Route *route, Job *const *jobs, size_t n)
{
    if (n == 0) {
        return;
    }
    int64_t from_ns = clock_ns();
    Sorted all = sorted_make(jobs, n);
    pthread_mutex_lock(&route->mutex);
    for (size_t i = 0; i < n; i++) {
        job_weigh(jobs[i]);
        job_follow(route, jobs[i]);
    }
    Divided divided;
    Sorted longest = sorted_keep(&all, is_longest);
    Sorted free_to_go = sorted_keep(&longest, has_no_device);
    jobs_divide(route, &free_to_go, &divided);
    items_mark(route, &longest);
    if (!route->divided) {
        Sorted asked = sorted_keep(&all, is_asked);
        route->plan.pieces = divided.pieces;
        for (size_t i = 0; i < n; i++) {
            route->plan.devices |= (uint64_t)1 << jobs[i]->device;
        }
        for (size_t i = 0; i < asked.n; i++) {
            route->plan.distinct += asked.items[i]->n - asked.lcp[i];
        }
        sorted_finish(&asked);
        route->divided = true;
    }
    route->plan.seconds += (double)(clock_ns() - from_ns) * 1e-9;
    pthread_mutex_unlock(&route->mutex);
    sorted_finish(&free_to_go);
    sorted_finish(&longest);
    sorted_finish(&all);
}

/** The keys and values of a reply stay for a while where it was made: what follows on it goes
 * there. */
void route_ended(Route *route, const Job *job)
{
    pthread_mutex_lock(&route->mutex);
    route->load[job->device] -= job->weight;
    for (int64_t r = 0; job->sequences != NULL && r < job->request.n_replies; r++) {
        const Sequence *sequence = &job->sequences[r];
        uint64_t hash = job->prompt_hash;
        for (uint32_t i = 0; i + 1 < sequence->n_tokens; i++) {
            hash = hash_next(hash, sequence->tokens[i].id);
            if ((job->request.n_prompt + i + 1) % STRETCH == 0 || i + 2 == sequence->n_tokens) {
                mark_put(route, hash, job->device);
            }
        }
    }
    pthread_mutex_unlock(&route->mutex);
}

bool route_lost(Route *route, uint32_t device)
{
    pthread_mutex_lock(&route->mutex);
    uint64_t rest = route->alive & ~((uint64_t)1 << device);
    route->alive = rest != 0 ? rest : route->alive; // where none works, one has to say so
    pthread_mutex_unlock(&route->mutex);
    return rest != 0;
}

void route_plan(Route *route, RoutePlan *out)
{
    pthread_mutex_lock(&route->mutex);
    *out = route->plan;
    pthread_mutex_unlock(&route->mutex);
}

Route *route_create(uint32_t n_devices)
{
    Route *route = mem_zalloc(1, sizeof(*route));
    route->n_devices = n_devices;
    route->alive = n_devices == 64 ? UINT64_MAX : ((uint64_t)1 << n_devices) - 1;
    pthread_mutex_init(&route->mutex, NULL);
    return route;
}

void route_destroy(Route *route)
{
    if (route != NULL) {
        pthread_mutex_destroy(&route->mutex);
        mem_free(route->marks);
        mem_free(route);
    }
}
