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

}  // namespace dlbench
