// SPDX-License-Identifier: MIT
// What gc would remove, or has removed, as a table and as JSON.
#include "results/gc.h"

#include "results/report_internal.h"

static Str bytes_text(Arena *arena, int64_t n)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)n;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1000;
        unit++;
    }
    return str_printf(arena, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

void report_gc(Buf *buf, const GcPlan *plan, const ReportOptions *options)
{
    static const Column columns[] = {
        {"name", .shrink = true},    {.title = "id"},
        {.title = "started"},        {.title = "state"},
        {"attempts", .right = true}, {"about", .right = true},
        {"stays", .shrink = true},
    };
    Arena arena = {0};
    Table table = {
        .arena = &arena, .columns = columns, .n_columns = sizeof(columns) / sizeof(columns[0])};
    for (size_t i = 0; i < plan->n; i++) {
        const GcItem *item = &plan->items[i];
        const ExperimentInfo *e = &item->experiment;
        Str *row = table_row(&table);
        row[0] = report_clean(&arena, e->name);
        row[1] = report_clean(&arena, e->short_id);
        row[2] = str_slice(e->started, 0, 16);
        row[3] = report_clean(&arena, e->state);
        row[4] = str_printf(&arena, "%lld", (long long)(e->n_done + e->n_errors));
        row[5] = item->stays.len > 0 ? STR_EMPTY : bytes_text(&arena, item->n_bytes);
        row[6] = report_clean(&arena, item->stays);
    }
    if (plan->n > 0) {
        table_put(buf, &table, options);
    }
    Str bytes = bytes_text(&arena, plan->n_bytes);
    buf_printf(buf, "%zu of %zu chosen can go, about " STR_FMT "\n", plan->n_go, plan->n,
               STR_ARG(bytes));
    arena_finish(&arena);
}

static Value item_value(Arena *arena, const GcItem *item)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("name"), value_str(item->experiment.name));
    map_builder_put(&map, STR("id"), value_str(item->experiment.short_id));
    map_builder_put(&map, STR("started"), value_str(item->experiment.started));
    if (item->stays.len > 0) {
        map_builder_put(&map, STR("stays"), value_str(item->stays));
    } else {
        map_builder_put(&map, STR("bytes"), value_int(item->n_bytes));
    }
    return map_builder_done(&map);
}

Value report_gc_value(Arena *arena, const GcPlan *plan, const GcDone *done)
{
    Value *go = ARENA_ARRAY(arena, Value, plan->n);
    Value *stay = ARENA_ARRAY(arena, Value, plan->n);
    size_t n_go = 0;
    size_t n_stay = 0;
    for (size_t i = 0; i < plan->n; i++) {
        const GcItem *item = &plan->items[i];
        if (item->stays.len > 0) {
            stay[n_stay++] = item_value(arena, item);
        } else {
            go[n_go++] = item_value(arena, item);
        }
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("dry_run"), value_bool(done == NULL));
    map_builder_put(&map, STR("go"), value_list(go, n_go));
    map_builder_put(&map, STR("stay"), value_list(stay, n_stay));
    map_builder_put(&map, STR("bytes"), value_int(plan->n_bytes));
    if (done != NULL) {
        map_builder_put(&map, STR("removed"), value_int((int64_t)done->n_removed));
        map_builder_put(&map, STR("vacuumed"), value_bool(done->vacuumed));
        map_builder_put(&map, STR("why_not"), value_str(done->why_not));
        map_builder_put(&map, STR("file_bytes_before"),
                        value_int((int64_t)done->file_bytes_before));
        map_builder_put(&map, STR("file_bytes_after"), value_int((int64_t)done->file_bytes_after));
    }
    return map_builder_done(&map);
}
