// SPDX-License-Identifier: MIT
// In what order an eval's graders run: those that another one waits for (`after`) before it, the
// eval's order otherwise.
#include "script/script_internal.h"

#include <math.h>

typedef struct Ordering {
    Program *program;
    uint8_t *state; // per unit: 0 not seen, 1 on the way, 2 placed
    Err *err;
} Ordering;

static bool add_after(Program *program, Unit *unit, Str name, const Value *at, Err *err)
{
    size_t other = program_find(program, UNIT_GRADER, name);
    if (name.len > 0 && other != STR_NONE) {
        for (size_t i = 0; i < unit->n_after; i++) {
            if (unit->after[i] == other) {
                return unit_err(
                    UNIT_GRADER, unit->source.name, at,
                    str_printf(&program->arena, "'" STR_FMT "' is named twice", STR_ARG(name)),
                    err);
            }
        }
        unit->after[unit->n_after++] = other;
        return true;
    }
    Str *names = ARENA_ARRAY(&program->arena, Str, program->n_units);
    size_t n = 0;
    for (size_t i = 0; i < program->n_units; i++) {
        const ScriptUnit *source = &program->units[i].source;
        if (source->kind == UNIT_GRADER && !str_eq(source->name, unit->source.name)) {
            names[n++] = source->name;
        }
    }
    size_t near = str_nearest(name, names, n);
    Str hint = near == STR_NONE ? STR_EMPTY
                                : str_printf(&program->arena, " (did you mean '" STR_FMT "'?)",
                                             STR_ARG(names[near]));
    return unit_err(UNIT_GRADER, unit->source.name, at,
                    str_printf(&program->arena, "no grader '" STR_FMT "'" STR_FMT, STR_ARG(name),
                               STR_ARG(hint)),
                    err);
}

/** The graders that the param names: a list of names, or a map from names to weights. */
static bool read_after(Program *program, Unit *unit, Err *err)
{
    const Str param = unit->info.after;
    const Value *value = value_get(&unit->params, param);
    if (param.len == 0 || value == NULL || value->kind == VALUE_NULL) {
        return true;
    }
    bool is_map = value->kind == VALUE_MAP;
    if (!is_map && value->kind != VALUE_LIST) {
        return unit_err(UNIT_GRADER, unit->source.name, value,
                        str_printf(&program->arena,
                                   "param '" STR_FMT "' is a list of graders' names or a map "
                                   "from names to weights, not %s",
                                   STR_ARG(param), value_kind_word(value)),
                        err);
    }
    size_t n = is_map ? value->as.map.n : value->as.list.n;
    unit->after = ARENA_ARRAY(&program->arena, size_t, n);
    for (size_t i = 0; i < n; i++) {
        const Value *item = is_map ? &value->as.map.pairs[i].value : &value->as.list.items[i];
        bool good = item->kind == VALUE_STR;
        if (is_map) {
            double weight = item->kind == VALUE_INT    ? (double)item->as.integer
                            : item->kind == VALUE_REAL ? item->as.real
                                                       : 0;
            good = weight > 0 && isfinite(weight);
        }
        if (!good) {
            return unit_err(
                UNIT_GRADER, unit->source.name, item,
                is_map ? STR("a weight is a number above 0") : STR("a grader's name is text"), err);
        }
        if (!add_after(program, unit, is_map ? value->as.map.pairs[i].key : item->as.str, item,
                       err)) {
            return false;
        }
    }
    return true;
}

/** A circle: all units on the way, from the one that closes it. */
static bool circle_err(const Ordering *ordering, const size_t *way, size_t n, size_t closing)
{
    Buf text = {0};
    bool in_circle = false;
    for (size_t i = 0; i < n; i++) {
        in_circle = in_circle || way[i] == closing;
        if (in_circle) {
            buf_printf(&text, "'" STR_FMT "' -> ",
                       STR_ARG(ordering->program->units[way[i]].source.name));
        }
    }
    ERR_SET(ordering->err, ERR_CONFIG, "graders wait for each other: " STR_FMT "'" STR_FMT "'",
            STR_ARG(buf_view(&text)), STR_ARG(ordering->program->units[closing].source.name));
    buf_finish(&text);
    return false;
}

/** Place a unit behind all it waits for. The way there is a stack, since its depth is the user's.
 */
static bool place(Ordering *ordering, size_t first)
{
    Program *program = ordering->program;
    size_t *way = ARENA_ARRAY(&program->arena, size_t, program->n_units);
    size_t *next = ARENA_ARRAY(&program->arena, size_t, program->n_units);
    size_t n = 0;
    if (ordering->state[first] == 2) {
        return true;
    }
    way[n] = first;
    next[n++] = 0;
    ordering->state[first] = 1;
    while (n > 0) {
        const Unit *unit = &program->units[way[n - 1]];
        if (next[n - 1] == unit->n_after) {
            ordering->state[way[n - 1]] = 2;
            program->order[program->n_graders++] = way[n - 1];
            n--;
            continue;
        }
        size_t other = unit->after[next[n - 1]++];
        if (ordering->state[other] == 1) {
            return circle_err(ordering, way, n, other);
        }
        if (ordering->state[other] == 0) {
            ordering->state[other] = 1;
            way[n] = other;
            next[n++] = 0;
        }
    }
    return true;
}

bool program_order(Program *program, Err *err)
{
    size_t number = 0;
    for (size_t i = 0; i < program->n_units; i++) {
        Unit *unit = &program->units[i];
        if (unit->source.kind == UNIT_GRADER) {
            unit->number = number++;
            if (!read_after(program, unit, err)) {
                return false;
            }
        }
    }
    program->order = ARENA_ARRAY(&program->arena, size_t, number);
    program->n_graders = 0;
    Ordering ordering = {.program = program,
                         .state = ARENA_ARRAY(&program->arena, uint8_t, program->n_units),
                         .err = err};
    for (size_t i = 0; i < program->n_units; i++) {
        if (program->units[i].source.kind == UNIT_GRADER && !place(&ordering, i)) {
            return false;
        }
    }
    return true;
}
