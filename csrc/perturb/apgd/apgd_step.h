// What Auto-PGD (Croce & Hein, ICML 2020, arXiv:2003.01690) does between two gradients, sample by sample and without
// asking the host. First the books: is this the best point so far, and, at a checkpoint, is the sample's step still of
// use or to be halved. Then one pass over memory:
//
//     kept        x_best <- x_adv, grad_best <- grad
//     sent back   x_adv <- x_best, and grad_best in the place of grad
//     z      = P(x_adv + step * direction of grad)
//     x_prev <- P(z + momentum * ((x_adv - x_prev) - (z - x_adv)))
//
// The new point takes the place of the previous one, so that two buffers change places instead of being copied. With a
// momentum of 1/4 it is the paper's x + a (z - x) + (1 - a) (x - x_prev) for a = 3/4. In the L-infinity ball direction
// and projection P are those of linf_step.h, in the L2 ball those of ball.h, where a sample takes several passes.
#pragma once
#include <cstdint>

#include "perturb/ball/ball.h"
#include "perturb/limits.h"
#include "perturb/observe.h"
#include "portable.h"

namespace dlbench {

// What is known of each sample; arrays of its length.
struct ApgdBooks {
  double *loss_best, *loss_prev;  // at the best point and at the last one; NaN where there was none
  double* loss_checked;           // the best at the last checkpoint; NaN before the first
  int64_t* rises;                 // steps since then that raised the loss
  bool* halved;                   // whether the step was halved then
  double* step_scale;             // 1, 1/2, 1/4, ...
};

// What its loss decides for a sample.
enum class ApgdMove : uint8_t { kGoOn, kKeep, kSendBack };

// A checkpoint is where a number of steps `since` the last one is given. The step is halved, and the sample sent back
// to its best point, where fewer than rho of these steps raised the loss, or where neither the step nor the best loss
// has changed since the last checkpoint. A NaN is no rise, and the best only where there is no other.
DLBENCH_SHARED ApgdMove apgd_judge(const ApgdBooks& of, int64_t sample, double loss, int64_t since, double rho) {
  double& best = of.loss_best[sample];
  const bool better = loss > best || best != best;
  best = better ? loss : best;
  of.rises[sample] += loss > of.loss_prev[sample];
  of.loss_prev[sample] = loss;
  if (since > 0) {
    const bool slow = double(of.rises[sample]) < rho * double(since);
    const bool stuck = !of.halved[sample] && best == of.loss_checked[sample];
    of.halved[sample] = slow || stuck;
    of.loss_checked[sample] = best;
    of.rises[sample] = 0;
    if (of.halved[sample]) {
      of.step_scale[sample] /= 2;
      of.loss_prev[sample] = best;
      if (!better) return ApgdMove::kSendBack;
    }
  }
  return better ? ApgdMove::kKeep : ApgdMove::kGoOn;
}

// The points of a batch, in one order in memory.
template <typename Real, typename Bits>
struct ApgdPoints {
  Real *x_adv, *x_prev, *x_best;
  const Real* x;
  const Bits* grad;
  Bits* grad_best;

  DLBENCH_SHARED ApgdPoints from(int64_t i) const {
    return {x_adv + i, x_prev + i, x_best + i, x + i, grad + i, grad_best + i};
  }
};

// n elements of one sample. Real: float, double. Bits: uint16_t, uint32_t, uint64_t.
template <typename Real, typename Bits>
void apgd_step_cpu(ApgdMove move, ApgdPoints<Real, Bits> at, Bits infinity, int64_t n, Limits<Real> limits,
                   Real momentum);

// The same with limits of its own for every element: four rows of n numbers.
template <typename Real, typename Bits>
void apgd_step_cpu(ApgdMove move, ApgdPoints<Real, Bits> at, Bits infinity, int64_t n, const Limits<const Real*>& rows,
                   Real momentum);

// The L2 step of a sample, which is a batch of its own, with its own limits; z is memory for as many elements,
// `memory` what the step in the ball needs.
template <typename Format, typename Real>
void apgd_l2_step_cpu(ApgdMove move, ApgdPoints<Real, typename Format::Bits> at, Batch sample, BallLimits<Real> limits,
                      Real momentum, Real* z, Real* memory);

// A batch, on the current device, in `stream`; first its books, which decide its moves, one a sample.
void apgd_judge_cuda(const ApgdBooks& books, const double* loss, int64_t samples, int64_t since, double rho,
                     ApgdMove* moves, CUstream_st* stream);

template <typename Real, typename Bits>
void apgd_step_cuda(const ApgdMove* moves, const double* step_scale, ApgdPoints<Real, Bits> points,
                    FloatBits<Bits> kind, Batch batch, BallLimits<Real> limits, Real momentum, int64_t* tally,
                    CUstream_st* stream);

// Steps in the limits are scaled already. z and slopes are memory for a batch of points and of gradients; where no
// sample is sent back, slopes may be null.
template <typename Format, typename Real>
void apgd_l2_step_cuda(const ApgdMove* moves, ApgdPoints<Real, typename Format::Bits> points, Batch batch,
                       BallLimits<Real> limits, Real momentum, Real* z, typename Format::Bits* slopes, int64_t* tally,
                       CUstream_st* stream);

}  // namespace dlbench
