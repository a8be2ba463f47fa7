#include <cuda_runtime.h>

#include <algorithm>

#include "pack.cuh"
#include "perturb/add_down.cuh"
#include "perturb/add_up.cuh"
#include "perturb/apgd/apgd_point.h"
#include "perturb/apgd/apgd_step.h"

namespace dlbench {
namespace {

constexpr int kEach = 2;  // packs of a thread

__global__ void apgd_judge_kernel(ApgdBooks books, const double* loss, int64_t samples, int64_t since, double rho,
                                  ApgdMove* moves) {
  const int64_t sample = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (sample < samples) moves[sample] = apgd_judge(books, sample, loss[sample], since, rho);
}

// A block is a stretch of one sample, in packs of N elements.
template <int N, typename Real, typename Bits>
__global__ void apgd_step_kernel(const ApgdMove* moves, const double* step_scale, ApgdPoints<Real, Bits> points,
                                 FloatBits<Bits> kind, Batch batch, BallLimits<Real> all_limits, Real momentum,
                                 int64_t* tally, int64_t blocks_a_sample) {
  using Reals = Pack<Real, N>;
  using Slopes = Pack<Bits, N>;
  const int64_t sample = blockIdx.x / blocks_a_sample, packs = batch.size() / N;
  const int64_t first = (blockIdx.x % blocks_a_sample) * kEach * kThreads + threadIdx.x;
  const ApgdMove move = moves[sample];
  const Real scale = static_cast<Real>(step_scale[sample]);
  Limits<Real> limits = all_limits.at(sample, 0);
  limits.step *= scale;

  const ApgdPoints<Real, Bits> at = points.from(sample * batch.size());
  Reals* const __restrict__ x_adv = reinterpret_cast<Reals*>(at.x_adv);
  Reals* const __restrict__ x_prev = reinterpret_cast<Reals*>(at.x_prev);
  Reals* const __restrict__ x_best = reinterpret_cast<Reals*>(at.x_best);
  const Reals* const __restrict__ x = reinterpret_cast<const Reals*>(at.x);
  const Slopes* const __restrict__ grad = reinterpret_cast<const Slopes*>(at.grad);
  Slopes* const __restrict__ grad_best = reinterpret_cast<Slopes*>(at.grad_best);

  long long counts[kKinds] = {};
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int64_t i = first + k * kThreads;
    if (i >= packs) break;
    const bool back = move == ApgdMove::kSendBack;
    const Reals here = back ? x_best[i] : x_adv[i], centre = x[i];
    const Slopes given = grad[i], slope = back ? grad_best[i] : given;
    Reals there = x_prev[i];
    if (back) x_adv[i] = here;
    if (move == ApgdMove::kKeep) x_best[i] = here, grad_best[i] = slope;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (all_limits.by_channel()) {
        limits = all_limits.at(sample, batch.channel(i * N + j));
        limits.step *= scale;
      }
      there.element[j] = apgd_point(here.element[j], there.element[j], centre.element[j], slope.element[j],
                                    kind.infinity, limits, momentum, AddDownByInstruction());
      if (tally)
        for (int which = 0; which < kKinds; ++which) counts[which] += is_kind(which, given.element[j], kind);
    }
    x_prev[i] = there;
  }
  if (tally)
    for (int which = 0; which < kKinds; ++which)
      add_up(counts[which], reinterpret_cast<long long*>(tally + sample * kKinds + which));
}

// What the move says, and the points and gradients that an L2 step starts from.
template <typename Real, typename Bits>
__global__ void apgd_move_kernel(const ApgdMove* moves, ApgdPoints<Real, Bits> points, int64_t size, Real* z,
                                 Bits* slopes, int64_t blocks_a_sample) {
  const int64_t sample = blockIdx.x / blocks_a_sample;
  const int64_t i = (blockIdx.x % blocks_a_sample) * kThreads + threadIdx.x;
  if (i >= size) return;
  const ApgdMove move = moves[sample];
  const bool back = move == ApgdMove::kSendBack;
  const ApgdPoints<Real, Bits> at = points.from(sample * size + i);
  const Real here = back ? *at.x_best : *at.x_adv;
  if (back) *at.x_adv = here;
  if (move == ApgdMove::kKeep) *at.x_best = here, *at.grad_best = *at.grad;
  z[sample * size + i] = here;
  if (slopes) slopes[sample * size + i] = back ? *at.grad_best : *at.grad;
}

template <typename Real>
__global__ void carry_on_kernel(Real* x_prev, const Real* x_adv, const Real* z, int64_t n, Real momentum) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) x_prev[i] = carried_on(z[i], x_adv[i], x_prev[i], momentum);
}

int64_t blocks_for(int64_t items, int64_t each) { return (items + each - 1) / each; }

}  // namespace

void apgd_judge_cuda(const ApgdBooks& books, const double* loss, int64_t samples, int64_t since, double rho,
                     ApgdMove* moves, CUstream_st* stream) {
  apgd_judge_kernel<<<unsigned(blocks_for(samples, kThreads)), kThreads, 0, stream>>>(books, loss, samples, since, rho,
                                                                                      moves);
}

template <typename Real, typename Bits>
void apgd_step_cuda(const ApgdMove* moves, const double* step_scale, ApgdPoints<Real, Bits> points,
                    FloatBits<Bits> kind, Batch batch, BallLimits<Real> limits, Real momentum, int64_t* tally,
                    CUstream_st* stream) {
  constexpr int N = 16 / sizeof(Real);
  using Reals = Pack<Real, N>;
  using Slopes = Pack<Bits, N>;
  const bool packed = batch.size() % N == 0 && aligned<Reals>(points.x_adv) && aligned<Reals>(points.x_prev) &&
                      aligned<Reals>(points.x_best) && aligned<Reals>(points.x) && aligned<Slopes>(points.grad) &&
                      aligned<Slopes>(points.grad_best);
  const auto kernel = packed ? apgd_step_kernel<N, Real, Bits> : apgd_step_kernel<1, Real, Bits>;
  const int64_t blocks_a_sample = blocks_for(batch.size() / (packed ? N : 1), kEach * kThreads);
  const unsigned blocks = static_cast<unsigned>(batch.samples * blocks_a_sample);  // 2^31 of them are 2^40 elements
  kernel<<<blocks, kThreads, 0, stream>>>(moves, step_scale, points, kind, batch, limits, momentum, tally,
                                          blocks_a_sample);
}

template <typename Format, typename Real>
void apgd_l2_step_cuda(const ApgdMove* moves, ApgdPoints<Real, typename Format::Bits> points, Batch batch,
                       BallLimits<Real> limits, Real momentum, Real* z, typename Format::Bits* slopes, int64_t* tally,
                       CUstream_st* stream) {
  const int64_t n = batch.samples * batch.size(), blocks_a_sample = blocks_for(batch.size(), kThreads);
  apgd_move_kernel<<<unsigned(batch.samples * blocks_a_sample), kThreads, 0, stream>>>(
      moves, points, batch.size(), z, slopes, blocks_a_sample);
  l2_step_cuda<Format>(z, points.x, slopes ? slopes : points.grad, batch, limits, tally, stream);
  carry_on_kernel<<<unsigned(blocks_for(n, kThreads)), kThreads, 0, stream>>>(points.x_prev, points.x_adv, z, n,
                                                                              momentum);
  project_cuda<L2<Real>>(points.x_prev, points.x, batch, limits, stream);
}

#define DLBENCH_INSTANTIATE_L2(Real, Format)                                                              \
  template void apgd_l2_step_cuda<Format>(const ApgdMove*, ApgdPoints<Real, Format::Bits>, Batch,         \
                                          BallLimits<Real>, Real, Real*, Format::Bits*, int64_t*, CUstream_st*);
DLBENCH_INSTANTIATE_L2(float, Binary16)
DLBENCH_INSTANTIATE_L2(float, Brain16)
DLBENCH_INSTANTIATE_L2(float, Binary32)
DLBENCH_INSTANTIATE_L2(float, Binary64)
DLBENCH_INSTANTIATE_L2(double, Binary16)
DLBENCH_INSTANTIATE_L2(double, Brain16)
DLBENCH_INSTANTIATE_L2(double, Binary32)
DLBENCH_INSTANTIATE_L2(double, Binary64)

#define DLBENCH_INSTANTIATE(Real, Bits)                                                                                \
  template void apgd_step_cuda(const ApgdMove*, const double*, ApgdPoints<Real, Bits>, FloatBits<Bits>, Batch,         \
                               BallLimits<Real>, Real, int64_t*, CUstream_st*);
DLBENCH_INSTANTIATE(float, uint16_t)
DLBENCH_INSTANTIATE(float, uint32_t)
DLBENCH_INSTANTIATE(float, uint64_t)
DLBENCH_INSTANTIATE(double, uint16_t)
DLBENCH_INSTANTIATE(double, uint32_t)
DLBENCH_INSTANTIATE(double, uint64_t)

}  // namespace dlbench
