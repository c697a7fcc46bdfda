// SPDX-License-Identifier: MIT
// A CUDA module without CUDA: the CPU's kernels under another name, as two devices, or
// FAKE_CUDA_DEVICES of them, which may work together ("tp=2"). FAKE_CUDA_FAIL makes opening fail
// with its text; FAKE_CUDA_LOSE=1:20 loses device 1 in its 20th batch, all:20 each of them.
#include "kernels/cuda/load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef OTHER_BUILD
__attribute__((visibility("default"))) const char muster_cuda_build[] = "0.0.0-0";
#endif

__attribute__((visibility("default"))) const KOps *muster_cuda_ops(void);

enum { OPEN_MAX = 64 };

/** What is known of an open device. */
typedef struct Fake {
    KDevice *device; // NULL: free
    KStream *stream;
    int index;
    int n_batches;
    char words[64];
} Fake;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static Fake fakes[OPEN_MAX];

static Fake *fake_find(const KDevice *device)
{
    for (int i = 0; i < OPEN_MAX; i++) {
        if (fakes[i].device == device) {
            return &fakes[i];
        }
    }
    return NULL;
}

static bool fake_open(const KDeviceOptions *options, KDevice **out, Err *err)
{
    KDeviceOptions own = *options;
    own.path = NULL;
    const char *fail = getenv("FAKE_CUDA_FAIL");
    if (fail != NULL) {
        return ERR_SET(err, ERR_DEVICE, "%s", fail);
    }
    const char *many = getenv("FAKE_CUDA_DEVICES");
    int n = many != NULL ? (int)strtol(many, NULL, 10) : 2;
    if (options->index >= n) {
        return ERR_SET(err, ERR_DEVICE, "there is no device %d, only %d", options->index, n);
    }
    if (!k_cpu_ops.device_open(&own, out, err)) {
        return false;
    }
    pthread_mutex_lock(&mutex);
    Fake *fake = fake_find(NULL);
    if (fake != NULL) {
        *fake = (Fake){.device = *out, .index = options->index};
        snprintf(fake->words, sizeof(fake->words), "cuda Fake 9000%s%s",
                 options->path != NULL ? ", " : "", options->path != NULL ? options->path : "");
    }
    pthread_mutex_unlock(&mutex);
    return fake != NULL || ERR_SET(err, ERR_DEVICE, "too many devices are open");
}

static void fake_close(KDevice *device)
{
    pthread_mutex_lock(&mutex);
    fake_find(device)->device = NULL;
    pthread_mutex_unlock(&mutex);
    k_cpu_ops.device_close(device);
}

static const char *fake_describe(const KDevice *device)
{
    pthread_mutex_lock(&mutex);
    const char *words = fake_find(device)->words;
    pthread_mutex_unlock(&mutex);
    return words;
}

static bool fake_stream(KDevice *device, KStream **out, Err *err)
{
    bool ok = k_cpu_ops.stream_create(device, out, err);
    pthread_mutex_lock(&mutex);
    fake_find(device)->stream = ok ? *out : NULL;
    pthread_mutex_unlock(&mutex);
    return ok;
}

/** Every batch begins here. A device that is lost stays lost. */
static bool fake_embed(KStream *stream, const KMatrix *table, const int32_t *ids, size_t n_rows,
                       KBuffer *out, Err *err)
{
    bool lose_all = false;
    int lose_index = -1;
    int lose_batch = 0;
    const char *lose = getenv("FAKE_CUDA_LOSE");
    if (lose != NULL) {
        const char *batch = strchr(lose, ':');
        lose_all = strncmp(lose, "all", 3) == 0;
        lose_index = (int)strtol(lose, NULL, 10);
        lose_batch = batch != NULL ? (int)strtol(batch + 1, NULL, 10) : 1;
    }
    bool lost = false;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < OPEN_MAX; i++) {
        if (fakes[i].device != NULL && fakes[i].stream == stream) {
            fakes[i].n_batches++;
            lost = (lose_all || fakes[i].index == lose_index) && fakes[i].n_batches >= lose_batch;
        }
    }
    pthread_mutex_unlock(&mutex);
    return lost ? ERR_SET(err, ERR_DEVICE, "the device is lost")
                : k_cpu_ops.embed(stream, table, ids, n_rows, out, err);
}

static KOps ops;

static void ops_make(void)
{
    ops = k_cpu_ops;
    ops.name = "cuda";
    ops.device_open = fake_open;
    ops.device_close = fake_close;
    ops.device_describe = fake_describe;
    ops.stream_create = fake_stream;
    ops.embed = fake_embed;
}

const KOps *muster_cuda_ops(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ops_make);
    return &ops;
}
