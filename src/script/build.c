// SPDX-License-Identifier: MIT
// The images of a program: its units are loaded once, their templates among params, `when` and
// `target` with them.
#include "script/script_internal.h"

#include <string.h>

#define HELPERS_MAX 256

typedef struct Builder {
    Script *script;
    Program *program;
    Unit *unit;    // current
    size_t number; // of the current unit
    Str *helpers;  // names, in the order of units
    size_t n_helpers;
    const TemplateSource *source; // of the template to load
    Str lua;
    int target_slot; // where a template's function goes; 0: into the unit's list of templates
    Str param;       // name of the param it belongs to
    Err err;         // why a body failed, where it knows better than Lua's message
} Builder;

/** text(name): a text of the dataset, from constants.texts. */
static int constant_text(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
        return 1;
    }
    return luaL_error(L, "text('%s'): the dataset has no such text", lua_tostring(L, 1));
}

/** Constants into J.globals; needs J. */
static int constants_body(lua_State *L)
{
    const Builder *builder = lua_touserdata(L, 1);
    const Value *constants = &builder->program->constants;
    vm_push_slot(L, SLOT_JINJA);
    lua_getfield(L, -1, "globals");
    int globals = lua_gettop(L);
    Value none = value_map(NULL, 0);
    const Value *texts = value_get_c(constants, "texts");
    vm_push_value(L, texts != NULL && texts->kind == VALUE_MAP ? texts : &none);
    lua_pushcclosure(L, constant_text, 1);
    lua_setfield(L, globals, "text");
    for (size_t i = 0; constants->kind == VALUE_MAP && i < constants->as.map.n; i++) {
        const ValuePair *pair = &constants->as.map.pairs[i];
        if (!str_eq(pair->key, STR("texts"))) {
            vm_push_str(L, pair->key);
            vm_push_value(L, &pair->value);
            lua_rawset(L, globals);
        }
    }
    return 0;
}

/** Load a helpers file: each function becomes a global function and a filter of the templates. */
static int helpers_body(lua_State *L)
{
    Builder *builder = lua_touserdata(L, 1);
    const ScriptUnit *source = &builder->unit->source;
    vm_load(L, source->text, source->file, source->name, false);
    lua_call(L, 0, 1);
    int table = lua_gettop(L);
    if (lua_type(L, table) != LUA_TTABLE) {
        return luaL_error(L, "a helpers file must return a table of functions");
    }
    vm_push_slot(L, SLOT_JINJA);
    int jinja = lua_gettop(L);
    lua_getfield(L, jinja, "globals");
    lua_getfield(L, jinja, "filters");
    lua_getfield(L, jinja, "is_helper");
    size_t n = vm_push_keys(L, table);
    int keys = lua_gettop(L);
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, keys, (lua_Integer)i);
        Str name = vm_to_text(L, -1, &builder->program->arena, "a helper's name");
        if (builder->n_helpers == HELPERS_MAX) {
            return luaL_error(L, "more than %d helpers", HELPERS_MAX);
        }
        lua_pushvalue(L, -1);
        if (lua_rawget(L, table) != LUA_TFUNCTION) {
            return luaL_error(L, "helper '%s' is not a function", name.data);
        }
        lua_pushvalue(L, -2);
        if (lua_rawget(L, jinja + 2) != LUA_TNIL) {
            return luaL_error(L, "helper '%s' has the name of a filter", name.data);
        }
        lua_pop(L, 1);
        lua_setfield(L, jinja + 1, name.data);
        lua_getfield(L, jinja + 1, name.data);
        lua_setfield(L, jinja + 2, name.data);
        lua_getfield(L, jinja + 1, name.data);
        lua_pushboolean(L, 1);
        lua_rawset(L, jinja + 3);
        lua_settop(L, keys);
        builder->helpers[builder->n_helpers++] = name;
    }
    builder->program->helpers = builder->helpers;
    builder->program->n_helpers = builder->n_helpers;
    return 0;
}

static int template_body(lua_State *L)
{
    Builder *builder = lua_touserdata(L, 1);
    template_load(L, builder->source, builder->lua);
    if (builder->target_slot != 0) {
        vm_set_slot(L, builder->target_slot);
        return 0;
    }
    int slot = unit_slot(builder->number, UNIT_SLOT_TEMPLATES);
    vm_push_slot(L, slot);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        vm_set_slot(L, slot);
    }
    lua_createtable(L, 2, 0);
    vm_push_str(L, builder->param);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, -3);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    return 0;
}

static bool build_template(Builder *builder, const TemplateSource *source, int target_slot,
                           Str param, Err *err)
{
    Vm *vm = script_vm(builder->script);
    const Template *template;
    if (!template_compile(builder->script, source, &template, err)) {
        return false;
    }
    builder->source = source;
    builder->lua = template->lua;
    builder->target_slot = target_slot;
    builder->param = param;
    vm_budget_start(vm);
    return vm_run(vm, template_body, builder, NULL, err);
}

/** As build_template's; for texts of the current unit. */
static TemplateSource unit_source(const Builder *builder, const Value *value, Str what)
{
    const Unit *unit = builder->unit;
    TemplateSource source = {.text = value->kind == VALUE_STR ? value->as.str : STR_EMPTY,
                             .line = value->line,
                             .helpers = builder->helpers,
                             .n_helpers = builder->n_helpers};
    source.name = str_printf(&builder->program->arena, "%s '" STR_FMT "', " STR_FMT,
                             unit->source.kind == UNIT_SOLVER ? "solver" : "grader",
                             STR_ARG(unit->source.name), STR_ARG(what));
    return source;
}

/** Run a body on the current unit; its own error wins over Lua's. */
static bool build_run(Builder *builder, lua_CFunction body, Err *err)
{
    Vm *vm = script_vm(builder->script);
    builder->err = (Err)ERR_INIT;
    vm_budget_start(vm);
    if (vm_run(vm, body, builder, NULL, err)) {
        return true;
    }
    if (builder->err.code != ERR_NONE) {
        *err = builder->err;
    }
    return false;
}

static int unit_body(lua_State *L)
{
    Builder *builder = lua_touserdata(L, 1);
    Unit *unit = builder->unit;
    UnitKind kind = unit->source.kind;
    Arena *arena = &builder->program->arena;
    vm_load(L, unit->source.text, unit->source.file, unit->source.name, false);
    lua_call(L, 0, 1);
    int table = lua_gettop(L);
    unit_read(L, table, kind, arena, &unit->info);
    if (unit->info.name.len == 0) {
        unit->info.name = unit->source.name;
    }
    if (!params_resolve(&unit->info, kind, &unit->source.params, arena, &unit->params,
                        &builder->err)) {
        return luaL_error(L, "params");
    }
    vm_push_value(L, &unit->params);
    unit_read_for(L, table, -1, arena, &unit->info);
    lua_pop(L, 1);
    vm_push_value(L, &unit->params); // a function of them may have changed the first one
    vm_set_slot(L, unit_slot(builder->number, UNIT_SLOT_PARAMS));
    lua_getfield(L, table, kind == UNIT_SOLVER ? "solve" : "grade");
    vm_set_slot(L, unit_slot(builder->number, UNIT_SLOT_CALL));
    return 0; // the table, its examples among them, is garbage now
}

/** A param that is a list or map with templates in it. */
static int templates_body(lua_State *L)
{
    Builder *builder = lua_touserdata(L, 1);
    const Value *value = value_get(&builder->unit->params, builder->param);
    TemplateSource source = unit_source(builder, value, builder->param);
    unit_push(L, builder->number, UNIT_SLOT_PARAMS);
    vm_push_str(L, builder->param);
    if (!deferred_push(L, value, &source, &builder->err)) {
        return luaL_error(L, "params");
    }
    lua_rawset(L, -3);
    return 0;
}

static int target_body(lua_State *L)
{
    Builder *builder = lua_touserdata(L, 1);
    const Value *target = &builder->unit->source.grader->target;
    TemplateSource source = unit_source(builder, target, STR("target"));
    if (!deferred_push(L, target, &source, &builder->err)) {
        return luaL_error(L, "target");
    }
    vm_set_slot(L, unit_slot(builder->number, UNIT_SLOT_TARGET));
    return 0;
}

/** Templates among the params, `when` and `target`. */
static bool build_unit_templates(Builder *builder, Err *err)
{
    const Unit *unit = builder->unit;
    for (size_t i = 0; i < unit->info.n_params; i++) {
        const UnitParam *param = &unit->info.params[i];
        const Value *value = value_get(&unit->params, param->name);
        bool nested = str_eq(param->type, STR("templates"));
        if (value == NULL || !(nested || str_eq(param->type, STR("template")))) {
            continue;
        }
        if (value->kind != VALUE_STR) {
            builder->param = param->name;
            if (nested && !build_run(builder, templates_body, err)) {
                return false;
            }
            continue;
        }
        TemplateSource source = unit_source(builder, value, param->name);
        if (!build_template(builder, &source, 0, param->name, err)) {
            return false;
        }
    }
    const EvalGrader *grader = unit->source.grader;
    if (grader != NULL && grader->when.kind == VALUE_STR) {
        TemplateSource source = unit_source(builder, &grader->when, STR("when"));
        if (!build_template(builder, &source, unit_slot(builder->number, UNIT_SLOT_WHEN), STR_EMPTY,
                            err)) {
            return false;
        }
    }
    return grader == NULL || grader->target.kind == VALUE_NULL ||
           build_run(builder, target_body, err);
}

static bool has_word(const Str *words, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq_c(words[i], word)) {
            return true;
        }
    }
    return false;
}

void unit_flags(Unit *unit)
{
    const UnitInfo *info = &unit->info;
    unit->needs_choices = has_word(info->needs, info->n_needs, "choices");
    unit->needs_target = has_word(info->needs, info->n_needs, "target");
    unit->needs_logprobs = has_word(info->needs, info->n_needs, "logprobs");
    unit->needs_loglik = has_word(info->needs, info->n_needs, "loglik");
    unit->needs_sandbox = has_word(info->needs, info->n_needs, "sandbox");
    unit->may_generate = has_word(info->effects, info->n_effects, "generate");
    unit->may_loglik = has_word(info->effects, info->n_effects, "loglik");
    unit->may_grade = has_word(info->effects, info->n_effects, "grade");
}

/** A solver or grader: load it, check its params, load its templates. */
static bool build_unit(Builder *builder, Err *err)
{
    Unit *unit = builder->unit;
    if (!build_run(builder, unit_body, err)) {
        return false;
    }
    const UnitInfo *info = &unit->info;
    unit_flags(unit);
    const EvalGrader *grader = unit->source.grader;
    if (grader != NULL && grader->negate && (info->range_low != 0 || info->range_high != 1)) {
        return ERR_SET(err, ERR_CONFIG,
                       "grader '" STR_FMT "': 'not' wants scores from 0 to 1, this one's range is "
                       "%g to %g",
                       STR_ARG(unit->source.name), info->range_low, info->range_high);
    }
    return build_unit_templates(builder, err);
}

/** Whether a target has a template in it. */
static bool has_template(const Value *target)
{
    bool found = target->kind == VALUE_STR && text_is_template(target->as.str);
    for (size_t i = 0; target->kind == VALUE_LIST && i < target->as.list.n && !found; i++) {
        found = has_template(&target->as.list.items[i]);
    }
    return found;
}

/** Whether a solver's or grader's image wants the Jinja runtime; it is loaded late otherwise. */
static bool wants_jinja(const ScriptUnit *unit)
{
    return str_find(unit->text, STR("template"), 0) != STR_NONE ||
           str_find(unit->text, STR("render"), 0) != STR_NONE ||
           (unit->grader != NULL &&
            (unit->grader->when.kind == VALUE_STR || has_template(&unit->grader->target)));
}

/** Helpers go wherever templates are. */
static bool belongs(UnitKind kind, UnitKind group, bool jinja)
{
    return kind == group || (jinja && kind == UNIT_HELPERS);
}

static bool build_one(Builder *builder, size_t number, Err *err)
{
    Vm *vm = script_vm(builder->script);
    Unit *unit = &builder->program->units[number];
    const ScriptUnit *source = &unit->source;
    builder->unit = unit;
    builder->number = number;
    if (source->kind == UNIT_HELPERS) {
        vm_budget_start(vm);
        return vm_run(vm, helpers_body, builder, NULL, err);
    }
    if (source->kind != UNIT_TEMPLATE) {
        return build_unit(builder, err);
    }
    TemplateSource template = {.text = source->text,
                               .name = source->name,
                               .file = source->file,
                               .line = source->line,
                               .indent = source->indent,
                               .lenient = source->lenient,
                               .force_text = source->force_text,
                               .helpers = builder->helpers,
                               .n_helpers = builder->n_helpers};
    return build_template(builder, &template, unit_slot(number, UNIT_SLOT_CALL), STR_EMPTY, err);
}

/** The graders' order, and the library graders that are known to be used. */
static bool build_library(Builder *builder, Err *err)
{
    Program *program = builder->program;
    for (size_t i = 0; i < program->n_units; i++) {
        const Unit *unit = &program->units[i];
        if (unit->source.kind == UNIT_GRADER &&
            !library_check_uses(builder->script, program, unit, err)) {
            return false;
        }
    }
    return program_order(program, err);
}

bool program_build_image(Script *script, Program *program, UnitKind group, Image *out, Err *err)
{
    bool any = false;
    bool jinja = group == UNIT_TEMPLATE;
    for (size_t i = 0; i < program->n_units; i++) {
        const ScriptUnit *unit = &program->units[i].source;
        any = any || belongs(unit->kind, group, group == UNIT_TEMPLATE);
        jinja = jinja || (unit->kind == group && wants_jinja(unit)) ||
                (group == UNIT_GRADER && unit->kind == UNIT_LIBRARY);
    }
    if (!any) {
        return true;
    }
    const Image *base;
    if (!script_base_image(script, jinja, &base, err)) {
        return false;
    }
    Vm *vm = script_vm(script);
    vm_restore(vm, base);
    vm_building(vm, base);
    Builder builder = {.script = script, .program = program};
    builder.helpers = ARENA_ARRAY(&program->arena, Str, HELPERS_MAX);
    if (jinja && !vm_run(vm, constants_body, &builder, NULL, err)) {
        return ERR_WRAP(err, "constants");
    }
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < program->n_units; i++) {
            UnitKind kind = program->units[i].source.kind;
            if (belongs(kind, group, jinja) && (kind == UNIT_HELPERS) == (pass == 0) &&
                !build_one(&builder, i, err)) {
                return false;
            }
        }
    }
    if (group == UNIT_GRADER && !build_library(&builder, err)) {
        return false;
    }
    vm_snapshot(vm, out);
    return true;
}

void unit_render_params(lua_State *L, size_t unit, int params, int vars)
{
    unit_push(L, unit, UNIT_SLOT_TEMPLATES);
    if (lua_type(L, -1) == LUA_TTABLE) {
        lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
        for (lua_Integer i = 1; i <= n; i++) {
            lua_rawgeti(L, -1, i);
            lua_rawgeti(L, -1, 1);
            lua_rawgeti(L, -2, 2);
            lua_pushvalue(L, vars);
            lua_call(L, 1, 1);
            lua_rawset(L, params);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}
