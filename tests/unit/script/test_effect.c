// SPDX-License-Identifier: MIT
// ctx: effects and their paths, replaying, branches, what is spent and left, randomness.
#include "tests/unit/script/fixture.h"

/** Paths of the effects of a step, joined by spaces. */
static Str paths_of(const StepOutput *step)
{
    Str all = STR_EMPTY;
    for (size_t i = 0; i < step->n_effects; i++) {
        all = str_printf(&fixture_arena, STR_FMT "%s" STR_FMT, STR_ARG(all), i == 0 ? "" : " ",
                         STR_ARG(step->effects[i].path));
    }
    return all;
}

/** Answer every effect with "<path>" until the solver ends; its text. *out_paths: all steps' paths.
 */
static Str run_to_end(const char *body, Str *out_paths)
{
    static Reply replies[64];
    static LoggedCall log[64];
    size_t n = 0;
    Str paths = STR_EMPTY;
    Sample sample = fixture_sample();
    for (int step_number = 0; step_number < 30; step_number++) {
        Err err = ERR_INIT;
        StepOutput step;
        if (!fixture_solve(fixture_solver(body), &sample, log, n, &step, &err)) {
            return str_printf(&fixture_arena, "error: %s", err.message);
        }
        if (step.done) {
            *out_paths = paths;
            return step.reply.text;
        }
        paths = str_printf(&fixture_arena, STR_FMT "%s" STR_FMT, STR_ARG(paths),
                           step_number == 0 ? "" : " | ", STR_ARG(paths_of(&step)));
        for (size_t i = 0; i < step.n_effects && n < 64; i++, n++) {
            Str path = step.effects[i].path;
            replies[n] = (Reply){.text = str_printf(&fixture_arena, "<" STR_FMT ">", STR_ARG(path)),
                                 .usage = {.input = 10, .output = 1},
                                 .seconds = 0.5};
            log[n] = (LoggedCall){.path = path, .reply = &replies[n]};
        }
    }
    return STR("no end");
}

static void test_effect__paths(void)
{
    static const struct {
        int line;
        const char *body;
        const char *text;
        const char *paths;
    } cases[] = {
        {__LINE__, "return ctx.generate('a')", "<0>", "0"},
        {__LINE__, "local a = ctx.generate('a') return a.text .. ctx.generate(a.text).text",
         "<0><1>", "0 | 1"},
        {__LINE__,
         "local r = ctx.all{function() return ctx.generate('a').text end,\n"
         "function() return ctx.generate('b').text .. ctx.generate('c').text end}\n"
         "return r[1] .. r[2] .. ctx.generate('d').text",
         "<0.0><1.0><1.1><2>", "0.0 1.0 | 1.1 | 2"},
        {__LINE__,
         "ctx.generate('x') local r = ctx.all{function() return 'p' end, function()\n"
         "  local s = ctx.all{function() return ctx.generate('a').text end,\n"
         "    function() return ctx.generate('b').text end} return s[1] .. s[2] end}\n"
         "return r[1] .. r[2]",
         "p<2.0.0><2.1.0>", "0 | 2.0.0 2.1.0"},
        // pcall, coroutines and C calls do not come between an effect and the host.
        {__LINE__, "local ok, r = pcall(ctx.generate, 'a') return tostring(ok) .. r.text",
         "true<0>", "0"},
        {__LINE__, "return coroutine.wrap(function() return ctx.generate('a').text end)()", "<0>",
         "0"},
        {__LINE__, "return (('xy'):gsub('.', function() return ctx.generate('a').text end))",
         "<0><1>", "0 | 1"},
        {__LINE__,
         "local t = {3, 1} table.sort(t, function(a, b) ctx.generate('a') return a < b end)\n"
         "return t[1] .. t[2]",
         "13", "0"},
        {__LINE__,
         "local t = setmetatable({}, {__index = function() return ctx.generate('a').text end})\n"
         "return t.x",
         "<0>", "0"},
        {__LINE__,
         "local r = ctx.all{function() return pcall(function()\n"
         "return coroutine.wrap(function() return ctx.generate('a').text end)() end) end,\n"
         "function() return (('x'):gsub('x', function() return ctx.generate('b').text end)) end}\n"
         "return tostring(r[1]) .. r[2]",
         "true<1.0>", "0.0 1.0"},
        {__LINE__, "return #ctx.all{} .. 'none'", "0none", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        Str paths = STR_EMPTY;
        Str text = run_to_end(cases[i].body, &paths);
        if (!str_eq_c(text, cases[i].text) || !str_eq_c(paths, cases[i].paths)) {
            printf("# line %d\n", cases[i].line);
        }
        CHECK_STR(text, str_from_c(cases[i].text));
        CHECK_STR(paths, str_from_c(cases[i].paths));
    }
}

static void test_effect__branch_errors_wait(void)
{
    Str paths = STR_EMPTY;
    // The error of the second branch comes out only when the first has its reply.
    Str text =
        run_to_end("local ok, e = pcall(ctx.all, {function() return ctx.generate('a').text end,\n"
                   "function() error('boom', 0) end}) return tostring(e)",
                   &paths);
    CHECK_STR(text, STR("boom"));
    CHECK_STR(paths, STR("0.0"));
    text = run_to_end("ctx.all{function() coroutine.yield() end}", &paths);
    CHECK(str_find(text, STR("must not yield"), 0) != STR_NONE);
}

static void test_effect__in_flight(void)
{
    Err err = ERR_INIT;
    Reply reply = {.text = STR("r")};
    LoggedCall log[] = {{.path = STR("0.0"), .reply = &reply}, {.path = STR("1.0"), .reply = NULL}};
    StepOutput step;
    Sample sample = fixture_sample();
    Str text = fixture_solver("ctx.all{function() ctx.generate('a') ctx.generate('b') end,\n"
                              "function() ctx.generate('c') end}");
    if (CHECK_OK(fixture_solve(text, &sample, log, 2, &step, &err), &err)) {
        CHECK(!step.done);
        CHECK_STR(paths_of(&step), STR("0.1")); // 1.0 is on its way already
    }
}

static void test_effect__request(void)
{
    Err err = ERR_INIT;
    StepOutput step;
    Sample sample = fixture_sample();
    Str text =
        fixture_solver("return ctx.generate({{role = 'user', content = 'hi', extra = {1, 2}}},\n"
                       "{max_tokens = 9, stop = {'a', 'b'}, temperature = 0.5, top_k = 4, n = 2,\n"
                       "logprobs = 3, role = 'judge', schema = {type = 'object'}})");
    if (!CHECK_OK(fixture_solve(text, &sample, NULL, 0, &step, &err), &err)) {
        return;
    }
    const Request *request = &step.effects[0].request;
    CHECK(request->prompt.is_chat);
    CHECK_INT(request->prompt.n_messages, 1);
    CHECK_STR(request->prompt.messages[0].content, STR("hi"));
    CHECK_INT(value_get_c(&request->prompt.messages[0].extra, "extra")->as.list.n, 2);
    CHECK_INT(request->settings.max_tokens, 9);
    CHECK_INT(request->settings.n_stop, 2);
    CHECK_STR(request->settings.stop[1], STR("b"));
    CHECK_NEAR(request->settings.temperature, 0.5, 0);
    CHECK_NEAR(request->settings.top_p, 1, 0); // the default stays
    CHECK_INT(request->settings.top_k, 4);
    CHECK_INT(request->settings.logprobs, 3);
    CHECK_INT(request->n, 2);
    CHECK_STR(request->role, STR("judge"));
    CHECK_STR(request->call, STR("0"));
    CHECK_STR(value_get_str(&request->settings.schema, "type", STR_EMPTY), STR("object"));
}

static void test_effect__wrong_options(void)
{
    static const struct {
        const char *body;
        const char *says;
    } cases[] = {
        {"ctx.generate('a', {max_token = 1})",
         "unknown option 'max_token' (did you mean 'max_tokens'?)"},
        {"ctx.generate('a', {max_tokens = 0})", "max_tokens must be an integer from 1"},
        {"ctx.generate('a', {max_tokens = '5'})", "max_tokens must be an integer"},
        {"ctx.generate('a', {temperature = 0/0})", "temperature must be a number"},
        {"ctx.generate('a', {stop = 5})", "stop must be text or a list"},
        {"ctx.generate(5)", "messages must be a list"},
        {"ctx.generate({})", "empty list"},
        {"ctx.generate({{content = 'x'}})", "needs a role"},
        {"ctx.generate('a', {tools = {}})", "tools are not supported yet"},
        {"ctx.loglik({})", "from 1 to"},
        {"ctx.loglik({{context = 'x'}})", "text of ctx.loglik must be text"},
        {"ctx.exec{cmd = 'ls'}", "ctx.exec needs a sandbox: not supported yet"},
        {"ctx.read_file('x')", "ctx.read_file needs a sandbox: not supported yet"},
        {"ctx.generrate('a')", "ctx.generrate does not exist"},
        {"ctx.generate = nil", "ctx is read-only"},
        {"ctx.rng(3, 1)", "interval is empty"},
        {"return ctx.scores", "ctx.scores does not exist"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        Str text = fixture_text(cases[i].body);
        CHECK(str_starts_with(text, STR("error: mine.lua:1: ")));
        if (str_find(text, str_from_c(cases[i].says), 0) == STR_NONE) {
            CHECK_STR(text, str_from_c(cases[i].says));
        }
    }
}

static void test_effect__loglik(void)
{
    Err err = ERR_INIT;
    StepOutput step;
    Sample sample = fixture_sample();
    Str text = fixture_solver(
        "local c = sample.prompt\n"
        "local r = ctx.loglik({{context = c, text = ' a'}, {context = c, text = ' b'},\n"
        "{text = 'all of it', window = true}}, {unconditional = true, per_token = true})\n"
        "local o = {} for i, x in ipairs(r.choices) do o[i] = x.text .. '=' .. x.logprob ..\n"
        "'/' .. tostring(x.unconditional) .. '/' .. x.tokens .. '/' .. x.letter end\n"
        "return table.concat(o, ' ') .. #r.choices[1].logprobs");
    if (!CHECK_OK(fixture_solve(text, &sample, NULL, 0, &step, &err), &err)) {
        return;
    }
    const Request *request = &step.effects[0].request;
    CHECK_INT(request->kind, REQUEST_LOGLIK);
    CHECK_INT(request->n_items, 3);
    CHECK_STR(request->items[0].context.text, STR("2+2="));
    CHECK(request->items[0].context.text.data == request->items[1].context.text.data); // shared
    CHECK_STR(request->items[1].text, STR(" b"));
    CHECK(request->items[2].window);
    CHECK(request->unconditional);
    CHECK(request->per_token);
    TokenLogprob token = {.token = STR(" a"), .logprob = -1};
    ChoiceLogprob choices[] = {
        {.logprob = -1.5, .unconditional = -3, .n_tokens = 1, .tokens = &token, .n_logged = 1},
        {.logprob = -2, .unconditional = (double)NAN, .n_tokens = 2},
        {.logprob = -9, .unconditional = (double)NAN, .n_tokens = 3}};
    Reply reply = {.choices = choices, .n_choices = 3};
    LoggedCall log = {.path = STR("0"), .reply = &reply};
    if (CHECK_OK(fixture_solve(text, &sample, &log, 1, &step, &err), &err)) {
        CHECK_STR(step.reply.text, STR(" a=-1.5/-3.0/1/A  b=-2.0/nil/2/B all of it=-9.0/nil/3/C1"));
    }
    reply.n_choices = 2;
    CHECK(!fixture_solve(text, &sample, &log, 1, &step, &err));
    CHECK(str_find(str_from_c(err.message), STR("2 log-likelihoods, not 3"), 0) != STR_NONE);
}

static void test_effect__many_replies(void)
{
    Err err = ERR_INIT;
    StepOutput step;
    Sample sample = fixture_sample();
    Reply more[] = {{.text = STR("b")}, {.text = STR("c")}};
    Reply reply = {.text = STR("a"), .more = more, .n_more = 2, .usage = {.input = 4, .output = 3}};
    LoggedCall log = {.path = STR("0"), .reply = &reply};
    Str text =
        fixture_solver("local r = ctx.generate('q', {n = 3}) return #r .. r[1].text .. r[3].text");
    if (CHECK_OK(fixture_solve(text, &sample, &log, 1, &step, &err), &err)) {
        CHECK_STR(step.reply.text, STR("3ac"));
        CHECK_INT(step.reply.usage.output, 3); // the attempt's, not the returned text's
    }
}

static void test_effect__left(void)
{
    Str paths;
    // 11 tokens and half a second a call; a branch does not see what another one spends.
    Str text = run_to_end(
        "local function left() local l = ctx.left()\n"
        "return l.turns .. '/' .. l.tokens .. '/' .. l.seconds .. ' ' end\n"
        "local s = left() ctx.generate('a') s = s .. left()\n"
        "local r = ctx.all{function() ctx.generate('b') ctx.generate('b') return left() end,\n"
        "function() local x = left() ctx.generate('c') return x .. left() end}\n"
        "return s .. r[1] .. r[2] .. left() .. tostring(ctx.left().cost_usd)",
        &paths);
    CHECK_STR(text, STR("5/100/9.0 4/89/8.5 2/67/7.5 4/89/8.5 3/78/8.0 1/56/7.0 nil"));
}

static void test_effect__rng(void)
{
    // Independent of replies: the second number is the same whether or not a call came between.
    Str paths;
    Str plain = fixture_text("return ctx.rng() .. ' ' .. ctx.rng()");
    Str called =
        run_to_end("local a = ctx.rng() ctx.generate('x') return a .. ' ' .. ctx.rng()", &paths);
    CHECK_STR(called, plain);
    Str expected = str_printf(&fixture_arena, "%.14g %.14g", rng_at(77, 0, 0), rng_at(77, 0, 1));
    CHECK_STR(plain, expected);
    CHECK_STR(
        fixture_text("local lo, hi, sum = 9, 0, 0 for i = 1, 3000 do local d = ctx.rng(6)\n"
                     "lo = math.min(lo, d) hi = math.max(hi, d) sum = sum + d end\n"
                     "assert(math.abs(sum / 3000 - 3.5) < 0.15)\n"
                     "for i = 1, 100 do local d = ctx.rng(-2, 2) assert(d >= -2 and d <= 2) end\n"
                     "return lo .. hi .. math.type(lo)"),
        STR("16integer"));
    // Branches draw from streams of their own.
    Str branches =
        run_to_end("local r = ctx.all{function() ctx.generate('a') return ctx.rng() end,\n"
                   "function() return ctx.rng() end} assert(r[1] ~= r[2])\n"
                   "return tostring(ctx.rng() == r[1])",
                   &paths);
    CHECK_STR(branches, STR("false"));
}

static void test_effect__notes_and_model(void)
{
    Err err = ERR_INIT;
    StepOutput step;
    Sample sample = fixture_sample();
    Str text = fixture_solver(
        "ctx.note('one') print('two', 2, {}, nil) ctx.note(3)\n"
        "local m = ctx.model return m.name .. tostring(m.chat) .. tostring(m.loglik) ..\n"
        "m.context_tokens .. sample.epoch .. sample.variant .. sample.part.subject");
    if (CHECK_OK(fixture_solve(text, &sample, NULL, 0, &step, &err), &err)) {
        CHECK_STR(step.notes, STR("one\ntwo\t2\ttable\tnil\n3\n"));
        CHECK_STR(step.reply.text, STR("mtruetrue20482plainsums"));
    }
}

static void test_effect__sample(void)
{
    CHECK_STR(
        fixture_text(
            "return sample.id .. sample.input .. sample.row.question .. sample.metadata.level\n"
            ".. tostring(sample.target) .. tostring(sample.correct) .. tostring(sample.nothing)\n"
            ".. tostring(sample.messages)"),
        STR("s1two and two2+23nilnilnilnil"));
    // A field once read is an ordinary one, and walking the object shows them all.
    CHECK_STR(fixture_text("sample.row.question = 'x' sample.input = 'y' return "
                           "sample.row.question .. sample.input"),
              STR("xy"));
    CHECK_STR(
        fixture_text(
            "local t = {} for k in pairs(sample) do t[#t + 1] = k end return table.concat(t, ' ')"),
        STR("choices epoch files id input metadata part prompt row variant"));
    Err err = ERR_INIT;
    StepOutput step;
    Sample sample = fixture_sample();
    Str sees = STR("return { sees_target = true, solve = function(sample)\n"
                   "return table.concat(sample.target, '|') end }");
    if (CHECK_OK(fixture_solve(sees, &sample, NULL, 0, &step, &err), &err)) {
        CHECK_STR(step.reply.text, STR("4|four"));
    }
    Message messages[] = {{.role = STR("system"), .content = STR("be")},
                          {.role = STR("user"), .content = STR("hi"), .name = STR("ann")}};
    sample.prompt = (Prompt){.is_chat = true, .messages = messages, .n_messages = 2};
    Str chat = fixture_solver("local m = sample.messages m[3] = {role = 'user', content = 'more'}\n"
                              "return tostring(sample.prompt) .. #m .. m[2].name");
    if (CHECK_OK(fixture_solve(chat, &sample, NULL, 0, &step, &err), &err)) {
        CHECK_STR(step.reply.text, STR("nil3ann"));
    }
}

static void test_effect__conversation(void)
{
    Err err = ERR_INIT;
    StepOutput step;
    Sample sample = fixture_sample();
    Message message = {.role = STR("user"), .content = STR("hi")};
    sample.prompt = (Prompt){.is_chat = true, .messages = &message, .n_messages = 1};
    Reply reply = {.text = STR("ho"), .stop = STOP_LENGTH};
    LoggedCall log[] = {{.path = STR("0"), .reply = &reply}, {.path = STR("1"), .reply = &reply}};
    Str text =
        fixture_solver("local r = ctx.generate(sample.messages)\n"
                       "local m = r.messages m[#m + 1] = {role = 'user', content = 'go on'}\n"
                       "local s = ctx.generate(m)\n"
                       "return {text = s.text .. #s.messages .. s.message.role .. s.stop,\n"
                       "messages = s.messages}");
    if (CHECK_OK(fixture_solve(text, &sample, log, 2, &step, &err), &err)) {
        CHECK_STR(step.reply.text, STR("ho4assistantlength"));
        CHECK_INT(step.n_messages, 4);
        CHECK_STR(step.messages[3].content, STR("ho"));
        CHECK_STR(step.messages[2].content, STR("go on"));
    }
    // A reply handed on untouched keeps nothing that the run does not know already.
    text = fixture_solver("return ctx.generate(sample.messages)");
    if (CHECK_OK(fixture_solve(text, &sample, log, 1, &step, &err), &err)) {
        CHECK_INT(step.n_messages, 0);
        CHECK_INT(step.reply.stop, STOP_LENGTH);
    }
    // A changed reply is the changed one.
    text =
        fixture_solver("local r = ctx.generate(sample.messages) r.text = r.text .. '!' return r");
    if (CHECK_OK(fixture_solve(text, &sample, log, 1, &step, &err), &err)) {
        CHECK_STR(step.reply.text, STR("ho!"));
        CHECK_INT(step.reply.stop, STOP_LENGTH);
    }
}

static void test_effect__render(void)
{
    CHECK_STR(
        fixture_text(
            "return ctx.render('{% for x in xs %}{{ x }}, {% endfor %}{{ n | upper }}',\n"
            "{xs = {1, 2.0}, n = 'a'}) .. ctx.render('{{ 1 + 1 }}') .. ctx.render('{{ 1 + 1 }}')"),
        STR("1, 2.0, A22"));
    Str text = fixture_text("return ctx.render('{{ x')");
    CHECK(str_starts_with(text, STR("error: mine.lua:1: ctx.render:1:")));
    text = fixture_text("return ctx.render('\\n{{ x }}', {})");
    CHECK(str_find(text, STR("ctx.render:2: 'x' is undefined"), 0) != STR_NONE);
}

int main(void)
{
    if (!fixture_open(NULL)) {
        return 1;
    }
    tap_run("paths, replay and branches", test_effect__paths);
    tap_run("errors of branches wait for the others", test_effect__branch_errors_wait);
    tap_run("effects in flight are not asked again", test_effect__in_flight);
    tap_run("a request has what was asked for", test_effect__request);
    tap_run("wrong options say what is wrong", test_effect__wrong_options);
    tap_run("log-likelihoods", test_effect__loglik);
    tap_run("several replies", test_effect__many_replies);
    tap_run("what is left", test_effect__left);
    tap_run("randomness", test_effect__rng);
    tap_run("notes, print, the model", test_effect__notes_and_model);
    tap_run("samples", test_effect__sample);
    tap_run("conversations", test_effect__conversation);
    tap_run("ctx.render", test_effect__render);
    return fixture_close();
}
