// SPDX-License-Identifier: MIT
// Products: what takes them. The choice may look at the number of rows, since all kernels give the
// same bits. Under --fast cuBLASLt takes more than few rows of F16 and BF16 weights, and
// has bits of its own.
#include "kernels/cuda/product.cuh"

#include <assert.h>

#define FEW_ROWS 32

/** Neighbours of one type in one run of K share a launch; a product in segments has its own. */
static size_t products_alike(const KProduct *products, size_t n)
{
    size_t same = 1;
    while (same < n && same < PRODUCTS_MAX && products[0].n_segments == 1 &&
           products[same].n_segments == 1 &&
           products[same].matrix->type == products[0].matrix->type) {
        same++;
    }
    return same;
}

/** Weights that lie plain, with more than few rows: cuBLASLt's, or, where it knows no way, ours. */
static bool run_plain(KStream *stream, const KProduct *products, const ProductsView *view, Err *err)
{
    for (int p = 0; p < view->n_products; p++) {
        bool taken;
        if (!fast_product(stream, &products[p], &view->x, view->n_rows, &taken, err)) {
            return false;
        }
        if (!taken) {
            ProductsView one = *view;
            one.n_products = 1;
            one.products[0] = view->products[p];
            if (!products_few(stream, &one, err)) {
                return false;
            }
        }
    }
    return true;
}

static ProductsView view_of(const KProduct *products, size_t n, const KActs *x, size_t n_rows)
{
    const KMatrix *first = products[0].matrix;
    ProductsView view = {};
    view.n_products = (int)n;
    view.type = first->type;
    view.plain = first->plain;
    view.n_segments = products[0].n_segments;
    view.n_rows = (uint32_t)n_rows;
    view.n_blocks = first->n_blocks;
    view.x = x->view;
    for (size_t p = 0; p < n; p++) {
        const KMatrix *m = products[p].matrix;
        assert(m->n_in == x->view.width && products[p].out->n >= n_rows * m->n_out);
        view.products[p].weights = m->records;
        view.products[p].out = products[p].out->data;
        view.products[p].n_out = (uint32_t)m->n_out;
        view.products[p].add = products[p].add;
    }
    return view;
}

static bool run_alike(KStream *stream, const KProduct *products, size_t n, const KActs *x,
                      size_t n_rows, Err *err)
{
    const KMatrix *first = products[0].matrix;
    ProductsView view = view_of(products, n, x, n_rows);
    bool f32 = stream->device->f32 || first->type == K_F32;
    bool few = !f32 && n_rows <= FEW_ROWS;
    if (view.plain && !few) {
        return run_plain(stream, products, &view, err);
    }
    if (view.n_segments > 1 && !few) {
        size_t parts = f32 ? K_SEGMENTS : K_SEGMENTS / 2;
        size_t bytes = parts * n_rows * first->n_out * sizeof(float);
        void *partials;
        if (!cuda_scratch(stream, bytes, &partials, err)) {
            return false;
        }
        view.partials = (float *)partials;
    }
    return f32   ? products_f32(stream, &view, err)
           : few ? products_few(stream, &view, err)
                 : products_chosen(stream, &view, err);
}

bool cuda_products(KStream *stream, const KProduct *products, size_t n_products, const KActs *x,
                   size_t n_rows, Err *err)
{
    assert(n_products <= PRODUCTS_MAX && n_rows <= x->max_rows);
    if (!cuda_enter(stream->device, err)) {
        return false;
    }
    for (size_t p = 0, n; p < n_products; p += n) {
        n = products_alike(products + p, n_products - p);
        if (!run_alike(stream, products + p, n, x, n_rows, err)) {
            return false;
        }
    }
    return true;
}

bool cuda_gated(KStream *stream, const KMatrix *gate, const KMatrix *up, const KActs *x,
                size_t n_rows, KActs *out, Err *err)
{
    size_t n = n_rows * gate->n_out, up_at = (n + 63) / 64 * 64; // 256 bytes: cuBLASLt wants them
    assert(gate->n_out == up->n_out && gate->n_out == out->view.width);
    assert(n_rows <= out->max_rows);
    KBuffer of_gate = {}, of_up = {};
    of_gate.n = of_up.n = n;
    const KProduct products[] = {{gate, &of_gate, false, 1}, {up, &of_up, false, 1}};
    if (!cuda_enter(stream->device, err)) {
        return false;
    }
    void *scratch; // products in one run need none of their own
    if (!cuda_scratch(stream, (up_at + n) * sizeof(float), &scratch, err)) {
        return false;
    }
    of_gate.data = (float *)scratch;
    of_up.data = of_gate.data + up_at;
    return cuda_products(stream, products, 2, x, n_rows, err) &&
           rows_swiglu(stream, of_gate.data, of_up.data, n_rows, out, err);
}
