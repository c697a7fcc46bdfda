// SPDX-License-Identifier: MIT
// The templates of an eval without its rows: their syntax, the names they read against the names
// their place can see, the target on its way into the prompt.
#include "registry/eval_check.h"

#include <string.h>

bool name_in(Str name, const Str *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(name, names[i])) {
            return true;
        }
    }
    return false;
}

void name_set_add_at(NameSet *set, Str name, const Value *place)
{
    if (name_in(name, set->names, set->n)) {
        return;
    }
    if (set->n == set->cap) {
        size_t cap = set->cap == 0 ? 16 : set->cap * 2;
        Str *names = ARENA_ARRAY(set->arena, Str, cap);
        Value *places = ARENA_ARRAY(set->arena, Value, cap);
        if (set->n > 0) {
            memcpy(names, set->names, set->n * sizeof(*names));
            memcpy(places, set->places, set->n * sizeof(*places));
        }
        set->names = names;
        set->places = places;
        set->cap = cap;
    }
    set->names[set->n] = name;
    set->places[set->n++] = check_place(place->line, place->col);
}

void name_set_add(NameSet *set, Str name)
{
    Value nowhere = check_place(0, 0);
    name_set_add_at(set, name, &nowhere);
}

Value name_set_place(const NameSet *set, Str name, const Value *otherwise)
{
    for (size_t i = 0; i < set->n; i++) {
        if (str_eq(set->names[i], name) && set->places[i].line > 0) {
            return set->places[i];
        }
    }
    return *otherwise;
}

static void known_names(const EvalCheck *check, TmplScope scope, NameSet *out)
{
    static const char *const sample_names[] = {"id", "input", "metadata"};
    const Eval *eval = check->eval;
    for (size_t i = 0; i < eval->n_matrix; i++) {
        name_set_add(out, eval->matrix[i].name);
        for (size_t k = 0; k < eval->matrix[i].n; k++) {
            const Value *extra = &eval->matrix[i].extras[k];
            for (size_t j = 0; extra->kind == VALUE_MAP && j < extra->as.map.n; j++) {
                name_set_add(out, extra->as.map.pairs[j].key);
            }
        }
    }
    for (size_t i = 0; scope != SCOPE_PART && i < check->n_columns; i++) {
        name_set_add(out, check->columns[i]);
    }
    if (scope == SCOPE_ROW) {
        name_set_add(out, STR("row"));
        name_set_add(out, STR("row_number"));
    }
    if (scope == SCOPE_PROMPT || scope == SCOPE_GRADER) {
        for (size_t i = 0; i < sizeof(sample_names) / sizeof(sample_names[0]); i++) {
            name_set_add(out, str_from_c(sample_names[i]));
        }
        if (eval->sample_choices.kind != VALUE_NULL) {
            name_set_add(out, STR("choices"));
        }
        name_set_add(out, STR("shots"));
    }
    if (scope == SCOPE_GRADER) {
        name_set_add(out, STR("target"));
        name_set_add(out, STR("answer"));
        name_set_add(out, STR("reply"));
        name_set_add(out, STR("row"));
        name_set_add(out, STR("row_number"));
    }
}

/** Walks over the words inside of a template's braces that may be names it reads. */
typedef struct WordWalk {
    const Value *text;
    size_t at;
    uint32_t line;
    uint32_t col; // of the byte before at
    bool block;
    bool lost; // an escape, or a line that YAML has folded: columns are lost from here on
    bool inside;
    char quote;
    char last; // the last byte that is not blank
} WordWalk;

static WordWalk word_walk(const Value *text)
{
    bool block = text->style == VALUE_STYLE_LITERAL || text->style == VALUE_STYLE_FOLDED;
    uint32_t col = block ? text->indent : text->col - (text->style == VALUE_STYLE_PLAIN ? 1 : 0);
    return (WordWalk){.text = text,
                      .line = text->line + block,
                      .col = col,
                      .block = block,
                      .lost = text->style == VALUE_STYLE_FOLDED};
}

static bool is_word_byte(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void walk_byte(WordWalk *walk)
{
    Str s = walk->text->as.str;
    char c = s.data[walk->at], next = walk->at + 1 < s.len ? s.data[walk->at + 1] : '\0';
    walk->at++;
    walk->col++;
    // In double quotes these are two bytes in the file; which quotes they are is not known here.
    walk->lost = walk->lost ||
                 (walk->text->style == VALUE_STYLE_QUOTED && (c == '"' || c == '\\' || c == '\t'));
    if (c == '\n') {
        walk->lost = walk->lost || !walk->block;
        walk->line++;
        walk->col = walk->text->indent;
    } else if (!walk->inside) {
        walk->inside = c == '{' && (next == '{' || next == '%');
        walk->quote = '\0';
    } else if (walk->quote != '\0') {
        walk->quote = c == walk->quote ? '\0' : walk->quote;
    } else if (c == '"' || c == '\'') {
        walk->quote = c;
    } else if ((c == '}' || c == '%') && next == '}') {
        walk->inside = false;
    }
    walk->last = c == ' ' || c == '\t' || c == '\n' ? walk->last : c;
}

static bool next_word(WordWalk *walk, Str *out, Value *out_place)
{
    Str s = walk->text->as.str;
    while (walk->at < s.len) {
        char c = s.data[walk->at];
        if (!walk->inside || walk->quote != '\0' || !is_word_byte(c)) {
            walk_byte(walk);
            continue;
        }
        size_t from = walk->at, to = from;
        while (to < s.len && is_word_byte(s.data[to])) {
            to++;
        }
        *out = str_slice(s, from, to);
        *out_place = walk->lost ? *walk->text : check_place(walk->line, walk->col + 1);
        bool member = walk->last == '.' || walk->last == '|' || (c >= '0' && c <= '9');
        walk->col += (uint32_t)(to - from);
        walk->at = to;
        walk->last = 'a';
        if (!member) {
            return true;
        }
    }
    return false;
}

Value check_name_place(const Value *text, Str name)
{
    WordWalk walk = word_walk(text);
    Str word;
    Value place;
    while (next_word(&walk, &word, &place)) {
        if (str_eq(word, name)) {
            return place;
        }
    }
    return *text;
}

static void words_read(const Value *text, NameSet *read)
{
    WordWalk walk = word_walk(text);
    Str word;
    Value place;
    while (next_word(&walk, &word, &place)) {
        name_set_add_at(read, word, &place);
    }
}

void check_reads(Registry *registry, const Eval *eval, const Value *value, NameSet *read)
{
    if (value->kind == VALUE_STR) {
        ScriptUnit unit = tmpl_unit_of(eval->file, STR("template"), value);
        Str *names = NULL;
        size_t n = 0;
        Err ignored = ERR_INIT; // a fault of the eval, found already
        helpers_names(registry, eval, read->arena, &unit.helpers, &unit.n_helpers);
        if (!script_template_names(registry->script, &unit, read->arena, &names, &n, &ignored)) {
            words_read(value, read);
        }
        for (size_t i = 0; i < n; i++) {
            Value place = check_name_place(value, names[i]);
            name_set_add_at(read, names[i], &place);
        }
    }
    for (size_t i = 0; value->kind == VALUE_LIST && i < value->as.list.n; i++) {
        check_reads(registry, eval, &value->as.list.items[i], read);
    }
    for (size_t i = 0; value->kind == VALUE_MAP && i < value->as.map.n; i++) {
        check_reads(registry, eval, &value->as.map.pairs[i].value, read);
    }
}

/** One name that a template reads, against what its scope holds. */
static void check_name(const EvalCheck *check, TmplScope scope, const Value *text, Str name,
                       const NameSet *extra)
{
    bool column = check->has_columns && name_in(name, check->columns, check->n_columns);
    Value at = check_name_place(text, name);
    if (scope == SCOPE_PROMPT && !column &&
        (str_eq_c(name, "row") || str_eq_c(name, "row_number"))) {
        FAULT(check, &at, "unknown-variable",
              "'" STR_FMT "' is seen by sample: and where: only; use a column or metadata",
              STR_ARG(name));
        return;
    }
    if (scope == SCOPE_PROMPT && str_eq_c(name, "target") && check->has_columns && !column) {
        FAULT(check, &at, "unknown-variable",
              "the prompt can not see 'target' (a shot's is s.target)");
        return;
    }
    bool all_known = check->has_columns || scope == SCOPE_PART;
    if (!all_known || !check->helpers_load || name_in(name, extra->names, extra->n)) {
        return; // columns are known when the data is read
    }
    NameSet known = {.arena = check->arena};
    known_names(check, scope, &known);
    if (!name_in(name, known.names, known.n)) {
        Str hint = schema_did_you_mean(check->arena, name, known.names, known.n);
        FAULT(check, &at, "unknown-variable", "unknown variable '" STR_FMT "'" STR_FMT,
              STR_ARG(name), STR_ARG(hint));
    }
}

/** The quoted name of a call that starts at an offset, "('cot'": what stands between the quotes. */
static bool quoted_argument(Str s, size_t at, Str *out)
{
    while (at < s.len && (s.data[at] == ' ' || s.data[at] == '(')) {
        at++;
    }
    if (at >= s.len || (s.data[at] != '"' && s.data[at] != '\'') || s.data[at - 1] == ' ') {
        return false;
    }
    const char *close = memchr(s.data + at + 1, s.data[at], s.len - at - 1);
    *out = close != NULL ? str_slice(s, at + 1, (size_t)(close - s.data)) : STR_EMPTY;
    return close != NULL;
}

/** text('NAME') reads a text of the dataset: it has one of this name. */
static void check_texts(const EvalCheck *check, const Value *text)
{
    const Dataset *dataset = NULL;
    Err ignored = ERR_INIT; // a fault of the eval, found already
    bool has_dataset = check->eval->dataset_use.len > 0;
    if (has_dataset &&
        !registry_dataset(check->registry, check->eval->dataset_use, &dataset, &ignored)) {
        return;
    }
    NameSet known = {.arena = check->arena};
    for (size_t i = 0; has_dataset && i < dataset->n_texts; i++) {
        name_set_add(&known, dataset->texts[i].name);
    }
    WordWalk walk = word_walk(text);
    Str word, name;
    Value at;
    while (next_word(&walk, &word, &at)) {
        if (!str_eq_c(word, "text") || !quoted_argument(text->as.str, walk.at, &name) ||
            name_in(name, known.names, known.n)) {
            continue;
        }
        if (has_dataset) {
            Str hint = schema_did_you_mean(check->arena, name, known.names, known.n);
            FAULT(check, &at, "dangling", "dataset '" STR_FMT "' has no text '" STR_FMT "'" STR_FMT,
                  STR_ARG(dataset->name), STR_ARG(name), STR_ARG(hint));
        } else {
            FAULT(check, &at, "dangling",
                  "text('" STR_FMT "') needs a dataset with use: NAME, which has texts",
                  STR_ARG(name));
        }
    }
}

void check_text(const EvalCheck *check, TmplScope scope, Str unit_name, const Value *text,
                const NameSet *extra, NameSet *read)
{
    if (scope != SCOPE_PART) {
        check_texts(check, text);
    }
    ScriptUnit unit = tmpl_unit_of(check->eval->file, unit_name, text);
    unit.helpers = check->helpers;
    unit.n_helpers = check->n_helpers;
    Str *names = NULL;
    size_t n = 0;
    Err err = ERR_INIT;
    if (!script_template_names(check->registry->script, &unit, check->arena, &names, &n, &err)) {
        if (check->helpers_load) { // else a helper may be what is not known
            fault_of_err(check->faults, check->eval->file, text, "template", &err);
        }
        words_read(text, read);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        Value at = check_name_place(text, names[i]);
        check_name(check, scope, text, names[i], extra);
        name_set_add_at(read, names[i], &at);
    }
}

void check_tree(const EvalCheck *check, TmplScope scope, Str unit, const Value *value,
                const NameSet *extra, NameSet *read)
{
    if (value->kind == VALUE_STR) {
        check_text(check, scope, unit, value, extra, read);
    } else if (value->kind == VALUE_LIST) {
        for (size_t i = 0; i < value->as.list.n; i++) {
            Str name = str_printf(check->arena, STR_FMT "[%zu]", STR_ARG(unit), i);
            check_tree(check, scope, name, &value->as.list.items[i], extra, read);
        }
    } else if (value->kind == VALUE_MAP) {
        for (size_t i = 0; i < value->as.map.n; i++) {
            Str name = str_printf(check->arena, STR_FMT "." STR_FMT, STR_ARG(unit),
                                  STR_ARG(value->as.map.pairs[i].key));
            check_tree(check, scope, name, &value->as.map.pairs[i].value, extra, read);
        }
    }
}

static void check_messages(const EvalCheck *check, TmplScope scope, Str unit, const Value *list,
                           const NameSet *extra, NameSet *read)
{
    for (size_t i = 0; i < list->as.list.n; i++) {
        const Value *item = &list->as.list.items[i];
        const Value *inner = value_get_c(item, "messages");
        const Value *each = value_get_c(item, "each");
        const Value *parts[] = {value_get_c(item, "content"), value_get_c(item, "name")};
        Str name = str_printf(check->arena, STR_FMT "[%zu]", STR_ARG(unit), i);
        if (item->kind == VALUE_STR) {
            check_text(check, scope, name, item, extra, read);
        }
        for (size_t k = 0; k < 2; k++) {
            if (parts[k] != NULL) {
                check_tree(check, scope, name, parts[k], extra, read);
            }
        }
        if (each != NULL && inner != NULL && inner->kind == VALUE_LIST) {
            if (schema_is_ident(each->as.str)) {
                check_name(check, scope, each, each->as.str, extra);
                name_set_add_at(read, each->as.str, each);
            } else {
                check_text(check, scope, name, each, extra, read);
            }
            NameSet more = {.arena = check->arena};
            for (size_t k = 0; k < extra->n; k++) {
                name_set_add(&more, extra->names[k]);
            }
            name_set_add(&more, value_get_str(item, "as", STR("s")));
            check_messages(check, scope, str_concat(check->arena, name, STR(".messages")), inner,
                           &more, read);
        }
    }
}

void check_condition(const EvalCheck *check, const char *key, const Value *text)
{
    if (text->kind == VALUE_STR && str_find(text->as.str, STR("{{"), 0) == STR_NONE &&
        str_find(text->as.str, STR("{%"), 0) == STR_NONE) {
        FAULT(check, text, "condition",
              "'%s' is text, which is always true: write an expression, \"{{ " STR_FMT " }}\"", key,
              STR_ARG(text->as.str));
    }
}

void check_sample_templates(const EvalCheck *check, NameSet *target_names, NameSet *input_names)
{
    const Eval *eval = check->eval;
    NameSet none = {.arena = check->arena}, read = {.arena = check->arena};
    check_tree(check, SCOPE_PART, STR("dataset.part"), &eval->dataset_part, &none, &read);
    check_tree(check, SCOPE_ROW, STR("where"), &eval->where, &none, &read);
    check_condition(check, "where", &eval->where);
    check_tree(check, SCOPE_ROW, STR("sample.id"), &eval->sample_id, &none, &read);
    if (eval->sample_input.kind == VALUE_LIST) {
        check_messages(check, SCOPE_ROW, STR("sample.input"), &eval->sample_input, &none,
                       input_names);
    } else {
        check_tree(check, SCOPE_ROW, STR("sample.input"), &eval->sample_input, &none, input_names);
    }
    check_tree(check, SCOPE_ROW, STR("sample.choices"), &eval->sample_choices, &none, input_names);
    check_tree(check, SCOPE_ROW, STR("sample.target"), &eval->sample_target, &none, target_names);
    check_tree(check, SCOPE_ROW, STR("sample.metadata"), &eval->sample_metadata, &none, &read);
    check_tree(check, SCOPE_ROW, STR("sample.cluster"), &eval->sample_cluster, &none, &read);
}

/** The target has no place in the prompt, and neither have columns that only it is made of. Its
 * text may well stand there: the choices, the passage to quote from. */
static void warn_target(const EvalCheck *check, const Value *at, const NameSet *prompt,
                        const NameSet *target, const NameSet *input)
{
    static const char *const fields[] = {"id", "input", "choices", "metadata", "shots", NULL};
    for (size_t i = 0; i < prompt->n; i++) {
        Str name = prompt->names[i];
        Value place = name_set_place(prompt, name, at);
        bool axis = false;
        for (size_t k = 0; k < check->eval->n_matrix; k++) {
            axis = axis || str_eq(check->eval->matrix[k].name, name);
        }
        bool own = str_eq_c(name, "target") && !check->has_columns;
        if (axis || str_eq_c(name, "row") || keys_word_in(fields, name) ||
            name_in(name, input->names, input->n)) {
            continue;
        }
        if (name_in(name, target->names, target->n)) {
            WARN(check, &place, "target-in-prompt",
                 "the prompt reads '" STR_FMT "', which the target is made of", STR_ARG(name));
        } else if (own && check->eval->sample_target.kind != VALUE_NULL) {
            WARN(check, &place, "target-in-prompt",
                 "the prompt can not see the sample's target; 'target' is a column here, if there "
                 "is one");
        }
    }
}

void check_prompt(const EvalCheck *check, const EvalVariant *variant, const NameSet *target,
                  const NameSet *input)
{
    NameSet none = {.arena = check->arena}, read = {.arena = check->arena};
    const Value *at = variant->prompt.kind != VALUE_NULL ? &variant->prompt : &variant->messages;
    if (variant->prompt.kind == VALUE_STR) {
        check_text(check, SCOPE_PROMPT, STR("prompt"), &variant->prompt, &none, &read);
    }
    if (variant->messages.kind == VALUE_LIST) {
        check_messages(check, SCOPE_PROMPT, STR("messages"), &variant->messages, &none, &read);
    }
    warn_target(check, at, &read, target, input);
    bool uses_shots = name_in(STR("shots"), read.names, read.n);
    const Value *few_shot = value_get_c(&check->eval->source, "few_shot");
    if (variant->few_shot.given && !uses_shots) {
        at = at->kind == VALUE_NULL && few_shot != NULL ? few_shot : at;
        FAULT(check, at, "few-shot", "'few_shot' is given, but the prompt does not use shots");
    } else if (!variant->few_shot.given && uses_shots) {
        Value place = name_set_place(&read, STR("shots"), at);
        FAULT(check, &place, "few-shot", "the prompt uses shots, but 'few_shot' is not given");
    }
}
