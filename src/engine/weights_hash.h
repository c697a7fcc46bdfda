// SPDX-License-Identifier: MIT
// The SHA-256 of a model file, computed by a thread of its own while the model is loaded and used.
#pragma once

#include "base/base.h"

typedef struct WeightsHash WeightsHash;

/** Start hashing. fails ERR_ENVIRONMENT when no thread can be started. */
bool weights_hash_start(Str path, WeightsHash **out, Err *err);
/** Wait for the hash.  fails with what reading the file said.  thread  any, several at once. */
bool weights_hash_wait(WeightsHash *hash, Hash *out, Err *err);
/** Stops a hash that is not done; NULL is fine. */
void weights_hash_finish(WeightsHash *hash);
