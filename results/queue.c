// SPDX-License-Identifier: MIT
// The bounded queue between those who finish attempts and the writer, and the sets of hashes that a
// resumed experiment is looked up in. Items lie in segments, so nothing is allocated per item.
#include "results/store_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

bool store_queue_init(StoreQueue *queue)
{
    *queue = (StoreQueue){0};
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) {
        return false;
    }
    bool ok = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
              pthread_cond_init(&queue->work, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    if (!ok) {
        return false;
    }
    pthread_cond_init(&queue->space, NULL);
    pthread_mutex_init(&queue->mutex, NULL);
    return true;
}

static void segments_free(Segment *segment)
{
    while (segment != NULL) {
        Segment *next = segment->next;
        mem_free(segment);
        segment = next;
    }
}

void store_queue_finish(StoreQueue *queue)
{
    segments_free(queue->first);
    segments_free(queue->spare);
    pthread_cond_destroy(&queue->work);
    pthread_cond_destroy(&queue->space);
    pthread_mutex_destroy(&queue->mutex);
}

/** Whether the writer should not wait for more. */
static bool is_due(const StoreQueue *queue)
{
    return queue->n_attempts >= GROUP_MAX_ATTEMPTS || queue->n_waiting_bytes >= QUEUE_HURRY_BYTES ||
           queue->n_urgent > 0 || queue->stop;
}

Segment *store_queue_take(StoreQueue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    while (queue->first == NULL && !queue->stop) {
        pthread_cond_wait(&queue->work, &queue->mutex);
    }
    if (queue->first != NULL) {
        struct timespec deadline;
        clock_gettime(CLOCK_MONOTONIC, &deadline);
        int64_t waited = clock_ns() - queue->oldest_ns;
        int64_t left = waited < GROUP_WAIT_NS ? GROUP_WAIT_NS - waited : 0;
        int64_t ns = deadline.tv_nsec + left;
        deadline.tv_sec += ns / 1000000000;
        deadline.tv_nsec = ns % 1000000000;
        while (!is_due(queue) &&
               pthread_cond_timedwait(&queue->work, &queue->mutex, &deadline) != ETIMEDOUT) {
        }
    }
    Segment *taken = queue->first;
    queue->first = queue->last = NULL;
    queue->n_waiting_bytes = 0;
    queue->n_attempts = 0;
    pthread_mutex_unlock(&queue->mutex);
    return taken;
}

void store_queue_settle(StoreQueue *queue, uint64_t n_items, size_t n_bytes)
{
    pthread_mutex_lock(&queue->mutex);
    queue->n_settled += n_items;
    queue->n_bytes -= n_bytes;
    pthread_cond_broadcast(&queue->space);
    pthread_mutex_unlock(&queue->mutex);
}

void store_queue_recycle(StoreQueue *queue, Segment *segment)
{
    pthread_mutex_lock(&queue->mutex);
    if (queue->spare == NULL && segment->cap_bytes == SEGMENT_BYTES) {
        queue->spare = segment;
        segment->next = NULL;
        segment = NULL;
    }
    pthread_mutex_unlock(&queue->mutex);
    mem_free(segment);
}

/** A segment at the end of the queue with room for n_bytes. */
static Segment *segment_with_room(StoreQueue *queue, size_t n_bytes)
{
    Segment *last = queue->last;
    if (last != NULL && last->cap_bytes - last->used_bytes >= n_bytes) {
        return last;
    }
    Segment *segment = queue->spare;
    if (segment != NULL && segment->cap_bytes >= n_bytes) {
        queue->spare = NULL;
    } else {
        size_t cap = n_bytes > SEGMENT_BYTES ? n_bytes : SEGMENT_BYTES;
        segment = mem_alloc(1, sizeof(*segment) + cap);
        segment->cap_bytes = cap;
    }
    segment->next = NULL;
    segment->used_bytes = 0;
    if (last == NULL) {
        queue->first = segment;
    } else {
        last->next = segment;
    }
    queue->last = segment;
    return segment;
}

StoreItem *store_queue_lock_room(Store *store, size_t n_bytes)
{
    StoreQueue *queue = &store->queue;
    pthread_mutex_lock(&queue->mutex);
    while (queue->n_bytes > 0 && queue->n_bytes + n_bytes > QUEUE_MAX_BYTES &&
           !atomic_load(&store->failed)) {
        queue->n_urgent++;
        pthread_cond_signal(&queue->work);
        pthread_cond_wait(&queue->space, &queue->mutex);
        queue->n_urgent--;
    }
    if (atomic_load(&store->failed)) {
        pthread_mutex_unlock(&queue->mutex);
        return NULL;
    }
    bool was_empty = queue->first == NULL;
    Segment *segment = segment_with_room(queue, n_bytes);
    StoreItem *item = (StoreItem *)(void *)(segment->data + segment->used_bytes);
    segment->used_bytes += n_bytes;
    queue->n_bytes += n_bytes;
    queue->n_waiting_bytes += n_bytes;
    queue->n_put++;
    if (was_empty) {
        queue->oldest_ns = clock_ns();
    }
    return item;
}

void store_queue_unlock_put(Store *store, const StoreItem *item)
{
    StoreQueue *queue = &store->queue;
    queue->n_attempts += !item->is_call;
    bool alone = queue->first == queue->last && queue->first->used_bytes == item->n_bytes;
    bool due = queue->n_attempts == GROUP_MAX_ATTEMPTS ||
               (queue->n_waiting_bytes >= QUEUE_HURRY_BYTES &&
                queue->n_waiting_bytes - item->n_bytes < QUEUE_HURRY_BYTES);
    if (alone || due) {
        pthread_cond_signal(&queue->work);
    }
    pthread_mutex_unlock(&queue->mutex);
}

// ---- Sets of hashes -----------------------------------------------------------------------------

uint64_t attempt_hash(int64_t run_id, Str sample_id, int64_t epoch)
{
    uint64_t place = rng_mix((uint64_t)run_id * 0x9e3779b97f4a7c15u + (uint64_t)epoch);
    uint64_t hash = rng_mix(hash_fast(sample_id.data, sample_id.len) ^ place);
    return hash == 0 ? 1 : hash;
}

static void slots_put(uint64_t *slots, size_t n_slots, uint64_t hash)
{
    size_t at = hash & (n_slots - 1);
    while (slots[at] != 0 && slots[at] != hash) {
        at = (at + 1) & (n_slots - 1);
    }
    slots[at] = hash;
}

void hash_set_add(HashSet *set, uint64_t hash)
{
    if (set->n + 1 > set->n_slots / 4 * 3) {
        size_t n_slots = set->n_slots == 0 ? 256 : set->n_slots * 2;
        uint64_t *slots = mem_zalloc(n_slots, sizeof(*slots));
        for (size_t i = 0; i < set->n_slots; i++) {
            if (set->slots[i] != 0) {
                slots_put(slots, n_slots, set->slots[i]);
            }
        }
        mem_free(set->slots);
        set->slots = slots;
        set->n_slots = n_slots;
    }
    set->n += !hash_set_has(set, hash);
    slots_put(set->slots, set->n_slots, hash);
}

bool hash_set_has(const HashSet *set, uint64_t hash)
{
    if (set->n_slots == 0) {
        return false;
    }
    size_t at = hash & (set->n_slots - 1);
    while (set->slots[at] != 0) {
        if (set->slots[at] == hash) {
            return true;
        }
        at = (at + 1) & (set->n_slots - 1);
    }
    return false;
}

void hash_set_finish(HashSet *set)
{
    mem_free(set->slots);
    *set = (HashSet){0};
}
