// SPDX-License-Identifier: MIT
// Devices that are asked for become options of one device each; what the drivers count is summed,
// but time, which is the longest.
#include "engine/fleet.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "engine/forward.h"
#include "kernels/backends.h"

struct Fleet {
    Driver *drivers[DIVIDE_DEVICES_MAX];
    uint32_t n;
    EngineModelInfo info;
    int gpus[CUDA_DEVICES_MAX];
    Arena arena;
};

/** The devices that are asked for. */
typedef struct Choice {
    bool named; // else the one device that the options name as they are
    int first[DIVIDE_DEVICES_MAX];
    uint32_t n;
    int together; // GPUs from each of these on
} Choice;

// ---- Which devices ----------------------------------------------------------------------------

/** Lots of consecutive GPUs that can be used. */
static bool choose_all(int from, Choice *out, Err *err)
{
    bool usable[CUDA_DEVICES_MAX];
    if (!backends_usable_gpus(usable, err)) {
        return ERR_WRAP(err, "--gpus all");
    }
    for (int i = from; i + out->together <= CUDA_DEVICES_MAX;) {
        bool all = true;
        for (int k = 0; k < out->together; k++) {
            all = all && usable[i + k];
        }
        if (all) {
            out->first[out->n++] = i;
        }
        i += all ? out->together : 1;
    }
    return out->n > 0 || ERR_SET(err, ERR_ENVIRONMENT,
                                 "--gpus all: from cuda:%d on there are no %d that can be used "
                                 "(see: muster doctor)",
                                 from, out->together);
}

static bool choose(const EngineOptions *options, Choice *out, Err *err)
{
    *out = (Choice){.n = 1, .together = options->tp > 1 ? options->tp : 1};
    DeviceWish wish;
    if (options->n_gpus == 0 || !backends_parse(options->device, &wish)) {
        return true; // opening says what is wrong with the words
    }
    bool all = options->n_gpus == ENGINE_GPUS_ALL;
    char said[16];
    snprintf(said, sizeof(said), "%d", options->n_gpus);
    if (wish.kind == DEVICE_CPU) {
        return ERR_SET(err, ERR_USAGE, "--gpus %s is for GPUs, and the device is cpu",
                       all ? "all" : said);
    }
    *out = (Choice){.named = true, .together = out->together};
    if (all) {
        return choose_all(wish.index, out, err);
    }
    if (options->n_gpus % out->together != 0) {
        return ERR_SET(err, ERR_USAGE, "--gpus %s can not be shared out in lots of --tp %d", said,
                       out->together);
    }
    if (options->n_gpus < 0 || wish.index + options->n_gpus > CUDA_DEVICES_MAX) {
        return ERR_SET(err, ERR_USAGE, "--gpus %s from cuda:%d on: there is no device past %d",
                       said, wish.index, CUDA_DEVICES_MAX - 1);
    }
    for (int i = 0; i < options->n_gpus; i += out->together) {
        out->first[out->n++] = wish.index + i;
    }
    return true;
}

// ---- Opening ----------------------------------------------------------------------------------

typedef struct Opening {
    EngineOptions options;
    char device[16];
    bool threaded;
    pthread_t thread;
    Forward *forward;
    bool ok;
    Err err;
} Opening;

static void *opening_main(void *arg)
{
    Opening *opening = arg;
    opening->ok = forward_open(&opening->options, &opening->forward, &opening->err);
    if (!opening->ok && opening->device[0] != '\0' &&
        strstr(opening->err.message, opening->device) == NULL) {
        ERR_WRAP(&opening->err, "%s", opening->device);
    }
    return NULL;
}

/** Upload the weights to all devices at once; false when one of them can not be used. */
static bool open_all(const EngineOptions *options, const Choice *choice, Opening *all, Err *err)
{
    for (uint32_t i = choice->n;
         i-- > 0;) { // the first on this thread, when the others are on theirs
        Opening *opening = &all[i];
        opening->options = *options;
        opening->options.n_gpus = 0;
        opening->options.skip_hash = options->skip_hash || i > 0;
        if (choice->named) {
            snprintf(opening->device, sizeof(opening->device), "cuda:%d", choice->first[i]);
            opening->options.device = str_from_c(opening->device);
        }
        opening->threaded =
            i > 0 && pthread_create(&opening->thread, NULL, opening_main, opening) == 0;
        if (!opening->threaded) {
            opening_main(opening);
        }
    }
    bool ok = true;
    for (uint32_t i = 0; i < choice->n; i++) {
        if (all[i].threaded) {
            pthread_join(all[i].thread, NULL);
        }
        if (ok && !all[i].ok) {
            *err = all[i].err;
            ok = false;
        }
    }
    return ok;
}

/** A device's words without its number. */
static Str words_of_kind(Fleet *fleet, const Driver *driver)
{
    const EngineModelInfo *info = forward_info(driver_forward(driver));
    Str numbered = str_printf(&fleet->arena, "cuda:%d ", info->device_index);
    return str_starts_with(info->device_words, numbered)
               ? str_printf(
                     &fleet->arena, "cuda " STR_FMT,
                     STR_ARG(str_slice(info->device_words, numbered.len, info->device_words.len)))
               : info->device_words;
}

/** "2 x cuda NVIDIA H100", or each by itself where they are not the same. */
static Str words_of(Fleet *fleet)
{
    if (fleet->n == 1) {
        return forward_info(driver_forward(fleet->drivers[0]))->device_words;
    }
    bool same = true;
    Str first = words_of_kind(fleet, fleet->drivers[0]);
    Str list = forward_info(driver_forward(fleet->drivers[0]))->device_words;
    for (uint32_t i = 1; i < fleet->n; i++) {
        Str words = forward_info(driver_forward(fleet->drivers[i]))->device_words;
        same = same && str_eq(words_of_kind(fleet, fleet->drivers[i]), first);
        list = str_printf(&fleet->arena, STR_FMT " + " STR_FMT, STR_ARG(list), STR_ARG(words));
    }
    return same ? str_printf(&fleet->arena, "%u x " STR_FMT, fleet->n, STR_ARG(first)) : list;
}

static void info_fill(Fleet *fleet, int together)
{
    fleet->info = *forward_info(driver_forward(fleet->drivers[0]));
    fleet->info.device_words = words_of(fleet);
    if (str_eq(fleet->info.device, STR("cpu"))) {
        return;
    }
    for (uint32_t i = 0; i < fleet->n; i++) {
        int first = forward_info(driver_forward(fleet->drivers[i]))->device_index;
        for (int k = 0; k < together && fleet->info.n_gpus < CUDA_DEVICES_MAX; k++) {
            fleet->gpus[fleet->info.n_gpus++] = first + k;
        }
    }
    fleet->info.gpus = fleet->gpus;
}

bool fleet_open(const EngineOptions *options, const Tokenizer *tokenizer, DriverEnd *end, void *ctx,
                Fleet **out, Err *err)
{
    Choice choice;
    if (!choose(options, &choice, err)) {
        return false;
    }
    Fleet *fleet = mem_zalloc(1, sizeof(*fleet));
    Opening *all = mem_zalloc(choice.n, sizeof(*all));
    bool ok = open_all(options, &choice, all, err);
    for (uint32_t i = 0; i < choice.n; i++) {
        if (!ok) {
            forward_close(all[i].forward);
            continue;
        }
        ok = driver_open(options, i, all[i].forward, tokenizer, end, ctx, &fleet->drivers[i], err);
        fleet->n += ok ? 1 : 0;
    }
    mem_free(all);
    if (!ok) {
        fleet_close(fleet);
        return false;
    }
    info_fill(fleet, choice.together);
    *out = fleet;
    return true;
}

void fleet_close(Fleet *fleet)
{
    if (fleet == NULL) {
        return;
    }
    for (uint32_t i = 0; i < fleet->n; i++) {
        driver_stop(fleet->drivers[i]);
    }
    for (uint32_t i = 0; i < fleet->n; i++) {
        driver_close(fleet->drivers[i]);
    }
    arena_finish(&fleet->arena);
    mem_free(fleet);
}

uint32_t fleet_size(const Fleet *fleet)
{
    return fleet->n;
}

Driver *fleet_driver(const Fleet *fleet, uint32_t index)
{
    return fleet->drivers[index];
}

const EngineModelInfo *fleet_info(const Fleet *fleet)
{
    return &fleet->info;
}

// ---- Figures ----------------------------------------------------------------------------------

static void most(double *value, double other)
{
    *value = other > *value ? other : *value;
}

static void plan_add(EnginePlan *sum, const EnginePlan *of)
{
    sum->tokens_least =
        sum->n_devices == 0 || of->distinct < sum->tokens_least ? of->distinct : sum->tokens_least;
    sum->tokens_most = of->distinct > sum->tokens_most ? of->distinct : sum->tokens_most;
    sum->n_devices++;
    sum->requests += of->requests;
    sum->tokens += of->tokens;
    sum->distinct += of->distinct;
    sum->replies += of->replies;
    sum->new_tokens += of->new_tokens;
    sum->kv_bytes += of->kv_bytes;
    sum->kv_bytes_all += of->kv_bytes_all;
    most(&sum->seconds, of->seconds);
}

static void stats_add(EngineStats *sum, const EngineStats *of)
{
    sum->prefill_tokens_total += of->prefill_tokens_total;
    sum->prefill_tokens_needed += of->prefill_tokens_needed;
    sum->prefill_tokens_computed += of->prefill_tokens_computed;
    sum->decode_tokens += of->decode_tokens;
    most(&sum->plan_seconds, of->plan_seconds);
    most(&sum->prefill_seconds, of->prefill_seconds);
    most(&sum->decode_seconds, of->decode_seconds);
    bool sooner =
        sum->first_token_seconds == 0 ||
        (of->first_token_seconds > 0 && of->first_token_seconds < sum->first_token_seconds);
    sum->first_token_seconds = sooner ? of->first_token_seconds : sum->first_token_seconds;
    bool known = sum->seconds_left >= 0 && of->seconds_left >= 0;
    sum->seconds_left = !known                                 ? -1
                        : of->seconds_left > sum->seconds_left ? of->seconds_left
                                                               : sum->seconds_left;
    sum->kv_peak_bytes += of->kv_peak_bytes;
    sum->kv_pool_bytes += of->kv_pool_bytes;
    sum->kv_asked_bytes += of->kv_asked_bytes;
    sum->steps += of->steps;
    sum->n_waiting += of->n_waiting;
    sum->n_running += of->n_running;
}

void fleet_stats(const Fleet *fleet, const RoutePlan *route, EngineStats *out)
{
    EngineStats sum = {0};
    bool all_planned = true;
    for (uint32_t i = 0; i < fleet->n; i++) {
        EngineStats own;
        bool planned;
        driver_stats(fleet->drivers[i], &own, &planned);
        if (fleet->n == 1) {
            *out = own;
            out->plan.n_devices = own.plan.requests > 0 ? 1 : 0;
            return;
        }
        stats_add(&sum, &own);
        if ((route->devices >> i & 1) != 0) { // those that got some of the first jobs
            plan_add(&sum.plan, &own.plan);
            all_planned = all_planned && planned;
        }
    }
    if (!all_planned) {
        sum.plan = (EnginePlan){0};
    }
    if (sum.plan.requests > 0) {
        bool idle = sum.plan.n_devices < fleet->n;
        sum.plan.tokens_least = idle ? 0 : sum.plan.tokens_least;
        sum.plan.n_devices = fleet->n;
        sum.plan.pieces = route->pieces;
        sum.plan.doubled =
            sum.plan.distinct > route->distinct ? sum.plan.distinct - route->distinct : 0;
        sum.plan.seconds += route->seconds;
    }
    sum.plan_seconds += route->seconds;
    *out = sum;
}
