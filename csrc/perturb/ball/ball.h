// Steps and projections in the L2 and the L1 ball, in place, a sample at a time:
//
//     x_adv <- the point nearest to x_adv + move in {z : |z - x| <= eps} and {z : lower <= z <= upper}
//
// where move is step * grad / |grad|_2 in the L2 ball, and in the L1 ball the steepest ascent of Tramer & Boneh (NeurIPS
// 2019, SLIDE): step / k along the sign of each of the k coordinates with the largest |grad| among those that the box
// lets go that way. Coordinates as large as the k-th all move, and share the step: no order decides.
//
// The nearest point is that of ball and box together, not of one after the other. Both hold in real arithmetic: no
// result is outside the box, and no sample's norm, computed exactly, exceeds eps. Where ball and box do not meet,
// because x lies too far outside the box, the box wins. What lies in the box and, by a few parts in a million, within the
// ball is not changed by a projection; what lies on the ball may be drawn in by as much (see Radius).
//
// Gradients that are infinite or NaN count as 0, and a sample without any other does not move. A NaN in x_adv stays; a
// NaN or an infinity in x gives NaN; neither counts in its sample's norm. An infinity in x_adv is a very large number.
// No result is -0. For float64, radii below 1e-140 are as good as 0.
#pragma once
#include <cstdint>

#include "perturb/ball/ball_point.h"
#include "perturb/gradient.h"
#include "perturb/limits.h"
#include "perturb/observe.h"
#include "portable.h"

namespace dlbench {

// Limits of samples: one set for all, or the table's where there is one. Radius and step are those of channel 0.
template <typename Real>
struct BallLimits {
  Limits<Real> all;
  LimitsTable<Real> table;  // values may be null

  DLBENCH_SHARED Limits<Real> at(int64_t sample, int64_t channel) const {
    return table.values ? table.at(sample, channel) : all;
  }
  DLBENCH_SHARED bool by_channel() const { return table.values && table.channels > 1; }
};

// The share of a sample's coordinates that an L1 step changes, in (0, 1].
struct Sparsity {
  double all;
  const double* each;  // [samples] in place of it, or null

  DLBENCH_SHARED double at(int64_t sample) const { return each ? each[sample] : all; }
};

// One sample. x_adv, x and grad are the whole batch, in one order; x_adv shares no memory with the others. `memory` has room
// for memory_for<Real>(size of a sample) numbers, `keys` for twice a sample's size.
// Real: float, double. Format: Binary16, Brain16, Binary32, Binary64. Ball: L1, L2.
template <typename Real>
int64_t memory_for(int64_t size);

template <typename Format, typename Real>
void l2_step_cpu(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                 int64_t sample, Real* memory);

template <typename Format, typename Real>
void l1_step_cpu(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                 Sparsity sparsity, int64_t sample, Real* memory, typename Format::Bits* keys);

template <typename Ball>
void project_cpu(typename Ball::Real* x_adv, const typename Ball::Real* x, Batch batch,
                 BallLimits<typename Ball::Real> limits, int64_t sample, typename Ball::Real* memory);

// All samples of a batch, on the current device, in `stream`. tally may be null.
template <typename Format, typename Real>
void l2_step_cuda(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                  int64_t* tally, CUstream_st* stream);

template <typename Format, typename Real>
void l1_step_cuda(Real* x_adv, const Real* x, const typename Format::Bits* grad, Batch batch, BallLimits<Real> limits,
                  Sparsity sparsity, int64_t* tally, CUstream_st* stream);

template <typename Ball>
void project_cuda(typename Ball::Real* x_adv, const typename Ball::Real* x, Batch batch,
                  BallLimits<typename Ball::Real> limits, CUstream_st* stream);

}  // namespace dlbench
