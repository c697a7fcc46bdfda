// SPDX-License-Identifier: MIT
// What callers hand in, copied into one item of the queue: JSON is written here, on the caller's
// thread, so the writer only binds bytes.
#include "results/store_internal.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

/** A stretch of put_buf, which may still move while it grows. */
typedef struct Range {
    size_t from;
    size_t to;
} Range;

static Range put_json(Store *store, const Value *value)
{
    Range range = {.from = store->put_buf.len};
    json_write(&store->put_buf, value, JSON_COMPACT);
    range.to = store->put_buf.len;
    return range;
}

static Str range_str(const Store *store, Range range)
{
    return range.from == range.to ? STR_EMPTY
                                  : (Str){store->put_buf.data + range.from, range.to - range.from};
}

/** Copies bytes into an item, one after the other. */
typedef struct Packer {
    char *at;
} Packer;

static Str pack(Packer *packer, Str s)
{
    if (s.len > 0) {
        memcpy(packer->at, s.data, s.len);
    }
    Str copy = {packer->at, s.len};
    packer->at += s.len;
    return copy;
}

static size_t round_up_16(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

static bool is_refused(const Store *store, Err *err)
{
    if (atomic_load(&store->failed)) {
        *err = store->first_error;
        return true;
    }
    return false;
}

/** Start the scratch of one put; put_mutex is held from here to put_done. */
static void put_begin(Store *store)
{
    pthread_mutex_lock(&store->put_mutex);
    arena_reset(&store->put_arena);
    buf_clear(&store->put_buf);
}

static bool put_done(Store *store, bool ok)
{
    if (store->put_buf.overflow) {
        buf_finish(&store->put_buf);
        buf_init(&store->put_buf, 0);
    }
    pthread_mutex_unlock(&store->put_mutex);
    return ok;
}

// ---- Calls --------------------------------------------------------------------------------------

/** The key under which a map holds what is sent; NULL when it has neither. */
static const ValuePair *prompt_pair(const Value *map)
{
    for (size_t i = 0; map->kind == VALUE_MAP && i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        if (str_eq(pair->key, STR("prompt")) || str_eq(pair->key, STR("messages"))) {
            return pair;
        }
    }
    return NULL;
}

static Value map_without(Arena *arena, const Value *map, const ValuePair *left_out)
{
    MapBuilder builder;
    map_builder_init(&builder, arena);
    for (size_t i = 0; i < map->as.map.n; i++) {
        if (&map->as.map.pairs[i] != left_out) {
            map_builder_put(&builder, map->as.map.pairs[i].key, map->as.map.pairs[i].value);
        }
    }
    return map_builder_done(&builder);
}

static Value map_with_first(Arena *arena, const Value *map, size_t at, ValuePair added)
{
    MapBuilder builder;
    map_builder_init(&builder, arena);
    for (size_t i = 0; i <= map->as.map.n; i++) {
        if (i == at || (i == map->as.map.n && at > i)) {
            map_builder_put(&builder, added.key, added.value);
        }
        if (i < map->as.map.n) {
            map_builder_put(&builder, map->as.map.pairs[i].key, map->as.map.pairs[i].value);
        }
    }
    return map_builder_done(&builder);
}

/** The map with its member of that key replaced. */
static Value map_with(Arena *arena, const Value *map, Str key, Value value)
{
    MapBuilder builder;
    map_builder_init(&builder, arena);
    for (size_t i = 0; i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        map_builder_put(&builder, pair->key, str_eq(pair->key, key) ? value : pair->value);
    }
    return map_builder_done(&builder);
}

Value request_split(Arena *arena, const Value *request, Value *out_prompt)
{
    *out_prompt = value_null();
    const ValuePair *own = prompt_pair(request);
    if (own != NULL) {
        *out_prompt = own->value;
        return map_without(arena, request, own);
    }
    const Value *items = value_get_c(request, "items");
    if (items == NULL || items->kind != VALUE_LIST) {
        return *request;
    }
    Value *rest = ARENA_ARRAY(arena, Value, items->as.list.n);
    for (size_t i = 0; i < items->as.list.n; i++) {
        rest[i] = items->as.list.items[i];
        const ValuePair *pair = prompt_pair(&rest[i]);
        if (pair == NULL) {
            continue;
        }
        if (out_prompt->kind == VALUE_NULL) {
            *out_prompt = pair->value;
        }
        if (value_equal(&pair->value, out_prompt)) {
            rest[i] = map_without(arena, &rest[i], pair);
        }
    }
    return map_with(arena, request, STR("items"), value_list(rest, items->as.list.n));
}

Value request_join(Arena *arena, const Value *rest, const Value *prompt)
{
    if (prompt->kind == VALUE_NULL || rest->kind != VALUE_MAP) {
        return *rest;
    }
    ValuePair pair =
        value_pair(prompt->kind == VALUE_LIST ? STR("messages") : STR("prompt"), *prompt);
    const Value *items = value_get_c(rest, "items");
    if (items == NULL || items->kind != VALUE_LIST) {
        return map_with_first(arena, rest, 1, pair); // after its kind
    }
    Value *joined = ARENA_ARRAY(arena, Value, items->as.list.n);
    for (size_t i = 0; i < items->as.list.n; i++) {
        joined[i] = items->as.list.items[i];
        if (joined[i].kind == VALUE_MAP && prompt_pair(&joined[i]) == NULL &&
            !value_get_bool(&joined[i], "window", false)) {
            joined[i] = map_with_first(arena, &joined[i], 0, pair);
        }
    }
    return map_with(arena, rest, STR("items"), value_list(joined, items->as.list.n));
}

/** raw_text: the reply's text. */
static bool put_call(Store *store, StoreItem *fixed, const Value *request, uint64_t seed,
                     const Value *reply, Str raw_text, Str path, Err *err)
{
    Value prompt;
    Value rest = request_split(&store->put_arena, request, &prompt);
    Range request_range = put_json(store, &rest);
    Range prompt_range = {0};
    if (prompt.kind == VALUE_LIST) {
        prompt_range = put_json(store, &prompt);
    }
    Range reply_range = put_json(store, reply);
    if (store->put_buf.overflow) {
        return ERR_SET(err, ERR_LIMIT, "a call of more than 64 MiB can not be stored");
    }
    CallItem call = {
        .path = path,
        .request = range_str(store, request_range),
        .prompt = prompt.kind == VALUE_LIST  ? range_str(store, prompt_range)
                  : prompt.kind == VALUE_STR ? prompt.as.str
                                             : STR_EMPTY,
        .reply = range_str(store, reply_range),
        .raw_text = utf8_is_valid(raw_text) ? STR_EMPTY : raw_text,
        .seed = (int64_t)seed,
        .is_chat = prompt.kind == VALUE_LIST,
    };
    size_t n_bytes = sizeof(StoreItem) + fixed->sample_id.len + call.path.len + call.request.len +
                     call.prompt.len + call.reply.len + call.raw_text.len;
    fixed->n_bytes = round_up_16(n_bytes);
    StoreItem *item = store_queue_lock_room(store, fixed->n_bytes);
    if (item == NULL) {
        *err = store->first_error;
        return false;
    }
    *item = *fixed;
    Packer packer = {(char *)(item + 1)};
    item->sample_id = pack(&packer, fixed->sample_id);
    call.path = pack(&packer, call.path);
    call.request = pack(&packer, call.request);
    call.prompt = pack(&packer, call.prompt);
    call.reply = pack(&packer, call.reply);
    call.raw_text = pack(&packer, call.raw_text);
    item->as.call = call;
    store_queue_unlock_put(store, item);
    return true;
}

static StoreItem call_item(int64_t run_id, Str sample_id, int64_t epoch)
{
    return (StoreItem){
        .is_call = true,
        .run_id = run_id,
        .epoch = epoch,
        .sample_id = sample_id,
        .hash = attempt_hash(run_id, sample_id, epoch),
    };
}

bool store_put_call(Store *store, int64_t run_id, Str sample_id, int64_t epoch, Str path,
                    const Request *request, const Reply *reply, Err *err)
{
    if (is_refused(store, err)) {
        return false;
    }
    StoreItem fixed = call_item(run_id, sample_id, epoch);
    put_begin(store);
    Value question = request_to_value(&store->put_arena, request);
    Value answer = reply_to_value(&store->put_arena, reply);
    return put_done(
        store, put_call(store, &fixed, &question, request->seed, &answer, reply->text, path, err));
}

bool store_put_stored_call(Store *store, int64_t run_id, Str sample_id, int64_t epoch, Str path,
                           uint64_t seed, const Value *request, const Value *reply, Err *err)
{
    if (is_refused(store, err)) {
        return false;
    }
    StoreItem fixed = call_item(run_id, sample_id, epoch);
    put_begin(store);
    return put_done(store, put_call(store, &fixed, request, seed, reply,
                                    value_get_str(reply, "text", STR_EMPTY), path, err));
}

// ---- Closings -----------------------------------------------------------------------------------

/** A real as JSON; the words of reply_to_value for what JSON lacks, null for NaN. */
static Value real_value(double d)
{
    if (isnan(d)) {
        return value_null();
    }
    return isinf(d) ? value_str(d > 0 ? STR("inf") : STR("-inf")) : value_real(d);
}

/** The texts alone, of a reply that scored none of them: what its letters stand for. */
static Range put_choice_texts(Store *store, const AttemptRow *row)
{
    Arena *arena = &store->put_arena;
    Value *infos = ARENA_ARRAY(arena, Value, row->n_choice_texts);
    for (size_t i = 0; i < row->n_choice_texts; i++) {
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("text"), value_str(row->choice_texts[i]));
        infos[i] = map_builder_done(&map);
    }
    Value list = value_list(infos, row->n_choice_texts);
    return put_json(store, &list);
}

/** The two JSON lists about choices: the exact log-probabilities, and all else. */
static void put_choices(Store *store, const AttemptRow *row, Range *out_logprobs, Range *out_info)
{
    Arena *arena = &store->put_arena;
    Value *logprobs = ARENA_ARRAY(arena, Value, row->n_choices);
    Value *infos = ARENA_ARRAY(arena, Value, row->n_choices);
    for (size_t i = 0; i < row->n_choices; i++) {
        const ChoiceLogprob *choice = &row->choices[i];
        MapBuilder map;
        map_builder_init(&map, arena);
        if (row->choice_texts != NULL) {
            map_builder_put(&map, STR("text"), value_str(row->choice_texts[i]));
        }
        if (!isnan(choice->unconditional)) {
            map_builder_put(&map, STR("unconditional"), real_value(choice->unconditional));
        }
        map_builder_put(&map, STR("tokens"), value_int(choice->n_tokens));
        map_builder_put(&map, STR("greedy"), value_bool(choice->greedy));
        logprobs[i] = real_value(choice->logprob);
        infos[i] = map_builder_done(&map);
    }
    Value list = value_list(logprobs, row->n_choices);
    *out_logprobs = put_json(store, &list);
    list = value_list(infos, row->n_choices);
    *out_info = put_json(store, &list);
}

/** The scores that are stored, without their place in the queue yet. */
static bool scores_to_items(Store *store, const AttemptRow *row, ScoreItem **out, size_t *out_n,
                            size_t *out_bytes, Err *err)
{
    size_t n_given = row->state == ATTEMPT_DONE ? row->n_scores : 0;
    ScoreItem *items = ARENA_ARRAY(&store->put_arena, ScoreItem, n_given);
    Range *details = ARENA_ARRAY(&store->put_arena, Range, n_given);
    size_t n = 0;
    for (size_t i = 0; i < n_given; i++) {
        const Score *score = &row->scores[i];
        if (score->state == SCORE_ABSENT) {
            continue;
        }
        bool unscored = score->state == SCORE_UNSCORED;
        if ((!unscored && !isfinite(score->value)) || !isfinite(score->weight) ||
            !(score->weight > 0)) {
            return ERR_SET(err, ERR_INTERNAL,
                           "grader '" STR_FMT "': value %g, weight %g can not be stored",
                           STR_ARG(score->grader), score->value, score->weight);
        }
        if (score->detail.kind != VALUE_NULL) {
            details[n] = put_json(store, &score->detail);
        }
        items[n++] = (ScoreItem){
            .grader = score->grader,
            .answer = score->has_answer ? score->answer : STR_EMPTY,
            .why = score->why,
            .reason = unscored ? score->reason : STR_EMPTY,
            .value = score->value == 0 ? 0 : score->value, // no -0
            .weight = score->weight,
            .position = (int64_t)i,
            .unscored = unscored,
            .is_boolean = score->is_boolean,
            .has_answer = score->has_answer,
        };
    }
    size_t n_bytes = n * sizeof(ScoreItem);
    for (size_t i = 0; i < n; i++) {
        items[i].detail = details[i].to > 0 ? range_str(store, details[i]) : STR_EMPTY;
        n_bytes += items[i].grader.len + items[i].answer.len + items[i].why.len +
                   items[i].reason.len + items[i].detail.len;
    }
    *out = items;
    *out_n = n;
    *out_bytes = n_bytes;
    return true;
}

#define ATTEMPT_N_TEXTS 10

/** Where the texts of a closing are, in the order they are packed. */
static void attempt_texts(AttemptItem *attempt, Str *out[ATTEMPT_N_TEXTS])
{
    Str *texts[ATTEMPT_N_TEXTS] = {
        &attempt->input,       &attempt->target, &attempt->metadata,   &attempt->cluster,
        &attempt->prompt,      &attempt->error,  &attempt->reply_text, &attempt->choice_logprobs,
        &attempt->choice_info, &attempt->notes,
    };
    memcpy(out, texts, sizeof(texts));
}

static void pack_attempt(Packer *packer, AttemptItem *attempt, const ScoreItem *scores)
{
    ScoreItem *copies = (ScoreItem *)(void *)packer->at;
    packer->at += attempt->n_scores * sizeof(*copies);
    for (size_t i = 0; i < attempt->n_scores; i++) {
        copies[i] = scores[i];
        copies[i].grader = pack(packer, scores[i].grader);
        copies[i].answer = pack(packer, scores[i].answer);
        copies[i].why = pack(packer, scores[i].why);
        copies[i].reason = pack(packer, scores[i].reason);
        copies[i].detail = pack(packer, scores[i].detail);
    }
    attempt->scores = copies;
    Str *texts[ATTEMPT_N_TEXTS];
    attempt_texts(attempt, texts);
    for (size_t i = 0; i < ATTEMPT_N_TEXTS; i++) {
        *texts[i] = pack(packer, *texts[i]);
    }
}

static bool put_attempt(Store *store, StoreItem *fixed, const AttemptRow *row, Err *err)
{
    ScoreItem *scores = NULL;
    size_t n_scores = 0;
    size_t n_bytes = 0;
    Range logprobs = {0};
    Range info = {0};
    if (row->n_choices > 0) {
        put_choices(store, row, &logprobs, &info);
    } else if (row->n_choice_texts > 0) {
        info = put_choice_texts(store, row);
    }
    if (!scores_to_items(store, row, &scores, &n_scores, &n_bytes, err)) {
        return false;
    }
    if (store->put_buf.overflow) {
        return ERR_SET(err, ERR_LIMIT, "scores and choices of more than 64 MiB can not be stored");
    }
    AttemptItem attempt = {
        .key = row->key,
        .sample_hash = row->sample_hash,
        .input = row->input,
        .target = row->target,
        .metadata = row->metadata,
        .cluster = row->cluster,
        .prompt = row->prompt,
        .error = row->state == ATTEMPT_ERROR ? row->error : STR_EMPTY,
        .reply_text = row->reply_text,
        .choice_logprobs = range_str(store, logprobs),
        .choice_info = range_str(store, info),
        .notes = row->notes,
        .state = row->state,
        .error_code = row->error_code,
        .stop = row->stop,
        .usage = row->usage,
        .seconds = row->seconds,
        .cost_usd = row->cost_usd,
        .n_scores = n_scores,
    };
    n_bytes += sizeof(StoreItem) + fixed->sample_id.len;
    Str *texts[ATTEMPT_N_TEXTS];
    attempt_texts(&attempt, texts);
    for (size_t i = 0; i < ATTEMPT_N_TEXTS; i++) {
        n_bytes += texts[i]->len;
    }
    fixed->n_bytes = round_up_16(n_bytes);
    StoreItem *item = store_queue_lock_room(store, fixed->n_bytes);
    if (item == NULL) {
        *err = store->first_error;
        return false;
    }
    *item = *fixed;
    Packer packer = {(char *)(item + 1)};
    pack_attempt(&packer, &attempt, scores);
    item->sample_id = pack(&packer, fixed->sample_id);
    item->as.attempt = attempt;
    store_queue_unlock_put(store, item);
    return true;
}

bool store_put_attempt(Store *store, const AttemptRow *row, Err *err)
{
    if (is_refused(store, err)) {
        return false;
    }
    StoreItem fixed = {
        .run_id = row->run_id,
        .epoch = row->epoch,
        .sample_id = row->sample_id,
        .hash = attempt_hash(row->run_id, row->sample_id, row->epoch),
    };
    put_begin(store);
    return put_done(store, put_attempt(store, &fixed, row, err));
}
