// Numbers of any float type as they lie in memory, and the type in which to compute with them. Half types come as their
// bits; arithmetic that every machine has widens them exactly.
#pragma once
#include <cstdint>

#include "perturb/bits.h"

namespace dlbench {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

DLBENCH_SHARED double widened(double x) { return x; }
DLBENCH_SHARED float widened(float x) { return x; }
DLBENCH_SHARED float widened(BFloat16 x) { return real_of(int32_t(uint32_t(x.bits) << 16)); }

// With the exponent's five bits where eight are read, the number is 2^112 times too small, denormal ones included; only
// infinities and NaNs then lack the upper three.
DLBENCH_SHARED float widened(Half x) {
  const int32_t magnitude = (x.bits & 0x7fff) << 13, sign = int32_t(uint32_t(x.bits & 0x8000) << 16);
  const int32_t bits = bits_of(real_of(magnitude) * 0x1p112f);
  return real_of(sign | bits | ((x.bits & 0x7c00) == 0x7c00 ? 0x7f800000 : 0));
}

template <typename Element>
using Widened = decltype(widened(Element()));

// The nearest number of a type, of two equally near ones the even one.
template <typename Element>
DLBENCH_SHARED Element narrowed(Widened<Element> x) {
  return x;
}

template <>
DLBENCH_SHARED BFloat16 narrowed<BFloat16>(float x) {
  const uint32_t bits = bits_of(x);
  if (x != x) return {uint16_t(bits >> 16 | 0x40)};  // rounded, the bits of a NaN might be those of an infinity
  return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

// Beside 1/2 a float has as many places after the point as the smallest halves have: adding it rounds them. All others
// are rounded as integers, whose carry may raise the exponent, up to that of infinity.
template <>
DLBENCH_SHARED Half narrowed<Half>(float x) {
  const uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {uint16_t(sign | 0x7e00)};
  if (magnitude < 0x38800000) return {uint16_t(sign | (bits_of(real_of(int32_t(magnitude)) + 0.5f) - 0x3f000000))};
  const uint32_t rounded = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
  return {uint16_t(sign | (rounded < 0x7c00 ? rounded : 0x7c00))};
}

}  // namespace dlbench
