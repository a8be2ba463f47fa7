// Sums of numbers in double, a vector at a time.
#pragma once
#include <cstring>

#include "simd.h"

namespace dlbench {

// Halves are added until one number is left.
template <int Lanes>
inline double total_of(VectorOf<Lanes, double> v) {
  if constexpr (Lanes == 2)
    return v[0] + v[1];
  else
    return total_of<Lanes / 2>(low_half<Lanes, double>(v) + high_half<Lanes, double>(v));
}

// A sum of doubles, a vector of numbers at a time.
template <typename Real>
class Total {
 public:
  template <typename Term>
  void add(typename Lanes<Real>::Vector numbers, Term term) {
    const auto wide = __builtin_convertvector(numbers, typename Simd<double, kLanes<Real>>::Vector);
    Doubles parts[kParts];
    std::memcpy(parts, &wide, sizeof parts);
    for (int i = 0; i < kParts; ++i) sums_[i] += term(parts[i]);
  }
  void add(typename Lanes<Real>::Vector numbers) {
    add(numbers, [](Doubles part) { return part; });
  }

  double value() const {
    Doubles all = sums_[0];
    for (int i = 1; i < kParts; ++i) all += sums_[i];
    return total_of<kLanes<double>>(all);
  }

 private:
  using Doubles = Lanes<double>::Vector;
  static constexpr int kParts = sizeof(double) / sizeof(Real);
  Doubles sums_[kParts] = {};
};

// How many numbers are added in their own type before the sum goes on in double: in float, four rounding errors of a
// square's are half of what lies between the radii.
template <typename Real>
constexpr int kRun = sizeof(Real) == 4 ? 4 : 1;

}  // namespace dlbench
