// One element of Auto-PGD's steps, for the CPU and the GPU alike.
#pragma once
#include "perturb/linf/linf_point.h"

namespace dlbench {

// From x_adv to z with a share of the way from x_prev to x_adv. With a momentum of 1/4 the only product is exact, so
// that it makes no difference whether a compiler fuses it with the sum.
template <typename Real>
DLBENCH_SHARED Real carried_on(Real z, Real x_adv, Real x_prev, Real momentum) {
  return z + momentum * ((x_adv - x_prev) - (z - x_adv));
}

template <typename Real, typename Bits, typename AddDown>
DLBENCH_SHARED Real apgd_point(Real x_adv, Real x_prev, Real x, Bits grad, Bits infinity, const Limits<Real>& limits,
                               Real momentum, AddDown add_down) {
  const Real z = linf_point(x_adv, x, grad, infinity, limits, add_down);
  return linf_clip(carried_on(z, x_adv, x_prev, momentum), x, limits, add_down);
}

}  // namespace dlbench
