// SPDX-License-Identifier: MIT
// replay/EXPERIMENT: the replies of a stored experiment as a replay file beside the store. One run
// model and variant only, since a replay line is known by eval, part, sample, epoch and call alone.
#include "cli/cli.h"

#include "cli/export_file.h"

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
    bool ok = selector_parse(&cli->arena, experiment, &selector, err) &&
              results_open(cli_store_path(cli), &results, err) &&
              side_open(results, &cli->arena, &selector, &side, err) &&
              record_side(cli, results, &side, out_path, err);
    results_close(results);
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
