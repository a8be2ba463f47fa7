// e^x for x that are not above 0, up to their rounding, as a softmax needs it. NaN stays, and what is below the smallest
// normal number is 0.
#pragma once
#include <cmath>

#include "perturb/bits.h"

namespace dlbench {

// x = n log(2) + r with |r| <= log(2) / 2, and the polynomial of Cephes' expf for r. Without a branch or a call, so that
// loops over it become vectors.
inline float exponential(float x) {
  constexpr float least = -87.33654f, shifter = 12582912.0f;  // log of the smallest normal; 3/2 2^23 rounds to integers
  const float held = x < least ? least : x;
  const float shifted = std::fma(held, 0x1.715476p0f, shifter), n = shifted - shifter;  // 1 / log(2)
  const float r = std::fma(n, 2.12194440e-4f, std::fma(n, -0.693359375f, held));
  float p = 1.9875691500e-4f;
  p = std::fma(p, r, 1.3981999507e-3f);
  p = std::fma(p, r, 8.3334519073e-3f);
  p = std::fma(p, r, 4.1665795894e-2f);
  p = std::fma(p, r, 1.6666665459e-1f);
  p = std::fma(p, r, 5.0000001201e-1f);
  p = std::fma(p, r * r, r) + 1.0f;
  const float power = real_of(int32_t((bits_of(shifted) - bits_of(shifter) + 127) << 23));
  return x < least ? 0.0f : p * power;
}

inline double exponential(double x) { return std::exp(x); }

}  // namespace dlbench
