// a + b rounded down, on the CPU; add_down.cuh has the GPU's way.
#pragma once
#include <cstdint>
#include <cstring>

namespace dlbench {

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

// The processor rounds to nearest; Knuth's TwoSum gives what that rounding lost, exactly, and where it went up the sum
// moves to its lower neighbour, which is one integer step away. Compilers do not see a change of the rounding mode,
// which would be the other way, and branches would keep the loop from being vectorised.
struct AddDownByTwoSum {
  template <typename Real>
  Real operator()(Real a, Real b) const {
    using Int = typename IntegerOf<Real>::type;
    Real sum = a + b;
    const Real b_seen = sum - a;
    const bool went_up = !(a - (sum - b_seen) >= b_seen - b);  // also to infinity, where these are NaN
    Int bits;
    std::memcpy(&bits, &sum, sizeof bits);
    bits -= went_up ? (bits >> (8 * sizeof bits - 1)) | 1 : 0;  // 1 for a positive sum, -1 for a negative one
    std::memcpy(&sum, &bits, sizeof bits);
    return sum;
  }
};

}  // namespace dlbench
