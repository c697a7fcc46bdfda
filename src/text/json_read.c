// SPDX-License-Identifier: MIT
// The JSON reader: one pass, recursive by depth (which is limited), strings checked and copied into
// pools that are never larger than the text that is left. Every node carries its line and column.
#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/text_internal.h"

#define JSON_DEFAULT_DEPTH 128
#define JSON_MOST_DEPTH    1024
#define JSON_DEFAULT_BYTES ((size_t)64 * 1024 * 1024)
#define STRING_POOL_BYTES  ((size_t)16 * 1024)

typedef struct Reader {
    Arena *arena;
    const char *begin;
    const char *at;
    const char *end;
    const char *line_start;
    uint32_t line;
    size_t depth;
    size_t max_depth;
    bool keep_last_duplicate;
    char *pool; // room for the next strings
    size_t pool_left;
    NodeStack nodes;
    Err *err;
} Reader;

/** Most rows of a dataset fit here, so that reading one needs no malloc. */
#define FIRST_VALUES 32
#define FIRST_PAIRS  32

static bool read_value(Reader *r, Value *out);

static uint32_t column_of(const Reader *r, const char *at)
{
    return text_clamp_u32((size_t)(at - r->line_start) + 1);
}

#define FAIL(r, at, format, ...)                                                                   \
    ERR_SET((r)->err, ERR_PARSE, "line %u, column %u: " format, (r)->line, column_of((r), (at)),   \
            __VA_ARGS__)

static bool fail_expected(Reader *r, const char *what)
{
    char scratch[32];
    Str text = {r->begin, (size_t)(r->end - r->begin)};
    Str found = text_describe_byte(text, (size_t)(r->at - r->begin), scratch);
    return FAIL(r, r->at, "expected %s, found " STR_FMT, what, STR_ARG(found));
}

static void skip_space(Reader *r)
{
    for (; r->at < r->end; r->at++) {
        char c = *r->at;
        if (c == '\n') {
            r->line++;
            r->line_start = r->at + 1;
        } else if (c != ' ' && c != '\t' && c != '\r') {
            return;
        }
    }
}

// ---- strings ------------------------------------------------------------------------------------

/** Room for a string whose source, without quotes, has this many bytes: its text never needs more.
 */
static char *pool_room(Reader *r, size_t source_len)
{
    size_t need = source_len + 1;
    if (need > r->pool_left) {
        size_t left = (size_t)(r->end - r->at) + 2;
        size_t size = left < STRING_POOL_BYTES ? left : STRING_POOL_BYTES;
        size = size > need ? size : need;
        r->pool = arena_alloc_raw(r->arena, size, 1);
        r->pool_left = size;
    }
    return r->pool;
}

static bool read_hex4(Reader *r, const char *p, uint32_t *out)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p + i < r->end ? p[i] : '\0';
        uint32_t digit;
        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            digit = (uint32_t)((c | 0x20) - 'a') + 10;
        } else {
            return FAIL(r, p - 2, "%s", "\\u needs four hexadecimal digits");
        }
        v = v << 4 | digit;
    }
    *out = v;
    return true;
}

/** *from is behind "\u"; a pair of surrogates is one code point, a lone one becomes U+FFFD. */
static bool read_unicode_escape(Reader *r, const char **from, char **to)
{
    uint32_t c;
    if (!read_hex4(r, *from, &c)) {
        return false;
    }
    *from += 4;
    if (c >= 0xD800 && c <= 0xDBFF && r->end - *from >= 2 && (*from)[0] == '\\' &&
        (*from)[1] == 'u') {
        uint32_t low;
        if (!read_hex4(r, *from + 2, &low)) {
            return false;
        }
        if (low >= 0xDC00 && low <= 0xDFFF) {
            c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
            *from += 6;
        }
    }
    *to += utf8_encode(c, *to);
    return true;
}

static bool read_escape(Reader *r, const char **from, char **to)
{
    static const char codes[] = "\"\\/bfnrt";
    static const char bytes[] = "\"\\/\b\f\n\r\t";
    const char *p = *from + 1;
    char c = p < r->end ? *p : '\0';
    if (c == 'u') {
        *from = p + 1;
        return read_unicode_escape(r, from, to);
    }
    const char *code = c != '\0' ? strchr(codes, c) : NULL;
    if (code == NULL) {
        char scratch[32];
        Str text = {r->begin, (size_t)(r->end - r->begin)};
        Str found = text_describe_byte(text, (size_t)(p - r->begin), scratch);
        return FAIL(r, *from, "unknown escape: \\ before " STR_FMT, STR_ARG(found));
    }
    *(*to)++ = bytes[code - codes];
    *from = p + 1;
    return true;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/** The end of the run of bytes at p that are copied as they are: ASCII but for ", \ and controls.
 */
static const char *plain_run(const char *p, const char *end)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    // Eight bytes at once. A byte that is not plain sets its top bit in `stop`; borrows only reach
    // bytes behind the first one, so the lowest bit is exact.
    const uint64_t ones = 0x0101010101010101u;
    const uint64_t tops = 0x8080808080808080u;
    for (; end - p >= 8; p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        uint64_t quote = (w ^ (ones * '"')) - ones;
        uint64_t slash = (w ^ (ones * '\\')) - ones;
        uint64_t stop = ((w - ones * 0x20) | quote | slash | w) & tops;
        if (stop != 0) {
            return p + (__builtin_ctzll(stop) >> 3);
        }
    }
#endif
    while (p < end && is_plain((unsigned char)*p)) {
        p++;
    }
    return p;
}

/** The closing quote of a string whose text begins at p, by bytes alone; end when it has none. */
static const char *string_end(const char *p, const char *end)
{
    for (;;) {
        p = plain_run(p, end);
        if (p >= end || *p == '"') {
            return p;
        }
        p += *p == '\\' && end - p > 1 ? 2 : 1;
    }
}

static void take_string(Reader *r, const char *start, const char *to, const char *close, Str *out)
{
    *out = (Str){start, (size_t)(to - start)};
    r->pool += out->len + 1;
    r->pool_left -= out->len + 1;
    r->at = close + 1;
}

/** Copy one stretch: an escape, or a character that is not plain; false when it is not allowed. */
static bool read_special(Reader *r, const char **from, char **to)
{
    const char *p = *from;
    if (*p == '\\') {
        return read_escape(r, from, to);
    }
    if ((unsigned char)*p < 0x20) {
        return FAIL(r, p, "byte 0x%02X inside a string must be escaped", (unsigned)*p);
    }
    uint32_t c;
    size_t n = utf8_decode(p, (size_t)(r->end - p), &c);
    if (n == 0) {
        return FAIL(r, p, "byte 0x%02X is not UTF-8", (unsigned)(unsigned char)*p);
    }
    memcpy(*to, p, n);
    *to += n;
    *from += n;
    return true;
}

/** at is on the opening quote. */
static bool read_string(Reader *r, Str *out)
{
    const char *open = r->at;
    const char *from = open + 1;
    const char *stop = plain_run(from, r->end);
    bool simple = stop < r->end && *stop == '"';
    const char *close = simple ? stop : string_end(stop, r->end);
    char *start = pool_room(r, (size_t)(close - from));
    char *to = start;
    for (;;) {
        memcpy(to, from, (size_t)(stop - from));
        to += stop - from;
        from = stop;
        if (from >= r->end) {
            return FAIL(r, open, "%s", "this string is never closed");
        }
        if (*from == '"') {
            break;
        }
        if (!read_special(r, &from, &to)) {
            return false;
        }
        stop = plain_run(from, r->end);
    }
    *to = '\0';
    take_string(r, start, to, from, out);
    return true;
}

// ---- numbers ------------------------------------------------------------------------------------

typedef struct Number {
    bool negative;
    bool is_integer;
    bool exact;        // mantissa holds every digit
    uint64_t mantissa; // digits without the point
    int64_t exponent;  // of ten
} Number;

/** Digits at at; false when there is none. scale is the exponent's change for each digit. */
static bool read_digits(Reader *r, Number *number, int64_t scale)
{
    const char *start = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        uint64_t digit = (uint64_t)(*r->at - '0');
        if (number->mantissa > (UINT64_MAX - 9) / 10) {
            number->exact = false;
        } else {
            number->mantissa = number->mantissa * 10 + digit;
            number->exponent += scale;
        }
    }
    return r->at > start;
}

static bool read_exponent(Reader *r, Number *number)
{
    r->at++;
    bool negative = r->at < r->end && *r->at == '-';
    if (r->at < r->end && (*r->at == '-' || *r->at == '+')) {
        r->at++;
    }
    Number exponent = {.exact = true};
    if (!read_digits(r, &exponent, 0)) {
        return fail_expected(r, "a digit of the exponent");
    }
    int64_t e = exponent.mantissa < 100000 ? (int64_t)exponent.mantissa : 100000;
    number->exponent += negative ? -e : e;
    return true;
}

/** RFC 8259's grammar; at ends behind the number. */
static bool scan_number(Reader *r, Number *number)
{
    *number = (Number){.is_integer = true, .exact = true};
    if (*r->at == '-') {
        number->negative = true;
        r->at++;
    }
    const char *digits = r->at;
    if (!read_digits(r, number, 0)) {
        return fail_expected(r, "a digit");
    }
    if (*digits == '0' && r->at - digits > 1) {
        return FAIL(r, digits, "%s", "a number can not start with 0");
    }
    if (r->at < r->end && *r->at == '.') {
        number->is_integer = false;
        r->at++;
        if (!read_digits(r, number, -1)) {
            return fail_expected(r, "a digit behind the point");
        }
    }
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        number->is_integer = false;
        return read_exponent(r, number);
    }
    return true;
}

/** strtod on a copy that ends in NUL; the locale is always "C" (nothing in the program sets it). */
static double slow_real(const char *start, size_t len)
{
    char small[64];
    char *copy = len < sizeof(small) ? small : mem_alloc(len + 1, 1);
    memcpy(copy, start, len);
    copy[len] = '\0';
    double d = strtod(copy, NULL);
    if (copy != small) {
        mem_free(copy);
    }
    return d;
}

/** Exact by one rounding when digits and power of ten are both exact doubles (Clinger 1990). */
static bool fast_real(const Number *number, double *out)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (!number->exact || number->mantissa > (uint64_t)1 << 53 || number->exponent < -22 ||
        number->exponent > 22) {
        return false;
    }
    double d = (double)number->mantissa;
    d = number->exponent < 0 ? d / powers[-number->exponent] : d * powers[number->exponent];
    *out = number->negative ? -d : d;
    return true;
}

static bool read_number(Reader *r, Value *out)
{
    const char *start = r->at;
    Number number;
    if (!scan_number(r, &number)) {
        return false;
    }
    uint64_t most = (uint64_t)INT64_MAX + number.negative;
    if (number.is_integer && number.exact && number.mantissa <= most) {
        uint64_t bits = number.negative ? 0 - number.mantissa : number.mantissa;
        *out = value_int((int64_t)bits);
        return true;
    }
    double d;
    if (!fast_real(&number, &d)) {
        d = slow_real(start, (size_t)(r->at - start));
    }
    if (!isfinite(d)) {
        return FAIL(r, start, "%s", "this number is too large");
    }
    *out = value_real(d);
    return true;
}

// ---- lists, maps --------------------------------------------------------------------------------

static bool enter(Reader *r)
{
    if (r->depth == r->max_depth) {
        return ERR_SET(r->err, ERR_LIMIT, "line %u, column %u: nested deeper than %zu levels",
                       r->line, column_of(r, r->at), r->max_depth);
    }
    r->depth++;
    r->at++;
    skip_space(r);
    return true;
}

/** Behind an element: true with *out_more after a comma, true without at the closing byte. */
static bool next_element(Reader *r, char close, const char *expected, bool *out_more)
{
    skip_space(r);
    if (r->at < r->end && (*r->at == ',' || *r->at == close)) {
        *out_more = *r->at == ',';
        r->at++;
        return true;
    }
    return fail_expected(r, expected);
}

static bool read_list(Reader *r, Value *out)
{
    size_t base = r->nodes.n_values;
    if (!enter(r)) {
        return false;
    }
    bool more = !(r->at < r->end && *r->at == ']');
    r->at += !more;
    while (more) {
        Value item;
        skip_space(r);
        if (!read_value(r, &item) || !next_element(r, ']', "',' or ']'", &more)) {
            return false;
        }
        node_stack_push_value(&r->nodes, item);
    }
    r->depth--;
    *out = node_stack_cut_list(&r->nodes, base, r->arena);
    return true;
}

/** The first keeps its place in the order, the last gives the value, as Python's dict does it. */
static void keep_last(NodeStack *nodes, size_t base, const uint32_t *first)
{
    ValuePair *pairs = nodes->pairs + base;
    size_t n = nodes->n_pairs - base;
    for (size_t i = 0; i < n; i++) {
        if (first[i] != i) {
            pairs[first[i]].value = pairs[i].value;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (first[i] == i) {
            pairs[kept++] = pairs[i];
        }
    }
    nodes->n_pairs = base + kept;
}

static bool check_duplicates(Reader *r, size_t base)
{
    const ValuePair *pairs = r->nodes.pairs + base;
    size_t n = r->nodes.n_pairs - base;
    uint32_t *first;
    if (n < 2 || pairs_find_duplicates(pairs, n, &first) == 0) {
        return true;
    }
    bool ok = true;
    if (r->keep_last_duplicate) {
        keep_last(&r->nodes, base, first);
    } else {
        size_t i = 0;
        while (first[i] == i) {
            i++;
        }
        Str shown = str_slice(pairs[i].key, 0, 100);
        ok = ERR_SET(r->err, ERR_PARSE, "line %u, column %u: duplicate key \"" STR_FMT "\"",
                     pairs[i].line, pairs[i].col, STR_ARG(shown));
    }
    mem_free(first);
    return ok;
}

static bool read_pair(Reader *r, ValuePair *out)
{
    skip_space(r);
    if (r->at >= r->end || *r->at != '"') {
        return fail_expected(r, "a key in double quotes");
    }
    out->line = r->line;
    out->col = column_of(r, r->at);
    if (!read_string(r, &out->key)) {
        return false;
    }
    skip_space(r);
    if (r->at >= r->end || *r->at != ':') {
        return fail_expected(r, "':'");
    }
    r->at++;
    skip_space(r);
    return read_value(r, &out->value);
}

static bool read_map(Reader *r, Value *out)
{
    size_t base = r->nodes.n_pairs;
    if (!enter(r)) {
        return false;
    }
    bool more = !(r->at < r->end && *r->at == '}');
    r->at += !more;
    while (more) {
        ValuePair pair;
        if (!read_pair(r, &pair) || !next_element(r, '}', "',' or '}'", &more)) {
            return false;
        }
        node_stack_push_pair(&r->nodes, pair);
    }
    r->depth--;
    if (!check_duplicates(r, base)) {
        return false;
    }
    *out = node_stack_cut_map(&r->nodes, base, r->arena);
    return true;
}

static bool read_word(Reader *r, Str word, Value value, Value *out)
{
    Str rest = {r->at, (size_t)(r->end - r->at)};
    if (!str_starts_with(rest, word)) {
        return fail_expected(r, "a value");
    }
    r->at += word.len;
    *out = value;
    return true;
}

static bool read_value_at(Reader *r, Value *out)
{
    switch (r->at < r->end ? *r->at : '\0') {
    case '{':
        return read_map(r, out);
    case '[':
        return read_list(r, out);
    case '"': {
        Str s;
        if (!read_string(r, &s)) {
            return false;
        }
        *out = value_str(s);
        return true;
    }
    case 't':
        return read_word(r, STR("true"), value_bool(true), out);
    case 'f':
        return read_word(r, STR("false"), value_bool(false), out);
    case 'n':
        return read_word(r, STR("null"), value_null(), out);
    default:
        if (r->at < r->end && (*r->at == '-' || (*r->at >= '0' && *r->at <= '9'))) {
            return read_number(r, out);
        }
        return fail_expected(r, "a value");
    }
}

/** Space before the value is already skipped. */
static bool read_value(Reader *r, Value *out)
{
    uint32_t line = r->line;
    uint32_t col = column_of(r, r->at);
    if (!read_value_at(r, out)) {
        return false;
    }
    out->line = line;
    out->col = col;
    return true;
}

bool json_parse(Arena *arena, Str text, const JsonOptions *options, Value *out, size_t *out_used,
                Err *err)
{
    JsonOptions o = options != NULL ? *options : (JsonOptions){0};
    size_t max_bytes = o.max_bytes > 0 ? o.max_bytes : JSON_DEFAULT_BYTES;
    if (text.len > max_bytes) {
        return ERR_SET(err, ERR_LIMIT, "JSON of %zu bytes; the most is %zu", text.len, max_bytes);
    }
    Str body = text_drop_bom(text);
    size_t depth = o.max_depth > 0 ? o.max_depth : JSON_DEFAULT_DEPTH;
    Reader r = {
        .arena = arena,
        .begin = body.data,
        .at = body.data,
        .end = body.data + body.len,
        .line_start = body.data,
        .line = 1,
        .max_depth = depth < JSON_MOST_DEPTH ? depth : JSON_MOST_DEPTH,
        .keep_last_duplicate = o.keep_last_duplicate,
        .err = err,
    };
    Value values[FIRST_VALUES];
    ValuePair pairs[FIRST_PAIRS];
    node_stack_init(&r.nodes, values, FIRST_VALUES, pairs, FIRST_PAIRS);
    skip_space(&r);
    Value value;
    bool ok = read_value(&r, &value);
    if (ok && !o.trailing) {
        skip_space(&r);
        if (r.at < r.end) {
            ok = fail_expected(&r, "the end of the text");
        }
    }
    node_stack_finish(&r.nodes);
    if (!ok) {
        return false;
    }
    *out = value;
    if (out_used != NULL) {
        *out_used = (size_t)(r.at - text.data);
    }
    return true;
}
