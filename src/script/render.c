// SPDX-License-Identifier: MIT
// Rendering: a session on a program's image of templates, and models' chat templates.
#include "script/script_internal.h"

#include <string.h>

typedef struct Rendering {
    const Value *scope;
    const Value *now; // Unix seconds for strftime_now, NULL: no clock
    Str name;
    const Value *value;
    size_t unit;
    Arena *arena;
    Value *out;
} Rendering;

/** A number for a name that is the same everywhere (FNV-1a). */
static uint64_t stream_of(Str name)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < name.len; i++) {
        hash = (hash ^ (unsigned char)name.data[i]) * 1099511628211u;
    }
    return rng_mix(hash);
}

static int begin_body(lua_State *L)
{
    const Rendering *rendering = lua_touserdata(L, 1);
    const Value *scope = rendering->scope;
    size_t n = scope != NULL && scope->kind == VALUE_MAP ? scope->as.map.n : 0;
    lua_createtable(L, 0, (int)n);
    for (size_t i = 0; i < n; i++) {
        vm_push_str(L, scope->as.map.pairs[i].key);
        vm_push_value(L, &scope->as.map.pairs[i].value);
        lua_rawset(L, -3);
    }
    vm_set_slot(L, SLOT_VARS);
    if (rendering->now != NULL) {
        vm_push_slot(L, SLOT_JINJA);
        vm_push_value(L, rendering->now);
        lua_setfield(L, -2, "now");
    }
    return 0;
}

static int set_body(lua_State *L)
{
    const Rendering *rendering = lua_touserdata(L, 1);
    vm_push_slot(L, SLOT_VARS);
    vm_push_str(L, rendering->name);
    vm_push_value(L, rendering->value);
    lua_rawset(L, -3);
    return 0;
}

static int render_body(lua_State *L)
{
    const Rendering *rendering = lua_touserdata(L, 1);
    unit_push(L, rendering->unit, UNIT_SLOT_CALL);
    vm_note_place(L);
    vm_push_slot(L, SLOT_VARS);
    lua_call(L, 1, 1);
    *rendering->out = vm_to_value(L, -1, rendering->arena);
    return 0;
}

static bool session_begin(Script *script, Program *program, const ScriptSeed *seed,
                          const Value *scope, const Value *now, Err *err)
{
    Vm *vm = script_vm(script);
    if (program->render.bytes == NULL) {
        return ERR_SET(err, ERR_INTERNAL, "the program has no templates");
    }
    vm_restore(vm, &program->render);
    vm->program = program;
    vm->rng_seed = seed == NULL ? 0 : seed->seed;
    Rendering rendering = {.scope = scope, .now = now};
    return vm_run(vm, begin_body, &rendering, NULL, err);
}

bool script_render_begin(Script *script, Program *program, const ScriptSeed *seed,
                         const Value *scope, Err *err)
{
    return session_begin(script, program, seed, scope, NULL, err);
}

static bool session_check(const Vm *vm, Err *err)
{
    if (vm->live == NULL || vm->program == NULL || vm->live != &vm->program->render) {
        return ERR_SET(err, ERR_INTERNAL, "no rendering session");
    }
    return true;
}

bool script_render_set(Script *script, Str name, const Value *value, Err *err)
{
    Vm *vm = script_vm(script);
    Rendering rendering = {.name = name, .value = value};
    return session_check(vm, err) && vm_run(vm, set_body, &rendering, NULL, err);
}

bool script_render(Script *script, Str unit, Arena *arena, Value *out, Err *err)
{
    Vm *vm = script_vm(script);
    if (!session_check(vm, err)) {
        return false;
    }
    size_t number = program_find(vm->program, UNIT_TEMPLATE, unit);
    if (number == STR_NONE) {
        return ERR_SET(err, ERR_INTERNAL, "no template '" STR_FMT "'", STR_ARG(unit));
    }
    Value value = value_null();
    vm->rng_stream = stream_of(unit);
    vm->rng_position = 0;
    Rendering rendering = {.unit = number, .arena = arena, .out = &value};
    if (!vm_run(vm, render_body, &rendering, NULL, err)) {
        return false;
    }
    *out = value;
    return true;
}

static bool is_helper(const ScriptUnit *unit, Str name)
{
    for (size_t i = 0; i < unit->n_helpers; i++) {
        if (str_eq(unit->helpers[i], name)) {
            return true;
        }
    }
    return false;
}

bool script_template_names(Script *script, const ScriptUnit *unit, Arena *arena, Str **out,
                           size_t *out_n, Err *err)
{
    TemplateSource source = {.text = unit->text,
                             .name = unit->name,
                             .file = unit->file,
                             .line = unit->line,
                             .indent = unit->indent,
                             .lenient = unit->lenient,
                             .helpers = unit->helpers,
                             .n_helpers = unit->n_helpers};
    const Template *template;
    if (!template_compile(script, &source, &template, err)) {
        return false;
    }
    Str *names = ARENA_ARRAY(arena, Str, template->n_names + 1);
    size_t n = 0;
    for (size_t i = 0; i < template->n_names; i++) {
        if (!is_helper(unit, template->names[i])) {
            names[n++] = str_copy(arena, template->names[i]);
        }
    }
    *out = names;
    *out_n = n;
    return true;
}

// ---- Chat templates -----------------------------------------------------------------------------

bool script_chat_create(Script *script, Str name, Str template_text, Program **out, Err *err)
{
    ScriptUnit unit = {.kind = UNIT_TEMPLATE,
                       .name = name.len > 0 ? name : STR("chat template"),
                       .line = 1,
                       .text = template_text,
                       .lenient = true,
                       .force_text = true};
    return script_program_create(script, &unit, 1, NULL, out, err);
}

bool script_chat_render(Script *script, Program *program, const Value *vars, Arena *arena, Str *out,
                        Err *err)
{
    Value value;
    const Value *now = value_get_c(vars, "now");
    if (!session_begin(script, program, NULL, vars, now, err) ||
        !script_render(script, program->units[0].source.name, arena, &value, err)) {
        return false;
    }
    if (value.kind != VALUE_STR) {
        return ERR_SET(err, ERR_SCRIPT, "the chat template gives %s, not text",
                       value_kind_word(&value));
    }
    *out = value.as.str;
    return true;
}
