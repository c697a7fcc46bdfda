// SPDX-License-Identifier: MIT
// The templates of an eval, ready to render for one row after another. A text without braces is a
// constant and a bare {{ name }} is a look-up; only what is left needs a Lua session, which starts
// when the first such template is rendered and holds only the names that the program reads.
#include "registry/registry_internal.h"

#include <string.h>

// ---- Building ----------------------------------------------------------------------------------

void tmpl_builder_push(TmplBuilder *builder, const ScriptUnit *unit, const Value *text)
{
    if (builder->n == builder->cap) {
        size_t cap = builder->cap == 0 ? 16 : builder->cap * 2;
        ScriptUnit *units = ARENA_ARRAY(builder->arena, ScriptUnit, cap);
        const Value **texts = ARENA_ARRAY(builder->arena, const Value *, cap);
        if (builder->n > 0) {
            memcpy(units, builder->units, builder->n * sizeof(*units));
            memcpy(texts, builder->texts, builder->n * sizeof(*texts));
        }
        builder->units = units;
        builder->texts = texts;
        builder->cap = cap;
    }
    builder->texts[builder->n] = text;
    builder->units[builder->n++] = *unit;
}

ScriptUnit tmpl_unit_of(Str file, Str name, const Value *text)
{
    bool block = text->style == VALUE_STYLE_LITERAL || text->style == VALUE_STYLE_FOLDED;
    return (ScriptUnit){
        .kind = UNIT_TEMPLATE,
        .name = name,
        .file = file,
        .line = text->line + (block ? 1 : 0),
        .indent = text->indent,
        .text = text->as.str,
        .params = value_null(),
    };
}

/** Whether Jinja would copy the text unchanged, but for one final newline. */
static bool is_plain(Str text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.data[i] == '{' &&
            (text.data[i + 1] == '{' || text.data[i + 1] == '%' || text.data[i + 1] == '#')) {
            return false;
        }
    }
    return true;
}

/** The name of a text that is exactly {{ name }}. */
static bool is_bare_name(Str text, Str *out)
{
    static const char *const words[] = {"true", "false", "none", "True", "False",
                                        "None", "not",   "loop", "self", NULL};
    if (!str_starts_with(text, STR("{{")) || !str_ends_with(text, STR("}}")) || text.len < 5) {
        return false;
    }
    Str name = str_trim(str_slice(text, 2, text.len - 2));
    if (!schema_is_ident(name) || keys_word_in(words, name)) {
        return false;
    }
    *out = name;
    return true;
}

static Tmpl build_text(TmplBuilder *builder, Str unit, const Value *value)
{
    Tmpl tmpl = {.line = value->line, .unit = unit};
    Str text = value->as.str;
    if (is_plain(text)) {
        bool newline = text.len > 0 && text.data[text.len - 1] == '\n';
        tmpl.kind = TMPL_CONSTANT;
        tmpl.constant = value_str(str_slice(text, 0, text.len - (newline ? 1 : 0)));
        return tmpl;
    }
    tmpl.kind = is_bare_name(text, &tmpl.name) ? TMPL_NAME : TMPL_UNIT;
    ScriptUnit script_unit = tmpl_unit_of(builder->file, unit, value);
    tmpl_builder_push(builder, &script_unit, value);
    return tmpl;
}

Tmpl tmpl_build(TmplBuilder *builder, Str unit, const Value *value)
{
    bool map = value->kind == VALUE_MAP;
    if (value->kind == VALUE_STR) {
        return build_text(builder, unit, value);
    }
    Tmpl tmpl = {.kind = TMPL_CONSTANT, .constant = *value, .line = value->line};
    if (!map && value->kind != VALUE_LIST) {
        return tmpl;
    }
    tmpl.kind = map ? TMPL_MAP : TMPL_LIST;
    tmpl.n = map ? value->as.map.n : value->as.list.n;
    tmpl.items = ARENA_ARRAY(builder->arena, Tmpl, tmpl.n + 1);
    tmpl.keys = map ? ARENA_ARRAY(builder->arena, Str, tmpl.n + 1) : NULL;
    for (size_t i = 0; i < tmpl.n; i++) {
        const Value *item = map ? &value->as.map.pairs[i].value : &value->as.list.items[i];
        Str name;
        if (map) {
            tmpl.keys[i] = value->as.map.pairs[i].key;
            name = str_printf(builder->arena, STR_FMT "." STR_FMT, STR_ARG(unit),
                              STR_ARG(tmpl.keys[i]));
        } else {
            name = str_printf(builder->arena, STR_FMT "[%zu]", STR_ARG(unit), i);
        }
        tmpl.items[i] = tmpl_build(builder, name, item);
    }
    return tmpl;
}

// ---- A session ---------------------------------------------------------------------------------

/** A name as the templates of this session see it, or NULL. */
static const Value *session_find(const TmplSession *session, Str name, Value *scratch)
{
    for (size_t i = 0; i < session->n_vars; i++) {
        if (str_eq(session->vars[i].name, name)) {
            return &session->vars[i].value;
        }
    }
    const Value *column = session->row != NULL ? value_get(session->row, name) : NULL;
    if (column != NULL) {
        return column;
    }
    if (session->with_row && str_eq_c(name, "row")) {
        return session->row;
    }
    if (session->with_row && str_eq_c(name, "row_number")) {
        *scratch = value_int(session->row_number);
        return scratch;
    }
    return NULL;
}

static bool session_begin(TmplSession *session, Err *err)
{
    if (session->begun) {
        return true;
    }
    MapBuilder map;
    map_builder_init(&map, session->arena);
    for (size_t i = 0; i < session->n_needed; i++) {
        Value scratch;
        const Value *value = session_find(session, session->needed[i], &scratch);
        if (value != NULL) {
            map_builder_put(&map, session->needed[i], *value);
        }
    }
    Value scope = map_builder_done(&map);
    ScriptSeed seed = {.seed = session->seed, .where = session->where};
    session->begun = script_render_begin(session->script, session->program, &seed, &scope, err);
    return session->begun;
}

static bool is_needed(const TmplSession *session, Str name)
{
    for (size_t i = 0; i < session->n_needed; i++) {
        if (str_eq(session->needed[i], name)) {
            return true;
        }
    }
    return false;
}

bool tmpl_session_set(TmplSession *session, Str name, Value value, Err *err)
{
    size_t at = 0;
    while (at < session->n_vars && !str_eq(session->vars[at].name, name)) {
        at++;
    }
    if (at == sizeof(session->vars) / sizeof(session->vars[0])) {
        return ERR_SET(err, ERR_INTERNAL, "too many variables in a rendering session");
    }
    session->n_vars += at == session->n_vars;
    session->vars[at] = (TmplVar){.name = name, .value = value};
    return !session->begun || !is_needed(session, name) ||
           script_render_set(session->script, name, &session->vars[at].value, err);
}

static bool render_items(TmplSession *session, const Tmpl *tmpl, Value *out, Err *err)
{
    if (tmpl->kind == TMPL_LIST) {
        Value *items = ARENA_ARRAY(session->arena, Value, tmpl->n + 1);
        for (size_t i = 0; i < tmpl->n; i++) {
            if (!tmpl_render(session, &tmpl->items[i], &items[i], err)) {
                return false;
            }
        }
        *out = value_list(items, tmpl->n);
        return true;
    }
    ValuePair *pairs = ARENA_ARRAY(session->arena, ValuePair, tmpl->n + 1);
    for (size_t i = 0; i < tmpl->n; i++) {
        pairs[i].key = tmpl->keys[i];
        if (!tmpl_render(session, &tmpl->items[i], &pairs[i].value, err)) {
            return false;
        }
    }
    *out = value_map(pairs, tmpl->n);
    return true;
}

bool tmpl_render(TmplSession *session, const Tmpl *tmpl, Value *out, Err *err)
{
    const Value *found = NULL;
    switch (tmpl->kind) {
    case TMPL_CONSTANT:
        *out = tmpl->constant;
        return true;
    case TMPL_LIST:
    case TMPL_MAP:
        return render_items(session, tmpl, out, err);
    case TMPL_NAME: {
        Value scratch;
        found = session_find(session, tmpl->name, &scratch);
        found = found == NULL ? value_get(session->constants, tmpl->name) : found;
        if (found != NULL) {
            *out = *found;
            return true;
        }
        break; // a helper, a built-in, or undefined: script says which
    }
    case TMPL_UNIT:
        break;
    }
    return session_begin(session, err) &&
           script_render(session->script, tmpl->unit, session->arena, out, err);
}

// ---- Messages ----------------------------------------------------------------------------------

/** What a message holds beside role, content and name. */
static Value message_extra(Arena *arena, const Value *message)
{
    static const char *const keys[] = {"tool_calls", "tool_call_id"};
    MapBuilder extra;
    map_builder_init(&extra, arena);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const Value *value = value_get_c(message, keys[i]);
        if (value != NULL) {
            map_builder_put(&extra, str_from_c(keys[i]), *value);
        }
    }
    return map_builder_done(&extra);
}

static MessageTmpl message_build(TmplBuilder *builder, Str unit, const Value *value)
{
    MessageTmpl message = {0};
    Arena *arena = builder->arena;
    if (value->kind == VALUE_STR) {
        message.content = tmpl_build(builder, unit, value);
        return message;
    }
    const Value *items = value_get_c(value, "messages");
    if (items != NULL) {
        const Value *each = value_get_c(value, "each");
        Value expression = *each;
        if (is_plain(each->as.str)) { // `each: shots` names a list
            expression.as.str = str_printf(arena, "{{ " STR_FMT " }}", STR_ARG(each->as.str));
        }
        message.each = tmpl_build(builder, str_concat(arena, unit, STR(".each")), &expression);
        message.as = value_get_str(value, "as", STR("s"));
        MessagesTmpl inner =
            messages_build(builder, str_concat(arena, unit, STR(".messages")), items);
        message.items = inner.items;
        message.n_items = inner.n;
        return message;
    }
    const Value *content = value_get_c(value, "content");
    const Value *name = value_get_c(value, "name");
    message.role = value_get_str(value, "role", STR("user"));
    const Value empty = value_str(STR_EMPTY); // beside tool calls there may be no content
    message.content = tmpl_build(builder, str_concat(arena, unit, STR(".content")),
                                 content != NULL ? content : &empty);
    Value extra = message_extra(arena, value);
    message.has_extra = extra.as.map.n > 0;
    message.extra = tmpl_build(builder, unit, &extra);
    message.has_name = name != NULL;
    if (name != NULL) {
        message.name = tmpl_build(builder, str_concat(arena, unit, STR(".name")), name);
    }
    return message;
}

MessagesTmpl messages_build(TmplBuilder *builder, Str unit, const Value *list)
{
    MessagesTmpl out = {.n = list->as.list.n};
    out.items = ARENA_ARRAY(builder->arena, MessageTmpl, out.n + 1);
    for (size_t i = 0; i < out.n; i++) {
        Str name = str_printf(builder->arena, STR_FMT "[%zu]", STR_ARG(unit), i);
        out.items[i] = message_build(builder, name, &list->as.list.items[i]);
    }
    return out;
}

/** Messages under construction. */
typedef struct ValueBuilder {
    Arena *arena;
    Value *items;
    size_t n;
    size_t cap;
} ValueBuilder;

static void value_builder_push(ValueBuilder *builder, Value value)
{
    if (builder->n == builder->cap) {
        size_t cap = builder->cap == 0 ? 8 : builder->cap * 2;
        Value *items = ARENA_ARRAY(builder->arena, Value, cap);
        if (builder->n > 0) {
            memcpy(items, builder->items, builder->n * sizeof(*items));
        }
        builder->items = items;
        builder->cap = cap;
    }
    builder->items[builder->n++] = value;
}

static bool render_items_of(TmplSession *session, const MessageTmpl *items, size_t n,
                            ValueBuilder *out, Err *err);

static bool text_of(TmplSession *session, const Tmpl *tmpl, const char *what, Str *out, Err *err)
{
    Value value;
    if (!tmpl_render(session, tmpl, &value, err)) {
        return false;
    }
    if (!text_of_scalar(session->arena, &value, out)) {
        return ERR_SET(err, ERR_SCRIPT, "%s of a message has to be text, not %s", what,
                       value_kind_word(&value));
    }
    return true;
}

static bool render_message(TmplSession *session, const MessageTmpl *message, ValueBuilder *out,
                           Err *err)
{
    Str content, name;
    Value extra;
    MapBuilder map;
    map_builder_init(&map, session->arena);
    if (!text_of(session, &message->content, "the content", &content, err)) {
        return false;
    }
    map_builder_put(&map, STR("role"), value_str(message->role));
    map_builder_put(&map, STR("content"), value_str(content));
    if (message->has_name) {
        if (!text_of(session, &message->name, "the name", &name, err)) {
            return false;
        }
        map_builder_put(&map, STR("name"), value_str(name));
    }
    if (message->has_extra) {
        if (!tmpl_render(session, &message->extra, &extra, err)) {
            return false;
        }
        for (size_t i = 0; i < extra.as.map.n; i++) {
            map_builder_put(&map, extra.as.map.pairs[i].key, extra.as.map.pairs[i].value);
        }
    }
    value_builder_push(out, map_builder_done(&map));
    return true;
}

/** An expression that gives one message or a list of them. */
static bool render_expression(TmplSession *session, const MessageTmpl *message, ValueBuilder *out,
                              Err *err)
{
    Value value;
    if (!tmpl_render(session, &message->content, &value, err)) {
        return false;
    }
    if (value.kind == VALUE_MAP) {
        value_builder_push(out, value);
        return true;
    }
    if (value.kind != VALUE_LIST) {
        return ERR_SET(err, ERR_SCRIPT,
                       "line %u: this has to give a message or a list of messages, not %s",
                       message->content.line, value_kind_word(&value));
    }
    for (size_t i = 0; i < value.as.list.n; i++) {
        value_builder_push(out, value.as.list.items[i]);
    }
    return true;
}

static bool render_loop(TmplSession *session, const MessageTmpl *loop, ValueBuilder *out, Err *err)
{
    Value list;
    if (!tmpl_render(session, &loop->each, &list, err)) {
        return false;
    }
    if (list.kind != VALUE_LIST) {
        return ERR_SET(err, ERR_SCRIPT, "line %u: 'each' has to name a list, not %s",
                       loop->each.line, value_kind_word(&list));
    }
    for (size_t i = 0; i < list.as.list.n; i++) {
        if (!tmpl_session_set(session, loop->as, list.as.list.items[i], err) ||
            !render_items_of(session, loop->items, loop->n_items, out, err)) {
            return false;
        }
    }
    return true;
}

static bool render_items_of(TmplSession *session, const MessageTmpl *items, size_t n,
                            ValueBuilder *out, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        const MessageTmpl *item = &items[i];
        bool ok = item->items != NULL  ? render_loop(session, item, out, err)
                  : item->role.len > 0 ? render_message(session, item, out, err)
                                       : render_expression(session, item, out, err);
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool messages_render(TmplSession *session, const MessagesTmpl *messages, Value *out, Err *err)
{
    ValueBuilder builder = {.arena = session->arena};
    if (!render_items_of(session, messages->items, messages->n, &builder, err)) {
        return false;
    }
    *out = value_list(builder.items, builder.n);
    return true;
}

static bool message_of_value(Arena *arena, const Value *value, Message *out, Err *err)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool", NULL};
    if (value->kind != VALUE_MAP) {
        return ERR_SET(err, ERR_SCRIPT, "a message has to be a map with role and content, not %s",
                       value_kind_word(value));
    }
    *out = (Message){
        .role = STR_EMPTY, .content = STR_EMPTY, .name = STR_EMPTY, .extra = value_null()};
    MapBuilder extra;
    map_builder_init(&extra, arena);
    for (size_t i = 0; i < value->as.map.n; i++) {
        const ValuePair *pair = &value->as.map.pairs[i];
        bool text = pair->value.kind == VALUE_STR;
        if (str_eq_c(pair->key, "role") && text) {
            out->role = pair->value.as.str;
        } else if (str_eq_c(pair->key, "content") && pair->value.kind != VALUE_NULL) {
            if (!text) {
                return ERR_SET(err, ERR_UNSUPPORTED,
                               "the content of a message has to be text, not %s",
                               value_kind_word(&pair->value));
            }
            out->content = pair->value.as.str;
        } else if (str_eq_c(pair->key, "name") && text) {
            out->name = pair->value.as.str;
        } else {
            map_builder_put(&extra, pair->key, pair->value);
        }
    }
    if (!keys_word_in(roles, out->role)) {
        return ERR_SET(
            err, ERR_SCRIPT,
            "the role of a message has to be system, user, assistant or tool, not '" STR_FMT "'",
            STR_ARG(str_slice(out->role, 0, 60)));
    }
    if (extra.n > 0) {
        out->extra = map_builder_done(&extra);
    }
    return true;
}

bool messages_of_value(Arena *arena, const Value *list, const Message **out, size_t *out_n,
                       Err *err)
{
    if (list->as.list.n == 0) {
        return ERR_SET(err, ERR_SCRIPT, "there are no messages");
    }
    Message *messages = ARENA_ARRAY(arena, Message, list->as.list.n);
    for (size_t i = 0; i < list->as.list.n; i++) {
        if (!message_of_value(arena, &list->as.list.items[i], &messages[i], err)) {
            return false;
        }
    }
    *out = messages;
    *out_n = list->as.list.n;
    return true;
}
