// SPDX-License-Identifier: MIT
// One attempt for people: where it is from, what was asked, what came back, how it was scored and
// why.
#include "results/results.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

/** A title line, bold where colors are wanted. */
static void put_title(Buf *buf, const ReportOptions *options, const char *title)
{
    buf_printf(buf, "%s%s%s\n", options->color ? "\033[1m" : "", title,
               options->color ? "\033[0m" : "");
}

/** Harmless text, each line set in by two spaces. */
static void put_body(Buf *buf, Str text)
{
    if (text.len == 0) {
        buf_c(buf, "  (empty)\n");
        return;
    }
    Str line;
    Str rest = text;
    bool more = true;
    while (more) {
        more = str_cut(rest, STR("\n"), &line, &rest);
        if (line.len > 0 && line.data[line.len - 1] == '\r') {
            line.len--;
        }
        buf_c(buf, line.len > 0 ? "  " : "");
        report_text(buf, line, true);
        buf_char(buf, '\n');
    }
}

static void put_named(Buf *buf, const char *name, Str text)
{
    if (text.len > 0) {
        buf_printf(buf, "  %s", name);
        report_text(buf, text, false);
    }
}

/** Whether a value is a chat: a list of maps that have a role. */
static bool is_chat(const Value *value)
{
    if (value->kind != VALUE_LIST || value->as.list.n == 0) {
        return false;
    }
    for (size_t i = 0; i < value->as.list.n; i++) {
        if (value_get_str(&value->as.list.items[i], "role", STR_EMPTY).len == 0) {
            return false;
        }
    }
    return true;
}

static void put_messages(Buf *buf, const Value *messages)
{
    for (size_t i = 0; i < messages->as.list.n; i++) {
        const Value *message = &messages->as.list.items[i];
        buf_c(buf, "  <");
        report_text(buf, value_get_str(message, "role", STR_EMPTY), false);
        buf_c(buf, ">\n");
        const Value *content = value_get_c(message, "content");
        if (content != NULL && content->kind == VALUE_STR) {
            put_body(buf, content->as.str);
        } else if (content != NULL) {
            Buf json = {0};
            json_write(&json, content, JSON_SPACED);
            put_body(buf, buf_view(&json));
            buf_finish(&json);
        }
    }
}

/** A prompt as stored: text, or JSON messages. */
static void put_prompt(Buf *buf, Str prompt)
{
    Arena arena = {0};
    Err ignored = ERR_INIT;
    Value value;
    bool looks_like_chat = str_starts_with(prompt, STR("[{"));
    if (looks_like_chat && json_parse(&arena, prompt, NULL, &value, NULL, &ignored) &&
        is_chat(&value)) {
        put_messages(buf, &value);
    } else {
        put_body(buf, prompt);
    }
    arena_finish(&arena);
}

static void put_choices(Buf *buf, const Value *choices)
{
    double best = -(double)INFINITY;
    for (size_t i = 0; i < choices->as.list.n; i++) {
        best = fmax(best, value_get_real(&choices->as.list.items[i], "logprob", best));
    }
    for (size_t i = 0; i < choices->as.list.n; i++) {
        const Value *choice = &choices->as.list.items[i];
        double logprob = value_get_real(choice, "logprob", (double)NAN);
        buf_printf(buf, "%s%10.4f  ", logprob == best ? "  *" : "   ", logprob);
        report_text(buf, value_get_str(choice, "text", STR_EMPTY), false);
        buf_printf(buf, "  (%lld tokens)\n", (long long)value_get_int(choice, "tokens", 0));
    }
}

/** The calls, when there is more to them than the reply that was graded. */
static void put_calls(Buf *buf, const Value *calls, const ReportOptions *options)
{
    for (size_t i = 0; calls->kind == VALUE_LIST && i < calls->as.list.n; i++) {
        const Value *call = &calls->as.list.items[i];
        const Value *request = value_get_c(call, "request");
        const Value *reply = value_get_c(call, "reply");
        Str path = value_get_str(call, "path", STR_EMPTY);
        bool of_grader = str_starts_with(path, STR("g"));
        if (calls->as.list.n == 1 && !of_grader) {
            return;
        }
        Buf title = {0};
        buf_printf(&title, "%s ", of_grader ? "grader's call" : "call");
        report_text(&title, path, false);
        Str role = value_get_str(request, "role", STR_EMPTY);
        if (role.len > 0) {
            buf_c(&title, " to ");
            report_text(&title, role, false);
        }
        put_title(buf, options, title.data);
        buf_finish(&title);
        const Value *messages = request != NULL ? value_get_c(request, "messages") : NULL;
        if (messages != NULL && is_chat(messages)) {
            // What came before is in the calls above.
            Value last = value_list(&messages->as.list.items[messages->as.list.n - 1], 1);
            put_messages(buf, &last);
        } else if (of_grader && request != NULL) {
            put_body(buf, value_get_str(request, "prompt", STR_EMPTY));
        }
        buf_c(buf, "  <reply>\n");
        put_body(buf, reply != NULL ? value_get_str(reply, "text", STR_EMPTY) : STR_EMPTY);
    }
}

static void put_score(Buf *buf, const Score *score, const ReportOptions *options)
{
    bool bad = score->state != SCORE_VALUE || score->value < 1;
    buf_c(buf, "  ");
    report_text(buf, score->grader, false);
    buf_c(buf, options->color ? (bad ? " \033[31m" : " \033[32m") : " ");
    if (score->state == SCORE_VALUE) {
        char value[40];
        text_format_real(score->value, value);
        size_t n = strlen(value);
        // A whole number reads better without its ".0".
        buf_append(buf, value, n > 2 && strcmp(value + n - 2, ".0") == 0 ? n - 2 : n);
    } else {
        buf_c(buf, "unscored");
    }
    buf_c(buf, options->color ? "\033[0m" : "");
    put_named(buf, "", score->state == SCORE_VALUE ? score->why : score->reason);
    if (score->has_answer) {
        buf_c(buf, "  answer: \"");
        report_text(buf, score->answer, false);
        buf_char(buf, '"');
    }
    if (score->state == SCORE_VALUE && score->weight != 1) {
        buf_printf(buf, "  weight %g", score->weight);
    }
    buf_char(buf, '\n');
    if (score->detail.kind != VALUE_NULL) {
        Buf json = {0};
        json_write(&json, &score->detail, JSON_SPACED);
        buf_c(buf, "    ");
        report_text(buf, buf_view(&json), false);
        buf_char(buf, '\n');
        buf_finish(&json);
    }
}

static void put_header(Buf *buf, const AttemptInfo *attempt, const ReportOptions *options)
{
    buf_c(buf, options->color ? "\033[1m" : "");
    report_text(buf, attempt->eval, false);
    if (attempt->part.len > 0) {
        buf_char(buf, '/');
        report_text(buf, attempt->part, false);
    }
    put_named(buf, "sample ", attempt->sample_id);
    buf_printf(buf, "  epoch %lld", (long long)attempt->epoch);
    put_named(buf, "variant ", attempt->variant);
    put_named(buf, "on ", attempt->model);
    buf_c(buf, options->color ? "\033[0m\n" : "\n");
}

static void put_outcome(Buf *buf, const AttemptInfo *attempt, const ReportOptions *options)
{
    if (!str_eq(attempt->state, STR("done"))) {
        put_title(buf, options, "error");
        buf_c(buf, options->color ? "  \033[31m" : "  ");
        report_text(buf, attempt->error, false);
        buf_c(buf, " [");
        report_text(buf, attempt->error_code, false);
        buf_c(buf, options->color ? "]\033[0m\n" : "]\n");
    }
    if (str_eq(attempt->state, STR("done")) || attempt->reply_text.len > 0) {
        Buf title = {0};
        buf_c(&title, "reply");
        if (attempt->stop.len > 0) {
            buf_printf(&title, " (" STR_FMT ", %lld tokens in, %lld out, %.3g s)",
                       STR_ARG(attempt->stop), (long long)attempt->usage.input,
                       (long long)attempt->usage.output, attempt->seconds);
        }
        put_title(buf, options, title.data);
        buf_finish(&title);
        put_body(buf, attempt->reply_text);
    }
}

void report_attempt(Buf *buf, const AttemptInfo *attempt, const ReportOptions *options)
{
    put_header(buf, attempt, options);
    put_title(buf, options, "prompt");
    put_prompt(buf, attempt->prompt);
    put_calls(buf, &attempt->calls, options);
    put_outcome(buf, attempt, options);
    if (attempt->choices.kind == VALUE_LIST && attempt->choices.as.list.n > 0) {
        put_title(buf, options, "choices (log-probability, nat)");
        put_choices(buf, &attempt->choices);
    }
    if (attempt->target.len > 0) {
        put_title(buf, options, "target");
        put_body(buf, attempt->target);
    }
    if (attempt->n_scores > 0) {
        put_title(buf, options, "scores");
        for (size_t i = 0; i < attempt->n_scores; i++) {
            put_score(buf, &attempt->scores[i], options);
        }
    }
    if (attempt->notes.len > 0) {
        put_title(buf, options, "notes");
        put_body(buf, attempt->notes);
    }
}
