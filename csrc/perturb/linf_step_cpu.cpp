#include "perturb/linf_step.h"

#include <cstring>

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
// it went up the sum moves to its lower neighbour, which is one integer step away. Changing the rounding mode instead
// would cost more than the whole step, and branches would keep the loop from being vectorised.
template <typename Real>
inline Real add_down(Real a, Real b) {
  using Int = typename IntegerOf<Real>::type;
  Real sum = a + b;
  const Real b_seen = sum - a;
  const Real lost = (a - (sum - b_seen)) + (b - b_seen);
  Int bits;
  std::memcpy(&bits, &sum, sizeof bits);
  bits += lost < 0 ? (bits < 0 ? 1 : -1) : 0;
  std::memcpy(&sum, &bits, sizeof bits);
  return sum;
}

}  // namespace

template <typename Real, typename Bits>
void linf_step_cpu(Real* x_adv, const Real* x, const Bits* grad, Bits infinity, int64_t n, LinfStep<Real> step) {
  constexpr Bits sign_bit = Bits(1) << (8 * sizeof(Bits) - 1);
  const Bits numbers = infinity - 1;  // how many magnitudes are neither zero, infinity nor NaN
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const Bits magnitude = grad[i] & Bits(~sign_bit);
    const bool usable = Bits(magnitude - 1) < numbers;  // zero wraps round to the largest
    const bool negative = grad[i] & sign_bit;
    const Real move = usable ? (negative ? -step.step : step.step) : Real(0);

    const Real low = -add_down(-x[i], step.eps);
    const Real high = add_down(x[i], step.eps);
    Real v = x_adv[i] + move;
    v = v < low ? low : v;
    v = v > high ? high : v;
    v = v < step.lower ? step.lower : v;
    v = v > step.upper ? step.upper : v;
    x_adv[i] = v + (x[i] - x[i]);  // + 0, which turns -0 into +0, or NaN where x is not finite
  }
}

#define DLBENCH_INSTANTIATE(Real, Bits) \
  template void linf_step_cpu<Real, Bits>(Real*, const Real*, const Bits*, Bits, int64_t, LinfStep<Real>);
DLBENCH_INSTANTIATE(float, uint16_t)
DLBENCH_INSTANTIATE(float, uint32_t)
DLBENCH_INSTANTIATE(float, uint64_t)
DLBENCH_INSTANTIATE(double, uint16_t)
DLBENCH_INSTANTIATE(double, uint32_t)
DLBENCH_INSTANTIATE(double, uint64_t)

}  // namespace dlbench
