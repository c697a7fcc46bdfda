// SPDX-License-Identifier: MIT
// One sample on both sides of a diff: its attempts, epoch by epoch, and a view of both replies side
// by side.
#include "results/report_diff.h"
#include "results/report_internal.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

#define SIDE_MIN 30 // columns of a side; narrower, the sides stand one under the other
#define RULE     " \u2502 "
#define RULE_LEN 3 // columns of it

// ---- Reading ------------------------------------------------------------------------------------

typedef struct Attempts {
    Arena *arena;
    AttemptInfo **items;
    size_t n;
    size_t cap;
} Attempts;

static Score *scores_copy(Arena *arena, const Score *scores, size_t n)
{
    Score *copy = ARENA_ARRAY(arena, Score, n);
    for (size_t i = 0; i < n; i++) {
        copy[i] = scores[i];
        copy[i].grader = str_copy(arena, scores[i].grader);
        copy[i].answer = str_copy(arena, scores[i].answer);
        copy[i].why = str_copy(arena, scores[i].why);
        copy[i].reason = str_copy(arena, scores[i].reason);
        copy[i].detail = value_copy(arena, &scores[i].detail);
    }
    return copy;
}

static AttemptInfo *attempt_copy(Arena *arena, const AttemptInfo *attempt)
{
    AttemptInfo *copy = ARENA_NEW(arena, AttemptInfo);
    *copy = *attempt;
    Str *texts[] = {&copy->eval,       &copy->part,   &copy->variant,    &copy->model,
                    &copy->sample_id,  &copy->state,  &copy->error_code, &copy->error,
                    &copy->input,      &copy->target, &copy->metadata,   &copy->prompt,
                    &copy->reply_text, &copy->stop,   &copy->notes};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        *texts[i] = str_copy(arena, *texts[i]);
    }
    copy->choices = value_copy(arena, &attempt->choices);
    copy->calls = value_copy(arena, &attempt->calls);
    copy->scores = scores_copy(arena, attempt->scores, attempt->n_scores);
    return copy;
}

/** An AttemptVisit. */
static bool keep(void *ctx, const AttemptInfo *attempt)
{
    Attempts *attempts = ctx;
    if (attempts->n == attempts->cap) {
        attempts->cap = attempts->cap == 0 ? 8 : attempts->cap * 2;
        AttemptInfo **grown = ARENA_ARRAY(attempts->arena, AttemptInfo *, attempts->cap);
        for (size_t i = 0; i < attempts->n; i++) {
            grown[i] = attempts->items[i];
        }
        attempts->items = grown;
    }
    attempts->items[attempts->n++] = attempt_copy(attempts->arena, attempt);
    return true;
}

/** The attempts of a sample in one run. */
static bool attempts_of(Results *results, const Side *side, const RunInfo *run, Str id,
                        Attempts *out, Err *err)
{
    if (run == NULL) {
        return true;
    }
    AttemptFilter filter = {.sample_id = id,
                            .eval = run->eval,
                            .part = run->part,
                            .variant = run->variant,
                            .model = run->model};
    Attempts all = {.arena = out->arena};
    if (!results_attempts(results, side->experiment.id, &filter, keep, &all, err)) {
        return false;
    }
    for (size_t i = 0; i < all.n; i++) { // a filter's empty member takes any
        if (all.items[i]->run_id == run->id) {
            keep(out, all.items[i]);
        }
    }
    return true;
}

/** Both sides by epoch. */
static size_t join_epochs(const Pairing *pairing, const Attempts sides[2], DiffSample *out)
{
    size_t at[2] = {0, 0};
    size_t n = 0;
    while (at[0] < sides[0].n || at[1] < sides[1].n) {
        const AttemptInfo *now[2];
        for (size_t s = 0; s < 2; s++) {
            now[s] = at[s] < sides[s].n ? sides[s].items[at[s]] : NULL;
        }
        bool base = now[0] != NULL && (now[1] == NULL || now[0]->epoch <= now[1]->epoch);
        bool candidate = now[1] != NULL && (now[0] == NULL || now[1]->epoch <= now[0]->epoch);
        out[n++] = (DiffSample){.pairing = pairing,
                                .base = base ? now[0] : NULL,
                                .candidate = candidate ? now[1] : NULL};
        at[0] += base;
        at[1] += candidate;
    }
    return n;
}

/** The id within a part that a word names there: the whole word, or what follows "part/". */
static Str id_in_part(Str part, Str word)
{
    bool prefixed = part.len > 0 && word.len > part.len + 1 && str_starts_with(word, part) &&
                    word.data[part.len] == '/';
    return prefixed ? str_slice(word, part.len + 1, word.len) : word;
}

bool diff_sample(Results *results, Arena *arena, const DiffReport *diff, Str id, DiffSample **out,
                 size_t *out_n, Err *err)
{
    DiffSample *samples = NULL;
    size_t n = 0;
    for (size_t i = 0; i < diff->n_pairings; i++) {
        const Pairing *pairing = &diff->pairings[i];
        for (size_t p = 0; p < pairing->n_parts; p++) {
            Attempts sides[2] = {{.arena = arena}, {.arena = arena}};
            Str own = id_in_part(pairing->parts[p], id);
            if (!attempts_of(results, &diff->base, pairing->base[p], own, &sides[0], err) ||
                !attempts_of(results, &diff->candidate, pairing->candidate[p], own, &sides[1],
                             err)) {
                return false;
            }
            DiffSample *grown = ARENA_ARRAY(arena, DiffSample, n + sides[0].n + sides[1].n);
            if (n > 0) {
                memcpy(grown, samples, n * sizeof(*samples));
            }
            samples = grown;
            n += join_epochs(pairing, sides, samples + n);
        }
    }
    if (n == 0) {
        return ERR_SET(err, ERR_NOT_FOUND, "neither side has an attempt of sample '" STR_FMT "'",
                       STR_ARG(id));
    }
    *out = samples;
    *out_n = n;
    return true;
}

// ---- Side by side -------------------------------------------------------------------------------

/** Harmless lines no wider than a column. */
typedef struct Lines {
    Str *items;
    size_t n;
    size_t cap;
} Lines;

static void line_put(Arena *arena, Lines *lines, Str line)
{
    if (lines->n == lines->cap) {
        lines->cap = lines->cap == 0 ? 16 : lines->cap * 2;
        Str *grown = ARENA_ARRAY(arena, Str, lines->cap);
        if (lines->n > 0) {
            memcpy(grown, lines->items, lines->n * sizeof(*grown));
        }
        lines->items = grown;
    }
    lines->items[lines->n++] = line;
}

/** A line in pieces: at the last space that fits, else wherever the column ends. */
static void line_wrap(Arena *arena, Lines *lines, Str line, size_t width)
{
    Str rest = line;
    while (utf8_columns(rest) > width) {
        Str head = utf8_cut_columns(rest, width);
        size_t space = str_find_last(head, STR(" "));
        size_t cut = space == STR_NONE || space == 0 ? head.len : space;
        cut = cut == 0 ? 1 : cut; // one character wider than the column
        line_put(arena, lines, str_slice(rest, 0, cut));
        rest = str_slice(rest, space == cut ? cut + 1 : cut, rest.len);
    }
    line_put(arena, lines, rest);
}

static Lines lines_of(Arena *arena, Str text, size_t width)
{
    Buf buf = {0};
    report_text(&buf, text, true);
    Str rest = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    Lines lines = {0};
    Str line;
    bool more = true;
    while (more) {
        more = str_cut(rest, STR("\n"), &line, &rest);
        Buf flat = {0}; // tabs have no fixed width
        for (size_t i = 0; i < line.len; i++) {
            if (line.data[i] == '\t') {
                buf_c(&flat, "    ");
            } else {
                buf_char(&flat, line.data[i]);
            }
        }
        line_wrap(arena, &lines, str_copy(arena, buf_view(&flat)), width);
        buf_finish(&flat);
    }
    return lines;
}

/** How a sample is laid out. */
typedef struct Layout {
    Arena *arena;
    bool beside;  // else one under the other
    size_t width; // of one side
    bool color;
} Layout;

static void put_title(Buf *buf, const Layout *layout, const char *title)
{
    buf_printf(buf, "%s%s%s\n", layout->color ? "\033[1m" : "", title,
               layout->color ? "\033[0m" : "");
}

static void put_beside(Buf *buf, const Layout *layout, Str base, Str candidate)
{
    Lines lines[2] = {lines_of(layout->arena, base, layout->width),
                      lines_of(layout->arena, candidate, layout->width)};
    for (size_t i = 0; i < lines[0].n || i < lines[1].n; i++) {
        Str left = i < lines[0].n ? lines[0].items[i] : STR_EMPTY;
        Str right = i < lines[1].n ? lines[1].items[i] : STR_EMPTY;
        size_t columns = utf8_columns(left);
        buf_str(buf, left);
        report_spaces(buf, columns < layout->width ? layout->width - columns : 0);
        buf_c(buf, right.len > 0 ? RULE : " \u2502");
        buf_str(buf, right);
        buf_char(buf, '\n');
    }
}

static void put_under(Buf *buf, const Layout *layout, Str text)
{
    Lines lines = lines_of(layout->arena, text, layout->width);
    for (size_t i = 0; i < lines.n; i++) {
        buf_c(buf, lines.items[i].len > 0 ? "  " : "");
        buf_str(buf, lines.items[i]);
        buf_char(buf, '\n');
    }
}

/** A text of both sides: once where it is the same. */
static void put_both(Buf *buf, const Layout *layout, const char *title, Str base, Str candidate)
{
    if (base.len == 0 && candidate.len == 0) {
        return;
    }
    bool same = str_eq(base, candidate);
    Str empty = STR("(none)");
    base = base.len > 0 ? base : empty;
    candidate = candidate.len > 0 ? candidate : empty;
    Arena *arena = layout->arena;
    if (same) {
        put_title(buf, layout, str_to_c(arena, str_printf(arena, "%s (the same)", title)));
        Layout wide = *layout;
        wide.width = layout->beside ? 2 * layout->width + RULE_LEN - 2 : layout->width;
        put_under(buf, &wide, base);
    } else if (layout->beside) {
        put_title(buf, layout, title);
        put_beside(buf, layout, base, candidate);
    } else {
        put_title(buf, layout, str_to_c(arena, str_printf(arena, "%s: base", title)));
        put_under(buf, layout, base);
        put_title(buf, layout, str_to_c(arena, str_printf(arena, "%s: candidate", title)));
        put_under(buf, layout, candidate);
    }
}

/** A prompt as stored: text, or JSON messages, which are shown one after the other. */
static Str prompt_text(Arena *arena, const AttemptInfo *attempt)
{
    Value messages;
    Err ignored = ERR_INIT;
    Str prompt = attempt == NULL ? STR_EMPTY : attempt->prompt;
    if (!str_starts_with(prompt, STR("[{")) ||
        !json_parse(arena, prompt, NULL, &messages, NULL, &ignored) ||
        messages.kind != VALUE_LIST) {
        return prompt;
    }
    Buf buf = {0};
    for (size_t i = 0; i < messages.as.list.n; i++) {
        const Value *message = &messages.as.list.items[i];
        const Value *content = value_get_c(message, "content");
        buf_c(&buf, i > 0 ? "\n<" : "<");
        buf_str(&buf, value_get_str(message, "role", STR_EMPTY));
        buf_c(&buf, ">\n");
        if (content != NULL && content->kind == VALUE_STR) {
            buf_str(&buf, content->as.str);
        } else if (content != NULL) {
            json_write(&buf, content, JSON_SPACED);
        }
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

/** "exact 1: 'Paris' is in the answer"; one line a grader. */
static Str scores_text(Arena *arena, const AttemptInfo *attempt)
{
    Buf buf = {0};
    for (size_t i = 0; attempt != NULL && i < attempt->n_scores; i++) {
        const Score *score = &attempt->scores[i];
        buf_c(&buf, i > 0 ? "\n" : "");
        buf_str(&buf, score->grader);
        if (score->state == SCORE_VALUE) {
            buf_printf(&buf, " %.6g", score->value);
        } else {
            buf_c(&buf, " unscored");
        }
        Str why = score->state == SCORE_VALUE ? score->why : score->reason;
        buf_c(&buf, why.len > 0 ? ": " : "");
        buf_str(&buf, why);
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

/** What came back: the reply, or the error. */
static Str reply_text(Arena *arena, const AttemptInfo *attempt)
{
    if (attempt == NULL) {
        return STR("(no attempt)");
    }
    if (!str_eq(attempt->state, STR("done"))) {
        return str_printf(arena, "error: " STR_FMT " [" STR_FMT "]", STR_ARG(attempt->error),
                          STR_ARG(attempt->error_code));
    }
    return attempt->reply_text.len > 0 ? attempt->reply_text : STR("(empty)");
}

/** Log-probabilities of the choices, best marked, where there are any. */
static Str choices_text(Arena *arena, const AttemptInfo *attempt)
{
    if (attempt == NULL || attempt->choices.kind != VALUE_LIST) {
        return STR_EMPTY;
    }
    double best = -(double)INFINITY;
    for (size_t i = 0; i < attempt->choices.as.list.n; i++) {
        best = fmax(best, value_get_real(&attempt->choices.as.list.items[i], "logprob", best));
    }
    Buf buf = {0};
    for (size_t i = 0; i < attempt->choices.as.list.n; i++) {
        const Value *choice = &attempt->choices.as.list.items[i];
        double logprob = value_get_real(choice, "logprob", (double)NAN);
        buf_printf(&buf, "%s%s%9.4f ", i > 0 ? "\n" : "", logprob == best ? "*" : " ", logprob);
        buf_str(&buf, value_get_str(choice, "text", STR_EMPTY));
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

static Str side_title(Arena *arena, const char *side, Str variant, Str model,
                      const AttemptInfo *attempt)
{
    Str usage = attempt == NULL ? STR_EMPTY
                                : str_printf(arena, "  %lld tokens in, %lld out, %.3g s",
                                             (long long)attempt->usage.input,
                                             (long long)attempt->usage.output, attempt->seconds);
    return str_printf(arena, "%s: " STR_FMT "%s" STR_FMT STR_FMT, side, STR_ARG(variant),
                      variant.len > 0 ? " on " : "", STR_ARG(model), STR_ARG(usage));
}

void report_diff_sample(Buf *buf, const DiffSample *sample, const ReportOptions *options)
{
    Arena arena = {0};
    const AttemptInfo *any = sample->base != NULL ? sample->base : sample->candidate;
    const Pairing *pairing = sample->pairing;
    size_t width = options->width > 0 ? (size_t)options->width : 100;
    Layout layout = {.arena = &arena, .color = options->color};
    layout.beside = width >= 2 * SIDE_MIN + RULE_LEN;
    layout.width = layout.beside ? (width - RULE_LEN) / 2 : width > 12 ? width - 2 : 10;
    Str eval = report_clean(&arena, any->eval);
    Str part = report_clean(&arena, any->part);
    Str id = report_clean(&arena, any->sample_id);
    put_title(
        buf, &layout,
        str_to_c(&arena, str_printf(&arena, STR_FMT "%s" STR_FMT "  sample " STR_FMT "  epoch %lld",
                                    STR_ARG(eval), part.len > 0 ? "/" : "", STR_ARG(part),
                                    STR_ARG(id), (long long)any->epoch)));
    put_both(buf, &layout, "side",
             side_title(&arena, "base", pairing->base_variant, pairing->base_model, sample->base),
             side_title(&arena, "candidate", pairing->candidate_variant, pairing->candidate_model,
                        sample->candidate));
    put_both(buf, &layout, "prompt", prompt_text(&arena, sample->base),
             prompt_text(&arena, sample->candidate));
    put_both(buf, &layout, "reply", reply_text(&arena, sample->base),
             reply_text(&arena, sample->candidate));
    put_both(buf, &layout, "choices (log-probability, nat)", choices_text(&arena, sample->base),
             choices_text(&arena, sample->candidate));
    put_both(buf, &layout, "target", sample->base != NULL ? sample->base->target : STR_EMPTY,
             sample->candidate != NULL ? sample->candidate->target : STR_EMPTY);
    put_both(buf, &layout, "scores", scores_text(&arena, sample->base),
             scores_text(&arena, sample->candidate));
    arena_finish(&arena);
}
