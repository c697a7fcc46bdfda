// SPDX-License-Identifier: MIT
// Roles: an eval says judge, the eval or the command line says which model that is. Only names and
// models here; sources.c opens what they need.
#include "run/run_internal.h"

#include <string.h>

static size_t role_index(const Role *roles, size_t n, Str name)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(roles[i].name, name)) {
            return i;
        }
    }
    return STR_NONE;
}

Role *role_find(const Cell *cell, Str name)
{
    size_t i = role_index(cell->roles, cell->n_roles, name);
    return i == STR_NONE ? NULL : &cell->roles[i];
}

static bool role_model(const RunConfig *config, const Eval *eval, Str name, const Value *spec,
                       const Model **out, Err *err)
{
    if (spec->kind == VALUE_STR && registry_model(config->registry, spec->as.str, out, err)) {
        return true;
    }
    if (spec->kind != VALUE_STR) {
        ERR_SET(err, ERR_CONFIG, "the model has to be text");
    }
    err->code = err->code == ERR_NOT_FOUND ? ERR_MODEL : err->code;
    return ERR_WRAP(err, "eval '" STR_FMT "', role '" STR_FMT "'", STR_ARG(eval->name),
                    STR_ARG(name));
}

/** The eval's own roles with what the command line puts in their place, then its further ones. */
static bool target_roles(const RunConfig *config, const Eval *eval, Arena *arena, Role **out,
                         size_t *out_n, Err *err)
{
    size_t n_own = eval->roles.kind == VALUE_MAP ? eval->roles.as.map.n : 0;
    Role *roles = ARENA_ARRAY(arena, Role, n_own + config->n_roles + 1);
    size_t n = 0;
    for (size_t i = 0; i < config->n_roles; i++) {
        size_t at = role_index(roles, n, config->roles[i].name);
        at = at == STR_NONE ? n++ : at; // the last one counts, as with any option
        roles[at] = (Role){.name = config->roles[i].name, .model = config->roles[i].model};
    }
    for (size_t i = 0; i < n_own; i++) {
        const ValuePair *pair = &eval->roles.as.map.pairs[i];
        if (role_index(roles, n, pair->key) != STR_NONE) {
            continue;
        }
        const Model *model = NULL;
        if (!role_model(config, eval, pair->key, &pair->value, &model, err)) {
            return false;
        }
        roles[n++] = (Role){.name = pair->key, .model = model};
    }
    *out = roles;
    *out_n = n;
    return true;
}

bool plan_roles(const RunConfig *config, Plan *plan, Arena *arena, Err *err)
{
    for (size_t c = 0; c < plan->n_cells; c++) {
        Cell *cell = &plan->cells[c];
        const Cell *before = c > 0 ? &plan->cells[c - 1] : NULL;
        if (before != NULL && before->target == cell->target) {
            cell->roles = before->roles;
            cell->n_roles = before->n_roles;
        } else if (!target_roles(config, cell->task->eval, arena, &cell->roles, &cell->n_roles,
                                 err)) {
            return false;
        }
    }
    return true;
}

// ---- What came of it --------------------------------------------------------------------------

static RunRoleStats *stats_of(RunRoleStats *stats, size_t *n, const Role *role)
{
    for (size_t i = 0; i < *n; i++) {
        if (str_eq(stats[i].role, role->name) && str_eq(stats[i].model, role->model->spec)) {
            return &stats[i];
        }
    }
    stats[*n] = (RunRoleStats){.role = role->name, .model = role->model->spec};
    return &stats[(*n)++];
}

void plan_role_stats(const Plan *plan, Arena *arena, RunRoleStats **out, size_t *out_n)
{
    size_t most = 0;
    for (size_t c = 0; c < plan->n_cells; c++) {
        most += plan->cells[c].n_roles;
    }
    RunRoleStats *stats = ARENA_ARRAY(arena, RunRoleStats, most + 1);
    size_t n = 0;
    for (size_t c = 0; c < plan->n_cells; c++) {
        const Cell *cell = &plan->cells[c];
        bool again = c > 0 && plan->cells[c - 1].roles == cell->roles;
        for (size_t i = 0; i < cell->n_roles && !again; i++) {
            const Role *role = &cell->roles[i];
            if (role->n_calls == 0) {
                continue;
            }
            RunRoleStats *sum = stats_of(stats, &n, role);
            sum->n_calls += role->n_calls;
            sum->usage.input += role->usage.input;
            sum->usage.output += role->usage.output;
            sum->usage.cached += role->usage.cached;
            sum->usage.reasoning += role->usage.reasoning;
            sum->seconds += role->seconds;
            sum->cost_usd += role->cost_usd;
        }
    }
    *out = stats;
    *out_n = n;
}

Value cell_roles_value(const Cell *cell, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < cell->n_roles; i++) {
        const Role *role = &cell->roles[i];
        char hex[HASH_HEX_LEN + 1];
        hash_hex(&role->source->sampler->identity, hex);
        MapBuilder one;
        map_builder_init(&one, arena);
        map_builder_put(&one, STR("model"), value_str(role->model->spec));
        map_builder_put(&one, STR("hash"), value_str(str_copy(arena, str_from_c(hex))));
        map_builder_put(&map, role->name, map_builder_done(&one));
    }
    return map_builder_done(&map);
}

Value plan_roles_provenance(const Plan *plan, Arena *arena)
{
    size_t most = 0;
    for (size_t c = 0; c < plan->n_cells; c++) {
        most += plan->cells[c].n_roles;
    }
    Value *items = ARENA_ARRAY(arena, Value, most + 1);
    size_t n = 0;
    for (size_t c = 0; c < plan->n_cells; c++) {
        const Cell *cell = &plan->cells[c];
        bool again = c > 0 && plan->cells[c - 1].roles == cell->roles;
        for (size_t i = 0; i < cell->n_roles && !again; i++) {
            const Role *role = &cell->roles[i];
            MapBuilder map;
            map_builder_init(&map, arena);
            map_builder_put(&map, STR("eval"), value_str(cell->task->eval->name));
            map_builder_put(&map, STR("role"), value_str(role->name));
            map_builder_put(&map, STR("model"), value_str(role->model->spec));
            map_builder_put(&map, STR("description"),
                            value_str(str_copy(arena, role->source->sampler->description)));
            items[n++] = map_builder_done(&map);
        }
    }
    return value_list(items, n);
}
