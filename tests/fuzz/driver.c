// SPDX-License-Identifier: MIT
// A main() for fuzz targets that needs no libFuzzer, so that any compiler's sanitizers can be used:
// replays every file of the folders and files given, then mutates them with a seeded mutator.
//   fuzz_json [--seconds N] [--runs N] [--seed S] [--artifact FILE] [--max-bytes N] PATH...
// --seconds defaults to $MUSTER_FUZZ_SECONDS, else 0 (replay only). The target runs in a child
// whose input lies in shared memory: however the child dies, the parent writes that input to the
// artifact file and says how to run it again.
#include "base/base.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS_PER_INPUT 25 // an input that takes longer counts as a failure
#define FILE_LIMIT        ((size_t)4 * 1024 * 1024)
#define MUTATIONS_MAX     6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Options {
    const char *program;
    const char *artifact;
    uint64_t seconds;
    uint64_t runs;
    uint64_t seed;
    size_t max_bytes;
    Str *paths;
    size_t n_paths;
} Options;

/** What the child is at, readable by the parent after its death. */
typedef struct Shared {
    size_t size;
    uint64_t executions;
    char name[256];
    uint8_t data[];
} Shared;

typedef struct Corpus {
    Arena arena;
    Str *inputs;
    Str *names;
    size_t n;
    size_t cap;
} Corpus;

// ---- the corpus ---------------------------------------------------------------------------------

static void corpus_add(Corpus *corpus, Str name, Str input)
{
    if (corpus->n == corpus->cap) {
        corpus->cap = corpus->cap == 0 ? 64 : corpus->cap * 2;
        corpus->inputs = mem_realloc(corpus->inputs, corpus->cap, sizeof(Str));
        corpus->names = mem_realloc(corpus->names, corpus->cap, sizeof(Str));
    }
    corpus->names[corpus->n] = name;
    corpus->inputs[corpus->n++] = input;
}

static bool corpus_load(Corpus *corpus, Str path, Err *err)
{
    if (file_is_dir(path)) {
        Str *names;
        size_t n;
        if (!file_list(&corpus->arena, path, &names, &n, err)) {
            return false;
        }
        for (size_t i = 0; i < n; i++) {
            if (!corpus_load(corpus, path_join(&corpus->arena, path, names[i]), err)) {
                return false;
            }
        }
        return true;
    }
    Str input;
    if (!file_read(&corpus->arena, path, FILE_LIMIT, &input, err)) {
        return false;
    }
    corpus_add(corpus, path, input);
    return true;
}

// ---- running ------------------------------------------------------------------------------------

/** The target gets a copy of exact size on the heap, so that a sanitizer sees one byte too far. */
static void run_input(Shared *shared, Str name, const void *data, size_t size)
{
    snprintf(shared->name, sizeof(shared->name), STR_FMT, STR_ARG(name));
    memmove(shared->data, data, size);
    shared->size = size;
    uint8_t *exact = malloc(size > 0 ? size : 1);
    if (exact == NULL) {
        abort();
    }
    memcpy(exact, shared->data, size);
    alarm(SECONDS_PER_INPUT);
    LLVMFuzzerTestOneInput(exact, size);
    alarm(0);
    free(exact);
    shared->executions++;
}

// ---- mutation -----------------------------------------------------------------------------------

typedef struct Mutant {
    uint8_t *data;
    size_t size;
    size_t cap;
    Rng rng;
    const Corpus *corpus;
} Mutant;

static size_t below(Mutant *m, size_t n)
{
    return n == 0 ? 0 : (size_t)rng_below(&m->rng, n);
}

/** Most random lengths are short, a few are long. */
static size_t some_length(Mutant *m, size_t most)
{
    size_t n = (size_t)1 << below(m, 12);
    n = 1 + below(m, n);
    return n < most ? n : most;
}

static void insert_bytes(Mutant *m, size_t at, const uint8_t *bytes, size_t n)
{
    if (n > m->cap - m->size) {
        n = m->cap - m->size;
    }
    memmove(m->data + at + n, m->data + at, m->size - at);
    memcpy(m->data + at, bytes, n);
    m->size += n;
}

static void flip_bit(Mutant *m)
{
    if (m->size > 0) {
        m->data[below(m, m->size)] ^= (uint8_t)(1u << below(m, 8));
    }
}

static void set_byte(Mutant *m)
{
    static const char telling[] = "\"'\\{}[]()<>:,;|-+.*?#%&!~ \t\r\n0123456789eEux_\x7f";
    if (m->size > 0) {
        bool random = below(m, 3) == 0;
        m->data[below(m, m->size)] =
            random ? (uint8_t)below(m, 256) : (uint8_t)telling[below(m, sizeof(telling))];
    }
}

static void insert_random(Mutant *m)
{
    uint8_t bytes[16];
    size_t n = 1 + below(m, sizeof(bytes));
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)below(m, 256);
    }
    insert_bytes(m, below(m, m->size + 1), bytes, n);
}

static void delete_range(Mutant *m)
{
    if (m->size > 0) {
        size_t at = below(m, m->size);
        size_t n = some_length(m, m->size - at);
        memmove(m->data + at, m->data + at + n, m->size - at - n);
        m->size -= n;
    }
}

/** A piece of this or another input goes somewhere else. */
static void copy_range(Mutant *m)
{
    Str source = {(const char *)m->data, m->size};
    if (m->corpus->n > 0 && below(m, 2) == 0) {
        source = m->corpus->inputs[below(m, m->corpus->n)];
    }
    if (source.len > 0) {
        size_t from = below(m, source.len);
        size_t n = some_length(m, source.len - from);
        uint8_t *piece = mem_alloc(n, 1);
        memcpy(piece, source.data + from, n);
        insert_bytes(m, below(m, m->size + 1), piece, n);
        mem_free(piece);
    }
}

/** A short piece over and over: depth, long runs. */
static void repeat_range(Mutant *m)
{
    if (m->size > 0) {
        uint8_t piece[8];
        size_t from = below(m, m->size);
        size_t n = 1 + below(m, sizeof(piece));
        n = n < m->size - from ? n : m->size - from;
        memcpy(piece, m->data + from, n);
        for (size_t left = some_length(m, 2048); left > 0; left--) {
            insert_bytes(m, from, piece, n);
        }
    }
}

/** A number of interest over some bytes, as little-endian binary or as decimal digits. */
static void set_number(Mutant *m)
{
    static const uint64_t telling[] = {0,          1,          127,       128,        255,
                                       32767,      65535,      INT32_MAX, UINT32_MAX, INT64_MAX,
                                       UINT64_MAX, UINT32_MAX, 4096,      1u << 20,   1ull << 40};
    uint64_t v = telling[below(m, sizeof(telling) / sizeof(telling[0]))] + below(m, 3) - 1;
    char bytes[24];
    size_t n = (size_t)1 << below(m, 4);
    memcpy(bytes, &v, n);
    if (below(m, 2) == 0) {
        n = (size_t)snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)v);
    }
    if (n <= m->size) {
        memcpy(m->data + below(m, m->size - n + 1), bytes, n);
    }
}

static void cut_tail(Mutant *m)
{
    m->size = below(m, m->size + 1);
}

static void mutate(Mutant *m)
{
    static void (*const mutations[])(Mutant * m) = {
        flip_bit,   set_byte,     set_byte,   insert_random, delete_range,
        copy_range, repeat_range, set_number, copy_range,    cut_tail,
    };
    Str seed = m->corpus->n > 0 ? m->corpus->inputs[below(m, m->corpus->n)] : STR("0");
    m->size = seed.len < m->cap ? seed.len : m->cap;
    memcpy(m->data, seed.data, m->size);
    for (size_t n = 1 + below(m, MUTATIONS_MAX); n > 0; n--) {
        mutations[below(m, sizeof(mutations) / sizeof(mutations[0]))](m);
    }
}

/** The child: every input as it is, then mutants until the time or the number of runs is over. */
static int child_main(const Options *options, const Corpus *corpus, Shared *shared)
{
    for (size_t i = 0; i < corpus->n; i++) {
        run_input(shared, corpus->names[i], corpus->inputs[i].data, corpus->inputs[i].len);
    }
    Mutant m = {
        .data = mem_alloc(options->max_bytes, 1), .cap = options->max_bytes, .corpus = corpus};
    rng_init(&m.rng, options->seed);
    int64_t start = clock_ns();
    int64_t end = start + (int64_t)options->seconds * 1000000000;
    uint64_t n = 0;
    while (n < options->runs || clock_ns() < end) {
        mutate(&m);
        run_input(shared, STR("a mutant"), m.data, m.size);
        n++;
    }
    mem_free(m.data);
    printf("%zu inputs replayed, %llu mutants in %.1f s\n", corpus->n, (unsigned long long)n,
           (double)(clock_ns() - start) / 1e9);
    return 0;
}

// ---- the parent ---------------------------------------------------------------------------------

static int report_death(const Options *options, const Shared *shared, int status)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        fprintf(stderr, "an input took longer than %d s\n", SECONDS_PER_INPUT);
    } else if (WIFSIGNALED(status)) {
        fprintf(stderr, "died by signal %d\n", WTERMSIG(status));
    } else {
        fprintf(stderr, "ended with status %d\n", WEXITSTATUS(status));
    }
    Err err = ERR_INIT;
    Str input = {(const char *)shared->data, shared->size};
    if (!file_write_atomic(str_from_c(options->artifact), input, &err)) {
        fprintf(stderr, "%s\n", err.message);
    }
    fprintf(stderr, "input %llu (%s, %zu bytes) is in %s; again: %s %s\n",
            (unsigned long long)shared->executions, shared->name, shared->size, options->artifact,
            options->program, options->artifact);
    return 1;
}

static bool read_options(Options *o, int argc, char **argv)
{
    const char *seconds = getenv("MUSTER_FUZZ_SECONDS");
    o->program = argv[0];
    o->artifact = "fuzz-artifact";
    o->seconds = seconds != NULL ? strtoull(seconds, NULL, 10) : 0;
    o->seed = 42;
    o->max_bytes = (size_t)64 * 1024;
    o->paths = mem_alloc((size_t)argc, sizeof(Str));
    for (int i = 1; i < argc; i++) {
        Str arg = str_from_c(argv[i]);
        if (!str_starts_with(arg, STR("--"))) {
            o->paths[o->n_paths++] = arg;
            continue;
        }
        if (i + 1 == argc) {
            return false;
        }
        const char *value = argv[++i];
        if (str_eq_c(arg, "--artifact")) {
            o->artifact = value;
        } else if (str_eq_c(arg, "--seconds")) {
            o->seconds = strtoull(value, NULL, 10);
        } else if (str_eq_c(arg, "--runs")) {
            o->runs = strtoull(value, NULL, 10);
        } else if (str_eq_c(arg, "--seed")) {
            o->seed = strtoull(value, NULL, 10);
        } else if (str_eq_c(arg, "--max-bytes")) {
            o->max_bytes = (size_t)strtoull(value, NULL, 10);
        } else {
            return false;
        }
    }
    return o->max_bytes > 0 && o->max_bytes <= FILE_LIMIT;
}

static int run_child(const Options *options, const Corpus *corpus)
{
    Shared *shared = mmap(NULL, sizeof(Shared) + FILE_LIMIT, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        // exit() and not _exit(): a leak checker runs at exit.
        exit(child_main(options, corpus, shared));
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("fork");
        return 2;
    }
    int code = status == 0 ? 0 : report_death(options, shared, status);
    munmap(shared, sizeof(Shared) + FILE_LIMIT);
    return code;
}

int main(int argc, char **argv)
{
    Options options = {0};
    Corpus corpus = {0};
    Err err = ERR_INIT;
    int code = 0;
    if (!read_options(&options, argc, argv)) {
        fprintf(stderr,
                "usage: %s [--seconds N] [--runs N] [--seed S] [--artifact FILE] [--max-bytes N] "
                "PATH...\n",
                argv[0]);
        code = 2;
    }
    for (size_t i = 0; code == 0 && i < options.n_paths; i++) {
        if (!corpus_load(&corpus, options.paths[i], &err)) {
            fprintf(stderr, "%s\n", err.message);
            code = 2;
        }
    }
    code = code == 0 ? run_child(&options, &corpus) : code;
    arena_finish(&corpus.arena);
    mem_free(corpus.inputs);
    mem_free(corpus.names);
    mem_free(options.paths);
    return code;
}
