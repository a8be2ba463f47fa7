// One element of the step, for the CPU and the GPU alike: what they share cannot differ in a bit. What differs is how
// each rounds a sum downwards, which the caller brings along.
//
// Written without branches, and with signs as factors, so that compilers make vectors of it.
#pragma once
#include <cmath>

#include "perturb/limits.h"
#include "portable.h"

namespace dlbench {

// v in the ball around x and, above all, in the box.
template <typename Real, typename AddDown>
DLBENCH_SHARED Real linf_clip(Real v, Real x, const Limits<Real>& limits, AddDown add_down) {
  // Of the ball's two ends only the one on v's side of x can hold v. Mirrored if need be, it is the upper one.
  const Real side = std::copysign(Real(1), v - x);
  const Real end = add_down(side * x, limits.eps);
  v = side * v > end ? side * end : v;

  v = v < limits.lower ? limits.lower : v;
  v = v > limits.upper ? limits.upper : v;
  return v + (x - x);  // + 0, which turns -0 into +0, or NaN where x is not finite
}

template <typename Real, typename Bits, typename AddDown>
DLBENCH_SHARED Real linf_point(Real x_adv, Real x, Bits grad, Bits infinity, const Limits<Real>& limits,
                               AddDown add_down) {
  constexpr Bits sign_bit = Bits(1) << (8 * sizeof(Bits) - 1);
  const Bits magnitude = grad & Bits(~sign_bit);
  const bool usable = Bits(magnitude - 1) < Bits(infinity - 1);  // zero wraps round to the largest
  const Real sign = grad & sign_bit ? Real(-1) : Real(1);
  return linf_clip(x_adv + (usable ? sign * limits.step : Real(0)), x, limits, add_down);
}

}  // namespace dlbench
