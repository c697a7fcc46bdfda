// SPDX-License-Identifier: MIT
// cuBLASLt's matrix product in plain loops, with what was asked of it written down. Two algorithms
// exist: 0 sums K in order; 1 splits K in two, as the real library may, and needs a workspace.
#include "kernels/cuda/vendor.h"
#include "kernels/emulate/internal.h"

#include <mutex>
#include <vector>

#include <stdlib.h>

struct BlasHandle {
    int device;
};
struct BlasDesc {
    int compute;
    int32_t trans_a, trans_b;
};
struct BlasLayout {
    int type;
    uint64_t rows, columns;
    int64_t lead;
};
struct BlasPreference {
    uint64_t workspace;
    uint32_t reductions;
};

typedef struct AlgoData {
    int32_t id;
    int32_t split_k;
    uint64_t workspace;
} AlgoData;

typedef struct Product {
    BlasDesc desc;
    BlasLayout a, b, c, d;
    float alpha, beta;
    const uint8_t *pa, *pb, *pc;
    uint8_t *pd;
    int split_k;
} Product;

static std::mutex lock;
static std::vector<EmulateBlasCall> calls;
static size_t n_handles;

static size_t type_bytes(int type)
{
    return type == BLAS_R_32F ? 4 : 2;
}

static float element(int type, const uint8_t *from, size_t i)
{
    if (type == BLAS_R_32F) {
        return ((const float *)from)[i];
    }
    uint16_t h = ((const uint16_t *)from)[i];
    return type == BLAS_R_16F ? f16_to_float(h) : bf16_to_float(h);
}

static void element_set(int type, uint8_t *to, size_t i, float x)
{
    if (type == BLAS_R_32F) {
        ((float *)to)[i] = x;
    } else {
        ((uint16_t *)to)[i] = type == BLAS_R_16F ? float_to_f16(x) : float_to_bf16(x);
    }
}

static uint64_t inner(const Product *p)
{
    return p->desc.trans_a != 0 ? p->a.rows : p->a.columns;
}

static float sum_of(const Product *p, uint64_t i, uint64_t j, uint64_t from, uint64_t to)
{
    float sum = 0;
    for (uint64_t k = from; k < to; k++) {
        uint64_t at_a =
            p->desc.trans_a != 0 ? k + i * (uint64_t)p->a.lead : i + k * (uint64_t)p->a.lead;
        uint64_t at_b =
            p->desc.trans_b != 0 ? j + k * (uint64_t)p->b.lead : k + j * (uint64_t)p->b.lead;
        sum += element(p->a.type, p->pa, at_a) * element(p->b.type, p->pb, at_b);
    }
    return sum;
}

static GpuError product_run(void *self)
{
    const Product *p = (const Product *)self;
    const BlasLayout *sides[] = {&p->a, &p->b, &p->c, &p->d};
    const uint8_t *data[] = {p->pa, p->pb, p->pc, p->pd};
    for (int i = 0; i < 4; i++) {
        size_t bytes = ((size_t)sides[i]->lead * (sides[i]->columns - 1) + sides[i]->rows) *
                       type_bytes(sides[i]->type);
        if ((i != 2 || p->beta != 0) && !memory_valid(data[i], bytes)) {
            char text[300];
            memory_explain(data[i], bytes, text, sizeof(text));
            fault(NULL, 0, "cuBLASLt: matrix %c: %s", "abcd"[i], text);
            return GPU_ERROR_ADDRESS;
        }
    }
    uint64_t half = p->split_k > 1 ? inner(p) / 2 : 0;
    for (uint64_t j = 0; j < p->d.columns; j++) {
        for (uint64_t i = 0; i < p->d.rows; i++) {
            float x = p->alpha * (sum_of(p, i, j, 0, half) + sum_of(p, i, j, half, inner(p)));
            if (p->beta != 0) {
                x += p->beta * element(p->c.type, p->pc, i + j * (uint64_t)p->c.lead);
            }
            element_set(p->d.type, p->pd, i + j * (uint64_t)p->d.lead, x);
        }
    }
    return GPU_OK;
}

static void product_free(void *self)
{
    free(self);
}

// ---- The table ----------------------------------------------------------------------------------

static size_t blas_version(void)
{
    return 130000;
}

static int blas_create(BlasHandle **out)
{
    if (failure_now(EMULATE_FAIL_BLAS)) {
        return BLAS_ERROR_MEMORY;
    }
    std::lock_guard<std::mutex> guard(lock);
    n_handles++;
    *out = new BlasHandle{stream_current_device()};
    return BLAS_OK;
}

static int blas_destroy(BlasHandle *handle)
{
    std::lock_guard<std::mutex> guard(lock);
    n_handles--;
    delete handle;
    return BLAS_OK;
}

static int desc_create(BlasDesc **out, int compute, int scale_type)
{
    if (compute != BLAS_COMPUTE_32F || scale_type != BLAS_R_32F) {
        return BLAS_ERROR_SUPPORT;
    }
    *out = new BlasDesc{compute, 0, 0};
    return BLAS_OK;
}

static int desc_set(BlasDesc *desc, int attribute, const void *value, size_t bytes)
{
    if (bytes != sizeof(int32_t) ||
        (attribute != BLAS_DESC_TRANSA && attribute != BLAS_DESC_TRANSB)) {
        return BLAS_ERROR_SUPPORT;
    }
    memcpy(attribute == BLAS_DESC_TRANSA ? &desc->trans_a : &desc->trans_b, value, bytes);
    return BLAS_OK;
}

static int desc_destroy(BlasDesc *desc)
{
    delete desc;
    return BLAS_OK;
}

static int layout_create(BlasLayout **out, int type, uint64_t rows, uint64_t columns, int64_t lead)
{
    bool known = type == BLAS_R_32F || type == BLAS_R_16F || type == BLAS_R_16BF;
    if (!known || rows == 0 || columns == 0 || lead < (int64_t)rows) {
        return BLAS_ERROR_VALUE;
    }
    *out = new BlasLayout{type, rows, columns, lead};
    return BLAS_OK;
}

static int layout_destroy(BlasLayout *layout)
{
    delete layout;
    return BLAS_OK;
}

static int preference_create(BlasPreference **out)
{
    *out = new BlasPreference{0, UINT32_MAX};
    return BLAS_OK;
}

static int preference_set(BlasPreference *preference, int attribute, const void *value,
                          size_t bytes)
{
    if (attribute == BLAS_PREFER_WORKSPACE && bytes == sizeof(preference->workspace)) {
        memcpy(&preference->workspace, value, bytes);
    } else if (attribute == BLAS_PREFER_REDUCTIONS && bytes == sizeof(preference->reductions)) {
        memcpy(&preference->reductions, value, bytes);
    } else {
        return BLAS_ERROR_SUPPORT;
    }
    return BLAS_OK;
}

static int preference_destroy(BlasPreference *preference)
{
    delete preference;
    return BLAS_OK;
}

static bool shapes_agree(const BlasDesc *desc, const BlasLayout *a, const BlasLayout *b,
                         const BlasLayout *c, const BlasLayout *d)
{
    uint64_t m = desc->trans_a != 0 ? a->columns : a->rows;
    uint64_t k = desc->trans_a != 0 ? a->rows : a->columns;
    uint64_t n = desc->trans_b != 0 ? b->rows : b->columns;
    uint64_t k_of_b = desc->trans_b != 0 ? b->columns : b->rows;
    return k == k_of_b && d->rows == m && d->columns == n && c->rows == m && c->columns == n &&
           a->type == b->type && c->type == d->type;
}

static int choose(BlasHandle *, BlasDesc *desc, BlasLayout *a, BlasLayout *b, BlasLayout *c,
                  BlasLayout *d, BlasPreference *preference, int n_wanted, BlasChoice *out,
                  int *out_n)
{
    *out_n = 0;
    if (!shapes_agree(desc, a, b, c, d)) {
        return BLAS_ERROR_VALUE;
    }
    uint64_t k = desc->trans_a != 0 ? a->rows : a->columns, workspace = d->rows * d->columns * 4;
    bool split =
        preference->reductions != 0 && k >= 4 * d->columns && preference->workspace >= workspace;
    for (int id = split ? 1 : 0; id >= 0 && *out_n < n_wanted; id--) {
        AlgoData data = {id, id + 1, id != 0 ? workspace : 0};
        BlasChoice *choice = &out[(*out_n)++];
        memset(choice, 0, sizeof(*choice));
        memcpy(choice->algo.data, &data, sizeof(data));
        choice->workspace = data.workspace;
    }
    return *out_n > 0 ? BLAS_OK : BLAS_ERROR_SUPPORT;
}

static int algo_get(const BlasAlgo *algo, int attribute, void *out, size_t bytes, size_t *out_bytes)
{
    AlgoData data;
    memcpy(&data, algo->data, sizeof(data));
    int32_t value = attribute == BLAS_ALGO_ID          ? data.id
                    : attribute == BLAS_ALGO_SPLIT_K   ? data.split_k
                    : attribute == BLAS_ALGO_REDUCTION ? data.split_k > 1
                                                       : 0;
    if (bytes < sizeof(value)) {
        return BLAS_ERROR_VALUE;
    }
    memcpy(out, &value, sizeof(value));
    if (out_bytes != NULL) {
        *out_bytes = sizeof(value);
    }
    return BLAS_OK;
}

static int matmul(BlasHandle *handle, BlasDesc *desc, const void *alpha, const void *a,
                  BlasLayout *a_layout, const void *b, BlasLayout *b_layout, const void *beta,
                  const void *c, BlasLayout *c_layout, void *d, BlasLayout *d_layout,
                  const BlasAlgo *algo, void *workspace, size_t workspace_bytes, void *stream)
{
    AlgoData data = {0, 1, 0};
    if (algo != NULL) {
        memcpy(&data, algo->data, sizeof(data));
    }
    if (!shapes_agree(desc, a_layout, b_layout, c_layout, d_layout) ||
        handle->device != stream_device((GpuStream)stream) || workspace_bytes < data.workspace ||
        (data.workspace > 0 && workspace == NULL)) {
        return BLAS_ERROR_VALUE;
    }
    if (failure_now(EMULATE_FAIL_BLAS)) {
        return BLAS_ERROR_RUN;
    }
    Product *p = (Product *)malloc(sizeof(*p));
    if (p == NULL) {
        return BLAS_ERROR_MEMORY;
    }
    *p = Product{*desc,
                 *a_layout,
                 *b_layout,
                 *c_layout,
                 *d_layout,
                 *(const float *)alpha,
                 *(const float *)beta,
                 (const uint8_t *)a,
                 (const uint8_t *)b,
                 (const uint8_t *)c,
                 (uint8_t *)d,
                 data.split_k};
    {
        std::lock_guard<std::mutex> guard(lock);
        calls.push_back(EmulateBlasCall{
            (int)d_layout->rows, (int)d_layout->columns, (int)inner(p), a_layout->type,
            b_layout->type, d_layout->type, desc->compute, algo != NULL ? data.id : -1,
            data.split_k, workspace_bytes, desc->trans_a, desc->trans_b, a_layout->lead,
            b_layout->lead, d_layout->lead, p->beta, handle->device});
    }
    GpuError e =
        stream_add((GpuStream)stream, StreamWork{NULL, product_run, NULL, product_free, p});
    return e == GPU_OK ? BLAS_OK : BLAS_ERROR_RUN;
}

const BlasApi *blas_api(void)
{
    static const BlasApi api = {
        blas_version,      blas_create,    blas_destroy,       desc_create,
        desc_set,          desc_destroy,   layout_create,      layout_destroy,
        preference_create, preference_set, preference_destroy, choose,
        algo_get,          matmul};
    return library_absent("blas") ? NULL : &api;
}

bool emulate_blas_call(size_t i, EmulateBlasCall *out)
{
    std::lock_guard<std::mutex> guard(lock);
    if (i >= calls.size()) {
        return false;
    }
    *out = calls[i];
    return true;
}

void blas_reset(void)
{
    std::lock_guard<std::mutex> guard(lock);
    calls.clear();
}

size_t blas_live(void)
{
    std::lock_guard<std::mutex> guard(lock);
    return n_handles;
}
