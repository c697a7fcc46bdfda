// SPDX-License-Identifier: MIT
// What several verbs need: where the store and the registry are, printing errors and faults,
// signals, provenance.
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/build_config.h"
#include "text/text.h"

int cli_exit_code(const Err *err)
{
    switch (err->code) {
    case ERR_NONE:
        return EXIT_OK;
    case ERR_MODEL:
    case ERR_NET:
    case ERR_HTTP:
    case ERR_TIMEOUT:
    case ERR_REPLY:
        return EXIT_MODEL;
    case ERR_STORE:
        return EXIT_STORE;
    case ERR_DEVICE:
    case ERR_ENVIRONMENT:
        return EXIT_ENVIRONMENT;
    case ERR_CANCELLED:
        return EXIT_INTERRUPTED;
    case ERR_INTERNAL:
        return EXIT_INTERNAL;
    case ERR_USAGE:
    case ERR_CONFIG:
    case ERR_PARSE:
    case ERR_TYPE:
    case ERR_LIMIT:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_IO:
    case ERR_SCRIPT:
    case ERR_BUDGET:
    case ERR_UNSUPPORTED:
    case ERR_CODE_COUNT:
        return EXIT_USAGE;
    }
    return EXIT_INTERNAL;
}

int cli_fail(const Cli *cli, const Err *err)
{
    const char *red = cli->color_err ? "\033[1;31m" : "";
    const char *off = cli->color_err ? "\033[0m" : "";
    fprintf(stderr, "%serror:%s %s [%s]\n", red, off, err->message, err_code_word(err->code));
    for (int i = 0; (cli->global.verbose || err->code == ERR_INTERNAL) && i < err->n_frames; i++) {
        fprintf(stderr, "  %s %s:%d %s\n", i == 0 ? "at" : "via", err->frames[i].file,
                err->frames[i].line, err->frames[i].func);
    }
    return cli_exit_code(err);
}

bool cli_faults(const Cli *cli, const Faults *faults)
{
    if (faults->n == 0) {
        return false;
    }
    Buf buf = {0};
    faults_render(&buf, faults, cli->color_err);
    fwrite(buf.data, 1, buf.len, stderr);
    buf_finish(&buf);
    return faults->n_errors > 0;
}

void cli_print(const Buf *buf)
{
    if (buf->len > 0) {
        fwrite(buf->data, 1, buf->len, stdout);
    }
}

void cli_print_json(const Value *value)
{
    Buf buf;
    buf_init(&buf, (size_t)1 << 30);
    json_write(&buf, value, JSON_COMPACT);
    buf_char(&buf, '\n');
    cli_print(&buf);
    buf_finish(&buf);
}

Str cli_store_path(const Cli *cli)
{
    return cli->global.db.len > 0 ? cli->global.db : STR(".muster/muster.db");
}

size_t cli_registry_paths(const Cli *cli, bool installed, Str *paths, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < cli->global.registry.n && n < cap; i++) {
        Str rest = cli->global.registry.items[i];
        Str one;
        bool more = true;
        while (more && n < cap) {
            more = str_cut(rest, STR(":"), &one, &rest);
            if (one.len > 0) {
                paths[n++] = one;
            }
        }
    }
    if (n < cap && file_is_dir(STR("registry"))) {
        paths[n++] = STR("registry");
    }
    if (!installed) {
        return n;
    }
    if (n < cap && file_is_dir(STR(BUILD_REGISTRY_DIR))) {
        paths[n++] = STR(BUILD_REGISTRY_DIR);
    }
    if (n < cap && file_is_dir(STR(BUILD_SOURCE_REGISTRY_DIR)) &&
        !file_is_dir(STR(BUILD_REGISTRY_DIR))) {
        paths[n++] = STR(BUILD_SOURCE_REGISTRY_DIR); // run from the build folder, not installed
    }
    return n;
}

static Str cache_dir(Cli *cli)
{
    Str own = env_get("MUSTER_CACHE", STR_EMPTY);
    if (own.len > 0) {
        return own;
    }
    Str xdg = env_get("XDG_CACHE_HOME", STR_EMPTY);
    if (xdg.len > 0) {
        return path_join(&cli->arena, xdg, STR("muster"));
    }
    return path_join(&cli->arena, env_get("HOME", STR("/tmp")), STR(".cache/muster"));
}

bool cli_registry(Cli *cli, Err *err)
{
    if (cli->registry != NULL) {
        return true;
    }
    if (cli->script == NULL && !script_create(NULL, &cli->script, err)) {
        return false;
    }
    Str *paths = ARENA_ARRAY(&cli->arena, Str, 32);
    RegistryOptions options = {
        .paths = paths,
        .n_paths = cli_registry_paths(cli, true, paths, 32),
        .cache_dir = cache_dir(cli),
        .mirror_dir = env_get("MUSTER_MIRROR", STR_EMPTY),
    };
    return registry_create(&options, cli->script, &cli->registry, err);
}

/** A metric written in Lua; its text is in the store. */
static bool custom_metric(void *ctx, Str file, Str lua, const Value *params, const Value *scores,
                          double *out, Err *err)
{
    Cli *cli = ctx;
    return (cli->script != NULL || script_create(NULL, &cli->script, err)) &&
           script_metric(cli->script, file, lua, params, scores, out, err);
}

bool cli_results(Cli *cli, Results **out, Err *err)
{
    if (!results_open(cli_store_path(cli), out, err)) {
        return false;
    }
    results_set_custom_metric(*out, custom_metric, cli);
    return true;
}

static bool metric_failed(const MetricRow *metric)
{
    return isnan(metric->value) && metric->why.len > 0 && metric->slice.len == 0;
}

/** The first is told in full: the others are mostly of the same Lua. */
static void say_failed(Cli *cli, Str eval, Str part, const MetricRow *metric, size_t n_before)
{
    if (n_before == 0) {
        Buf line = {0};
        Str words = str_printf(&cli->arena, STR_FMT "%s" STR_FMT ", " STR_FMT ": " STR_FMT,
                               STR_ARG(eval), part.len > 0 ? "/" : "", STR_ARG(part),
                               STR_ARG(metric->name), STR_ARG(metric->why));
        report_text(&line, words, false);
        fprintf(stderr, "error: no value of %s\n", line.data);
        buf_finish(&line);
    }
}

size_t cli_metrics_failed(Cli *cli, const RunInfo *runs, size_t n_runs, const CrossMetric *cross,
                          size_t n_cross)
{
    size_t n = 0;
    for (size_t i = 0; i < n_runs; i++) {
        for (size_t j = 0; j < runs[i].n_metrics; j++) {
            if (metric_failed(&runs[i].metrics[j])) {
                say_failed(cli, runs[i].eval, runs[i].part, &runs[i].metrics[j], n++);
            }
        }
    }
    for (size_t i = 0; i < n_cross; i++) {
        if (metric_failed(&cross[i].metric)) {
            say_failed(cli, cross[i].eval, STR_EMPTY, &cross[i].metric, n++);
        }
    }
    if (n > 1) {
        fprintf(stderr, "error: and %zu more without a value\n", n - 1);
    }
    return n;
}

// ---- Signals ----------------------------------------------------------------------------------

volatile sig_atomic_t cli_signals;
volatile sig_atomic_t cli_last_signal;

static void on_signal(int number)
{
    cli_signals++;
    cli_last_signal = number;
    if (cli_signals > 1) {
        static const char text[] = "\nstopped at once; what was committed is safe\n";
        ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
        (void)ignored;
        _exit(number == SIGTERM ? EXIT_TERMINATED : EXIT_INTERRUPTED);
    }
}

void cli_catch_signals(void)
{
    // The other threads' writes go on where they were; the loop's poll wakes up all the same.
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

// ---- Provenance -------------------------------------------------------------------------------

Str cli_version(void)
{
    return STR(BUILD_VERSION);
}

/** The output of a git command, trimmed; empty when there is no repository or no git. */
static Str git_line(Arena *arena, const char *const *argv)
{
    Buf out = {0};
    int status = 0;
    Err err = ERR_INIT;
    Str line = STR_EMPTY;
    if (process_run(argv, 3000, &out, NULL, &status, &err) && status == 0) {
        line = str_copy(arena, str_trim(buf_view(&out)));
    }
    buf_finish(&out);
    return line;
}

Value cli_provenance(Cli *cli)
{
    Arena *arena = &cli->arena;
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("program"), value_str(cli_version()));
    const char *const revision[] = {"git", "rev-parse", "HEAD", NULL};
    const char *const status[] = {"git", "status", "--porcelain", "--untracked-files=no", NULL};
    Str commit = git_line(arena, revision);
    if (commit.len > 0) {
        map_builder_put(&map, STR("git_commit"), value_str(commit));
        map_builder_put(&map, STR("git_dirty"), value_bool(git_line(arena, status).len > 0));
    }
    struct utsname host;
    if (uname(&host) == 0) {
        map_builder_put(&map, STR("host"), value_str(str_copy(arena, str_from_c(host.nodename))));
        map_builder_put(
            &map, STR("system"),
            value_str(str_printf(arena, "%s %s %s", host.sysname, host.release, host.machine)));
    }
    map_builder_put(&map, STR("cpus"), value_int(threads_usable_cpus()));
    Value *words = ARENA_ARRAY(arena, Value, (size_t)cli->argc + 1);
    for (int i = 0; i < cli->argc; i++) {
        words[i] = value_str(str_from_c(cli->argv[i]));
    }
    map_builder_put(&map, STR("command"), value_list(words, (size_t)cli->argc));
    return map_builder_done(&map);
}
