// SPDX-License-Identifier: MIT
// Writing and reading back: every column, resume and its refusals, acknowledgements, locks. What
// the file holds is also checked with SQL of the test's own.
#include "fixture_sql.h"

/** How many acknowledgements came, and the sum of their keys. */
typedef struct Acks {
    int n;
    uint64_t sum;
} Acks;

static void count_ack(void *ctx, uint64_t key)
{
    Acks *acks = ctx;
    acks->n++;
    acks->sum += key;
}

static bool keep_first(void *ctx, const AttemptInfo *attempt)
{
    Arena *arena = ((void **)ctx)[0];
    AttemptInfo *out = ((void **)ctx)[1];
    *out = *attempt;
    out->reply_text = str_copy(arena, attempt->reply_text);
    out->error = str_copy(arena, attempt->error);
    out->error_code = str_copy(arena, attempt->error_code);
    out->state = str_copy(arena, attempt->state);
    out->prompt = str_copy(arena, attempt->prompt);
    out->input = str_copy(arena, attempt->input);
    out->target = str_copy(arena, attempt->target);
    out->metadata = str_copy(arena, attempt->metadata);
    out->stop = str_copy(arena, attempt->stop);
    out->notes = str_copy(arena, attempt->notes);
    out->sample_id = str_copy(arena, attempt->sample_id);
    out->calls = value_copy(arena, &attempt->calls);
    out->choices = value_copy(arena, &attempt->choices);
    Score *scores = ARENA_ARRAY(arena, Score, attempt->n_scores);
    for (size_t i = 0; i < attempt->n_scores; i++) {
        scores[i] = attempt->scores[i];
        scores[i].grader = str_copy(arena, scores[i].grader);
        scores[i].answer = str_copy(arena, scores[i].answer);
        scores[i].why = str_copy(arena, scores[i].why);
        scores[i].reason = str_copy(arena, scores[i].reason);
        scores[i].detail = value_copy(arena, &scores[i].detail);
    }
    out->scores = scores;
    return false;
}

/** The first attempt that a filter lets through. */
static AttemptInfo first_attempt(Arena *arena, const Place *place, int64_t experiment,
                                 const AttemptFilter *filter)
{
    AttemptInfo info = {0};
    void *ctx[] = {arena, &info};
    Err err = ERR_INIT;
    Results *results = results_at(place);
    CHECK_OK(results_attempts(results, experiment, filter, keep_first, ctx, &err), &err);
    results_close(results);
    return info;
}

static void test_store__keeps_every_column(void)
{
    Arena arena = {0};
    Place place = place_make();
    Err err = ERR_INIT;
    Store *store = store_at(&place, NULL, NULL);
    RunSpec run = run_make(&arena, "", "echo/x");
    ExperimentSpec spec = experiment_make(&arena, STR("full"), 1, &run, 1);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err), &err);
    AttemptRow row = attempt_make(&arena, open.run_ids[0], 7, 3, 1);
    row.reply_text = (Str){"a\0b\xff!", 5}; // NUL and a byte that is not UTF-8
    row.notes = STR("noted");
    row.cluster = STR("c1");
    ChoiceLogprob choices[2] = {
        {.logprob = -1.0 / 3, .unconditional = (double)NAN, .n_tokens = 4, .greedy = true},
        {.logprob = -(double)INFINITY, .unconditional = -2.5, .n_tokens = 1},
    };
    Str texts[2] = {STR("yes"), STR("no")};
    row.choices = choices;
    row.choice_texts = texts;
    row.n_choices = 2;
    row.cost_usd = 0.125;
    ValuePair detail = value_pair(STR("seen"), value_int(9007199254740993));
    Score scores[3] = {
        {.grader = STR("exact"),
         .value = 0.1,
         .weight = 2.5,
         .why = STR("w"),
         .detail = value_map(&detail, 1)},
        {.grader = STR("skip"), .state = SCORE_ABSENT},
        {.grader = STR("odd"), .state = SCORE_UNSCORED, .reason = STR("no number"), .weight = 1},
    };
    row.scores = scores;
    row.n_scores = 3;
    CHECK_OK(call_put(store, &row, "0", &err), &err);
    CHECK_OK(store_put_attempt(store, &row, &err), &err);
    CHECK_OK(store_experiment_end(store, open.id, STR("finished"), NULL, &err), &err);
    store_close(store);

    AttemptFilter filter = {.with_calls = true};
    AttemptInfo got = first_attempt(&arena, &place, open.id, &filter);
    CHECK_STR(got.sample_id, STR("7"));
    CHECK_INT(got.epoch, 3);
    CHECK_STR(got.state, STR("done"));
    CHECK_STR(got.error_code, STR_EMPTY);
    CHECK_STR(got.input, STR("What is 7?"));
    CHECK_STR(got.target, STR("[\"7\"]"));
    CHECK_STR(got.metadata, STR("{}"));
    CHECK_STR(got.prompt, row.prompt);
    CHECK_STR(got.reply_text, row.reply_text);
    CHECK_STR(got.stop, STR("stop"));
    CHECK_STR(got.notes, STR("noted"));
    CHECK_INT(got.usage.input, 10);
    CHECK_INT(got.usage.output, 2);
    CHECK_NEAR(got.seconds, 0.25, 0);
    CHECK_NEAR(got.cost_usd, 0.125, 0);
    CHECK_INT(got.n_scores, 2);
    CHECK_NEAR(got.scores[0].value, 0.1, 0);
    CHECK_NEAR(got.scores[0].weight, 2.5, 0);
    CHECK(!got.scores[0].is_boolean && !got.scores[0].has_answer);
    CHECK_INT(value_get_int(&got.scores[0].detail, "seen", 0), 9007199254740993);
    CHECK(got.scores[1].state == SCORE_UNSCORED);
    CHECK_STR(got.scores[1].reason, STR("no number"));
    CHECK_INT(got.choices.as.list.n, 2);
    const Value *first = &got.choices.as.list.items[0];
    CHECK_STR(value_get_str(first, "text", STR_EMPTY), STR("yes"));
    CHECK_NEAR(value_get_real(first, "logprob", 0), -1.0 / 3, 0);
    CHECK(value_get_c(first, "unconditional") == NULL && value_get_bool(first, "greedy", false));
    CHECK_STR(value_get_str(&got.choices.as.list.items[1], "logprob", STR_EMPTY), STR("-inf"));
    CHECK_INT(got.calls.as.list.n, 1);
    const Value *request = value_get_c(&got.calls.as.list.items[0], "request");
    CHECK_STR(value_get_str(request, "prompt", STR_EMPTY), row.prompt);
    CHECK_INT(value_get_int(request, "max_tokens", 0), 256);
    const Value *reply = value_get_c(&got.calls.as.list.items[0], "reply");
    CHECK_STR(value_get_str(reply, "text", STR_EMPTY), row.reply_text);
    // The call shares the attempt's prompt, which is stored once.
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM call WHERE prompt IS NULL"), STR("1"));
    CHECK_STR(sql_one(&arena, &place, "SELECT seed FROM call"), STR("-81985529216486896"));
    CHECK_STR(sql_one(&arena, &place, "SELECT choice_logprobs FROM v_result"),
              STR("[-0.3333333333333333,\"-inf\"]"));
    CHECK_STR(sql_one(&arena, &place, "PRAGMA integrity_check"), STR("ok"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM pragma_foreign_key_check"), STR("0"));
    place_remove(&place);
    arena_finish(&arena);
}

static void test_store__acknowledges_each_attempt_once(void)
{
    Arena arena = {0};
    Place place = place_make();
    Acks acks = {0};
    Store *store = store_at(&place, count_ack, &acks);
    fill(&arena, store, 2000, STR("one"));
    store_close(store);
    CHECK_INT(acks.n, 2000);
    CHECK_INT(acks.sum, 1999 * 1000);
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM attempt WHERE state = 'done'"),
              STR("2000"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM call"), STR("2000"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM score"), STR("2000"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM sample"), STR("2000"));
    place_remove(&place);
    arena_finish(&arena);
}

static void test_store__takes_texts_larger_than_its_queue(void)
{
    Arena arena = {0};
    Place place = place_make();
    Err err = ERR_INIT;
    Store *store = store_at(&place, NULL, NULL);
    RunSpec run = run_make(&arena, "", "echo/x");
    ExperimentSpec spec = experiment_make(&arena, STR("big"), 1, &run, 1);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err), &err);
    size_t n = (size_t)20 << 20;
    char *text = mem_alloc(n, 1);
    memset(text, 'x', n);
    for (int64_t i = 0; i < 3; i++) {
        AttemptRow row = attempt_make(&arena, open.run_ids[0], i, 0, 1);
        row.reply_text = (Str){text, n};
        CHECK_OK(store_put_attempt(store, &row, &err), &err);
    }
    CHECK_OK(store_flush(store, &err), &err);
    store_close(store);
    mem_free(text);
    CHECK_STR(sql_one(&arena, &place, "SELECT sum(length(reply_text)) FROM attempt"),
              STR("62914560"));
    place_remove(&place);
    arena_finish(&arena);
}

static void test_store__refuses_a_score_that_is_no_number(void)
{
    Arena arena = {0};
    Place place = place_make();
    Err err = ERR_INIT;
    Store *store = store_at(&place, NULL, NULL);
    RunSpec run = run_make(&arena, "", "echo/x");
    ExperimentSpec spec = experiment_make(&arena, STR("nan"), 1, &run, 1);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err), &err);
    AttemptRow row = attempt_make(&arena, open.run_ids[0], 0, 0, (double)NAN);
    CHECK(!store_put_attempt(store, &row, &err));
    CHECK(err.code == ERR_INTERNAL);
    err = (Err)ERR_INIT;
    row = attempt_make(&arena, open.run_ids[0], 0, 0, 1);
    CHECK_OK(store_put_attempt(store, &row, &err), &err);
    CHECK_OK(store_flush(store, &err), &err);
    store_close(store);
    place_remove(&place);
    arena_finish(&arena);
}

static void test_store__shares_samples_between_runs_and_epochs(void)
{
    Arena arena = {0};
    Place place = place_make();
    Err err = ERR_INIT;
    Store *store = store_at(&place, NULL, NULL);
    RunSpec runs[3] = {run_make(&arena, "a", "echo/x"), run_make(&arena, "a", "echo/y"),
                       run_make(&arena, "b", "echo/x")};
    for (int i = 0; i < 3; i++) {
        runs[i].epochs = 2;
    }
    ExperimentSpec spec = experiment_make(&arena, STR("sets"), 1, runs, 3);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err), &err);
    for (int r = 0; r < 3; r++) {
        for (int64_t i = 0; i < 20; i++) {
            AttemptRow row = attempt_make(&arena, open.run_ids[r], i / 2, i % 2, 1);
            CHECK_OK(store_put_attempt(store, &row, &err), &err);
        }
    }
    // The same id with other content is another row.
    AttemptRow other = attempt_make(&arena, open.run_ids[0], 0, 5, 1);
    other.sample_hash = hash_of("other");
    CHECK_OK(store_put_attempt(store, &other, &err), &err);
    CHECK_OK(store_flush(store, &err), &err);
    store_close(store);
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM attempt"), STR("61"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM sample"), STR("21"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(DISTINCT set_id) FROM run"), STR("2"));
    CHECK_STR(sql_one(&arena, &place,
                      "SELECT count(*) FROM attempt AS a JOIN sample AS s ON s.id = a.sample_row "
                      "WHERE s.sample_id <> a.sample_id"),
              STR("0"));
    place_remove(&place);
    arena_finish(&arena);
}

static void test_store__resumes_where_it_stopped(void)
{
    Arena arena = {0};
    Place place = place_make();
    Err err = ERR_INIT;
    Store *store = store_at(&place, NULL, NULL);
    RunSpec run = run_make(&arena, "", "echo/x");
    ExperimentSpec spec = experiment_make(&arena, STR("again"), 1, &run, 1);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err), &err);
    CHECK(!open.resumed);
    int64_t id = open.run_ids[0];
    AttemptRow done = attempt_make(&arena, id, 0, 0, 1);
    CHECK_OK(call_put(store, &done, "0", &err), &err);
    CHECK_OK(store_put_attempt(store, &done, &err), &err);
    AttemptRow failed = attempt_make(&arena, id, 1, 0, 1);
    failed.state = ATTEMPT_ERROR;
    failed.error_code = ERR_NET;
    failed.error = STR("connection reset");
    CHECK_OK(call_put(store, &failed, "0", &err), &err);
    CHECK_OK(call_put(store, &failed, "1", &err), &err);
    CHECK_OK(store_put_attempt(store, &failed, &err), &err);
    AttemptRow half = attempt_make(&arena, id, 2, 0, 1);
    CHECK_OK(call_put(store, &half, "0", &err), &err);
    CHECK_OK(call_put(store, &half, "1", &err), &err);
    CHECK_OK(call_put(store, &half, "g.0", &err), &err);
    CHECK_OK(store_experiment_end(store, open.id, STR("interrupted"), NULL, &err), &err);
    store_close(store);
    CHECK_STR(sql_one(&arena, &place,
                      "SELECT group_concat(state) FROM (SELECT state FROM attempt ORDER BY id)"),
              STR("done,error,open"));

    store = store_at(&place, NULL, NULL);
    ExperimentOpen again;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_IF_THERE, &again, &err), &err);
    CHECK(again.resumed);
    CHECK_INT(again.id, open.id);
    CHECK_INT(again.run_ids[0], id);
    CHECK_STR(again.short_id, open.short_id);
    CHECK(store_attempt_is_done(store, id, STR("0"), 0));
    CHECK(!store_attempt_is_done(store, id, STR("1"), 0));
    CHECK(!store_attempt_is_done(store, id, STR("2"), 0));
    CHECK(!store_attempt_is_done(store, id, STR("0"), 1));
    Str *paths;
    Reply *replies;
    size_t n;
    CHECK_OK(store_attempt_calls(store, id, STR("1"), 0, &arena, &paths, &replies, &n, &err), &err);
    CHECK_INT(n, 0);
    CHECK_OK(store_attempt_calls(store, id, STR("2"), 0, &arena, &paths, &replies, &n, &err), &err);
    CHECK_INT(n, 3);
    if (n == 3) {
        CHECK_STR(paths[1], STR("1"));
        CHECK_STR(paths[2], STR("g.0"));
        CHECK_STR(replies[0].text, STR(" 2"));
        CHECK_NEAR(replies[0].seconds, 0.25, 0);
    }
    // Finish both, and put the done one once more: nothing is doubled.
    failed.state = ATTEMPT_DONE;
    CHECK_OK(call_put(store, &failed, "0", &err), &err);
    CHECK_OK(store_flush(store, &err), &err);
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM v_call WHERE sample_id = '1'"),
              STR("1"));
    CHECK_OK(store_put_attempt(store, &failed, &err), &err);
    CHECK_OK(store_put_attempt(store, &half, &err), &err);
    done.reply_text = STR("changed");
    CHECK_OK(call_put(store, &done, "0", &err), &err);
    CHECK_OK(store_put_attempt(store, &done, &err), &err);
    CHECK_OK(store_experiment_end(store, again.id, STR("finished"), NULL, &err), &err);
    store_close(store);
    CHECK_STR(sql_one(&arena, &place,
                      "SELECT group_concat(state || reply_text) FROM (SELECT * FROM attempt ORDER "
                      "BY sample_id)"),
              STR("done 0,done 1,done 2"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM score"), STR("3"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM sample"), STR("3"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM call"), STR("5"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM attempt WHERE error IS NOT NULL"),
              STR("0"));
    CHECK_STR(sql_one(&arena, &place,
                      "SELECT group_concat(kind) FROM (SELECT kind FROM event ORDER BY id)"),
              STR("started,interrupted,resumed,finished"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM pragma_foreign_key_check"), STR("0"));
    place_remove(&place);
    arena_finish(&arena);
}

static void test_store__retries_an_error_within_one_process(void)
{
    Arena arena = {0};
    Place place = place_make();
    Err err = ERR_INIT;
    Acks acks = {0};
    Store *store = store_at(&place, count_ack, &acks);
    RunSpec run = run_make(&arena, "", "echo/x");
    ExperimentSpec spec = experiment_make(&arena, STR("retry"), 1, &run, 1);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err), &err);
    AttemptRow row = attempt_make(&arena, open.run_ids[0], 0, 0, 1);
    row.state = ATTEMPT_ERROR;
    row.error_code = ERR_TIMEOUT;
    CHECK_OK(call_put(store, &row, "0", &err), &err);
    CHECK_OK(call_put(store, &row, "1", &err), &err);
    CHECK_OK(store_put_attempt(store, &row, &err), &err);
    row.state = ATTEMPT_DONE; // most likely in the same group
    CHECK_OK(call_put(store, &row, "0", &err), &err);
    CHECK_OK(store_put_attempt(store, &row, &err), &err);
    CHECK_OK(store_flush(store, &err), &err);
    store_close(store);
    CHECK_INT(acks.n, 2);
    CHECK_STR(sql_one(&arena, &place, "SELECT group_concat(state) FROM attempt"), STR("done"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM call"), STR("1"));
    place_remove(&place);
    arena_finish(&arena);
}

static void test_begin__names_and_resume_rules(void)
{
    Arena arena = {0};
    Place place = place_make();
    Err err = ERR_INIT;
    Store *store = store_at(&place, NULL, NULL);
    RunSpec run = run_make(&arena, "", "echo/x");
    ExperimentSpec spec = experiment_make(&arena, STR("named"), 1, &run, 1);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_IF_THERE, &open, &err), &err);
    CHECK(!open.resumed);
    CHECK_INT(open.short_id.len, 6);
    CHECK_OK(store_experiment_end(store, open.id, STR("finished"), NULL, &err), &err);

    CHECK(!store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err));
    CHECK(err.code == ERR_EXISTS && has_text(err.message, "--resume"));

    err = (Err)ERR_INIT;
    ExperimentSpec other = experiment_make(&arena, STR("named"), 2, &run, 1);
    CHECK(!store_experiment_begin(store, &arena, &other, RESUME_IF_THERE, &open, &err));
    CHECK(err.code == ERR_USAGE && has_text(err.message, "settings.seed: 1 -> 2"));

    // Without a name: an unfinished one with the same spec, else a new one with a name of its own.
    err = (Err)ERR_INIT;
    ExperimentSpec nameless = experiment_make(&arena, STR_EMPTY, 1, &run, 1);
    ExperimentOpen made;
    CHECK_OK(store_experiment_begin(store, &arena, &nameless, RESUME_IF_THERE, &made, &err), &err);
    CHECK(!made.resumed && made.name.len > 4);
    CHECK_OK(store_experiment_end(store, made.id, STR("interrupted"), NULL, &err), &err);
    CHECK_OK(store_experiment_begin(store, &arena, &nameless, RESUME_IF_THERE, &open, &err), &err);
    CHECK(open.resumed);
    CHECK_STR(open.name, made.name);
    CHECK_OK(store_experiment_end(store, open.id, STR("interrupted"), NULL, &err), &err);
    CHECK_OK(store_experiment_begin(store, &arena, &nameless, RESUME_NO, &open, &err), &err);
    CHECK(!open.resumed && !str_eq(open.name, made.name));
    CHECK_OK(store_experiment_end(store, open.id, STR("finished"), NULL, &err), &err);
    ExperimentSpec different = experiment_make(&arena, STR_EMPTY, 9, &run, 1);
    CHECK(!store_experiment_begin(store, &arena, &different, RESUME_ONLY, &open, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    err = (Err)ERR_INIT;
    CHECK_OK(store_experiment_begin(store, &arena, &nameless, RESUME_ONLY, &open, &err), &err);
    CHECK(open.resumed);
    CHECK_OK(store_experiment_end(store, open.id, STR("interrupted"), NULL, &err), &err);
    CHECK_OK(store_experiment_begin(store, &arena, &different, RESUME_IF_THERE, &open, &err), &err);
    CHECK(!open.resumed);
    store_close(store);

    static const char *const bad[] = {"latest",   "a b", "x:y",  "@x",
                                      "latest~1", "-x",  "a\nb", "a/b"};
    store = store_at(&place, NULL, NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err = (Err)ERR_INIT;
        spec.name = str_from_c(bad[i]);
        CHECK(!store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err));
        CHECK(err.code == ERR_USAGE);
    }
    store_close(store);
    place_remove(&place);
    arena_finish(&arena);
}

static void test_begin__names_what_differs(void)
{
    Arena arena = {0};
    Place place = place_make();
    Err err = ERR_INIT;
    Store *store = store_at(&place, NULL, NULL);
    RunSpec runs[3] = {run_make(&arena, "a", "echo/x"), run_make(&arena, "b", "echo/x"),
                       run_make(&arena, "c", "echo/x")};
    ExperimentSpec spec = experiment_make(&arena, STR("diff"), 1, runs, 2);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err), &err);
    CHECK_OK(store_experiment_end(store, open.id, STR("interrupted"), NULL, &err), &err);

    RunSpec changed[3];
    memcpy(changed, runs, sizeof(runs));
    changed[0].model_hash = changed[1].model_hash = hash_of("new weights");
    MapBuilder said; // the spec holds it once more
    map_builder_init(&said, &arena);
    map_builder_put(&said, STR("solver"), value_str(STR("generate")));
    map_builder_put(&said, STR("model_hash"), value_str(STR("new weights")));
    changed[0].spec = map_builder_done(&said);
    changed[1].epochs = 4;
    changed[1].spec = value_map(NULL, 0);
    ExperimentSpec other = experiment_make(&arena, STR("diff"), 1, changed, 3);
    CHECK(!store_experiment_begin(store, &arena, &other, RESUME_IF_THERE, &open, &err));
    CHECK(err.code == ERR_USAGE);
    char old_hex[HASH_HEX_LEN + 1];
    char new_hex[HASH_HEX_LEN + 1];
    hash_hex(&runs[0].model_hash, old_hex);
    hash_hex(&changed[0].model_hash, new_hex);
    char want[120];
    snprintf(want, sizeof(want),
             "model (weights, or address and settings of an endpoint): %.8s -> %.8s (2 runs)",
             old_hex, new_hex);
    CHECK(has_text(err.message, want));
    CHECK(!has_text(err.message, "_hash")); // what a column says is not said again
    CHECK(has_text(err.message, "epochs: 1 -> 4"));
    CHECK(has_text(err.message, "solver: \"generate\" -> absent"));
    CHECK(has_text(err.message, "run demo/c on echo/x: absent -> there"));

    err = (Err)ERR_INIT;
    RunSpec twice[2] = {runs[1], runs[1]};
    ExperimentSpec doubled = experiment_make(&arena, STR("twice"), 1, twice, 2);
    CHECK(!store_experiment_begin(store, &arena, &doubled, RESUME_NO, &open, &err));
    CHECK(err.code == ERR_USAGE && has_text(err.message, "demo/b on echo/x is there twice"));

    // The order of runs and of keys does not matter; which id belongs to which run does.
    err = (Err)ERR_INIT;
    RunSpec swapped[2] = {runs[1], runs[0]};
    ExperimentSpec same = experiment_make(&arena, STR("diff"), 1, swapped, 2);
    ExperimentOpen resumed;
    CHECK_OK(store_experiment_begin(store, &arena, &same, RESUME_IF_THERE, &resumed, &err), &err);
    CHECK(resumed.resumed && resumed.run_ids[0] == open.run_ids[1] &&
          resumed.run_ids[1] == open.run_ids[0]);
    store_close(store);
    place_remove(&place);
    arena_finish(&arena);
}

static void test_begin__one_writer_an_experiment(void)
{
    Arena arena = {0};
    Place place = place_make();
    Err err = ERR_INIT;
    Store *store = store_at(&place, NULL, NULL);
    RunSpec run = run_make(&arena, "", "echo/x");
    ExperimentSpec spec = experiment_make(&arena, STR("mine"), 1, &run, 1);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err), &err);
    Results *results = results_at(&place);
    ExperimentInfo info;
    CHECK_OK(results_experiment(results, &arena, STR("mine"), &info, &err), &err);
    CHECK_STR(info.state, STR("running"));

    Store *second = store_at(&place, NULL, NULL);
    ExperimentOpen again;
    CHECK(!store_experiment_begin(second, &arena, &spec, RESUME_IF_THERE, &again, &err));
    char pid[32];
    snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    CHECK(err.code == ERR_STORE && has_text(err.message, pid));
    // Another experiment goes into the same file at the same time.
    err = (Err)ERR_INIT;
    CHECK(fill(&arena, second, 100, STR("other")) > 0);
    fill(&arena, store, 0, STR("third"));
    store_close(second);
    store_close(store); // without an end, as if it had been killed
    CHECK_OK(results_experiment(results, &arena, STR("mine"), &info, &err), &err);
    CHECK_STR(info.state, STR("interrupted"));
    results_close(results);
    store = store_at(&place, NULL, NULL);
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_IF_THERE, &again, &err), &err);
    CHECK(again.resumed && again.id == open.id);
    store_close(store);
    place_remove(&place);
    arena_finish(&arena);
}

static void test_lock__names_who_holds_it(void)
{
    Place place = place_make();
    Err err = ERR_INIT;
    StoreLock mine;
    StoreLock other;
    CHECK_OK(store_lock_open(&mine, place.db, &err), &err);
    CHECK_OK(store_lock_open(&other, place.db, &err), &err);
    CHECK_OK(store_lock_take(&mine, &err), &err);
    other.wait_ns = 20000000;
    CHECK(!store_lock_take(&other, &err));
    char pid[32];
    snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    CHECK(err.code == ERR_STORE && has_text(err.message, pid));
    store_lock_release(&mine);
    err = (Err)ERR_INIT;
    CHECK_OK(store_lock_take(&other, &err), &err);
    store_lock_close(&other);
    CHECK_OK(store_lock_take(&mine, &err), &err);
    store_lock_close(&mine);
    place_remove(&place);
}

static void test_begin__refuses_unknown_metrics(void)
{
    Arena arena = {0};
    Place place = place_make();
    Store *store = store_at(&place, NULL, NULL);
    static const char *const graders[] = {"exact", NULL};
    static const struct {
        int line;
        const char *use, *of, *average;
        ErrCode code;
    } cases[] = {
        {__LINE__, "pass_at", "", "", ERR_CONFIG}, // of how many?
        {__LINE__, "precision", "", "", ERR_UNSUPPORTED},
        {__LINE__, "worst", "", "", ERR_NONE},
        {__LINE__, "accuracy", "nobody", "", ERR_CONFIG},
        {__LINE__, "accuracy", "", "models", ERR_CONFIG},
        {__LINE__, "mean", "exact", "parts", ERR_NONE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Err err = ERR_INIT;
        RunSpec run = run_make(&arena, "", "echo/x");
        Value metric = metric_value(&arena, str_from_c(cases[i].use), str_from_c(cases[i].of),
                                    str_from_c(cases[i].average), graders);
        run.metrics = value_list(&metric, 1);
        ExperimentSpec spec = experiment_make(&arena, STR_EMPTY, 1, &run, 1);
        ExperimentOpen open;
        bool ok = store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err);
        if (ok != (cases[i].code == ERR_NONE) || err.code != cases[i].code) {
            tap_checks_failed++;
            printf("# line %d: %s\n", cases[i].line, err.message);
        }
    }
    store_close(store);
    place_remove(&place);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("store: keeps every column", test_store__keeps_every_column);
    tap_run("store: acknowledges each attempt once", test_store__acknowledges_each_attempt_once);
    tap_run("store: takes texts larger than its queue",
            test_store__takes_texts_larger_than_its_queue);
    tap_run("store: refuses a score that is no number",
            test_store__refuses_a_score_that_is_no_number);
    tap_run("store: shares samples between runs and epochs",
            test_store__shares_samples_between_runs_and_epochs);
    tap_run("store: resumes where it stopped", test_store__resumes_where_it_stopped);
    tap_run("store: retries an error within one process",
            test_store__retries_an_error_within_one_process);
    tap_run("begin: names and resume rules", test_begin__names_and_resume_rules);
    tap_run("begin: names what differs", test_begin__names_what_differs);
    tap_run("begin: one writer an experiment", test_begin__one_writer_an_experiment);
    tap_run("lock: names who holds it", test_lock__names_who_holds_it);
    tap_run("begin: refuses unknown metrics", test_begin__refuses_unknown_metrics);
    return tap_done();
}
