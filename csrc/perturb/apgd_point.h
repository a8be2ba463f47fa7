// One element of Auto-PGD's step, for the CPU and the GPU alike.
#pragma once
#include "perturb/linf_point.h"

namespace dlbench {

template <typename Real, typename Bits, typename AddDown>
DLBENCH_SHARED Real apgd_point(Real x_adv, Real x_prev, Real x, Bits grad, Bits infinity, const Limits<Real>& limits,
                               Real momentum, AddDown add_down) {
  const Real z = linf_point(x_adv, x, grad, infinity, limits, add_down);
  return linf_clip(z + momentum * ((x_adv - x_prev) - (z - x_adv)), x, limits, add_down);
}

}  // namespace dlbench
