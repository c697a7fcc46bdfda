// SPDX-License-Identifier: MIT
// Policies of gates: from maps, from an eval's own, from flags, and what is wrong with them.
#include "results/gate.h"

#include "text/text.h"

#include "fixture.h"

static GatePolicy policy_of(Arena *arena, const char *text)
{
    Err err = ERR_INIT;
    GatePolicy policy = {0};
    Value *map = ARENA_NEW(arena, Value);
    *map = json(arena, text);
    CHECK_OK(gate_policy_from_value(arena, map, STR_EMPTY, &policy, &err), &err);
    return policy;
}

// ---- Policies -----------------------------------------------------------------------------------

static void test_policy__demands_of_a_map(void)
{
    Arena arena = {0};
    GatePolicy policy = policy_of(
        &arena, "{\"gate\":\"g\",\"min\":{\"a\":0.5,\"b\":{\"exact.accuracy\":1,\"accuracy\":"
                "{\"source=x\":0.25}}},\"max\":{\"a\":{\"bits\":3}},\"max_regression\":0.02,"
                "\"confidence\":0.9,\"mode\":\"noninferiority\",\"detect\":0.2,"
                "\"must_pass\":{\"tag\":[\"s\",\"t\"]},\"budget\":{\"cost_usd\":5,\"tokens\":7,"
                "\"error_rate\":0.5,\"p95_latency_s\":2}}");
    static const struct {
        GateDemandKind kind;
        const char *eval;
        const char *metric;
        const char *slice;
        double bound;
    } want[] = {
        {GATE_DEMAND_MIN, "a", "", "", 0.5},
        {GATE_DEMAND_MIN, "b", "exact.accuracy", "", 1},
        {GATE_DEMAND_MIN, "b", "accuracy", "source=x", 0.25},
        {GATE_DEMAND_MAX, "a", "bits", "", 3},
        {GATE_DEMAND_LOSS, "", "", "", 0.02},
        {GATE_DEMAND_MUST_PASS, "", "", "", 0},
        {GATE_DEMAND_COST, "", "", "", 5},
        {GATE_DEMAND_TOKENS, "", "", "", 7},
        {GATE_DEMAND_ERROR_RATE, "", "", "", 0.5},
        {GATE_DEMAND_LATENCY, "", "", "", 2},
    };
    size_t n = sizeof(want) / sizeof(want[0]);
    CHECK_INT(policy.n_demands, n);
    CHECK_STR(policy.name, STR("g"));
    for (size_t i = 0; i < n && i < policy.n_demands; i++) {
        const GateDemand *got = &policy.demands[i];
        CHECK_INT(got->kind, want[i].kind);
        CHECK_STR(got->eval, str_from_c(want[i].eval));
        CHECK_STR(got->metric, str_from_c(want[i].metric));
        CHECK_STR(got->slice, str_from_c(want[i].slice));
        CHECK_NEAR(got->bound, want[i].bound, 0);
        CHECK_NEAR(got->confidence, 0.9, 0);
        CHECK_NEAR(got->detect, 0.2, 0);
        CHECK_INT(got->mode, GATE_NONINFERIORITY);
    }
    CHECK_INT(policy.demands[5].n_tags, 2);
    arena_finish(&arena);
}

static void test_policy__an_evals_own(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    GatePolicy policy;
    Value map = json(&arena, "{\"min\":{\"accuracy\":0.5,\"f1\":{\"k=v\":1}},"
                             "\"max_regression\":0.1,\"budget\":{\"tokens\":1}}");
    CHECK_OK(gate_policy_from_value(&arena, &map, STR("e"), &policy, &err), &err);
    CHECK_INT(policy.n_demands, 4);
    for (size_t i = 0; i < policy.n_demands; i++) {
        CHECK_STR(policy.demands[i].eval, STR("e"));
    }
    CHECK_STR(policy.demands[0].metric, STR("accuracy"));
    CHECK_STR(policy.demands[1].slice, STR("k=v"));
    CHECK_STR(policy.demands[2].metric, STR_EMPTY);             // the headline
    map = json(&arena, "{\"min\":{\"e\":{\"accuracy\":0.5}}}"); // as in a gate file
    CHECK_OK(gate_policy_from_value(&arena, &map, STR("e"), &policy, &err), &err);
    CHECK_INT(policy.n_demands, 1);
    CHECK_STR(policy.demands[0].metric, STR("accuracy"));
    arena_finish(&arena);
}

static void test_policy__faults(void)
{
    static const struct {
        int line;
        const char *map;
        const char *says;
    } cases[] = {
        {__LINE__, "[]", "has to be a map"},
        {__LINE__, "{\"gate\":\"g\"}", "gate 'g' has no checks"},
        {__LINE__, "{\"min\":0.5}", "min has to be a map of bounds"},
        {__LINE__, "{\"min\":{\"a\":\"x\"}}", "min: 'a' has to be a number"},
        {__LINE__, "{\"min\":{\"a\":{\"b\":{\"c\":1}}}}", "'c' is no slice"},
        {__LINE__, "{\"min\":{\"a\":{\"b\":{\"c=d\":[]}}}}", "'c=d' has to be a number"},
        {__LINE__, "{\"max_regression\":-0.1}", "max_regression has to be 0 or more"},
        {__LINE__, "{\"max_regression\":{\"a\":-1}}", "'a' has to be 0 or more"},
        {__LINE__, "{\"max_regression\":true}", "max_regression has to be a number"},
        {__LINE__, "{\"budget\":{\"error_rate\":2}}", "error_rate is a share"},
        {__LINE__, "{\"budget\":{\"money\":2}}", "'money' is none of"},
        {__LINE__, "{\"budget\":5}", "budget has to be a map"},
        {__LINE__, "{\"must_pass\":{\"tag\":[]}}", "must_pass needs a tag"},
        {__LINE__, "{\"must_pass\":{\"tag\":[1]}}", "'tag' has to be a text"},
        {__LINE__, "{\"must_pass\":\"smoke\"}", "must_pass needs a tag"},
        {__LINE__, "{\"confidence\":0.5,\"min\":{\"a\":1}}", "confidence has to be above 0.5"},
        {__LINE__, "{\"confidence\":1,\"min\":{\"a\":1}}", "confidence has to be above 0.5"},
        {__LINE__, "{\"detect\":-1,\"min\":{\"a\":1}}", "detect has to be 0 or more"},
        {__LINE__, "{\"mode\":\"strict\",\"min\":{\"a\":1}}", "neither regression nor"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Arena arena = {0};
        Err err = ERR_INIT;
        GatePolicy policy;
        Value map = json(&arena, cases[i].map);
        if (gate_policy_from_value(&arena, &map, STR_EMPTY, &policy, &err) ||
            !has_text(err.message, cases[i].says)) {
            tap_checks_failed++;
            printf("# line %d: %s\n", cases[i].line, err.message);
        }
        arena_finish(&arena);
    }
}

static GateFlags no_flags(void)
{
    return (GateFlags){.detect = NAN,
                       .budget_error_rate = NAN,
                       .budget_cost_usd = NAN,
                       .budget_p95_latency_s = NAN,
                       .budget_tokens = NAN};
}

static void test_flags__demands(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    static const Str min[] = {STR_INIT("a=0.5"), STR_INIT("b.exact.accuracy=1"),
                              STR_INIT("b.accuracy[source=x=y]=0.25"), STR_INIT("a=0.75")};
    static const Str loss[] = {STR_INIT("0.02"), STR_INIT("a=0.1"), STR_INIT("a.f1=0")};
    static const Str tags[] = {STR_INIT("tag=a=b")};
    GateFlags flags = no_flags();
    flags.min = min;
    flags.n_min = 4;
    flags.max_regression = loss;
    flags.n_max_regression = 3;
    flags.must_pass = tags;
    flags.n_must_pass = 1;
    flags.budget_tokens = 0;
    GatePolicy policy = policy_of(&arena, "{\"gate\":\"g\",\"min\":{\"c\":1},\"detect\":0.3,"
                                          "\"max_regression\":0.5}");
    flags.confidence = 0.99;
    flags.mode = STR("noninferiority");
    CHECK_OK(gate_policy_add_flags(&arena, &policy, &flags, &err), &err);
    CHECK_INT(policy.n_demands, 9); // a's second bound replaced its first, 0.02 the policy's 0.5
    static const double bounds[] = {1, 0.02, 0.75, 1, 0.25, 0.1, 0, 0, 0};
    for (size_t i = 0; i < 9 && i < policy.n_demands; i++) {
        CHECK_NEAR(policy.demands[i].bound, bounds[i], 0);
        CHECK_NEAR(policy.demands[i].confidence, 0.99, 0);
        CHECK_NEAR(policy.demands[i].detect, 0.3, 0);
        CHECK_INT(policy.demands[i].mode, GATE_NONINFERIORITY);
    }
    CHECK_STR(policy.demands[3].eval, STR("b"));
    CHECK_STR(policy.demands[3].metric, STR("exact.accuracy"));
    CHECK_STR(policy.demands[4].slice, STR("source=x=y"));
    CHECK_STR(policy.demands[7].tags[0], STR("a=b"));
    arena_finish(&arena);
}

static void test_flags__faults(void)
{
    static const struct {
        int line;
        bool is_loss;
        const char *text;
    } cases[] = {
        {__LINE__, false, "0.5"},         {__LINE__, false, "=0.5"},    {__LINE__, false, "a."},
        {__LINE__, false, "a.=1"},        {__LINE__, false, "a=x"},     {__LINE__, false, "a=nan"},
        {__LINE__, false, "a=inf"},       {__LINE__, false, "a[b=c=1"}, {__LINE__, false, "a[b]=1"},
        {__LINE__, false, ".accuracy=1"}, {__LINE__, true, "-0.1"},     {__LINE__, true, "a=-0.1"},
        {__LINE__, true, "two"},          {__LINE__, true, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Arena arena = {0};
        Err err = ERR_INIT;
        GatePolicy policy = {0};
        GateFlags flags = no_flags();
        Str text = str_from_c(cases[i].text);
        flags.min = cases[i].is_loss ? NULL : &text;
        flags.n_min = !cases[i].is_loss;
        flags.max_regression = cases[i].is_loss ? &text : NULL;
        flags.n_max_regression = cases[i].is_loss;
        if (gate_policy_add_flags(&arena, &policy, &flags, &err) || err.code != ERR_USAGE) {
            tap_checks_failed++;
            printf("# line %d: '%s' is taken\n", cases[i].line, cases[i].text);
        }
        arena_finish(&arena);
    }
}

int main(void)
{
    tap_run("policy: the demands of a map", test_policy__demands_of_a_map);
    tap_run("policy: an eval's own", test_policy__an_evals_own);
    tap_run("policy: faults", test_policy__faults);
    tap_run("flags: demands", test_flags__demands);
    tap_run("flags: faults", test_flags__faults);
    return tap_done();
}
