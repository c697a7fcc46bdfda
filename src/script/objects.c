// SPDX-License-Identifier: MIT
// Samples, replies and template variables as Lua objects. A field is converted when it is first
// read: most solvers and graders look at two of them. Each object hides a pointer to its view under
// a key that scripts can not name; once converted, a field is an ordinary one that the script may
// change.
#include "script/script_internal.h"

#include <string.h>

static const char view_key;  // hidden key of the view's address
static const char reply_key; // the same on replies only: what reply_view trusts

static void set_str(lua_State *L, const char *key, Str s)
{
    vm_push_str(L, s);
    lua_setfield(L, -2, key);
}

// ---- Samples ------------------------------------------------------------------------------------

static void sample_id(lua_State *L, const void *view)
{
    vm_push_str(L, ((const SampleView *)view)->sample->id);
}

static void sample_part(lua_State *L, const void *view)
{
    const Value *vars = &((const SampleView *)view)->sample->part_vars;
    Value empty = value_map(NULL, 0);
    vm_push_value(L, vars->kind == VALUE_MAP ? vars : &empty);
}

static void sample_variant(lua_State *L, const void *view)
{
    vm_push_str(L, ((const SampleView *)view)->sample->variant);
}

static void sample_epoch(lua_State *L, const void *view)
{
    lua_pushinteger(L, ((const SampleView *)view)->epoch);
}

static void sample_input(lua_State *L, const void *view)
{
    vm_push_value(L, &((const SampleView *)view)->sample->input);
}

static void sample_choices(lua_State *L, const void *view)
{
    const Sample *sample = ((const SampleView *)view)->sample;
    char letter[8];
    lua_createtable(L, (int)sample->n_choices, 0);
    for (size_t i = 0; i < sample->n_choices; i++) {
        const Choice *choice = &sample->choices[i];
        lua_createtable(L, 0, 4);
        set_str(L, "text", choice->text);
        set_str(L, "letter", choice_letter((int64_t)i, letter));
        if (choice->has_context) {
            set_str(L, "context", choice->context);
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void sample_metadata(lua_State *L, const void *view)
{
    vm_push_value(L, &((const SampleView *)view)->sample->metadata);
}

static void sample_row(lua_State *L, const void *view)
{
    vm_push_value(L, &((const SampleView *)view)->sample->row);
}

static void sample_files(lua_State *L, const void *view)
{
    const Value *files = &((const SampleView *)view)->sample->files;
    Value empty = value_map(NULL, 0);
    vm_push_value(L, files->kind == VALUE_MAP ? files : &empty);
}

static void sample_prompt(lua_State *L, const void *view)
{
    const SampleView *v = view;
    if (!v->shows_prompt || v->sample->prompt.is_chat) {
        lua_pushnil(L);
    } else {
        vm_push_str(L, v->sample->prompt.text);
    }
}

static void sample_messages(lua_State *L, const void *view)
{
    const SampleView *v = view;
    if (!v->shows_prompt || !v->sample->prompt.is_chat) {
        lua_pushnil(L);
    } else {
        push_messages(L, v->sample->prompt.messages, v->sample->prompt.n_messages);
    }
}

static void sample_target(lua_State *L, const void *view)
{
    const SampleView *v = view;
    if (!v->shows_target || !v->sample->has_target) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, (int)v->sample->n_targets, 0);
    for (size_t i = 0; i < v->sample->n_targets; i++) {
        vm_push_str(L, v->sample->targets[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void sample_correct(lua_State *L, const void *view)
{
    const SampleView *v = view;
    if (!v->shows_target || v->sample->n_choices == 0) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, (int)v->sample->n_correct);
    for (size_t i = 0; i < v->sample->n_correct; i++) {
        lua_pushboolean(L, 1);
        lua_rawseti(L, -2, (lua_Integer)v->sample->correct[i] + 1);
    }
}

static const Field sample_fields[] = {
    {"id", sample_id},
    {"part", sample_part},
    {"variant", sample_variant},
    {"epoch", sample_epoch},
    {"input", sample_input},
    {"choices", sample_choices},
    {"metadata", sample_metadata},
    {"row", sample_row},
    {"files", sample_files},
    {"prompt", sample_prompt},
    {"messages", sample_messages},
    {"target", sample_target},
    {"correct", sample_correct},
    {NULL, NULL},
};

// ---- Template variables of solver and grader params ---------------------------------------------

static void vars_choices(lua_State *L, const Sample *sample)
{
    lua_createtable(L, (int)sample->n_choices, 0);
    for (size_t i = 0; i < sample->n_choices; i++) {
        vm_push_str(L, sample->choices[i].text);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/** One target as text, several as a list: what a judge's prompt wants to print. */
static void vars_target(lua_State *L, const Sample *sample)
{
    if (sample->n_targets == 1) {
        vm_push_str(L, sample->targets[0]);
        return;
    }
    lua_createtable(L, (int)sample->n_targets, 0);
    for (size_t i = 0; i < sample->n_targets; i++) {
        vm_push_str(L, sample->targets[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static bool push_named(lua_State *L, const VarsView *view, Str name)
{
    const Sample *sample = view->sample;
    bool grader = view->reply != NULL;
    if (str_eq(name, STR("id"))) {
        vm_push_str(L, sample->id);
    } else if (str_eq(name, STR("input"))) {
        vm_push_value(L, &sample->input);
    } else if (str_eq(name, STR("choices")) && sample->n_choices > 0) {
        vars_choices(L, sample);
    } else if (str_eq(name, STR("metadata"))) {
        vm_push_value(L, &sample->metadata);
    } else if (str_eq(name, STR("row"))) {
        vm_push_value(L, &sample->row);
    } else if (str_eq(name, STR("row_number"))) {
        lua_pushinteger(L, sample->row_number);
    } else if (grader && str_eq(name, STR("target")) && sample->has_target) {
        vars_target(L, sample);
    } else if (grader && str_eq(name, STR("answer"))) {
        reply_push_answer(L, view->reply);
    } else if (grader && str_eq(name, STR("reply"))) {
        push_reply(L, view->reply);
        vm_fill(L, -1);
    } else {
        return false;
    }
    return true;
}

/** Sample fields, then columns not hidden by them, then matrix variables. */
static void push_var(lua_State *L, const VarsView *view, Str name)
{
    if (push_named(L, view, name)) {
        return;
    }
    const Value *maps[] = {&view->sample->row, view->in->constants_row, &view->sample->part_vars};
    for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++) {
        const Value *found = maps[i] == NULL ? NULL : value_get(maps[i], name);
        if (found != NULL) {
            vm_push_value(L, found);
            return;
        }
    }
    lua_pushnil(L);
}

// ---- The objects --------------------------------------------------------------------------------

static const void *view_of(lua_State *L, int index)
{
    lua_rawgetp(L, index, &view_key);
    const void *view = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return view;
}

/** __index(object, name): upvalue 1 is the field table. */
static int object_index(lua_State *L)
{
    const Field *fields = lua_touserdata(L, lua_upvalueindex(1));
    if (lua_type(L, 2) != LUA_TSTRING) {
        return 0;
    }
    Str name = vm_str(L, 2);
    const void *view = view_of(L, 1);
    for (const Field *field = fields; view != NULL && field->name != NULL; field++) {
        if (str_eq_c(name, field->name)) {
            field->push(L, view);
            lua_pushvalue(L, 2);
            lua_pushvalue(L, -2);
            lua_rawset(L, 1);
            return 1;
        }
    }
    return 0;
}

/** Convert all fields; the object is an ordinary table from then on. */
static int object_fill(lua_State *L)
{
    const Field *fields = lua_touserdata(L, lua_upvalueindex(1));
    const void *view = view_of(L, 1);
    for (const Field *field = fields; view != NULL && field->name != NULL; field++) {
        lua_pushstring(L, field->name);
        if (lua_rawget(L, 1) == LUA_TNIL) {
            lua_pushstring(L, field->name);
            field->push(L, view);
            lua_rawset(L, 1);
        }
        lua_settop(L, 1);
    }
    lua_pushnil(L);
    lua_setmetatable(L, 1);
    return 0;
}

static int vars_index(lua_State *L)
{
    const VarsView *view = view_of(L, 1);
    if (view == NULL || lua_type(L, 2) != LUA_TSTRING) {
        return 0;
    }
    push_var(L, view, vm_str(L, 2));
    if (!lua_isnil(L, -1)) {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 1);
    }
    return 1;
}

static void object_metatable(lua_State *L, const Field *fields, int slot)
{
    lua_createtable(L, 0, 3);
    lua_pushlightuserdata(L, (void *)(uintptr_t)fields);
    lua_pushcclosure(L, object_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushlightuserdata(L, (void *)(uintptr_t)fields);
    lua_pushcclosure(L, object_fill, 1);
    lua_rawsetp(L, -2, &vm_fill_key);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    vm_set_slot(L, slot);
}

void objects_open(lua_State *L)
{
    object_metatable(L, sample_fields, SLOT_SAMPLE_MT);
    object_metatable(L, reply_fields, SLOT_REPLY_MT);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, vars_index);
    lua_setfield(L, -2, "__index");
    vm_set_slot(L, SLOT_VARS_MT);
}

static void push_object(lua_State *L, const void *view, int metatable)
{
    lua_createtable(L, 0, 3);
    lua_pushlightuserdata(L, (void *)(uintptr_t)view);
    lua_rawsetp(L, -2, &view_key);
    vm_push_slot(L, metatable);
    lua_setmetatable(L, -2);
}

void push_sample(lua_State *L, const SampleView *view)
{
    push_object(L, view, SLOT_SAMPLE_MT);
}

void push_reply(lua_State *L, const ReplyView *view)
{
    push_object(L, view, SLOT_REPLY_MT);
    lua_pushlightuserdata(L, (void *)(uintptr_t)view);
    lua_rawsetp(L, -2, &reply_key);
}

void push_vars(lua_State *L, const VarsView *view)
{
    push_object(L, view, SLOT_VARS_MT);
}

const ReplyView *reply_view(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        return NULL;
    }
    lua_rawgetp(L, index, &reply_key);
    const ReplyView *view = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return view;
}
