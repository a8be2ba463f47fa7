// One element of the step, for the CPU and the GPU alike: what they share cannot differ in a bit. What differs is how
// each rounds a sum downwards, which the caller brings along.
#pragma once
#include "perturb/linf_step.h"
#include "portable.h"

namespace dlbench {

template <typename Real, typename Bits, typename AddDown>
DLBENCH_SHARED Real linf_point(Real x_adv, Real x, Bits grad, Bits infinity, const LinfStep<Real>& step,
                               AddDown add_down) {
  constexpr Bits sign_bit = Bits(1) << (8 * sizeof(Bits) - 1);
  const Bits magnitude = grad & Bits(~sign_bit);
  const bool usable = Bits(magnitude - 1) < Bits(infinity - 1);  // zero wraps round to the largest
  const Real move = usable ? (grad & sign_bit ? -step.step : step.step) : Real(0);

  const Real low = -add_down(-x, step.eps);  // x - eps, rounded up
  const Real high = add_down(x, step.eps);
  Real v = x_adv + move;
  v = v < low ? low : v;
  v = v > high ? high : v;
  v = v < step.lower ? step.lower : v;
  v = v > step.upper ? step.upper : v;
  return v + (x - x);  // + 0, which turns -0 into +0, or NaN where x is not finite
}

}  // namespace dlbench
