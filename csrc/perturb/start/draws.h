// Random numbers of three kinds from 32 random bits each, by arithmetic that gives the same bits on every machine: what
// IEEE 754 rounds correctly (sums, products, square roots, conversions) and fused multiply-adds that are asked for by
// name. A product whose sum comes next is written fma(a, b, 0), for compilers may fuse a * b + c as they like.
#pragma once
#include <cmath>
#include <cstdint>

#include "perturb/bits.h"

namespace dlbench {

// Uniform in [-1, 1), of 24 bits.
DLBENCH_SHARED float uniform_draw(uint32_t word) {
  return float(int32_t(word >> 8)) * 0x1p-23f - 1.0f;  // an exact product
}

// Uniform in (0, 1], of the lower 31 bits: fine where it is small, so that tails reach far.
DLBENCH_SHARED float tail_draw(uint32_t word) {
  return std::fma(float(int32_t(word & 0x7fffffff)), 0x1p-31f, 0x1p-32f);
}

DLBENCH_SHARED float with_sign_of(float value, uint32_t word) {
  return real_of(bits_of(value) | int32_t(word & 0x80000000));
}

// -log(x) for normal x in (0, 1]. x = 2^e m with m in [sqrt(1/2), sqrt(2)), and the polynomial of Cephes' logf for m.
DLBENCH_SHARED float minus_log(float x) {
  constexpr int32_t root_half = 0x3f3504f3;
  const int32_t above = bits_of(x) - root_half;
  const float e = float(above >> 23), f = real_of((above & 0x7fffff) + root_half) - 1.0f;
  float p = 7.0376836292e-2f;
  p = std::fma(p, f, -1.1514610310e-1f);
  p = std::fma(p, f, 1.1676998740e-1f);
  p = std::fma(p, f, -1.2420140846e-1f);
  p = std::fma(p, f, 1.4249322787e-1f);
  p = std::fma(p, f, -1.6668057665e-1f);
  p = std::fma(p, f, 2.0000714765e-1f);
  p = std::fma(p, f, -2.4999993993e-1f);
  p = std::fma(p, f, 3.3333331174e-1f);
  p = std::fma(p, f, -0.5f);
  return -std::fma(e, 0x1.62e43p-1f, std::fma(p, f * f, f));  // log(2)
}

// Exponential, of mean 1, with either sign: density exp(-|v|) / 2.
DLBENCH_SHARED float exponential_draw(uint32_t word) { return with_sign_of(minus_log(tail_draw(word)), word); }

// Normal, of variance 1/2: density exp(-v^2) / sqrt(pi). The inverse of the error function by M. Giles, "Approximating
// the erfinv function", GPU Computing Gems, 2011: to 3e-7 of itself, and 4e-4 in tails of less than 1e-7.
DLBENCH_SHARED float normal_draw(uint32_t word) {
  const float tail = tail_draw(word), x = 1.0f - tail;
  const float w = minus_log(std::fma(tail, x, tail));  // 1 - x^2

  const float c = w - 2.5f;
  float central = 2.81022636e-08f;
  central = std::fma(central, c, 3.43273939e-07f);
  central = std::fma(central, c, -3.5233877e-06f);
  central = std::fma(central, c, -4.39150654e-06f);
  central = std::fma(central, c, 0.00021858087f);
  central = std::fma(central, c, -0.00125372503f);
  central = std::fma(central, c, -0.00417768164f);
  central = std::fma(central, c, 0.246640727f);
  central = std::fma(central, c, 1.50140941f);

  const float s = std::sqrt(w) - 3.0f;
  float outer = -0.000200214257f;
  outer = std::fma(outer, s, 0.000100950558f);
  outer = std::fma(outer, s, 0.00134934322f);
  outer = std::fma(outer, s, -0.00367342844f);
  outer = std::fma(outer, s, 0.00573950773f);
  outer = std::fma(outer, s, -0.0076224613f);
  outer = std::fma(outer, s, 0.00943887047f);
  outer = std::fma(outer, s, 1.00167406f);
  outer = std::fma(outer, s, 2.83297682f);

  return with_sign_of((w < 5.0f ? central : outer) * x, word);
}

}  // namespace dlbench
