#include "perturb/apgd/apgd_step.h"

#include <cstring>

#include "perturb/add_down.h"
#include "perturb/apgd/apgd_point.h"

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

template <typename Format, typename Real>
void apgd_l2_step_cpu(ApgdMove move, ApgdPoints<Real, typename Format::Bits> at, Batch sample, BallLimits<Real> limits,
                      Real momentum, Real* z, Real* memory) {
  const int64_t n = sample.size();
  const auto* grad = moved(move, at, n);
  std::memcpy(z, at.x_adv, n * sizeof(Real));
  l2_step_cpu<Format>(z, at.x, grad, sample, limits, 0, memory);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) at.x_prev[i] = carried_on(z[i], at.x_adv[i], at.x_prev[i], momentum);
  project_cpu<L2<Real>>(at.x_prev, at.x, sample, limits, 0, memory);
}

#define DLBENCH_INSTANTIATE_L2(Real, Format)                                                               \
  template void apgd_l2_step_cpu<Format>(ApgdMove, ApgdPoints<Real, Format::Bits>, Batch, BallLimits<Real>, \
                                         Real, Real*, Real*);
DLBENCH_INSTANTIATE_L2(float, Binary16)
DLBENCH_INSTANTIATE_L2(float, Brain16)
DLBENCH_INSTANTIATE_L2(float, Binary32)
DLBENCH_INSTANTIATE_L2(float, Binary64)
DLBENCH_INSTANTIATE_L2(double, Binary16)
DLBENCH_INSTANTIATE_L2(double, Brain16)
DLBENCH_INSTANTIATE_L2(double, Binary32)
DLBENCH_INSTANTIATE_L2(double, Binary64)

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
