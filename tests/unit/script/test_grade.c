// SPDX-License-Identifier: MIT
// What every grader takes: when, answer, not, range, needs; and how scores are read.
#include "tests/unit/script/fixture.h"

/** Grade a text with one grader; the score's summary: "value answer why" or the error. */
static Str grade_with(const char *unit_text, const EvalGrader *grader, const Sample *sample,
                      const Reply *reply, Score *out)
{
    Err err = ERR_INIT;
    ScriptUnit unit = {.kind = UNIT_GRADER,
                       .name = grader->name,
                       .file = STR("mine.lua"),
                       .line = 1,
                       .text = str_from_c(unit_text),
                       .params = grader->params,
                       .grader = grader};
    Program *program;
    if (!script_program_create(fixture_script, &unit, 1, NULL, &program, &err)) {
        return str_printf(&fixture_arena, "error: %s", err.message);
    }
    StepInput in = {.sample = sample, .epoch = 1, .seed = 5};
    StepOutput step;
    bool ok =
        script_grade(fixture_script, program, &in, reply, NULL, 0, &fixture_arena, &step, &err);
    script_program_destroy(fixture_script, program);
    if (!ok) {
        return str_printf(&fixture_arena, "error: %s", err.message);
    }
    if (!step.done) {
        return str_printf(&fixture_arena, "waits for " STR_FMT, STR_ARG(step.effects[0].path));
    }
    CHECK_INT(step.n_scores, 1);
    const Score *score = &step.scores[0];
    if (out != NULL) {
        *out = *score;
    }
    if (score->state == SCORE_ABSENT) {
        return STR("absent");
    }
    if (score->state == SCORE_UNSCORED) {
        return str_printf(&fixture_arena, "unscored: " STR_FMT, STR_ARG(score->reason));
    }
    return str_printf(&fixture_arena, "%g [" STR_FMT "] " STR_FMT, score->value,
                      STR_ARG(score->has_answer ? score->answer : STR("-")), STR_ARG(score->why));
}

static EvalGrader plain_grader(void)
{
    return (EvalGrader){.name = STR("g"), .params = value_null(), .when = value_null()};
}

#define GRADE(body) "return { grade = function(sample, reply, params, ctx) " body " end }"

static void test_grade__scores(void)
{
    static const struct {
        int line;
        const char *text;
        const char *want;
    } cases[] = {
        {__LINE__, GRADE("return true"), "1 [-] "},
        {__LINE__, GRADE("return false"), "0 [-] "},
        {__LINE__, GRADE("return 0.25"), "0.25 [-] "},
        {__LINE__, GRADE("return {value = 1, answer = 'x', why = 'because'}"), "1 [x] because"},
        {__LINE__, GRADE("return {value = 1, answer = 5}"), "1 [5] "},
        {__LINE__, GRADE("return unscored('no data')"), "unscored: no data"},
        {__LINE__, GRADE("return {value = 0, weight = 3, detail = {a = {1, 2}}}"), "0 [-] "},
        {__LINE__, GRADE("return 2"),
         "error: grader 'g': the score 2.0 is outside of the grader's range"},
        {__LINE__, "return { range = {-1, 5}, grade = function() return 2 end }", "2 [-] "},
        {__LINE__, "return { range = {0, math.huge}, grade = function() return 1e9 end }",
         "1e+09 [-] "},
        {__LINE__, "return { range = {5, 1}, grade = function() return 1 end }",
         "error: range must be {low, high}"},
        {__LINE__, GRADE("return 0/0"), "error: grader 'g': the score is not a finite number"},
        {__LINE__, GRADE("return nil"), "error: grader 'g': a score's value must be a number"},
        {__LINE__, GRADE("return {valu = 1}"), "error: grader 'g': a score has value, weight"},
        {__LINE__, GRADE("return {value = 1, weight = 0}"),
         "error: grader 'g': a score's weight must"},
        {__LINE__, GRADE("return {value = 1, detail = print}"),
         "error: grader 'g': a function is not"},
        {__LINE__, GRADE("error('broken')"), "error: grader 'g': mine.lua:1: broken"},
        {__LINE__, "return { needs = {'choices'}, grade = function() return 1 end }",
         "error: grader 'g': the grader needs choices and there are none"},
        {__LINE__, "return { needs = {'logprobs'}, grade = function() return 1 end }",
         "error: grader 'g': the grader needs logprobs and the reply has none"},
        {__LINE__, "return { needs = {'choises'}, grade = function() return 1 end }",
         "error: needs: unknown word 'choises'"},
        {__LINE__, GRADE("return ctx.generate('x')"),
         "error: grader 'g': mine.lua:1: ctx.generate must be declared"},
        {__LINE__,
         "return { effects = {'generate'}, grade = function(s, r, p, ctx) ctx.generate('x') end }",
         "waits for g0.0"},
        {__LINE__, GRADE("return sample.target[2] == 'four' and sample.prompt == nil"), "1 [-] "},
        {__LINE__, GRADE("return reply.text == ' it is 4 ' and reply.answer == reply.text"),
         "1 [-] "},
    };
    Sample sample = fixture_sample();
    Reply reply = {.text = STR(" it is 4 ")};
    EvalGrader grader = plain_grader();
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        Str got = grade_with(cases[i].text, &grader, &sample, &reply, NULL);
        if (!str_starts_with(got, str_from_c(cases[i].want))) {
            printf("# line %d\n", cases[i].line);
            CHECK_STR(got, str_from_c(cases[i].want));
        }
    }
    Score score;
    grade_with(GRADE("return {value = 0, weight = 3, detail = {a = {1, 2}}}"), &grader, &sample,
               &reply, &score);
    CHECK_NEAR(score.weight, 3, 0);
    CHECK_INT(value_get_c(&score.detail, "a")->as.list.n, 2);
    CHECK(!score.is_boolean);
}

static void test_grade__answers(void)
{
    static const struct {
        int line;
        AnswerRule rule;
        const char *text;
        const char *want; // the answer, or "-" when there is none
    } cases[] = {
        {__LINE__, {.after = {"is", 2}}, "it is a, is b.", " b."},
        {__LINE__, {.after = {"is", 2}, .first = true}, "it is a, is b.", " a, is b."},
        {__LINE__, {.after = {"is", 2}, .trim = {" .", 2}}, "it is b. ", "b"},
        {__LINE__, {.after = {"nothing", 7}}, "it is b.", "-"},
        {__LINE__, {.regex = {"[0-9]+", 6}}, "1 and 22", "22"},
        {__LINE__, {.regex = {"[0-9]+", 6}, .first = true}, "1 and 22", "1"},
        {__LINE__, {.regex = {"x=([a-z]+)", 10}}, "x=ab x=cd", "cd"},
        {__LINE__, {.regex = {"x=([a-z]+)?", 11}}, "x=ab x=", "x="},
        {__LINE__, {.regex = {"z", 1}}, "x", "-"},
        {__LINE__, {.regex = {"\\w*$", 4}}, "ab \xc3\xa4\xc3\xb6", ""},
        {__LINE__,
         {.trim = {"\xc3\xa4*", 3}},
         "*\xc3\xa4"
         "a\xc3\xa4*",
         "a"},
    };
    Sample sample = fixture_sample();
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        EvalGrader grader = plain_grader();
        grader.answer = cases[i].rule;
        grader.answer.given = true;
        Reply reply = {.text = str_from_c(cases[i].text)};
        Score score = {0};
        Str got = grade_with(GRADE("return 0.5"), &grader, &sample, &reply, &score);
        bool found = strcmp(cases[i].want, "-") != 0;
        if (score.has_answer != found || (found && !str_eq_c(score.answer, cases[i].want))) {
            printf("# line %d: " STR_FMT "\n", cases[i].line, STR_ARG(got));
        }
        CHECK_INT(score.has_answer, found);
        CHECK_STR(score.has_answer ? score.answer : STR("-"), str_from_c(cases[i].want));
        CHECK_NEAR(score.value, found ? 0.5 : 0, 0); // not found: wrong, the grader is not asked
    }
    EvalGrader grader = plain_grader();
    grader.answer = (AnswerRule){.given = true, .regex = STR("(")};
    Reply reply = {.text = STR("x")};
    Str got = grade_with(GRADE("return 1"), &grader, &sample, &reply, NULL);
    CHECK(str_starts_with(got, STR("error: grader 'g': ")));
}

static void test_grade__not(void)
{
    Sample sample = fixture_sample();
    Reply reply = {.text = STR("x")};
    EvalGrader grader = plain_grader();
    grader.negate = true;
    CHECK_STR(grade_with(GRADE("return 0.25"), &grader, &sample, &reply, NULL), STR("0.75 [-] "));
    CHECK_STR(grade_with(GRADE("return true"), &grader, &sample, &reply, NULL), STR("0 [-] "));
    CHECK_STR(grade_with(GRADE("return unscored('u')"), &grader, &sample, &reply, NULL),
              STR("unscored: u"));
    grader.answer = (AnswerRule){.given = true, .after = STR("nowhere")};
    CHECK_STR(grade_with(GRADE("return 0"), &grader, &sample, &reply, NULL),
              STR("0 [-] no answer found in the reply"));
    Str got = grade_with("return { range = {0, 5}, grade = function() return 1 end }", &grader,
                         &sample, &reply, NULL);
    CHECK(str_find(got, STR("'not' wants scores from 0 to 1"), 0) != STR_NONE);
}

static void test_grade__when(void)
{
    static const struct {
        const char *when;
        bool applies;
    } cases[] = {
        {"{{ subject == 'sums' }}", true},
        {"{{ subject == 'other' }}", false},
        {"{{ metadata.level > 2 }}", true},
        {"{{ question }}", true},
        {"{{ reply.text == 'x' }}", true},
        {"{{ target[0] == '4' }}", true},
        {"{{ [] }}", false},
        {"{{ {} }}", false},
        {"{{ '' }}", false},
        {"{{ 0 }}", false},
        {"{{ none }}", false},
        {"{{ id }}", true},
        {"{{ answer == 'x' }}", true},
        {"{{ row_number == 6 }}", true},
        {"{% if false %}x{% endif %}", false},
    };
    Sample sample = fixture_sample();
    Reply reply = {.text = STR("x")};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        EvalGrader grader = plain_grader();
        grader.when = value_str(str_from_c(cases[i].when));
        Str got = grade_with(GRADE("return 1"), &grader, &sample, &reply, NULL);
        if (!str_eq(got, cases[i].applies ? STR("1 [-] ") : STR("absent"))) {
            printf("# when %s\n", cases[i].when);
        }
        CHECK_STR(got, cases[i].applies ? STR("1 [-] ") : STR("absent"));
    }
    EvalGrader grader = plain_grader();
    grader.when = value_str(STR("{{ nothing }}"));
    grader.when.line = 12;
    Str got = grade_with(GRADE("return 1"), &grader, &sample, &reply, NULL);
    CHECK(str_starts_with(got,
                          STR("error: grader 'g': grader 'g', when:12: 'nothing' is undefined")));
}

static void test_grade__template_params(void)
{
    Sample sample = fixture_sample();
    Reply reply = {.text = STR("x")};
    ValuePair given = {.key = STR("ask"),
                       .value = value_str(STR("{{ input }}|{{ target | join('/') }}|"
                                              "{{ answer }}|{{ subject | upper }}"))};
    EvalGrader grader = plain_grader();
    grader.params = value_map(&given, 1);
    static const char text[] = "return { params = { ask = template('') },\n"
                               "grade = function(s, r, p) return {value = 1, answer = p.ask} end }";
    CHECK_STR(grade_with(text, &grader, &sample, &reply, NULL),
              STR("1 [two and two|4/four|x|SUMS] "));
    given.value = value_str(STR("{{ oops }}"));
    Str got = grade_with(text, &grader, &sample, &reply, NULL);
    CHECK(str_starts_with(got, STR("error: grader 'g': grader 'g', ask:1: 'oops' is undefined")));
    given.value = value_str(STR("{% if %}"));
    got = grade_with(text, &grader, &sample, &reply, NULL);
    CHECK(str_starts_with(got, STR("error: grader 'g', ask:1:")));
}

// ---- Several graders ----------------------------------------------------------------------------

static void test_grade__several(void)
{
    static const char *const texts[] = {
        GRADE("leak = 1 sample.target[1] = 'changed' sample.mine = true return {value = 0.5, "
              "answer = 'a'}"),
        "return { effects = {'generate'}, grade = function(s, r, p, ctx)\n"
        "local said = ctx.generate('judge: ' .. r.text, {role = 'judge'})\n"
        "return {value = said.text == 'yes', why = said.text} end }",
        GRADE("local s = ctx.scores return leak == nil and sample.mine == nil and sample.target[1] "
              "== '4'\n"
              "and s.first.value == 0.5 and s.first.answer == 'a' and s.second.value == 1 and "
              "s.third == nil\n"
              "and reply.calls == 1"),
    };
    static const char *const names[] = {"first", "second", "third"};
    ScriptUnit units[3];
    EvalGrader graders[3];
    for (size_t i = 0; i < 3; i++) {
        graders[i] = plain_grader();
        graders[i].name = str_from_c(names[i]);
        units[i] = (ScriptUnit){.kind = UNIT_GRADER,
                                .name = graders[i].name,
                                .file = STR("mine.lua"),
                                .line = 1,
                                .text = str_from_c(texts[i]),
                                .params = value_null(),
                                .grader = &graders[i]};
    }
    Err err = ERR_INIT;
    Program *program;
    if (!CHECK_OK(script_program_create(fixture_script, units, 3, NULL, &program, &err), &err)) {
        return;
    }
    Sample sample = fixture_sample();
    Reply solver_reply = {.text = STR("x")};
    Reply judge_reply = {.text = STR("yes")};
    LoggedCall log[] = {{.path = STR("0"), .reply = &solver_reply},
                        {.path = STR("g1.0"), .reply = &judge_reply}};
    StepInput in = {.sample = &sample, .epoch = 1, .log = log, .n_log = 1};
    StepOutput step;
    if (CHECK_OK(script_grade(fixture_script, program, &in, &solver_reply, NULL, 0, &fixture_arena,
                              &step, &err),
                 &err)) {
        CHECK(!step.done);
        CHECK_STR(step.effects[0].path, STR("g1.0"));
        CHECK_STR(step.effects[0].request.role, STR("judge"));
        CHECK_STR(step.effects[0].request.prompt.text, STR("judge: x"));
    }
    in.n_log = 2;
    if (CHECK_OK(script_grade(fixture_script, program, &in, &solver_reply, NULL, 0, &fixture_arena,
                              &step, &err),
                 &err)) {
        CHECK(step.done);
        CHECK_INT(step.n_scores, 3);
        CHECK_STR(step.scores[1].why, STR("yes"));
        CHECK_NEAR(step.scores[2].value, 1, 0);
    }
    script_program_destroy(fixture_script, program);
}

static void test_grade__reply_fields(void)
{
    Sample sample = fixture_sample();
    Choice choices[] = {{.text = STR("\xc3\xa4")}, {.text = STR("bb")}};
    int64_t correct[] = {1};
    sample.choices = choices;
    sample.n_choices = 2;
    sample.correct = correct;
    sample.n_correct = 1;
    ChoiceLogprob scored[] = {{.logprob = -1, .unconditional = (double)NAN, .n_tokens = 2},
                              {.logprob = -2, .unconditional = -4, .n_tokens = 3, .greedy = true}};
    Value call = value_str(STR("call"));
    TokenLogprob token = {.token = STR("x"), .logprob = -0.5, .top = value_null()};
    Reply reply = {.text = STR("x"),
                   .stop = STOP_FILTER,
                   .refusal = STR("no"),
                   .reasoning = STR("hm"),
                   .tool_calls = value_list(&call, 1),
                   .choices = scored,
                   .n_choices = 2,
                   .logprobs = &token,
                   .n_logprobs = 1,
                   .usage = {1, 2, 3, 4},
                   .seconds = 1.5,
                   .cost_usd = (double)NAN};
    EvalGrader grader = plain_grader();
    Str got = grade_with(
        GRADE("local c = reply.choices\n"
              "local s = table.concat({reply.stop, reply.refusal, reply.reasoning, "
              "reply.tool_calls[1],\n"
              "c[1].text, c[1].letter, c[1].chars, c[1].bytes, c[2].letter, c[2].tokens, "
              "c[2].unconditional,\n"
              "reply.logprobs[1].token, reply.usage.reasoning, reply.seconds}, ' ')\n"
              "return {value = 1, answer = s .. tostring(c[2].greedy) .. tostring(reply.cost_usd)\n"
              ".. tostring(sample.correct[2]) .. tostring(sample.correct[1]) .. "
              "reply.message.tool_calls[1]}"),
        &grader, &sample, &reply, NULL);
    CHECK_STR(got, STR("1 [filter no hm call \xc3\xa4 A 1 2 B 3 -4.0 x 4 1.5truenil"
                       "truenilcall] "));
}

int main(void)
{
    if (!fixture_open(NULL)) {
        return 1;
    }
    tap_run("scores", test_grade__scores);
    tap_run("answer rules", test_grade__answers);
    tap_run("not", test_grade__not);
    tap_run("when", test_grade__when);
    tap_run("templates as params", test_grade__template_params);
    tap_run("several graders", test_grade__several);
    tap_run("fields of a reply", test_grade__reply_fields);
    return fixture_close();
}
