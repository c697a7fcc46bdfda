// SPDX-License-Identifier: MIT
// Products in plain float32: F32 weights, and every type under --precision f32. One FMA for each
// element of K in sequence, as the CPU backend has it. For reference, not for speed.
#include "kernels/cuda/product.cuh"
#include "kernels/cuda/weight.cuh"

#define SIDE        64 // outputs, and rows, of a thread block
#define F32_THREADS 256

// ---- Kernel -------------------------------------------------------------------------------------

/** grid (panels of 64 rows, cuts of 64 outputs, segments); a thread has 4 outputs of 4 rows. */
KERNEL(product_f32)(ProductsView view)
{
    SHARED(float, weights, [BLOCK][SIDE + 4]);
    SHARED(float, rows, [BLOCK][SIDE + 4]);
    const ProductView &product = view.products[0];
    uint32_t output0 = block_y() * SIDE, row0 = block_x() * SIDE;
    uint32_t from = view.n_segments == 1 ? 0 : segment_start(view.n_blocks, block_z());
    uint32_t to =
        view.n_segments == 1 ? view.n_blocks : segment_start(view.n_blocks, block_z() + 1);
    uint32_t o = thread_x() % 16 * 4, r = thread_x() / 16 * 4;
    float acc[4][4] = {{0}};
    for (uint32_t b = from; b < to; b++) {
        SYNC();
        for (uint32_t i = thread_x(); i < SIDE * BLOCK; i += F32_THREADS) {
            uint32_t side = i / BLOCK, k = i % BLOCK, output = output0 + side, row = row0 + side;
            float w = 0, x = 0;
            if (output < product.n_out) {
                size_t record = (size_t)(output / TILE) * view.n_blocks + b;
                w = weight_at(view.type, product.weights + record * record_bytes(view.type),
                              output % TILE, k);
            }
            if (row < view.n_rows) {
                x = view.x.f32[((size_t)row * view.x.n_blocks + b) * BLOCK + k];
            }
            weights[k][side] = w;
            rows[k][side] = x;
        }
        SYNC();
        for (uint32_t k = 0; k < BLOCK; k++) {
            UNROLL for (uint32_t i = 0; i < 4; i++)
            {
                UNROLL for (uint32_t j = 0; j < 4; j++)
                {
                    acc[i][j] = fmaf(rows[k][r + i], weights[k][o + j], acc[i][j]);
                }
            }
        }
    }
    ProductView out = product;
    if (view.n_segments > 1) {
        out.out = view.partials + (size_t)block_z() * view.n_rows * product.n_out;
        out.add = 0;
    }
    UNROLL for (uint32_t i = 0; i < 4; i++)
    {
        UNROLL for (uint32_t j = 0; j < 4; j++)
        {
            product_store(out, view.n_rows, row0 + r + i, output0 + o + j, acc[i][j]);
        }
    }
}

// ---- Launcher -----------------------------------------------------------------------------------

bool products_f32(KStream *stream, const ProductsView *view, Err *err)
{
    for (int p = 0; p < view->n_products; p++) {
        ProductsView v = *view;
        v.products[0] = view->products[p];
        v.n_products = 1;
        dim3 grid((v.n_rows + SIDE - 1) / SIDE, (v.products[0].n_out + SIDE - 1) / SIDE,
                  (uint32_t)v.n_segments);
        LAUNCH(product_f32, grid, dim3(F32_THREADS), 0, stream->gpu, v);
        if (!CUDA_LAUNCHED(err, "product in f32") ||
            (v.n_segments > 1 && !products_tree(stream, &v, K_SEGMENTS, err))) {
            return false;
        }
    }
    return true;
}
