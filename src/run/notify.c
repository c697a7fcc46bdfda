// SPDX-License-Identifier: MIT
// What the loop tells others: progress for people, and one event for each attempt that is durable.
#include "run/loop_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "text/text.h"

/** What on_committed needs to write an event. The loop owns them, in the order they were made. */
typedef struct Commit {
    struct Commit *next;
    struct Loop *loop;
    atomic_bool written; // the writer thread has no more use for it
    bool is_error;
    uint32_t run;
    int32_t epoch;
    char sample_id[];
} Commit;

// ---- Progress ---------------------------------------------------------------------------------

void loop_tokens(const Loop *loop, SamplerStats *out)
{
    source_stats(loop->n_sources > 0 ? loop->source : NULL, out);
}

void progress_show(Loop *loop, const char *phase, bool now)
{
    int64_t t = clock_ns();
    if (loop->config->on_progress == NULL || (!now && t - loop->shown_ns < 100000000)) {
        return;
    }
    loop->shown_ns = t;
    SamplerStats stats;
    loop_tokens(loop, &stats);
    uint64_t tokens = stats.prefill_tokens_computed + stats.decode_tokens;
    tokens = tokens > 0 ? tokens : loop->n_tokens;
    if (t - loop->rate_ns > 1000000000) {
        double seconds = (double)(t - loop->rate_ns) * 1e-9;
        bool fresh = loop->rate_ns > 0 && tokens >= loop->rate_tokens;
        loop->tokens_per_s = fresh ? (double)(tokens - loop->rate_tokens) / seconds : 0;
        loop->rate_ns = t;
        loop->rate_tokens = tokens;
    }
    double seconds = (double)(t - loop->started_ns) * 1e-9;
    int64_t done = atomic_load(&loop->n_done) + atomic_load(&loop->n_errors);
    int64_t fresh = done - loop->n_skipped;
    double left = fresh > 0 ? seconds / (double)fresh * (double)(loop->n_planned - done) : -1;
    RunProgress progress = {
        .model = loop->config->models[loop->model]->spec,
        .phase = phase,
        .planned = loop->n_planned,
        .done = done,
        .errors = atomic_load(&loop->n_errors),
        .skipped = loop->n_skipped,
        .score = loop->n_scored > 0 ? loop->score_sum / (double)loop->n_scored : (double)NAN,
        .n_scored = loop->n_scored,
        .seconds = seconds,
        .tokens_per_s = loop->tokens_per_s,
        .seconds_left = left,
        .prefill_tokens = stats.prefill_tokens_computed,
        .decode_tokens = stats.decode_tokens,
    };
    loop->config->on_progress(loop->config->ctx, &progress);
}

void loop_note(const Loop *loop, bool warning, const char *format, ...)
{
    if (loop->config->on_note == NULL) {
        return;
    }
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    loop->config->on_note(loop->config->ctx, warning, str_from_c(line));
}

// ---- Commits: writer thread -------------------------------------------------------------------

static void event_write(const Commit *commit)
{
    const Loop *loop = commit->loop;
    const Cell *cell = &loop->plan.cells[commit->run % loop->plan.n_cells];
    const Model *model = loop->config->models[commit->run / loop->plan.n_cells];
    Buf line;
    buf_init(&line, 1 << 20);
    buf_c(&line, "{\"eval\":");
    json_write_str(&line, cell->task->eval->name);
    buf_c(&line, ",\"part\":");
    json_write_str(&line, cell->task->part);
    buf_c(&line, ",\"variant\":");
    json_write_str(&line, cell->task->variant->name);
    buf_c(&line, ",\"model\":");
    json_write_str(&line, model->spec);
    buf_c(&line, ",\"id\":");
    json_write_str(&line, str_from_c(commit->sample_id));
    buf_printf(&line, ",\"epoch\":%d,\"state\":\"%s\"}\n", (int)commit->epoch,
               commit->is_error ? "error" : "done");
    size_t at = 0;
    while (at < line.len) {
        ssize_t n = write(loop->config->events_fd, line.data + at, line.len - at);
        if (n <= 0) {
            break; // nobody listens any more: the store has it all the same
        }
        at += (size_t)n;
    }
    buf_finish(&line);
}

/** With events a key is a Commit; without, its lowest bit says whether the attempt is an error. */
void on_committed(void *ctx, uint64_t key)
{
    Loop *loop = ctx;
    bool is_error = (key & 1) != 0;
    if (loop->config->events_fd >= 0) {
        Commit *commit = (Commit *)(uintptr_t)key;
        is_error = commit->is_error;
        event_write(commit);
        atomic_store(&commit->written, true);
    }
    atomic_fetch_add(is_error ? &loop->n_errors : &loop->n_done, 1);
}

/** Free the oldest commits: those that are written, or all of them. */
static void commits_free(Loop *loop, bool all)
{
    while (loop->commits != NULL && (all || atomic_load(&loop->commits->written))) {
        Commit *next = loop->commits->next;
        mem_free(loop->commits);
        loop->commits = next;
    }
    loop->commits_last = loop->commits == NULL ? NULL : loop->commits_last;
}

void commits_finish(Loop *loop)
{
    commits_free(loop, true);
}

uint64_t commit_key(Loop *loop, uint32_t run, Str sample_id, int32_t epoch, bool is_error)
{
    if (loop->config->events_fd < 0) {
        return is_error ? 1 : 0;
    }
    Commit *commit = mem_alloc(1, sizeof(*commit) + sample_id.len + 1);
    *commit = (Commit){.loop = loop, .is_error = is_error, .run = run, .epoch = epoch};
    commits_free(loop, false);
    if (loop->commits == NULL) {
        loop->commits = commit;
    } else {
        loop->commits_last->next = commit;
    }
    loop->commits_last = commit;
    memcpy(commit->sample_id, sample_id.data, sample_id.len);
    commit->sample_id[sample_id.len] = '\0';
    return (uint64_t)(uintptr_t)commit;
}
