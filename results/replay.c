// SPDX-License-Identifier: MIT
// The replies that an earlier process stored for an attempt it did not finish: resuming replays
// them instead of asking the model again. Read on a connection of its own, beside the writer's.
#include "results/store_internal.h"

#include "text/text.h"

#define REPLAY_CALLS 0

static const SqlText replay_sql[] = {
    {"REPLAY_CALLS",
     "SELECT path, reply, raw_text FROM v_call WHERE run_id = ?1 AND sample_id = ?2 "
     "AND epoch = ?3 AND state = 'open' ORDER BY path"},
};

static bool reader_open(Store *store, Err *err)
{
    if (store->reader_open) {
        return true;
    }
    if (!db_open_reader(&store->reader, store->path, err) ||
        !db_prepare(&store->reader, replay_sql, 1, err)) {
        db_close(&store->reader);
        return false;
    }
    store->reader_open = true;
    return true;
}

static bool reply_read(sqlite3_stmt *row, Arena *arena, Str *out_path, Reply *out, Err *err)
{
    Value value;
    *out_path = column_copy(row, 0, arena);
    if (!column_json(row, 1, arena, &value, err) || !reply_from_value(arena, &value, out, err)) {
        err->code = ERR_STORE;
        return ERR_WRAP(err, "stored call '" STR_FMT "'", STR_ARG(*out_path));
    }
    if (!column_is_null(row, 2)) {
        out->text = column_copy(row, 2, arena);
    }
    return true;
}

/** Replies as they are read, before their number is known. */
typedef struct ReplyNode {
    Str path;
    Reply reply;
    struct ReplyNode *next;
} ReplyNode;

static bool replies_read(Store *store, Arena *arena, ReplyNode **out, size_t *out_n, Err *err)
{
    sqlite3_stmt *row = store->reader.statements[REPLAY_CALLS];
    ReplyNode **last = out;
    *out = NULL;
    *out_n = 0;
    for (;;) {
        bool more;
        if (!db_step(&store->reader, REPLAY_CALLS, &more, err)) {
            return false;
        }
        if (!more) {
            return true;
        }
        ReplyNode *node = ARENA_NEW(arena, ReplyNode);
        if (!reply_read(row, arena, &node->path, &node->reply, err)) {
            sqlite3_reset(row);
            return false;
        }
        *last = node;
        last = &node->next;
        ++*out_n;
    }
}

bool store_attempt_calls(Store *store, int64_t run_id, Str sample_id, int64_t epoch, Arena *arena,
                         Str **out_paths, Reply **out_replies, size_t *out_n, Err *err)
{
    ReplyNode *node = NULL;
    size_t n = 0;
    if (hash_set_has(&store->open, attempt_hash(run_id, sample_id, epoch))) {
        if (!reader_open(store, err)) {
            return false;
        }
        sqlite3_stmt *row = db_statement(&store->reader, REPLAY_CALLS);
        bind_i64(row, 1, run_id);
        bind_str(row, 2, sample_id);
        bind_i64(row, 3, epoch);
        if (!replies_read(store, arena, &node, &n, err)) {
            return false;
        }
    }
    *out_paths = ARENA_ARRAY(arena, Str, n);
    *out_replies = ARENA_ARRAY(arena, Reply, n);
    *out_n = n;
    for (size_t i = 0; node != NULL; node = node->next, i++) {
        (*out_paths)[i] = node->path;
        (*out_replies)[i] = node->reply;
    }
    return true;
}
