#include "perturb/linf_step.h"

#include <cstring>

#include "perturb/linf_point.h"

namespace dlbench {
namespace {

template <typename Real>
struct IntegerOf;
template <>
struct IntegerOf<float> {
  using type = int32_t;
};
template <>
struct IntegerOf<double> {
  using type = int64_t;
};

// a + b rounded down. The processor rounds to nearest; Knuth's TwoSum gives what that rounding lost, exactly, and where
// it went up the sum moves to its lower neighbour, which is one integer step away. Compilers do not see a change of the
// rounding mode, which would be the other way, and branches would keep the loop from being vectorised.
struct AddDown {
  template <typename Real>
  Real operator()(Real a, Real b) const {
    using Int = typename IntegerOf<Real>::type;
    Real sum = a + b;
    const Real b_seen = sum - a;
    const bool went_up = a - (sum - b_seen) < b_seen - b;
    Int bits;
    std::memcpy(&bits, &sum, sizeof bits);
    bits -= went_up ? (bits >> (8 * sizeof bits - 1)) | 1 : 0;  // 1 for a positive sum, -1 for a negative one
    std::memcpy(&sum, &bits, sizeof bits);
    return sum;
  }
};

}  // namespace

template <typename Real, typename Bits>
void linf_step_cpu(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n, Limits<Real> limits) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) x_adv[i] = linf_point(x_adv[i], x[i], grad[i], infinity, limits, AddDown());
}

template <typename Real, typename Bits>
void linf_step_cpu(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n,
                   const Limits<const Real*>& rows) {
  const auto [eps, step, lower, upper] = rows;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const Limits<Real> limits{eps[i], step[i], lower[i], upper[i]};
    x_adv[i] = linf_point(x_adv[i], x[i], grad[i], infinity, limits, AddDown());
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
