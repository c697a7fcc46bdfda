// SPDX-License-Identifier: MIT
// An eval as text for a diff, from what is stored of it: its file as a value, and its Lua. Pure.
#pragma once

#include "results/results.h"

/** What is known of a run's eval (RunSpec.spec's sources); zeroed: nothing. */
typedef struct Sources {
    const Value *eval; // its file as a map; NULL: not known
    const Value *lua;  // texts by name: "solver NAME", "grader NAME", "helpers"
} Sources;

/** A side of an eval that changes by itself. */
typedef enum EvalAspect {
    ASPECT_PROMPT,  // prompt, messages, few_shot, sample, and the helpers' Lua
    ASPECT_SOLVER,  // with its Lua
    ASPECT_GRADERS, // with their Lua
    ASPECT_DATASET,
    ASPECT_OTHER, // metrics, slices, limits, matrix and so on
    ASPECT_COUNT,
} EvalAspect;

/** The sources that a run's spec holds. */
Sources eval_sources(const Value *spec);
/** A member of the file as a variant has it; NULL: absent. */
const Value *eval_member(const Sources *sources, Str variant, Str key);
/** One aspect as lines of YAML and Lua, as a variant has it. sources are known. */
Str eval_text(Arena *arena, const Sources *sources, Str variant, EvalAspect aspect);
