// SPDX-License-Identifier: MIT
// The Script: two regions (one for programs, one for the template compiler), the images of fresh
// states that all programs start from, and the caches that live outside of Lua.
#include "script/regex_cache.h"
#include "script/script_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_INSTRUCTIONS 50000000u
#define DEFAULT_DEADLINE_MS  5000
#define DEFAULT_MEMORY       ((size_t)64 << 20)
#define MIN_MEMORY           ((size_t)2 << 20)
#define STRING_ROOM          1200
#define EMBEDDED_MAX         32
#define COMPILER_MEMORY      ((size_t)64 << 20)

struct Script {
    ScriptBudget budget;
    Vm *vm;
    Vm *compiler;
    Image plain;      // libraries only
    Image with_jinja; // and the Jinja runtime
    Image compiler_image;
    Buf code[EMBEDDED_MAX]; // of script_lua's files, dumped by this process
    Hash lua_hash;          // of script_lua, when it has been asked for
    bool has_lua_hash;
    RegexCache *regexes;
    TemplateCache *templates;
    SchemaCache *schemas;
    MetricCache metrics;
};

bool script_create(const ScriptBudget *budget, Script **out, Err *err)
{
    Script *script = mem_zalloc(1, sizeof(*script));
    if (budget != NULL) {
        script->budget = *budget;
    }
    ScriptBudget *b = &script->budget;
    b->instructions = b->instructions == 0 ? DEFAULT_INSTRUCTIONS : b->instructions;
    b->deadline_ms = b->deadline_ms == 0 ? DEFAULT_DEADLINE_MS : b->deadline_ms;
    b->memory_bytes = b->memory_bytes == 0 ? DEFAULT_MEMORY : b->memory_bytes;
    b->memory_bytes = b->memory_bytes < MIN_MEMORY ? MIN_MEMORY : b->memory_bytes;
    if (!vm_create(script, b->memory_bytes, &script->vm, err)) {
        script_destroy(script);
        return false;
    }
    script->regexes = regex_cache_create();
    script->templates = template_cache_create();
    script->schemas = schema_cache_create();
    *out = script;
    return true;
}

void script_destroy(Script *script)
{
    if (script == NULL) {
        return;
    }
    metric_cache_clear(script);
    image_finish(script->vm, &script->plain);
    image_finish(script->vm, &script->with_jinja);
    image_finish(script->compiler, &script->compiler_image);
    vm_destroy(script->vm);
    vm_destroy(script->compiler);
    for (size_t i = 0; i < EMBEDDED_MAX; i++) {
        buf_finish(&script->code[i]);
    }
    regex_cache_destroy(script->regexes);
    template_cache_destroy(script->templates);
    schema_cache_destroy(script->schemas);
    mem_free(script);
}

const ScriptBudget *script_budget(const Script *script)
{
    return &script->budget;
}

Vm *script_vm(Script *script)
{
    return script->vm;
}

RegexCache *script_regexes(Script *script)
{
    return script->regexes;
}

MetricCache *script_metrics(Script *script)
{
    return &script->metrics;
}

SchemaCache *script_schemas(Script *script)
{
    return script->schemas;
}

TemplateCache *script_templates(Script *script)
{
    return script->templates;
}

Hash script_lua_hash(Script *script)
{
    if (!script->has_lua_hash) {
        Sha256 sha;
        hash_begin(&sha, STR("muster.lua.1"));
        for (const EmbeddedFile *file = script_lua; file->name != NULL; file++) {
            hash_str(&sha, str_from_c(file->name));
            hash_str(&sha, (Str){file->data, file->len});
        }
        script->lua_hash = hash_end(&sha);
        script->has_lua_hash = true;
    }
    return script->lua_hash;
}

// ---- The Jinja runtime --------------------------------------------------------------------------

static int write_code(lua_State *L, const void *data, size_t len, void *context)
{
    (void)L;
    buf_append(context, data, len);
    return 0;
}

/** Load embedded files and dump them without debug information: smaller images, quicker loads. */
static int dump_body(lua_State *L)
{
    Script *script = lua_touserdata(L, 1);
    size_t i = 0;
    for (const EmbeddedFile *file = script_lua; file->name != NULL; file++, i++) {
        assert(i < EMBEDDED_MAX);
        vm_load(L, (Str){file->data, file->len}, STR_EMPTY, str_from_c(file->name), true);
        buf_clear(&script->code[i]);
        if (lua_dump(L, write_code, &script->code[i], 1) != 0) {
            return luaL_error(L, "can not dump '%s'", file->name);
        }
        lua_pop(L, 1);
    }
    return 0;
}

static void load_embedded(lua_State *L, const char *name)
{
    Script *script = vm_of(L)->script;
    size_t i = 0;
    for (const EmbeddedFile *file = script_lua; file->name != NULL; file++, i++) {
        if (strcmp(file->name, name) == 0) {
            vm_load_code(L, buf_view(&script->code[i]), name, true);
            return;
        }
    }
    luaL_error(L, "no embedded file '%s'", name);
}

/** part(name): the chunk of another embedded file, as a function. */
static int load_part(lua_State *L)
{
    load_embedded(L, luaL_checkstring(L, 1));
    return 1;
}

void script_load_jinja(lua_State *L)
{
    load_embedded(L, "jinja_runtime.lua");
    vm_push_slot(L, SLOT_VALUE);
    vm_push_slot(L, SLOT_TEXT);
    lua_pushcfunction(L, load_part);
    lua_call(L, 3, 1);
    vm_push_slot(L, SLOT_RENDER_CTX);
    lua_setfield(L, -2, "ctx");
    vm_set_slot(L, SLOT_JINJA);
}

/**
 * Load the runtime, and make the string table large enough that programs on this image do not make
 * it grow: growing rewrites all strings, and then nothing of the cold zone could be shared.
 */
static int jinja_body(lua_State *L)
{
    script_load_jinja(L);
    Vm *vm = vm_of(L);
    vm->loading = true; // these strings go where nobody copies them around
    lua_createtable(L, STRING_ROOM, 0);
    for (int i = 1; i <= STRING_ROOM; i++) {
        lua_pushfstring(L, "room %d", i);
        lua_rawseti(L, -2, i);
    }
    vm->loading = false;
    return 0;
}

static int compiler_body(lua_State *L)
{
    load_embedded(L, "jinja.lua");
    lua_pushcfunction(L, load_part);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "compile");
    vm_set_slot(L, SLOT_COMPILE);
    return 0;
}

// ---- Images of fresh states ---------------------------------------------------------------------

static bool plain_image(Script *script, Err *err)
{
    if (script->plain.bytes != NULL) {
        return true;
    }
    if (!vm_build(script->vm, err)) {
        return ERR_WRAP(err, "Lua's libraries");
    }
    vm_snapshot(script->vm, &script->plain);
    vm_restore(script->vm, &script->plain);
    vm_budget_own(script->vm);
    bool ok = vm_run(script->vm, dump_body, script, NULL, err);
    script->vm->live = NULL;
    return ok;
}

bool script_base_image(Script *script, bool with_jinja, const Image **out, Err *err)
{
    if (!plain_image(script, err)) {
        return false;
    }
    if (!with_jinja) {
        *out = &script->plain;
        return true;
    }
    if (script->with_jinja.bytes == NULL) {
        vm_restore(script->vm, &script->plain);
        vm_building(script->vm, NULL);
        vm_budget_own(script->vm);
        if (!vm_run(script->vm, jinja_body, NULL, NULL, err)) {
            return ERR_WRAP(err, "the Jinja runtime");
        }
        vm_snapshot(script->vm, &script->with_jinja);
    }
    *out = &script->with_jinja;
    return true;
}

bool script_compiler(Script *script, Vm **out, Err *err)
{
    if (!plain_image(script, err)) {
        return false;
    }
    if (script->compiler == NULL && !vm_create(script, COMPILER_MEMORY, &script->compiler, err)) {
        return false;
    }
    Vm *vm = script->compiler;
    if (script->compiler_image.bytes == NULL) {
        if (!vm_build(vm, err)) {
            return ERR_WRAP(err, "the template compiler");
        }
        vm_building(vm, NULL);
        if (!vm_run(vm, compiler_body, NULL, NULL, err)) {
            return ERR_WRAP(err, "the template compiler");
        }
        vm_snapshot(vm, &script->compiler_image);
    }
    vm_restore(vm, &script->compiler_image);
    vm_budget_own(vm);
    *out = vm;
    return true;
}
