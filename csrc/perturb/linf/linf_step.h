// One projected gradient step in the L-infinity ball, in place:
//
//     x_adv <- clip(x_adv + step * sign(grad), max(lower, x - eps), min(upper, x + eps))
//
// The bounds hold in real arithmetic, not up to rounding: x - eps is rounded up and x + eps down, so that no result is
// farther than eps from x (denormal numbers flushed to zero, if someone asked for that, aside). Where the ball and the
// box do not meet, because x lies too far outside the box, the box wins.
//
// sign(0), sign(NaN) and sign(+-inf) are 0. A gradient comes as its bits, which makes one kernel of all float types:
// the bits of +infinity are the only thing in which they differ.
//
// A NaN in x_adv stays; a NaN or an infinity in x gives NaN. No result is -0.
#pragma once
#include <cstdint>

#include "perturb/limits.h"
#include "perturb/observe.h"
#include "portable.h"

namespace dlbench {

// n elements, dense, in one order for all three. x_adv, x and grad may be the same memory, but may not overlap in part.
// Real: float, double. Bits: uint16_t, uint32_t, uint64_t.
template <typename Real, typename Bits>
void linf_step_cpu(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n, Limits<Real> limits);

// The same with limits of its own for every element: four rows of n numbers.
template <typename Real, typename Bits>
void linf_step_cpu(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n, const Limits<const Real*>& rows);

// The same on the current device, in `stream`.
template <typename Real, typename Bits>
void linf_step_cuda(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n, Limits<Real> limits,
                    CUstream_st* stream);

// A batch with limits from a table, or with something to observe, or both.
template <typename Real, typename Bits>
void linf_step_cuda(Real* x_adv, const Real* x, const Bits* grad, FloatBits<Bits> kind, Batch batch,
                    LimitsTable<Real> table, Observers to, CUstream_st* stream);

}  // namespace dlbench
