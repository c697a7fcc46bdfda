// SPDX-License-Identifier: MIT
// The engine's counters of a run: as a map to be stored, and as words for people.
#include "run/run.h"

#include <math.h>

static double rate(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

/** Sensors that there are; energy also as what a thousand computed tokens cost. */
static Value device_value(Arena *arena, const DeviceStats *s, uint64_t tokens)
{
    const struct {
        Str key;
        double value;
    } reals[] = {
        {STR("busy_mean"), s->busy_mean},
        {STR("busy_max"), s->busy_max},
        {STR("power_mean_w"), s->power_mean_w},
        {STR("power_max_w"), s->power_max_w},
        {STR("temperature_max_c"), s->temperature_max_c},
        {STR("energy_j"), s->energy_j},
        {STR("energy_per_1000_tokens_j"),
         tokens > 0 ? s->energy_j / (double)tokens * 1000 : (double)NAN},
    };
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("samples"), value_int((int64_t)s->n_samples));
    if (s->n_devices > 1) {
        map_builder_put(&map, STR("devices"), value_int(s->n_devices));
        if (!isnan(s->busy_least)) {
            map_builder_put(&map, STR("busy_least"), value_real(s->busy_least));
        }
    }
    map_builder_put(&map, STR("memory_peak_bytes"), value_int((int64_t)s->memory_peak_bytes));
    map_builder_put(&map, STR("memory_bytes"), value_int((int64_t)s->memory_bytes));
    for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++) {
        if (!isnan(reals[i].value)) {
            map_builder_put(&map, reals[i].key, value_real(reals[i].value));
        }
    }
    return map_builder_done(&map);
}

Value run_model_stats_value(Arena *arena, const RunModelStats *of)
{
    const SamplerStats *s = &of->stats;
    const struct {
        Str key;
        uint64_t value;
    } counts[] = {
        {STR("prefill_tokens_total"), s->prefill_tokens_total},
        {STR("prefill_tokens_needed"), s->prefill_tokens_needed},
        {STR("prefill_tokens_computed"), s->prefill_tokens_computed},
        {STR("decode_tokens"), s->decode_tokens},
        {STR("kv_peak_bytes"), s->kv_peak_bytes},
        {STR("kv_pool_bytes"), s->kv_pool_bytes},
        {STR("kv_needed_bytes"), s->plan_kv_bytes},
    };
    const struct {
        Str key;
        double value;
    } reals[] = {
        {STR("load_seconds"), of->load_seconds},
        {STR("render_seconds"), of->render_seconds},
        {STR("plan_seconds"), s->plan_seconds},
        {STR("prefill_seconds"), s->prefill_seconds},
        {STR("decode_seconds"), s->decode_seconds},
        {STR("first_token_seconds"), s->first_token_seconds},
        {STR("prefill_tokens_per_s"), rate((double)s->prefill_tokens_computed, s->prefill_seconds)},
        {STR("decode_tokens_per_s"), rate((double)s->decode_tokens, s->decode_seconds)},
        {STR("seconds"), of->seconds},
    };
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        map_builder_put(&map, counts[i].key, value_int((int64_t)counts[i].value));
    }
    for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++) {
        map_builder_put(&map, reals[i].key, value_real(reals[i].value));
    }
    if (of->device.len > 0) {
        map_builder_put(&map, STR("device"), value_str(of->device));
    }
    if (s->plan_devices > 1) {
        map_builder_put(&map, STR("devices"), value_int(s->plan_devices));
        map_builder_put(&map, STR("devices_lost"), value_int(s->devices_lost));
        if (s->devices_lost > 0) {
            map_builder_put(&map, STR("device_lost_why"),
                            value_str(str_copy(arena, str_from_c(s->device_lost_why))));
        }
        map_builder_put(&map, STR("pieces"), value_int((int64_t)s->plan_pieces));
        map_builder_put(&map, STR("tokens_repeated"), value_int((int64_t)s->plan_doubled));
    }
    if (s->device.n_samples > 0) {
        uint64_t tokens = s->prefill_tokens_computed + s->decode_tokens;
        map_builder_put(&map, STR("gpu"), device_value(arena, &s->device, tokens));
    }
    return map_builder_done(&map);
}

/** "gpu busy 87 % (at most 100 %), 12.3 of 80.0 GB, ..."; what there was no sensor for is left out.
 */
static void put_device(Buf *buf, const Value *gpu)
{
    double busy = value_get_real(gpu, "busy_mean", (double)NAN);
    double watts = value_get_real(gpu, "power_mean_w", (double)NAN);
    double hottest = value_get_real(gpu, "temperature_max_c", (double)NAN);
    double joules = value_get_real(gpu, "energy_j", (double)NAN);
    double per_1000 = value_get_real(gpu, "energy_per_1000_tokens_j", (double)NAN);
    int64_t memory = value_get_int(gpu, "memory_bytes", 0);
    int64_t n = value_get_int(gpu, "devices", 1);
    buf_printf(buf, n > 1 ? "\n  %lld gpus" : "\n  gpu", (long long)n);
    if (!isnan(busy)) {
        buf_printf(buf, " busy %.0f %% (", busy * 100);
        if (n > 1) {
            buf_printf(buf, "the least %.0f %%, ", value_get_real(gpu, "busy_least", busy) * 100);
        }
        buf_printf(buf, "at most %.0f %%),", value_get_real(gpu, "busy_max", busy) * 100);
    }
    if (memory > 0) {
        buf_printf(buf, " memory %.1f of %.1f GB,",
                   (double)value_get_int(gpu, "memory_peak_bytes", 0) / 1e9, (double)memory / 1e9);
    }
    if (!isnan(watts)) {
        buf_printf(buf, " %.0f W (at most %.0f W),", watts,
                   value_get_real(gpu, "power_max_w", watts));
    }
    if (!isnan(hottest)) {
        buf_printf(buf, " %.0f C at most,", hottest);
    }
    if (!isnan(joules)) {
        buf_printf(buf, " %.4g J,", joules);
    }
    if (!isnan(per_1000)) {
        buf_printf(buf, " %.3g J per 1000 tokens,", per_1000);
    }
    buf->len -= buf->data[buf->len - 1] == ',' ? 1 : 0;
}

Str run_model_stats_words(Arena *arena, const Value *stats)
{
    int64_t total = value_get_int(stats, "prefill_tokens_total", 0);
    int64_t computed = value_get_int(stats, "prefill_tokens_computed", 0);
    int64_t needed = value_get_int(stats, "prefill_tokens_needed", 0);
    if (total == 0) {
        return STR_EMPTY;
    }
    Buf buf = {0};
    buf_printf(&buf, "%lld prompt tokens, %lld computed (shared %.1fx", (long long)total,
               (long long)computed, computed > 0 ? (double)total / (double)computed : 1);
    if (computed > needed && needed > 0) {
        buf_printf(&buf, ", %.2f of what is needed", (double)computed / (double)needed);
    }
    buf_printf(&buf, "), %.0f tok/s", value_get_real(stats, "prefill_tokens_per_s", 0));
    int64_t decoded = value_get_int(stats, "decode_tokens", 0);
    if (decoded > 0) {
        buf_printf(&buf, "; %lld generated, %.0f tok/s", (long long)decoded,
                   value_get_real(stats, "decode_tokens_per_s", 0));
    }
    buf_printf(&buf, "; KV peak %.0f MB", (double)value_get_int(stats, "kv_peak_bytes", 0) / 1e6);
    buf_printf(
        &buf,
        "\n  load %.1f s, render %.1f s, plan %.2f s, first token %.2f s, prefill %.1f s, "
        "decode %.1f s",
        value_get_real(stats, "load_seconds", 0), value_get_real(stats, "render_seconds", 0),
        value_get_real(stats, "plan_seconds", 0), value_get_real(stats, "first_token_seconds", 0),
        value_get_real(stats, "prefill_seconds", 0), value_get_real(stats, "decode_seconds", 0));
    int64_t lost = value_get_int(stats, "devices_lost", 0);
    if (lost > 0) {
        buf_printf(&buf, "\n  %lld of %lld devices lost, the others took over: " STR_FMT,
                   (long long)lost, (long long)value_get_int(stats, "devices", 0),
                   STR_ARG(value_get_str(stats, "device_lost_why", STR_EMPTY)));
    }
    const Value *gpu = value_get_c(stats, "gpu");
    if (gpu != NULL && gpu->kind == VALUE_MAP) {
        put_device(&buf, gpu);
    }
    Str words = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return words;
}

/** "12 s", "7 min", "3.5 h". */
static void put_duration(Buf *buf, double seconds)
{
    if (seconds < 90) {
        buf_printf(buf, "%.0f s", fmax(seconds, 1));
    } else if (seconds < 5400) {
        buf_printf(buf, "%.0f min", seconds / 60);
    } else {
        buf_printf(buf, "%.1f h", seconds / 3600);
    }
}

Str run_plan_words(Arena *arena, const SamplerStats *s)
{
    Buf buf = {0};
    double shared = s->plan_distinct > 0 ? (double)s->plan_tokens / (double)s->plan_distinct : 1;
    buf_printf(&buf, "%llu request%s, %llu prompt tokens, %llu distinct (shared %.1fx)",
               (unsigned long long)s->plan_requests, s->plan_requests == 1 ? "" : "s",
               (unsigned long long)s->plan_tokens, (unsigned long long)s->plan_distinct, shared);
    if (s->plan_new_tokens > 0) {
        buf_printf(&buf, ", up to %llu new", (unsigned long long)s->plan_new_tokens);
    }
    buf_printf(&buf, "; KV needed %.1f MB", (double)s->plan_kv_bytes / 1e6);
    if (s->kv_asked_bytes > 0) {
        buf_printf(&buf, " (of %.1f MB asked for there are %.1f MB)",
                   (double)s->kv_asked_bytes / 1e6, (double)s->kv_pool_bytes / 1e6);
    }
    if (s->plan_devices > 1) {
        buf_printf(&buf, "; %u devices: %llu pieces, %llu to %llu tokens each, %llu repeated",
                   s->plan_devices, (unsigned long long)s->plan_pieces,
                   (unsigned long long)s->plan_least, (unsigned long long)s->plan_most,
                   (unsigned long long)s->plan_doubled);
    }
    if (s->seconds_left >= 0) {
        buf_printf(&buf, "; at most about ");
        put_duration(&buf, s->seconds_left);
    }
    Str words = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return words;
}
