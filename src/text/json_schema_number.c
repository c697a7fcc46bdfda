// SPDX-License-Identifier: MIT
// Numbers and equality as JSON Schema has them, without rounding: an integer and a real are
// compared exactly, and multiples are those of the decimals as written.
#include "text/json_schema_internal.h"

#include <math.h>
#include <string.h>

#define I64_LIMIT 9223372036854775808.0 // 2^63

bool json_is_number(const Value *value)
{
    return value->kind == VALUE_INT || value->kind == VALUE_REAL;
}

bool json_is_integer(const Value *value)
{
    return value->kind == VALUE_INT ||
           (value->kind == VALUE_REAL && value->as.real == floor(value->as.real));
}

static int order(double a, double b)
{
    return (a > b) - (a < b);
}

static int compare_int_real(int64_t i, double d)
{
    if (d >= I64_LIMIT) {
        return -1;
    }
    if (d < -I64_LIMIT) {
        return 1;
    }
    int64_t whole = (int64_t)d; // toward zero
    if (i != whole) {
        return i < whole ? -1 : 1;
    }
    return order(0, d - (double)whole);
}

int json_compare(const Value *a, const Value *b)
{
    if (a->kind == VALUE_INT && b->kind == VALUE_INT) {
        return (a->as.integer > b->as.integer) - (a->as.integer < b->as.integer);
    }
    if (a->kind == VALUE_INT) {
        return compare_int_real(a->as.integer, b->as.real);
    }
    if (b->kind == VALUE_INT) {
        return -compare_int_real(b->as.integer, a->as.real);
    }
    return order(a->as.real, b->as.real);
}

// ---- Multiples ----------------------------------------------------------------------------------

__extension__ typedef unsigned __int128 Wide;

/** digits * 10^exponent, without a sign. */
typedef struct Decimal {
    uint64_t digits;
    int exponent;
} Decimal;

static Decimal decimal_of(const Value *value)
{
    Decimal out = {0};
    if (value->kind == VALUE_INT) {
        out.digits =
            value->as.integer < 0 ? 0 - (uint64_t)value->as.integer : (uint64_t)value->as.integer;
        return out;
    }
    char text[40]; // at most 17 digits: they fit
    text_format_real(fabs(value->as.real), text);
    bool fraction = false;
    const char *at = text;
    for (; *at != '\0' && *at != 'e'; at++) {
        if (*at == '.') {
            fraction = true;
        } else if (out.digits <= (UINT64_MAX - 9) / 10) {
            out.digits = out.digits * 10 + (uint64_t)(*at - '0');
            out.exponent -= fraction;
        } else { // zeros that only fill up to the point
            out.exponent += !fraction;
        }
    }
    int64_t power = 0;
    if (*at == 'e' && str_to_i64(str_from_c(at[1] == '+' ? at + 2 : at + 1), &power)) {
        out.exponent += (int)power;
    }
    return out;
}

static uint64_t power_mod(uint64_t base, unsigned exponent, uint64_t modulus)
{
    Wide result = 1 % modulus;
    Wide square = base % modulus;
    for (; exponent > 0; exponent >>= 1) {
        result = exponent & 1 ? result * square % modulus : result;
        square = square * square % modulus;
    }
    return (uint64_t)result;
}

bool json_multiple_of(const Value *a, const Value *b)
{
    Decimal x = decimal_of(a);
    Decimal y = decimal_of(b);
    if (x.digits == 0 || y.digits == 0) {
        return x.digits == 0;
    }
    int shift = x.exponent - y.exponent;
    if (shift >= 0) {
        uint64_t power = power_mod(10, (unsigned)shift, y.digits);
        return (Wide)(x.digits % y.digits) * power % y.digits == 0;
    }
    if (shift < -19) { // more than x has digits
        return false;
    }
    Wide divisor = y.digits;
    for (; shift < 0; shift++) {
        divisor *= 10;
    }
    return x.digits % divisor == 0;
}

// ---- Equality -----------------------------------------------------------------------------------

static bool maps_equal(JsonSchema *schema, const Value *a, const Value *b)
{
    for (size_t i = 0; i < a->as.map.n; i++) {
        const ValuePair *pair = &a->as.map.pairs[i];
        if (!schema_charge(schema, 1 + b->as.map.n / 8)) {
            return true;
        }
        const Value *other = value_get(b, pair->key);
        if (other == NULL || !json_equal(schema, &pair->value, other)) {
            return false;
        }
    }
    return true;
}

bool json_equal(JsonSchema *schema, const Value *a, const Value *b)
{
    if (!schema_charge(schema, 1)) {
        return true;
    }
    if (json_is_number(a) && json_is_number(b)) {
        return json_compare(a, b) == 0;
    }
    if (a->kind != b->kind) {
        return false;
    }
    switch ((ValueKind)a->kind) {
    case VALUE_BOOL:
        return a->as.boolean == b->as.boolean;
    case VALUE_STR:
        return str_eq(a->as.str, b->as.str);
    case VALUE_LIST:
        if (a->as.list.n != b->as.list.n) {
            return false;
        }
        for (size_t i = 0; i < a->as.list.n; i++) {
            if (!json_equal(schema, &a->as.list.items[i], &b->as.list.items[i])) {
                return false;
            }
        }
        return true;
    case VALUE_MAP:
        return a->as.map.n == b->as.map.n && maps_equal(schema, a, b);
    case VALUE_NULL:
    case VALUE_INT:
    case VALUE_REAL:
        break;
    }
    return true;
}

uint64_t json_hash(JsonSchema *schema, const Value *value)
{
    uint64_t hash = value->kind;
    if (!schema_charge(schema, 1)) {
        return 0;
    }
    if (json_is_number(value)) {
        double d = value->kind == VALUE_INT ? (double)value->as.integer : value->as.real;
        d = d == 0 ? 0 : d; // -0 is 0
        memcpy(&hash, &d, sizeof(hash));
        return rng_mix(hash ^ 0x6e756d);
    }
    switch ((ValueKind)value->kind) {
    case VALUE_BOOL:
        return rng_mix(0x626f6f + (uint64_t)value->as.boolean);
    case VALUE_STR:
        schema_charge(schema, value->as.str.len / 64);
        return rng_mix(hash_fast(value->as.str.data, value->as.str.len));
    case VALUE_LIST:
        for (size_t i = 0; i < value->as.list.n; i++) {
            hash = rng_mix(hash ^ json_hash(schema, &value->as.list.items[i]));
        }
        return hash;
    case VALUE_MAP:
        for (size_t i = 0; i < value->as.map.n; i++) { // a sum: order does not matter
            const ValuePair *pair = &value->as.map.pairs[i];
            hash += rng_mix(hash_fast(pair->key.data, pair->key.len) ^
                            rng_mix(json_hash(schema, &pair->value)));
        }
        return rng_mix(hash);
    case VALUE_NULL:
    case VALUE_INT:
    case VALUE_REAL:
        break;
    }
    return rng_mix(hash);
}
