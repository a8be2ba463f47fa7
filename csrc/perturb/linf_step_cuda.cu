#include <cuda_runtime.h>

#include <algorithm>

#include "pack.cuh"
#include "perturb/linf_point.h"

namespace dlbench {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1 << 20;

// The GPU rounds downwards by an instruction of its own. Adding 0 turns its -0 into the +0 of rounding to nearest.
struct AddDown {
  __device__ float operator()(float a, float b) const { return __fadd_rd(a, b) + 0.0f; }
  __device__ double operator()(double a, double b) const { return __dadd_rd(a, b) + 0.0; }
};

template <typename Real, typename Bits, int N>
__global__ void linf_step_kernel(Pack<Real, N>* x_adv, const Pack<Real, N>* x, const Pack<Bits, N>* grad, Bits infinity,
                                 int64_t packs, LinfStep<Real> step) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < packs; i += stride) {
    Pack<Real, N> state = x_adv[i];
    const Pack<Real, N> centre = x[i];
    const Pack<Bits, N> slope = grad[i];
#pragma unroll
    for (int k = 0; k < N; ++k)
      state.element[k] = linf_point(state.element[k], centre.element[k], slope.element[k], infinity, step, AddDown());
    x_adv[i] = state;
  }
}

template <int N, typename Real, typename Bits>
void launch(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t packs, LinfStep<Real> step,
            cudaStream_t stream) {
  if (packs == 0) return;
  const int blocks = int(std::min((packs + kThreads - 1) / kThreads, kMostBlocks));
  linf_step_kernel<<<blocks, kThreads, 0, stream>>>(
      reinterpret_cast<Pack<Real, N>*>(x_adv), reinterpret_cast<const Pack<Real, N>*>(x),
      reinterpret_cast<const Pack<Bits, N>*>(grad), infinity, packs, step);
}

}  // namespace

template <typename Real, typename Bits>
void linf_step_cuda(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n, LinfStep<Real> step,
                    CUstream_st* stream) {
  constexpr int N = 16 / sizeof(Real);  // of the state; the gradient's pack is as wide as its type makes it
  using Reals = Pack<Real, N>;
  const bool packed = aligned<Reals>(x_adv) && aligned<Reals>(x) && aligned<Pack<Bits, N>>(grad);
  const int64_t packs = packed ? n / N : 0, done = packs * N;
  launch<N>(x_adv, x, grad, infinity, packs, step, stream);
  launch<1>(x_adv + done, x + done, grad + done, infinity, n - done, step, stream);
}

#define DLBENCH_INSTANTIATE(Real, Bits) \
  template void linf_step_cuda(Real*, const Real*, const Bits*, Bits, int64_t, LinfStep<Real>, CUstream_st*);
DLBENCH_INSTANTIATE(float, uint16_t)
DLBENCH_INSTANTIATE(float, uint32_t)
DLBENCH_INSTANTIATE(float, uint64_t)
DLBENCH_INSTANTIATE(double, uint16_t)
DLBENCH_INSTANTIATE(double, uint32_t)
DLBENCH_INSTANTIATE(double, uint64_t)

}  // namespace dlbench
