// SPDX-License-Identifier: MIT
// muster merge: the stores of many machines into one.
#include "cli/cli.h"

#include "results/merge.h"

typedef struct MergeCommandOptions {
    Str output;
    Str name;
    Str only;
} MergeCommandOptions;

#define O MergeCommandOptions
static const Option options[] = {
    {"output", 'o', OPT_STR_AT(O, output), .arg = "DB",
     .help = "the store that everything goes into; made when it is not there"},
    {"name", 0, OPT_STR_AT(O, name), .arg = "NAME",
     .help = "name of the merged experiment (default: its own, without -shard-K-of-N)"},
    {"only", 0, OPT_STR_AT(O, only), .arg = "EXPERIMENT",
     .help = "only experiments of this name (a glob, without -shard-K-of-N) or short id"},
};
#undef O

static Value merged_value(Arena *arena, const Merged *merged)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("name"), value_str(merged->name));
    map_builder_put(&map, STR("id"), value_str(merged->short_id));
    map_builder_put(&map, STR("state"), value_str(merged->state));
    map_builder_put(&map, STR("new"), value_bool(merged->is_new));
    if (merged->n_shards > 0) {
        Value *have = ARENA_ARRAY(arena, Value, merged->n_have + 1);
        for (size_t i = 0; i < merged->n_have; i++) {
            have[i] = value_int(merged->have[i]);
        }
        MapBuilder shards;
        map_builder_init(&shards, arena);
        map_builder_put(&shards, STR("n"), value_int(merged->n_shards));
        map_builder_put(&shards, STR("have"), value_list(have, merged->n_have));
        map_builder_put(&map, STR("shards"), map_builder_done(&shards));
    }
    map_builder_put(&map, STR("sources"), value_int((int64_t)merged->n_sources));
    map_builder_put(&map, STR("attempts"), value_int(merged->n_attempts));
    map_builder_put(&map, STR("added"), value_int(merged->n_added));
    map_builder_put(&map, STR("replaced"), value_int(merged->n_replaced));
    return map_builder_done(&map);
}

/** "2, 5-7": the shards that are not there. */
static void missing_put(Buf *buf, const Merged *merged)
{
    size_t at = 0;
    for (int64_t k = 1; k <= merged->n_shards; k++) {
        if (at < merged->n_have && merged->have[at] == k) {
            at++;
            continue;
        }
        int64_t next = at < merged->n_have ? merged->have[at] : merged->n_shards + 1;
        buf_printf(buf, "%s%lld", buf->len > 0 ? ", " : "", (long long)k);
        if (next - k > 1) {
            buf_printf(buf, "-%lld", (long long)(next - 1));
        }
        k = next - 1;
    }
}

static void merged_line(const Merged *merged)
{
    printf(STR_FMT " (" STR_FMT "): ", STR_ARG(merged->name), STR_ARG(merged->short_id));
    if (merged->n_shards > 0) {
        printf("%zu of %lld shards, ", merged->n_have, (long long)merged->n_shards);
    }
    printf("%lld attempt%s, %lld new", (long long)merged->n_attempts, PLURAL(merged->n_attempts),
           (long long)merged->n_added);
    if (merged->n_replaced > 0) {
        printf(", %lld finished", (long long)merged->n_replaced);
    }
    if (merged->n_shards > 0 && merged->n_have < (size_t)merged->n_shards) {
        Buf missing = {0};
        missing_put(&missing, merged);
        printf("; missing: " STR_FMT, STR_ARG(buf_view(&missing)));
        buf_finish(&missing);
    } else if (!str_eq(merged->state, STR("finished"))) {
        printf("; not finished");
    }
    printf("\n");
}

static int cmd_merge_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    const MergeCommandOptions *opts = options_struct;
    Err err = ERR_INIT;
    Merged *merged = NULL;
    size_t n = 0;
    if (opts->output.len == 0) {
        ERR_SET(&err, ERR_USAGE, "merge: give -o DB, the store that everything goes into");
        return cli_fail(cli, &err);
    }
    MergeOptions options_merge = {
        .stores = args,
        .n_stores = n_args,
        .output = opts->output,
        .name = opts->name,
        .only = opts->only,
    };
    if (!merge_stores(&options_merge, &cli->arena, &merged, &n, &err)) {
        return cli_fail(cli, &err);
    }
    if (cli->global.json) {
        Value *items = ARENA_ARRAY(&cli->arena, Value, n + 1);
        for (size_t i = 0; i < n; i++) {
            items[i] = merged_value(&cli->arena, &merged[i]);
        }
        MapBuilder map;
        map_builder_init(&map, &cli->arena);
        map_builder_put(&map, STR("experiments"), value_list(items, n));
        Value value = map_builder_done(&map);
        cli_print_json(&value);
        return EXIT_OK;
    }
    for (size_t i = 0; i < n; i++) {
        merged_line(&merged[i]);
    }
    if (n == 0 && !cli->global.quiet) {
        fprintf(stderr, "nothing to merge: the stores hold no experiments\n");
    }
    return EXIT_OK;
}

const Command cmd_merge = {
    .name = "merge",
    .args = "DB... -o DB",
    .summary = "bring the stores of several machines together in one",
    .details =
        "The shards of a run (run --shard) become one experiment, as if one process had run it;\n"
        "other experiments are copied, under a name with -2 where theirs is taken. Merging again\n"
        "adds nothing, and shards that are missing now can be merged later. Shards whose "
        "settings,\n"
        "data, models or programs differ are refused, and so are different results of one sample.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(MergeCommandOptions),
    .min_args = 1,
    .max_args = 100000,
    .run = cmd_merge_run,
};
