#include <cuda_runtime.h>

#include "perturb/add_down.cuh"
#include "perturb/add_up.cuh"
#include "perturb/linf/linf_point.h"
#include "perturb/momentum/momentum_step.h"
#include "perturb/observe.h"
#include "perturb/team.cuh"

namespace dlbench {
namespace {

constexpr int kRateThreads = 1024;
constexpr int kEach = 4;  // elements of a thread

// A block is a sample.
template <typename Format>
__global__ void l1_rate_kernel(const typename Format::Bits* grad, int64_t size, L1Rate* rates) {
  Team team;
  grad += blockIdx.x * size;
  double scale = 1;
  if (kNeedsScale<Format>) {
    double most = 0;
    for (int64_t i = threadIdx.x; i < size; i += blockDim.x) most = fmax(most, fabs(finite<Format>(grad[i])));
    scale = scale_for(team.all(most, Larger()));
  }
  double sum = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < size; i += blockDim.x) sum += fabs(finite<Format>(grad[i])) * scale;
  const double norm = team.all(sum, Add());
  if (threadIdx.x == 0) rates[blockIdx.x] = {scale, norm > 0 ? 1 / norm : 0};
}

// A block is a stretch of one sample.
template <typename Format, typename Real>
__global__ void momentum_step_kernel(Real* x_adv, const Real* x, const typename Format::Bits* grad, Real* momentum,
                                     Batch batch, Limits<Real> common, LimitsTable<Real> table, double decay,
                                     int64_t* tally, const L1Rate* rates, int64_t blocks_a_sample) {
  using Own = typename FormatOf<Real>::type;
  const int64_t sample = blockIdx.x / blocks_a_sample, size = batch.size();
  const int64_t first = (blockIdx.x % blocks_a_sample) * kEach * kThreads + threadIdx.x;
  x_adv += sample * size, x += sample * size, grad += sample * size, momentum += sample * size;
  const bool by_channel = table.values != nullptr && table.channels > 1;
  Limits<Real> limits = table.values ? table.at(sample, 0) : common;
  const L1Rate rate = rates[sample];

  long long counts[kKinds] = {};
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int64_t i = first + k * kThreads;
    if (i >= size) break;
    if (by_channel) limits = table.at(sample, batch.channel(i));
    const auto slope = grad[i];
    const Real gathered = rate.gathered<Format>(momentum[i], slope, decay);
    momentum[i] = gathered;
    x_adv[i] = linf_point(x_adv[i], x[i], same_bits<typename Own::Bits>(gathered), Own::kInfinity, limits,
                          AddDownByInstruction());
    if (tally)
      for (int which = 0; which < kKinds; ++which)
        counts[which] += is_kind(which, slope, FloatBits<typename Format::Bits>{Format::kInfinity, Format::kSmallestNormal});
  }
  if (tally)
    for (int which = 0; which < kKinds; ++which)
      add_up(counts[which], reinterpret_cast<long long*>(tally + sample * kKinds + which));
}

}  // namespace

template <typename Format, typename Real>
void momentum_step_cuda(Real* x_adv, const Real* x, const typename Format::Bits* grad, Real* momentum, Batch batch,
                        Limits<Real> common, LimitsTable<Real> table, double decay, int64_t* tally, L1Rate* rates,
                        CUstream_st* stream) {
  const auto samples = static_cast<unsigned>(batch.samples);
  l1_rate_kernel<Format><<<samples, kRateThreads, 0, stream>>>(grad, batch.size(), rates);
  const int64_t stretch = kEach * kThreads, blocks_a_sample = (batch.size() + stretch - 1) / stretch;
  momentum_step_kernel<Format><<<static_cast<unsigned>(batch.samples * blocks_a_sample), kThreads, 0, stream>>>(
      x_adv, x, grad, momentum, batch, common, table, decay, tally, rates, blocks_a_sample);
}

#define DLBENCH_INSTANTIATE(Real, Format)                                                                         \
  template void momentum_step_cuda<Format>(Real*, const Real*, const Format::Bits*, Real*, Batch, Limits<Real>,   \
                                           LimitsTable<Real>, double, int64_t*, L1Rate*, CUstream_st*);
DLBENCH_INSTANTIATE(float, Binary16)
DLBENCH_INSTANTIATE(float, Brain16)
DLBENCH_INSTANTIATE(float, Binary32)
DLBENCH_INSTANTIATE(float, Binary64)
DLBENCH_INSTANTIATE(double, Binary16)
DLBENCH_INSTANTIATE(double, Brain16)
DLBENCH_INSTANTIATE(double, Binary32)
DLBENCH_INSTANTIATE(double, Binary64)

}  // namespace dlbench
