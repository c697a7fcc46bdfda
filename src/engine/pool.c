// SPDX-License-Identifier: MIT
// How many slots the pool of keys and values has. The host's memory is only taken where it is
// touched, so there the pool is as large as it may be; a device's own is taken at once, when the
// first jobs are there and all models are loaded, and what is there may be less than was thought.
// Driver thread only.
#include "engine/engine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOL_DEFAULT_BYTES ((uint64_t)2 << 30)
#define SPARE_BYTES        ((uint64_t)1 << 30) // of a device's memory, for what comes later
#define SLOTS_LEAST        64
#define SLOTS_MAX          ((uint64_t)INT32_MAX - 4096)

// ---- What there is ----------------------------------------------------------------------------

/** The number behind a word at the start of a line of a system's file; 0 when there is none. */
static uint64_t system_number(const char *path, const char *word)
{
    uint64_t number = 0;
    char line[128];
    FILE *f = fopen(path, "re");
    while (f != NULL && number == 0 && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, word, strlen(word)) == 0) {
            number = strtoull(line + strlen(word), NULL, 10); // 0 for 'max'
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return number;
}

/** Bytes of memory that can be had without swapping; 0 when the system does not say. A container's
 * limit counts whole, since its page cache gives way. */
static uint64_t memory_available(void)
{
    uint64_t bytes = system_number("/proc/meminfo", "MemAvailable:") * 1024;
    uint64_t limit = system_number("/sys/fs/cgroup/memory.max", "");
    return limit > 0 && limit < bytes ? limit : bytes;
}

static bool on_device(const Schedule *schedule)
{
    return forward_free_bytes(schedule->forward) != SIZE_MAX;
}

/** Slots that a device's own memory has room for: nine tenths, and scratch of operations that has
 * still to grow. */
static uint64_t device_slots(const Schedule *schedule)
{
    uint64_t bytes = forward_free_bytes(schedule->forward);
    uint64_t spare = bytes / 4 < SPARE_BYTES ? bytes / 4 : SPARE_BYTES;
    spare = bytes / 10 > spare ? bytes / 10 : spare;
    return (bytes - spare) / forward_slot_bytes(schedule->forward);
}

bool schedule_pool_plan(Schedule *schedule, uint64_t kv_bytes, Err *err)
{
    uint64_t bytes = kv_bytes;
    if (bytes == 0) {
        uint64_t half = on_device(schedule) ? 0 : memory_available() / 2;
        bytes = half > 0 && half < POOL_DEFAULT_BYTES ? half : POOL_DEFAULT_BYTES;
    }
    uint64_t slots = bytes / forward_slot_bytes(schedule->forward);
    schedule->pool_given = kv_bytes > 0;
    schedule->pool_limit_slots = slots < SLOTS_MAX ? slots : SLOTS_MAX;
    return slots >= SLOTS_LEAST ||
           ERR_SET(err, ERR_LIMIT, "KV memory of %llu bytes holds only %llu tokens",
                   (unsigned long long)bytes, (unsigned long long)slots);
}

// ---- What is needed ---------------------------------------------------------------------------

typedef struct Wish {
    uint64_t least; // the longest path and one reply
    uint64_t all;   // to keep everything, at most: what prompts share is counted more than once
} Wish;

static Wish wish_of(const Schedule *schedule, Job *const *jobs, size_t n)
{
    Wish wish = {0};
    uint64_t n_replies = 0, longest_reply = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t reply = job_reserve(jobs[i]);
        n_replies += jobs[i]->request.n_leaves == 0 ? (uint64_t)jobs[i]->request.n_replies : 0;
        longest_reply = reply > longest_reply ? reply : longest_reply;
        for (uint32_t k = 0; k < jobs[i]->n_items; k++) {
            uint64_t path = jobs[i]->items[k].n + reply;
            wish.least = path > wish.least ? path : wish.least;
            wish.all += jobs[i]->items[k].n;
        }
    }
    wish.all += (n_replies < schedule->max_batch ? n_replies : schedule->max_batch) * longest_reply;
    return wish;
}

/** What to try first. */
static uint64_t slots_wanted(const Schedule *schedule, const Wish *wish)
{
    uint64_t slots = schedule->pool_limit_slots;
    if (on_device(schedule)) {
        uint64_t there = device_slots(schedule);
        // Later requests may be longer than these, but not than the context.
        uint64_t context = (uint64_t)forward_info(schedule->forward)->context_tokens;
        uint64_t most = wish->all > context ? wish->all : context;
        slots = !schedule->pool_given && most > slots ? most : slots;
        slots = slots < there ? slots : there;
    }
    slots = slots > SLOTS_LEAST ? slots : SLOTS_LEAST;
    return slots < SLOTS_MAX ? slots : SLOTS_MAX;
}

bool schedule_pool_create(Schedule *schedule, Job *const *jobs, size_t n, Err *err)
{
    Wish wish = wish_of(schedule, jobs, n);
    uint64_t slots = slots_wanted(schedule, &wish), slot_bytes;
    Err tried = ERR_INIT;
    while (!forward_pool_create(schedule->forward, (uint32_t)slots, &tried)) {
        if (tried.code != ERR_LIMIT || slots <= SLOTS_LEAST) {
            *err = tried;
            return ERR_WRAP(err, "keys and values of %llu tokens", (unsigned long long)slots);
        }
        uint64_t less = slots / 4 * 3 > SLOTS_LEAST ? slots / 4 * 3 : SLOTS_LEAST;
        slots = slots > wish.least && less < wish.least ? wish.least : less;
    }
    slot_bytes = forward_slot_bytes(schedule->forward);
    if (schedule->pool_given && slots < schedule->pool_limit_slots) {
        schedule->stats.kv_asked_bytes = schedule->pool_limit_slots * slot_bytes;
    }
    schedule->stats.kv_pool_bytes = slots * slot_bytes;
    slots_init(&schedule->slots, (uint32_t)slots);
    return true;
}
