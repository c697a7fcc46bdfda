// SPDX-License-Identifier: MIT
// Transcripts as JSON inside the page. What many attempts share is written once: a prompt starts
// where it differs from its run's first one, a call's messages where they differ from the call
// before. report.js reads what is written here; the keys are its contract:
//   runs      {eval, part, variant, model, side, prompt, settings, graders: [{name, low, high,
//   lower}]} attempts  {run, id, epoch, error: [code, message], input, target, metadata, prompt,
//   reply, stop,
//             choices, scores, usage: [in, out, cached, reasoning], seconds, cost, calls, notes}
//   text      "..." or {head, cut: bytes left out, tail}
//   prompt    text, [messages {role, text, more}], {from: UTF-16 units, rest: text} or
//             {from: messages, rest: [messages]}
#include "results/html_internal.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

#define TEXT_MAX  20000 // bytes of a text that is shown whole
#define HEAD_KEPT 15000 // of a longer one
#define TAIL_KEPT 5000
#define SHARE_MIN 64 // bytes that are worth sharing

static void put(MapBuilder *map, const char *key, Value value)
{
    map_builder_put(map, str_from_c(key), value);
}

static bool is_inside_character(Str text, size_t at)
{
    return at < text.len && ((unsigned char)text.data[at] & 0xc0) == 0x80;
}

static Value text_value(Arena *arena, Str text)
{
    if (text.len <= TEXT_MAX) {
        return value_str(text);
    }
    size_t head = HEAD_KEPT;
    size_t tail = text.len - TAIL_KEPT;
    for (int i = 0; i < 3 && is_inside_character(text, head); i++) {
        head--;
    }
    for (int i = 0; i < 3 && is_inside_character(text, tail); i++) {
        tail++;
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "head", value_str(str_slice(text, 0, head)));
    put(&map, "cut", value_int((int64_t)(tail - head)));
    put(&map, "tail", value_str(str_slice(text, tail, text.len)));
    return map_builder_done(&map);
}

static void put_text(MapBuilder *map, const char *key, Str text)
{
    if (text.len > 0) {
        put(map, key, text_value(map->arena, text));
    }
}

/** Any value as text: a text as it is, else JSON. */
static Str value_text(Arena *arena, const Value *value, JsonStyle style)
{
    if (value->kind == VALUE_STR) {
        return value->as.str;
    }
    Buf json = {0};
    json_write(&json, value, style);
    Str text = str_copy(arena, buf_view(&json));
    buf_finish(&json);
    return text;
}

static void put_value(MapBuilder *map, const char *key, const Value *value)
{
    if (value != NULL && value->kind != VALUE_NULL) {
        put_text(map, key, value_text(map->arena, value, JSON_PRETTY));
    }
}

static Value number(double d)
{
    return isfinite(d) ? value_real(d) : value_null();
}

// ---- Prompts ------------------------------------------------------------------------------------

/** A chat as [{role, text, more}]; null for anything else. */
static Value messages_value(Arena *arena, const Value *chat)
{
    if (chat == NULL || chat->kind != VALUE_LIST || chat->as.list.n == 0) {
        return value_null();
    }
    Value *messages = ARENA_ARRAY(arena, Value, chat->as.list.n);
    for (size_t i = 0; i < chat->as.list.n; i++) {
        const Value *message = &chat->as.list.items[i];
        Str role = value_get_str(message, "role", STR_EMPTY);
        if (role.len == 0) {
            return value_null();
        }
        MapBuilder map;
        MapBuilder more;
        map_builder_init(&map, arena);
        map_builder_init(&more, arena);
        put(&map, "role", value_str(role));
        put_value(&map, "text", value_get_c(message, "content"));
        for (size_t j = 0; j < message->as.map.n; j++) {
            const ValuePair *pair = &message->as.map.pairs[j];
            if (!str_eq(pair->key, STR("role")) && !str_eq(pair->key, STR("content"))) {
                map_builder_put(&more, pair->key, pair->value);
            }
        }
        if (more.n > 0) {
            Value rest = map_builder_done(&more);
            put_value(&map, "more", &rest);
        }
        messages[i] = map_builder_done(&map);
    }
    return value_list(messages, chat->as.list.n);
}

/** A prompt as stored, text or JSON messages, as the page has it. */
static Value prompt_value(Arena *arena, Str prompt)
{
    Value chat;
    Err ignored = ERR_INIT;
    if (str_starts_with(prompt, STR("[{")) &&
        json_parse(arena, prompt, NULL, &chat, NULL, &ignored)) {
        Value messages = messages_value(arena, &chat);
        if (messages.kind != VALUE_NULL) {
            return messages;
        }
    }
    return text_value(arena, utf8_clean(arena, prompt));
}

/** Bytes that two texts begin with alike, whole characters. */
static size_t shared_bytes(Str a, Str b)
{
    size_t n = 0;
    while (n < a.len && n < b.len && a.data[n] == b.data[n]) {
        n++;
    }
    while (n > 0 && (is_inside_character(a, n) || is_inside_character(b, n))) {
        n--;
    }
    return n;
}

/** What a browser counts: characters beyond the first plane are two. */
static int64_t utf16_units(Str text)
{
    int64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        n += (c & 0xc0) != 0x80;
        n += c >= 0xf0;
    }
    return n;
}

/** A prompt by what it does not share with another one. */
static Value prompt_shared(Arena *arena, const Value *base, Value prompt)
{
    int64_t from = 0;
    Value rest = value_null();
    if (base->kind == VALUE_STR && prompt.kind == VALUE_STR) {
        size_t n = shared_bytes(base->as.str, prompt.as.str);
        if (n >= SHARE_MIN) {
            from = utf16_units(str_slice(prompt.as.str, 0, n));
            rest = value_str(str_slice(prompt.as.str, n, prompt.as.str.len));
        }
    } else if (base->kind == VALUE_LIST && prompt.kind == VALUE_LIST) {
        size_t n = 0;
        while (n < base->as.list.n && n < prompt.as.list.n &&
               value_equal(&base->as.list.items[n], &prompt.as.list.items[n])) {
            n++;
        }
        from = (int64_t)n;
        rest = value_list(prompt.as.list.items + n, prompt.as.list.n - n);
    }
    if (from == 0) {
        return prompt;
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "from", value_int(from));
    put(&map, "rest", rest);
    return map_builder_done(&map);
}

// ---- Choices and scores -------------------------------------------------------------------------

/** [[text, logprob, tokens, greedy, unconditional]...] */
static Value choices_value(Arena *arena, const Value *choices)
{
    size_t n = choices != NULL && choices->kind == VALUE_LIST ? choices->as.list.n : 0;
    Value *items = ARENA_ARRAY(arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        const Value *choice = &choices->as.list.items[i];
        Value *cells = ARENA_ARRAY(arena, Value, 5);
        cells[0] = text_value(arena, value_get_str(choice, "text", STR_EMPTY));
        cells[1] = number(value_get_real(choice, "logprob", (double)NAN));
        cells[2] = value_int(value_get_int(choice, "tokens", 0));
        cells[3] = value_bool(value_get_bool(choice, "greedy", false));
        cells[4] = number(value_get_real(choice, "unconditional", (double)NAN));
        items[i] = value_list(cells, 5);
    }
    return value_list(items, n);
}

static Value score_value(Arena *arena, const Score *score)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "grader", value_str(score->grader));
    put(&map, "value", score->state == SCORE_VALUE ? number(score->value) : value_null());
    put_text(&map, "why", score->state == SCORE_VALUE ? score->why : score->reason);
    if (score->has_answer) {
        put(&map, "answer", text_value(arena, score->answer));
    }
    if (score->weight != 1) {
        put(&map, "weight", number(score->weight));
    }
    put_value(&map, "detail", &score->detail);
    return map_builder_done(&map);
}

static Value usage_value(Arena *arena, const Usage *usage)
{
    Value *cells = ARENA_ARRAY(arena, Value, 4);
    cells[0] = value_int(usage->input);
    cells[1] = value_int(usage->output);
    cells[2] = value_int(usage->cached);
    cells[3] = value_int(usage->reasoning);
    return value_list(cells, 4);
}

// ---- Calls --------------------------------------------------------------------------------------

/** Attempt's, run's and what the call before left, while calls are written. */
typedef struct CallContext {
    Arena *arena;
    const AttemptInfo *attempt;
    TranscriptRun *run;
    Arena *run_arena;
    Value before; // the prompt that the next one is written against
} CallContext;

/** "max_tokens=16 temperature=0.0 ..." */
static Str settings_text(Arena *arena, const Value *request)
{
    static const char *const not_settings[] = {"kind", "prompt", "messages", "items",
                                               "role", "window", "seed"};
    Buf buf = {0};
    for (size_t i = 0; request != NULL && request->kind == VALUE_MAP && i < request->as.map.n;
         i++) {
        const ValuePair *pair = &request->as.map.pairs[i];
        bool is_setting = true;
        for (size_t j = 0; j < sizeof(not_settings) / sizeof(not_settings[0]); j++) {
            is_setting &= !str_eq_c(pair->key, not_settings[j]);
        }
        if (is_setting) {
            buf_c(&buf, buf.len > 0 ? " " : "");
            buf_str(&buf, pair->key);
            buf_char(&buf, '=');
            json_write(&buf, &pair->value, JSON_COMPACT);
        }
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

static void put_settings(CallContext *context, MapBuilder *map, const Value *request)
{
    Value settings = value_str(settings_text(context->arena, request));
    if (context->run->settings.kind == VALUE_NULL) {
        context->run->settings = value_copy(context->run_arena, &settings);
    }
    if (!value_equal(&settings, &context->run->settings)) {
        put_text(map, "settings", settings.as.str);
    }
}

/** The prompt of a call, unless it is the one before. */
static void put_call_prompt(CallContext *context, MapBuilder *map, const Value *request)
{
    Value prompt = messages_value(context->arena, value_get_c(request, "messages"));
    if (prompt.kind == VALUE_NULL) {
        Str text = value_get_str(request, "prompt", STR_EMPTY);
        prompt = text_value(context->arena, utf8_clean(context->arena, text));
    }
    bool empty = prompt.kind == VALUE_STR && prompt.as.str.len == 0;
    if (!empty && !value_equal(&prompt, &context->before)) {
        put(map, "prompt", prompt_shared(context->arena, &context->before, prompt));
        context->before = prompt;
    }
}

/** What a call scored, unless these are the attempt's choices: [[text, logprob, tokens...]...] */
static void put_call_choices(CallContext *context, MapBuilder *map, const Value *request,
                             const Value *reply)
{
    const Value *items = value_get_c(request, "items");
    const Value *scored = value_get_c(reply, "choices");
    size_t n = scored != NULL && scored->kind == VALUE_LIST ? scored->as.list.n : 0;
    const Value *own = &context->attempt->choices;
    if (n == 0 || (own->kind == VALUE_LIST && own->as.list.n == n)) {
        return;
    }
    Value choices = choices_value(context->arena, scored);
    Value *rows = ARENA_ARRAY(context->arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        Value *cells = ARENA_ARRAY(context->arena, Value, 5);
        memcpy(cells, choices.as.list.items[i].as.list.items, 5 * sizeof(*cells));
        if (items != NULL && items->kind == VALUE_LIST && i < items->as.list.n) {
            cells[0] = text_value(context->arena,
                                  value_get_str(&items->as.list.items[i], "text", STR_EMPTY));
        }
        rows[i] = value_list(cells, 5);
    }
    put(map, "choices", value_list(rows, n));
}

static void put_more(MapBuilder *map, const Value *more)
{
    size_t n = more != NULL && more->kind == VALUE_LIST ? more->as.list.n : 0;
    Value *texts = ARENA_ARRAY(map->arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        texts[i] =
            text_value(map->arena, value_get_str(&more->as.list.items[i], "text", STR_EMPTY));
    }
    if (n > 0) {
        put(map, "more", value_list(texts, n));
    }
}

static Value call_value(CallContext *context, const Value *call)
{
    MapBuilder map;
    map_builder_init(&map, context->arena);
    const Value *request = value_get_c(call, "request");
    const Value *reply = value_get_c(call, "reply");
    put(&map, "path", value_str(value_get_str(call, "path", STR_EMPTY)));
    put_text(&map, "role", value_get_str(request, "role", STR_EMPTY));
    put_settings(context, &map, request);
    put_call_prompt(context, &map, request);
    put_call_choices(context, &map, request, reply);
    Str text = value_get_str(reply, "text", STR_EMPTY);
    if (!str_eq(text, context->attempt->reply_text)) {
        put(&map, "text", text_value(context->arena, text));
    }
    put_text(&map, "reasoning", value_get_str(reply, "reasoning", STR_EMPTY));
    put_text(&map, "refusal", value_get_str(reply, "refusal", STR_EMPTY));
    put_value(&map, "tools", value_get_c(reply, "tool_calls"));
    put_more(&map, value_get_c(reply, "more"));
    put_text(&map, "stop", value_get_str(reply, "stop", STR_EMPTY));
    put(&map, "seconds", number(value_get_real(reply, "seconds", (double)NAN)));
    return map_builder_done(&map);
}

// ---- Attempts -----------------------------------------------------------------------------------

void transcripts_init(Transcripts *transcripts, const RunInfo *runs, size_t n_runs,
                      const RunInfo *others, size_t n_others, size_t limit_bytes)
{
    *transcripts = (Transcripts){.attempts.limit_bytes = limit_bytes, .n_runs = n_runs + n_others};
    transcripts->runs = ARENA_ARRAY(&transcripts->arena, TranscriptRun, transcripts->n_runs);
    for (size_t i = 0; i < transcripts->n_runs; i++) {
        transcripts->runs[i] = (TranscriptRun){.info = i < n_runs ? &runs[i] : &others[i - n_runs],
                                               .side = i < n_runs ? 0 : 1,
                                               .prompt = value_null(),
                                               .settings = value_null()};
    }
}

void transcripts_finish(Transcripts *transcripts)
{
    buf_finish(&transcripts->attempts);
    arena_finish(&transcripts->arena);
}

/** The run of an attempt; runs come one after the other, so the last one found is tried first. */
static TranscriptRun *run_of(Transcripts *transcripts, int64_t run_id, int side)
{
    for (size_t i = 0; i < transcripts->n_runs; i++) {
        if (transcripts->runs[i].info->id == run_id && transcripts->runs[i].side == side) {
            return &transcripts->runs[i];
        }
    }
    return NULL;
}

static void put_prompt(Transcripts *transcripts, TranscriptRun *run, MapBuilder *map,
                       const AttemptInfo *attempt, Value *out)
{
    Value prompt = prompt_value(map->arena, attempt->prompt);
    *out = prompt;
    if (run->prompt.kind == VALUE_NULL) {
        run->prompt = value_copy(&transcripts->arena, &prompt);
    }
    put(map, "prompt", prompt_shared(map->arena, &run->prompt, prompt));
}

static void put_calls(Transcripts *transcripts, TranscriptRun *run, MapBuilder *map,
                      const AttemptInfo *attempt, Value prompt)
{
    if (attempt->calls.kind != VALUE_LIST || attempt->calls.as.list.n == 0) {
        return;
    }
    CallContext context = {.arena = map->arena,
                           .attempt = attempt,
                           .run = run,
                           .run_arena = &transcripts->arena,
                           .before = prompt};
    size_t n = attempt->calls.as.list.n;
    Value *calls = ARENA_ARRAY(map->arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        calls[i] = call_value(&context, &attempt->calls.as.list.items[i]);
    }
    put(map, "calls", value_list(calls, n));
}

static void put_error(MapBuilder *map, const AttemptInfo *attempt)
{
    if (!str_eq(attempt->state, STR("done"))) {
        Value *error = ARENA_ARRAY(map->arena, Value, 2);
        error[0] = value_str(attempt->error_code);
        error[1] = text_value(map->arena, attempt->error);
        put(map, "error", value_list(error, 2));
    }
}

static void put_outcome(MapBuilder *map, const AttemptInfo *attempt)
{
    put(map, "reply", text_value(map->arena, attempt->reply_text));
    put_text(map, "stop", attempt->stop);
    if (attempt->choices.kind == VALUE_LIST && attempt->choices.as.list.n > 0) {
        put(map, "choices", choices_value(map->arena, &attempt->choices));
    }
    Value *scores = ARENA_ARRAY(map->arena, Value, attempt->n_scores);
    for (size_t i = 0; i < attempt->n_scores; i++) {
        scores[i] = score_value(map->arena, &attempt->scores[i]);
    }
    put(map, "scores", value_list(scores, attempt->n_scores));
    put(map, "usage", usage_value(map->arena, &attempt->usage));
    put(map, "seconds", number(attempt->seconds));
    if (isfinite(attempt->cost_usd) && attempt->cost_usd != 0) {
        put(map, "cost", number(attempt->cost_usd));
    }
}

size_t transcripts_put(Transcripts *transcripts, const AttemptInfo *attempt, int side)
{
    TranscriptRun *run = run_of(transcripts, attempt->run_id, side);
    Arena arena = {0};
    MapBuilder map;
    Value prompt;
    map_builder_init(&map, &arena);
    put(&map, "run", value_int(run != NULL ? run - transcripts->runs : -1));
    put_text(&map, "id", attempt->sample_id);
    put(&map, "epoch", value_int(attempt->epoch));
    put_error(&map, attempt);
    if (run != NULL) {
        put_prompt(transcripts, run, &map, attempt, &prompt);
        put_calls(transcripts, run, &map, attempt, prompt);
    }
    if (transcripts->with_inputs || str_find(attempt->prompt, attempt->input, 0) == STR_NONE) {
        put(&map, "input", prompt_value(&arena, attempt->input));
    }
    put_text(&map, "target", attempt->target);
    if (!str_eq(attempt->metadata, STR("{}"))) {
        put_text(&map, "metadata", attempt->metadata);
    }
    put_outcome(&map, attempt);
    put_text(&map, "notes", attempt->notes);
    Value value = map_builder_done(&map);
    html_raw(&transcripts->attempts, transcripts->n > 0 ? ",\n" : "");
    html_json(&transcripts->attempts, &value);
    arena_finish(&arena);
    return transcripts->n++;
}

// ---- Runs ---------------------------------------------------------------------------------------

/** The graders with the range of their scores, which says what right and wrong are. */
static Value graders_value(Arena *arena, const RunInfo *run)
{
    const Value *metrics = &run->spec.metrics;
    const Value *graders = NULL;
    if (metrics->kind == VALUE_LIST && metrics->as.list.n > 0) {
        graders = value_get_c(&metrics->as.list.items[0], "graders");
    }
    size_t n = graders != NULL && graders->kind == VALUE_LIST ? graders->as.list.n : 0;
    Value *items = ARENA_ARRAY(arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        const Value *grader = &graders->as.list.items[i];
        bool is_name = grader->kind == VALUE_STR;
        MapBuilder map;
        map_builder_init(&map, arena);
        put(&map, "name",
            value_str(is_name ? grader->as.str : value_get_str(grader, "name", STR_EMPTY)));
        put(&map, "low", number(value_get_real(grader, "low", (double)NAN)));
        put(&map, "high", number(value_get_real(grader, "high", (double)NAN)));
        put(&map, "lower", value_bool(value_get_bool(grader, "lower_is_better", false)));
        items[i] = map_builder_done(&map);
    }
    return value_list(items, n);
}

static Value run_value(Arena *arena, const TranscriptRun *run)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "eval", value_str(run->info->eval));
    put(&map, "part", value_str(run->info->part));
    put(&map, "variant", value_str(run->info->variant));
    put(&map, "model", value_str(run->info->model));
    put(&map, "side", value_int(run->side));
    put(&map, "prompt", run->prompt);
    put(&map, "settings", run->settings);
    put(&map, "graders", graders_value(arena, run->info));
    return map_builder_done(&map);
}

void transcripts_write(Buf *buf, const Transcripts *transcripts)
{
    Arena arena = {0};
    Value *runs = ARENA_ARRAY(&arena, Value, transcripts->n_runs);
    for (size_t i = 0; i < transcripts->n_runs; i++) {
        runs[i] = run_value(&arena, &transcripts->runs[i]);
    }
    Value list = value_list(runs, transcripts->n_runs);
    html_raw(buf, "\"runs\":");
    html_json(buf, &list);
    html_raw(buf, ",\"attempts\":[\n");
    buf_str(buf, buf_view(&transcripts->attempts));
    html_raw(buf, "\n]");
    buf->overflow |= transcripts->attempts.overflow;
    arena_finish(&arena);
}
