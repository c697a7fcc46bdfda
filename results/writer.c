// SPDX-License-Identifier: MIT
// The writer thread: takes what waits, writes it in transactions of at most 512 attempts, and tells
// the owner of each attempt after the COMMIT that made it durable, never before.
#include "results/store_internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/** An attempt's row as it is in the file. */
typedef struct AttemptFound {
    int64_t id;
    int64_t sample_row; // 0: none
    char state;         // first letter: o, d, e
} AttemptFound;

static int compare_run(const void *key, const void *run)
{
    int64_t id = *(const int64_t *)key;
    int64_t other = ((const OpenRun *)run)->id;
    return (id > other) - (id < other);
}

const OpenRun *store_run_find(const Store *store, int64_t run_id)
{
    return bsearch(&run_id, store->runs, store->n_runs, sizeof(*store->runs), compare_run);
}

// ---- Samples ------------------------------------------------------------------------------------

/** The row that this sample already has in its set of runs; 0 when it has none. */
static bool sample_find(Store *store, const OpenRun *run, const StoreItem *closing, int64_t *out,
                        Err *err)
{
    *out = 0;
    if (run->n_siblings == 1 && run->epochs == 1) {
        return true;
    }
    for (size_t i = 0; i < run->n_siblings && *out == 0; i++) {
        sqlite3_stmt *find = db_statement(&store->db, STORE_SQL_SAMPLE_FIND);
        bind_i64(find, 1, run->siblings[i]);
        bind_str(find, 2, closing->sample_id);
        bind_hash(find, 3, &closing->as.attempt.sample_hash);
        bool found;
        if (!db_step(&store->db, STORE_SQL_SAMPLE_FIND, &found, err)) {
            return false;
        }
        if (found) {
            *out = column_i64(find, 0);
            sqlite3_reset(find);
        }
    }
    return true;
}

static bool sample_insert(Store *store, const OpenRun *run, const StoreItem *closing, int64_t *out,
                          Err *err)
{
    const AttemptItem *attempt = &closing->as.attempt;
    sqlite3_stmt *insert = db_statement(&store->db, STORE_SQL_SAMPLE_INSERT);
    bind_i64(insert, 1, run->set_id);
    bind_str(insert, 2, closing->sample_id);
    bind_hash(insert, 3, &attempt->sample_hash);
    bind_str_or_null(insert, 4, attempt->cluster);
    bind_str(insert, 5, attempt->input);
    bind_str(insert, 6, attempt->target);
    bind_str(insert, 7, attempt->metadata);
    if (!db_run(&store->db, STORE_SQL_SAMPLE_INSERT, err)) {
        return false;
    }
    *out = sqlite3_last_insert_rowid(store->db.handle);
    return true;
}

/** Whether a sample's row has the content that this closing brings. */
static bool sample_is_same(Store *store, int64_t row, const StoreItem *closing, bool *out, Err *err)
{
    sqlite3_stmt *read = db_statement(&store->db, STORE_SQL_SAMPLE_HASH);
    bind_i64(read, 1, row);
    bool found;
    if (!db_step(&store->db, STORE_SQL_SAMPLE_HASH, &found, err)) {
        return false;
    }
    Hash hash = found ? column_hash(read, 0) : (Hash){0};
    sqlite3_reset(read);
    *out = found && hash_eq(&hash, &closing->as.attempt.sample_hash);
    return true;
}

/** The row for this closing's sample; *out_new tells whether it was made just now. */
static bool sample_row(Store *store, const OpenRun *run, const StoreItem *closing, int64_t known,
                       int64_t *out, bool *out_new, Err *err)
{
    *out_new = false;
    if (known != 0) {
        bool same;
        if (!sample_is_same(store, known, closing, &same, err)) {
            return false;
        }
        if (same) {
            *out = known;
            return true;
        }
    }
    if (!sample_find(store, run, closing, out, err)) {
        return false;
    }
    *out_new = *out == 0;
    return !*out_new || sample_insert(store, run, closing, out, err);
}

// ---- Attempts -----------------------------------------------------------------------------------

static bool attempt_find(Store *store, const StoreItem *item, AttemptFound *out, bool *out_found,
                         Err *err)
{
    sqlite3_stmt *find = db_statement(&store->db, STORE_SQL_ATTEMPT_FIND);
    bind_i64(find, 1, item->run_id);
    bind_str(find, 2, item->sample_id);
    bind_i64(find, 3, item->epoch);
    if (!db_step(&store->db, STORE_SQL_ATTEMPT_FIND, out_found, err)) {
        return false;
    }
    if (*out_found) {
        Str state = column_str(find, 1);
        out->id = column_i64(find, 0);
        out->state = state.len > 0 ? state.data[0] : '?';
        out->sample_row = column_i64(find, 2);
        sqlite3_reset(find);
    }
    return true;
}

/** Bind what ATTEMPT_CLOSED and ATTEMPT_CLOSE have in common. */
static void bind_closing(sqlite3_stmt *statement, const GroupEntry *entry, int64_t sample,
                         int64_t now_ms)
{
    const StoreItem *closing = entry->closing;
    const AttemptItem *attempt = &closing->as.attempt;
    bool failed = attempt->state == ATTEMPT_ERROR;
    bind_i64(statement, 1, closing->run_id);
    bind_str(statement, 2, closing->sample_id);
    bind_i64(statement, 3, closing->epoch);
    bind_str(statement, 4, failed ? STR("error") : STR("done"));
    bind_i64(statement, 5, sample);
    bind_i64(statement, 6, now_ms);
    if (failed) {
        ErrCode code = attempt->error_code == ERR_NONE ? ERR_INTERNAL : attempt->error_code;
        bind_str(statement, 7, str_from_c(err_code_word(code)));
        bind_str(statement, 8, attempt->error);
        bind_null(statement, 9);
    } else {
        bind_null(statement, 7);
        bind_null(statement, 8);
        bind_str(statement, 9, str_from_c(stop_reason_word(attempt->stop)));
    }
    bind_i64(statement, 10, attempt->usage.input);
    bind_i64(statement, 11, attempt->usage.output);
    bind_i64(statement, 12, attempt->usage.cached);
    bind_i64(statement, 13, attempt->usage.reasoning);
    bind_f64(statement, 14, attempt->seconds);
    bind_f64(statement, 15, attempt->cost_usd);
    bind_hash(statement, 16, &entry->prompt_hash);
    bind_hash(statement, 17, &entry->reply_hash);
    bind_str_or_null(statement, 18, attempt->choice_logprobs);
    bind_str_or_null(statement, 19, attempt->choice_info);
    bind_str_or_null(statement, 20, attempt->notes);
    bind_str(statement, 21, attempt->reply_text);
    bind_str(statement, 22, attempt->prompt);
}

/** Insert the row; *out_id is 0 when the attempt has one already. */
static bool attempt_insert(Store *store, const OpenRun *run, const GroupEntry *entry,
                           const StoreItem *item, int64_t now_ms, int64_t *out_id, Err *err)
{
    int64_t sample = 0;
    bool sample_is_new = false;
    int index = STORE_SQL_ATTEMPT_OPEN;
    if (entry->closing != NULL) {
        index = STORE_SQL_ATTEMPT_CLOSED;
        if (!sample_row(store, run, entry->closing, 0, &sample, &sample_is_new, err)) {
            return false;
        }
        bind_closing(db_statement(&store->db, index), entry, sample, now_ms);
    } else {
        sqlite3_stmt *insert = db_statement(&store->db, index);
        bind_i64(insert, 1, item->run_id);
        bind_str(insert, 2, item->sample_id);
        bind_i64(insert, 3, item->epoch);
    }
    if (!db_run(&store->db, index, err)) {
        return false;
    }
    if (sqlite3_changes(store->db.handle) > 0) {
        *out_id = sqlite3_last_insert_rowid(store->db.handle);
        return true;
    }
    *out_id = 0;
    if (sample_is_new) {
        bind_i64(db_statement(&store->db, STORE_SQL_SAMPLE_DELETE), 1, sample);
        return db_run(&store->db, STORE_SQL_SAMPLE_DELETE, err);
    }
    return true;
}

static bool run_with_id(Store *store, int index, int64_t id, Err *err)
{
    bind_i64(db_statement(&store->db, index), 1, id);
    return db_run(&store->db, index, err);
}

/** Bring an existing row to what the entry says; an error starts afresh. */
static bool attempt_update(Store *store, const OpenRun *run, const GroupEntry *entry,
                           const AttemptFound *found, int64_t now_ms, Err *err)
{
    if (found->state == 'e' && (!run_with_id(store, STORE_SQL_SCORES_DELETE, found->id, err) ||
                                !run_with_id(store, STORE_SQL_CALLS_DELETE, found->id, err))) {
        return false;
    }
    if (entry->closing == NULL) {
        return found->state != 'e' || run_with_id(store, STORE_SQL_ATTEMPT_REOPEN, found->id, err);
    }
    int64_t sample = 0;
    bool sample_is_new;
    if (!sample_row(store, run, entry->closing, found->sample_row, &sample, &sample_is_new, err)) {
        return false;
    }
    sqlite3_stmt *update = db_statement(&store->db, STORE_SQL_ATTEMPT_CLOSE);
    bind_closing(update, entry, sample, now_ms);
    bind_i64(update, 23, found->id);
    return db_run(&store->db, STORE_SQL_ATTEMPT_CLOSE, err);
}

static bool scores_insert(Store *store, int64_t attempt_id, const AttemptItem *attempt, Err *err)
{
    for (size_t i = 0; i < attempt->n_scores; i++) {
        const ScoreItem *score = &attempt->scores[i];
        sqlite3_stmt *insert = db_statement(&store->db, STORE_SQL_SCORE_INSERT);
        bind_i64(insert, 1, attempt_id);
        bind_i64(insert, 2, score->position);
        bind_str(insert, 3, score->grader);
        if (score->unscored) {
            bind_null(insert, 4);
            bind_str(insert, 5, score->reason);
        } else {
            bind_f64(insert, 4, score->value);
            bind_null(insert, 5);
        }
        bind_i64(insert, 6, score->is_boolean);
        bind_f64(insert, 7, score->weight);
        if (score->has_answer) {
            bind_str(insert, 8, score->answer);
        } else {
            bind_null(insert, 8);
        }
        bind_str(insert, 9, score->why);
        bind_str_or_null(insert, 10, score->detail);
        if (!db_run(&store->db, STORE_SQL_SCORE_INSERT, err)) {
            return false;
        }
    }
    return true;
}

/** The request's hash: of all of it, whatever part of it lies in the attempt's row. */
static Hash call_hash(const CallItem *call, const Hash *prompt_hash)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.call.1"));
    hash_str(&sha, call->request);
    hash_bool(&sha, call->is_chat);
    hash_hash(&sha, prompt_hash);
    return hash_end(&sha);
}

static bool call_insert(Store *store, int64_t attempt_id, const CallItem *call,
                        const GroupEntry *entry, Err *err)
{
    bool shared = entry->closing != NULL && str_eq(call->prompt, entry->closing->as.attempt.prompt);
    Hash prompt_hash = shared ? entry->prompt_hash : sha256_of(call->prompt);
    Hash hash = call_hash(call, &prompt_hash);
    sqlite3_stmt *insert = db_statement(&store->db, STORE_SQL_CALL_INSERT);
    bind_i64(insert, 1, attempt_id);
    bind_str(insert, 2, call->path);
    bind_i64(insert, 3, call->seed);
    bind_hash(insert, 4, &hash);
    bind_i64(insert, 5, call->is_chat);
    bind_str(insert, 6, call->request);
    if (shared) {
        bind_null(insert, 7);
    } else {
        bind_str(insert, 7, call->prompt);
    }
    bind_str(insert, 8, call->reply);
    bind_str_or_null(insert, 9, call->raw_text);
    return db_run(&store->db, STORE_SQL_CALL_INSERT, err);
}

/** Write everything that this group has for one attempt. */
static bool entry_write(Store *store, const Group *group, GroupEntry *entry, int64_t now_ms,
                        Err *err)
{
    if (entry->closing != NULL) {
        entry->prompt_hash = sha256_of(entry->closing->as.attempt.prompt);
        entry->reply_hash = sha256_of(entry->closing->as.attempt.reply_text);
    }
    const StoreItem *item =
        entry->closing != NULL ? entry->closing : group->items[entry->first_item - 1];
    const OpenRun *run = store_run_find(store, item->run_id);
    if (run == NULL) {
        return ERR_SET(err, ERR_INTERNAL, "run %lld is not open for writing",
                       (long long)item->run_id);
    }
    AttemptFound found = {0};
    bool exists = false;
    if (run->resumed && !attempt_find(store, item, &found, &exists, err)) {
        return false;
    }
    int64_t id = found.id;
    if (!exists && !attempt_insert(store, run, entry, item, now_ms, &id, err)) {
        return false;
    }
    if (id == 0 && !attempt_find(store, item, &found, &exists, err)) {
        return false;
    }
    if (exists) {
        if (found.state == 'd') {
            return true; // closed before: what is stored stays
        }
        id = found.id;
        if (!attempt_update(store, run, entry, &found, now_ms, err)) {
            return false;
        }
    }
    for (uint32_t at = entry->first_item; at != 0; at = group->next_item[at - 1]) {
        const StoreItem *call = group->items[at - 1];
        if (call->is_call && !call_insert(store, id, &call->as.call, entry, err)) {
            return false;
        }
    }
    return entry->closing == NULL || scores_insert(store, id, &entry->closing->as.attempt, err);
}

// ---- Groups -------------------------------------------------------------------------------------

static void group_clear(Group *group)
{
    memset(group->table, 0, sizeof(group->table));
    group->n_items = 0;
    group->n_entries = 0;
    group->n_closings = 0;
}

static bool same_attempt(const StoreItem *a, const StoreItem *b)
{
    return a->hash == b->hash && a->run_id == b->run_id && a->epoch == b->epoch &&
           str_eq(a->sample_id, b->sample_id);
}

static GroupEntry *group_entry(Group *group, const StoreItem *item)
{
    size_t mask = sizeof(group->table) / sizeof(group->table[0]) - 1;
    size_t at = item->hash & mask;
    while (group->table[at] != 0) {
        GroupEntry *entry = &group->entries[group->table[at] - 1];
        if (same_attempt(group->items[entry->first_item - 1], item)) {
            return entry;
        }
        at = (at + 1) & mask;
    }
    GroupEntry *entry = &group->entries[group->n_entries++];
    *entry = (GroupEntry){0};
    group->table[at] = (uint16_t)group->n_entries;
    return entry;
}

/** False when the attempt is closed in this group already: what follows belongs to the next one. */
static bool group_add(Group *group, const StoreItem *item)
{
    GroupEntry *entry = group_entry(group, item);
    if (entry->closing != NULL) {
        return false;
    }
    group->items[group->n_items] = item;
    group->next_item[group->n_items] = 0;
    uint32_t index = (uint32_t)++group->n_items;
    if (entry->first_item == 0) {
        entry->first_item = index;
    } else {
        group->next_item[entry->last_item - 1] = index;
    }
    entry->last_item = index;
    if (!item->is_call) {
        group->n_closings++;
        entry->closing = item;
    }
    return true;
}

static bool group_is_full(const Group *group)
{
    return group->n_closings == GROUP_MAX_ATTEMPTS || group->n_items == GROUP_MAX_ITEMS;
}

/** Copy the WAL back into the file once it has grown; failure only means that it stays longer. */
static void checkpoint_if_due(Store *store)
{
    if (store->wal_pages < store->checkpoint_at_pages) {
        return;
    }
    Err err = ERR_INIT;
    if (!store_lock_take(&store->lock, &err)) {
        return;
    }
    int n_log = 0;
    int n_done = 0;
    sqlite3_wal_checkpoint_v2(store->db.handle, NULL, SQLITE_CHECKPOINT_PASSIVE, &n_log, &n_done);
    store_lock_release(&store->lock);
    // Pages that a reader still needs stay; try again after as many more.
    int n_left = n_log > n_done ? n_log - n_done : 0;
    store->checkpoint_at_pages = (n_left > 0 ? n_log : 0) + CHECKPOINT_PAGES;
    store->wal_pages = 0;
}

static bool group_write(Store *store, Group *group, Err *err)
{
    int64_t now_ms = clock_wall_ms();
    pthread_mutex_lock(&store->db_mutex);
    bool ok = store_begin(store, err);
    if (ok) {
        for (size_t i = 0; ok && i < group->n_entries; i++) {
            ok = entry_write(store, group, &group->entries[i], now_ms, err);
        }
        if (ok) {
            ok = store_commit(store, err);
        } else {
            store_rollback(store);
        }
    }
    if (ok) {
        checkpoint_if_due(store);
    }
    pthread_mutex_unlock(&store->db_mutex);
    return ok;
}

/** Write a group, tell who waits for it, and forget it. */
static void group_settle(Store *store, Group *group)
{
    size_t n_bytes = 0;
    Err err = ERR_INIT;
    bool ok = !atomic_load(&store->failed) && group->n_items > 0;
    if (ok && !group_write(store, group, &err)) {
        store_fail(store, &err);
        ok = false;
    }
    for (size_t i = 0; i < group->n_items; i++) {
        const StoreItem *item = group->items[i];
        n_bytes += item->n_bytes;
        if (ok && !item->is_call && store->on_committed != NULL) {
            store->on_committed(store->ctx, item->as.attempt.key);
        }
    }
    store_queue_settle(&store->queue, group->n_items, n_bytes);
    group_clear(group);
}

static void segments_write(Store *store, Segment *segment)
{
    Group *group = store->group;
    Segment *oldest = segment; // first one whose items may still be in the group
    group_clear(group);
    for (; segment != NULL; segment = segment->next) {
        for (size_t at = 0; at < segment->used_bytes;) {
            const StoreItem *item = (const StoreItem *)(const void *)(segment->data + at);
            at += item->n_bytes;
            if (!group_add(group, item)) {
                group_settle(store, group);
                group_add(group, item);
            }
            if (group_is_full(group)) {
                group_settle(store, group);
                while (oldest != segment) {
                    Segment *next = oldest->next;
                    store_queue_recycle(&store->queue, oldest);
                    oldest = next;
                }
            }
        }
    }
    group_settle(store, group);
    while (oldest != NULL) {
        Segment *next = oldest->next;
        store_queue_recycle(&store->queue, oldest);
        oldest = next;
    }
}

void *store_writer_main(void *context)
{
    Store *store = context;
    Segment *segment;
    while ((segment = store_queue_take(&store->queue)) != NULL) {
        segments_write(store, segment);
    }
    return NULL;
}
