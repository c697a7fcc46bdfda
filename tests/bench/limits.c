// SPDX-License-Identifier: MIT
// What this machine can do at most, to set beside what the engine does: rates of the dot products
// and of float32 FMA, and how fast a set of memory is read over and over, by one thread and by N.
//   limits [threads=N] [megabytes=N] [rounds=N]     JSON; null: this program can not say
// Rates are of registers alone: twelve independent chains, the widest form the processor has, in
// assembly, so that neither the compiler nor its flags change what is measured. Memory is read in
// huge pages, each thread its own part in order, 512 bytes at a time and without prefetches.
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { CHAINS = 12, THREADS_MAX = 256, ROUNDS_MAX = 1000, READ_BLOCK = 512 };
static const uint64_t COMPUTE_TIMES = 10000000; // about 20 ms
static const size_t READ_BYTES = (size_t)1 << 29;

/** n times CHAINS instructions, or memory read once from data on. */
typedef void (*Loop)(const char *data, uint64_t n);

typedef struct Limit {
    const char *name;
    Loop loop;      // NULL: unknown
    double per_run; // operations of one turn of a loop, in the unit of the name
} Limit;

#if defined(__x86_64__)

#define TWELVE(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11)
#define CLOBBERS                                                                                   \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13"

// Zeros in all registers: no denormals, and no instruction here is faster for them.
#define CHAIN_LOOP(name, zero, one)                                                                \
    static void name(const char *data, uint64_t n)                                                 \
    {                                                                                              \
        (void)data;                                                                                \
        __asm__ volatile(TWELVE(zero) zero(12) zero(13) "1:\n" TWELVE(one) "dec %0\njnz 1b\n"      \
                                                                           "vzeroupper\n"          \
                         : "+r"(n)                                                                 \
                         :                                                                         \
                         : CLOBBERS, "cc", "memory");                                              \
    }

#define ZERO_Z(k)  "vpxord %%zmm" #k ",%%zmm" #k ",%%zmm" #k "\n"
#define ZERO_Y(k)  "vpxor %%ymm" #k ",%%ymm" #k ",%%ymm" #k "\n"
#define DOT8_Z(k)  "vpdpbusd %%zmm12,%%zmm13,%%zmm" #k "\n"
#define DOT16_Z(k) "vpdpwssd %%zmm12,%%zmm13,%%zmm" #k "\n"
#define FMA_Z(k)   "vfmadd231ps %%zmm12,%%zmm13,%%zmm" #k "\n"
#define DOT8_Y(k)  "%{vex%} vpdpbusd %%ymm12,%%ymm13,%%ymm" #k "\n"
#define DOT16_Y(k) "%{vex%} vpdpwssd %%ymm12,%%ymm13,%%ymm" #k "\n"
#define FMA_Y(k)   "vfmadd231ps %%ymm12,%%ymm13,%%ymm" #k "\n"

CHAIN_LOOP(dot8_z, ZERO_Z, DOT8_Z)
CHAIN_LOOP(dot16_z, ZERO_Z, DOT16_Z)
CHAIN_LOOP(fma_z, ZERO_Z, FMA_Z)
CHAIN_LOOP(dot8_y, ZERO_Y, DOT8_Y)
CHAIN_LOOP(dot16_y, ZERO_Y, DOT16_Y)
CHAIN_LOOP(fma_y, ZERO_Y, FMA_Y)

/** AVX-VNNI: dot products of 256 bits without AVX-512. Not every compiler knows its name. */
static bool has_avx_vnni(void)
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
           (eax & 1U << 4) != 0;
}

#define LOAD_Z(at, k) "vmovdqu64 " #at "(%0),%%zmm" #k "\n"
#define LOAD_Y(at, k) "vmovdqu " #at "(%0),%%ymm" #k "\n"

static void read_z(const char *data, uint64_t n)
{
    __asm__ volatile("1:\n" LOAD_Z(0, 0) LOAD_Z(64, 1) LOAD_Z(128, 2) LOAD_Z(192, 3) LOAD_Z(256, 4)
                         LOAD_Z(320, 5) LOAD_Z(384, 6) LOAD_Z(448, 7) "add $512,%0\ndec %1\n"
                                                                      "jnz 1b\nvzeroupper\n"
                     : "+r"(data), "+r"(n)
                     :
                     : CLOBBERS, "cc", "memory");
}

static void read_y(const char *data, uint64_t n)
{
    __asm__ volatile("1:\n" LOAD_Y(0, 0) LOAD_Y(32, 1) LOAD_Y(64, 2) LOAD_Y(96, 3) LOAD_Y(128, 4)
                         LOAD_Y(160, 5) LOAD_Y(192, 6) LOAD_Y(224, 7) LOAD_Y(256, 8) LOAD_Y(288, 9)
                             LOAD_Y(320, 10) LOAD_Y(352, 11) LOAD_Y(384, 0) LOAD_Y(416, 1)
                                 LOAD_Y(448, 2)
                                     LOAD_Y(480, 3) "add $512,%0\ndec %1\njnz 1b\nvzeroupper\n"
                     : "+r"(data), "+r"(n)
                     :
                     : CLOBBERS, "cc", "memory");
}

#endif

static void read_portable(const char *data, uint64_t n)
{
    typedef uint64_t Lanes __attribute__((vector_size(16)));
    Lanes sums[8] = {{0}};
    for (const Lanes *at = (const Lanes *)(const void *)data, *end = at + n * READ_BLOCK / 16;
         at < end; at += 8) {
        for (int k = 0; k < 8; k++) {
            sums[k] += at[k];
        }
    }
    for (int k = 0; k < 8; k++) {
        __asm__ volatile("" : : "m"(sums[k]));
    }
}

/** Which loops this processor can run. */
static void limits_choose(Limit *dot8, Limit *dot16, Limit *fma, Limit *read)
{
    *dot8 = (Limit){.name = "dot8_mac_per_s"};
    *dot16 = (Limit){.name = "dot16_mac_per_s"};
    *fma = (Limit){.name = "fma_mac_per_s"};
    *read = (Limit){.name = "read_bytes_per_s", .loop = read_portable, .per_run = READ_BLOCK};
#if defined(__x86_64__)
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
    if (wide && __builtin_cpu_supports("avx512vnni")) {
        dot8->loop = dot8_z;
        dot16->loop = dot16_z;
        dot8->per_run = CHAINS * 64;
        dot16->per_run = CHAINS * 32;
    } else if (has_avx_vnni()) {
        dot8->loop = dot8_y;
        dot16->loop = dot16_y;
        dot8->per_run = CHAINS * 32;
        dot16->per_run = CHAINS * 16;
    }
    if (wide) {
        fma->loop = fma_z;
        fma->per_run = CHAINS * 16;
        read->loop = read_z;
    } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        fma->loop = fma_y;
        fma->per_run = CHAINS * 8;
        read->loop = read_y;
    }
#endif
}

typedef struct Worker {
    pthread_barrier_t *start;
    int cpu;
    Loop loop;
    const char *data;
    uint64_t n;     // turns of the loop
    uint64_t times; // how often that
    double began_s, ended_s;
} Worker;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/** Run on the cpu-th processor that this process may use: short work would stay where it began. */
static void cpu_pin(int cpu)
{
    cpu_set_t usable, one;
    if (sched_getaffinity(0, sizeof(usable), &usable) != 0) {
        return;
    }
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &usable) && cpu-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(i, &one);
            pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
            return;
        }
    }
}

static void *worker_main(void *arg)
{
    Worker *worker = arg;
    cpu_pin(worker->cpu);
    pthread_barrier_wait(worker->start);
    worker->began_s = now_s();
    for (uint64_t i = 0; i < worker->times; i++) {
        worker->loop(worker->data, worker->n);
    }
    worker->ended_s = now_s();
    return NULL;
}

/** Operations a second of n_threads together, from the first that begins to the last that ends. */
static double rate_once(const Limit *limit, int n_threads, const char *data, size_t n_bytes)
{
    static Worker workers[THREADS_MAX];
    static pthread_t threads[THREADS_MAX];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, (unsigned)n_threads);
    uint64_t blocks = n_bytes / READ_BLOCK / (uint64_t)n_threads;
    uint64_t n = data == NULL ? COMPUTE_TIMES : blocks;
    uint64_t times = data == NULL ? 1 : READ_BYTES / n_bytes + 1;
    for (int i = 0; i < n_threads; i++) {
        workers[i] =
            (Worker){.start = &start,
                     .cpu = i,
                     .loop = limit->loop,
                     .data = data == NULL ? NULL : data + blocks * READ_BLOCK * (uint64_t)i,
                     .n = n,
                     .times = times};
        if (pthread_create(&threads[i], NULL, worker_main, &workers[i]) != 0) {
            fprintf(stderr, "error: no thread\n");
            exit(1);
        }
    }
    double began_s = 0, ended_s = 0;
    for (int i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        began_s = i == 0 || workers[i].began_s < began_s ? workers[i].began_s : began_s;
        ended_s = i == 0 || workers[i].ended_s > ended_s ? workers[i].ended_s : ended_s;
    }
    pthread_barrier_destroy(&start);
    return limit->per_run * (double)(n * times) * n_threads / (ended_s - began_s);
}

static int compare_reals(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/** The median of some rounds: what others leave of shared caches and memory changes by the second,
 * and what is compared with this does not get the best of it either. */
static void print_rate(const Limit *limit, int n_threads, const char *data, size_t n_bytes,
                       int n_rounds)
{
    double rates[ROUNDS_MAX];
    printf(", \"%s\": ", limit->name);
    if (limit->loop == NULL) {
        printf("null");
        return;
    }
    for (int i = 0; i < n_rounds; i++) {
        rates[i] = rate_once(limit, n_threads, data, n_bytes);
    }
    qsort(rates, (size_t)n_rounds, sizeof(rates[0]), compare_reals);
    printf("%.4g", rates[n_rounds / 2]);
}

int main(int argc, char **argv)
{
    int n_threads = (int)sysconf(_SC_NPROCESSORS_ONLN), megabytes = 96, rounds = 5;
    for (int i = 1; i < argc; i++) {
        if (sscanf(argv[i], "threads=%d", &n_threads) != 1 &&
            sscanf(argv[i], "megabytes=%d", &megabytes) != 1 &&
            sscanf(argv[i], "rounds=%d", &rounds) != 1) {
            fprintf(stderr, "usage: limits [threads=N] [megabytes=N] [rounds=N]\n");
            return 2;
        }
    }
    n_threads = n_threads < 1 ? 1 : n_threads > THREADS_MAX ? THREADS_MAX : n_threads;
    rounds = rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
    size_t n_bytes = (size_t)(megabytes < 1 ? 1 : megabytes) * 1000000;
    size_t huge = (size_t)2 << 20, size = (n_bytes / huge + 1) * huge;
    char *data = aligned_alloc(huge, size);
    if (data == NULL) {
        fprintf(stderr, "error: no memory\n");
        return 1;
    }
    madvise(data, size, MADV_HUGEPAGE);
    memset(data, 1, size);
    Limit dot8, dot16, fma, read;
    limits_choose(&dot8, &dot16, &fma, &read);
    printf("{\"megabytes\": %d, \"threads\": [", megabytes);
    for (int n = 1;; n = n_threads) {
        printf("%s{\"n\": %d", n > 1 ? ", " : "", n);
        print_rate(&dot8, n, NULL, 0, rounds);
        print_rate(&dot16, n, NULL, 0, rounds);
        print_rate(&fma, n, NULL, 0, rounds);
        print_rate(&read, n, data, n_bytes, rounds);
        printf("}");
        if (n == n_threads) {
            break;
        }
    }
    printf("]}\n");
    free(data);
    return 0;
}
