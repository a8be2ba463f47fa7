// The steps of a softmax over values [edges, heads] that lie together, for every head by itself, on the CPU.
#pragma once
#include <cstdint>

#include "attention/exponential.h"

namespace dlbench {

template <typename Real>
inline void raise_to_largest(const Real* values, int64_t edges, int64_t heads, Real* largest) {
  for (int64_t e = 0; e < edges; ++e, values += heads)
    for (int64_t h = 0; h < heads; ++h) largest[h] = values[h] > largest[h] ? values[h] : largest[h];
}

// values = exp(values - largest); total += their sums.
template <typename Real>
inline void exponentiate(Real* values, int64_t edges, int64_t heads, const Real* largest, Real* total) {
  Real* value = values;
  for (int64_t e = 0; e < edges; ++e, value += heads)
    for (int64_t h = 0; h < heads; ++h) value[h] -= largest[h];
#pragma omp simd
  for (int64_t i = 0; i < edges * heads; ++i) values[i] = exponential(values[i]);
  for (int64_t e = 0; e < edges; ++e, values += heads)
    for (int64_t h = 0; h < heads; ++h) total[h] += values[h];
}

// A total is 0 only where nothing was above -inf.
template <typename Real>
inline Real inverse_of(Real total) {
  return total == 0 ? 0 : 1 / total;
}

}  // namespace dlbench
