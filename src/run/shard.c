// SPDX-License-Identifier: MIT
// Which shard of a run this process is: said on the command line, or read from the variables that
// Slurm gives to the tasks of an array and Kubernetes to the pods of an indexed Job. What the
// variables leave open is refused: a wrong guess would run the wrong samples without a word.
#include "run/run.h"

static bool env_number(const char *name, int64_t *out)
{
    return str_to_i64(env_get(name, STR_EMPTY), out);
}

/** SLURM_ARRAY_TASK_*: the array's ids are MIN, MIN + STEP, ... MAX, COUNT of them. */
static bool shard_of_slurm(int64_t n, RunShard *out, Err *err)
{
    int64_t id = 0;
    int64_t count = 0;
    int64_t least = 0;
    int64_t most = 0;
    int64_t step = 1;
    if (!env_number("SLURM_ARRAY_TASK_ID", &id) || !env_number("SLURM_ARRAY_TASK_COUNT", &count) ||
        !env_number("SLURM_ARRAY_TASK_MIN", &least) || count < 1) {
        return ERR_SET(err, ERR_USAGE,
                       "--shard auto: SLURM_ARRAY_TASK_ID, _COUNT and _MIN are not all integers; "
                       "give --shard K/N");
    }
    if (!env_number("SLURM_ARRAY_TASK_STEP", &step) || step < 1) {
        step = 1;
    }
    bool has_most = env_number("SLURM_ARRAY_TASK_MAX", &most);
    int64_t k = id < least || (id - least) % step != 0 ? 0 : (id - least) / step + 1;
    if (k < 1 || k > count || (has_most && (most - least) / step + 1 != count)) {
        return ERR_SET(err, ERR_USAGE,
                       "--shard auto: the ids of this Slurm array have gaps (%lld of %lld to "
                       "%lld); give --shard K/N",
                       (long long)count, (long long)least, (long long)most);
    }
    if (n > 0 && n != count) {
        return ERR_SET(err, ERR_USAGE,
                       "--shard auto/%lld: this Slurm array has %lld task%s; to run a few of the "
                       "shards again give --shard K/%lld",
                       (long long)n, (long long)count, count == 1 ? "" : "s", (long long)n);
    }
    if (n == 0 && (least > 1 || count == 1)) {
        return ERR_SET(err, ERR_USAGE,
                       "--shard auto: is this Slurm array (ids %lld to %lld) a part of a larger "
                       "one? give --shard K/N, or --shard auto/%lld if it is whole",
                       (long long)least, (long long)(least + (count - 1) * step), (long long)count);
    }
    *out = (RunShard){.k = k, .n = count};
    return true;
}

/** JOB_COMPLETION_INDEX counts from 0; nothing tells the number of completions. */
static bool shard_of_kubernetes(int64_t n, RunShard *out, Err *err)
{
    int64_t index = 0;
    if (!env_number("JOB_COMPLETION_INDEX", &index) || index < 0) {
        return ERR_SET(err, ERR_USAGE, "--shard auto: JOB_COMPLETION_INDEX is no index from 0");
    }
    if (n == 0) {
        return ERR_SET(err, ERR_USAGE,
                       "--shard auto: Kubernetes does not tell how many pods there are; give "
                       "--shard auto/N with the completions of the Job");
    }
    if (index >= n) {
        return ERR_SET(err, ERR_USAGE,
                       "--shard auto/%lld: JOB_COMPLETION_INDEX is %lld, so there are more shards",
                       (long long)n, (long long)index);
    }
    *out = (RunShard){.k = index + 1, .n = n};
    return true;
}

/** What the tasks of one array or Job have in common and those of another do not; "" unknown. */
static Str shard_job(Arena *arena)
{
    Str slurm = env_get("SLURM_ARRAY_JOB_ID", STR_EMPTY);
    if (slurm.len > 0) {
        return str_concat(arena, STR("slurm "), slurm);
    }
    // The pods of an indexed Job are called JOB-INDEX.
    Str index = env_get("JOB_COMPLETION_INDEX", STR_EMPTY);
    Str host = env_get("HOSTNAME", STR_EMPTY);
    Str end = str_concat(arena, STR("-"), index);
    if (index.len > 0 && str_ends_with(host, end)) {
        return str_concat(arena, STR("kubernetes "), str_slice(host, 0, host.len - end.len));
    }
    return STR_EMPTY;
}

static bool shard_auto(int64_t n, RunShard *out, Err *err)
{
    if (env_get("SLURM_ARRAY_TASK_ID", STR_EMPTY).len > 0) {
        return shard_of_slurm(n, out, err);
    }
    if (env_get("JOB_COMPLETION_INDEX", STR_EMPTY).len > 0) {
        return shard_of_kubernetes(n, out, err);
    }
    return ERR_SET(err, ERR_USAGE,
                   "--shard auto: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set; "
                   "give --shard K/N");
}

bool run_shard_parse(Arena *arena, Str text, RunShard *out, Err *err)
{
    Str left;
    Str right;
    RunShard shard = {0};
    bool has_n = str_cut(text, STR("/"), &left, &right);
    bool ok = !has_n || (str_to_i64(right, &shard.n) && shard.n >= 1 && shard.n <= RUN_SHARDS_MAX);
    if (ok && str_eq(left, STR("auto"))) {
        if (!shard_auto(shard.n, &shard, err)) {
            return false;
        }
    } else if (!ok || !has_n || !str_to_i64(left, &shard.k) || shard.k < 1 || shard.k > shard.n) {
        return ERR_SET(err, ERR_USAGE,
                       "--shard: '" STR_FMT "' is not K/N with 1 <= K <= N, auto or auto/N",
                       STR_ARG(text));
    }
    shard.job = shard_job(arena);
    *out = shard;
    return true;
}
