// SPDX-License-Identifier: MIT
// A sampler for tests of the loop that wants all requests first and answers them from a thread of
// its own, in any order. It stands in for the sampler room: the test defines sampler_open and
// completion_create.
#pragma once

#include "sampler/sampler.h"

typedef struct FakePlan {
    bool wants_all;
    int max_in_flight;
    const char *fail_with; // sample id whose first request fails with fail_code
    ErrCode fail_code;
    bool fail_chats_only;
    size_t stop_after;  // completions after which *stop is set; 0 never
    volatile int *stop; // sig_atomic_t
    bool stall;         // after stop_after completions, only cancelled requests are answered
    bool late;          // a cancelled request gets its reply all the same: it was done already
    bool names_itself;  // replies are "MODEL PROMPT", MODEL being what was opened
    uint32_t caps;      // of models named weak; 0: as all others
    bool count_bytes;   // add up the bytes of the requests
    // Seen:
    size_t n_opened;
    size_t n_chats; // requests that were chats
    size_t n_submitted;
    size_t n_before_closed; // submitted when quiesce(closed) came first
    size_t n_quiesce;
    size_t n_cancelled;
    size_t bytes;
} FakePlan;

extern FakePlan fake;
