// SPDX-License-Identifier: MIT
// muster doctor: what this machine offers and where things are, for bug reports and first looks.
#include "cli/cli.h"

#include <unistd.h>

#define FINDINGS_MAX (16 + CUDA_DEVICES_MAX)

typedef struct Finding {
    const char *what;
    bool good;
    Str says;
} Finding;

typedef struct FindingList {
    Finding items[FINDINGS_MAX];
    size_t n;
} FindingList;

static void add(FindingList *list, Finding finding)
{
    if (list->n < FINDINGS_MAX) {
        list->items[list->n++] = finding;
    }
}

static Finding find_store(Cli *cli)
{
    Results *results = NULL;
    Err err = ERR_INIT;
    Str path = cli_store_path(cli);
    if (results_open(path, &results, &err)) {
        results_close(results);
        return (Finding){"store", true, path};
    }
    bool absent = err.code == ERR_NOT_FOUND;
    return (Finding){"store", absent,
                     absent ? str_printf(&cli->arena, STR_FMT " (not there yet)", STR_ARG(path))
                            : str_copy(&cli->arena, str_from_c(err.message))};
}

static Finding find_registry(Cli *cli, RegistryKind kind, const char *what)
{
    Err err = ERR_INIT;
    RegistryEntry *entries = NULL;
    size_t n = 0;
    if (!cli_registry(cli, &err) || !registry_list(cli->registry, kind, &entries, &n, &err)) {
        return (Finding){what, false, str_copy(&cli->arena, str_from_c(err.message))};
    }
    size_t pulled = 0;
    for (size_t i = 0; i < n; i++) {
        pulled += str_eq(entries[i].detail, STR("pulled")) ? 1 : 0;
    }
    bool counts = kind == REGISTRY_DATASETS || kind == REGISTRY_MODELS;
    return (Finding){what, n > 0,
                     counts ? str_printf(&cli->arena, "%zu, %zu pulled", n, pulled)
                            : str_printf(&cli->arena, "%zu", n)};
}

static double gib(uint64_t bytes)
{
    return (double)bytes / (1024.0 * 1024 * 1024);
}

static Str memory_text(Cli *cli)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    return str_printf(&cli->arena, "%.1f GiB", gib((uint64_t)pages * (uint64_t)page));
}

// ---- CUDA -------------------------------------------------------------------------------------

static Finding find_driver(Cli *cli, const CudaReport *cuda)
{
    Str says = cuda->driver
                   ? str_printf(&cli->arena, "NVIDIA, CUDA %d.%d, %zu device%s",
                                cuda->driver_version / 1000, cuda->driver_version % 1000 / 10,
                                cuda->n_devices, PLURAL(cuda->n_devices))
                   : str_printf(&cli->arena, "none: %s", cuda->driver_why);
    return (Finding){"driver", true, says};
}

static Finding find_gpu(Cli *cli, const CudaDevice *device, size_t index)
{
    Str says = str_printf(&cli->arena, "%s, %.1f GiB, compute capability %d.%d%s", device->name,
                          gib(device->memory_bytes), device->major, device->minor,
                          device->major < CUDA_LEAST_MAJOR ? ": too old, 8.0 is the least" : "");
    return (Finding){str_to_c(&cli->arena, str_printf(&cli->arena, "cuda:%zu", index)), true, says};
}

static Finding find_libraries(Cli *cli, const CudaReport *cuda)
{
    Buf buf = {0};
    for (size_t i = 0; i < cuda->n_libraries; i++) {
        const CudaLibrary *library = &cuda->libraries[i];
        buf_printf(&buf, "%s%s %s", i == 0 ? "" : ", ", library->what,
                   library->file != NULL ? library->file : "none");
        if (library->version > 0) {
            buf_printf(&buf, " (%d)", library->version);
        }
    }
    Str says = str_copy(&cli->arena, buf_view(&buf));
    buf_finish(&buf);
    return (Finding){"libraries", true, says};
}

/** No module is how most machines are; one that is there, or asked for, and does not work is bad.
 */
static Finding find_module(Cli *cli, const CudaReport *cuda)
{
    bool absent = cuda->module_path[0] == '\0';
    return (Finding){"module", cuda->module || absent,
                     cuda->module ? str_copy(&cli->arena, str_from_c(cuda->module_path))
                                  : str_printf(&cli->arena, "none: %s", cuda->module_why)};
}

/** What `--device auto` comes to, found by opening it. */
static Finding find_device(Cli *cli)
{
    DeviceWish wish = {.kind = DEVICE_AUTO};
    DeviceOpened opened;
    KDeviceOptions options = {0};
    Err err = ERR_INIT;
    if (!backends_open(&wish, &options, &k_cpu_ops, &opened, &err)) {
        return (Finding){"device", false, str_copy(&cli->arena, str_from_c(err.message))};
    }
    Str says = str_copy(&cli->arena, str_from_c(opened.ops->device_describe(opened.device)));
    if (opened.note[0] != '\0') {
        says = str_printf(&cli->arena, STR_FMT "; no CUDA: %s", STR_ARG(says), opened.note);
    }
    opened.ops->device_close(opened.device);
    return (Finding){"device", true, says};
}

static void find_cuda(Cli *cli, const CudaReport *cuda, FindingList *list)
{
    add(list, find_device(cli));
    add(list, find_driver(cli, cuda));
    for (size_t i = 0; i < cuda->n_devices; i++) {
        add(list, find_gpu(cli, &cuda->devices[i], i));
    }
    add(list, find_libraries(cli, cuda));
    add(list, find_module(cli, cuda));
}

/** The same for programs. */
static Value cuda_value(Arena *arena, const CudaReport *cuda)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("driver"), value_bool(cuda->driver));
    map_builder_put(&map, STR("driver_version"), value_int(cuda->driver_version));
    Value *devices = ARENA_ARRAY(arena, Value, cuda->n_devices + 1);
    for (size_t i = 0; i < cuda->n_devices; i++) {
        const CudaDevice *device = &cuda->devices[i];
        MapBuilder item;
        map_builder_init(&item, arena);
        map_builder_put(&item, STR("name"), value_str(str_copy(arena, str_from_c(device->name))));
        map_builder_put(&item, STR("memory_bytes"), value_int((int64_t)device->memory_bytes));
        map_builder_put(&item, STR("compute_capability"),
                        value_str(str_printf(arena, "%d.%d", device->major, device->minor)));
        devices[i] = map_builder_done(&item);
    }
    map_builder_put(&map, STR("devices"), value_list(devices, cuda->n_devices));
    MapBuilder libraries;
    map_builder_init(&libraries, arena);
    for (size_t i = 0; i < cuda->n_libraries; i++) {
        const char *file = cuda->libraries[i].file;
        map_builder_put(&libraries, str_from_c(cuda->libraries[i].what),
                        file != NULL ? value_str(str_from_c(file)) : value_null());
    }
    map_builder_put(&map, STR("libraries"), map_builder_done(&libraries));
    map_builder_put(&map, STR("module"),
                    cuda->module ? value_str(str_copy(arena, str_from_c(cuda->module_path)))
                                 : value_null());
    return map_builder_done(&map);
}

// ---- Everything -------------------------------------------------------------------------------

static void find_all(Cli *cli, const CudaReport *cuda, FindingList *list)
{
    add(list, (Finding){"version", true, cli_version()});
    add(list, (Finding){"cpus", true, str_printf(&cli->arena, "%d usable", threads_usable_cpus())});
    add(list, (Finding){"memory", true, memory_text(cli)});
    find_cuda(cli, cuda, list);
    add(list, find_registry(cli, REGISTRY_EVALS, "evals"));
    add(list, find_registry(cli, REGISTRY_DATASETS, "datasets"));
    add(list, find_registry(cli, REGISTRY_MODELS, "models"));
    add(list, find_store(cli));
    add(list, (Finding){"mirror", true,
                        env_get("MUSTER_MIRROR", STR("none (MUSTER_MIRROR is not set)"))});
    bool key = env_get("OPENAI_API_KEY", STR_EMPTY).len > 0;
    add(list, (Finding){"api key", true,
                        key ? STR("OPENAI_API_KEY is set") : STR("OPENAI_API_KEY is not set")});
}

static int cmd_doctor_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)options_struct;
    (void)args;
    (void)n_args;
    CudaReport *cuda = ARENA_NEW(&cli->arena, CudaReport);
    FindingList *list = ARENA_NEW(&cli->arena, FindingList);
    backends_report(cuda);
    find_all(cli, cuda, list);
    bool good = true;
    MapBuilder map;
    map_builder_init(&map, &cli->arena);
    for (size_t i = 0; i < list->n; i++) {
        const Finding *finding = &list->items[i];
        good = good && finding->good;
        map_builder_put(&map, str_from_c(finding->what), value_str(finding->says));
        if (!cli->global.json) {
            printf("%s %-9s " STR_FMT "\n", finding->good ? "ok " : "BAD", finding->what,
                   STR_ARG(finding->says));
        }
    }
    if (cli->global.json) {
        map_builder_put(&map, STR("cuda"), cuda_value(&cli->arena, cuda));
        Value value = map_builder_done(&map);
        cli_print_json(&value);
    }
    return good ? EXIT_OK : EXIT_ENVIRONMENT;
}

const Command cmd_doctor = {
    .name = "doctor",
    .args = "",
    .summary = "say what this machine offers and where things are",
    .run = cmd_doctor_run,
};
