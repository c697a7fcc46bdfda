// SPDX-License-Identifier: MIT
// EXPERIMENT[:eval=..,part=..,variant=..,model=..]: words of the command line as one side of a
// comparison.
#include "results/read_internal.h"

#include "results/compare.h"

/** The members of a selector by the names that they have on the command line. */
static Str *member(Selector *selector, Str key)
{
    const struct {
        const char *key;
        Str *member;
    } members[] = {
        {"eval", &selector->eval},
        {"part", &selector->part},
        {"variant", &selector->variant},
        {"model", &selector->model},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (str_eq_c(key, members[i].key)) {
            return members[i].member;
        }
    }
    return NULL;
}

static bool pair_parse(Selector *selector, Str pair, Err *err)
{
    static const Str keys[] = {STR_INIT("eval"), STR_INIT("part"), STR_INIT("variant"),
                               STR_INIT("model")};
    Str key;
    Str value;
    bool cut = str_cut(pair, STR("="), &key, &value);
    key = str_trim(key);
    Str *to = member(selector, key);
    if (to == NULL) {
        size_t near = str_nearest(key, keys, sizeof(keys) / sizeof(keys[0]));
        if (near != STR_NONE) {
            return ERR_SET(err, ERR_USAGE,
                           "'" STR_FMT "': no key '" STR_FMT "'; did you mean " STR_FMT "?",
                           STR_ARG(selector->text), STR_ARG(key), STR_ARG(keys[near]));
        }
        return ERR_SET(err, ERR_USAGE,
                       "'" STR_FMT "': '" STR_FMT "' is none of eval=, part=, variant=, model=",
                       STR_ARG(selector->text), STR_ARG(pair));
    }
    value = str_trim(value);
    if (!cut || value.len == 0) {
        return ERR_SET(err, ERR_USAGE, "'" STR_FMT "': " STR_FMT " needs a value: " STR_FMT "=..",
                       STR_ARG(selector->text), STR_ARG(key), STR_ARG(key));
    }
    if (to->len > 0) {
        return ERR_SET(err, ERR_USAGE, "'" STR_FMT "': " STR_FMT " is given twice",
                       STR_ARG(selector->text), STR_ARG(key));
    }
    *to = value;
    return true;
}

bool selector_parse(Arena *arena, Str text, Selector *out, Err *err)
{
    Selector selector = {.text = str_copy(arena, text),
                         .eval = STR_EMPTY,
                         .part = STR_EMPTY,
                         .variant = STR_EMPTY,
                         .model = STR_EMPTY};
    Str rest;
    bool more = str_cut(selector.text, STR(":"), &selector.experiment, &rest);
    if (selector.experiment.len == 0) {
        return ERR_SET(err, ERR_USAGE,
                       "'" STR_FMT "' names no experiment: NAME, latest, latest~1 or @BASELINE, "
                       "then :eval=..,part=..,variant=..,model=..",
                       STR_ARG(text));
    }
    while (more) {
        Str pair;
        more = str_cut(rest, STR(","), &pair, &rest);
        if (!pair_parse(&selector, pair, err)) {
            return false;
        }
    }
    *out = selector;
    return true;
}

// ---- Sides --------------------------------------------------------------------------------------

static bool takes_glob(Str wanted, Str got)
{
    return wanted.len == 0 || str_eq(wanted, got) || glob_match(wanted, got);
}

static bool takes(Str wanted, Str got)
{
    return wanted.len == 0 || str_eq(wanted, got);
}

static bool selects(const Selector *selector, const RunInfo *run)
{
    return takes_glob(selector->eval, run->eval) && takes_glob(selector->part, run->part) &&
           takes(selector->variant, run->variant) && takes(selector->model, run->model);
}

/** What a run is told by in messages. */
typedef Str RunWord(const RunInfo *run);

static Str run_eval(const RunInfo *run)
{
    return run->eval;
}

static Str run_part(const RunInfo *run)
{
    return run->part;
}

static Str run_variant(const RunInfo *run)
{
    return run->variant;
}

static Str run_model(const RunInfo *run)
{
    return run->model;
}

/** "plain, terse" of the runs that are there, each once; a dozen at most. */
static Str words_of(Arena *arena, const RunRead *runs, size_t n, RunWord *word)
{
    Str text = STR_EMPTY;
    size_t n_words = 0;
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) {
            seen = str_eq(word(&runs[i].info), word(&runs[j].info));
        }
        if (!seen && word(&runs[i].info).len > 0 && n_words++ < 12) {
            text = str_printf(arena, STR_FMT "%s" STR_FMT, STR_ARG(text), n_words > 1 ? ", " : "",
                              STR_ARG(word(&runs[i].info)));
        }
    }
    return text;
}

/** Say which member of the selector no run has, and what there is. */
static bool nothing_selected(const Selector *selector, const ExperimentInfo *experiment,
                             const RunRead *runs, size_t n, Err *err)
{
    const struct {
        const char *key;
        Str wanted;
        RunWord *word;
        bool glob;
    } members[] = {
        {"eval", selector->eval, run_eval, true},
        {"part", selector->part, run_part, true},
        {"variant", selector->variant, run_variant, false},
        {"model", selector->model, run_model, false},
    };
    Arena scratch = {0};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        bool any = members[i].wanted.len == 0;
        for (size_t j = 0; j < n && !any; j++) {
            Str got = members[i].word(&runs[j].info);
            any = members[i].glob ? takes_glob(members[i].wanted, got)
                                  : takes(members[i].wanted, got);
        }
        if (!any) {
            Str words = words_of(&scratch, runs, n, members[i].word);
            ERR_SET(err, ERR_USAGE,
                    "experiment '" STR_FMT "' has no %s '" STR_FMT "' (it has: " STR_FMT ")",
                    STR_ARG(experiment->name), members[i].key, STR_ARG(members[i].wanted),
                    STR_ARG(words.len > 0 ? words : STR("only an unnamed one")));
            arena_finish(&scratch);
            return false;
        }
    }
    arena_finish(&scratch);
    return ERR_SET(err, ERR_USAGE, "no run of experiment '" STR_FMT "' is all of '" STR_FMT "'",
                   STR_ARG(experiment->name), STR_ARG(selector->text));
}

static bool experiment_of(Results *results, Arena *arena, const Selector *selector,
                          ExperimentInfo *out, Err *err)
{
    return results_experiment(results, arena, selector->experiment, out, err);
}

bool side_open(Results *results, Arena *arena, const Selector *selector, Side *out, Err *err)
{
    Side side = {.selector = *selector};
    RunRead *read;
    size_t n;
    if (!experiment_of(results, arena, selector, &side.experiment, err) ||
        !runs_read_sorted(results, arena, side.experiment.id, &read, &n, err)) {
        return false;
    }
    RunInfo *runs = ARENA_ARRAY(arena, RunInfo, n);
    for (size_t i = 0; i < n; i++) {
        if (selects(selector, &read[i].info)) {
            if (!run_totals(results, &read[i].info, err)) {
                return false;
            }
            runs[side.n_runs++] = read[i].info;
        }
    }
    if (side.n_runs == 0) {
        return nothing_selected(selector, &side.experiment, read, n, err);
    }
    side.runs = runs;
    *out = side;
    return true;
}
