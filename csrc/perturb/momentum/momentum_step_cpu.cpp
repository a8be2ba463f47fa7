#include "perturb/momentum/momentum_step.h"

#include <cmath>

#include "perturb/gradient_sums.h"
#include "perturb/linf/linf_step.h"

namespace dlbench {

template <typename Format>
L1Rate l1_rate_cpu(const typename Format::Bits* grad, int64_t n) {
  const double scale = scale_of<Format>(grad, n);
  const double norm = sum_over<Format>(grad, n, scale, [](double slope) { return std::fabs(slope); });
  return {scale, norm > 0 ? 1 / norm : 0};
}

template <typename Format, typename Real, typename AnyLimits>
void momentum_step_cpu(Real* x_adv, const Real* x, const typename Format::Bits* grad, Real* momentum, int64_t n,
                       L1Rate rate, double decay, const AnyLimits& limits) {
  using Own = typename FormatOf<Real>::type;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) momentum[i] = rate.gathered<Format>(momentum[i], grad[i], decay);
  linf_step_cpu(x_adv, x, reinterpret_cast<const typename Own::Bits*>(momentum), Own::kInfinity, n, limits);
}

#define DLBENCH_INSTANTIATE(Real, Format)                                                                      \
  template void momentum_step_cpu<Format>(Real*, const Real*, const Format::Bits*, Real*, int64_t, L1Rate,     \
                                          double, const Limits<Real>&);                                        \
  template void momentum_step_cpu<Format>(Real*, const Real*, const Format::Bits*, Real*, int64_t, L1Rate,     \
                                          double, const Limits<const Real*>&);
DLBENCH_INSTANTIATE(float, Binary16)
DLBENCH_INSTANTIATE(float, Brain16)
DLBENCH_INSTANTIATE(float, Binary32)
DLBENCH_INSTANTIATE(float, Binary64)
DLBENCH_INSTANTIATE(double, Binary16)
DLBENCH_INSTANTIATE(double, Brain16)
DLBENCH_INSTANTIATE(double, Binary32)
DLBENCH_INSTANTIATE(double, Binary64)
template L1Rate l1_rate_cpu<Binary16>(const Binary16::Bits*, int64_t);
template L1Rate l1_rate_cpu<Brain16>(const Brain16::Bits*, int64_t);
template L1Rate l1_rate_cpu<Binary32>(const Binary32::Bits*, int64_t);
template L1Rate l1_rate_cpu<Binary64>(const Binary64::Bits*, int64_t);

}  // namespace dlbench
