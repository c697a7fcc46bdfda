// SPDX-License-Identifier: MIT
// replay/EXPERIMENT: the replies of a stored experiment as a replay file beside the store. One run
// model and variant only, since a replay line is known by eval, part, sample, epoch and call alone.
#include "cli/recorded.h"

#include "cli/export_file.h"

#include <inttypes.h>

/** What a model that is replay/EXPERIMENT answers from. */
typedef struct Recorded {
    Str spec;
    Side side;
    struct Recorded *next;
} Recorded;

/** The side's replies in a file beside the store. */
static bool record_side(Cli *cli, Results *results, const Side *side, Str *out_path, Err *err)
{
    // Another choice of its runs is another file: both may be models of one command.
    Str choice =
        str_slice(side->selector.text, side->selector.experiment.len, side->selector.text.len);
    char hex[HASH_HEX_LEN + 1] = "";
    if (choice.len > 0) {
        Hash hash = sha256_of(choice);
        hash_hex(&hash, hex);
    }
    *out_path =
        path_join(&cli->arena, path_dir(cli_store_path(cli)),
                  str_printf(&cli->arena, "replay-" STR_FMT "%s%.8s.jsonl",
                             STR_ARG(side->experiment.short_id), choice.len > 0 ? "-" : "", hex));
    ExportOptions options = {0};
    uint64_t n_bytes = 0;
    if (!cli_export_file(results, side, export_format(STR("replay")), &options, *out_path, err)) {
        return false;
    }
    return (file_size(*out_path, &n_bytes) && n_bytes > 0) ||
           ERR_SET(err, ERR_USAGE, "experiment '" STR_FMT "' has no replies to replay",
                   STR_ARG(side->experiment.name));
}

static bool recorded_file(Cli *cli, Str experiment, Str *out_path, Err *err)
{
    Results *results = NULL;
    Selector selector;
    Side side;
    Recorded *recorded = ARENA_NEW(&cli->arena, Recorded);
    bool ok = selector_parse(&cli->arena, experiment, &selector, err) &&
              results_open(cli_store_path(cli), &results, err) &&
              side_open(results, &cli->arena, &selector, &side, err) &&
              record_side(cli, results, &side, out_path, err);
    results_close(results);
    if (ok) {
        *recorded = (Recorded){.spec = str_concat(&cli->arena, STR("replay/"), experiment),
                               .side = side,
                               .next = cli->recorded};
        cli->recorded = recorded;
    }
    return ok;
}

bool cli_model(Cli *cli, Str spec, const Model **out, Err *err)
{
    Str provider;
    Str name;
    Err none = ERR_INIT;
    if (registry_model(cli->registry, spec, out, err)) {
        return true;
    }
    bool recorded = str_cut(spec, STR("/"), &provider, &name) && str_eq(provider, STR("replay"));
    if (err->code != ERR_NOT_FOUND || !recorded) {
        err->code = err->code == ERR_NOT_FOUND ? ERR_MODEL : err->code; // nothing to run on
        return false;
    }
    Str path;
    if (!recorded_file(cli, name, &path, &none)) {
        if (none.code != ERR_NOT_FOUND) {
            *err = none;
        } else {
            ERR_SET(err, ERR_MODEL, "no file and no experiment '" STR_FMT "' to replay",
                    STR_ARG(name));
        }
        return false;
    }
    *err = (Err)ERR_INIT;
    const Model *found = NULL;
    if (!registry_model(cli->registry, str_concat(&cli->arena, STR("replay/"), path), &found,
                        err)) {
        return false;
    }
    Model *named = ARENA_NEW(&cli->arena, Model);
    *named = *found;
    named->spec = spec; // as the user knows it
    *out = named;
    return true;
}

/** The run of an eval that was recorded; all of them are of one variant. NULL: there is none. */
static const RunInfo *run_of(const Side *side, Str eval)
{
    for (size_t i = 0; i < side->n_runs; i++) {
        if (str_eq(side->runs[i].eval, eval)) {
            return &side->runs[i];
        }
    }
    return NULL;
}

static Str variant_words(Arena *arena, Str variant)
{
    return variant.len > 0 ? str_printf(arena, "variant '" STR_FMT "'", STR_ARG(variant))
                           : STR("no variant");
}

/** An eval that was not recorded at all has no reply: its attempts say so. */
static bool recorded_variants(Cli *cli, const Recorded *recorded, const Eval *eval, Str variant,
                              Err *err)
{
    const RunInfo *run = run_of(&recorded->side, eval->name);
    for (size_t v = 0; run != NULL && v < eval->n_variants; v++) {
        Str name = eval->variants[v].name;
        if ((variant.len > 0 && !str_eq(variant, name)) || str_eq(run->variant, name)) {
            continue;
        }
        return ERR_SET(err, ERR_USAGE,
                       STR_FMT " holds replies to " STR_FMT " of eval '" STR_FMT
                               "', which are none to " STR_FMT
                               ": choose with --variant, or run from a file that answers any "
                               "(muster export " STR_FMT " -f replay -o FILE, -m replay/FILE)",
                       STR_ARG(recorded->spec), STR_ARG(variant_words(&cli->arena, run->variant)),
                       STR_ARG(eval->name), STR_ARG(variant_words(&cli->arena, name)),
                       STR_ARG(recorded->side.selector.text));
    }
    return true;
}

bool cli_recorded_check(Cli *cli, const RunTarget *targets, size_t n, Str variant, uint64_t seed,
                        Err *err)
{
    for (const Recorded *one = cli->recorded; one != NULL; one = one->next) {
        for (size_t i = 0; i < n; i++) {
            if (!recorded_variants(cli, one, targets[i].eval, variant, err)) {
                return false;
            }
        }
        int64_t then = value_get_int(&one->side.experiment.spec, "seed", 0);
        if (then != (int64_t)seed) {
            fprintf(stderr,
                    "warning: " STR_FMT " was recorded with seed %" PRId64 ", this run has %" PRId64
                    ": where prompts depend on it, the replies are to "
                    "others\n",
                    STR_ARG(one->spec), then, (int64_t)seed);
        }
    }
    return true;
}
