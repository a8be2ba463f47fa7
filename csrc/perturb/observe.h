// What a step can tell about its samples while they are in the cache anyway: a hash of the new state, which finds an
// attack that has come back to where it was, and a tally of the gradients that are no ordinary numbers.
#pragma once
#include <cstdint>
#include <cstring>

#include "portable.h"

namespace dlbench {

// The finaliser of splitmix64 (Steele, Lea & Flood 2014).
DLBENCH_SHARED uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// One element's share of its sample's hash. The hash is the sum of all shares modulo 2^64, so that their order, and
// with it the number of threads and the device, cannot matter; two states agree in it by chance once in 2^64.
template <typename Word>
DLBENCH_SHARED uint64_t hash_share(Word bits, int64_t place) {
  return mixed(uint64_t(bits) + uint64_t(place + 1) * 0x9e3779b97f4a7c15u);
}

// The bits that tell the kinds of numbers of a float type apart.
template <typename Bits>
struct FloatBits {
  Bits infinity, smallest_normal;
};

// Counts of gradients: zero, denormal, infinite, NaN.
constexpr int kKinds = 4;

template <typename Bits>
DLBENCH_SHARED bool is_kind(int which, Bits grad, FloatBits<Bits> kind) {
  constexpr Bits sign_bit = Bits(1) << (8 * sizeof(Bits) - 1);
  const Bits magnitude = grad & Bits(~sign_bit);
  switch (which) {
    case 0:
      return magnitude == 0;
    case 1:
      return Bits(magnitude - 1) < Bits(kind.smallest_normal - 1);
    case 2:
      return magnitude == kind.infinity;
    default:
      return magnitude > kind.infinity;
  }
}

// Where to put it; null where nobody asks.
struct Observers {
  uint64_t* hash;  // [samples], added to
  int64_t* tally;  // [samples, kKinds], added to

  DLBENCH_SHARED bool any() const { return hash != nullptr || tally != nullptr; }
};

// n elements of a sample, the first of which is its `place`-th.
template <typename Real>
uint64_t hash_cpu(const Real* state, int64_t place, int64_t n);

// Adds to a sample's tally, which other threads may do as well.
template <typename Bits>
void tally_cpu(const Bits* grad, int64_t n, FloatBits<Bits> kind, int64_t tally[kKinds]);

}  // namespace dlbench
