// SPDX-License-Identifier: MIT
// Every check runs twice: compiled to machine code and interpreted.
#include "text_tap.h"

#include <time.h>

static const int variants[] = {0, REGEX_NO_JIT, REGEX_UNLIMITED, REGEX_UNLIMITED | REGEX_NO_JIT};

/** All matches with their groups: "0-2(0-1,-)" one behind the other, '-' for no part. */
static Str matches_text(Arena *arena, const RegexSpan *spans, size_t n, size_t width)
{
    Buf buf = {0};
    for (size_t i = 0; i < n; i++) {
        for (size_t g = 0; g < width; g++) {
            const RegexSpan *s = &spans[i * width + g];
            buf_c(&buf, g == 1 ? "(" : g > 1 ? "," : i > 0 ? " " : "");
            if (s->from == STR_NONE) {
                buf_c(&buf, "-");
            } else {
                buf_printf(&buf, "%zu-%zu", s->from, s->to);
            }
        }
        buf_c(&buf, width > 1 ? ")" : "");
    }
    Str copy = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}

static void test_regex__matches(void)
{
    static const struct {
        int line;
        int flags;
        Str pattern;
        Str text;
        const char *want;
    } rows[] = {
        {__LINE__, 0, S("a+"), S("baac a"), "1-3 5-6"},
        {__LINE__, 0, S("(a)|(b)(c)?"), S("abcb"), "0-1(0-1,-,-) 1-3(-,1-2,2-3) 3-4(-,3-4,-)"},
        {__LINE__, 0, S("x*"), S("axbc"), "0-0 1-2 2-2 3-3 4-4"}, // as re.finditer
        {__LINE__, 0, S(""), S("\xC3\xA9z"), "0-0 2-2 3-3"},      // between characters only
        {__LINE__, 0, S("\\b|a+"), S("aa b"), "0-0 0-2 2-2 3-3 4-4"},
        {__LINE__, 0, S("$"), S("a\n"), "1-1 2-2"},
        {__LINE__, REGEX_ICASE, S("\xC3\x89t\xC3\xA9"), S("\xC3\xA9T\xC3\x89"), "0-5"},
        {__LINE__, 0, S("\\w+"), S("na\xC3\xAFve \xE6\xBC\xA2"), "0-6 7-10"},
        {__LINE__, 0, S("\\d+"), S("4\xD9\xA3"), "0-3"}, // an Arabic digit
        {__LINE__, 0, S("\\p{Lu}"), S("aB\xC3\x89"), "1-2 2-4"},
        {__LINE__, 0, S("."), S("\xF0\x9F\x98\x80\n."), "0-4 5-6"},
        {__LINE__, REGEX_DOTALL, S("a.b"), S("a\nb"), "0-3"},
        {__LINE__, 0, S("a.b"), S("a\nb"), ""},
        {__LINE__, REGEX_MULTILINE, S("^b$"), S("a\nb\nc"), "2-3"},
        {__LINE__, 0, S("^b$"), S("a\nb\nc"), ""},
        {__LINE__, REGEX_ANCHORED, S("ab"), S("abab b"), "0-2 2-4"},
        {__LINE__, 0, S("(?<=a)b"), S("ab b"), "1-2"},
        {__LINE__, 0, S("a\\Kb"), S("abab"), "1-2 3-4"},
        {__LINE__, 0, S("(.)\\1"), S("abba"), "1-3(1-2)"},
        {__LINE__, 0, S("\\((?:[^()]|(?R))*\\)"), S("((a)b) c"), "0-6"},
        {__LINE__, REGEX_BYTES, S("[\\x80-\\xff]."), S("a\xFF\xFE\xC3"), "1-3"},
        {__LINE__, 0, S("a\\x00b"), S("xa\0b"), "1-4"},
        {__LINE__, 0, S("\xC3\xA9|\\0"), S("\0\xC3\xA9"), "0-1 1-3"},
        {__LINE__, 0, S("(?:)(a)?(?<n>b)?"), S(""), "0-0(-,-)"},
        {__LINE__, 0, S(" ?\\p{L}+|\\s+(?!\\S)|\\s+"), S("a  b "), "0-1 1-2 2-4 4-5"},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t v = 0; v < sizeof(variants) / sizeof(variants[0]); v++) {
            Regex *regex = NULL;
            Err err = ERR_INIT;
            RegexSpan *spans = NULL;
            size_t n = 0;
            bool ok = regex_create(rows[i].pattern, rows[i].flags | variants[v], &regex, &err);
            ROW_CHECK(&rows[i], ok);
            if (ok) {
                ROW_CHECK(&rows[i],
                          regex_find_all(&arena, regex, rows[i].text, 0, &spans, &n, &err));
                ROW_CHECK_STR(&rows[i], matches_text(&arena, spans, n, regex_groups(regex) + 1),
                              str_from_c(rows[i].want));
            }
            regex_destroy(regex);
        }
    }
    arena_finish(&arena);
}

static void test_regex_find__from_an_offset(void)
{
    for (size_t v = 0; v < sizeof(variants) / sizeof(variants[0]); v++) {
        Regex *regex = NULL;
        Err err = ERR_INIT;
        if (!CHECK_OK(regex_create(STR("\\b(\\w)(x)?"), variants[v], &regex, &err), &err)) {
            continue;
        }
        Str text = STR("ab c\xC3\xA9");
        RegexSpan spans[5] = {{0}};
        bool found = false;
        CHECK_OK(regex_find(regex, text, 0, spans, 5, &found, &err), &err);
        CHECK(found && spans[0].from == 0 && spans[0].to == 1 && spans[1].from == 0);
        CHECK(spans[2].from == STR_NONE && spans[3].from == STR_NONE && spans[4].to == STR_NONE);
        CHECK_OK(regex_find(regex, text, 1, spans, 1, &found, &err), &err);
        CHECK(found && spans[0].from == 3); // b does not start a word: what is before counts
        CHECK_OK(regex_find(regex, text, 6, NULL, 0, &found, &err), &err);
        CHECK(!found);
        CHECK(!regex_find(regex, text, 5, spans, 1, &found, &err)); // inside the last character
        CHECK_INT(err.code, ERR_PARSE);
        CHECK(!regex_find(regex, text, 7, spans, 1, &found, &err)); // past the end
        CHECK_INT(err.code, ERR_PARSE);
        Err bad = ERR_INIT;
        CHECK(!regex_find(regex, STR("a\xFF"), 0, spans, 1, &found, &bad));
        CHECK_STR(str_from_c(bad.message), STR("byte 0xFF at 1 is not UTF-8"));
        CHECK(!regex_find(regex,
                          STR("\xFF"
                              "a"),
                          1, spans, 1, &found, &bad));
        regex_destroy(regex);
    }
    regex_destroy(NULL);
}

static void test_regex_create__refuses(void)
{
    static const struct {
        int line;
        int flags;
        Str pattern;
        ErrCode code;
        const char *part; // of the message
    } rows[] = {
        {__LINE__, 0, S("(a"), ERR_PARSE, "missing closing parenthesis at 2"},
        {__LINE__, 0, S("a)"), ERR_PARSE, "unmatched closing parenthesis at 1"},
        {__LINE__, 0, S("[z-a]"), ERR_PARSE, "range out of order"},
        {__LINE__, 0, S("*a"), ERR_PARSE, "quantifier does not follow a repeatable item at 0"},
        {__LINE__, 0, S("\\"), ERR_PARSE, "at 1"},
        {__LINE__, 0, S("\\1"), ERR_PARSE, "at 1"},
        {__LINE__, 0, S("\\C"), ERR_PARSE, "at 2"}, // one byte of a character
        {__LINE__, 0, S("a\xFF"), ERR_PARSE, "UTF-8"},
        {__LINE__, 0, S("(?<=a*)b"), ERR_PARSE, "lookbehind"},
        {__LINE__, REGEX_BYTES, S("(*UTF)a"), ERR_PARSE, "at "},
        {__LINE__, 0, S("((((a{1,999}){1,999}){1,999}){1,999})"), ERR_PARSE, "too large"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Regex *regex = NULL;
        Err err = ERR_INIT;
        ROW_CHECK(&rows[i], !regex_create(rows[i].pattern, rows[i].flags, &regex, &err));
        ROW_CHECK(&rows[i], err.code == rows[i].code);
        if (strstr(err.message, rows[i].part) == NULL) {
            ROW_CHECK_STR(&rows[i], str_from_c(err.message), str_from_c(rows[i].part));
        }
        regex_destroy(regex);
    }
    Arena arena = {0};
    Regex *regex = NULL;
    Err err = ERR_INIT;
    Str large = {arena_alloc(&arena, 70000, 1), 70000};
    CHECK(!regex_create(large, 0, &regex, &err));
    CHECK_INT(err.code, ERR_LIMIT);
    arena_finish(&arena);
}

static Str repeated(Arena *arena, const char *piece, size_t n)
{
    Buf buf = {0};
    for (size_t i = 0; i < n; i++) {
        buf_c(&buf, piece);
    }
    Str copy = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}

/** Exponential, polynomial, quadratic: each gives up by itself, each well within a second. */
static void test_regex__limits(void)
{
    static const struct {
        int line;
        const char *pattern;
        const char *piece;
        size_t n;
    } rows[] = {
        {__LINE__, "(a+)+$", "a", 0}, // with a b at the end, below
        {__LINE__, "(x+x+)+[yz]", "x", 1000},
        {__LINE__, "a*a*a*a*[bc]", "a", 300}, // cheap from each position, dear in all
        {__LINE__, "a*a*[bc]", "a", 100000},
        {__LINE__, "(a*)\\1\\1[bc]", "a", 5000},
        {__LINE__, "(?:a?){20}(?:a?){20}(?:a?){20}[bc]", "a", 200},
        {__LINE__, "(a(?1)?b|a)*[cd]", "a", 5000},
        {__LINE__, "[^,]*+[,;]", "a", 100000}, // few steps, long moves
        {__LINE__, "(?=[^,]*[,;])x|(?=[^,]*[;,])y", "a", 100000},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Str text = rows[i].n > 0 ? repeated(&arena, rows[i].piece, rows[i].n)
                                 : str_concat(&arena, repeated(&arena, "a", 40), STR("b"));
        for (size_t v = 0; v < 2; v++) {
            Regex *regex = NULL;
            Err err = ERR_INIT;
            bool found;
            RegexSpan span;
            CHECK_OK(regex_create(str_from_c(rows[i].pattern), variants[v], &regex, &err), &err);
            clock_t start = clock(); // of this process: a busy machine is no slow pattern
            ROW_CHECK(&rows[i], !regex_find(regex, text, 0, &span, 1, &found, &err));
            ROW_CHECK(&rows[i], err.code == ERR_LIMIT);
            double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
            ROW_CHECK(&rows[i], seconds < 5); // generous: sanitizers, slow machines
            // One failure does not spoil the next search.
            Err after = ERR_INIT;
            CHECK_OK(regex_find(regex, STR("aab"), 0, &span, 1, &found, &after), &after);
            regex_destroy(regex);
        }
    }
    arena_finish(&arena);
}

static void test_regex_limit_steps__and_count(void)
{
    for (size_t v = 0; v < 2; v++) {
        Regex *regex = NULL;
        Err err = ERR_INIT;
        bool found = false;
        CHECK_OK(regex_create(STR("(?:a|b)*c"), variants[v], &regex, &err), &err);
        CHECK_OK(regex_find(regex, STR("abababc"), 0, NULL, 0, &found, &err), &err);
        uint64_t needed = regex_steps(regex);
        CHECK(found && needed > 7 && needed < 100);
        regex_limit_steps(regex, needed);
        CHECK_OK(regex_find(regex, STR("abababc"), 0, NULL, 0, &found, &err), &err);
        regex_limit_steps(regex, needed - 1);
        CHECK(!regex_find(regex, STR("abababc"), 0, NULL, 0, &found, &err));
        CHECK_INT(err.code, ERR_LIMIT);
        regex_limit_steps(regex, 0);
        Err after = ERR_INIT;
        CHECK_OK(regex_find(regex, STR("abababc"), 0, NULL, 0, &found, &after), &after);
        regex_destroy(regex);
    }
}

/** What long texts ordinarily need stays below the limit, and is linear. */
static void test_regex__long_texts(void)
{
    Arena arena = {0};
    Str text = repeated(&arena, "It's 2024, and na\xC3\xAFve foxes jump.\n", 5000);
    for (size_t v = 0; v < 2; v++) {
        Regex *regex = NULL;
        Err err = ERR_INIT;
        RegexSpan *spans = NULL;
        size_t n = 0;
        CHECK_OK(regex_create(STR("'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                                  " ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"),
                              variants[v], &regex, &err),
                 &err);
        CHECK_OK(regex_find_all(&arena, regex, text, 0, &spans, &n, &err), &err);
        CHECK_INT(n, 5000 * 12);
        size_t at = 0;
        size_t n_wrong = 0;
        for (size_t i = 0; i < n; i++) {
            n_wrong += spans[i].from != at; // the pieces cover the text
            at = spans[i].to;
        }
        CHECK_INT(n_wrong, 0);
        CHECK_INT(at, text.len);
        CHECK_OK(regex_find_all(&arena, regex, text, 3, &spans, &n, &err), &err);
        CHECK_INT(n, 3);
        regex_destroy(regex);
    }
    // Deeper than the machine stack of compiled code: the interpreter takes over.
    Regex *regex = NULL;
    Err err = ERR_INIT;
    bool found = false;
    RegexSpan span;
    CHECK_OK(regex_create(STR("(?:(a)|(b))*c"), 0, &regex, &err), &err);
    Str deep = str_concat(&arena, repeated(&arena, "ab", 10000), STR("c"));
    CHECK_OK(regex_find(regex, deep, 0, &span, 1, &found, &err), &err);
    CHECK(found && span.from == 0 && span.to == deep.len);
    regex_destroy(regex);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("matches", test_regex__matches);
    tap_run("from an offset", test_regex_find__from_an_offset);
    tap_run("refused patterns", test_regex_create__refuses);
    tap_run("limits", test_regex__limits);
    tap_run("steps", test_regex_limit_steps__and_count);
    tap_run("long texts", test_regex__long_texts);
    return tap_done();
}
