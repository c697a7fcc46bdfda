// SPDX-License-Identifier: MIT
// Exports: what every format says of ordinary, failed, unscored and hostile attempts.
#include "fixture.h"

#include "results/export.h"
#include "text/text.h"

typedef struct Room {
    Arena arena;
    Place place;
    Results *results;
    Side side;
    Buf out;
    size_t n_pieces;
    size_t fail_at; // piece that can not be written; 0: none
} Room;

static bool collect(void *ctx, Str bytes, Err *err)
{
    Room *room = ctx;
    if (++room->n_pieces == room->fail_at) {
        return ERR_SET(err, ERR_IO, "the disk is full");
    }
    buf_str(&room->out, bytes);
    return true;
}

static Score score_of(const char *grader, double value, const char *answer)
{
    return (Score){.grader = str_from_c(grader),
                   .state = SCORE_VALUE,
                   .value = value,
                   .weight = 1,
                   .answer = str_from_c(answer),
                   .has_answer = true,
                   .why = STR("so")};
}

/** Sample "0" right, "1" unscored, "2" an error, then one attempt a text, which is its reply. */
static void room_make(Room *room, const char *const *variants, const Str *texts, size_t n_texts)
{
    Err err = ERR_INIT;
    *room = (Room){.place = place_make()};
    RunSpec runs[4];
    size_t n_runs = 0;
    for (; variants[n_runs] != NULL; n_runs++) {
        runs[n_runs] = run_make(&room->arena, "", "echo/x");
        runs[n_runs].variant = str_from_c(variants[n_runs]);
    }
    ExperimentSpec spec = experiment_make(&room->arena, STR("first"), 1, runs, n_runs);
    Store *store = store_at(&room->place, NULL, NULL);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &room->arena, &spec, RESUME_NO, &open, &err), &err);
    for (size_t r = 0; r < n_runs; r++) {
        for (size_t i = 0; i < 3 + n_texts; i++) {
            AttemptRow row = attempt_make(&room->arena, open.run_ids[r], (int64_t)i, 1, 1);
            Score *scores = ARENA_ARRAY(&room->arena, Score, 2);
            scores[0] = score_of("exact", 1, "0");
            scores[0].is_boolean = true;
            scores[1] = score_of("fine", 0.25, "x");
            row.scores = scores;
            row.n_scores = 2;
            if (i == 1) {
                scores[0] = (Score){.grader = STR("exact"),
                                    .state = SCORE_UNSCORED,
                                    .weight = 1,
                                    .reason = STR("can not tell")};
            } else if (i == 2) {
                row.state = ATTEMPT_ERROR;
                row.error_code = ERR_TIMEOUT;
                row.error = STR("too slow");
                row.reply_text = STR_EMPTY;
            } else if (i > 2) {
                row.reply_text = texts[i - 3];
                scores[1].answer = texts[i - 3];
            }
            CHECK_OK(call_put(store, &row, "0", &err), &err);
            CHECK_OK(store_put_attempt(store, &row, &err), &err);
        }
    }
    CHECK_OK(store_flush(store, &err), &err);
    CHECK_OK(store_experiment_end(store, open.id, STR("finished"), NULL, &err), &err);
    store_close(store);
    room->results = results_at(&room->place);
    Selector selector;
    CHECK_OK(selector_parse(&room->arena, STR("first"), &selector, &err), &err);
    CHECK_OK(side_open(room->results, &room->arena, &selector, &room->side, &err), &err);
}

static void room_remove(Room *room)
{
    results_close(room->results);
    place_remove(&room->place);
    buf_finish(&room->out);
    arena_finish(&room->arena);
}

static bool write_as(Room *room, const char *format, bool calls, Err *err)
{
    ExportOptions options = {
        .with_calls = calls, .program = STR("muster 0"), .sink = collect, .ctx = room};
    buf_clear(&room->out);
    room->n_pieces = 0;
    return export_format(str_from_c(format))->write(room->results, &room->side, &options, err);
}

static const char *const one_variant[] = {"", NULL};

// ---- Formats ------------------------------------------------------------------------------------

static void test_export__jsonl(void)
{
    Room room;
    Err err = ERR_INIT;
    room_make(&room, one_variant, NULL, 0);
    CHECK_OK(write_as(&room, "jsonl", false, &err), &err);
    Str rest = buf_view(&room.out);
    Str line;
    Value values[4];
    size_t n = 0;
    while (str_cut(rest, STR("\n"), &line, &rest) && n < 4) {
        CHECK_OK(json_parse(&room.arena, line, NULL, &values[n++], NULL, &err), &err);
    }
    CHECK_INT(n, 3);
    CHECK_INT(rest.len, 0);
    CHECK_STR(value_get_str(&values[0], "id", STR_EMPTY), STR("0"));
    CHECK_STR(value_get_str(&values[2], "error_type", STR_EMPTY), STR("timeout"));
    CHECK(value_get_c(&values[0], "calls") == NULL);
    const Value *score = &value_get_c(&values[1], "scores")->as.list.items[0];
    CHECK_STR(value_get_str(score, "unscored", STR_EMPTY), STR("can not tell"));
    CHECK_OK(write_as(&room, "jsonl", true, &err), &err);
    CHECK(has_text(room.out.data, "\"calls\":[{\"path\":\"0\""));
    room_remove(&room);
}

static void test_export__csv_rows(void)
{
    Room room;
    Err err = ERR_INIT;
    room_make(&room, one_variant, NULL, 0);
    CHECK_OK(write_as(&room, "csv", false, &err), &err);
    CHECK_STR(buf_view(&room.out),
              STR("eval,part,variant,model,sample_id,epoch,state,grader,value,unscored,weight,"
                  "answer,why,stop,error_type,error,target,reply,input_tokens,output_tokens,"
                  "seconds,cost_usd\r\n"
                  "demo,,,echo/x,0,1,done,exact,1.0,,1.0,0,so,stop,,,\"[\"\"0\"\"]\",\" 0\",10,2,"
                  "0.25,\r\n"
                  "demo,,,echo/x,0,1,done,fine,0.25,,1.0,x,so,stop,,,\"[\"\"0\"\"]\",\" 0\",10,2,"
                  "0.25,\r\n"
                  "demo,,,echo/x,1,1,done,exact,,can not tell,1.0,,,stop,,,\"[\"\"1\"\"]\",\" "
                  "1\",10,2,0.25,\r\n"
                  "demo,,,echo/x,1,1,done,fine,0.25,,1.0,x,so,stop,,,\"[\"\"1\"\"]\",\" 1\",10,2,"
                  "0.25,\r\n"
                  "demo,,,echo/x,2,1,error,,,,,,,,timeout,too slow,\"[\"\"2\"\"]\",,10,2,0.25,"
                  "\r\n"));
    room_remove(&room);
}

/** Nothing that a model says runs in a spreadsheet or leaves its cell. */
static void test_export__csv_cells(void)
{
    static const struct {
        int line;
        Str text;
        const char *cell;
    } cases[] = {
        {__LINE__, STR_INIT("=1+1"), "'=1+1"},
        {__LINE__, STR_INIT("-5"), "-5"}, // a number is data, and runs nowhere
        {__LINE__, STR_INIT("-1.5e-3"), "-1.5e-3"},
        {__LINE__, STR_INIT("-"), "'-"},
        {__LINE__, STR_INIT("-5 apples"), "'-5 apples"},
        {__LINE__, STR_INIT("+1+A1"), "'+1+A1"},
        {__LINE__, STR_INIT("-1-1"), "'-1-1"},
        {__LINE__, STR_INIT("-inf"), "'-inf"},
        {__LINE__, STR_INIT("@SUM(A1)"), "'@SUM(A1)"},
        {__LINE__, STR_INIT("\t=1"), "'\t=1"},
        {__LINE__, STR_INIT("\r=1"), "\"'\r=1\""},
        {__LINE__, STR_INIT("\n=1"), "\"'\n=1\""},
        {__LINE__, STR_INIT("=HYPERLINK(\"http://x\",\"y\")"),
         "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""},
        {__LINE__, STR_INIT("a,b"), "\"a,b\""},
        {__LINE__, STR_INIT("say \"x\""), "\"say \"\"x\"\"\""},
        {__LINE__, STR_INIT("two\r\nlines"), "\"two\r\nlines\""},
        {__LINE__, STR_INIT(" =1"), "\" =1\""},
        {__LINE__, STR_INIT("a=1"), "a=1"},
        {__LINE__, STR_INIT("\xff\xfe"), "\xef\xbf\xbd\xef\xbf\xbd"},
        {__LINE__, STR_INIT("a\0b"),
         "a\xef\xbf\xbd"
         "b"},
        {__LINE__, STR_INIT("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Room room;
        Err err = ERR_INIT;
        room_make(&room, one_variant, &cases[i].text, 1);
        CHECK_OK(write_as(&room, "csv", false, &err), &err);
        Str want = str_printf(&room.arena, "demo,,,echo/x,3,1,done,fine,0.25,,1.0,%s,so,stop,",
                              cases[i].cell);
        if (str_find(buf_view(&room.out), want, 0) == STR_NONE) {
            printf("# line %d: no %s\n", cases[i].line, want.data);
        }
        CHECK(str_find(buf_view(&room.out), want, 0) != STR_NONE);
        room_remove(&room);
    }
}

/** Tokens of a judge are the judge's, not those of the model that it judges. */
static void test_export__inspect_usage_by_model(void)
{
    Room room = {.place = place_make()};
    Err err = ERR_INIT;
    RunSpec run = run_make(&room.arena, "", "echo/x");
    const char *roles = "{\"roles\": {\"judge\": {\"model\": \"big/judge\"}, "
                        "\"self\": {\"model\": \"echo/x\"}}}";
    CHECK(json_parse(&room.arena, str_from_c(roles), NULL, &run.spec, NULL, &err));
    ExperimentSpec spec = experiment_make(&room.arena, STR("first"), 1, &run, 1);
    Store *store = store_at(&room.place, NULL, NULL);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &room.arena, &spec, RESUME_NO, &open, &err), &err);
    AttemptRow row = attempt_make(&room.arena, open.run_ids[0], 1, 1, 1);
    row.usage = (Usage){.input = 100, .output = 20};
    const struct {
        const char *path;
        const char *role;
        int64_t input;
    } calls[] = {{"0", "", 60}, {"1", "self", 10}, {"g0.0.0", "judge", 25}, {"g0.0.1", "judge", 5}};
    for (size_t i = 0; i < 4; i++) {
        Request request = {.kind = REQUEST_GENERATE,
                           .role = str_from_c(calls[i].role),
                           .prompt = {.text = STR("?")},
                           .settings = gen_settings_default(),
                           .n = 1};
        Reply reply = {.text = STR("!"), .usage = {.input = calls[i].input, .output = 5}};
        CHECK_OK(store_put_call(store, row.run_id, row.sample_id, row.epoch,
                                str_from_c(calls[i].path), &request, &reply, &err),
                 &err);
    }
    CHECK_OK(store_put_attempt(store, &row, &err), &err);
    CHECK_OK(store_experiment_end(store, open.id, STR("finished"), NULL, &err), &err);
    store_close(store);
    room.results = results_at(&room.place);
    Selector selector;
    CHECK_OK(selector_parse(&room.arena, STR("first"), &selector, &err), &err);
    CHECK_OK(side_open(room.results, &room.arena, &selector, &room.side, &err), &err);
    CHECK_OK(write_as(&room, "inspect", false, &err), &err);
    CHECK(has_text(room.out.data, "\"model_usage\":{\"echo/x\":{\"input_tokens\":70,"
                                  "\"output_tokens\":10,\"total_tokens\":80,"));
    CHECK(has_text(room.out.data, "\"big/judge\":{\"input_tokens\":30,\"output_tokens\":10,"));
    room_remove(&room);
}

static void test_export__inspect(void)
{
    static const Str texts[] = {STR_INIT("say \"C\"\n\xff\x01")};
    Room room;
    Err err = ERR_INIT;
    room_make(&room, one_variant, texts, 1);
    CHECK_OK(write_as(&room, "inspect", false, &err), &err);
    // Inspect's own word for unscored is no JSON: once, for sample "1".
    Str text = buf_view(&room.out);
    size_t at = str_find(text, STR("NaN"), 0);
    CHECK(at != STR_NONE);
    CHECK(str_find(text, STR("NaN"), at + 1) == STR_NONE);
    if (at == STR_NONE) {
        room_remove(&room);
        return;
    }
    memcpy(room.out.data + at, "-99", 3);
    Value log;
    CHECK_OK(json_parse(&room.arena, buf_view(&room.out), NULL, &log, NULL, &err), &err);
    CHECK_INT(value_get_int(&log, "version", 0), 2);
    CHECK_STR(value_get_str(&log, "status", STR_EMPTY), STR("success"));
    const Value *eval = value_get_c(&log, "eval");
    CHECK_STR(value_get_str(eval, "task", STR_EMPTY), STR("demo"));
    CHECK_STR(value_get_str(eval, "model", STR_EMPTY), STR("echo/x"));
    const Value *samples = value_get_c(&log, "samples");
    CHECK_INT(samples->as.list.n, 4);
    const Value *first = &samples->as.list.items[0];
    const Value *scores = value_get_c(first, "scores");
    CHECK_STR(value_get_str(value_get_c(scores, "exact"), "value", STR_EMPTY), STR("C"));
    CHECK_NEAR(value_get_real(value_get_c(scores, "fine"), "value", 0), 0.25, 0);
    CHECK_STR(value_get_str(first, "target", STR_EMPTY), STR("0"));
    CHECK_STR(value_get_str(value_get_c(&samples->as.list.items[2], "error"), "message", STR_EMPTY),
              STR("timeout: too slow"));
    CHECK_STR(
        value_get_str(value_get_c(&samples->as.list.items[3], "output"), "completion", STR_EMPTY),
        STR("say \"C\"\n\xef\xbf\xbd\x01"));
    const Value *results = value_get_c(&log, "results");
    CHECK_INT(value_get_int(results, "completed_samples", 0), 3);
    const Value *score = &value_get_c(results, "scores")->as.list.items[0];
    CHECK_STR(value_get_str(score, "name", STR_EMPTY), STR("exact"));
    CHECK_INT(value_get_int(score, "unscored_samples", 0), 1);
    CHECK_NEAR(value_get_real(value_get_c(value_get_c(score, "metrics"), "accuracy"), "value", 0),
               1, 0);
    room_remove(&room);
}

static void test_export__replay(void)
{
    Room room;
    Err err = ERR_INIT;
    room_make(&room, one_variant, NULL, 0);
    CHECK_OK(write_as(&room, "replay", false, &err), &err);
    CHECK(str_starts_with(buf_view(&room.out),
                          STR("{\"eval\":\"demo\",\"part\":\"\",\"id\":\"0\",\"epoch\":1,"
                              "\"call\":\"0\",\"text\":\" 0\",\"stop\":\"stop\"")));
    room_remove(&room);
    static const char *const two[] = {"a", "b", NULL};
    room_make(&room, two, NULL, 0);
    CHECK(!write_as(&room, "replay", false, &err));
    CHECK_INT(err.code, ERR_USAGE);
    CHECK(has_text(err.message, "first:variant=.."));
    Side *logs = NULL;
    size_t n = 0;
    export_logs(&room.arena, &room.side, &logs, &n);
    CHECK_INT(n, 2);
    room.side = logs[1];
    err = (Err)ERR_INIT;
    CHECK_OK(write_as(&room, "replay", false, &err), &err);
    room_remove(&room);
}

/** What can not be written is said once, and nothing follows. */
static void test_export__a_full_disk(void)
{
    static const char *const formats[] = {"jsonl", "csv", "inspect", "replay"};
    char *large = mem_alloc(300000, 1);
    memset(large, 'x', 300000);
    const Str texts[] = {{large, 300000}, {large, 300000}, {large, 300000}};
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        Room room;
        Err err = ERR_INIT;
        room_make(&room, one_variant, texts, 3);
        CHECK_OK(write_as(&room, formats[i], false, &err), &err);
        CHECK(room.n_pieces >= 3); // in pieces: it is not held as a whole
        room.fail_at = 2;
        CHECK(!write_as(&room, formats[i], false, &err));
        CHECK_INT(err.code, ERR_IO);
        CHECK_INT(room.n_pieces, 2);
        room_remove(&room);
    }
    mem_free(large);
}

static void test_export__formats(void)
{
    CHECK(export_format(STR("xml")) == NULL);
    CHECK(export_format(STR("csv")) == &*export_formats[1]);
}

int main(void)
{
    tap_run("jsonl: one object an attempt", test_export__jsonl);
    tap_run("csv: one row a score, errors too", test_export__csv_rows);
    tap_run("csv: cells", test_export__csv_cells);
    tap_run("inspect: a log", test_export__inspect);
    tap_run("inspect: tokens by model", test_export__inspect_usage_by_model);
    tap_run("replay: calls of one model and variant", test_export__replay);
    tap_run("a full disk", test_export__a_full_disk);
    tap_run("formats by name", test_export__formats);
    return tap_done();
}
