// SPDX-License-Identifier: MIT
// From score rows to metrics: rows to samples, samples to gauges (a metric of a grader) and their
// slices. What a sample counts is decided in reduce.c, what comes of all of them in tally.c.
#include "results/read_internal.h"

#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SLICES_MAX 1000 // values of a metadata key; the others share one slice

// ---- Gauges -------------------------------------------------------------------------------------

/** A sample of one variant after the other. */
typedef struct WorstEntry {
    Reduced sample;
    uint32_t n; // variants that scored it
    uint32_t cluster;
    uint32_t slices_from; // in WorstTable.slices
    uint32_t n_slices;
} WorstEntry;

/** The samples of one part, while its variants are read. */
typedef struct WorstTable {
    Interner numbers;
    WorstEntry *entries;
    size_t n;
    size_t cap;
    uint32_t *slices;
    size_t n_slices;
    size_t slices_cap;
} WorstTable;

struct Gauge {
    TallyAsk ask;
    size_t grader; // index into Scan.graders
    Str name;
    Tally all;
    Tally *slices; // by slice number
    size_t n_slices;
    WorstTable worst;
};

static size_t grader_index(Scan *scan, Str name)
{
    for (size_t i = 0; i < scan->n_graders; i++) {
        if (str_eq(scan->graders[i].name, name)) {
            return i;
        }
    }
    scan->graders = mem_realloc(scan->graders, scan->n_graders + 1, sizeof(*scan->graders));
    scan->graders[scan->n_graders] = (GraderShots){.name = str_copy(&scan->arena, name)};
    return scan->n_graders++;
}

static bool has_gauge(const Scan *scan, Str name, bool average)
{
    for (size_t i = 0; i < scan->n_gauges; i++) {
        if (str_eq(scan->gauges[i].name, name) && scan->gauges[i].ask.average_parts == average) {
            return true; // within one run, an average over parts is the plain metric
        }
    }
    return false;
}

static void gauge_add(Scan *scan, const MetricSpec *spec, const GraderSpec *grader)
{
    bool average = spec->average_parts && scan->mode != SCAN_RUN;
    Str name =
        str_printf(&scan->arena, STR_FMT "." STR_FMT, STR_ARG(grader->name), STR_ARG(spec->label));
    if (has_gauge(scan, name, average)) {
        return;
    }
    scan->gauges = mem_realloc(scan->gauges, scan->n_gauges + 1, sizeof(*scan->gauges));
    scan->gauges[scan->n_gauges++] = (Gauge){
        .ask =
            {
                .spec = spec,
                .grader = grader,
                .clustered = scan->clustered,
                .average_parts = average,
                .custom = scan->results->custom,
                .ctx = scan->results->custom_ctx,
            },
        .grader = grader_index(scan, grader->name),
        .name = name,
    };
    bool classes = spec->kind == METRIC_F1_MACRO || spec->kind == METRIC_MCC;
    bool confidence = spec->kind == METRIC_ECE || spec->kind == METRIC_BRIER;
    scan->needs_classes |= classes;
    scan->needs_confidence |= confidence;
    scan->needs_samples |= spec->kind == METRIC_CUSTOM;
    scan->needs_texts |= classes || confidence || spec->kind == METRIC_CUSTOM ||
                         spec->kind == METRIC_MAJORITY || spec->n_slices > 0;
    if (spec->n_slices > 0) {
        scan->slice_keys = spec->slices; // those of the eval: the same in all its metrics
        scan->n_slice_keys = spec->n_slices;
    }
}

void scan_init(Scan *scan, Results *results, ScanMode mode, const MetricSpec *specs, size_t n_specs,
               bool clustered)
{
    *scan = (Scan){.results = results, .mode = mode, .clustered = clustered};
    for (size_t i = 0; i < n_specs; i++) {
        if ((specs[i].kind == METRIC_WORST) != (mode == SCAN_VARIANTS)) {
            continue;
        }
        for (size_t j = 0; j < specs[i].n_graders; j++) {
            const GraderSpec *grader = &specs[i].graders[j];
            if (specs[i].of.len == 0 || str_eq(specs[i].of, grader->name)) {
                gauge_add(scan, &specs[i], grader);
            }
        }
    }
    scan->slices_of_key = ARENA_ARRAY(&scan->arena, size_t, scan->n_slice_keys + 1);
    scan->sample_slices = ARENA_ARRAY(&scan->arena, uint32_t, scan->n_slice_keys + 1);
}

static void gauge_finish(Gauge *gauge)
{
    tally_finish(&gauge->all);
    for (size_t i = 0; i < gauge->n_slices; i++) {
        tally_finish(&gauge->slices[i]);
    }
    mem_free(gauge->slices);
    interner_finish(&gauge->worst.numbers);
    mem_free(gauge->worst.entries);
    mem_free(gauge->worst.slices);
}

void scan_finish(Scan *scan)
{
    for (size_t i = 0; i < scan->n_gauges; i++) {
        gauge_finish(&scan->gauges[i]);
    }
    for (size_t i = 0; i < scan->n_graders; i++) {
        mem_free(scan->graders[i].shots);
    }
    mem_free(scan->gauges);
    mem_free(scan->graders);
    mem_free(scan->slices);
    interner_finish(&scan->slice_numbers);
    interner_finish(&scan->cluster_numbers);
    interner_finish(&scan->class_numbers);
    arena_finish(&scan->sample_arena);
    arena_finish(&scan->arena);
}

// ---- Slices -------------------------------------------------------------------------------------

static uint32_t slice_new(Scan *scan, Str name, size_t key)
{
    scan->slices = mem_realloc(scan->slices, scan->n_slices + 1, sizeof(*scan->slices));
    scan->slices[scan->n_slices] = (Slice){.name = str_copy(&scan->arena, name), .key = key};
    return (uint32_t)scan->n_slices++;
}

static uint32_t slice_number(Scan *scan, size_t key, const Value *value)
{
    Arena *arena = &scan->sample_arena;
    Str text = json_plain(arena, value);
    Str name =
        str_printf(arena, STR_FMT "=" STR_FMT, STR_ARG(scan->slice_keys[key]), STR_ARG(text));
    bool is_new;
    bool full = scan->slices_of_key[key] >= SLICES_MAX;
    uint32_t next = full ? UINT32_MAX : (uint32_t)scan->n_slices;
    uint32_t number = intern(&scan->slice_numbers, name, next, &is_new);
    if (is_new && !full) {
        scan->slices_of_key[key]++;
        return slice_new(scan, name, key);
    }
    if (number != UINT32_MAX) {
        return number;
    }
    name = str_printf(arena, STR_FMT "=(others)", STR_ARG(scan->slice_keys[key]));
    number = intern(&scan->slice_numbers, name, (uint32_t)scan->n_slices, &is_new);
    return is_new ? slice_new(scan, name, key) : number;
}

/** The slices that the current sample is in: for each key that its metadata has, one. */
static void sample_find_slices(Scan *scan)
{
    scan->n_sample_slices = 0;
    for (size_t i = 0; i < scan->n_slice_keys; i++) {
        const Value *value = value_get(&scan->metadata, scan->slice_keys[i]);
        if (value != NULL && value->kind != VALUE_NULL) {
            scan->sample_slices[scan->n_sample_slices++] = slice_number(scan, i, value);
        }
    }
}

static Tally *slice_tally(Gauge *gauge, uint32_t number)
{
    if (number >= gauge->n_slices) {
        size_t n = gauge->n_slices == 0 ? 16 : gauge->n_slices;
        while (n <= number) {
            n *= 2;
        }
        gauge->slices = mem_realloc(gauge->slices, n, sizeof(*gauge->slices));
        memset(gauge->slices + gauge->n_slices, 0, (n - gauge->n_slices) * sizeof(*gauge->slices));
        gauge->n_slices = n;
    }
    return &gauge->slices[number];
}

// ---- Samples ------------------------------------------------------------------------------------

static uint32_t new_cluster(Scan *scan)
{
    if (!scan->has_cluster) {
        return scan->n_clusters++; // a sample without one is a cluster of its own
    }
    bool is_new;
    uint32_t number = intern(&scan->cluster_numbers, scan->cluster_name, scan->n_clusters, &is_new);
    scan->n_clusters += is_new;
    return number;
}

static void gauge_add_sample(const Scan *scan, Gauge *gauge, const Reduced *sample,
                             uint32_t cluster, const uint32_t *slices, size_t n_slices)
{
    for (size_t i = 0; i <= n_slices; i++) {
        Tally *tally = i == 0 ? &gauge->all : slice_tally(gauge, slices[i - 1]);
        if (sample != NULL) {
            tally_add(tally, &gauge->ask, sample, cluster, scan->part);
        } else {
            tally->n_unscored++;
        }
    }
}

/** Remember a sample until all variants are read; sample NULL: unscored in this one. */
static void worst_add(Scan *scan, Gauge *gauge, const Reduced *sample)
{
    WorstTable *table = &gauge->worst;
    bool is_new;
    uint32_t at = intern(&table->numbers, scan->sample_id, (uint32_t)table->n, &is_new);
    if (is_new) {
        if (table->n == table->cap) {
            table->cap = table->cap == 0 ? 64 : table->cap * 2;
            table->entries = mem_realloc(table->entries, table->cap, sizeof(*table->entries));
        }
        if (table->n_slices + scan->n_sample_slices > table->slices_cap) {
            table->slices_cap = (table->n_slices + scan->n_sample_slices) * 2;
            table->slices = mem_realloc(table->slices, table->slices_cap, sizeof(*table->slices));
        }
        table->entries[table->n++] = (WorstEntry){
            .cluster = scan->clustered ? new_cluster(scan) : 0,
            .slices_from = (uint32_t)table->n_slices,
            .n_slices = (uint32_t)scan->n_sample_slices,
        };
        for (size_t i = 0; i < scan->n_sample_slices; i++) {
            table->slices[table->n_slices++] = scan->sample_slices[i];
        }
    }
    WorstEntry *entry = &table->entries[at];
    if (sample == NULL) {
        return;
    }
    bool worse = gauge->ask.grader->lower_is_better ? sample->x > entry->sample.x
                                                    : sample->x < entry->sample.x;
    bool was_boolean = entry->n == 0 || entry->sample.is_boolean;
    double x = entry->n == 0 || worse ? sample->x : entry->sample.x;
    double w = entry->sample.w + (sample->w - entry->sample.w) / (double)++entry->n;
    entry->sample = (Reduced){.x = x, .w = w, .is_boolean = was_boolean && sample->is_boolean};
}

/** The samples of a part whose variants are all read. */
static void worst_flush(Scan *scan, Gauge *gauge)
{
    WorstTable *table = &gauge->worst;
    size_t n_wanted = gauge->ask.spec->n_variants;
    n_wanted = n_wanted > 0 ? n_wanted : scan->n_variants;
    for (size_t i = 0; i < table->n; i++) {
        const WorstEntry *entry = &table->entries[i];
        gauge_add_sample(scan, gauge, entry->n >= n_wanted ? &entry->sample : NULL, entry->cluster,
                         table->slices + entry->slices_from, entry->n_slices);
    }
    interner_finish(&table->numbers);
    table->n = 0;
    table->n_slices = 0;
}

/** What a custom metric is told of a sample. */
static const Value *sample_value(Scan *scan, const Reduced *sample, const GraderShots *shots)
{
    Arena *arena = &scan->arena;
    const Shot *first = &shots->shots[0];
    for (size_t i = 0; i < shots->n && !first->scored; i++) {
        first = &shots->shots[i];
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("value"), value_real(sample->x));
    map_builder_put(&map, STR("weight"), value_real(sample->w));
    map_builder_put(&map, STR("answer"),
                    first->has_answer ? value_str(str_copy(arena, first->answer)) : value_null());
    map_builder_put(&map, STR("target"),
                    scan->has_target ? value_str(str_copy(arena, scan->target)) : value_null());
    map_builder_put(&map, STR("id"), value_str(str_copy(arena, scan->sample_id)));
    map_builder_put(&map, STR("part"), value_str(scan->part_name));
    map_builder_put(&map, STR("metadata"), value_copy(arena, &scan->metadata));
    Value *value = ARENA_NEW(arena, Value);
    *value = map_builder_done(&map);
    return value;
}

static uint32_t class_number(Scan *scan, bool there, Str label)
{
    // "+" before a class, so that no answer is another class than the empty answer.
    Str name = there ? str_concat(&scan->sample_arena, STR("+"), label) : STR("-");
    bool is_new;
    return intern(&scan->class_numbers, name, (uint32_t)scan->class_numbers.n, &is_new);
}

/** The rows that a sample gives to a metric that needs them all; returns how many. */
static size_t sample_rows(Scan *scan, const Gauge *gauge, const GraderShots *shots, Row *rows)
{
    MetricKind kind = gauge->ask.spec->kind;
    uint32_t unit = scan->clustered ? scan->cluster : scan->n_samples;
    size_t n = 0;
    if (kind == METRIC_CUSTOM) {
        Reduced sample;
        if (shots_reduce(gauge->ask.spec, shots->shots, shots->n, &sample)) {
            rows[n++] = (Row){.unit = unit, .sample = sample_value(scan, &sample, shots)};
        }
        return n;
    }
    for (size_t i = 0; i < shots->n; i++) {
        const Shot *shot = &shots->shots[i];
        Row row = {.unit = unit, .confidence = shot->confidence, .value = shot->value};
        if (!shot->scored || (kind == METRIC_ECE ? isnan(shot->confidence) : !scan->has_target)) {
            continue;
        }
        if (kind != METRIC_ECE) {
            row.truth = class_number(scan, true, scan->target);
            row.answer = class_number(scan, shot->has_answer, shot->label);
        }
        rows[n++] = row;
    }
    return n;
}

/** Tell the sink, if there is one, what a sample counts in a metric; sample NULL: unscored. */
static void sink_value(const Scan *scan, const Gauge *gauge, const Reduced *sample,
                       const GraderShots *shots)
{
    if (scan->sink != NULL) {
        scan->sink->value(scan->sink->ctx, (size_t)(gauge - scan->gauges), sample, shots);
    }
}

static void gauge_add_rows(Scan *scan, Gauge *gauge, const GraderShots *shots)
{
    Row *rows = ARENA_ARRAY(&scan->sample_arena, Row, shots->n);
    size_t n = sample_rows(scan, gauge, shots, rows);
    Reduced unknown = {.x = NAN, .w = 1};
    sink_value(scan, gauge, n > 0 ? &unknown : NULL, shots);
    for (size_t i = 0; i <= scan->n_sample_slices; i++) {
        Tally *tally = i == 0 ? &gauge->all : slice_tally(gauge, scan->sample_slices[i - 1]);
        tally->n += n > 0;
        tally->n_unscored += n == 0;
        for (size_t j = 0; j < n; j++) {
            tally_add_row(tally, &rows[j]);
        }
    }
}

static void gauge_sample_end(Scan *scan, Gauge *gauge)
{
    const GraderShots *shots = &scan->graders[gauge->grader];
    if (shots->n == 0) {
        return; // the grader does not apply to this sample
    }
    if (metric_info(gauge->ask.spec->kind)->needs_rows) {
        gauge_add_rows(scan, gauge, shots);
        return;
    }
    Reduced sample;
    bool scored = shots_reduce(gauge->ask.spec, shots->shots, shots->n, &sample);
    sink_value(scan, gauge, scored ? &sample : NULL, shots);
    if (scan->mode == SCAN_VARIANTS) {
        worst_add(scan, gauge, scored ? &sample : NULL);
    } else {
        gauge_add_sample(scan, gauge, scored ? &sample : NULL, scan->cluster, scan->sample_slices,
                         scan->n_sample_slices);
    }
}

/** Bring the current sample's epochs into each gauge. */
static void sample_end(Scan *scan)
{
    if (scan->needs_texts) {
        sample_find_slices(scan);
    }
    if (scan->sink != NULL) {
        scan->sink->sample(scan->sink->ctx, scan);
    }
    for (size_t i = 0; i < scan->n_gauges; i++) {
        gauge_sample_end(scan, &scan->gauges[i]);
    }
    for (size_t i = 0; i < scan->n_graders; i++) {
        scan->graders[i].n = 0;
    }
    scan->n_samples++;
}

// ---- Rows of the store --------------------------------------------------------------------------

enum {
    COLUMN_SAMPLE,
    COLUMN_EPOCH,
    COLUMN_GRADER,
    COLUMN_VALUE,
    COLUMN_IS_BOOLEAN,
    COLUMN_WEIGHT,
    COLUMN_CLUSTER, // of the clustered and of the long query, as those below of the long one
    COLUMN_ANSWER,
    COLUMN_TARGET,
    COLUMN_METADATA,
    COLUMN_LOGPROBS,
    COLUMN_CHOICES,
    COLUMN_STATE, // of the queries for a sink
    COLUMN_HASH,
};

/** JSON that we stored; null when it is not there or (after somebody edited it) not JSON. */
static Value column_value(sqlite3_stmt *row, int at, Arena *arena)
{
    Value value = value_null();
    Err ignored = ERR_INIT;
    return column_json(row, at, arena, &value, &ignored) ? value : value_null();
}

/** The position that a choice's letter stands for: A 0, Z 25, AA 26; n and more: none. */
static size_t letter_position(Str letter, size_t n)
{
    size_t position = 0;
    for (size_t i = 0; i < letter.len; i++) {
        char c = letter.data[i];
        if (c < 'A' || c > 'Z' || position > n) {
            return n;
        }
        position = position * 26 + (size_t)(c - 'A') + 1;
    }
    return letter.len == 0 ? n : position - 1;
}

static double logprob_of(const Value *item)
{
    if (item->kind == VALUE_STR) {
        return str_eq(item->as.str, STR("-inf")) ? -(double)INFINITY : (double)NAN;
    }
    return item->kind == VALUE_REAL  ? item->as.real
           : item->kind == VALUE_INT ? (double)item->as.integer
                                     : (double)NAN;
}

/** The picked choice's share of the softmax over the choices' log-probabilities. */
static double confidence_of(const Value *logprobs, Str letter)
{
    size_t n = logprobs->kind == VALUE_LIST ? logprobs->as.list.n : 0;
    size_t picked = letter_position(letter, n);
    if (picked >= n) {
        return NAN;
    }
    double most = -(double)INFINITY;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, logprob_of(&logprobs->as.list.items[i]));
    }
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp(logprob_of(&logprobs->as.list.items[i]) - most);
    }
    return exp(logprob_of(&logprobs->as.list.items[picked]) - most) / sum;
}

/** The text of the choice that a letter stands for, else the answer itself. */
static Str choice_text(const Value *choices, Str answer)
{
    size_t n = choices->kind == VALUE_LIST ? choices->as.list.n : 0;
    size_t picked = letter_position(answer, n);
    return picked < n ? value_get_str(&choices->as.list.items[picked], "text", answer) : answer;
}

/** Whether a grader's answers are choices' letters. */
static bool answers_with_letters(const Scan *scan, const GraderShots *grader)
{
    for (size_t i = 0; i < scan->n_gauges; i++) {
        const GraderSpec *spec = scan->gauges[i].ask.grader;
        if (str_eq(spec->name, grader->name)) {
            return str_eq(spec->use, STR("choice"));
        }
    }
    return false;
}

static void shot_read_texts(Scan *scan, sqlite3_stmt *row, const GraderShots *grader, Shot *shot)
{
    Arena *arena = &scan->sample_arena;
    shot->has_answer = !column_is_null(row, COLUMN_ANSWER);
    shot->answer = column_copy(row, COLUMN_ANSWER, arena);
    shot->label = shot->answer;
    if (scan->needs_confidence && shot->has_answer) {
        Value logprobs = column_value(row, COLUMN_LOGPROBS, arena);
        shot->confidence = confidence_of(&logprobs, shot->answer);
    }
    if (scan->needs_classes && shot->has_answer && answers_with_letters(scan, grader)) {
        Value choices = column_value(row, COLUMN_CHOICES, arena);
        shot->label = choice_text(&choices, shot->answer);
    }
}

static GraderShots *grader_of(Scan *scan, Str name)
{
    for (size_t i = 0; i < scan->n_graders; i++) {
        size_t at = (scan->last_grader + i) % scan->n_graders; // rows repeat the graders in order
        if (str_eq(scan->graders[at].name, name)) {
            scan->last_grader = at + 1;
            return &scan->graders[at];
        }
    }
    return NULL; // no metric asks for it
}

static void score_add(Scan *scan, sqlite3_stmt *row)
{
    if (scan->sink != NULL) {
        scan->sample_errored |= str_eq(column_str(row, COLUMN_STATE), STR("error"));
        if (column_is_null(row, COLUMN_GRADER)) {
            return; // an attempt without scores
        }
    }
    GraderShots *grader = grader_of(scan, column_str(row, COLUMN_GRADER));
    bool scored = !column_is_null(row, COLUMN_VALUE);
    scan->n_unscored += !scored;
    if (grader == NULL) {
        return;
    }
    if (grader->n == grader->cap) {
        grader->cap = grader->cap == 0 ? 4 : grader->cap * 2;
        grader->shots = mem_realloc(grader->shots, grader->cap, sizeof(*grader->shots));
    }
    Shot *shot = &grader->shots[grader->n++];
    *shot = (Shot){
        .scored = scored,
        .value = column_f64(row, COLUMN_VALUE),
        .weight = column_f64(row, COLUMN_WEIGHT),
        .is_boolean = column_i64(row, COLUMN_IS_BOOLEAN) != 0,
        .confidence = NAN,
    };
    if (scan->needs_texts) {
        shot_read_texts(scan, row, grader, shot);
    }
}

static void sample_begin(Scan *scan, sqlite3_stmt *row, bool row_has_cluster)
{
    Arena *arena = &scan->sample_arena;
    arena_reset(arena);
    scan->sample_id = column_copy(row, COLUMN_SAMPLE, arena);
    scan->has_cluster = row_has_cluster && !column_is_null(row, COLUMN_CLUSTER);
    if (scan->has_cluster) {
        scan->cluster_name = column_copy(row, COLUMN_CLUSTER, arena);
    }
    if (scan->clustered && scan->mode != SCAN_VARIANTS) {
        scan->cluster = new_cluster(scan);
    }
    if (scan->sink != NULL) {
        scan->sample_hash = column_hash(row, COLUMN_HASH);
        scan->sample_errored = false;
    }
    scan->has_target = false;
    scan->metadata = value_map(NULL, 0);
    if (!scan->needs_texts) {
        return;
    }
    if (scan->n_slice_keys > 0 || scan->needs_samples) {
        scan->metadata = column_value(row, COLUMN_METADATA, arena);
    }
    if (scan->needs_classes || scan->needs_samples) {
        Value targets = column_value(row, COLUMN_TARGET, arena);
        scan->has_target = targets.kind == VALUE_LIST && targets.as.list.n > 0 &&
                           targets.as.list.items[0].kind == VALUE_STR;
        scan->target = scan->has_target ? targets.as.list.items[0].as.str : STR_EMPTY;
    }
}

bool scan_run(Scan *scan, const RunRead *run, Err *err)
{
    Db *db = &scan->results->db;
    int index = scan->sink == NULL  ? (scan->needs_texts   ? READ_SQL_SCORES_LONG
                                       : run->has_clusters ? READ_SQL_SCORES_CLUSTERED
                                                           : READ_SQL_SCORES)
                : scan->needs_texts ? READ_SQL_ATTEMPTS_SCORED_LONG
                                    : READ_SQL_ATTEMPTS_SCORED;
    sqlite3_stmt *row = db_statement(db, index);
    bind_i64(row, 1, run->info.id);
    scan->several_epochs |= run->info.spec.epochs != 1;
    scan->part_name = run->info.part;
    bool any = false;
    for (;;) {
        bool more;
        if (!db_step(db, index, &more, err)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (!any || !str_eq(column_str(row, COLUMN_SAMPLE), scan->sample_id)) {
            if (any) {
                sample_end(scan);
            }
            sample_begin(scan, row, index != READ_SQL_SCORES);
            any = true;
        }
        score_add(scan, row);
    }
    if (any) {
        sample_end(scan);
    }
    return true;
}

void scan_part_end(Scan *scan)
{
    for (size_t i = 0; i < scan->n_gauges; i++) {
        Gauge *gauge = &scan->gauges[i];
        if (scan->mode == SCAN_VARIANTS) {
            worst_flush(scan, gauge);
        }
        tally_part_end(&gauge->all, &gauge->ask, &scan->arena);
        for (size_t j = 0; j < gauge->n_slices; j++) {
            tally_part_end(&gauge->slices[j], &gauge->ask, &scan->arena);
        }
    }
    scan->part++;
}

// ---- Metrics ------------------------------------------------------------------------------------

/** By key, then by value: numbers as such, and behind them texts, bytewise. */
static int compare_slices(const void *a, const void *b)
{
    const Slice *left = *(const Slice *const *)a;
    const Slice *right = *(const Slice *const *)b;
    if (left->key != right->key) {
        return left->key < right->key ? -1 : 1;
    }
    Str key;
    Str left_value;
    Str right_value;
    double x;
    double y;
    bool cut = str_cut(left->name, STR("="), &key, &left_value) &&
               str_cut(right->name, STR("="), &key, &right_value);
    bool left_is_number = cut && str_to_f64(left_value, &x) && !isnan(x);
    bool right_is_number = cut && str_to_f64(right_value, &y) && !isnan(y);
    if (left_is_number != right_is_number) {
        return left_is_number ? -1 : 1;
    }
    if (left_is_number && x != y) {
        return x < y ? -1 : 1;
    }
    return str_cmp(left->name, right->name);
}

static const Slice **slices_sorted(const Scan *scan, Arena *arena)
{
    const Slice **sorted = ARENA_ARRAY(arena, const Slice *, scan->n_slices + 1);
    for (size_t i = 0; i < scan->n_slices; i++) {
        sorted[i] = &scan->slices[i];
    }
    if (scan->n_slices > 1) {
        qsort(sorted, scan->n_slices, sizeof(*sorted), compare_slices);
    }
    return sorted;
}

static void put_metric(const Scan *scan, const Gauge *gauge, const Tally *tally, Str slice,
                       Arena *arena, ScanMetric *out)
{
    TallyAsk ask = gauge->ask;
    ask.several_epochs = scan->several_epochs;
    ask.n_parts = scan->part;
    out->row = (MetricRow){
        .name = str_copy(arena, gauge->name),
        .slice = str_copy(arena, slice),
        .why = STR_EMPTY,
    };
    metric_range(ask.spec, ask.grader, tally->weighted, &out->low, &out->high);
    out->average_parts = ask.average_parts;
    out->n_parts = tally->n_parts_scored;
    tally_metric(tally, &ask, arena, &out->row);
}

size_t scan_metrics(Scan *scan, Arena *arena, ScanMetric **out)
{
    ScanMetric *metrics = ARENA_ARRAY(arena, ScanMetric, scan->n_gauges * (scan->n_slices + 1));
    const Slice **slices = slices_sorted(scan, &scan->arena);
    size_t n = 0;
    for (size_t i = 0; i < scan->n_gauges; i++) {
        const Gauge *gauge = &scan->gauges[i];
        metrics[n].gauge = i;
        metrics[n].slice = STR_NONE;
        put_metric(scan, gauge, &gauge->all, STR_EMPTY, arena, &metrics[n++]);
        for (size_t j = 0; j < scan->n_slices; j++) {
            size_t number = (size_t)(slices[j] - scan->slices);
            if (number < gauge->n_slices &&
                gauge->slices[number].n + gauge->slices[number].n_unscored > 0) {
                metrics[n].gauge = i;
                metrics[n].slice = number;
                put_metric(scan, gauge, &gauge->slices[number], slices[j]->name, arena,
                           &metrics[n++]);
            }
        }
    }
    *out = metrics;
    return n;
}

const TallyAsk *scan_gauge(const Scan *scan, size_t at)
{
    return &scan->gauges[at].ask;
}
