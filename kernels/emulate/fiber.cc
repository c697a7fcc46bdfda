// SPDX-License-Identifier: MIT
// One launch: blocks one after the other, the threads of a block as fibers. A thread runs until it
// waits (barrier, meeting of its warp) or ends; who goes on is the policy's choice, so that a seed
// gives one schedule. A thread that ends takes a new one on its own stack, so kernels without waits
// need one stack.
#include "kernels/emulate/context.h"
#include "kernels/emulate/internal.h"

#include <vector>

#include <stdio.h>
#include <sys/mman.h>

Launch emulate_current;
EmulateNow emulate_now;
const Checker *emulate_checker;

static Launch *const now = &emulate_current;
// Threads by priority: the ready ones as bits, the lowest first.
static uint16_t thread_of[THREADS_MAX];
static uint16_t rank_of[THREADS_MAX];
static uint64_t ready[THREADS_MAX / 64];
static thread_local bool mine; // this host thread runs the kernel

enum { POLICY_IN_ORDER, POLICY_REVERSE, POLICY_UNIFORM, POLICY_WARPS, POLICY_THREADS };

uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void shuffle(uint16_t *list, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)(random_next(&now->random) % i);
        uint16_t other = list[j];
        list[j] = list[i - 1];
        list[i - 1] = other;
    }
}

// ---- Who runs next ------------------------------------------------------------------------------

static void ranks_make(void)
{
    uint32_t n = now->n_threads;
    uint16_t warps[THREADS_MAX / WARP];
    uint32_t n_warps = (n + WARP - 1) / WARP;
    for (uint32_t w = 0; w < n_warps; w++) {
        warps[w] = (uint16_t)w;
    }
    if (now->policy == POLICY_WARPS) {
        shuffle(warps, n_warps);
    }
    uint32_t at = 0;
    for (uint32_t w = 0; w < n_warps; w++) {
        for (uint32_t t = warps[w] * WARP; t < n && t < (uint32_t)(warps[w] + 1) * WARP; t++) {
            thread_of[at++] = (uint16_t)t;
        }
    }
    if (now->policy == POLICY_THREADS) {
        shuffle(thread_of, n);
    } else if (now->policy == POLICY_REVERSE) {
        for (uint32_t i = 0; i < n; i++) {
            thread_of[i] = (uint16_t)(n - 1 - i);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        rank_of[thread_of[i]] = (uint16_t)i;
    }
}

static void ready_add(const Thread *thread)
{
    uint32_t rank = rank_of[thread->index];
    ready[rank / 64] |= UINT64_C(1) << rank % 64;
}

/** The ready thread that goes on, no longer ready; NULL none. */
static Thread *ready_take(void)
{
    const uint32_t n_words = THREADS_MAX / 64;
    uint32_t first = 0;
    uint64_t mask = ~UINT64_C(0);
    if (now->policy == POLICY_UNIFORM) {
        uint32_t rank = (uint32_t)(random_next(&now->random) % now->n_threads);
        first = rank / 64;
        mask <<= rank % 64;
    }
    for (uint32_t i = 0; i <= n_words; i++) {
        uint32_t w = (first + i) % n_words;
        uint64_t bits = ready[w] & (i == 0 ? mask : ~UINT64_C(0));
        if (bits != 0) {
            uint32_t bit = (uint32_t)__builtin_ctzll(bits);
            ready[w] &= ~(UINT64_C(1) << bit);
            return &now->threads[thread_of[w * 64 + bit]];
        }
    }
    return NULL;
}

// ---- Fibers -------------------------------------------------------------------------------------

static void fiber_run(void);

static Context *running_context(void)
{
    return now->current != NULL ? now->current->context : context_host();
}

static void become(Thread *thread)
{
    now->current = thread;
    emulate_now.thread_x = thread->index;
}

static void switch_to(Thread *next)
{
    Context *from = running_context();
    if (next->context == NULL) {
        next->context = context_take(fiber_run);
    }
    become(next);
    context_switch(from, next->context);
}

static void back_to_host(Context *from)
{
    now->current = NULL;
    context_switch(from, context_host());
}

static void deadlock(void)
{
    char text[1500];
    size_t at = 0;
    for (uint32_t i = 0; i < now->n_threads && at < sizeof(text) - 1;) {
        const Thread *first = &now->threads[i];
        uint32_t last = i;
        while (last + 1 < now->n_threads && now->threads[last + 1].state == first->state &&
               (first->state == THREAD_ENDED || (now->threads[last + 1].line == first->line &&
                                                 now->threads[last + 1].file == first->file))) {
            last++;
        }
        int n = first->state == THREAD_ENDED
                    ? snprintf(text + at, sizeof(text) - at, "; threads %u-%u have ended", i, last)
                    : snprintf(
                          text + at, sizeof(text) - at, "; threads %u-%u wait %s at %s:%d", i, last,
                          first->state == THREAD_AT_BARRIER ? "for the block" : "for their warp",
                          first->file, first->line);
        at += n > 0 ? (size_t)n : 0;
        i = last + 1;
    }
    fault(NULL, 0, "deadlock%s", text);
}

static void thread_end(Thread *thread)
{
    thread->state = THREAD_ENDED;
    now->n_ended++;
    warp_copies_forget(thread);
    now->warps[thread->index / WARP].ended |= 1u << thread->index % WARP;
    warp_thread_ended(thread);
    thread->context = NULL;
}

/** One stack: thread after thread, as long as the next one is new. */
static void fiber_run(void)
{
    context_entered();
    Context *self = now->current->context;
    for (;;) {
        Thread *thread = now->current;
        thread->context = self;
        thread->state = THREAD_READY;
        now->call->run(now->call->self);
        thread_end(thread);
        Thread *next = ready_take();
        if (next == NULL && now->n_ended < now->n_threads) {
            thread->context = self; // fault leaves from here
            deadlock();
        }
        if (next == NULL) {
            context_release(self);
            back_to_host(self);
        } else if (next->context != NULL) {
            context_release(self);
            become(next);
            context_switch(self, next->context);
        } else {
            become(next);
        }
    }
}

bool launch_inside(void)
{
    return mine && now->current != NULL;
}

void launch_abandon(void)
{
    now->failed = true;
    back_to_host(now->current->context);
    __builtin_trap();
}

void thread_wait(ThreadState state)
{
    Thread *self = now->current;
    self->state = state;
    Thread *next = ready_take();
    if (next == NULL) {
        deadlock();
    } else {
        switch_to(next);
    }
}

void thread_wake(Thread *thread)
{
    thread->state = THREAD_READY;
    ready_add(thread);
}

void thread_let_others(void)
{
    if (now->policy != POLICY_IN_ORDER) {
        Thread *self = now->current;
        ready_add(self);
        Thread *next = ready_take();
        if (next != self) {
            switch_to(next);
        }
    }
}

void thread_stack(uintptr_t *out_low, uintptr_t *out_high)
{
    context_stack(now->current->context, out_low, out_high);
}

// ---- Barrier and shared memory ------------------------------------------------------------------

bool barriers_watched; // noting, or one is left out
static bool noting;
static std::vector<EmulateBarrier> *noted;
static EmulateBarrier left_out;

static bool same_barrier(const EmulateBarrier *barrier, const char *file, int line)
{
    return barrier->line == line && strcmp(barrier->file, file) == 0;
}

bool barrier_left_out(const char *file, int line)
{
    for (size_t i = 0; noting; i++) {
        if (i == noted->size()) {
            noted->push_back(EmulateBarrier{file, line});
        }
        if (same_barrier(&(*noted)[i], file, line)) {
            break;
        }
    }
    return left_out.line != 0 && same_barrier(&left_out, file, line);
}

void emulate_note_barriers(void)
{
    delete noted;
    noted = new std::vector<EmulateBarrier>;
    noting = barriers_watched = true;
}

bool emulate_barrier(size_t n, EmulateBarrier *out)
{
    if (noted == NULL || n >= noted->size()) {
        return false;
    }
    *out = (*noted)[n];
    return true;
}

void emulate_leave_out(const EmulateBarrier *barrier)
{
    noting = false;
    barriers_watched = barrier != NULL;
    left_out = barrier != NULL ? *barrier : EmulateBarrier{NULL, 0};
}

void emulate_sync(const char *file, int line)
{
    if (barriers_watched && barrier_left_out(file, line)) {
        return;
    }
    Thread *self = now->current;
    if (now->n_at_barrier == 0) {
        now->barrier_file = file;
        now->barrier_line = line;
    } else if (line != now->barrier_line || strcmp(file, now->barrier_file) != 0) {
        fault(file, line, "divergent barrier: %s is here, others of its block at %s:%d",
              fault_who(), now->barrier_file, now->barrier_line);
    }
    self->file = file;
    self->line = line;
    now->n_at_barrier++;
    if (now->n_at_barrier < now->n_threads) {
        thread_wait(THREAD_AT_BARRIER);
        return;
    }
    now->n_at_barrier = 0;
    now->epoch++;
    for (uint32_t i = 0; i < now->n_threads; i++) {
        if (&now->threads[i] != self) {
            thread_wake(&now->threads[i]);
        }
    }
    thread_let_others();
}

void emulate_fence(void)
{
    now->fences++;
}

static uint8_t *shared_place(const EmulateSite *site, size_t bytes)
{
    uint32_t offset = now->shared_used + SHARED_GAP;
    if (now->n_pieces == SITES_MAX || offset + bytes + SHARED_GAP + 16 > SHARED_ARENA) {
        fault(site != NULL ? site->file : NULL, site != NULL ? site->line : 0,
              "too much shared memory");
        return NULL; // not on a fiber: the launch says so
    }
    now->pieces[now->n_pieces++] = SharedPiece{site, offset, (uint32_t)bytes};
    now->shared_used = (uint32_t)((offset + bytes + 15) / 16 * 16);
    uint8_t *at = now->shared + offset;
    __asan_unpoison_memory_region(at, bytes + SHARED_GAP);
    memset(at, FILL, bytes);
    memset(at + bytes, GAP_FILL, SHARED_GAP);
    __asan_poison_memory_region(at + bytes, SHARED_GAP);
    return at;
}

void *emulate_shared(EmulateSite *site, size_t bytes)
{
    if (site->launch != now->id) {
        size_t total = bytes;
        for (uint32_t i = 1; i < now->n_pieces; i++) {
            total += now->pieces[i].bytes;
        }
        if (total > STATIC_SHARED || total + now->shared_bytes > stream_options()->shared_bytes) {
            fault(site->file, site->line, "%zu bytes of shared memory in one block",
                  total + now->shared_bytes);
        }
        uint8_t *at = shared_place(site, bytes);
        site->launch = now->id;
        site->offset = (uint32_t)(at - now->shared);
    }
    return now->shared + site->offset;
}

void *emulate_dyn_shared(void)
{
    return now->shared + now->pieces[0].offset; // no bytes: in a gap
}

static void shared_begin(void)
{
    if (now->shared == NULL) {
        void *at = mmap(NULL, SHARED_ARENA, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        now->shared = (uint8_t *)at;
    }
    now->n_pieces = 0;
    now->shared_used = 0;
    __asan_poison_memory_region(now->shared, SHARED_ARENA);
    shared_place(NULL, now->shared_bytes);
}

/** Forget values between blocks. */
static void shared_clear(void)
{
    for (uint32_t i = 0; i < now->n_pieces; i++) {
        memset(now->shared + now->pieces[i].offset, FILL, now->pieces[i].bytes);
    }
}

/** Gaps are as they were. */
static void shared_gaps_check(void)
{
#if !EMULATE_ASAN
    for (uint32_t i = 0; i < now->n_pieces; i++) {
        const SharedPiece *p = &now->pieces[i];
        uint32_t end = p->offset + p->bytes;
        for (uint32_t j = end; j < end + SHARED_GAP; j++) {
            if (now->shared[j] != GAP_FILL) {
                fault(p->site != NULL ? p->site->file : NULL, p->site != NULL ? p->site->line : 0,
                      "out of bounds: byte %u of shared memory '%s' (%u bytes) was written",
                      j - p->offset, p->site != NULL ? p->site->name : "of the launch", p->bytes);
                now->failed = true;
                return;
            }
        }
    }
#endif
}

// ---- Launch -------------------------------------------------------------------------------------

static void block_run(uint32_t x, uint32_t y, uint32_t z)
{
    emulate_now.block_x = x;
    emulate_now.block_y = y;
    emulate_now.block_z = z;
    now->blocks++;
    now->n_ended = now->n_at_barrier = now->epoch = 0;
    memset(now->warps, 0, sizeof(now->warps));
    memset(ready, 0, sizeof(ready));
    for (uint32_t i = 0; i < now->n_threads; i++) {
        Thread *t = &now->threads[i];
        t->index = i;
        t->context = NULL;
        t->state = THREAD_NEW;
        t->file = NULL;
        warp_copies_forget(t);
        ready_add(t);
    }
    mine = true;
    switch_to(ready_take());
    mine = false;
    if (now->failed) { // stacks of threads that never ended
        for (uint32_t i = 0; i < now->n_threads; i++) {
            if (now->threads[i].context != NULL) {
                context_release(now->threads[i].context);
            }
        }
    }
}

static void launch_begin(EmulatePlace place, dim3 grid, uint32_t n_threads, size_t shared_bytes,
                         int device, const EmulateCall *call)
{
    static uint64_t n_launches;
    now->place = place;
    size_t length = strcspn(place.call, ",");
    snprintf(now->name, sizeof(now->name), "%.*s", (int)length, place.call);
    now->grid = grid;
    now->n_threads = n_threads;
    now->shared_bytes = (uint32_t)shared_bytes;
    now->device = device;
    now->call = call;
    now->id = ++n_launches;
    now->fences = 0;
    now->first_block = now->blocks + 1;
    now->failed = false;
    uint64_t seed = stream_options()->seed;
    now->policy = seed == 0 ? POLICY_IN_ORDER : 1 + (int)((seed - 1) % 4);
    now->random = seed * 0x2545f4914f6cdd1du + now->id;
    emulate_now.block_dim_x = n_threads;
    emulate_now.grid_dim_x = grid.x;
    emulate_now.grid_dim_y = grid.y;
    emulate_now.grid_dim_z = grid.z;
    for (uint32_t i = 0; i < n_threads; i++) {
        now->threads[i].index = i;
    }
}

bool launch_run(EmulatePlace place, dim3 grid, uint32_t n_threads, size_t shared_bytes, int device,
                const EmulateCall *call)
{
    fault_install();
    launch_begin(place, grid, n_threads, shared_bytes, device, call);
    shared_begin();
    // A step that has no divisor in common with the number of blocks visits each once.
    uint64_t n_blocks = (uint64_t)grid.x * grid.y * grid.z, step = 1, at = 0;
    if (now->policy == POLICY_REVERSE) {
        at = step = n_blocks - 1 > 0 ? n_blocks - 1 : 1;
    } else if (now->policy != POLICY_IN_ORDER && n_blocks > 1) {
        at = random_next(&now->random) % n_blocks;
        uint64_t a, b;
        do {
            step = 1 + random_next(&now->random) % (n_blocks - 1);
            for (a = step, b = n_blocks; b != 0;) {
                uint64_t rest = a % b;
                a = b;
                b = rest;
            }
        } while (a != 1);
    }
    for (uint64_t i = 0; i < n_blocks && !now->failed; i++) {
        if (i == 0 || now->policy != POLICY_IN_ORDER) {
            ranks_make();
        }
        if (i > 0) {
            shared_clear();
        }
        block_run((uint32_t)(at % grid.x), (uint32_t)(at / grid.x % grid.y),
                  (uint32_t)(at / grid.x / grid.y));
        shared_gaps_check();
        at = (at + step) % n_blocks;
    }
    return !now->failed;
}

const EmulateNow *emulate_now_at(void)
{
    return &emulate_now;
}
