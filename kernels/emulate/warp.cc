// SPDX-License-Identifier: MIT
// What the lanes of a warp do together: each leaves a pointer to its arguments, on its own stack,
// and the last to arrive does the work for all. And cp.async, whose copies are seen by nobody until
// their thread has waited for them.
#include "kernels/emulate/internal.h"

#include <stdlib.h>

static Launch *const now = &emulate_current;

static const char *const meeting_names[] = {
    "SYNC_WARP", "shfl",     "shfl_xor",  "shfl_down", "shfl_up",
    "ballot",    "any_lane", "all_lanes", "ldmatrix",  "ldmatrix",
    "mma f16",   "mma bf16", "mma s8",    "mma u8s8",  "mma s8u8",
};

static Thread *lane_thread(const Warp *warp, int lane)
{
    return &now->threads[(warp - now->warps) * WARP + lane];
}

/** 16 bytes of the block's shared memory. */
static bool shared_inside(const void *at)
{
    const uint8_t *a = (const uint8_t *)at;
    return a >= now->shared && a + 16 <= now->shared + SHARED_ARENA;
}

static uint8_t *in_flight(const void *at)
{
    return &now->in_flight[(size_t)((const uint8_t *)at - now->shared) / 16];
}

// ---- The work -----------------------------------------------------------------------------------

static void do_shfl(EmulateMeeting what, Thread *first)
{
    uint64_t values[WARP];
    for (int l = 0; l < WARP; l++) {
        values[l] = ((const MeetShfl *)first[l].args)->value;
    }
    for (int l = 0; l < WARP; l++) {
        MeetShfl *m = (MeetShfl *)first[l].args;
        int from = what == MEET_SHFL        ? m->lane % WARP
                   : what == MEET_SHFL_XOR  ? l ^ m->lane
                   : what == MEET_SHFL_DOWN ? l + m->lane
                                            : l - m->lane;
        m->value = values[from >= 0 && from < WARP ? from : l];
    }
}

static void do_vote(EmulateMeeting what, Thread *first)
{
    uint32_t votes = 0;
    for (int l = 0; l < WARP; l++) {
        votes |= ((const MeetVote *)first[l].args)->in ? 1u << l : 0;
    }
    for (int l = 0; l < WARP; l++) {
        ((MeetVote *)first[l].args)->out = what == MEET_BALLOT ? votes
                                           : what == MEET_ANY  ? votes != 0
                                                               : votes == ALL_LANES;
    }
}

/** Lane l gives the row l % 8 of matrix l / 8; register i is of matrix i: elements (l / 4, l % 4 *
 * 2) and the next, with trans (l % 4 * 2, l / 4) and the one below. */
static void do_ldmatrix(bool trans, Thread *first)
{
    uint16_t m[4][8][8];
    for (int l = 0; l < WARP; l++) {
        const MeetLdmatrix *args = (const MeetLdmatrix *)first[l].args;
        if ((uintptr_t)args->row % 16 != 0 || !shared_inside(args->row)) {
            fault(first[l].file, first[l].line,
                  "ldmatrix: the row of lane %d is not shared memory aligned to 16 bytes", l);
        }
        if (emulate_checker != NULL) {
            emulate_checker->access(&first[l], args->row, 16, false);
        } else if (*in_flight(args->row) != 0) {
            fault(first[l].file, first[l].line,
                  "ldmatrix of shared memory that cp_async16 has not delivered: lane %d", l);
        }
        memcpy(m[l / 8][l % 8], args->row, 16);
    }
    for (int l = 0; l < WARP; l++) {
        uint32_t *r = ((const MeetLdmatrix *)first[l].args)->r;
        int row = l / 4, column = l % 4 * 2;
        for (int i = 0; i < 4; i++) {
            uint16_t low = trans ? m[i][column][row] : m[i][row][column];
            uint16_t high = trans ? m[i][column + 1][row] : m[i][row][column + 1];
            r[i] = (uint32_t)high << 16 | low;
        }
    }
}

static float half_value(bool bf16, uint32_t word, int i)
{
    uint16_t h = (uint16_t)(word >> 16 * i);
    return bf16 ? bf16_to_float(h) : f16_to_float(h);
}

/** a: registers 0-3 are rows g, g+8, g, g+8 and columns 2c, 2c, 2c+8, 2c+8 of 16 x 16; b: columns
 * g, rows 2c and 2c+8 of 16 x 8. Products are exact, sums are f32 in order of k. */
static void do_mma_half(bool bf16, Thread *first)
{
    float a[16][16], b[16][8], d[16][8];
    for (int l = 0; l < WARP; l++) {
        const MeetMma *m = (const MeetMma *)first[l].args;
        const float *from = (const float *)m->d;
        int g = l / 4, c = l % 4 * 2;
        for (int i = 0; i < 2; i++) {
            a[g][c + i] = half_value(bf16, m->a[0], i);
            a[g + 8][c + i] = half_value(bf16, m->a[1], i);
            a[g][c + 8 + i] = half_value(bf16, m->a[2], i);
            a[g + 8][c + 8 + i] = half_value(bf16, m->a[3], i);
            b[c + i][g] = half_value(bf16, m->b[0], i);
            b[c + 8 + i][g] = half_value(bf16, m->b[1], i);
            d[g][c + i] = from[i];
            d[g + 8][c + i] = from[2 + i];
        }
    }
    for (int i = 0; i < 16; i++) {
        for (int k = 0; k < 16; k++) {
            for (int j = 0; j < 8; j++) {
                d[i][j] += a[i][k] * b[k][j];
            }
        }
    }
    for (int l = 0; l < WARP; l++) {
        float *to = (float *)((const MeetMma *)first[l].args)->d;
        int g = l / 4, c = l % 4 * 2;
        for (int i = 0; i < 2; i++) {
            to[i] = d[g][c + i];
            to[2 + i] = d[g + 8][c + i];
        }
    }
}

static int16_t byte_value(bool is_signed, uint32_t word, int i)
{
    uint8_t byte = (uint8_t)(word >> 8 * i);
    return is_signed ? (int8_t)byte : (int16_t)byte;
}

/** a: registers 0-3 are rows g, g+8, g, g+8 and columns 4c, 4c, 4c+16, 4c+16 of 16 x 32; b: columns
 * g, rows 4c and 4c+16 of 32 x 8. */
static void do_mma_bytes(bool a_signed, bool b_signed, Thread *first)
{
    int16_t a[16][32], b[32][8];
    int d[16][8];
    for (int l = 0; l < WARP; l++) {
        const MeetMma *m = (const MeetMma *)first[l].args;
        const int *from = (const int *)m->d;
        int g = l / 4, c = l % 4;
        for (int i = 0; i < 4; i++) {
            a[g][c * 4 + i] = byte_value(a_signed, m->a[0], i);
            a[g + 8][c * 4 + i] = byte_value(a_signed, m->a[1], i);
            a[g][c * 4 + 16 + i] = byte_value(a_signed, m->a[2], i);
            a[g + 8][c * 4 + 16 + i] = byte_value(a_signed, m->a[3], i);
            b[c * 4 + i][g] = byte_value(b_signed, m->b[0], i);
            b[c * 4 + 16 + i][g] = byte_value(b_signed, m->b[1], i);
        }
        for (int i = 0; i < 2; i++) {
            d[g][c * 2 + i] = from[i];
            d[g + 8][c * 2 + i] = from[2 + i];
        }
    }
    for (int i = 0; i < 16; i++) {
        for (int k = 0; k < 32; k++) {
            for (int j = 0; j < 8; j++) { // wraps as the hardware does without .satfinite
                d[i][j] = (int)((uint32_t)d[i][j] + (uint32_t)(a[i][k] * b[k][j]));
            }
        }
    }
    for (int l = 0; l < WARP; l++) {
        int *to = (int *)((const MeetMma *)first[l].args)->d;
        int g = l / 4, c = l % 4 * 2;
        for (int i = 0; i < 2; i++) {
            to[i] = d[g][c + i];
            to[2 + i] = d[g + 8][c + i];
        }
    }
}

static void meeting_do(EmulateMeeting what, Warp *warp)
{
    Thread *first = lane_thread(warp, 0);
    switch (what) {
    case MEET_SYNC:
        warp->epoch++;
        break;
    case MEET_SHFL:
    case MEET_SHFL_XOR:
    case MEET_SHFL_DOWN:
    case MEET_SHFL_UP:
        do_shfl(what, first);
        break;
    case MEET_BALLOT:
    case MEET_ANY:
    case MEET_ALL:
        do_vote(what, first);
        break;
    case MEET_LDMATRIX:
    case MEET_LDMATRIX_TRANS:
        do_ldmatrix(what == MEET_LDMATRIX_TRANS, first);
        break;
    case MEET_MMA_F16:
    case MEET_MMA_BF16:
        do_mma_half(what == MEET_MMA_BF16, first);
        break;
    case MEET_MMA_S8:
    case MEET_MMA_U8S8:
    case MEET_MMA_S8U8:
        do_mma_bytes(what != MEET_MMA_U8S8, what != MEET_MMA_S8U8, first);
        break;
    }
}

// ---- Meetings -----------------------------------------------------------------------------------

static void lanes_missing(const Warp *warp, uint32_t lanes, const char *why)
{
    int there = __builtin_ctz(warp->arrived);
    const Thread *t = lane_thread(warp, there);
    fault(t->file, t->line,
          "%s waits for lanes %08x of its warp, which %s (block %u,%u,%u warp %u)",
          meeting_names[t->meeting], lanes, why, emulate_now.block_x, emulate_now.block_y,
          emulate_now.block_z, t->index / WARP);
}

void warp_thread_ended(Thread *thread)
{
    const Warp *warp = &now->warps[thread->index / WARP];
    if (warp->arrived != 0) {
        lanes_missing(warp, warp->ended, "have ended");
    }
}

static void meeting_check(const Warp *warp, const Thread *self)
{
    for (int l = 0; l < WARP; l++) {
        const Thread *t = lane_thread(warp, l);
        if (t->meeting != self->meeting || t->line != self->line ||
            (t->file != self->file && strcmp(t->file, self->file) != 0)) {
            fault(self->file, self->line, "divergent warp: %s is in %s, lane %d in %s at %s:%d",
                  fault_who(), meeting_names[self->meeting], l, meeting_names[t->meeting], t->file,
                  t->line);
            return;
        }
    }
}

void emulate_meet(EmulateMeeting what, void *args, const char *file, int line)
{
    if (barriers_watched && what == MEET_SYNC && barrier_left_out(file, line)) {
        return;
    }
    Thread *self = now->current;
    Warp *warp = &now->warps[self->index / WARP];
    self->meeting = what;
    self->args = args;
    self->file = file;
    self->line = line;
    warp->arrived |= 1u << self->index % WARP;
    if (warp->ended != 0) {
        lanes_missing(warp, warp->ended, "have ended");
    }
    if (warp->arrived != ALL_LANES) {
        uint32_t lanes = now->n_threads - self->index / WARP * WARP;
        if (lanes < WARP && warp->arrived == (1u << lanes) - 1) {
            lanes_missing(warp, ALL_LANES << lanes, "are not in the block");
        }
        thread_wait(THREAD_IN_WARP);
        return;
    }
    meeting_check(warp, self);
    meeting_do(what, warp);
    warp->arrived = 0;
    for (int l = 0; l < WARP; l++) {
        Thread *t = lane_thread(warp, l);
        if (t != self) {
            thread_wake(t);
        }
    }
    thread_let_others();
}

// ---- cp.async -----------------------------------------------------------------------------------

void warp_copies_forget(Thread *thread)
{
    for (uint32_t i = 0; i < thread->n_copies; i++) {
        *in_flight(thread->copies[i].to) = 0;
    }
    thread->n_copies = 0;
    thread->group = 0;
}

void emulate_prefetch(const void *global, uint32_t bytes, const char *file, int line)
{
    if ((uintptr_t)global % 16 != 0 || bytes % 16 != 0 || bytes == 0) {
        fault(file, line, "prefetch_l2 of %u bytes at %p: no multiples of 16", bytes, global);
    }
    if (!memory_valid(global, bytes)) {
        char text[200];
        memory_explain(global, bytes, text, sizeof(text));
        fault(file, line, "prefetch_l2 of %s", text);
    }
}

void emulate_cp_async(void *shared, const void *global, bool valid, const char *file, int line)
{
    Thread *self = now->current;
    self->file = file;
    self->line = line;
    uint8_t *to = (uint8_t *)shared;
    if (!shared_inside(to)) {
        fault(file, line, "cp_async16: the target is not shared memory");
    }
    if ((uintptr_t)shared % 16 != 0 || (valid && (uintptr_t)global % 16 != 0)) {
        fault(file, line, "cp_async16: %p <- %p is not aligned to 16 bytes", shared, global);
    }
    if (valid && !memory_valid(global, 16)) {
        char text[200];
        memory_explain(global, 16, text, sizeof(text));
        fault(file, line, "cp_async16 reads %s", text);
    }
    if (*in_flight(to) != 0) {
        fault(file, line, "cp_async16 to where another one is under way");
    }
    if (emulate_checker != NULL) {
        emulate_checker->access(self, shared, 16, true);
        if (valid) {
            emulate_checker->access(self, global, 16, false);
        }
    }
    if (self->n_copies == self->copies_capacity) {
        self->copies_capacity = self->copies_capacity > 0 ? self->copies_capacity * 2 : 64;
        self->copies =
            (AsyncCopy *)realloc(self->copies, self->copies_capacity * sizeof(*self->copies));
        if (self->copies == NULL) {
            abort();
        }
    }
    self->copies[self->n_copies++] =
        AsyncCopy{to, valid ? (const uint8_t *)global : NULL, self->group};
    *in_flight(to) = 1;
    memset(to, FILL, 16); // it may arrive at any time
}

void emulate_cp_async_commit(void)
{
    now->current->group++;
}

void emulate_cp_async_wait(int n_left)
{
    Thread *self = now->current;
    uint32_t left = 0;
    for (uint32_t i = 0; i < self->n_copies; i++) {
        const AsyncCopy *c = &self->copies[i];
        if (c->group + (uint32_t)n_left >= self->group) {
            self->copies[left++] = *c;
            continue;
        }
        *in_flight(c->to) = 0;
        if (emulate_checker != NULL) {
            emulate_checker->access(self, c->to, 16, true);
        }
        if (c->from != NULL) {
            memcpy(c->to, c->from, 16);
        } else {
            memset(c->to, 0, 16);
        }
    }
    self->n_copies = left;
}

// ---- Atomics ------------------------------------------------------------------------------------

uint32_t emulate_atomic_add(uint32_t *at, uint32_t x)
{
    uint32_t old = *at;
    *at = old + x;
    return old;
}

uint64_t emulate_atomic_add64(uint64_t *at, uint64_t x)
{
    uint64_t old = *at;
    *at = old + x;
    return old;
}

uint32_t emulate_atomic_max(uint32_t *at, uint32_t x)
{
    uint32_t old = *at;
    *at = x > old ? x : old;
    return old;
}
