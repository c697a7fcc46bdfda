// SPDX-License-Identifier: MIT
// YAML for people: near enough to what was written to be recognised, one line for what may change
// by itself.
#include "results/eval_text.h"

#include "text/text.h"

/** Members of the file by aspect; those of none are ASPECT_OTHER, or told in other ways. */
static const char *const KEYS[ASPECT_COUNT][8] = {
    [ASPECT_PROMPT] = {"prompt", "messages", "few_shot", "sample"},
    [ASPECT_SOLVER] = {"solver"},
    [ASPECT_GRADERS] = {"graders"},
    [ASPECT_DATASET] = {"dataset"},
};
static const char *const TOLD_ELSEWHERE[8] = {"schema",   "eval", "version",
                                              "variants", "gate", "helpers"};

Sources eval_sources(const Value *spec)
{
    const Value *sources = value_get_c(spec, "sources");
    Sources found = {.eval = value_get_c(sources, "eval"), .lua = value_get_c(sources, "lua")};
    bool known = found.eval != NULL && found.eval->kind == VALUE_MAP && found.lua != NULL &&
                 found.lua->kind == VALUE_MAP;
    return known ? found : (Sources){0};
}

const Value *eval_member(const Sources *sources, Str variant, Str key)
{
    const Value *variants = value_get_c(sources->eval, "variants");
    const Value *own = value_get(value_get(variants, variant), key);
    return own != NULL ? own : value_get(sources->eval, key);
}

// ---- Values -------------------------------------------------------------------------------------

static void put_indent(Buf *buf, size_t depth)
{
    for (size_t i = 0; i < 2 * depth; i++) {
        buf_char(buf, ' ');
    }
}

/** A text in lines of its own, so that a diff shows the lines that changed. */
static void put_lines(Buf *buf, Str text, size_t depth)
{
    buf_c(buf, "|\n");
    Str rest = text;
    Str line;
    bool more = true;
    while (more) {
        more = str_cut(rest, STR("\n"), &line, &rest);
        put_indent(buf, depth);
        buf_str(buf, line);
        buf_char(buf, '\n');
    }
}

static void put_scalar(Buf *buf, const Value *value, size_t depth)
{
    bool lines = value->kind == VALUE_STR && str_find(value->as.str, STR("\n"), 0) != STR_NONE;
    if (lines) {
        put_lines(buf, value->as.str, depth);
    } else if (value->kind == VALUE_STR) {
        buf_str(buf, value->as.str);
        buf_char(buf, '\n');
    } else {
        json_write(buf, value, JSON_SPACED);
        buf_char(buf, '\n');
    }
}

static bool is_nested(const Value *value)
{
    return (value->kind == VALUE_MAP && value->as.map.n > 0) ||
           (value->kind == VALUE_LIST && value->as.list.n > 0);
}

/** A nested value; begun: its first line is indented already, after a dash. */
static void put_nested(Buf *buf, const Value *value, size_t depth, bool begun)
{
    size_t n = value->kind == VALUE_MAP ? value->as.map.n : value->as.list.n;
    for (size_t i = 0; i < n; i++) {
        const Value *member =
            value->kind == VALUE_MAP ? &value->as.map.pairs[i].value : &value->as.list.items[i];
        put_indent(buf, begun && i == 0 ? 0 : depth);
        if (value->kind == VALUE_MAP) {
            buf_str(buf, value->as.map.pairs[i].key);
            buf_c(buf, is_nested(member) ? ":\n" : ": ");
        } else {
            buf_c(buf, "- ");
        }
        if (is_nested(member)) {
            put_nested(buf, member, depth + 1, value->kind == VALUE_LIST);
        } else {
            put_scalar(buf, member, depth + 1);
        }
    }
}

static void put_member(Buf *buf, Str key, const Value *value)
{
    if (value != NULL) {
        ValuePair pair = value_pair(key, *value);
        Value map = value_map(&pair, 1);
        put_nested(buf, &map, 0, false);
    }
}

// ---- Aspects ------------------------------------------------------------------------------------

static bool has_key(const char *const keys[8], Str key)
{
    for (size_t i = 0; keys[i] != NULL; i++) {
        if (str_eq_c(key, keys[i])) {
            return true;
        }
    }
    return false;
}

static bool is_other(Str key)
{
    for (size_t aspect = 0; aspect < ASPECT_OTHER; aspect++) {
        if (has_key(KEYS[aspect], key)) {
            return false;
        }
    }
    return !has_key(TOLD_ELSEWHERE, key);
}

static Str solver_use(const Sources *sources, Str variant)
{
    const Value *solver = eval_member(sources, variant, STR("solver"));
    Str otherwise = STR("generate");
    return solver == NULL              ? otherwise
           : solver->kind == VALUE_STR ? solver->as.str
                                       : value_get_str(solver, "use", otherwise);
}

/** Whether a Lua file, by its name, belongs to an aspect. */
static bool owns_lua(const Sources *sources, Str variant, EvalAspect aspect, Str name)
{
    Str kind;
    Str use;
    str_cut(name, STR(" "), &kind, &use);
    switch (aspect) {
    case ASPECT_PROMPT:
        return str_eq(kind, STR("helpers"));
    case ASPECT_SOLVER:
        return str_eq(kind, STR("solver")) && str_eq(use, solver_use(sources, variant));
    case ASPECT_GRADERS:
        return str_eq(kind, STR("grader"));
    case ASPECT_DATASET:
    case ASPECT_OTHER:
    case ASPECT_COUNT:
        break;
    }
    return false;
}

Str eval_text(Arena *arena, const Sources *sources, Str variant, EvalAspect aspect)
{
    Buf buf = {0};
    for (size_t i = 0; aspect != ASPECT_OTHER && KEYS[aspect][i] != NULL; i++) {
        Str key = str_from_c(KEYS[aspect][i]);
        put_member(&buf, key, eval_member(sources, variant, key));
    }
    for (size_t i = 0; aspect == ASPECT_OTHER && i < sources->eval->as.map.n; i++) {
        const ValuePair *pair = &sources->eval->as.map.pairs[i];
        if (is_other(pair->key)) {
            put_member(&buf, pair->key, &pair->value);
        }
    }
    for (size_t i = 0; i < sources->lua->as.map.n; i++) {
        const ValuePair *pair = &sources->lua->as.map.pairs[i];
        if (pair->value.kind == VALUE_STR && owns_lua(sources, variant, aspect, pair->key)) {
            buf_printf(&buf, "-- " STR_FMT "\n", STR_ARG(pair->key));
            buf_str(&buf, pair->value.as.str);
            buf_c(&buf, str_ends_with(pair->value.as.str, STR("\n")) ? "" : "\n");
        }
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}
