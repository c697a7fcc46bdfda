// SPDX-License-Identifier: MIT
// Baselines and their moves as a table and as JSON values.
#include "results/report_internal.h"

void report_baselines(Buf *buf, const BaselineInfo *baselines, size_t n,
                      const ReportOptions *options)
{
    static const Column columns[] = {
        {"baseline", .shrink = true}, {"experiment", .shrink = true}, {.title = "id"},
        {.title = "moved"},           {"by", .shrink = true},         {.title = ""},
    };
    Arena arena = {0};
    Table table = {
        .arena = &arena, .columns = columns, .n_columns = sizeof(columns) / sizeof(columns[0])};
    for (size_t i = 0; i < n; i++) {
        const BaselineInfo *b = &baselines[i];
        Str *row = table_row(&table);
        row[0] = report_clean(&arena, b->name);
        row[1] = report_clean(&arena, b->experiment);
        row[2] = report_clean(&arena, b->short_id);
        row[3] = b->moved;
        row[4] = report_clean(&arena, b->who);
        row[5] = str_printf(&arena, "%s%s%s", b->forced ? "forced" : "",
                            b->forced && b->experiment_id == 0 ? ", " : "",
                            b->experiment_id == 0 ? "removed since" : "");
    }
    if (n > 0) {
        table_put(buf, &table, options);
    }
    arena_finish(&arena);
}

Value report_baselines_value(Arena *arena, const BaselineInfo *baselines, size_t n)
{
    Value *items = ARENA_ARRAY(arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        const BaselineInfo *b = &baselines[i];
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("baseline"), value_str(b->name));
        map_builder_put(&map, STR("experiment"), value_str(b->experiment));
        map_builder_put(&map, STR("id"), value_str(b->short_id));
        map_builder_put(&map, STR("moved"), value_str(b->moved));
        map_builder_put(&map, STR("who"), b->who.len > 0 ? value_str(b->who) : value_null());
        map_builder_put(&map, STR("forced"), value_bool(b->forced));
        map_builder_put(&map, STR("removed"), value_bool(b->experiment_id == 0));
        map_builder_put(&map, STR("verdict"), b->detail);
        items[i] = map_builder_done(&map);
    }
    return value_list(items, n);
}
