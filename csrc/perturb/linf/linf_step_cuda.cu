#include <cuda_runtime.h>

#include <algorithm>

#include "pack.cuh"
#include "perturb/add_down.cuh"
#include "perturb/add_up.cuh"
#include "perturb/linf/linf_point.h"
#include "perturb/linf/linf_step.h"

namespace dlbench {
namespace {

constexpr int64_t kMostBlocks = 1 << 20;

template <typename Real, typename Bits, int N>
__global__ void linf_step_kernel(Pack<Real, N>* x_adv, const Pack<Real, N>* x, const Pack<Bits, N>* grad, Bits infinity,
                                 int64_t packs, Limits<Real> limits) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < packs; i += stride) {
    Pack<Real, N> state = x_adv[i];
    const Pack<Real, N> centre = x[i];
    const Pack<Bits, N> slope = grad[i];
#pragma unroll
    for (int k = 0; k < N; ++k)
      state.element[k] = linf_point(state.element[k], centre.element[k], slope.element[k], infinity, limits,
                                    AddDownByInstruction());
    x_adv[i] = state;
  }
}

template <int N, typename Real, typename Bits>
void launch(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t packs, Limits<Real> limits,
            cudaStream_t stream) {
  if (packs == 0) return;
  const int blocks = int(std::min((packs + kThreads - 1) / kThreads, kMostBlocks));
  linf_step_kernel<<<blocks, kThreads, 0, stream>>>(
      reinterpret_cast<Pack<Real, N>*>(x_adv), reinterpret_cast<const Pack<Real, N>*>(x),
      reinterpret_cast<const Pack<Bits, N>*>(grad), infinity, packs, limits);
}

// The bits of a number, as its hash takes them.
__device__ uint32_t word(float value) { return __float_as_uint(value); }
__device__ uint64_t word(double value) { return static_cast<uint64_t>(__double_as_longlong(value)); }

constexpr int kEach = 8;  // elements of a thread

// A block is a stretch of one sample. Sums of integers do not depend on the order in which blocks come to them.
template <typename Real, typename Bits, bool Observe>
__global__ void linf_batch_kernel(Real* x_adv, const Real* x, const Bits* grad, FloatBits<Bits> kind, Batch batch,
                                  LimitsTable<Real> table, Observers to, int64_t blocks_a_sample) {
  const int64_t sample = blockIdx.x / blocks_a_sample, size = batch.size();
  const int64_t first = (blockIdx.x % blocks_a_sample) * kEach * kThreads + threadIdx.x;
  x_adv += sample * size, x += sample * size, grad += sample * size;

  unsigned long long hash = 0;
  long long counts[kKinds] = {};
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int64_t i = first + k * kThreads;
    if (i >= size) break;
    const Limits<Real> limits = table.at(sample, batch.channel(i));
    const Bits slope = grad[i];
    const Real stepped = linf_point(x_adv[i], x[i], slope, kind.infinity, limits, AddDownByInstruction());
    x_adv[i] = stepped;
    if (Observe) {
      hash += hash_share(word(stepped), i);
      for (int which = 0; which < kKinds; ++which) counts[which] += is_kind(which, slope, kind);
    }
  }
  if (!Observe) return;
  if (to.hash) add_up(hash, reinterpret_cast<unsigned long long*>(to.hash + sample));
  if (to.tally)
    for (int which = 0; which < kKinds; ++which)
      add_up(counts[which], reinterpret_cast<long long*>(to.tally + sample * kKinds + which));
}

}  // namespace

template <typename Real, typename Bits>
void linf_step_cuda(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n, Limits<Real> limits,
                    CUstream_st* stream) {
  constexpr int N = 16 / sizeof(Real);  // of the state; the gradient's pack is as wide as its type makes it
  using Reals = Pack<Real, N>;
  const bool packed = aligned<Reals>(x_adv) && aligned<Reals>(x) && aligned<Pack<Bits, N>>(grad);
  const int64_t packs = packed ? n / N : 0, done = packs * N;
  launch<N>(x_adv, x, grad, infinity, packs, limits, stream);
  launch<1>(x_adv + done, x + done, grad + done, infinity, n - done, limits, stream);
}

template <typename Real, typename Bits>
void linf_step_cuda(Real* x_adv, const Real* x, const Bits* grad, FloatBits<Bits> kind, Batch batch,
                    LimitsTable<Real> table, Observers to, CUstream_st* stream) {
  const int64_t stretch = kEach * kThreads, blocks_a_sample = (batch.size() + stretch - 1) / stretch;
  const auto kernel = to.any() ? linf_batch_kernel<Real, Bits, true> : linf_batch_kernel<Real, Bits, false>;
  const unsigned blocks = static_cast<unsigned>(batch.samples * blocks_a_sample);  // 2^31 of them are 2^42 elements
  kernel<<<blocks, kThreads, 0, stream>>>(x_adv, x, grad, kind, batch, table, to, blocks_a_sample);
}

#define DLBENCH_INSTANTIATE(Real, Bits)                                                                      \
  template void linf_step_cuda(Real*, const Real*, const Bits*, Bits, int64_t, Limits<Real>, CUstream_st*);  \
  template void linf_step_cuda(Real*, const Real*, const Bits*, FloatBits<Bits>, Batch, LimitsTable<Real>, Observers, \
                               CUstream_st*);
DLBENCH_INSTANTIATE(float, uint16_t)
DLBENCH_INSTANTIATE(float, uint32_t)
DLBENCH_INSTANTIATE(float, uint64_t)
DLBENCH_INSTANTIATE(double, uint16_t)
DLBENCH_INSTANTIATE(double, uint32_t)
DLBENCH_INSTANTIATE(double, uint64_t)

}  // namespace dlbench
