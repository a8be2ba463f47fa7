// The bits of a float as an integer, and back; and the numbers that code for the GPU cannot ask std::numeric_limits for.
#pragma once
#include <cstdint>
#include <cstring>
#include <limits>

#include "portable.h"

namespace dlbench {

template <typename Real>
constexpr Real kLargest = std::numeric_limits<Real>::max();
template <typename Real>
constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
template <typename Real>
constexpr Real kNan = std::numeric_limits<Real>::quiet_NaN();

template <typename To, typename From>
DLBENCH_SHARED To reinterpreted(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

DLBENCH_SHARED int32_t bits_of(float value) { return reinterpreted<int32_t>(value); }
DLBENCH_SHARED int64_t bits_of(double value) { return reinterpreted<int64_t>(value); }
DLBENCH_SHARED float real_of(int32_t bits) { return reinterpreted<float>(bits); }
DLBENCH_SHARED double real_of(int64_t bits) { return reinterpreted<double>(bits); }

}  // namespace dlbench
