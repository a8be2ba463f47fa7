// The float types in which a gradient may come, by their names in IEEE 754: their bits, and the numbers that these stand
// for.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "portable.h"

namespace dlbench {

template <typename To, typename From>
DLBENCH_SHARED To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

struct Binary64 {
  using Bits = uint64_t;
  static constexpr Bits kInfinity = 0x7ff0000000000000, kSmallestNormal = 0x0010000000000000;
  DLBENCH_SHARED static double number(Bits bits) { return same_bits<double>(bits); }
};

struct Binary32 {
  using Bits = uint32_t;
  static constexpr Bits kInfinity = 0x7f800000, kSmallestNormal = 0x00800000;
  DLBENCH_SHARED static double number(Bits bits) { return same_bits<float>(bits); }
};

struct Brain16 {
  using Bits = uint16_t;
  static constexpr Bits kInfinity = 0x7f80, kSmallestNormal = 0x0080;
  DLBENCH_SHARED static double number(Bits bits) { return same_bits<float>(uint32_t(bits) << 16); }
};

struct Binary16 {
  using Bits = uint16_t;
  static constexpr Bits kInfinity = 0x7c00, kSmallestNormal = 0x0400;
  // As the bits of a float, exponent and fraction are too small by the difference of the two types' biases.
  DLBENCH_SHARED static double number(Bits bits) {
    const uint32_t sign = uint32_t(bits & 0x8000) << 16, magnitude = uint32_t(bits & 0x7fff) << 13;
    return same_bits<float>(sign | magnitude) * 0x1p112;
  }
};

template <typename Format>
DLBENCH_SHARED typename Format::Bits magnitude(typename Format::Bits bits) {
  constexpr auto sign_bit = typename Format::Bits(1) << (8 * sizeof(bits) - 1);
  return bits & static_cast<typename Format::Bits>(~sign_bit);
}

template <typename Format>
DLBENCH_SHARED bool negative(typename Format::Bits bits) {
  return bits >> (8 * sizeof(bits) - 1);
}

// A gradient's element; 0 where it is infinite or NaN.
template <typename Format>
DLBENCH_SHARED double finite(typename Format::Bits bits) {
  return magnitude<Format>(bits) < Format::kInfinity ? Format::number(bits) : 0.0;
}

// Whether sums of squares of this type may leave double's range, so that the gradient must be scaled first.
template <typename Format>
constexpr bool kNeedsScale = sizeof(typename Format::Bits) == 8;

// The power of two that brings numbers up to `largest` near 1.
DLBENCH_SHARED double scale_for(double largest) {
  int exponent = 0;
  frexp(largest, &exponent);
  return ldexp(1.0, exponent < -1022 ? 1022 : -exponent);
}

}  // namespace dlbench
