// SPDX-License-Identifier: MIT
// Recorded replies from a JSON Lines file. Each line names the call it answers by up to five keys;
// a key left out matches any, and the line with most keys wins. The file stays mapped; only a hash
// and a place are kept of each line, so that 100,000 lines cost a few megabytes.
#include "sampler/sampler_internal.h"
#include "text/text.h"

#include <inttypes.h>
#include <string.h>

#define FILE_BYTES_MAX (UINT64_C(4) << 30)

/** The keys of a line; the order is that of precedence among lines with equally many keys. */
typedef enum KeyField {
    KEY_ID,
    KEY_EPOCH,
    KEY_CALL,
    KEY_PART,
    KEY_EVAL,
    KEY_FIELDS,
} KeyField;

enum { MASKS = 1 << KEY_FIELDS };

/** What a line or a request is known by; `given` has a bit for each field that counts. */
typedef struct Key {
    unsigned given;
    Str texts[KEY_FIELDS]; // epoch is not a text
    int64_t epoch;
} Key;

/** One line in the table. */
typedef struct Entry {
    uint64_t hash;
    uint32_t line;   // index into spans, plus 1; 0: free
    uint32_t number; // of the line in the file, from 1
} Entry;

/** The open sampler. */
typedef struct Replay {
    Sampler base;
    SamplerHost *host;
    Arena arena;
    Str path;
    FileMap map;
    TextSpan *spans;
    Entry *entries; // open addressing
    size_t n_entries;
    unsigned masks[MASKS]; // those that occur, most specific first
    size_t n_masks;
    Arena scratch;
    SamplerStats stats;
} Replay;

static uint64_t key_hash(const Key *key, unsigned mask)
{
    uint64_t hash = mask + 1;
    for (int field = 0; field < KEY_FIELDS; field++) {
        if ((mask >> field & 1) == 0) {
            continue;
        }
        if (field == KEY_EPOCH) {
            hash = rng_mix(hash ^ (uint64_t)key->epoch);
        } else {
            hash = rng_mix(hash ^ hash_fast(key->texts[field].data, key->texts[field].len));
        }
        hash = hash * 31 + (uint64_t)field;
    }
    return hash;
}

static bool key_equal(const Key *a, const Key *b, unsigned mask)
{
    for (int field = 0; field < KEY_FIELDS; field++) {
        if ((mask >> field & 1) == 0) {
            continue;
        }
        if (field == KEY_EPOCH ? a->epoch != b->epoch : !str_eq(a->texts[field], b->texts[field])) {
            return false;
        }
    }
    return true;
}

static const char *const field_names[KEY_FIELDS] = {[KEY_ID] = "id",
                                                    [KEY_EPOCH] = "epoch",
                                                    [KEY_CALL] = "call",
                                                    [KEY_PART] = "part",
                                                    [KEY_EVAL] = "eval"};

/** Read a line's keys. Ids and calls may be written as numbers. */
static bool key_from_value(Arena *arena, const Value *line, Key *out, Err *err)
{
    *out = (Key){0};
    for (int field = 0; field < KEY_FIELDS; field++) {
        const Value *value = value_get_c(line, field_names[field]);
        if (value == NULL || value->kind == VALUE_NULL) {
            continue;
        }
        bool number = value->kind == VALUE_INT;
        if (field == KEY_EPOCH && number) {
            out->epoch = value->as.integer;
        } else if (field != KEY_EPOCH && value->kind == VALUE_STR) {
            out->texts[field] = value->as.str;
        } else if ((field == KEY_ID || field == KEY_CALL) && number) {
            out->texts[field] = str_printf(arena, "%" PRId64, value->as.integer);
        } else {
            const char *want = field == KEY_EPOCH                     ? "an integer"
                               : field == KEY_ID || field == KEY_CALL ? "text or an integer"
                                                                      : "text";
            return ERR_SET(err, ERR_REPLY, "'%s' has to be %s, not %s", field_names[field], want,
                           value_kind_word(value));
        }
        out->given |= 1u << field;
    }
    return true;
}

static Str line_text(const Replay *replay, size_t line)
{
    const TextSpan *span = &replay->spans[line];
    return (Str){(const char *)replay->map.data + span->from, (size_t)(span->to - span->from)};
}

/** Parse a line, its keys and its reply; everything in arena. */
static bool line_parse(const Replay *replay, size_t line, Arena *arena, Value *out_value, Key *key,
                       Reply *reply, Err *err)
{
    JsonOptions options = {0};
    return json_parse(arena, line_text(replay, line), &options, out_value, NULL, err) &&
           key_from_value(arena, out_value, key, err) &&
           reply_from_value(arena, out_value, reply, err);
}

/** The entry of a key under a mask, or the free place where it belongs. Uses scratch. */
static bool entry_find(Replay *replay, const Key *key, unsigned mask, Entry **out, Err *err)
{
    uint64_t hash = key_hash(key, mask);
    size_t at = (size_t)hash & (replay->n_entries - 1);
    for (;; at = (at + 1) & (replay->n_entries - 1)) {
        Entry *entry = &replay->entries[at];
        *out = entry;
        if (entry->line == 0) {
            return true;
        }
        if (entry->hash != hash) {
            continue;
        }
        ArenaMark mark = arena_mark(&replay->scratch);
        Value value;
        Key other;
        Reply ignored;
        bool ok =
            line_parse(replay, entry->line - 1, &replay->scratch, &value, &other, &ignored, err);
        bool same = ok && other.given == mask && key_equal(key, &other, mask);
        arena_rewind(&replay->scratch, mark);
        if (!ok || same) {
            return ok;
        }
    }
}

static int bits_of(unsigned mask)
{
    return __builtin_popcount(mask);
}

/** Keep masks most specific first; among equals the one with the more telling fields. */
static void mask_note(Replay *replay, unsigned mask)
{
    size_t at = 0;
    while (at < replay->n_masks) {
        unsigned other = replay->masks[at];
        if (other == mask) {
            return;
        }
        unsigned differ = other ^ mask;
        bool before = bits_of(mask) > bits_of(other) ||
                      (bits_of(mask) == bits_of(other) && (mask & (differ & -differ)) != 0);
        if (before) {
            break;
        }
        at++;
    }
    memmove(&replay->masks[at + 1], &replay->masks[at],
            (replay->n_masks - at) * sizeof *replay->masks);
    replay->masks[at] = mask;
    replay->n_masks++;
}

static bool line_add(Replay *replay, size_t line, uint32_t number, Err *err)
{
    Key key;
    Value value;
    Reply reply;
    Entry *entry;
    if (!line_parse(replay, line, &replay->scratch, &value, &key, &reply, err) ||
        !entry_find(replay, &key, key.given, &entry, err)) {
        return false;
    }
    if (entry->line != 0) {
        return ERR_SET(err, ERR_REPLY, "it answers the same call as line %" PRIu32, entry->number);
    }
    *entry =
        (Entry){.hash = key_hash(&key, key.given), .line = (uint32_t)line + 1, .number = number};
    mask_note(replay, key.given);
    return true;
}

static bool lines_index(Replay *replay, Err *err)
{
    Str text = {(const char *)replay->map.data, replay->map.len};
    size_t n;
    if (!jsonl_index(&replay->arena, text, &replay->spans, &n, err)) {
        return false;
    }
    replay->n_entries = 16;
    while (replay->n_entries < n * 2) {
        replay->n_entries *= 2;
    }
    replay->entries = mem_zalloc(replay->n_entries, sizeof *replay->entries);
    uint32_t number = 1;
    uint64_t counted = 0; // bytes whose line breaks are in number
    for (size_t i = 0; i < n; i++) {
        const char *from = text.data + counted;
        const char *to = text.data + replay->spans[i].from;
        for (; (from = memchr(from, '\n', (size_t)(to - from))) != NULL; from++) {
            number++;
        }
        counted = replay->spans[i].from;
        bool ok = line_add(replay, i, number, err);
        arena_reset(&replay->scratch);
        if (!ok) {
            return ERR_WRAP(err, STR_FMT ", line %" PRIu32, STR_ARG(replay->path), number);
        }
    }
    replay->base.description =
        str_printf(&replay->arena, "%zu recorded replies of " STR_FMT, n, STR_ARG(replay->path));
    return true;
}

static void replay_close(Sampler *sampler)
{
    Replay *replay = (Replay *)sampler;
    file_map_close(&replay->map);
    mem_free(replay->entries);
    arena_finish(&replay->scratch);
    arena_finish(&replay->arena);
    mem_free(replay);
}

static bool replay_open(const Model *model, SamplerHost *host, Sampler **out, Err *err)
{
    if (model->path.len == 0) {
        return ERR_SET(err, ERR_MODEL, "'" STR_FMT "' names no file of recorded replies",
                       STR_ARG(model->spec));
    }
    Replay *replay = mem_zalloc(1, sizeof *replay);
    replay->base = (Sampler){.ops = &sampler_replay,
                             .caps = CAP_CHAT | CAP_TEXT | CAP_LOGLIK | CAP_SEED | CAP_GRAMMAR,
                             .max_in_flight = 256};
    replay->host = host;
    arena_init(&replay->arena, 0);
    arena_init(&replay->scratch, 0);
    replay->path = str_copy(&replay->arena, model->path);
    bool ok = file_map(model->path, &replay->map, err);
    if (ok && replay->map.len > FILE_BYTES_MAX) {
        ok = ERR_SET(err, ERR_LIMIT, "'" STR_FMT "' is larger than 4 GiB", STR_ARG(model->path));
    }
    ok = ok && lines_index(replay, err);
    if (!ok) {
        replay_close(&replay->base);
        err->code = ERR_MODEL; // whatever it is, there is nothing to run
        return false;
    }
    Hash content = sha256_of((Str){(const char *)replay->map.data, replay->map.len});
    Sha256 sha;
    hash_begin(&sha, STR("muster.replay.1"));
    hash_hash(&sha, &content);
    replay->base.identity = hash_end(&sha);
    *out = &replay->base;
    return true;
}

static bool replay_prepare(Sampler *sampler, const Request *request, Arena *arena, Prepared *out,
                           Err *err)
{
    (void)sampler;
    (void)err;
    return sampler_prepare_plain(request, arena, out);
}

static Key key_of_request(const Request *request)
{
    return (Key){.given = MASKS - 1,
                 .texts = {[KEY_ID] = request->sample_id,
                           [KEY_CALL] = request->call,
                           [KEY_PART] = request->part,
                           [KEY_EVAL] = request->eval},
                 .epoch = request->epoch};
}

static bool reply_missing(const Replay *replay, const Request *request, Err *err)
{
    return ERR_SET(err, ERR_REPLY,
                   STR_FMT " has no reply for eval '" STR_FMT "', part '" STR_FMT "', id '" STR_FMT
                           "', epoch %" PRId64 ", call '" STR_FMT "'",
                   STR_ARG(replay->path), STR_ARG(request->eval), STR_ARG(request->part),
                   STR_ARG(request->sample_id), request->epoch, STR_ARG(request->call));
}

/** Whether a recorded reply can answer the request. */
static bool reply_fits(const Request *request, const Value *line, const Reply *reply, Err *err)
{
    if (request->kind == REQUEST_LOGLIK && reply->n_choices != request->n_items) {
        return ERR_SET(err, ERR_REPLY, "it has %zu choices where %zu are asked for",
                       reply->n_choices, request->n_items);
    }
    bool only_choices = value_get_c(line, "text") == NULL && reply->tool_calls.kind == VALUE_NULL &&
                        reply->refusal.len == 0;
    if (request->kind == REQUEST_GENERATE && only_choices) {
        return ERR_SET(err, ERR_REPLY, "it has choices but no 'text'");
    }
    return true;
}

static bool reply_look_up(Replay *replay, const Request *request, Arena *arena, Reply *out,
                          Err *err)
{
    Key key = key_of_request(request);
    for (size_t i = 0; i < replay->n_masks; i++) {
        Entry *entry;
        if (!entry_find(replay, &key, replay->masks[i], &entry, err)) {
            return false;
        }
        if (entry->line == 0) {
            continue;
        }
        Value line;
        Key ignored;
        if (!line_parse(replay, entry->line - 1, arena, &line, &ignored, out, err) ||
            !reply_fits(request, &line, out, err)) {
            return ERR_WRAP(err, STR_FMT ", line %" PRIu32, STR_ARG(replay->path), entry->number);
        }
        return true;
    }
    return reply_missing(replay, request, err);
}

static bool replay_submit(Sampler *sampler, uint64_t id, const Request *request, Err *err)
{
    Replay *replay = (Replay *)sampler;
    (void)err;
    Completion *completion = completion_create(id);
    replay->stats.requests++;
    Err cause = ERR_INIT;
    if (!reply_look_up(replay, request, &completion->arena, &completion->reply, &cause)) {
        *completion_fail(completion) = cause;
    }
    arena_reset(&replay->scratch);
    queue_push(replay->host->completions, &completion->node);
    return true;
}

static void replay_stats(const Sampler *sampler, SamplerStats *out)
{
    *out = ((const Replay *)sampler)->stats;
}

const SamplerOps sampler_replay = {
    .provider = "replay",
    .help = "recorded replies from a JSON Lines file",
    .open = replay_open,
    .prepare = replay_prepare,
    .submit = replay_submit,
    .stats = replay_stats,
    .close = replay_close,
};
