// SPDX-License-Identifier: MIT
// Merging: shards of a run become what one process would have made; merging again changes no byte;
// what does not belong together is refused and nothing of it is written.
#include "fixture_sql.h"

#include "results/merge.h"
#include "results/store_internal.h"

#define N_SAMPLES 12
#define N_EPOCHS  2
#define N_MODELS  2

/** What a store of one process is filled with. */
typedef struct Filling {
    const char *name;
    int64_t k; // shard; n 0: all of it
    int64_t n;
    int64_t seed;
    int64_t limit;     // samples that get done; 0: all of the shard
    const char *reply; // of every sample, NULL: its own
    bool fails;        // samples end in an error
    bool open;         // only calls
    bool stays_open;   // the experiment is not ended
    bool resume;
} Filling;

static Value shard_value(Arena *arena, int64_t k, int64_t n)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("k"), value_int(k));
    map_builder_put(&map, STR("n"), value_int(n));
    return map_builder_done(&map);
}

static RunSpec run_of_filling(Arena *arena, const char *model, int64_t n_planned)
{
    RunSpec run = run_make(arena, "", model);
    run.epochs = N_EPOCHS;
    run.n_planned = n_planned;
    MapBuilder spec;
    map_builder_init(&spec, arena);
    map_builder_put(&spec, STR("model"), value_str(run.model));
    map_builder_put(&spec, STR("n_planned"), value_int(n_planned));
    run.spec = map_builder_done(&spec);
    return run;
}

static bool takes(const Filling *filling, int64_t i)
{
    return filling->n == 0 || i % filling->n == filling->k - 1;
}

static void attempt_fill(Arena *arena, Store *store, const Filling *filling, int64_t run_id,
                         int64_t i, int64_t epoch)
{
    Err err = ERR_INIT;
    AttemptRow row = attempt_make(arena, run_id, i, epoch, i % 3 == 0 ? 0 : 1);
    if (filling->reply != NULL) {
        row.reply_text = str_from_c(filling->reply);
    }
    if (filling->fails) {
        row.state = ATTEMPT_ERROR;
        row.error_code = ERR_TIMEOUT;
        row.error = STR("too slow");
        row.reply_text = STR_EMPTY;
    }
    CHECK_OK(call_put(store, &row, "0", &err), &err);
    if (!filling->open) {
        CHECK_OK(store_put_attempt(store, &row, &err), &err);
    }
}

/** Make a store, or go on with it. */
static void fill_store(Arena *arena, const Place *place, const Filling *filling)
{
    Err err = ERR_INIT;
    int64_t n_taken = 0;
    for (int64_t i = 0; i < N_SAMPLES; i++) {
        n_taken += takes(filling, i);
    }
    RunSpec runs[N_MODELS];
    runs[0] = run_of_filling(arena, "echo/a", n_taken * N_EPOCHS);
    runs[1] = run_of_filling(arena, "echo/b", n_taken * N_EPOCHS);
    ExperimentSpec spec =
        experiment_make(arena, str_from_c(filling->name), filling->seed, runs, N_MODELS);
    if (filling->n > 0) {
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("settings"), spec.spec.as.map.pairs[0].value);
        map_builder_put(&map, STR("shard"), shard_value(arena, filling->k, filling->n));
        spec.spec = map_builder_done(&map);
    }
    Store *store = store_at(place, NULL, NULL);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, arena, &spec,
                                    filling->resume ? RESUME_IF_THERE : RESUME_NO, &open, &err),
             &err);
    int64_t n_done = 0;
    for (int64_t i = 0; i < N_SAMPLES; i++) {
        if (!takes(filling, i) || (filling->limit > 0 && n_done++ >= filling->limit)) {
            continue;
        }
        for (int64_t epoch = 1; epoch <= N_EPOCHS; epoch++) {
            for (size_t m = 0; m < N_MODELS; m++) {
                attempt_fill(arena, store, filling, open.run_ids[m], i, epoch);
            }
        }
    }
    CHECK_OK(store_flush(store, &err), &err);
    if (!filling->stays_open) {
        CHECK_OK(store_experiment_end(store, open.id, STR("finished"), NULL, &err), &err);
    }
    store_close(store);
}

/** A folder with the stores of n shards, and one for what comes of them. */
typedef struct Cluster {
    Arena arena;
    Place out;
    Place shards[4];
    Str paths[8];
    size_t n;
} Cluster;

static void cluster_make(Cluster *cluster, size_t n)
{
    *cluster = (Cluster){.out = place_make(), .n = n};
    for (size_t i = 0; i < n; i++) {
        cluster->shards[i] = place_make();
        cluster->paths[i] = str_from_c(cluster->shards[i].db);
        Str name = str_printf(&cluster->arena, "calm-owl-7-shard-%zu-of-%zu", i + 1, n);
        Filling filling = {.name = name.data, .k = (int64_t)i + 1, .n = (int64_t)n, .seed = 1};
        fill_store(&cluster->arena, &cluster->shards[i], &filling);
    }
}

static void cluster_remove(Cluster *cluster)
{
    for (size_t i = 0; i < cluster->n; i++) {
        place_remove(&cluster->shards[i]);
    }
    place_remove(&cluster->out);
    arena_finish(&cluster->arena);
}

static bool merge_some(Cluster *cluster, size_t from, size_t to, Str name, Merged **out,
                       size_t *out_n, Err *err)
{
    MergeOptions options = {.stores = cluster->paths + from,
                            .n_stores = to - from,
                            .output = str_from_c(cluster->out.db),
                            .name = name};
    return merge_stores(&options, &cluster->arena, out, out_n, err);
}

static Merged merge_one(Cluster *cluster, size_t from, size_t to)
{
    Err err = ERR_INIT;
    Merged *merged = NULL;
    size_t n = 0;
    CHECK_OK(merge_some(cluster, from, to, STR_EMPTY, &merged, &n, &err), &err);
    CHECK_INT(n, 1);
    return n == 1 ? merged[0] : (Merged){0};
}

static Hash digest_at(const Place *place, const char *name)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Hash hash = {0};
    ExperimentInfo info;
    Results *results = results_at(place);
    if (CHECK_OK(results_experiment(results, &arena, str_from_c(name), &info, &err), &err)) {
        CHECK_OK(results_digest(results, info.id, &hash, &err), &err);
    }
    results_close(results);
    arena_finish(&arena);
    return hash;
}

/** Every row of every table, as one hash. */
static Hash content_of(const Place *place)
{
    static const char *const tables[] = {"blob",    "experiment", "run",  "sample",
                                         "attempt", "score",      "call", "event"};
    sqlite3 *db = NULL;
    Sha256 sha;
    hash_begin(&sha, STR("test"));
    CHECK_INT(sqlite3_open_v2(place->db, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        char sql[64];
        sqlite3_stmt *row = NULL;
        snprintf(sql, sizeof(sql), "SELECT * FROM %s ORDER BY 1, 2", tables[t]);
        CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
        while (sqlite3_step(row) == SQLITE_ROW) {
            for (int c = 0; c < sqlite3_column_count(row); c++) {
                hash_str(&sha, column_str(row, c));
            }
        }
        sqlite3_finalize(row);
    }
    sqlite3_close(db);
    return hash_end(&sha);
}

static int64_t count_at(const Place *place, const char *sql)
{
    Arena arena = {0};
    int64_t n = -1;
    str_to_i64(sql_one(&arena, place, sql), &n);
    arena_finish(&arena);
    return n;
}

// ---- Shards -------------------------------------------------------------------------------------

static void test_merge__shards_are_what_one_process_makes(void)
{
    Cluster cluster;
    cluster_make(&cluster, 4);
    Place whole = place_make();
    fill_store(&cluster.arena, &whole, &(Filling){.name = "calm-owl-7", .seed = 1});
    Merged merged = merge_one(&cluster, 0, 4);
    CHECK_STR(merged.name, STR("calm-owl-7"));
    CHECK_STR(merged.state, STR("finished"));
    CHECK(merged.is_new);
    CHECK_INT(merged.n_have, 4);
    CHECK_INT(merged.n_attempts, N_SAMPLES * N_EPOCHS * N_MODELS);
    Hash got = digest_at(&cluster.out, "calm-owl-7");
    Hash want = digest_at(&whole, "calm-owl-7");
    CHECK(hash_eq(&got, &want));
    static const char *const equal[] = {"SELECT hex(spec_hash) FROM experiment",
                                        "SELECT spec FROM experiment",
                                        "SELECT group_concat(n_planned) FROM run",
                                        "SELECT group_concat(hex(spec_hash)) FROM run",
                                        "SELECT count(*) FROM sample",
                                        "SELECT count(*) FROM call",
                                        "SELECT count(*) FROM score",
                                        "SELECT count(DISTINCT seed) FROM call"};
    for (size_t i = 0; i < sizeof(equal) / sizeof(equal[0]); i++) {
        CHECK_STR(sql_one(&cluster.arena, &cluster.out, equal[i]),
                  sql_one(&cluster.arena, &whole, equal[i]));
    }
    CHECK_STR(sql_one(&cluster.arena, &cluster.out, "PRAGMA foreign_key_check"), STR("<nothing>"));
    CHECK_INT(count_at(&cluster.out, "SELECT json_array_length(provenance, '$.merged') "
                                     "FROM experiment"),
              4);
    place_remove(&whole);
    cluster_remove(&cluster);
}

static void test_merge__again_adds_nothing(void)
{
    Cluster cluster;
    cluster_make(&cluster, 3);
    merge_one(&cluster, 0, 3);
    Hash before = content_of(&cluster.out);
    Merged merged = merge_one(&cluster, 0, 3);
    CHECK_INT(merged.n_added, 0);
    CHECK(!merged.is_new);
    merge_one(&cluster, 1, 2);
    Hash after = content_of(&cluster.out);
    CHECK(hash_eq(&before, &after));
    cluster_remove(&cluster);
}

static void test_merge__what_is_missing_comes_later(void)
{
    Cluster cluster;
    cluster_make(&cluster, 4);
    Merged merged = merge_one(&cluster, 1, 3);
    CHECK_STR(merged.state, STR("interrupted"));
    CHECK_INT(merged.n_have, 2);
    CHECK_INT(merged.have[0], 2);
    CHECK_STR(sql_one(&cluster.arena, &cluster.out, "SELECT spec -> '$.shards' FROM experiment"),
              STR("{\"n\":4,\"have\":[2,3]}"));
    CHECK_INT(count_at(&cluster.out, "SELECT sum(n_planned) FROM run"), N_SAMPLES / 2 * 4);
    merge_one(&cluster, 0, 1);
    merged = merge_one(&cluster, 3, 4);
    CHECK_STR(merged.state, STR("finished"));
    CHECK_INT(merged.n_have, 4);
    Place whole = place_make();
    fill_store(&cluster.arena, &whole, &(Filling){.name = "calm-owl-7", .seed = 1});
    Hash got = digest_at(&cluster.out, "latest");
    Hash want = digest_at(&whole, "latest");
    CHECK(hash_eq(&got, &want));
    CHECK_STR(sql_one(&cluster.arena, &cluster.out, "SELECT hex(spec_hash) FROM experiment"),
              sql_one(&cluster.arena, &whole, "SELECT hex(spec_hash) FROM experiment"));
    place_remove(&whole);
    cluster_remove(&cluster);
}

/** Merged halves are merged again: racks, then the hall. */
static void test_merge__of_merges(void)
{
    Cluster cluster;
    cluster_make(&cluster, 4);
    Place halves[2] = {place_make(), place_make()};
    Place out = cluster.out;
    for (size_t i = 0; i < 2; i++) {
        cluster.out = halves[i];
        merge_one(&cluster, i * 2, i * 2 + 2);
        cluster.paths[4 + i] = str_from_c(halves[i].db);
    }
    cluster.out = out;
    Merged merged = merge_one(&cluster, 4, 6);
    CHECK_INT(merged.n_have, 4);
    CHECK_STR(merged.state, STR("finished"));
    merged = merge_one(&cluster, 0, 4);
    CHECK_INT(merged.n_added, 0);
    Hash got = digest_at(&cluster.out, "calm-owl-7");
    Place whole = place_make();
    fill_store(&cluster.arena, &whole, &(Filling){.name = "calm-owl-7", .seed = 1});
    Hash want = digest_at(&whole, "calm-owl-7");
    CHECK(hash_eq(&got, &want));
    place_remove(&whole);
    place_remove(&halves[0]);
    place_remove(&halves[1]);
    cluster_remove(&cluster);
}

static void test_merge__a_shard_that_went_on(void)
{
    static const struct {
        int line;
        Filling first;
        int64_t n_added; // by the second merge
        int64_t n_replaced;
    } cases[] = {
        {__LINE__, {.limit = 2, .stays_open = true}, 16, 0},
        {__LINE__, {.fails = true}, 0, 24},
        {__LINE__, {.open = true, .stays_open = true}, 0, 24},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Cluster cluster;
        cluster_make(&cluster, 2);
        Place shard = place_make();
        cluster.paths[0] = str_from_c(shard.db);
        Filling filling = cases[i].first;
        filling.name = "calm-owl-7-shard-1-of-2";
        filling.k = 1;
        filling.n = 2;
        filling.seed = 1;
        fill_store(&cluster.arena, &shard, &filling);
        Merged merged = merge_one(&cluster, 0, 2);
        CHECK_INT(merged.n_have, 2);
        CHECK_STR(merged.state, cases[i].first.stays_open ? STR("interrupted") : STR("finished"));
        filling =
            (Filling){.name = "calm-owl-7-shard-1-of-2", .k = 1, .n = 2, .seed = 1, .resume = true};
        fill_store(&cluster.arena, &shard, &filling);
        merged = merge_one(&cluster, 0, 2);
        CHECK_INT(merged.n_added, cases[i].n_added);
        CHECK_INT(merged.n_replaced, cases[i].n_replaced);
        CHECK_STR(merged.state, STR("finished"));
        Place whole = place_make();
        fill_store(&cluster.arena, &whole, &(Filling){.name = "x", .seed = 1});
        Hash got = digest_at(&cluster.out, "calm-owl-7");
        Hash want = digest_at(&whole, "x");
        CHECK(hash_eq(&got, &want));
        CHECK_INT(count_at(&cluster.out, "SELECT count(*) FROM sample"), N_SAMPLES);
        if (tap_checks_failed > 0) {
            printf("# the case of line %d\n", cases[i].line);
        }
        place_remove(&whole);
        place_remove(&shard);
        cluster_remove(&cluster);
    }
}

/** Two runs of the same shards in the same stores are told apart by their names. */
static void test_merge__two_runs_of_one_spec(void)
{
    Cluster cluster;
    cluster_make(&cluster, 2);
    for (size_t i = 0; i < 2; i++) {
        Str name = str_printf(&cluster.arena, "warm-fox-3-shard-%zu-of-2", i + 1);
        Filling filling = {
            .name = name.data, .k = (int64_t)i + 1, .n = 2, .seed = 1, .reply = "another day"};
        fill_store(&cluster.arena, &cluster.shards[i], &filling);
    }
    Err err = ERR_INIT;
    Merged *merged = NULL;
    size_t n = 0;
    CHECK_OK(merge_some(&cluster, 0, 2, STR_EMPTY, &merged, &n, &err), &err);
    CHECK_INT(n, 2);
    CHECK_STR(merged[0].name, STR("calm-owl-7"));
    CHECK_STR(merged[1].name, STR("warm-fox-3"));
    CHECK_INT(merged[1].n_have, 2);
    cluster_remove(&cluster);
}

// ---- What is refused ----------------------------------------------------------------------------

static void refused(Cluster *cluster, size_t n, Str name, const char *const *parts, int line)
{
    Err err = ERR_INIT;
    Merged *merged = NULL;
    size_t n_merged = 0;
    Hash before = content_of(&cluster->out);
    bool ok = merge_some(cluster, 0, n, name, &merged, &n_merged, &err);
    Hash after = content_of(&cluster->out);
    bool said = true;
    for (size_t i = 0; parts[i] != NULL; i++) {
        said = said && has_text(err.message, parts[i]);
    }
    if (ok || !said || !hash_eq(&before, &after)) {
        printf("# line %d: ok %d, \"%s\", %s\n", line, ok, err.message,
               hash_eq(&before, &after) ? "nothing written" : "something was written");
    }
    CHECK(!ok && said && hash_eq(&before, &after));
}

static void test_merge__different_specs_are_refused(void)
{
    Cluster cluster;
    cluster_make(&cluster, 2);
    Place other = place_make();
    cluster.paths[1] = str_from_c(other.db);
    fill_store(&cluster.arena, &other,
               &(Filling){.name = "calm-owl-7-shard-2-of-2", .k = 2, .n = 2, .seed = 9});
    merge_one(&cluster, 0, 1);
    refused(&cluster, 2, STR_EMPTY,
            (const char *const[]){"calm-owl-7-shard-1-of-2", "calm-owl-7-shard-2-of-2",
                                  "settings.seed: 1 -> 9", NULL},
            __LINE__);
    // The other shard alone, where the first one was merged before.
    cluster.paths[0] = str_from_c(other.db);
    refused(&cluster, 1, STR_EMPTY, (const char *const[]){"settings.seed: 1 -> 9", "--name", NULL},
            __LINE__);
    place_remove(&other);
    cluster_remove(&cluster);
}

static void test_merge__another_number_of_shards_is_refused(void)
{
    Cluster cluster;
    cluster_make(&cluster, 2);
    Place other = place_make();
    cluster.paths[1] = str_from_c(other.db);
    fill_store(&cluster.arena, &other,
               &(Filling){.name = "calm-owl-7-shard-3-of-3", .k = 3, .n = 3, .seed = 1});
    merge_one(&cluster, 0, 1);
    refused(&cluster, 2, STR_EMPTY, (const char *const[]){"shard.n: 2 -> 3", NULL}, __LINE__);
    place_remove(&other);
    cluster_remove(&cluster);
}

static void test_merge__different_rows_are_refused(void)
{
    Cluster cluster;
    cluster_make(&cluster, 2);
    merge_one(&cluster, 0, 2);
    Place other = place_make();
    cluster.paths[1] = str_from_c(other.db);
    fill_store(
        &cluster.arena, &other,
        &(Filling){
            .name = "calm-owl-7-shard-2-of-2", .k = 2, .n = 2, .seed = 1, .reply = "otherwise"});
    refused(&cluster, 2, STR_EMPTY,
            (const char *const[]){"calm-owl-7-shard-2-of-2", "reply_text of sample '1', epoch 1",
                                  "demo on echo/a", NULL},
            __LINE__);
    // In one go as well, and then nothing of the other shard is there either.
    place_remove(&cluster.out);
    cluster.out = place_make();
    cluster.paths[2] = str_from_c(cluster.shards[1].db);
    Err err = ERR_INIT;
    Merged *merged = NULL;
    size_t n = 0;
    CHECK(!merge_some(&cluster, 0, 3, STR_EMPTY, &merged, &n, &err));
    CHECK(has_text(err.message, "reply_text"));
    CHECK_INT(count_at(&cluster.out, "SELECT count(*) FROM experiment"), 0);
    // Under a name of its own it is a merge of its own.
    CHECK_OK(merge_some(&cluster, 0, 2, STR("second"), &merged, &n, &err), &err);
    CHECK_STR(merged[0].name, STR("second"));
    place_remove(&other);
    cluster_remove(&cluster);
}

// ---- Plain experiments --------------------------------------------------------------------------

static void test_merge__plain_experiments_are_copied(void)
{
    Cluster cluster;
    cluster_make(&cluster, 0);
    Place a = place_make();
    Place b = place_make();
    fill_store(&cluster.arena, &a, &(Filling){.name = "nightly", .seed = 1});
    fill_store(&cluster.arena, &a, &(Filling){.name = "other", .seed = 2, .reply = "x"});
    fill_store(&cluster.arena, &b, &(Filling){.name = "nightly", .seed = 3, .limit = 5});
    cluster.paths[0] = str_from_c(a.db);
    cluster.paths[1] = str_from_c(b.db);
    Err err = ERR_INIT;
    Merged *merged = NULL;
    size_t n = 0;
    CHECK_OK(merge_some(&cluster, 0, 2, STR_EMPTY, &merged, &n, &err), &err);
    CHECK_INT(n, 3);
    CHECK_STR(merged[2].name, STR("nightly-2"));
    Hash before = content_of(&cluster.out);
    CHECK_OK(merge_some(&cluster, 0, 2, STR_EMPTY, &merged, &n, &err), &err);
    Hash after = content_of(&cluster.out);
    CHECK(hash_eq(&before, &after));
    CHECK_STR(merged[2].name, STR("nightly-2"));
    Hash got = digest_at(&cluster.out, "nightly-2");
    Hash want = digest_at(&b, "nightly");
    CHECK(hash_eq(&got, &want));
    CHECK_STR(sql_one(&cluster.arena, &cluster.out,
                      "SELECT group_concat(short_id || started_ms || hex(spec_hash)) FROM "
                      "experiment WHERE name IN ('nightly', 'other')"),
              sql_one(&cluster.arena, &a,
                      "SELECT group_concat(short_id || started_ms || hex(spec_hash)) FROM "
                      "experiment"));
    refused(&cluster, 2, STR("one"), (const char *const[]){"--name", "--only", NULL}, __LINE__);
    place_remove(&a);
    place_remove(&b);
    cluster_remove(&cluster);
}

static void test_merge__only_what_is_asked_for(void)
{
    static const struct {
        int line;
        const char *only;
        size_t n;
    } cases[] = {
        {__LINE__, "calm-owl-7", 1},     {__LINE__, "calm-*", 1}, {__LINE__, "*", 2},
        {__LINE__, "*-shard-1-of-2", 1}, {__LINE__, "night", 0},  {__LINE__, "nightly", 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Cluster cluster;
        cluster_make(&cluster, 2);
        fill_store(&cluster.arena, &cluster.shards[0], &(Filling){.name = "nightly", .seed = 1});
        Err err = ERR_INIT;
        Merged *merged = NULL;
        size_t n = 0;
        MergeOptions options = {.stores = cluster.paths,
                                .n_stores = 2,
                                .output = str_from_c(cluster.out.db),
                                .only = str_from_c(cases[i].only)};
        bool ok = merge_stores(&options, &cluster.arena, &merged, &n, &err);
        if (ok != (cases[i].n > 0) || n != cases[i].n) {
            printf("# line %d: %zu, %s\n", cases[i].line, n, err.message);
        }
        CHECK(ok == (cases[i].n > 0) && n == cases[i].n);
        CHECK(ok || err.code == ERR_NOT_FOUND);
        cluster_remove(&cluster);
    }
}

/** Shards that ran into one store become one experiment beside them. */
static void test_merge__a_store_into_itself(void)
{
    Cluster cluster;
    cluster_make(&cluster, 0);
    for (int64_t k = 1; k <= 3; k++) {
        Str name = str_printf(&cluster.arena, "calm-owl-7-shard-%lld-of-3", (long long)k);
        fill_store(&cluster.arena, &cluster.out,
                   &(Filling){.name = name.data, .k = k, .n = 3, .seed = 1});
    }
    fill_store(&cluster.arena, &cluster.out, &(Filling){.name = "plain", .seed = 1});
    cluster.paths[0] = str_from_c(cluster.out.db);
    Merged merged = merge_one(&cluster, 0, 1);
    CHECK_INT(merged.n_have, 3);
    Hash got = digest_at(&cluster.out, "calm-owl-7");
    Hash want = digest_at(&cluster.out, "plain");
    CHECK(hash_eq(&got, &want));
    Hash before = content_of(&cluster.out);
    merge_one(&cluster, 0, 1);
    Hash after = content_of(&cluster.out);
    CHECK(hash_eq(&before, &after));
    cluster_remove(&cluster);
}

static void test_merge__what_is_no_store(void)
{
    Cluster cluster;
    cluster_make(&cluster, 1);
    Err err = ERR_INIT;
    Merged *merged = NULL;
    size_t n = 0;
    cluster.paths[0] = str_printf(&cluster.arena, "%s/none.db", cluster.out.dir);
    CHECK(!merge_some(&cluster, 0, 1, STR_EMPTY, &merged, &n, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    cluster_remove(&cluster);
}

int main(void)
{
    tap_run("shards are what one process makes", test_merge__shards_are_what_one_process_makes);
    tap_run("again adds nothing", test_merge__again_adds_nothing);
    tap_run("what is missing comes later", test_merge__what_is_missing_comes_later);
    tap_run("merges of merges", test_merge__of_merges);
    tap_run("a shard that went on", test_merge__a_shard_that_went_on);
    tap_run("two runs of one spec", test_merge__two_runs_of_one_spec);
    tap_run("different specs are refused", test_merge__different_specs_are_refused);
    tap_run("another number of shards is refused", test_merge__another_number_of_shards_is_refused);
    tap_run("different rows are refused", test_merge__different_rows_are_refused);
    tap_run("plain experiments are copied", test_merge__plain_experiments_are_copied);
    tap_run("only what is asked for", test_merge__only_what_is_asked_for);
    tap_run("a store into itself", test_merge__a_store_into_itself);
    tap_run("what is no store", test_merge__what_is_no_store);
    return tap_done();
}
