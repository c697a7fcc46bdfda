// SPDX-License-Identifier: MIT
// The whole of base: what every room may use and nothing that knows the domain.
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/process.h"
#include "base/rng.h"
#include "base/str.h"
#include "base/threads.h"
#include "base/value.h"
