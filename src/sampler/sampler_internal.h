// SPDX-License-Identifier: MIT
// What the samplers share with each other.
#pragma once

#include "sampler/sampler.h"

/** prepare of a sampler that renders and tokenises nothing; cannot fail. */
bool sampler_prepare_plain(const Request *request, Arena *arena, Prepared *out);
