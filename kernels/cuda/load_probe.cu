// SPDX-License-Identifier: MIT
// Whether nvcc works with the host compiler that is here: compiled when a build is set up.
__global__ void probe(float *to, float value)
{
    to[threadIdx.x] = value;
}
