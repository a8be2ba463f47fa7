#include "perturb/linf/linf_step.h"

#include "perturb/add_down.h"
#include "perturb/linf/linf_point.h"

namespace dlbench {

template <typename Real, typename Bits>
void linf_step_cpu(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n, Limits<Real> limits) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) x_adv[i] = linf_point(x_adv[i], x[i], grad[i], infinity, limits, AddDownByTwoSum());
}

template <typename Real, typename Bits>
void linf_step_cpu(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n,
                   const Limits<const Real*>& rows) {
  const auto [eps, step, lower, upper] = rows;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const Limits<Real> limits{eps[i], step[i], lower[i], upper[i]};
    x_adv[i] = linf_point(x_adv[i], x[i], grad[i], infinity, limits, AddDownByTwoSum());
  }
}

#define DLBENCH_INSTANTIATE(Real, Bits)                                                                 \
  template void linf_step_cpu(Real*, const Real*, const Bits*, Bits, int64_t, Limits<Real>);            \
  template void linf_step_cpu(Real*, const Real*, const Bits*, Bits, int64_t, const Limits<const Real*>&);
DLBENCH_INSTANTIATE(float, uint16_t)
DLBENCH_INSTANTIATE(float, uint32_t)
DLBENCH_INSTANTIATE(float, uint64_t)
DLBENCH_INSTANTIATE(double, uint16_t)
DLBENCH_INSTANTIATE(double, uint32_t)
DLBENCH_INSTANTIATE(double, uint64_t)

}  // namespace dlbench
