// SPDX-License-Identifier: MIT
// Templates: jinja.lua runs in a state of its own, under a budget, once per distinct source; what
// it made is kept by hash. Loading the result into a state needs only jinja_runtime.lua's J there.
#include "script/script_internal.h"

#include <stdio.h>
#include <string.h>

#define CACHE_SLOTS 1024 // a power of two; full: everything goes
#define CACHE_BYTES ((size_t)16 << 20)

typedef struct CacheEntry {
    Hash key;
    bool used;
    Template template;
} CacheEntry;

struct TemplateCache {
    Arena arena;
    size_t n;
    CacheEntry entries[CACHE_SLOTS];
};

TemplateCache *template_cache_create(void)
{
    return mem_zalloc(1, sizeof(TemplateCache));
}

void template_cache_destroy(TemplateCache *cache)
{
    if (cache != NULL) {
        arena_finish(&cache->arena);
        mem_free(cache);
    }
}

static Hash source_key(const TemplateSource *source)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.template.1"));
    hash_str(&sha, source->text);
    hash_i64(&sha, source->line);
    hash_i64(&sha, source->indent);
    hash_bool(&sha, source->lenient);
    hash_bool(&sha, source->force_text);
    for (size_t i = 0; i < source->n_helpers; i++) {
        hash_str(&sha, source->helpers[i]);
    }
    return hash_end(&sha);
}

/** The entry of a key, or the free one where it belongs. */
static CacheEntry *cache_slot(TemplateCache *cache, const Hash *key)
{
    size_t i = (size_t)hash_u64(key);
    for (;; i++) {
        CacheEntry *entry = &cache->entries[i % CACHE_SLOTS];
        if (!entry->used || hash_eq(&entry->key, key)) {
            return entry;
        }
    }
}

// ---- Compiling ----------------------------------------------------------------------------------

typedef struct Compiling {
    const TemplateSource *source;
    Arena *arena;
    Template out;
    bool failed;
    int64_t line;
    int64_t column;
    char what[VM_MESSAGE_MAX];
} Compiling;

static void push_options(lua_State *L, const TemplateSource *source)
{
    lua_createtable(L, 0, 8);
    vm_push_str(L, source->name);
    lua_setfield(L, -2, "name");
    vm_push_str(L, source->file);
    lua_setfield(L, -2, "file");
    lua_pushinteger(L, source->line == 0 ? 1 : source->line);
    lua_setfield(L, -2, "line");
    lua_pushinteger(L, source->indent);
    lua_setfield(L, -2, "indent");
    lua_pushboolean(L, source->lenient);
    lua_setfield(L, -2, "lenient");
    lua_pushboolean(L, source->force_text);
    lua_setfield(L, -2, "force_text");
    lua_createtable(L, 0, (int)source->n_helpers);
    for (size_t i = 0; i < source->n_helpers; i++) {
        vm_push_str(L, source->helpers[i]);
        lua_pushboolean(L, 1);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "filters");
}

/** nil, message, {line=, column=, what=} from the compiler. */
static void read_failure(lua_State *L, Compiling *compiling)
{
    compiling->failed = true;
    if (lua_type(L, -1) == LUA_TTABLE) {
        lua_getfield(L, -1, "line");
        compiling->line = lua_tointeger(L, -1);
        lua_getfield(L, -2, "column");
        compiling->column = lua_tointeger(L, -1);
        lua_getfield(L, -3, "what");
    } else {
        lua_pushvalue(L, -2);
    }
    const char *what = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "not a template";
    snprintf(compiling->what, sizeof(compiling->what), "%s", what);
}

static int compile_body(lua_State *L)
{
    Compiling *compiling = lua_touserdata(L, 1);
    vm_push_slot(L, SLOT_COMPILE);
    vm_push_str(L, compiling->source->text);
    push_options(L, compiling->source);
    int base = lua_gettop(L) - 3;
    lua_call(L, 2, 3);
    if (lua_type(L, base + 1) != LUA_TSTRING) {
        read_failure(L, compiling);
        return 0;
    }
    Arena *arena = compiling->arena;
    compiling->out.lua = str_copy(arena, vm_str(L, base + 1));
    if (lua_type(L, base + 2) == LUA_TTABLE) {
        lua_getfield(L, base + 2, "names");
        size_t n = lua_type(L, -1) == LUA_TTABLE ? (size_t)lua_rawlen(L, -1) : 0;
        Str *names = ARENA_ARRAY(arena, Str, n);
        for (size_t i = 0; i < n; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            names[i] = vm_to_text(L, -1, arena, "a name");
            lua_pop(L, 1);
        }
        compiling->out.names = names;
        compiling->out.n_names = n;
    }
    return 0;
}

/** "file:line:column", or the template's name where there is no file. */
static bool compile_err(const Compiling *compiling, Err *err)
{
    const TemplateSource *source = compiling->source;
    if (source->file.len > 0) {
        return ERR_SET(err, ERR_PARSE, STR_FMT ":%lld:%lld: %s", STR_ARG(source->file),
                       (long long)compiling->line, (long long)compiling->column, compiling->what);
    }
    return ERR_SET(err, ERR_PARSE, STR_FMT ":%lld:%lld: %s", STR_ARG(source->name),
                   (long long)compiling->line, (long long)compiling->column, compiling->what);
}

bool template_compile(Script *script, const TemplateSource *source, const Template **out, Err *err)
{
    TemplateCache *cache = script_templates(script);
    if (source->text.len > VM_SOURCE_MAX) {
        return ERR_SET(err, ERR_LIMIT, "template '" STR_FMT "' is longer than %d bytes",
                       STR_ARG(source->name), VM_SOURCE_MAX);
    }
    Hash key = source_key(source);
    CacheEntry *entry = cache_slot(cache, &key);
    if (entry->used) {
        *out = &entry->template;
        return true;
    }
    if (cache->n > CACHE_SLOTS / 2 || cache->arena.total_bytes > CACHE_BYTES) {
        arena_finish(&cache->arena);
        memset(cache, 0, sizeof(*cache));
        entry = cache_slot(cache, &key);
    }
    Vm *vm;
    if (!script_compiler(script, &vm, err)) {
        return false;
    }
    Compiling compiling = {.source = source, .arena = &cache->arena};
    if (!vm_run(vm, compile_body, &compiling, NULL, err)) {
        return ERR_WRAP(err, "template '" STR_FMT "'", STR_ARG(source->name));
    }
    if (compiling.failed) {
        return compile_err(&compiling, err);
    }
    entry->key = key;
    entry->used = true;
    entry->template = compiling.out;
    cache->n++;
    *out = &entry->template;
    return true;
}

void template_load(lua_State *L, const TemplateSource *source, Str lua)
{
    vm_load(L, lua, source->file, source->name, true);
    vm_push_slot(L, SLOT_JINJA);
    lua_call(L, 1, 1);
}

// ---- ctx.render ---------------------------------------------------------------------------------

/** Make sure that J is there: templates of a script come as a surprise to its image. */
static void need_jinja(lua_State *L)
{
    vm_push_slot(L, SLOT_JINJA);
    if (lua_isnil(L, -1)) {
        script_load_jinja(L);
    }
    lua_pop(L, 1);
}

void template_push_late(lua_State *L, Str text, Str name)
{
    Vm *vm = vm_of(L);
    need_jinja(L);
    vm_push_slot(L, SLOT_RENDERED);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        vm_set_slot(L, SLOT_RENDERED);
    }
    vm_push_str(L, text);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        lua_pop(L, 1);
        TemplateSource source = {.text = text, .name = name, .line = 1};
        const Template *template;
        Err err = ERR_INIT;
        vm_charge(L, 10000 + source.text.len * 100);
        if (!template_compile(vm->script, &source, &template, &err)) {
            luaL_error(L, "%s", err.message);
        }
        template_load(L, &source, template->lua);
        vm_push_str(L, text);
        lua_pushvalue(L, -2);
        lua_rawset(L, -4);
    }
    lua_remove(L, -2);
}

int template_render_now(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_newtable(L);
        lua_replace(L, 2);
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    template_push_late(L, vm_str(L, 1), STR("ctx.render"));
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    return 1;
}
