// The parts of a random start, for the CPU and the GPU alike: what they share cannot differ in a bit.
#pragma once
#include <cmath>

#include "perturb/bits.h"
#include "perturb/start/draws.h"
#include "philox.h"
#include "perturb/start/random_start.h"

namespace dlbench {

// Four elements' random words.
template <typename Word>
DLBENCH_SHARED Words<Word> start_words(Stream of, uint32_t counter) {
  return philox<Word>({counter, of.restart, uint32_t(of.id), uint32_t(of.id >> 32)}, of.seed);
}

template <Norm norm>
DLBENCH_SHARED float start_draw(uint32_t word) {
  if constexpr (norm == Norm::linf) return uniform_draw(word);
  if constexpr (norm == Norm::l2) return normal_draw(word);
  if constexpr (norm == Norm::l1) return exponential_draw(word);
}

// |g|^p of a draw in units of 2^-26, of which no draw has 2^31; rounded down.
template <Norm norm>
DLBENCH_SHARED int32_t start_mass(float draw) {
  return int32_t((norm == Norm::l2 ? draw * draw : std::fabs(draw)) * 0x1p26f);
}

template <typename Real>
DLBENCH_SHARED Real checked_radius(Real eps) {
  return eps >= 0 && eps <= kLargest<Real> ? eps : kNan<Real>;
}

// What a sample's draws are multiplied with, by its limits and the sum of its masses.
template <Norm norm, typename Real>
DLBENCH_SHARED Real start_scale(const RandomStart<Real>& start, int64_t sample, const Limits<Real>& limits,
                                int64_t mass) {
  const double eps = checked_radius(limits.eps);
  if constexpr (norm == Norm::linf) return eps;

  const uint32_t word = start_words<uint32_t>(start.stream(sample), 0xffffffff).a;
  mass += start_mass<Norm::l1>(exponential_draw(word)) + start.batch.size() + 1;  // all that was rounded, upwards
  const double power = double(mass) * 0x1p-26;
  const double scale = eps * (1 - 0x1p-22) / (norm == Norm::l2 ? std::sqrt(power) : power);
  return scale < 0x1p-100 ? Real(0) : Real(scale > kLargest<Real> ? kLargest<Real> : scale);
}

// x + v rounded towards x. Knuth's TwoSum gives what rounding to nearest lost, as x_lost - v_lost; where that led beyond
// the sum, the result moves to its neighbour, which is one integer step away. Signs are factors, so that compilers see
// no branches and make vectors of it.
template <typename Real>
DLBENCH_SHARED Real add_towards(Real x, Real v) {
  const Real side = std::copysign(Real(1), v);
  const Real sum = x + v, v_seen = sum - x;
  const Real x_lost = x - (sum - v_seen), v_lost = v_seen - v;
  auto bits = bits_of(sum);
  const auto inwards = (bits < 0) == (v < 0) ? -1 : 1;
  bits += side * x_lost < side * v_lost ? inwards : 0;
  return real_of(bits);
}

template <typename Real>
DLBENCH_SHARED Real start_point(Real x, float draw, Real scale, Real lower, Real upper) {
  const Real v = std::fma(Real(draw), scale, Real(0));
  Real point = v == 0 ? x : add_towards(x, v);  // x + 0 would turn -0 into +0
  point = point < lower ? lower : point;
  point = point > upper ? upper : point;
  return x - x == 0 ? point : kNan<Real>;
}

}  // namespace dlbench
