// SPDX-License-Identifier: MIT
// Graders that wait for other graders (`after`) and graders that run library graders (ctx.grade).
#include "tests/unit/script/fixture.h"

#include "text/text.h"

typedef struct Case {
    ScriptUnit units[12];
    EvalGrader graders[12];
    size_t n;
    Sample sample;
    const char *reply;
    LoggedCall log[32];
    Reply replies[32];
    size_t n_log;
    StepOutput out;
} Case;

static void case_init(Case *c)
{
    *c = (Case){.sample = fixture_sample(), .reply = "it is four"};
}

static EvalGrader *add(Case *c, UnitKind kind, const char *name, const char *text)
{
    size_t i = c->n++;
    c->graders[i] =
        (EvalGrader){.name = str_from_c(name), .params = value_null(), .when = value_null()};
    c->units[i] = (ScriptUnit){.kind = kind,
                               .name = str_from_c(name),
                               .file = str_printf(&fixture_arena, "%s.lua", name),
                               .line = 1,
                               .text = str_from_c(text),
                               .params = value_map(NULL, 0),
                               .grader = kind == UNIT_GRADER ? &c->graders[i] : NULL};
    return &c->graders[i];
}

static Value json(const char *text)
{
    Err err = ERR_INIT;
    Value value = value_null();
    CHECK_OK(json_parse(&fixture_arena, str_from_c(text), NULL, &value, NULL, &err), &err);
    return value;
}

static void params(Case *c, const char *text)
{
    c->units[c->n - 1].params = json(text);
}

static void builtin(Case *c, UnitKind kind, const char *name)
{
    add(c, kind, name, "");
    c->units[c->n - 1].text = script_builtin(UNIT_GRADER, str_from_c(name));
    CHECK(c->units[c->n - 1].text.len > 0);
}

/** One step: "name=value name=(reason) ...", "error: ...", or "asks path:role path:role". */
static Str step(Case *c)
{
    Err err = ERR_INIT;
    Program *program;
    if (!script_program_create(fixture_script, c->units, c->n, NULL, &program, &err)) {
        return str_printf(&fixture_arena, "error: %s", err.message);
    }
    StepInput in = {.sample = &c->sample, .epoch = 1, .seed = 5, .log = c->log, .n_log = c->n_log};
    Reply reply = {.text = str_from_c(c->reply)};
    bool ok =
        script_grade(fixture_script, program, &in, &reply, NULL, 0, &fixture_arena, &c->out, &err);
    if (ok) { // what lives in the program
        Score *scores = ARENA_ARRAY(&fixture_arena, Score, c->out.n_scores);
        for (size_t i = 0; i < c->out.n_scores; i++) {
            scores[i] = c->out.scores[i];
            scores[i].grader = str_copy(&fixture_arena, scores[i].grader);
        }
        c->out.scores = scores;
    }
    script_program_destroy(fixture_script, program);
    if (!ok) {
        return str_printf(&fixture_arena, "error: %s", err.message);
    }
    Buf text = {0};
    for (size_t i = 0; c->out.done && i < c->out.n_scores; i++) {
        const Score *score = &c->out.scores[i];
        buf_printf(&text, "%s" STR_FMT "=", i == 0 ? "" : " ", STR_ARG(score->grader));
        if (score->state == SCORE_VALUE) {
            buf_printf(&text, "%g", score->value);
        } else {
            buf_printf(&text, "(" STR_FMT ")",
                       STR_ARG(score->state == SCORE_ABSENT ? STR("absent") : score->reason));
        }
    }
    for (size_t i = 0; !c->out.done && i < c->out.n_effects; i++) {
        const Effect *effect = &c->out.effects[i];
        buf_printf(&text, "%s" STR_FMT ":" STR_FMT, i == 0 ? "asks " : " ", STR_ARG(effect->path),
                   STR_ARG(effect->request.role));
    }
    Str copy = str_copy(&fixture_arena, buf_view(&text));
    buf_finish(&text);
    return copy;
}

/** Answer all that was asked with this text. */
static void answer(Case *c, const char *text)
{
    for (size_t i = 0; i < c->out.n_effects; i++) {
        c->replies[c->n_log] = (Reply){.text = str_from_c(text)};
        c->log[c->n_log] =
            (LoggedCall){.path = c->out.effects[i].path, .reply = &c->replies[c->n_log]};
        c->n_log++;
    }
}

#define GRADE(body) "return { grade = function(sample, reply, params, ctx) " body " end }"
#define CALLER(effects, body)                                                                      \
    "return { effects = {" effects "}, grade = function(sample, reply, params, ctx) " body " end " \
    "}"

// ---- after --------------------------------------------------------------------------------------

static const char *const sum_text = "return { after = 'of', params = { of = required('any') },\n"
                                    "grade = function(s, r, p, ctx) local t = 0\n"
                                    "for name, w in pairs(p.of) do local m = ctx.scores[type(name) "
                                    "== 'number' and w or name]\n"
                                    "if m and m.value then t = t + m.value / 4 end end return t "
                                    "end }";

static void test_after__order(void)
{
    Case *c = ARENA_NEW(&fixture_arena, Case);
    case_init(c);
    add(c, UNIT_GRADER, "all", sum_text);
    params(c, "{\"of\": [\"some\", \"c\"]}");
    add(c, UNIT_GRADER, "some", sum_text);
    params(c, "{\"of\": {\"a\": 1, \"b\": 2}}");
    add(c, UNIT_GRADER, "a", GRADE("return {value = 1, why = 'w', answer = 'x', weight = 2}"));
    add(c, UNIT_GRADER, "b",
        GRADE("return ctx.scores.a.weight == 2 and ctx.scores.a.why == 'w' "
              "and ctx.scores.all == nil and ctx.scores.some == nil"));
    add(c, UNIT_GRADER, "c", GRADE("return 0.5"));
    CHECK_STR(step(c), STR("all=0.25 some=0.5 a=1 b=1 c=0.5"));
    // Calls are counted by the place in the eval, not by the order of running.
    c->units[4].text = STR(CALLER("'generate'", "return #ctx.generate('x').text / 10"));
    CHECK_STR(step(c), STR("asks g4.0:"));
    answer(c, "12345");
    CHECK_STR(step(c), STR("all=0.25 some=0.5 a=1 b=1 c=0.5"));
}

static void test_after__faults(void)
{
    static const struct {
        int line;
        const char *of;
        const char *want;
    } cases[] = {
        {__LINE__, "[\"b\"]", "a=0.25 b=1"},
        {__LINE__, "[]", "a=0 b=1"},
        {__LINE__, "null", "a=0 b=1"},
        {__LINE__, "[\"a\"]", "error: graders wait for each other: 'a' -> 'a'"},
        {__LINE__, "[\"bb\"]",
         "error: grader 'a', line 1, column 9: no grader 'bb' (did you mean "
         "'b'?)"},
        {__LINE__, "[\"b\", \"b\"]", "error: grader 'a', line 1, column 14: 'b' is named twice"},
        {__LINE__, "[1]", "error: grader 'a', line 1, column 9: a grader's name is text"},
        {__LINE__, "{\"b\": 0}",
         "error: grader 'a', line 1, column 14: a weight is a number above"},
        {__LINE__, "{\"b\": \"1\"}", "error: grader 'a', line 1, column 14: a weight is a number"},
        {__LINE__, "\"b\"",
         "error: grader 'a', line 1, column 8: param 'of' is a list of graders'"},
        {__LINE__, "{\"\": 1}", "error: grader 'a', line 1, column 13: no grader ''"},
    };
    Case *c = ARENA_NEW(&fixture_arena, Case);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        case_init(c);
        add(c, UNIT_GRADER, "a",
            "return { after = 'of', params = { of = json.null }, grade = function(s, r, p, ctx)\n"
            "return ctx.scores.b and ctx.scores.b.value / 4 or 0 end }");
        c->units[0].params = json(str_printf(&fixture_arena, "{\"of\": %s}", cases[i].of).data);
        add(c, UNIT_GRADER, "b", GRADE("return 1"));
        Str got = step(c);
        if (!str_starts_with(got, str_from_c(cases[i].want))) {
            printf("# line %d\n", cases[i].line);
            CHECK_STR(got, str_from_c(cases[i].want));
        }
    }
}

static void test_after__circle(void)
{
    Case *c = ARENA_NEW(&fixture_arena, Case);
    case_init(c);
    add(c, UNIT_GRADER, "d", sum_text);
    params(c, "{\"of\": [\"a\"]}");
    add(c, UNIT_GRADER, "a", sum_text);
    params(c, "{\"of\": [\"b\"]}");
    add(c, UNIT_GRADER, "b", sum_text);
    params(c, "{\"of\": [\"c\"]}");
    add(c, UNIT_GRADER, "c", sum_text);
    params(c, "{\"of\": [\"a\"]}");
    CHECK_STR(step(c), STR("error: graders wait for each other: 'a' -> 'b' -> 'c' -> 'a'"));
}

static void test_after__combine(void)
{
    Case *c = ARENA_NEW(&fixture_arena, Case);
    case_init(c);
    builtin(c, UNIT_GRADER, "combine");
    params(c, "{\"of\": {\"x\": 3, \"y\": 1, \"z\": 1}}");
    add(c, UNIT_GRADER, "x", GRADE("return true"));
    add(c, UNIT_GRADER, "y", GRADE("return false"));
    EvalGrader *z = add(c, UNIT_GRADER, "z", GRADE("return unscored('no')"));
    z->when = value_str(STR("{{ metadata.level > 5 }}"));
    CHECK_STR(step(c), STR("combine=0.75 x=1 y=0 z=(absent)"));
    z->when = value_null();
    CHECK_STR(step(c), STR("combine=(z: no) x=1 y=0 z=(no)"));
}

// ---- ctx.grade ----------------------------------------------------------------------------------

static void test_grade__result(void)
{
    static const struct {
        int line;
        const char *body; // of the caller; lib gives what its params say
        const char *want;
    } cases[] = {
        {__LINE__, "return ctx.grade{use = 'lib'}", "g=0.5"},
        {__LINE__, "return ctx.grade{use = 'lib', params = {give = 0.25}}", "g=0.25"},
        {__LINE__, "return ctx.grade{use = 'lib', give = 0.25}", "g=0.25"},
        {__LINE__, "return ctx.grade{use = 'lib', give = 0.25, ['not'] = true}", "g=0.75"},
        {__LINE__, "return ctx.grade{use = 'lib', mode = 'unscored'}", "g=(why not)"},
        {__LINE__, "return ctx.grade{use = 'lib', mode = 'unscored', ['not'] = true}",
         "g=(why not)"},
        {__LINE__,
         "local s = ctx.grade{use = 'lib', mode = 'table'}\n"
         "return s.value == 1 and s.weight == 3 and s.why == 'because' and s.answer == 'a' "
         "and s.detail.k[2] == 2",
         "g=1"},
        {__LINE__, "return ctx.grade{use = 'lib', mode = 'answer'}.answer == 'it is four'", "g=1"},
        {__LINE__,
         "return ctx.grade{use = 'lib', mode = 'answer', answer = {after = 'is '}}.answer "
         "== 'four'",
         "g=1"},
        {__LINE__, "return ctx.grade{use = 'lib', answer = {after = 'nowhere'}, ['not'] = true}",
         "g=0"},
        {__LINE__, "return ctx.grade{use = 'lib', mode = 'target'}.answer == '4|four'", "g=1"},
        {__LINE__, "return ctx.grade{use = 'lib', mode = 'target', target = 'x'}.answer == 'x'",
         "g=1"},
        {__LINE__,
         "return ctx.grade{use = 'lib', mode = 'target', target = {'x', '{{ y }}'}}.answer "
         "== 'x|{{ y }}'",
         "g=1"},
        {__LINE__,
         "return ctx.grade{use = 'lib', mode = 'ask', ask = '{{ input }}'}.answer == "
         "'{{ input }}'",
         "g=1"},
        {__LINE__, "return ctx.grade{use = 'lib', mode = 'ask'}.answer == 'two and two it is four'",
         "g=1"},
        {__LINE__,
         "return ctx.grade{use = 'lib', mode = 'ask', answer = {after = 'is '}}.answer == "
         "'two and two four'",
         "g=1"},
        {__LINE__, "ctx.grade{use = 'lib'} leak = 1 return ctx.grade{use = 'lib', mode = 'leak'}",
         "g=1"},
        {__LINE__,
         "local ok = pcall(ctx.grade, {use = 'lib', mode = 'error'}) return not ok and "
         "ctx.grade{use = 'lib', give = 1}.value == 1",
         "g=1"},
        {__LINE__, "return ctx.grade{use = 'lib', mode = 'error'}",
         "error: grader 'g': lib.lua:12: broken target"},
        {__LINE__, "return ctx.grade{use = 'libb'}",
         "error: grader 'g': g.lua:1: no grader 'libb' "
         "(did you mean 'lib'?)"},
        {__LINE__, "return ctx.grade{}", "error: grader 'g': g.lua:1: a check needs use: NAME"},
        {__LINE__, "return ctx.grade()", "error: grader 'g': g.lua:1: bad argument #1"},
        {__LINE__, "return ctx.grade{use = 'lib', giv = 1}",
         "error: grader 'g': grader 'lib': unknown param 'giv' (did you mean 'give'?)"},
        {__LINE__, "return ctx.grade{use = 'lib', give = 'x'}",
         "error: grader 'g': grader 'lib': param 'give' is number, not text"},
        {__LINE__, "return ctx.grade{use = 'lib', params = 5}",
         "error: grader 'g': params must be a table"},
        {__LINE__, "return ctx.grade{use = 'lib', ['not'] = 'yes'}",
         "error: grader 'g': not must be true or false"},
        {__LINE__, "return ctx.grade{use = 'lib', answer = {aftr = 'x'}}",
         "error: grader 'g': answer has after, regex, which, trim; not 'aftr'"},
        {__LINE__, "return ctx.grade{use = 'lib', answer = {regex = '('}}", "error: grader 'g': "},
        {__LINE__, "return ctx.grade{use = 'lib', target = {{a = 1}}}",
         "error: grader 'g': a target has to be text, not a map"},
        {__LINE__, "return ctx.grade{use = 'wide'}",
         "error: grader 'g': the score 7.0 is outside of the grader's range 0.0 to 1.0"},
        {__LINE__, "return ctx.grade{use = 'wide'}.value == 7", "g=1"},
        {__LINE__, "return ctx.grade{use = 'wide', ['not'] = true}",
         "error: grader 'g': grader 'wide': 'not' wants scores from 0 to 1"},
        {__LINE__, "return ctx.grade{use = 'boxed'}", "g=(needs sandbox)"},
        {__LINE__, "return ctx.grade{use = 'asking'}",
         "error: grader 'g': grader 'asking' asks a model: its caller must declare"},
        {__LINE__, "return ctx.generate('x')",
         "error: grader 'g': g.lua:1: ctx.generate must be declared"},
        {__LINE__, "return ctx.grade{use = 'sneaky'}",
         "error: grader 'g': sneaky.lua:1: ctx.grade must be declared"},
        {__LINE__, "return ctx.grade{use = 'broken'}", "error: grader 'g': broken.lua:1:"},
        {__LINE__, "return ctx.grade{use = 'choosy', which = 'choices'}",
         "error: grader 'g': the grader needs choices and there are none"},
        {__LINE__, "return ctx.grade{use = 'choosy', which = 'target'}", "g=1"},
    };
    static const char lib[] =
        "return { needs = {'target'}, params = { give = 0.5, mode = one_of{'give', 'unscored', "
        "'table', 'answer', 'target', 'ask', 'leak', 'error'},\n"
        "ask = template('{{ input }} {{ answer }}') },\n"
        "grade = function(sample, reply, params, ctx)\n"
        "local mode = params.mode\n"
        "if mode == 'give' then return params.give end\n"
        "if mode == 'unscored' then return unscored('why not') end\n"
        "if mode == 'table' then return {value = true, weight = 3, why = 'because', answer = 'a', "
        "detail = {k = {1, 2}}} end\n"
        "if mode == 'answer' then return {value = 1, answer = reply.answer} end\n"
        "if mode == 'target' then return {value = 1, answer = table.concat(sample.target, '|')} "
        "end\n"
        "if mode == 'ask' then return {value = 1, answer = params.ask} end\n"
        "if mode == 'leak' then return leak == nil end\n"
        "error('broken target') end }";
    Case *c = ARENA_NEW(&fixture_arena, Case);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        case_init(c);
        add(c, UNIT_GRADER, "g", "");
        c->units[0].text = str_printf(&fixture_arena, CALLER("'grade'", "%s"), cases[i].body);
        add(c, UNIT_LIBRARY, "lib", lib);
        add(c, UNIT_LIBRARY, "wide", "return { range = {0, 9}, grade = function() return 7 end }");
        add(c, UNIT_LIBRARY, "boxed",
            "return { needs = {'sandbox'}, grade = function() error('ran') end }");
        add(c, UNIT_LIBRARY, "asking", CALLER("'generate'", "return 1"));
        add(c, UNIT_LIBRARY, "sneaky", GRADE("return ctx.grade{use = 'lib'}"));
        add(c, UNIT_LIBRARY, "broken", "return { grade = ");
        add(c, UNIT_LIBRARY, "choosy",
            "return { params = { which = 'target' }, needs = function(p) return {p.which} end, "
            "grade = function() return 1 end }");
        Str got = step(c);
        if (!str_starts_with(got, str_from_c(cases[i].want))) {
            printf("# line %d\n", cases[i].line);
            CHECK_STR(got, str_from_c(cases[i].want));
        }
    }
}

static void test_grade__calls(void)
{
    Case *c = ARENA_NEW(&fixture_arena, Case);
    case_init(c);
    add(c, UNIT_GRADER, "first", GRADE("return 1"));
    add(c, UNIT_GRADER, "g",
        CALLER(
            "'grade', 'generate'",
            "local before = ctx.generate('a').text\n"
            "local r = ctx.all{ function() return ctx.grade{use = 'judge', role = 'critic'} end,\n"
            "function() return ctx.grade{use = 'lib'} end,\n"
            "function() return ctx.grade{use = 'judge'} end }\n"
            "local after = ctx.generate('b').text\n"
            "return r[1].value == 1 and r[2].value == 1 and r[3].value == 1 and before == 'one' "
            "and after == 'one'"));
    add(c, UNIT_LIBRARY, "judge",
        "return { effects = {'generate'}, role = 'judge', grade = function(s, r, p, ctx)\n"
        "ctx.generate('x') return ctx.generate('y').text == 'one' end }");
    add(c, UNIT_LIBRARY, "lib", GRADE("return ctx.scores.first.value"));
    CHECK_STR(step(c), STR("asks g1.0:"));
    answer(c, "one");
    // Branch, place of ctx.grade in it, call.
    CHECK_STR(step(c), STR("asks g1.1.0.0:critic g1.3.0.0:judge"));
    answer(c, "one");
    CHECK_STR(step(c), STR("asks g1.1.0.1:critic g1.3.0.1:judge"));
    answer(c, "one");
    CHECK_STR(step(c), STR("asks g1.4:"));
    answer(c, "one");
    CHECK_STR(step(c), STR("first=1 g=1"));
    // The caller's own role goes before the file's.
    c->n_log = 1;
    c->graders[1].role = STR("boss");
    CHECK_STR(step(c), STR("asks g1.1.0.0:critic g1.3.0.0:boss"));
}

static void test_grade__recursion(void)
{
    Case *c = ARENA_NEW(&fixture_arena, Case);
    case_init(c);
    add(c, UNIT_GRADER, "g", CALLER("'grade'", "return ctx.grade{use = 'again'}"));
    add(c, UNIT_LIBRARY, "again", CALLER("'grade'", "return ctx.grade{use = 'again'}"));
    Str got = step(c);
    CHECK(str_find(got, STR("ctx.grade is nested more than 8 deep"), 0) != STR_NONE);
    // A script that catches the error gets nowhere: what it may spend is bounded as everything is.
    c->units[1].text = STR(CALLER("'grade'", "local t = 0 for i = 1, 3 do\n"
                                             "local ok, s = pcall(ctx.grade, {use = 'again'})\n"
                                             "t = t + (ok and s.value or 0.001) end return t / 9"));
    got = step(c);
    CHECK(str_starts_with(got, STR("g=")));
    // Nor does one that also forks.
    c->units[1].text =
        STR(CALLER("'grade'", "local f = function() return ctx.grade{use = 'again'} end\n"
                              "return ctx.all{f, f, f, f}[1]"));
    got = step(c);
    CHECK(str_starts_with(got, STR("error: ")));
    case_init(c);
    builtin(c, UNIT_GRADER, "checks");
    params(c, "{\"of\": \"{{ row.question }}\"}");
    Value list = json("[{\"use\": \"checks\", \"of\": [{\"use\": \"exact\", \"target\": \"it is "
                      "four\"}]}]");
    ValuePair row = {.key = STR("question"), .value = list};
    c->sample.row = value_map(&row, 1);
    builtin(c, UNIT_LIBRARY, "checks");
    builtin(c, UNIT_LIBRARY, "exact");
    CHECK_STR(step(c), STR("checks=1"));
}

static void test_grade__budgets(void)
{
    static const char *const bodies[] = {
        "while true do end",
        "local t = {} while true do t[#t + 1] = ('x'):rep(1 << 16) .. #t end",
        "pcall(function() while true do end end) while true do end",
        "return setmetatable({}, {__index = function(t, k) while true do end end}).x",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        Case *c = ARENA_NEW(&fixture_arena, Case);
        case_init(c);
        add(c, UNIT_GRADER, "g",
            CALLER("'grade'", "local ok, s = pcall(ctx.grade, {use = 'lib'}) return 1"));
        add(c, UNIT_LIBRARY, "lib", "");
        c->units[1].text = str_printf(&fixture_arena, GRADE("%s"), bodies[i]);
        Str got = step(c);
        CHECK(str_starts_with(got, STR("error: grader 'g': ")));
        CHECK(str_find(got, STR(" is spent"), 0) != STR_NONE);
        c->units[1].text = STR(GRADE("return 1")); // the Script is as good as new
        CHECK_STR(step(c), STR("g=1"));
    }
}

static void test_grade__kept_objects(void)
{
    // A library grader may keep what it was given in a global; it reads it when its grader is gone.
    Case *c = ARENA_NEW(&fixture_arena, Case);
    case_init(c);
    static const char caller[] =
        CALLER("'grade'", "return ctx.grade{use = 'lib', params = {obj = reply, s = sample}}");
    add(c, UNIT_GRADER, "a", caller);
    add(c, UNIT_GRADER, "b", caller);
    add(c, UNIT_LIBRARY, "lib",
        "return { params = { obj = json.null, s = json.null },\n"
        "grade = function(sample, reply, params)\n"
        "local old = kept kept = {sample, reply, params.obj, params.s}\n"
        "if not old then return 0.5 end\n"
        "return old[1].target[2] == 'four' and old[2].answer == 'it is four' and old[1].id == 's1' "
        "and old[3].stop == 'stop' and old[4].input == 'two and two' end }");
    CHECK_STR(step(c), STR("a=0.5 b=1"));
}

static void test_grade__host_memory(void)
{
    // What crosses the border is not in Lua's memory, and is bounded all the same.
    static const char *const bodies[] = {
        "local s = ('x'):rep(1 << 20) for i = 1, 1e9 do ctx.grade{use = 'lib', target = s} end",
        "local s = ('x'):rep(1 << 20) for i = 1, 1e9 do pcall(ctx.grade, {use = s}) end",
        "local t = {} for i = 1, 1000 do t[i] = 'x' .. i end for i = 1, 1e9 do ctx.grade{use = "
        "'lib', answer = {after = 'is'}, target = t} end",
        "local s = ('x'):rep(1 << 20) local f = {} for i = 1, 1000 do f[i] = function() "
        "ctx.generate(s .. i) end end ctx.all(f)",
        "for i = 1, 1e9 do ctx.grade{use = 'lib'} end",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        Case *c = ARENA_NEW(&fixture_arena, Case);
        case_init(c);
        add(c, UNIT_GRADER, "g", "");
        c->units[0].text =
            str_printf(&fixture_arena, CALLER("'grade', 'generate'", "%s"), bodies[i]);
        add(c, UNIT_LIBRARY, "lib", GRADE("return 1"));
        size_t before = fixture_arena.total_bytes;
        Str got = step(c);
        CHECK(str_starts_with(got, STR("error: grader 'g': ")));
        CHECK(str_find(got, STR(" is spent"), 0) != STR_NONE);
        CHECK(fixture_arena.total_bytes - before < (size_t)160 << 20);
        arena_reset(&fixture_arena);
    }
}

static void test_grade__state(void)
{
    // After a failed or waiting nested grader everything counts on where it should.
    Case *c = ARENA_NEW(&fixture_arena, Case);
    case_init(c);
    add(c, UNIT_GRADER, "g",
        CALLER("'grade', 'generate'", "pcall(ctx.grade, {use = 'fails'}) local n = ctx.rng()\n"
                                      "local said = ctx.generate('x')\n"
                                      "return said.text == 'yes' and ctx.left().turns == 62"));
    add(c, UNIT_LIBRARY, "fails",
        CALLER("'generate'", "ctx.rng() ctx.generate('y') ctx.generate({}, {bad = 1})"));
    CHECK_STR(step(c), STR("asks g0.0.0:"));
    answer(c, "no");
    CHECK_STR(step(c), STR("asks g0.1:"));
    answer(c, "yes");
    CHECK_STR(step(c), STR("g=1"));
}

static void test_grade__literal(void)
{
    static const struct {
        int line;
        const char *of;
        const char *want;
    } cases[] = {
        {__LINE__, "[{\"use\": \"exact\", \"target\": \"it is four\"}]", "checks=1"},
        {__LINE__, "[{\"use\": \"exact\", \"target\": \"it is {{ target[1] }}\"}]", "checks=1"},
        {__LINE__,
         "[{\"use\": \"exact\", \"target\": \"{{ answer }}\", \"answer\": {\"after\": "
         "\"is \"}}]",
         "checks=1"},
        {__LINE__, "[{\"use\": \"exat\"}]",
         "error: grader 'checks', line 1, column 9: no grader 'exat' (did you mean 'exact'?)"},
        {__LINE__, "[{\"use\": \"exact\", \"ignorecase\": true}]",
         "error: grader 'checks': grader 'exact', line 1, column 40: unknown param 'ignorecase'"},
        {__LINE__, "[{\"use\": \"exact\", \"params\": {\"ignore_case\": 1}}]",
         "error: grader 'checks': grader 'exact', line 1, column"},
        {__LINE__, "[5]", "error: grader 'checks', line 1, column 9: a check is a map"},
        {__LINE__, "[{\"target\": \"x\"}]",
         "error: grader 'checks', line 1, column 9: a check needs "
         "use: NAME"},
        {__LINE__, "[{\"use\": \"exact\", \"target\": \"{{ oops\"}]",
         "error: grader 'checks', of:1:"},
        {__LINE__, "[{\"use\": \"exact\", \"target\": \"{{ oops }}\"}]",
         "error: grader 'checks': grader 'checks', of:1: 'oops' is undefined"},
        {__LINE__, "7",
         "error: grader 'checks', line 1, column 8: param 'of' is a template, a list "
         "or a map"},
    };
    Case *c = ARENA_NEW(&fixture_arena, Case);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        case_init(c);
        builtin(c, UNIT_GRADER, "checks");
        c->units[0].params = json(str_printf(&fixture_arena, "{\"of\": %s}", cases[i].of).data);
        builtin(c, UNIT_LIBRARY, "exact");
        Str got = step(c);
        if (!str_starts_with(got, str_from_c(cases[i].want))) {
            printf("# line %d\n", cases[i].line);
            CHECK_STR(got, str_from_c(cases[i].want));
        }
    }
}

static void test_grade__injection(void)
{
    // What a model writes is never rendered, whichever way it comes into a check.
    Case *c = ARENA_NEW(&fixture_arena, Case);
    case_init(c);
    c->reply = "{{ target }}{% for x in range(9) %}";
    builtin(c, UNIT_GRADER, "checks");
    params(c, "{\"of\": [{\"use\": \"exact\", \"target\": \"{{ answer }}\"}, {\"use\": \"judge\", "
              "\"prompt\": \"<{{ answer }}>\"}]}");
    builtin(c, UNIT_LIBRARY, "exact");
    builtin(c, UNIT_LIBRARY, "judge");
    CHECK_STR(step(c), STR("asks g0.1.0.0.0:judge"));
    const Prompt *prompt = &c->out.effects[0].request.prompt;
    CHECK(prompt->is_chat);
    CHECK_STR(prompt->messages[0].content, STR("<{{ target }}{% for x in range(9) %}>"));
    answer(c, "fine\n\x1b[31mY\x1b[0m");
    Str got = step(c); // "[31mY [0m" is no verdict
    CHECK_STR(got, STR("asks g0.1.0.0.1:judge"));
    answer(c, "\xff\xfe\x00Y");
    got = step(c);
    CHECK(
        str_starts_with(got, STR("checks=(check 2 (judge): the judge's last line is no verdict")));
}

static void test_judge__outputs(void)
{
    static const struct {
        int line;
        const char *said;
        const char *want;
    } cases[] = {
        {__LINE__, "Y", "judge=1"},
        {__LINE__, "n", "judge=0"},
        {__LINE__, "**Y**\n\n\n", "judge=1"},
        {__LINE__, "- `N`", "judge=0"},
        {__LINE__, "\xe2\x80\x9cY\xe2\x80\x9d.", "judge=1"},
        {__LINE__, "yes\rY\r", "judge=1"},
        {__LINE__, "\xef\xbb\xbfY", "judge=1"},
        {__LINE__, "Y\xc2\xa0", "judge=1"},
        {__LINE__, "\x01\x02Y\x7f", "judge=1"},
        {__LINE__, "Y\n", "judge=1"},
        {__LINE__, "Y N", "(no verdict)"},
        {__LINE__, "YES", "(no verdict)"},
        {__LINE__, "Y\nBecause it is good.", "(no verdict)"},
        {__LINE__, "Answer: Y", "(no verdict)"},
        {__LINE__, "", "(no verdict)"},
        {__LINE__, "\n\n***\n", "(no verdict)"},
        {__LINE__, "\xff\xff", "(no verdict)"},
        {__LINE__, "Y\xff", "(no verdict)"},
        {__LINE__, "{{ 'Y' }}", "judge=1"},
    };
    Case *c = ARENA_NEW(&fixture_arena, Case);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        case_init(c);
        builtin(c, UNIT_GRADER, "judge");
        params(c, "{\"prompt\": \"?\", \"retries\": 0}");
        step(c);
        answer(c, cases[i].said);
        Str got = step(c);
        bool none = str_starts_with(got, STR("judge=(the judge's last line is no verdict: "));
        if (none) {
            got = STR("(no verdict)");
        }
        if (!str_eq_c(got, cases[i].want)) {
            printf("# line %d\n", cases[i].line);
            CHECK_STR(got, str_from_c(cases[i].want));
        }
    }
}

static void test_judge__long(void)
{
    // A reply of a megabyte in one line, and one of as many lines.
    for (int lines = 0; lines < 2; lines++) {
        Case *c = ARENA_NEW(&fixture_arena, Case);
        case_init(c);
        builtin(c, UNIT_GRADER, "judge");
        params(c, "{\"prompt\": \"?\", \"retries\": 0}");
        step(c);
        char *text = ARENA_ARRAY(&fixture_arena, char, (1 << 20) + 3);
        for (size_t i = 0; i < 1 << 20; i++) {
            text[i] = lines && i % 2 == 1 ? '\n' : 'a';
        }
        memcpy(text + (1 << 20), "\nY", 3);
        answer(c, text);
        CHECK_STR(step(c), STR("judge=1"));
    }
}

int main(void)
{
    if (!fixture_open(NULL)) {
        return 1;
    }
    tap_run("after: order", test_after__order);
    tap_run("after: faults", test_after__faults);
    tap_run("after: circles", test_after__circle);
    tap_run("combine", test_after__combine);
    tap_run("ctx.grade: results and errors", test_grade__result);
    tap_run("ctx.grade: calls of nested graders", test_grade__calls);
    tap_run("ctx.grade: recursion", test_grade__recursion);
    tap_run("ctx.grade: budgets", test_grade__budgets);
    tap_run("ctx.grade: what counts on", test_grade__state);
    tap_run("ctx.grade: objects that are kept", test_grade__kept_objects);
    tap_run("ctx.grade: memory outside of Lua", test_grade__host_memory);
    tap_run("checks in the eval", test_grade__literal);
    tap_run("nothing of a model's is rendered", test_grade__injection);
    tap_run("judge: what it may say", test_judge__outputs);
    tap_run("judge: long replies", test_judge__long);
    return fixture_close();
}
