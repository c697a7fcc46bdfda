// SPDX-License-Identifier: MIT
// HTML reports: text from models can do no harm, the policy names what the page holds, the data
// reads back, and what is left out is said.
#include "filling.h"

#include "results/html_internal.h"
#include "text/text.h"

// ---- Parts --------------------------------------------------------------------------------------

static void check_view(int line, const Buf *got, const char *want)
{
    if (!str_eq_c(buf_view(got), want)) {
        tap_checks_failed++;
        printf("# line %d: got " STR_FMT ", want %s\n", line, STR_ARG(buf_view(got)), want);
    }
}

static void test_text__markup_and_what_acts_become_visible(void)
{
    const struct {
        int line;
        Str text;
        const char *want;
    } cases[] = {
        {__LINE__, STR("plain \xc3\xa9 \xf0\x9f\x98\x80"), "plain \xc3\xa9 \xf0\x9f\x98\x80"},
        {__LINE__, STR("<b a=\"x\" b='y'>&amp;"),
         "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;"},
        {__LINE__, STR("\x1b[31m\x07"), "\\x1b[31m\\x07"},
        {__LINE__, {"a\0b", 3}, "a\\x00b"},
        {__LINE__, STR("a\xe2\x80\xae<b"), "a\\u202e&lt;b"},
        {__LINE__, STR("bad \xff"), "bad \\xff"},
        {__LINE__, STR("a\nb"), "a\\nb"},
        {__LINE__, STR_EMPTY, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Buf buf = {0};
        html_text(&buf, cases[i].text);
        check_view(cases[i].line, &buf, cases[i].want);
        buf_finish(&buf);
    }
}

static void test_numbers__no_locale_and_true_minus(void)
{
    const struct {
        int line;
        double d;
        const char *want;
    } cases[] = {
        {__LINE__, 0.21428571, "0.214"},
        {__LINE__, -0.0319, "\u22120.032"},
        {__LINE__, 0, "0.000"},
        {__LINE__, 37.25, "37.25"},
        {__LINE__, 123.456, "123.5"},
        {__LINE__, 27731, "27731"},
        {__LINE__, 1e12, "1.00e+12"},
        {__LINE__, 1e-7, "1.00e-07"},
        {__LINE__, (double)NAN, "\u2013"},
        {__LINE__, (double)INFINITY, "\u221e"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Buf buf = {0};
        html_number(&buf, cases[i].d);
        check_view(cases[i].line, &buf, cases[i].want);
        buf_finish(&buf);
    }
    const struct {
        int line;
        int64_t n;
        const char *want;
    } counts[] = {
        {__LINE__, 0, "0"},
        {__LINE__, 9999, "9999"},
        {__LINE__, 10000, "10\u202f000"},
        {__LINE__, 1234567, "1\u202f234\u202f567"},
        {__LINE__, -12345, "-12\u202f345"},
    };
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        Buf buf = {0};
        html_count(&buf, counts[i].n);
        check_view(counts[i].line, &buf, counts[i].want);
        buf_finish(&buf);
    }
}

static void test_json__holds_no_markup_and_reads_back(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Value items[] = {
        value_str(STR("</script><!-- <script>")),
        value_str((Str){"nul\0 \xe2\x80\xa8 <", 11}),
        value_real(0.5),
    };
    Value list = value_list(items, 3);
    Value back;
    Buf buf = {0};
    html_json(&buf, &list);
    CHECK(str_find(buf_view(&buf), STR("<"), 0) == STR_NONE);
    CHECK_OK(json_parse(&arena, buf_view(&buf), NULL, &back, NULL, &err), &err);
    CHECK(value_equal(&list, &back));
    buf_finish(&buf);
    arena_finish(&arena);
}

/** Hashes as browsers want them: of nothing, and of the example in the W3C's own text on CSP. */
static void test_policy__hashes_are_those_of_browsers(void)
{
    Buf buf = {0};
    html_csp_hash(&buf, STR_EMPTY);
    check_view(__LINE__, &buf, "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    buf_clear(&buf);
    html_csp_hash(&buf, STR("alert('Hello, world.');"));
    check_view(__LINE__, &buf, "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
    buf_finish(&buf);
}

static void test_scale__holds_its_range_between_round_ticks(void)
{
    const struct {
        int line;
        double low;
        double high;
        bool whole;
        HtmlScale want;
    } cases[] = {
        {__LINE__, 0.2, 0.9, true, {0, 1, 0.25}}, {__LINE__, 0.2, 0.9, false, {0, 1, 0.5}},
        {__LINE__, 12, 31, true, {10, 40, 10}},   {__LINE__, -0.5, 0.7, true, {-0.5, 1, 0.5}},
        {__LINE__, 5, 5, true, {5, 5.2, 0.2}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        HtmlRange range = {0};
        html_range_add(&range, cases[i].low);
        html_range_add(&range, cases[i].high);
        html_range_add(&range, (double)NAN);
        HtmlScale got = html_scale(&range, cases[i].whole);
        CHECK(got.low <= cases[i].low && got.high >= cases[i].high);
        if (fabs(got.low - cases[i].want.low) > 1e-9 ||
            fabs(got.high - cases[i].want.high) > 1e-9 ||
            fabs(got.step - cases[i].want.step) > 1e-9) {
            tap_checks_failed++;
            printf("# line %d: got %g to %g by %g\n", cases[i].line, got.low, got.high, got.step);
        }
    }
    HtmlRange range = {0};
    html_range_add(&range, -0.098);
    html_range_add(&range, 0.03);
    HtmlScale around = html_scale_around_zero(&range);
    CHECK_NEAR(around.low, -0.1, 1e-12);
    CHECK_NEAR(around.high, 0.1, 1e-12);
    HtmlRange extreme = {0};
    html_range_add(&extreme, 1e300);
    html_range_add(&extreme, -1e300);
    CHECK(isfinite(html_scale(&extreme, true).step));
}

// ---- A page -------------------------------------------------------------------------------------

/** Text between two marks, from the last place where the first stands. */
static Str between(Str page, const char *from, const char *to)
{
    size_t start = str_find_last(page, str_from_c(from));
    if (start == STR_NONE) {
        return STR_EMPTY;
    }
    start += strlen(from);
    size_t end = str_find(page, str_from_c(to), start);
    return end == STR_NONE ? STR_EMPTY : str_slice(page, start, end);
}

static bool page_has(const Buf *page, const char *text)
{
    return str_find(buf_view(page), str_from_c(text), 0) != STR_NONE;
}

static bool name_is_one_of(Str name, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (str_eq_c(name, *names)) {
            return true;
        }
    }
    return false;
}

/** The attributes of a start tag: quoted, of known names, without a way to run or fetch anything.
 */
static bool attributes_are_harmless(Str tag)
{
    static const char *const known[] = {
        "class",   "id",      "href",       "lang",     "charset",     "http-equiv",
        "content", "name",    "aria-label", "scope",    "colspan",     "rowspan",
        "type",    "viewBox", "height",     "width",    "aria-hidden", "focusable",
        "x",       "y",       "x1",         "x2",       "y1",          "y2",
        "cx",      "cy",      "r",          "d",        "text-anchor", "title",
        "open",    "hidden",  "data-what",  "tabindex", NULL};
    size_t at = 0;
    while (at < tag.len) {
        while (at < tag.len && (tag.data[at] == ' ' || tag.data[at] == '/')) {
            at++;
        }
        if (at == tag.len) {
            return true;
        }
        size_t equals = str_find(tag, STR("=\""), at);
        if (equals == STR_NONE || !name_is_one_of(str_slice(tag, at, equals), known)) {
            return false;
        }
        size_t end = str_find(tag, STR("\""), equals + 2);
        if (end == STR_NONE) {
            return false;
        }
        Str value = str_slice(tag, equals + 2, end);
        if (str_eq(str_slice(tag, at, equals), STR("href")) && value.data[0] != '#') {
            return false;
        }
        at = end + 1;
    }
    return true;
}

static bool tag_is_void(Str name)
{
    static const char *const names[] = {"meta", "br", NULL};
    return name_is_one_of(name, names);
}

static bool tag_is_known(Str name)
{
    static const char *const names[] = {
        "html",  "head",    "meta", "title",  "style", "body",    "header",  "main", "footer",
        "nav",   "section", "div",  "p",      "h1",    "h2",      "h3",      "span", "small",
        "code",  "strong",  "time", "dl",     "dt",    "dd",      "a",       "br",   "table",
        "thead", "tbody",   "tr",   "th",     "td",    "details", "summary", "pre",  "svg",
        "g",     "path",    "line", "circle", "rect",  "text",    "script",  NULL};
    return name_is_one_of(name, names);
}

/** Walk the page's tags: balanced, known, harmless. Prints what is wrong. */
static bool page_is_well_formed(Str page)
{
    Str open[64];
    size_t depth = 0;
    size_t n_scripts = 0;
    size_t at = 0;
    while ((at = str_find(page, STR("<"), at)) != STR_NONE) {
        size_t end = str_find(page, STR(">"), at);
        if (end == STR_NONE) {
            return false;
        }
        Str tag = str_slice(page, at + 1, end);
        at = end + 1;
        if (str_eq(tag, STR("!doctype html"))) {
            continue;
        }
        bool closes = tag.len > 0 && tag.data[0] == '/';
        bool closed = tag.len > 0 && tag.data[tag.len - 1] == '/';
        tag = closes ? str_slice(tag, 1, tag.len) : tag;
        Str name = tag;
        Str rest = STR_EMPTY;
        str_cut(tag, STR(" "), &name, &rest);
        name = str_trim_of(name, STR("/"));
        if (!tag_is_known(name) || !attributes_are_harmless(rest)) {
            printf("# tag <" STR_FMT ">\n", STR_ARG(str_slice(tag, 0, 200)));
            return false;
        }
        if (closes) {
            if (depth == 0 || !str_eq(open[depth - 1], name)) {
                printf("# </" STR_FMT "> in " STR_FMT "\n", STR_ARG(name),
                       STR_ARG(depth > 0 ? open[depth - 1] : STR("nothing")));
                return false;
            }
            depth--;
        } else if (!closed && !tag_is_void(name)) {
            if (depth == 64) {
                return false;
            }
            open[depth++] = name;
            bool raw = str_eq(name, STR("script")) || str_eq(name, STR("style"));
            n_scripts += str_eq(name, STR("script"));
            if (raw) { // as a browser: to the first end tag, whatever stands before it
                at = str_find(page, str_eq(name, STR("script")) ? STR("</script") : STR("</style"),
                              at);
            }
        }
    }
    return depth == 0 && n_scripts <= 2;
}

static void check_page(int line, const Buf *page)
{
    Arena arena = {0};
    Str view = buf_view(page);
    if (!page_is_well_formed(view)) {
        tap_checks_failed++;
        printf("# line %d: not well-formed\n", line);
    }
    // The policy names exactly the style and the script that are there.
    Buf policy = {0};
    buf_c(&policy, "default-src 'none'; style-src '");
    html_csp_hash(&policy, between(view, "<style>", "</style>"));
    buf_c(&policy, "'; script-src '");
    html_csp_hash(&policy, between(view, "<script>", "</script>"));
    buf_c(&policy, "'; base-uri 'none'; form-action 'none'\"");
    CHECK(str_find(view, buf_view(&policy), 0) != STR_NONE);
    CHECK(str_find(view, STR("http://"), 0) == STR_NONE);
    CHECK(str_find(view, STR("https://"), 0) == STR_NONE);
    CHECK(str_find(view, STR("url("), 0) == STR_NONE);
    CHECK(str_find(view, STR("innerHTML ="), 0) == STR_NONE);
    buf_finish(&policy);
    arena_finish(&arena);
}

static Value page_data(Arena *arena, const Buf *page)
{
    Err err = ERR_INIT;
    Value data = value_null();
    Str text =
        between(buf_view(page), "<script type=\"application/json\" id=\"data\">", "</script>");
    CHECK_OK(json_parse(arena, text, NULL, &data, NULL, &err), &err);
    return data;
}

static const Value *item(const Value *map, const char *list, size_t at)
{
    static const Value nothing = {0};
    const Value *items = value_get_c(map, list);
    return items != NULL && items->kind == VALUE_LIST && at < items->as.list.n
               ? &items->as.list.items[at]
               : &nothing;
}

static size_t n_items(const Value *map, const char *list)
{
    const Value *items = value_get_c(map, list);
    return items != NULL && items->kind == VALUE_LIST ? items->as.list.n : 0;
}

static bool page_make(Filling *filling, const HtmlOptions *options, Buf *page, Err *err)
{
    CHECK_OK(store_flush(filling->store, err), err);
    Results *results = results_at(&filling->place);
    bool ok = report_html(page, results, filling->open.id, options, err);
    results_close(results);
    return ok;
}

#define EVIL "</script><img src=x onerror=alert(1)><!--"

static void put_hostile(Filling *filling, int64_t i, Str reply)
{
    Err err = ERR_INIT;
    AttemptRow row = attempt_make(&filling->arena, filling->open.run_ids[0], i, 1, 0);
    Score score = row.scores[0];
    row.sample_id = str_printf(&filling->arena, "%lld" EVIL, (long long)i);
    row.prompt = str_concat(&filling->arena, STR("Q: " EVIL), reply);
    row.metadata = STR("{\"" EVIL "\": 1}");
    row.target = STR("[\"" EVIL "\"]");
    row.reply_text = reply;
    row.notes = STR(EVIL);
    score.why = STR(EVIL);
    score.answer = reply;
    row.scores = &score;
    CHECK_OK(call_put(filling->store, &row, "0", &err), &err);
    CHECK_OK(store_put_attempt(filling->store, &row, &err), &err);
}

static void test_page__hostile_texts_stay_data(void)
{
    Filling filling = {0};
    RunSpec run = run_make(&filling.arena, EVIL, "m<b>\"'&");
    filling_begin(&filling, &run, 1);
    char *line = arena_alloc(&filling.arena, 1, 1000001);
    memset(line, 'x', 1000000);
    const Str texts[] = {STR(EVIL),
                         STR("\x1b[2J\x1b]0;t\x07"),
                         {"nul\0nul", 7},
                         STR("\xe2\x80\xae\xe2\x81\xa6 rtl"),
                         STR("bad \xff\xfe utf-8"),
                         {line, 1000000},
                         STR("\\u003c/script>")};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        put_hostile(&filling, (int64_t)i, texts[i]);
    }
    Err err = ERR_INIT;
    Buf page = {0};
    CHECK_OK(page_make(&filling, NULL, &page, &err), &err);
    check_page(__LINE__, &page);
    CHECK(!page_has(&page, "<img"));
    CHECK(!page_has(&page, "\x1b"));
    CHECK(page.len < 150000); // the long line is cut, also in prompt, answer and call
    Value data = page_data(&filling.arena, &page);
    CHECK_INT(n_items(&data, "attempts"), 7);
    CHECK_STR(value_get_str(item(&data, "attempts", 0), "reply", STR_EMPTY), texts[0]);
    CHECK_STR(value_get_str(item(&data, "attempts", 0), "notes", STR_EMPTY), texts[0]);
    CHECK_STR(value_get_str(item(&data, "attempts", 2), "reply", STR_EMPTY), texts[2]);
    CHECK_STR(value_get_str(item(&data, "attempts", 6), "reply", STR_EMPTY), texts[6]);
    const Value *cut = value_get_c(item(&data, "attempts", 5), "reply");
    CHECK(cut != NULL && cut->kind == VALUE_MAP);
    CHECK_INT(value_get_int(cut, "cut", 0), 980000);
    CHECK_INT(value_get_str(cut, "head", STR_EMPTY).len, 15000);
    CHECK_INT(value_get_str(cut, "tail", STR_EMPTY).len, 5000);
    buf_finish(&page);
    filling_end(&filling);
}

/** What report.js does: the run's first prompt up to `from`, counted in UTF-16, then the rest. */
static Str prompt_back(Arena *arena, const Value *data, const Value *attempt)
{
    const Value *prompt = value_get_c(attempt, "prompt");
    if (prompt == NULL || prompt->kind != VALUE_MAP) {
        return prompt != NULL && prompt->kind == VALUE_STR ? prompt->as.str : STR_EMPTY;
    }
    const Value *run = item(data, "runs", (size_t)value_get_int(attempt, "run", 0));
    Str base = value_get_str(run, "prompt", STR_EMPTY);
    int64_t from = value_get_int(prompt, "from", -1);
    size_t at = 0;
    while (from > 0 && at < base.len) {
        from -= utf8_next(base, &at) > 0xffff ? 2 : 1;
    }
    return str_concat(arena, str_slice(base, 0, at), value_get_str(prompt, "rest", STR_EMPTY));
}

static void test_page__prompts_share_their_beginning(void)
{
    Filling filling = {0};
    RunSpec run = run_make(&filling.arena, "", "m");
    filling_begin(&filling, &run, 1);
    static const char shots[] = "\xf0\x9f\x98\x80 \xc3\xa9: a long beginning that all of the "
                                "prompts share, with some shots in it, and more of these\n";
    const char *ends[] = {"Q: \xc3\xa9", "Q: \xc3\xa8", "Q: \xf0\x9f\x98\x81", ""};
    Str want[4];
    for (int i = 0; i < 4; i++) {
        Err err = ERR_INIT;
        AttemptRow row = attempt_make(&filling.arena, filling.open.run_ids[0], i, 1, 1);
        row.prompt = want[i] = str_printf(&filling.arena, "%s%s", shots, ends[i]);
        CHECK_OK(call_put(filling.store, &row, "0", &err), &err);
        CHECK_OK(store_put_attempt(filling.store, &row, &err), &err);
    }
    Err err = ERR_INIT;
    Buf page = {0};
    CHECK_OK(page_make(&filling, NULL, &page, &err), &err);
    Value data = page_data(&filling.arena, &page);
    for (size_t i = 0; i < 4; i++) {
        const Value *attempt = item(&data, "attempts", i);
        CHECK_STR(prompt_back(&filling.arena, &data, attempt), want[i]);
        CHECK(value_get_c(attempt, "prompt")->kind == VALUE_MAP);
        // The call asked what the attempt's prompt says: not written again.
        CHECK(value_get_c(item(attempt, "calls", 0), "prompt") == NULL);
        CHECK(value_get_c(item(attempt, "calls", 0), "text") == NULL);
    }
    buf_finish(&page);
    filling_end(&filling);
}

static size_t n_failing(const Value *data)
{
    size_t n = 0;
    for (size_t i = 0; i < n_items(data, "attempts"); i++) {
        n += value_get_real(item(item(data, "attempts", i), "scores", 0), "value", -1) < 1;
    }
    return n;
}

static void test_page__failing_attempts_come_first_from_every_run(void)
{
    const struct {
        int line;
        int64_t samples;
        size_t n;
        size_t n_failing;
        const char *note;
    } cases[] = {
        {__LINE__, HTML_ALL, 40, 9, "All 40 attempts."},
        {__LINE__, 0, 0, 0, "0 of 40 attempts are in this file, 40 are left out."},
        {__LINE__, 6, 6, 6, "6 of 9 are here."},
        {__LINE__, 9, 9, 9, "9 of 9 are here."},
        {__LINE__, 20, 20, 9, "20 of 40 attempts are in this file, 20 are left out."},
        {__LINE__, 2000, 40, 9, "All 40 attempts."},
    };
    Filling filling = {0};
    RunSpec runs[2] = {run_make(&filling.arena, "a", "m"), run_make(&filling.arena, "b", "m")};
    filling_begin(&filling, runs, 2);
    for (int64_t i = 0; i < 20; i++) {
        put(&filling, 0, i, 1, i < 8 ? 0 : 1, 1, "");
        put(&filling, 1, i, 1, i == 19 ? 0 : 1, 1, "");
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Err err = ERR_INIT;
        Buf page = {0};
        HtmlOptions options = {.samples = cases[i].samples};
        CHECK_OK(page_make(&filling, &options, &page, &err), &err);
        check_page(cases[i].line, &page);
        Value data = page_data(&filling.arena, &page);
        bool first_of_b = false; // its only failing one
        for (size_t j = 0; j < n_items(&data, "attempts"); j++) {
            first_of_b |= value_get_int(item(&data, "attempts", j), "run", -1) == 1;
        }
        if (n_items(&data, "attempts") != cases[i].n || n_failing(&data) != cases[i].n_failing ||
            !page_has(&page, cases[i].note) || first_of_b != (cases[i].n > 0)) {
            tap_checks_failed++;
            printf("# line %d: %zu attempts, %zu failing\n", cases[i].line,
                   n_items(&data, "attempts"), n_failing(&data));
        }
        buf_finish(&page);
    }
    filling_end(&filling);
}

static void test_page__tells_values_intervals_and_errors(void)
{
    Filling filling = {0};
    RunSpec run = run_make(&filling.arena, "", "local/small");
    filling_begin(&filling, &run, 1);
    for (int64_t i = 0; i < 8; i++) {
        put(&filling, 0, i, 1, i < 6 ? 1 : 0, 1, "");
    }
    Err err = ERR_INIT;
    AttemptRow row = attempt_make(&filling.arena, filling.open.run_ids[0], 8, 1, 0);
    row.state = ATTEMPT_ERROR;
    row.error_code = ERR_NET;
    row.error = STR("no answer");
    row.scores = NULL;
    row.n_scores = 0;
    CHECK_OK(store_put_attempt(filling.store, &row, &err), &err);
    Buf page = {0};
    CHECK_OK(page_make(&filling, NULL, &page, &err), &err);
    check_page(__LINE__, &page);
    // 6 of 8 by Wilson: [0.4093, 0.9285], worked out by hand from the formula.
    CHECK(page_has(&page, "<td class=\"r\">0.750</td>"));
    CHECK(page_has(&page, "[0.409, 0.929] <small>wilson</small>"));
    CHECK(page_has(&page, "1 error, 1 to do"));
    CHECK(page_has(&page, "8 of 10 attempts done, 1 error"));
    CHECK(page_has(&page, "<td class=\"r\">250\u00a0ms</td>"));
    // The dot: 4 % + 0.75 of 92 % of the width.
    CHECK(page_has(&page, "<circle cx=\"73.00%\""));
    Value data = page_data(&filling.arena, &page);
    const Value *error = value_get_c(item(&data, "attempts", 2), "error"); // after 6 and 7, wrong
    bool there = error != NULL && error->kind == VALUE_LIST && error->as.list.n == 2;
    CHECK(there);
    CHECK_STR(there ? error->as.list.items[1].as.str : STR_EMPTY, STR("no answer"));
    buf_finish(&page);
    filling_end(&filling);
}

static void test_page__too_large_is_an_error(void)
{
    Filling filling = {0};
    RunSpec run = run_make(&filling.arena, "", "m");
    filling_begin(&filling, &run, 1);
    put(&filling, 0, 1, 1, 1, 1, "");
    Err err = ERR_INIT;
    Buf page;
    buf_init(&page, 20000);
    CHECK(!page_make(&filling, NULL, &page, &err));
    CHECK(err.code == ERR_LIMIT);
    CHECK(has_text(err.message, "--samples"));
    buf_finish(&page);
    err = (Err)ERR_INIT;
    Results *results = results_at(&filling.place);
    CHECK(!report_html(&page, results, 4711, NULL, &err));
    CHECK(err.code == ERR_NOT_FOUND);
    results_close(results);
    buf_finish(&page);
    filling_end(&filling);
}

// ---- Diff and trend -----------------------------------------------------------------------------

/** Two variants in one experiment; sample 0 gets worse, samples 1 and 2 better. */
static void filling_variants(Filling *filling)
{
    RunSpec runs[2] = {run_make(&filling->arena, "", "m"), run_make(&filling->arena, "", "m")};
    MapBuilder grader;
    map_builder_init(&grader, &filling->arena);
    map_builder_put(&grader, STR("name"), value_str(STR("exact")));
    map_builder_put(&grader, STR("use"), value_str(STR("exact")));
    map_builder_put(&grader, STR("low"), value_real(0));
    map_builder_put(&grader, STR("high"), value_real(1));
    Value *graders = ARENA_ARRAY(&filling->arena, Value, 1);
    graders[0] = map_builder_done(&grader);
    MapBuilder metric;
    map_builder_init(&metric, &filling->arena);
    map_builder_put(&metric, STR("use"), value_str(STR("accuracy")));
    map_builder_put(&metric, STR("graders"), value_list(graders, 1));
    Value *metrics = ARENA_ARRAY(&filling->arena, Value, 1);
    metrics[0] = map_builder_done(&metric);
    for (int i = 0; i < 2; i++) {
        runs[i].variant = i == 0 ? STR("plain") : STR("terse");
        runs[i].metrics = value_list(metrics, 1);
        runs[i].n_planned = 30;
    }
    filling_begin(filling, runs, 2);
    for (int64_t i = 0; i < 30; i++) {
        put(filling, 0, i, 1, i == 1 || i == 2 ? 0 : 1, 1, "");
        put(filling, 1, i, 1, i == 0 ? 0 : 1, 1, "");
    }
}

static void test_diff__flips_have_both_replies(void)
{
    const struct {
        int line;
        int64_t samples;
        size_t n_worse;
        size_t n_better;
    } cases[] = {
        {__LINE__, HTML_SAMPLES, 1, 2},
        {__LINE__, 2, 1, 1}, // each direction has its half
        {__LINE__, 0, 0, 0},
    };
    Filling filling = {0};
    filling_variants(&filling);
    Err err = ERR_INIT;
    CHECK_OK(store_flush(filling.store, &err), &err);
    Results *results = results_at(&filling.place);
    Selector base;
    Selector candidate;
    DiffReport diff;
    DiffOptions same = {.same_allowed = true};
    CHECK_OK(selector_parse(&filling.arena, STR("x:variant=plain"), &base, &err) &&
                 selector_parse(&filling.arena, STR("x:variant=terse"), &candidate, &err) &&
                 diff_compute(results, &filling.arena, &base, &candidate, &same, &diff, &err),
             &err);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Buf page = {0};
        HtmlOptions options = {.samples = cases[i].samples};
        CHECK_OK(report_html_diff(&page, results, &diff, &options, &err), &err);
        check_page(cases[i].line, &page);
        CHECK(page_has(&page, "<h1>x:variant=plain \u2192 x:variant=terse</h1>"));
        CHECK(page_has(&page, "\u25bc 1 worse"));
        CHECK(page_has(&page, "\u25b2 2 better"));
        CHECK(page_has(&page, diff.rows[0].verdict));
        Value data = page_data(&filling.arena, &page);
        size_t n_worse = 0;
        for (size_t j = 0; j < n_items(&data, "flips"); j++) {
            const Value *flip = item(&data, "flips", j);
            n_worse += !value_get_bool(flip, "better", false);
            CHECK_INT(n_items(flip, "base_attempts"), 1);
            CHECK_INT(n_items(flip, "candidate_attempts"), 1);
            size_t number = (size_t)item(flip, "candidate_attempts", 0)->as.integer;
            const Value *attempt = item(&data, "attempts", number);
            const Value *run = item(&data, "runs", (size_t)value_get_int(attempt, "run", 0));
            CHECK_STR(value_get_str(attempt, "id", STR("?")), value_get_str(flip, "id", STR("")));
            CHECK_STR(value_get_str(run, "variant", STR_EMPTY), STR("terse"));
            CHECK_INT(value_get_int(run, "side", 0), 1);
        }
        CHECK_INT(n_worse, cases[i].n_worse);
        CHECK_INT(n_items(&data, "flips") - n_worse, cases[i].n_better);
        buf_finish(&page);
    }
    results_close(results);
    filling_end(&filling);
}

static void test_trend__one_plot_a_series(void)
{
    const Str baselines[] = {STR("release<b>")};
    TrendPoint points[3] = {
        {.experiment = STR("one<script>"), .metric = {.value = 0.5, .low = 0.4, .high = 0.6}},
        {.experiment = STR("two"),
         .metric = {.value = (double)NAN, .low = (double)NAN, .high = (double)NAN},
         .n_planned = 10,
         .n_done = 3},
        {.experiment = STR("three"),
         .metric = {.value = 0.7, .low = 0.6, .high = 0.8},
         .baselines = baselines,
         .n_baselines = 1,
         .changed = STR("dataset <i>")},
    };
    TrendSeries series[2] = {
        {.model = STR("m"), .metric = STR("exact.accuracy"), .points = points, .n = 3},
        {.model = STR("k"), .metric = STR("exact.accuracy"), .points = points, .n = 1},
    };
    Trend trend = {.eval = STR("facts"), .series = series, .n = 2};
    Err err = ERR_INIT;
    Buf page = {0};
    CHECK_OK(report_html_trend(&page, &trend, NULL, &err), &err);
    check_page(__LINE__, &page);
    CHECK(page_has(&page, "one&lt;script&gt;"));
    CHECK(page_has(&page, "release&lt;b&gt;"));
    CHECK(page_has(&page, "dataset &lt;i&gt;"));
    CHECK(page_has(&page, "3 of 10 done"));
    CHECK(page_has(&page, "class=\"diamond\""));
    Str svg = between(buf_view(&page), "<svg class=\"series\"", "</svg>");
    CHECK(str_find(svg, STR("<circle"), 0) != STR_NONE);
    buf_finish(&page);
}

int main(void)
{
    tap_run("text: markup and what acts become visible",
            test_text__markup_and_what_acts_become_visible);
    tap_run("numbers: no locale, a true minus", test_numbers__no_locale_and_true_minus);
    tap_run("json: holds no markup, reads back", test_json__holds_no_markup_and_reads_back);
    tap_run("policy: hashes are those of browsers", test_policy__hashes_are_those_of_browsers);
    tap_run("scale: holds its range between round ticks",
            test_scale__holds_its_range_between_round_ticks);
    tap_run("page: hostile texts stay data", test_page__hostile_texts_stay_data);
    tap_run("page: prompts share their beginning", test_page__prompts_share_their_beginning);
    tap_run("page: failing attempts come first, from every run",
            test_page__failing_attempts_come_first_from_every_run);
    tap_run("page: values, intervals, errors", test_page__tells_values_intervals_and_errors);
    tap_run("page: too large is an error", test_page__too_large_is_an_error);
    tap_run("diff: flips have both replies", test_diff__flips_have_both_replies);
    tap_run("trend: one plot a series", test_trend__one_plot_a_series);
    return tap_done();
}
