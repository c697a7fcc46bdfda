// SPDX-License-Identifier: MIT
// Budgets. A count hook fires every VM_TICK instructions in every coroutine; C loops charge what
// they do. When a budget is spent the script is left by longjmp: nothing of it runs again (no
// handler, no finaliser, no to-be-closed variable), because each of those was shown to be able to
// hang.
#include "base/base.h"

#include "script/script_internal.h"

#include <stdio.h>
#include <string.h>

#define PLACES_LOOKED_AT 40
#define OWN_INSTRUCTIONS 100000000u
#define OWN_DEADLINE_NS  20000000000

void vm_budget_start(Vm *vm)
{
    const ScriptBudget *budget = script_budget(vm->script);
    vm->limit = budget->instructions;
    vm->spent = 0;
    vm->unchecked = 0;
    vm->deadline_ns = clock_ns() + budget->deadline_ms * 1000000;
    vm->n_refused = 0;
    vm->n_refused_in_row = 0;
    vm->fine_ticks = false;
}

void vm_budget_own(Vm *vm)
{
    vm_budget_start(vm);
    vm->limit = OWN_INSTRUCTIONS;
    vm->deadline_ns = clock_ns() + OWN_DEADLINE_NS;
}

static void on_tick(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    Vm *vm = vm_of(L);
    int tick = lua_gethookcount(L);
    vm->spent += (uint64_t)tick;
    if (vm->spent > vm->limit) {
        vm_abandon(vm, L, ESCAPE_INSTRUCTIONS);
    }
    vm_check_deadline(vm, L);
    if (!vm->collecting && heap_used(vm) > vm->collect_from) {
        vm->collecting = true;
        vm->cold_dirty = true;
        lua_gc(L, LUA_GCRESTART);
    }
    if (vm->fine_ticks && tick != VM_TICK_FINE) {
        lua_sethook(L, on_tick, LUA_MASKCOUNT, VM_TICK_FINE);
    }
}

void vm_hook_install(lua_State *L)
{
    lua_sethook(L, on_tick, LUA_MASKCOUNT, VM_TICK);
}

void vm_charge(lua_State *L, uint64_t instructions)
{
    Vm *vm = vm_of(L);
    vm->spent += instructions;
    if (vm->spent > vm->limit) {
        vm_abandon(vm, L, ESCAPE_INSTRUCTIONS);
    }
    vm->unchecked += instructions;
    if (vm->unchecked >= 16 * VM_TICK) {
        vm_check_deadline(vm, L);
    }
}

void vm_check_deadline(Vm *vm, lua_State *L)
{
    vm->unchecked = 0;
    if (clock_ns() > vm->deadline_ns) {
        vm_abandon(vm, L, ESCAPE_DEADLINE);
    }
}

void vm_abandon(Vm *vm, lua_State *L, Escape why)
{
    if (why != ESCAPE_EFFECT) {
        vm->live = NULL;
        vm_where(L, 0, vm->message, sizeof(vm->message));
    }
    vm->stack_moves = false;
    longjmp(vm->escape, (int)why);
}

void vm_where(lua_State *L, int level, char *out, size_t cap)
{
    size_t used = 0;
    char last[LUA_IDSIZE + 16] = "";
    out[0] = '\0';
    lua_Debug ar;
    int last_level = level + PLACES_LOOKED_AT; // finding a frame takes time linear in its depth
    bool may_ask = !vm_of(L)->stack_moves;
    for (int n = 0; may_ask && n < 4 && level < last_level && lua_getstack(L, level, &ar) == 1;
         level++) {
        char place[LUA_IDSIZE + 16];
        lua_getinfo(L, "Sl", &ar);
        snprintf(place, sizeof(place), "%s:%d", ar.short_src, ar.currentline);
        if (ar.currentline <= 0 || strncmp(ar.source, "=jinja", 6) == 0 ||
            strcmp(place, last) == 0) {
            continue; // a C function, the templates' runtime, or the same again
        }
        int wrote = snprintf(out + used, cap - used, "%s%s", n == 0 ? "" : ", called from ", place);
        if (wrote < 0 || (size_t)wrote >= cap - used) {
            break;
        }
        memcpy(last, place, sizeof(last));
        used += (size_t)wrote;
        n++;
    }
    if (used == 0) {
        snprintf(out, cap, "%s", vm_of(L)->main_place);
    }
}

/** Copy text so that it is UTF-8 without control bytes and fits. */
static size_t message_copy(char *out, size_t cap, Str text)
{
    size_t used = 0;
    size_t at = 0;
    while (at < text.len && used + 5 < cap) {
        uint32_t c = utf8_next(text, &at);
        if (c < 0x20 && c != '\n' && c != '\t') {
            c = '?';
        }
        used += utf8_encode(c, out + used);
    }
    out[used] = '\0';
    return used;
}

void vm_note_place(lua_State *L)
{
    lua_Debug ar;
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">S", &ar);
    Vm *vm = vm_of(L);
    snprintf(vm->main_place, sizeof(vm->main_place), "%s:%d", ar.short_src, ar.linedefined);
}

int vm_on_error(lua_State *L)
{
    Vm *vm = vm_of(L);
    char *out = vm->message;
    size_t cap = sizeof(vm->message);
    Str text = STR("(no message)");
    if (lua_type(L, 1) == LUA_TSTRING) {
        text = vm_str(L, 1);
    } else if (lua_type(L, 1) == LUA_TNUMBER) {
        lua_pushvalue(L, 1);
        text = vm_str(L, -1);
    } else if (lua_type(L, 1) == LUA_TTABLE) {
        text = STR("error value is a table");
        lua_pushliteral(L, "message");
        lua_rawget(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING) {
            text = vm_str(L, -1);
        }
    }
    size_t used = message_copy(out, cap / 2, text);
    // Name the places that the message does not name itself.
    char where[VM_MESSAGE_MAX / 4];
    vm_where(L, 1, where, sizeof(where));
    Str places = str_from_c(where);
    Str first, rest;
    bool several = str_cut(places, STR(", called from "), &first, &rest);
    if (!str_starts_with(text, first)) {
        snprintf(out + used, cap - used, " (at %s)", where);
    } else if (several) {
        snprintf(out + used, cap - used, " (called from " STR_FMT ")", STR_ARG(rest));
    }
    return 1;
}
