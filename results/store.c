// SPDX-License-Identifier: MIT
// Opening and closing the store, its transactions and its first error. Experiments begin and end in
// begin.c; attempts travel through put.c, queue.c and writer.c.
#include "results/store_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const SqlText store_sql[] = {
#define X(name, sql) {#name, sql},
#include "results/store_sql.def"
#undef X
};
_Static_assert(sizeof(store_sql) / sizeof(store_sql[0]) == STORE_SQL_COUNT, "one text a statement");

// ---- Transactions -------------------------------------------------------------------------------

bool store_begin(Store *store, Err *err)
{
    if (!store_lock_take(&store->lock, err)) {
        return false;
    }
    if (!db_begin(&store->db, err)) {
        store_lock_release(&store->lock);
        return false;
    }
    return true;
}

bool store_commit(Store *store, Err *err)
{
    bool ok = db_exec(&store->db, "COMMIT", err);
    if (!ok) {
        store_rollback(store);
        return false;
    }
    store_lock_release(&store->lock);
    return true;
}

void store_rollback(Store *store)
{
    // After some errors SQLite has rolled back already; then this one fails, which is fine.
    for (size_t i = 0; i < store->db.n_statements; i++) {
        sqlite3_reset(store->db.statements[i]);
    }
    sqlite3_exec(store->db.handle, "ROLLBACK", NULL, NULL, NULL);
    store_lock_release(&store->lock);
}

void store_fail(Store *store, const Err *err)
{
    pthread_mutex_lock(&store->queue.mutex);
    if (!atomic_load(&store->failed)) {
        store->first_error = *err;
        atomic_store(&store->failed, true);
    }
    pthread_cond_broadcast(&store->queue.space);
    pthread_mutex_unlock(&store->queue.mutex);
}

// ---- Opening and closing ------------------------------------------------------------------------

static int note_wal_pages(void *context, sqlite3 *handle, const char *name, int n_pages)
{
    (void)handle;
    (void)name;
    ((Store *)context)->wal_pages = n_pages;
    return SQLITE_OK;
}

static bool open_db(Store *store, Err *err)
{
    DbFile kind;
    if (!db_file_check(store->path, &kind, err)) {
        return false;
    }
    if (kind == DB_FILE_NONE && !file_make_dirs(path_dir(str_from_c(store->path)), err)) {
        err->code = ERR_STORE;
        return ERR_WRAP(err, "store '%s'", store->path);
    }
    if (!store_lock_open(&store->lock, store->path, err) || !store_lock_take(&store->lock, err)) {
        return false;
    }
    bool ok = db_open_writer(&store->db, store->path, err) &&
              db_prepare(&store->db, store_sql, STORE_SQL_COUNT, err);
    store_lock_release(&store->lock);
    if (ok) {
        sqlite3_wal_hook(store->db.handle, note_wal_pages, store);
    }
    return ok;
}

/** The writer takes no signals: those are for the program's main thread. */
static bool start_writer(Store *store, Err *err)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&store->thread, NULL, store_writer_main, store);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        return ERR_SET(err, ERR_ENVIRONMENT, "can not start the store's writer thread: %s",
                       strerror(rc));
    }
    store->thread_started = true;
    return true;
}

bool store_open(const StoreOptions *options, Store **out, Err *err)
{
    Store *store = mem_zalloc(1, sizeof(*store));
    store->path = db_path(&store->arena, options->path);
    store->on_committed = options->on_committed;
    store->ctx = options->ctx;
    store->lock = (StoreLock){.lock_fd = -1, .turn_fd = -1};
    store->checkpoint_at_pages = CHECKPOINT_PAGES;
    store->group = mem_alloc(1, sizeof(*store->group));
    pthread_mutex_init(&store->db_mutex, NULL);
    pthread_mutex_init(&store->put_mutex, NULL);
    if (!store_queue_init(&store->queue)) {
        abort(); // only for want of memory, which aborts everywhere
    }
    if (!open_db(store, err) || !start_writer(store, err)) {
        store_close(store);
        return false;
    }
    *out = store;
    return true;
}

static void stop_writer(Store *store)
{
    pthread_mutex_lock(&store->queue.mutex);
    store->queue.stop = true;
    pthread_cond_signal(&store->queue.work);
    pthread_mutex_unlock(&store->queue.mutex);
    pthread_join(store->thread, NULL);
}

/** Close the connection; with the lock held, SQLite may move the WAL into the file and remove it.
 */
static void close_db(Store *store)
{
    Err err = ERR_INIT;
    bool locked = store->lock.lock_fd >= 0 && store_lock_take(&store->lock, &err);
    if (!locked && store->db.handle != NULL) {
        sqlite3_db_config(store->db.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    db_close(&store->db);
    if (locked) {
        store_lock_release(&store->lock);
    }
    store_lock_close(&store->lock);
}

void store_close(Store *store)
{
    if (store == NULL) {
        return;
    }
    if (store->thread_started) {
        stop_writer(store);
    }
    if (store->reader_open) {
        db_close(&store->reader);
    }
    close_db(store);
    for (OpenExperiment *e = store->experiments; e != NULL; e = e->next) {
        experiment_lock_release(store->path, str_from_c(e->short_id), e->lock_fd);
    }
    hash_set_finish(&store->done);
    hash_set_finish(&store->open);
    store_queue_finish(&store->queue);
    pthread_mutex_destroy(&store->db_mutex);
    pthread_mutex_destroy(&store->put_mutex);
    arena_finish(&store->put_arena);
    buf_finish(&store->put_buf);
    mem_free(store->group);
    mem_free(store->runs);
    arena_finish(&store->arena);
    mem_free(store);
}

bool store_ok(const Store *store, Err *err)
{
    if (atomic_load(&store->failed)) {
        *err = store->first_error;
        return false;
    }
    return true;
}

bool store_flush(Store *store, Err *err)
{
    StoreQueue *queue = &store->queue;
    pthread_mutex_lock(&queue->mutex);
    uint64_t wanted = queue->n_put;
    queue->n_urgent++;
    pthread_cond_signal(&queue->work);
    while (queue->n_settled < wanted && !atomic_load(&store->failed)) {
        pthread_cond_wait(&queue->space, &queue->mutex);
    }
    queue->n_urgent--;
    pthread_mutex_unlock(&queue->mutex);
    return store_ok(store, err);
}
