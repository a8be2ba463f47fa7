#include "attention/weighted_rows.h"

#include "simd.h"

namespace dlbench {
namespace {

// How many vectors of a sum stay in registers while the rows pass by: some heads times some vectors of each. Enough to
// keep the adders busy, and not more than there are registers for, with two sums.
constexpr int kHeld = kVectorBytes == 64 ? 8 : 4;
constexpr int kStripVectors = 4;

// `Heads` heads from `head` on, features [from, from + width) of each in `Vectors` vectors. The last one ends where the
// strip ends, and so may overlap the one before it: both load what was there, add the same, and store the same.
template <int Lanes, int Vectors, int Heads, int Sums, typename Real>
void add_strip(const WeightedRows<Real>& task, int64_t head, int64_t from, int64_t width) {
  using S = Simd<Real, Lanes>;
  int64_t offset[Heads * Vectors];
  for (int h = 0; h < Heads; ++h)
    for (int v = 0; v < Vectors; ++v)
      offset[h * Vectors + v] = (head + h) * task.features + from + (v + 1 < Vectors ? v * Lanes : width - Lanes);

  typename S::Vector sum[Sums][Heads * Vectors];
#pragma GCC unroll 16
  for (int v = 0; v < Heads * Vectors; ++v)
    for (int s = 0; s < Sums; ++s) sum[s][v] = S::load(task.sums[s] + offset[v]);
  for (int64_t i = 0; i < task.count; ++i) {
    const Real* row = task.rows[i];
    const int64_t weight = i * task.heads + head;
#pragma GCC unroll 16
    for (int v = 0; v < Heads * Vectors; ++v) {
      const typename S::Vector features = S::load(row + offset[v]);
#pragma GCC unroll 2
      for (int s = 0; s < Sums; ++s) sum[s][v] += task.weights[s][weight + v / Vectors] * features;
    }
  }
#pragma GCC unroll 16
  for (int v = 0; v < Heads * Vectors; ++v)
    for (int s = 0; s < Sums; ++s) S::store(task.sums[s] + offset[v], sum[s][v]);
}

// All heads, as many at once as `Heads` or fewer.
template <int Lanes, int Vectors, int Heads, int Sums, typename Real>
void add_heads(const WeightedRows<Real>& task, int64_t head, int64_t from, int64_t width) {
  for (; head + Heads <= task.heads; head += Heads)
    add_strip<Lanes, Vectors, Heads, Sums>(task, head, from, width);
  if constexpr (Heads > 1) add_heads<Lanes, Vectors, Heads / 2, Sums>(task, head, from, width);
}

constexpr int power_below(int n) { return n < 2 ? 1 : 2 * power_below(n / 2); }

// As many vectors as `width` needs, known when compiling.
template <int Lanes, int Vectors, int Sums, typename Real>
void add_width(const WeightedRows<Real>& task, int64_t from, int64_t width) {
  if constexpr (Vectors > 1) {
    if (width <= (Vectors - 1) * Lanes) return add_width<Lanes, Vectors - 1, Sums>(task, from, width);
  }
  add_heads<Lanes, Vectors, power_below(kHeld / Vectors), Sums>(task, 0, from, width);
}

// The widest vectors that the features fill at least once.
template <int Lanes, int Sums, typename Real>
void add_features(const WeightedRows<Real>& task) {
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

}  // namespace

template <int Sums, typename Real>
void add_weighted_rows(const WeightedRows<Real>& task) {
  add_features<kLanes<Real>, Sums>(task);
}

template void add_weighted_rows<1>(const WeightedRows<float>&);
template void add_weighted_rows<2>(const WeightedRows<float>&);
template void add_weighted_rows<1>(const WeightedRows<double>&);
template void add_weighted_rows<2>(const WeightedRows<double>&);

}  // namespace dlbench
