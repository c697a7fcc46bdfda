// SPDX-License-Identifier: MIT
// Memory of a run whose sampler wants every first request before it answers any: wants_all
// [ATTEMPTS]. The bar: 150 MB and the bytes of the requests at 100,000 attempts.
#include "../unit/run/world.h"

static const char yaml[] =
    "schema: 1\neval: wants-all\nversion: 1\ndescription: Everything waits.\n"
    "dataset: {path: rows.jsonl}\n"
    "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"{{ a }}\"}\n"
    "prompt: \"{{ input }}\\n{{ 'x ' * 300 }}\"\n"
    "solver: {use: generate, max_tokens: 4}\n"
    "graders: [{use: exact}]\nmetrics: [accuracy]\n";

static double peak_mb(void)
{
    char line[128];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "VmHWM: %ld kB", &kib) == 1) {
            break;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return (double)kib * 1024 / 1e6;
}

int main(int argc, char **argv)
{
    World world;
    Err err = ERR_INIT;
    int64_t n = 100000;
    if (argc > 1) {
        str_to_i64(str_from_c(argv[1]), &n);
    }
    fake = (FakePlan){.wants_all = true, .count_bytes = true};
    world_open(&world, yaml, (size_t)n);
    world_load(&world);
    int64_t from = clock_ns();
    CHECK_OK(world_run(&world, &err), &err);
    double seconds = (double)(clock_ns() - from) * 1e-9;
    double requests = (double)fake.bytes / 1e6;
    printf("%lld attempts, %zu admitted before closing, %lld done in %.1f s\n", (long long)n,
           fake.n_before_closed, (long long)world.outcome.done, seconds);
    printf("peak %.1f MB = requests %.1f MB + %.1f MB (bar 150)\n", peak_mb(), requests,
           peak_mb() - requests);
    bool ok =
        fake.n_before_closed == (size_t)n && world.outcome.done == n && peak_mb() - requests <= 150;
    world_close(&world);
    return ok ? 0 : 1;
}
