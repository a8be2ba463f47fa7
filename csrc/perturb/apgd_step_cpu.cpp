#include "perturb/apgd_step.h"

#include <cstring>

#include "perturb/add_down.h"
#include "perturb/apgd_point.h"

namespace dlbench {
namespace {

// Copies what the move says; returns the gradient to follow.
template <typename Real, typename Bits>
const Bits* moved(ApgdMove move, const ApgdPoints<Real, Bits>& at, int64_t n) {
  if (move == ApgdMove::kKeep) {
    std::memcpy(at.x_best, at.x_adv, n * sizeof(Real));
    std::memcpy(at.grad_best, at.grad, n * sizeof(Bits));
  } else if (move == ApgdMove::kSendBack) {
    std::memcpy(at.x_adv, at.x_best, n * sizeof(Real));
    return at.grad_best;
  }
  return at.grad;
}

}  // namespace

template <typename Real, typename Bits>
void apgd_step_cpu(ApgdMove move, ApgdPoints<Real, Bits> at, Bits infinity, int64_t n, Limits<Real> limits,
                   Real momentum) {
  const Bits* grad = moved(move, at, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i)
    at.x_prev[i] = apgd_point(at.x_adv[i], at.x_prev[i], at.x[i], grad[i], infinity, limits, momentum,
                              AddDownByTwoSum());
}

template <typename Real, typename Bits>
void apgd_step_cpu(ApgdMove move, ApgdPoints<Real, Bits> at, Bits infinity, int64_t n, const Limits<const Real*>& rows,
                   Real momentum) {
  const Bits* grad = moved(move, at, n);
  const auto [eps, step, lower, upper] = rows;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const Limits<Real> limits{eps[i], step[i], lower[i], upper[i]};
    at.x_prev[i] = apgd_point(at.x_adv[i], at.x_prev[i], at.x[i], grad[i], infinity, limits, momentum,
                              AddDownByTwoSum());
  }
}

#define DLBENCH_INSTANTIATE(Real, Bits)                                                                        \
  template void apgd_step_cpu(ApgdMove, ApgdPoints<Real, Bits>, Bits, int64_t, Limits<Real>, Real);            \
  template void apgd_step_cpu(ApgdMove, ApgdPoints<Real, Bits>, Bits, int64_t, const Limits<const Real*>&, Real);
DLBENCH_INSTANTIATE(float, uint16_t)
DLBENCH_INSTANTIATE(float, uint32_t)
DLBENCH_INSTANTIATE(float, uint64_t)
DLBENCH_INSTANTIATE(double, uint16_t)
DLBENCH_INSTANTIATE(double, uint32_t)
DLBENCH_INSTANTIATE(double, uint64_t)

}  // namespace dlbench
