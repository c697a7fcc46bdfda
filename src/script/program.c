// SPDX-License-Identifier: MIT
// A Program: units loaded once into up to three images (templates and helpers, the solver, the
// graders), so that each call copies back only what it needs.
#include "script/script_internal.h"

#include <string.h>

#define HELPERS_MAX 256
#define UNITS_MAX   512

// ---- Copies -------------------------------------------------------------------------------------

static GenSettings settings_copy(Arena *arena, const GenSettings *from)
{
    GenSettings copy = *from;
    Str *stop = ARENA_ARRAY(arena, Str, from->n_stop);
    for (size_t i = 0; i < from->n_stop; i++) {
        stop[i] = str_copy(arena, from->stop[i]);
    }
    copy.stop = stop;
    copy.schema = value_copy(arena, &from->schema);
    return copy;
}

static const EvalSolver *solver_copy(Arena *arena, const EvalSolver *from)
{
    EvalSolver *copy = ARENA_NEW(arena, EvalSolver);
    *copy = *from;
    copy->use = str_copy(arena, from->use);
    copy->params = value_copy(arena, &from->params);
    copy->settings = settings_copy(arena, &from->settings);
    return copy;
}

static const EvalGrader *grader_copy(Arena *arena, const EvalGrader *from)
{
    EvalGrader *copy = ARENA_NEW(arena, EvalGrader);
    *copy = *from;
    copy->use = str_copy(arena, from->use);
    copy->name = str_copy(arena, from->name);
    copy->params = value_copy(arena, &from->params);
    copy->when = value_copy(arena, &from->when);
    copy->answer.after = str_copy(arena, from->answer.after);
    copy->answer.regex = str_copy(arena, from->answer.regex);
    copy->answer.trim = str_copy(arena, from->answer.trim);
    copy->role = str_copy(arena, from->role);
    return copy;
}

static void unit_copy(Arena *arena, const ScriptUnit *from, Unit *out)
{
    out->source = *from;
    out->source.name = str_copy(arena, from->name);
    out->source.file = str_copy(arena, from->file);
    out->source.text = str_copy(arena, from->text);
    out->source.params = value_copy(arena, &from->params);
    out->source.solver = from->solver == NULL ? NULL : solver_copy(arena, from->solver);
    out->source.grader = from->grader == NULL ? NULL : grader_copy(arena, from->grader);
}

static Hash program_hash(Script *script, const Program *program)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.program.1"));
    Hash lua = script_lua_hash(script);
    hash_hash(&sha, &lua);
    for (size_t i = 0; i < program->n_units; i++) {
        const ScriptUnit *unit = &program->units[i].source;
        hash_i64(&sha, unit->kind);
        hash_str(&sha, unit->name);
        hash_str(&sha, unit->text);
        hash_bool(&sha, unit->lenient);
        hash_bool(&sha, unit->force_text);
        hash_value(&sha, &unit->params);
        if (unit->grader != NULL) {
            hash_str(&sha, unit->grader->name);
            hash_value(&sha, &unit->grader->when);
            hash_str(&sha, unit->grader->answer.after);
            hash_str(&sha, unit->grader->answer.regex);
            hash_bool(&sha, unit->grader->answer.first);
            hash_str(&sha, unit->grader->answer.trim);
            hash_bool(&sha, unit->grader->negate);
            hash_str(&sha, unit->grader->role);
        }
    }
    hash_value(&sha, &program->constants);
    return hash_end(&sha);
}

// ---- Building an image --------------------------------------------------------------------------

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

static int unit_body(lua_State *L)
{
    Builder *builder = lua_touserdata(L, 1);
    Unit *unit = builder->unit;
    vm_load(L, unit->source.text, unit->source.file, unit->source.name, false);
    lua_call(L, 0, 1);
    int table = lua_gettop(L);
    unit_read(L, table, unit->source.kind, &builder->program->arena, &unit->info);
    lua_getfield(L, table, unit->source.kind == UNIT_SOLVER ? "solve" : "grade");
    vm_set_slot(L, unit_slot(builder->number, UNIT_SLOT_CALL));
    return 0; // the table, its examples among them, is garbage now
}

static int params_body(lua_State *L)
{
    Builder *builder = lua_touserdata(L, 1);
    vm_push_value(L, &builder->unit->params);
    vm_set_slot(L, unit_slot(builder->number, UNIT_SLOT_PARAMS));
    return 0;
}

/** Templates among the params, and `when`. */
static bool build_unit_templates(Builder *builder, Err *err)
{
    Unit *unit = builder->unit;
    Arena *arena = &builder->program->arena;
    const char *kind = unit->source.kind == UNIT_SOLVER ? "solver" : "grader";
    for (size_t i = 0; i < unit->info.n_params; i++) {
        const UnitParam *param = &unit->info.params[i];
        const Value *value = value_get(&unit->params, param->name);
        if (!str_eq(param->type, STR("template")) || value == NULL || value->kind != VALUE_STR) {
            continue;
        }
        TemplateSource source = {.text = value->as.str,
                                 .line = value->line,
                                 .helpers = builder->helpers,
                                 .n_helpers = builder->n_helpers};
        source.name = str_printf(arena, "%s '" STR_FMT "', " STR_FMT, kind,
                                 STR_ARG(unit->source.name), STR_ARG(param->name));
        if (!build_template(builder, &source, 0, param->name, err)) {
            return false;
        }
    }
    const EvalGrader *grader = unit->source.grader;
    if (grader != NULL && grader->when.kind == VALUE_STR) {
        TemplateSource source = {.text = grader->when.as.str,
                                 .line = grader->when.line,
                                 .helpers = builder->helpers,
                                 .n_helpers = builder->n_helpers};
        source.name = str_printf(arena, "grader '" STR_FMT "', when", STR_ARG(unit->source.name));
        return build_template(builder, &source, unit_slot(builder->number, UNIT_SLOT_WHEN),
                              STR_EMPTY, err);
    }
    return true;
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

/** A solver or grader: load it, check its params, load its templates. */
static bool build_unit(Builder *builder, Err *err)
{
    Vm *vm = script_vm(builder->script);
    Unit *unit = builder->unit;
    Program *program = builder->program;
    vm_budget_start(vm);
    if (!vm_run(vm, unit_body, builder, NULL, err)) {
        return false;
    }
    UnitInfo *info = &unit->info;
    if (info->name.len == 0) {
        info->name = unit->source.name;
    }
    unit->needs_choices = has_word(info->needs, info->n_needs, "choices");
    unit->needs_target = has_word(info->needs, info->n_needs, "target");
    unit->needs_logprobs = has_word(info->needs, info->n_needs, "logprobs");
    unit->may_generate =
        unit->source.kind == UNIT_SOLVER || has_word(info->effects, info->n_effects, "generate");
    const EvalGrader *grader = unit->source.grader;
    if (grader != NULL && grader->negate && (info->range_low != 0 || info->range_high != 1)) {
        return ERR_SET(err, ERR_CONFIG,
                       "grader '" STR_FMT "': 'not' wants scores from 0 to 1, this one's range is "
                       "%g to %g",
                       STR_ARG(unit->source.name), info->range_low, info->range_high);
    }
    if (!params_resolve(info, unit->source.kind, &unit->source.params, &program->arena,
                        &unit->params, err)) {
        return false;
    }
    return vm_run(vm, params_body, builder, NULL, err) && build_unit_templates(builder, err);
}

/** Whether a solver's or grader's image wants the Jinja runtime; it is loaded late otherwise. */
static bool wants_jinja(const ScriptUnit *unit)
{
    return str_find(unit->text, STR("template"), 0) != STR_NONE ||
           str_find(unit->text, STR("render"), 0) != STR_NONE ||
           (unit->grader != NULL && unit->grader->when.kind == VALUE_STR);
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

/** Build the image of all units of a group, helpers first; none of them: no image. */
static bool build_image(Script *script, Program *program, UnitKind group, Image *out, Err *err)
{
    bool any = false;
    bool jinja = group == UNIT_TEMPLATE;
    for (size_t i = 0; i < program->n_units; i++) {
        const ScriptUnit *unit = &program->units[i].source;
        any = any || belongs(unit->kind, group, group == UNIT_TEMPLATE);
        jinja = jinja || (unit->kind == group && wants_jinja(unit));
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
    vm_snapshot(vm, out);
    return true;
}

bool script_program_create(Script *script, const ScriptUnit *units, size_t n_units,
                           const Value *constants, Program **out, Err *err)
{
    if (n_units > UNITS_MAX) {
        return ERR_SET(err, ERR_LIMIT, "a program of more than %d units", UNITS_MAX);
    }
    Program *program = mem_zalloc(1, sizeof(*program));
    arena_init(&program->arena, 0);
    program->units = ARENA_ARRAY(&program->arena, Unit, n_units);
    program->n_units = n_units;
    for (size_t i = 0; i < n_units; i++) {
        unit_copy(&program->arena, &units[i], &program->units[i]);
    }
    program->constants =
        constants == NULL ? value_map(NULL, 0) : value_copy(&program->arena, constants);
    program->hash = program_hash(script, program);
    bool ok = build_image(script, program, UNIT_TEMPLATE, &program->render, err) &&
              build_image(script, program, UNIT_SOLVER, &program->solve, err) &&
              build_image(script, program, UNIT_GRADER, &program->grade, err);
    script_vm(script)->live = NULL;
    if (!ok) {
        script_program_destroy(script, program);
        return false;
    }
    *out = program;
    return true;
}

void script_program_destroy(Script *script, Program *program)
{
    if (program == NULL) {
        return;
    }
    Vm *vm = script_vm(script);
    image_finish(vm, &program->render);
    image_finish(vm, &program->solve);
    image_finish(vm, &program->grade);
    arena_finish(&program->arena);
    mem_free(program);
}

Hash script_program_hash(const Program *program)
{
    return program->hash;
}

size_t program_find(const Program *program, UnitKind kind, Str name)
{
    for (size_t i = 0; i < program->n_units; i++) {
        const ScriptUnit *unit = &program->units[i].source;
        if (unit->kind == kind && (name.len == 0 || str_eq(unit->name, name))) {
            return i;
        }
    }
    return STR_NONE;
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
