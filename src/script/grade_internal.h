// SPDX-License-Identifier: MIT
// What grade.c, score.c and nested.c share: one grader at work.
#pragma once

#include "script/script_internal.h"

struct Grading {
    Script *script;
    Program *program;
    Step *step;
    size_t unit; // the eval's grader that runs, for messages
    Score *scores;
    bool *scored; // which of them are there
};

/** One grader at work: one of the eval's, or a library grader inside of it. */
struct GraderFrame {
    const Unit *unit;
    size_t number;          // of the unit
    const AnswerRule *rule; // NULL: the answer is what it was before
    bool negate;
    const Sample *sample; // with its target
    ReplyView reply;      // with its answer
    int given;            // stack index of the table that ctx.grade was given, or 0
    int vars;             // stack index of the templates' variables
};

/** Apply the answer rule; false: nothing found, the score is 0. */
bool frame_answer(lua_State *L, Grading *grading, GraderFrame *frame, Score *score);
/** The grader's own part, when `answer` and `when` have been looked at. */
void frame_run(lua_State *L, Grading *grading, GraderFrame *frame, VarsView *vars, bool found,
               Score *score);
/** Read what a grader returned, at the top of the stack; raises. */
void score_read(lua_State *L, const GraderFrame *frame, Arena *arena, Score *score);
