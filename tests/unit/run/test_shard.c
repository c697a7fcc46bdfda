// SPDX-License-Identifier: MIT
// --shard: what is said, and what the variables of schedulers say.
#include "../tap.h"
#include "run/run.h"

#include <stdlib.h>

static const char *const variables[] = {
    "SLURM_ARRAY_TASK_ID",   "SLURM_ARRAY_TASK_COUNT",
    "SLURM_ARRAY_TASK_MIN",  "SLURM_ARRAY_TASK_MAX",
    "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_JOB_ID",
    "JOB_COMPLETION_INDEX",  "HOSTNAME",
};

typedef struct Case {
    int line;
    const char *text;
    const char *env; // "NAME=VALUE NAME=VALUE"
    int64_t k;       // 0: refused
    int64_t n;
    const char *says; // of a refusal; else the job
} Case;

static void set_variables(const char *text)
{
    char copy[400];
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        unsetenv(variables[i]);
    }
    snprintf(copy, sizeof(copy), "%s", text);
    char *rest = copy;
    while (*rest != '\0') {
        size_t len = strcspn(rest, " ");
        char *next = rest[len] == '\0' ? rest + len : rest + len + 1;
        rest[len] = '\0';
        char *value = strchr(rest, '=');
        *value = '\0';
        setenv(rest, value + 1, 1);
        rest = next;
    }
}

#define SLURM(id, count, least, most)                                                              \
    "SLURM_ARRAY_TASK_ID=" #id " SLURM_ARRAY_TASK_COUNT=" #count " SLURM_ARRAY_TASK_MIN=" #least   \
    " SLURM_ARRAY_TASK_MAX=" #most

static const Case cases[] = {
    {__LINE__, "3/8", "", 3, 8, ""},
    {__LINE__, "8/8", "", 8, 8, ""},
    {__LINE__, "1/1", "", 1, 1, ""},
    {__LINE__, "0/8", "", 0, 0, "is not K/N with 1 <= K <= N, auto or auto/N"},
    {__LINE__, "9/8", "", 0, 0, "is not K/N"},
    {__LINE__, "-1/8", "", 0, 0, "is not K/N"},
    {__LINE__, "3", "", 0, 0, "is not K/N"},
    {__LINE__, "3/", "", 0, 0, "is not K/N"},
    {__LINE__, "3/8/2", "", 0, 0, "is not K/N"},
    {__LINE__, "a/8", "", 0, 0, "is not K/N"},
    {__LINE__, "1/2000000", "", 0, 0, "is not K/N"},
    {__LINE__, "auto/x", "", 0, 0, "is not K/N"},
    {__LINE__, "auto", "", 0, 0, "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set"},
    {__LINE__, "auto/8", "", 0, 0, "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set"},
    // Slurm arrays from 0 and from 1, with a step.
    {__LINE__, "auto", SLURM(0, 8, 0, 7), 1, 8, ""},
    {__LINE__, "auto", SLURM(7, 8, 0, 7), 8, 8, ""},
    {__LINE__, "auto", SLURM(1, 8, 1, 8) " SLURM_ARRAY_JOB_ID=77", 1, 8, "slurm 77"},
    {__LINE__, "auto", SLURM(8, 8, 1, 8), 8, 8, ""},
    {__LINE__, "auto/8", SLURM(8, 8, 1, 8), 8, 8, ""},
    {__LINE__, "auto", SLURM(8, 4, 0, 12) " SLURM_ARRAY_TASK_STEP=4", 3, 4, ""},
    {__LINE__, "auto/8", SLURM(12, 8, 10, 17), 3, 8, ""},
    {__LINE__, "auto/1", SLURM(0, 1, 0, 0), 1, 1, ""},
    // An explicit shard is what it says, and is of the array's run all the same.
    {__LINE__, "3/8", SLURM(3, 1, 3, 3) " SLURM_ARRAY_JOB_ID=77", 3, 8, "slurm 77"},
    // A part of an array that was submitted again must not pass for a whole one.
    {__LINE__, "auto", SLURM(3, 1, 3, 3), 0, 0, "a part of a larger one? give --shard K/N"},
    {__LINE__, "auto", SLURM(0, 1, 0, 0), 0, 0, "--shard auto/1 if it is whole"},
    {__LINE__, "auto", SLURM(4, 3, 4, 6), 0, 0, "ids 4 to 6"},
    {__LINE__, "auto/8", SLURM(4, 3, 4, 6), 0, 0, "this Slurm array has 3 tasks"},
    {__LINE__, "auto", SLURM(1, 3, 1, 7), 0, 0, "have gaps"},
    {__LINE__, "auto", SLURM(7, 3, 1, 7), 0, 0, "have gaps"},
    {__LINE__, "auto", SLURM(x, 8, 0, 7), 0, 0, "are not all integers"},
    {__LINE__, "auto", "SLURM_ARRAY_TASK_ID=3", 0, 0, "are not all integers"},
    // Kubernetes counts from 0 and does not tell how many.
    {__LINE__, "auto/8", "JOB_COMPLETION_INDEX=0 HOSTNAME=night-0", 1, 8, "kubernetes night"},
    {__LINE__, "auto/8", "JOB_COMPLETION_INDEX=7 HOSTNAME=night-7-abc", 8, 8, ""},
    {__LINE__, "auto", "JOB_COMPLETION_INDEX=0", 0, 0, "give --shard auto/N with the completions"},
    {__LINE__, "auto/8", "JOB_COMPLETION_INDEX=8", 0, 0, "so there are more shards"},
    {__LINE__, "auto/8", "JOB_COMPLETION_INDEX=-1", 0, 0, "is no index"},
    {__LINE__, "auto/8", "JOB_COMPLETION_INDEX=x", 0, 0, "is no index"},
};

static void test_shard__parse(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const Case *c = &cases[i];
        Arena arena = {0};
        Err err = ERR_INIT;
        RunShard shard = {0};
        set_variables(c->env);
        bool ok = run_shard_parse(&arena, str_from_c(c->text), &shard, &err);
        bool right = c->k == 0
                         ? !ok && err.code == ERR_USAGE && strstr(err.message, c->says) != NULL
                         : ok && shard.k == c->k && shard.n == c->n && str_eq_c(shard.job, c->says);
        if (!right) {
            printf("# line %d: %d %lld/%lld '%.*s' %s\n", c->line, ok, (long long)shard.k,
                   (long long)shard.n, STR_ARG(shard.job), err.message);
        }
        CHECK(right);
        arena_finish(&arena);
    }
}

int main(void)
{
    tap_run("shard: what is said and what schedulers say", test_shard__parse);
    return tap_done();
}
