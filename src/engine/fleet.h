// SPDX-License-Identifier: MIT
// The devices of an engine, each with all the weights and a driver: which they are, opening them at
// the same time, and their figures as one engine's.
#pragma once

#include "engine/driver.h"
#include "engine/route.h"

typedef struct Fleet Fleet;

/**
 * Open what options name; end is called on every driver's thread, several at once.
 * fails  ERR_USAGE when several devices are asked for on a CPU, or lots that --tp does not divide;
 *        as forward_open does, saying which device. */
bool fleet_open(const EngineOptions *options, const Tokenizer *tokenizer, DriverEnd *end, void *ctx,
                Fleet **out, Err *err);
void fleet_close(Fleet *fleet); // NULL is fine
uint32_t fleet_size(const Fleet *fleet);
Driver *fleet_driver(const Fleet *fleet, uint32_t index);
const EngineModelInfo *fleet_info(const Fleet *fleet);
/** route: what the first jobs came to; NULL for one device. */
void fleet_stats(const Fleet *fleet, const RoutePlan *route, EngineStats *out);
