// Adds up weighted rows of features [heads, features], each head with weights of its own, to one or two sums.
#pragma once
#include <algorithm>
#include <cstdint>

#include "simd.h"

namespace dlbench {

// Heads: int64_t, or std::integral_constant where the compiler knows how many.
template <typename Real, typename Heads>
struct WeightedRows {
  const Real* const* rows;  // [count], wherever they lie
  const Real* weights[2];   // [count, heads] each
  Real* sums[2];            // [heads, features] each
  bool anew;                // whether the sums begin at 0, or with what is there
  int64_t count;
  Heads heads;
  int64_t features;
};

namespace weighted_rows {

// How many vectors of a sum stay in registers while the rows pass by: some heads times some vectors of each. Enough to
// keep the adders busy, and not more than there are registers for, with two sums.
constexpr int kHeld = kVectorBytes == 64 ? 8 : 4;
constexpr int kStripVectors = 4;

// `Together` heads from `head` on, features [from, from + width) of each in `Vectors` vectors. The last one ends where
// the strip ends, and so may overlap the one before it: both begin with the same, add the same, and store the same.
template <int Lanes, int Vectors, int Together, int Sums, typename Real, typename Heads>
void add_strip(const WeightedRows<Real, Heads>& task, int64_t head, int64_t from, int64_t width) {
  using S = Simd<Real, Lanes>;
  constexpr int kVectors = Together * Vectors;
  int64_t offset[kVectors];
  for (int h = 0; h < Together; ++h)
    for (int v = 0; v < Vectors; ++v)
      offset[h * Vectors + v] = (head + h) * task.features + from + (v + 1 < Vectors ? v * Lanes : width - Lanes);

  typename S::Vector sum[Sums][kVectors] = {};
  if (!task.anew) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      for (int s = 0; s < Sums; ++s) sum[s][v] = S::load(task.sums[s] + offset[v]);
  }
  for (int64_t i = 0; i < task.count; ++i) {
    const Real* row = task.rows[i];
    const int64_t weight = i * task.heads + head;
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const typename S::Vector features = S::load(row + offset[v]);
#pragma GCC unroll 2
      for (int s = 0; s < Sums; ++s) sum[s][v] += task.weights[s][weight + v / Vectors] * features;
    }
  }
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v)
    for (int s = 0; s < Sums; ++s) S::store(task.sums[s] + offset[v], sum[s][v]);
}

// All heads, as many at once as `Together` or fewer.
template <int Lanes, int Vectors, int Together, int Sums, typename Real, typename Heads>
void add_heads(const WeightedRows<Real, Heads>& task, int64_t head, int64_t from, int64_t width) {
  for (; head + Together <= task.heads; head += Together)
    add_strip<Lanes, Vectors, Together, Sums>(task, head, from, width);
  if constexpr (Together > 1) add_heads<Lanes, Vectors, Together / 2, Sums>(task, head, from, width);
}

constexpr int power_below(int n) { return n < 2 ? 1 : 2 * power_below(n / 2); }

// As many vectors as `width` needs, known when compiling.
template <int Lanes, int Vectors, int Sums, typename Real, typename Heads>
void add_width(const WeightedRows<Real, Heads>& task, int64_t from, int64_t width) {
  if constexpr (Vectors > 1) {
    if (width <= (Vectors - 1) * Lanes) return add_width<Lanes, Vectors - 1, Sums>(task, from, width);
  }
  add_heads<Lanes, Vectors, power_below(kHeld / Vectors), Sums>(task, 0, from, width);
}

// The widest vectors that the features fill at least once.
template <int Lanes, int Sums, typename Real, typename Heads>
void add_features(const WeightedRows<Real, Heads>& task) {
  if constexpr (Lanes > 1) {
    if (task.features < Lanes) return add_features<Lanes / 2, Sums>(task);
  }
  constexpr int vectors = Lanes == kLanes<Real> ? kStripVectors : Lanes > 1 ? 2 : 1;
  for (int64_t from = 0, width; from < task.features; from += width) {
    width = std::min<int64_t>(vectors * Lanes, task.features - from);
    const int64_t rest = task.features - from - width;
    if (rest > 0 && rest < Lanes) width -= Lanes;  // so that the last strip fills a vector
    add_width<Lanes, vectors, Sums>(task, from, width);
  }
}

}  // namespace weighted_rows

// To sums[0], and to sums[1] as well where `Sums` is 2. Real: float, double.
template <int Sums, typename Real, typename Heads>
inline void add_weighted_rows(const WeightedRows<Real, Heads>& task) {
  weighted_rows::add_features<kLanes<Real>, Sums>(task);
}

}  // namespace dlbench
