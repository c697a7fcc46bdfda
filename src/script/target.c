// SPDX-License-Identifier: MIT
// A grader's own target, which replaces the sample's: a text, texts, or templates that give them.
// Of a sample with choices it names choices by their exact text.
#include "script/script_internal.h"

#define TARGETS_MAX 4096

typedef struct Targets {
    Str *texts;
    size_t n;
    size_t cap;
} Targets;

static void add_value(lua_State *L, const Value *value, Arena *arena, Targets *out)
{
    bool is_list = value->kind == VALUE_LIST;
    const Value *items = is_list ? value->as.list.items : value;
    size_t n = is_list ? value->as.list.n : 1;
    if (n > TARGETS_MAX - out->n) {
        luaL_error(L, "more than %d targets", TARGETS_MAX);
    }
    if (out->n + n > out->cap) {
        size_t cap = 2 * (out->n + n);
        Str *grown = ARENA_ARRAY(arena, Str, cap);
        for (size_t i = 0; i < out->n; i++) {
            grown[i] = out->texts[i];
        }
        out->texts = grown;
        out->cap = cap;
    }
    for (size_t i = 0; i < n; i++) {
        Str *text = &out->texts[out->n++];
        if (!text_of_scalar(arena, &items[i], text)) {
            luaL_error(L, "a target has to be text, not %s", value_kind_word(&items[i]));
        }
    }
}

/** What is at the top (pops it). */
static void add_top(lua_State *L, int vars, Arena *arena, Targets *out)
{
    if (deferred_render(L, -1, vars)) {
        lua_remove(L, -2);
    }
    Value value = vm_to_value(L, -1, arena);
    lua_pop(L, 1);
    add_value(L, &value, arena, out);
}

/** Positions of the choices whose text is a target. */
static void find_choices(Sample *sample, Arena *arena)
{
    int64_t *correct = ARENA_ARRAY(arena, int64_t, sample->n_choices);
    size_t n = 0;
    for (size_t i = 0; i < sample->n_choices; i++) {
        for (size_t k = 0; k < sample->n_targets; k++) {
            if (str_eq(sample->choices[i].text, sample->targets[k])) {
                correct[n++] = (int64_t)i;
                break;
            }
        }
    }
    sample->correct = correct;
    sample->n_correct = n;
}

const Sample *target_replace(lua_State *L, int index, int vars, const Sample *sample, Arena *arena)
{
    index = lua_absindex(L, index);
    vars = lua_absindex(L, vars);
    Targets targets = {0};
    lua_pushvalue(L, index);
    if (lua_type(L, -1) == LUA_TTABLE && vm_is_list(L, -1) && lua_rawlen(L, -1) > 0) {
        size_t n = (size_t)lua_rawlen(L, -1);
        for (size_t i = 1; i <= n; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i);
            add_top(L, vars, arena, &targets);
        }
        lua_pop(L, 1);
    } else {
        add_top(L, vars, arena, &targets);
    }
    Sample *copy = ARENA_NEW(arena, Sample);
    *copy = *sample;
    copy->targets = targets.texts;
    copy->n_targets = targets.n;
    copy->has_target = true;
    find_choices(copy, arena);
    return copy;
}
