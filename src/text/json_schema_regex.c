// SPDX-License-Identifier: MIT
// ECMA-262 patterns (flag u) rewritten for PCRE2: what the two write alike and mean differently is
// spelled out, what only PCRE2 knows is refused, so that a pattern means here what it means to
// every other checker. Somewhat laxer than the standard: any punctuation may be escaped, and a
// brace that starts no quantifier is itself.
#include "text/json_schema_internal.h"

#include <ctype.h>
#include <string.h>

// White space and line ends of ECMA-262, and all that is neither, as members of a class.
#define SPACES                                                                                     \
    "\\t\\n\\x{b}\\f\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"   \
    "\\x{3000}\\x{feff}"
#define NO_SPACES                                                                                  \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"               \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"                 \
    "\\x{3001}-\\x{d7ff}\\x{e000}-\\x{fefe}\\x{ff00}-\\x{10ffff}"

/** Where a pattern is read, and what it becomes. */
typedef struct Reader {
    Str s;
    size_t at;
    Buf out;
    bool atom; // what came last can be repeated
    Err *err;
} Reader;

static bool refuse(const Reader *reader, size_t at, const char *what)
{
    return ERR_SET(reader->err, ERR_PARSE, "pattern: %s at %zu", what, at);
}

static char peek(const Reader *reader, size_t ahead)
{
    size_t at = reader->at + ahead;
    return at < reader->s.len ? reader->s.data[at] : '\0';
}

static bool has_more(const Reader *reader)
{
    return reader->at < reader->s.len;
}

static void put_code(Reader *reader, uint32_t code)
{
    buf_printf(&reader->out, "\\x{%x}", (unsigned)code);
}

// ---- Escapes ------------------------------------------------------------------------------------

/** n hexadecimal digits at an offset ahead. */
static bool hex_at(const Reader *reader, size_t ahead, size_t n, uint32_t *out)
{
    uint32_t value = 0;
    for (size_t i = 0; i < n; i++) {
        char c = peek(reader, ahead + i);
        if (!isxdigit((unsigned char)c)) {
            return false;
        }
        value = value * 16 + (uint32_t)(isdigit((unsigned char)c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    *out = value;
    return true;
}

/** After \u: four digits, a pair of surrogates, or digits in braces. */
static bool escape_unicode(Reader *reader, size_t start)
{
    uint32_t code = 0;
    if (peek(reader, 0) == '{') {
        size_t n = 1;
        while (isxdigit((unsigned char)peek(reader, n)) && n < 9) {
            n++;
        }
        if (n == 1 || peek(reader, n) != '}' || !hex_at(reader, 1, n - 1, &code) ||
            code > 0x10ffff) {
            return refuse(reader, start, "\\u{...} needs a code point");
        }
        reader->at += n + 1;
    } else {
        if (!hex_at(reader, 0, 4, &code)) {
            return refuse(reader, start, "\\u needs four hexadecimal digits");
        }
        reader->at += 4;
        uint32_t low = 0;
        if (code >= 0xd800 && code < 0xdc00 && peek(reader, 0) == '\\' && peek(reader, 1) == 'u' &&
            hex_at(reader, 2, 4, &low) && low >= 0xdc00 && low < 0xe000) {
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            reader->at += 6;
        }
    }
    // A half of a pair is in no text: ours are UTF-8, where the reader has put U+FFFD in its place.
    put_code(reader, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
    return true;
}

/** Long names of general categories that PCRE2 knows by their letters only. */
static const char *const categories[][2] = {
    {"Letter", "L"},
    {"Cased_Letter", "L&"},
    {"LC", "L&"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Titlecase_Letter", "Lt"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Combining_Mark", "M"},
    {"Nonspacing_Mark", "Mn"},
    {"Spacing_Mark", "Mc"},
    {"Enclosing_Mark", "Me"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"digit", "Nd"},
    {"Letter_Number", "Nl"},
    {"Other_Number", "No"},
    {"Symbol", "S"},
    {"Math_Symbol", "Sm"},
    {"Currency_Symbol", "Sc"},
    {"Modifier_Symbol", "Sk"},
    {"Other_Symbol", "So"},
    {"Punctuation", "P"},
    {"punct", "P"},
    {"Connector_Punctuation", "Pc"},
    {"Dash_Punctuation", "Pd"},
    {"Open_Punctuation", "Ps"},
    {"Close_Punctuation", "Pe"},
    {"Initial_Punctuation", "Pi"},
    {"Final_Punctuation", "Pf"},
    {"Other_Punctuation", "Po"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Line_Separator", "Zl"},
    {"Paragraph_Separator", "Zp"},
    {"Other", "C"},
    {"Control", "Cc"},
    {"cntrl", "Cc"},
    {"Format", "Cf"},
    {"Surrogate", "Cs"},
    {"Private_Use", "Co"},
    {"Unassigned", "Cn"},
};

static Str category_of(Str name)
{
    for (size_t i = 0; i < sizeof(categories) / sizeof(categories[0]); i++) {
        if (str_eq_c(name, categories[i][0])) {
            return str_from_c(categories[i][1]);
        }
    }
    return name;
}

/** After \p or \P. */
static bool escape_property(Reader *reader, char letter, size_t start)
{
    size_t n = 1;
    while (isalnum((unsigned char)peek(reader, n)) || peek(reader, n) == '_' ||
           peek(reader, n) == '=') {
        n++;
    }
    if (peek(reader, 0) != '{' || n == 1 || peek(reader, n) != '}') {
        return refuse(reader, start, "\\p needs a property in braces");
    }
    Str name = str_slice(reader->s, reader->at + 1, reader->at + n);
    Str key = STR_EMPTY;
    Str value = name;
    if (str_cut(name, STR("="), &key, &value)) {
        static const char *const keys[] = {"General_Category",  "gc", "Script", "sc",
                                           "Script_Extensions", "scx"};
        bool known = false;
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
            known = known || str_eq_c(key, keys[i]);
        }
        if (!known) {
            return refuse(reader, start, "unknown property");
        }
    } else {
        value = name;
    }
    reader->at += n + 1;
    buf_printf(&reader->out, "\\%c{" STR_FMT "}", letter, STR_ARG(category_of(value)));
    return true;
}

/** Classes by a letter, inside or outside brackets. */
static bool escape_class(Reader *reader, char c, bool in_class)
{
    const char *inside = NULL;
    switch (c) {
    case 'd':
        inside = "0-9";
        break;
    case 'D':
        inside = "\\x{0}-/:-\\x{10ffff}";
        break;
    case 'w':
        inside = "A-Za-z0-9_";
        break;
    case 'W':
        inside = "\\x{0}-/:-@\\[-\\^`{-\\x{10ffff}";
        break;
    case 's':
        inside = SPACES;
        break;
    case 'S':
        inside = NO_SPACES;
        break;
    default:
        return false;
    }
    buf_printf(&reader->out, in_class ? "%s" : "[%s]", inside);
    return true;
}

/** \k<name> and \1: as they are. */
static bool escape_back(Reader *reader, char c, size_t start)
{
    if (c == 'k') {
        size_t n = 1;
        while (isalnum((unsigned char)peek(reader, n)) || peek(reader, n) == '_') {
            n++;
        }
        if (peek(reader, 0) != '<' || n == 1 || peek(reader, n) != '>') {
            return refuse(reader, start, "\\k needs the name of a group");
        }
        buf_printf(&reader->out, "\\k" STR_FMT,
                   STR_ARG(str_slice(reader->s, reader->at, reader->at + n + 1)));
        reader->at += n + 1;
        return true;
    }
    unsigned number = (unsigned)(c - '0');
    while (isdigit((unsigned char)peek(reader, 0)) && number < 1000) {
        number = number * 10 + (unsigned)(peek(reader, 0) - '0');
        reader->at++;
    }
    buf_printf(&reader->out, "\\g{%u}", number);
    return true;
}

/** Escapes of one character. */
static bool escape_character(Reader *reader, char c, size_t start)
{
    static const char letters[] = "tnvfr";
    static const char codes[] = "\t\n\v\f\r";
    const char *letter = c == '\0' ? NULL : strchr(letters, c);
    uint32_t code = 0;
    if (letter != NULL) {
        put_code(reader, (uint32_t)codes[letter - letters]);
        return true;
    }
    if (c == 'u') {
        return escape_unicode(reader, start);
    }
    if (c == 'x') {
        if (!hex_at(reader, 0, 2, &code)) {
            return refuse(reader, start, "\\x needs two hexadecimal digits");
        }
        reader->at += 2;
        put_code(reader, code);
        return true;
    }
    if (c == 'c') {
        if (!isalpha((unsigned char)peek(reader, 0))) {
            return refuse(reader, start, "\\c needs a letter");
        }
        put_code(reader, (uint32_t)peek(reader, 0) & 31);
        reader->at++;
        return true;
    }
    if (c == '0' && !isdigit((unsigned char)peek(reader, 0))) {
        put_code(reader, 0);
        return true;
    }
    if ((unsigned char)c < 0x80 && !isalnum((unsigned char)c)) {
        buf_printf(&reader->out, "\\x{%x}", (unsigned)c);
        return true;
    }
    return refuse(reader, start, "unknown escape");
}

static bool read_escape(Reader *reader, bool in_class)
{
    size_t start = reader->at++;
    if (!has_more(reader)) {
        return refuse(reader, start, "a backslash at the end");
    }
    char c = reader->s.data[reader->at++];
    reader->atom = true;
    if (escape_class(reader, c, in_class)) {
        return true;
    }
    if (c == 'p' || c == 'P') {
        return escape_property(reader, c, start);
    }
    if (in_class) {
        if (c == 'b') {
            put_code(reader, 8);
            return true;
        }
        return escape_character(reader, c, start);
    }
    if (c == 'b' || c == 'B') {
        reader->atom = false;
        buf_printf(&reader->out, "\\%c", c);
        return true;
    }
    if (c == 'k' || (c >= '1' && c <= '9')) {
        return escape_back(reader, c, start);
    }
    return escape_character(reader, c, start);
}

// ---- The rest -----------------------------------------------------------------------------------

static bool read_class(Reader *reader)
{
    size_t start = reader->at++;
    bool negated = peek(reader, 0) == '^';
    reader->at += negated;
    reader->atom = true;
    if (peek(reader, 0) == ']') { // nothing, or anything
        reader->at++;
        buf_c(&reader->out, negated ? "[\\x{0}-\\x{10ffff}]" : "(?!)");
        return true;
    }
    buf_c(&reader->out, negated ? "[^" : "[");
    while (has_more(reader)) {
        char c = reader->s.data[reader->at];
        if (c == ']') {
            reader->at++;
            buf_char(&reader->out, ']');
            return true;
        }
        if (c == '\\') {
            if (!read_escape(reader, true)) {
                return false;
            }
            continue;
        }
        if (c == '[' || c == '^') {
            buf_char(&reader->out, '\\');
        }
        buf_char(&reader->out, c);
        reader->at++;
    }
    return refuse(reader, start, "a class without its end");
}

static bool read_group(Reader *reader)
{
    static const char *const openings[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!"};
    size_t start = reader->at;
    Str rest = str_slice(reader->s, start, reader->s.len);
    reader->atom = false;
    if (peek(reader, 1) != '?') {
        buf_char(&reader->out, '(');
        reader->at++;
        return true;
    }
    for (size_t i = 0; i < sizeof(openings) / sizeof(openings[0]); i++) {
        if (str_starts_with(rest, str_from_c(openings[i]))) {
            buf_c(&reader->out, openings[i]);
            reader->at += strlen(openings[i]);
            return true;
        }
    }
    size_t n = 3;
    while (isalnum((unsigned char)peek(reader, n)) || peek(reader, n) == '_') {
        n++;
    }
    if (peek(reader, 2) != '<' || n == 3 || peek(reader, n) != '>') {
        return refuse(reader, start, "unknown kind of group");
    }
    buf_str(&reader->out, str_slice(rest, 0, n + 1));
    reader->at += n + 1;
    return true;
}

/** Bytes of a quantifier in braces: {2} {2,} {2,3}; 0 when it is none. */
static size_t braces_length(const Reader *reader)
{
    size_t n = 1;
    while (isdigit((unsigned char)peek(reader, n))) {
        n++;
    }
    if (n == 1) {
        return 0;
    }
    if (peek(reader, n) == ',') {
        n++;
        while (isdigit((unsigned char)peek(reader, n))) {
            n++;
        }
    }
    return peek(reader, n) == '}' ? n + 1 : 0;
}

static bool read_quantifier(Reader *reader, size_t n)
{
    if (!reader->atom) {
        return refuse(reader, reader->at, "nothing to repeat");
    }
    buf_str(&reader->out, str_slice(reader->s, reader->at, reader->at + n));
    reader->at += n;
    if (peek(reader, 0) == '?') {
        buf_char(&reader->out, '?');
        reader->at++;
    }
    reader->atom = false; // so that a possessive + is refused
    return true;
}

static bool read_one(Reader *reader)
{
    char c = reader->s.data[reader->at];
    switch (c) {
    case '\\':
        return read_escape(reader, false);
    case '[':
        return read_class(reader);
    case '(':
        return read_group(reader);
    case '*':
    case '+':
    case '?':
        return read_quantifier(reader, 1);
    case '{':
        if (braces_length(reader) > 0) {
            return read_quantifier(reader, braces_length(reader));
        }
        break;
    case '.':
        buf_c(&reader->out, "[^\\n\\r\\x{2028}\\x{2029}]");
        break;
    case '^':
        buf_c(&reader->out, "\\A");
        break;
    case '$':
        buf_c(&reader->out, "\\z");
        break;
    default:
        break;
    }
    if (c == '{' || c == '}' || c == ']') {
        buf_printf(&reader->out, "\\%c", c);
    } else if (c != '.' && c != '^' && c != '$') {
        buf_char(&reader->out, c);
    }
    reader->atom = strchr("^$|", c) == NULL;
    reader->at++;
    return true;
}

bool ecma_regex_create(Str pattern, Regex **out, Err *err)
{
    Reader reader = {.s = pattern, .err = err};
    buf_init(&reader.out, 1 << 20);
    bool ok = utf8_is_valid(pattern) || ERR_SET(err, ERR_PARSE, "pattern: not UTF-8");
    while (ok && has_more(&reader)) {
        ok = reader.s.data[reader.at] != '\0' ? read_one(&reader)
                                              : (put_code(&reader, 0), reader.at++, true);
    }
    ok = ok && regex_create(buf_view(&reader.out), REGEX_ASCII | REGEX_NO_JIT, out, err);
    buf_finish(&reader.out);
    return ok;
}
