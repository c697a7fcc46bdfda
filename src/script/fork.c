// SPDX-License-Identifier: MIT
// ctx.all: each branch runs in a coroutine of its own, with paths, randomness and spending of its
// own, so that no branch notices whether another one has its replies yet. A branch that lacks one
// is left by a jump out of its lua_resume; its coroutine is never touched again, and the whole
// state is dropped when all branches have been looked at.
#include "script/script_internal.h"

#include <stdio.h>
#include <string.h>

#define BRANCHES_MAX 1024

Fork fork_save(const Vm *vm)
{
    const Step *step = vm->step;
    Fork fork = {.next_index = step->next_index,
                 .rng_stream = vm->rng_stream,
                 .rng_position = vm->rng_position,
                 .spent = step->spent,
                 .branch = step->branch,
                 .asking = step->asking};
    memcpy(fork.prefix, step->prefix, sizeof(fork.prefix));
    return fork;
}

void fork_restore(Vm *vm, const Fork *fork)
{
    Step *step = vm->step;
    memcpy(step->prefix, fork->prefix, sizeof(fork->prefix));
    step->next_index = fork->next_index;
    vm->rng_stream = fork->rng_stream;
    vm->rng_position = fork->rng_position;
    step->spent = fork->spent;
    step->branch = fork->branch;
    step->asking = fork->asking;
}

void fork_enter(lua_State *L, const Fork *outer, int64_t number)
{
    Vm *vm = vm_of(L);
    Step *step = vm->step;
    int n =
        snprintf(step->prefix, sizeof(step->prefix), "%s%lld.", outer->prefix, (long long)number);
    if (n < 0 || (size_t)n >= sizeof(step->prefix)) {
        luaL_error(L, "ctx.all and ctx.grade are nested too deeply");
    }
    step->next_index = 0;
    vm->rng_stream = rng_mix(outer->rng_stream + (uint64_t)number + 1);
    vm->rng_position = 0;
}

typedef enum BranchEnd {
    BRANCH_DONE,
    BRANCH_WAITS,
    BRANCH_FAILED, // its error is at the top of its stack
} BranchEnd;

/** Run one branch. Its thread is not touched again when it waits. */
static BranchEnd branch_run(lua_State *L, lua_State *thread, Step *step)
{
    jmp_buf jump;
    step->branch = &jump;
    if (setjmp(jump) != 0) {
        return BRANCH_WAITS;
    }
    int n_results = 0;
    int status = lua_resume(thread, L, 0, &n_results);
    if (status == LUA_YIELD) {
        lua_pushliteral(thread, "a branch of ctx.all must not yield");
        return BRANCH_FAILED;
    }
    if (status != LUA_OK) {
        return BRANCH_FAILED;
    }
    lua_settop(thread, n_results > 0 ? lua_gettop(thread) - n_results + 1 : 0);
    return BRANCH_DONE;
}

/** Add what a branch spent to the sum of all. */
static void spent_add(Spent *sum, const Spent *before, const Spent *after)
{
    sum->turns += after->turns - before->turns;
    sum->tokens += after->tokens - before->tokens;
    sum->seconds += after->seconds - before->seconds;
    sum->cost_usd += after->cost_usd - before->cost_usd;
    sum->calls += after->calls - before->calls;
}

int ctx_all(lua_State *L)
{
    Vm *vm = vm_of(L);
    Step *step = step_check(L, "all");
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    int64_t n = (int64_t)lua_rawlen(L, 1);
    luaL_argcheck(L, n <= BRANCHES_MAX, 1, "too many branches");
    lua_createtable(L, (int)n, 0); // 2: results
    lua_createtable(L, (int)n, 0); // 3: threads, so that those that wait are not collected
    Fork outer = fork_save(vm);
    Spent sum = outer.spent;
    int64_t first = step->next_index;
    bool waits = false;
    int failed = 0; // where the first failed branch's error lies
    for (int64_t i = 1; i <= n; i++) {
        vm_charge(L, VM_COROUTINE_COST);
        lua_State *thread = lua_newthread(L);
        lua_rawseti(L, 3, i);
        if (lua_rawgeti(L, 1, i) != LUA_TFUNCTION) {
            return luaL_error(L, "ctx.all wants a list of functions");
        }
        lua_xmove(L, thread, 1);
        fork_restore(vm, &outer);
        fork_enter(L, &outer, first + i - 1);
        BranchEnd end = branch_run(L, thread, step);
        spent_add(&sum, &outer.spent, &step->spent);
        if (end == BRANCH_DONE && lua_gettop(thread) > 0) {
            lua_xmove(thread, L, 1);
            lua_rawseti(L, 2, i);
        } else if (end == BRANCH_FAILED && failed == 0) {
            lua_xmove(thread, L, 1);
            failed = lua_gettop(L);
        }
        waits = waits || end == BRANCH_WAITS;
    }
    fork_restore(vm, &outer);
    step->spent = sum;
    step->next_index = first + n;
    if (waits) { // all effects of the branches are known now
        step->n_waiting--;
        step_wait(L, step);
    }
    if (failed != 0) {
        lua_pushvalue(L, failed);
        return lua_error(L);
    }
    lua_settop(L, 2);
    return 1;
}
