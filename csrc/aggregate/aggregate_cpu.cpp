#include "aggregate/aggregate.h"

#include <algorithm>

#include "aggregate/simd.h"

namespace dlbench {
namespace {

// A neighbour's features lie anywhere in memory, where no hardware prefetcher looks. They are asked for this many edges
// before they are needed.
constexpr int64_t kAhead = 12;

// A strip of features that fits in registers: there the sums live while the edges of a row pass by, so that an edge
// costs one load for each vector and the output is written once. AVX-512 comes with 32 registers, AVX with 16.
constexpr int kStripVectors = kVectorBytes == 64 ? 16 : 8;

template <typename Real, typename Index>
struct Task {
  const Csr<Index>& graph;
  const Real* x;
  const Real* weight;
  Real* out;
  int64_t features, begin, end;
};

// Features [from, from + width) of each row, in `Vectors` vectors. The last one ends where the strip ends, and so may
// overlap the one before it: the same features are summed twice in the same order, which spares a special tail.
template <int Lanes, int Vectors, bool Weighted, typename Real, typename Index>
void sum_strip(const Task<Real, Index>& task, int64_t from, int64_t width) {
  using S = Simd<Real, Lanes>;
  const Csr<Index>& graph = task.graph;
  const int64_t features = task.features;
  const Real* x = task.x + from;
  Real* out = task.out + from;
  const int64_t last_known = graph.rowptr[task.end] - 1;
  int64_t offset[Vectors];
#pragma GCC unroll 16
  for (int v = 0; v < Vectors; ++v) offset[v] = v + 1 < Vectors ? v * Lanes : width - Lanes;

  for (int64_t row = task.begin; row < task.end; ++row) {
    typename S::Vector sum[Vectors];
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) sum[v] = typename S::Vector{};

    const int64_t end = graph.rowptr[row + 1];
    for (int64_t p = graph.rowptr[row]; p < end; ++p) {
      const Real* ahead = x + graph.col[std::min(p + kAhead, last_known)] * features;
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) __builtin_prefetch(ahead + offset[v]);

      const Real* source = x + graph.col[p] * features;
      if constexpr (Weighted) {
        const Real weight = task.weight[graph.edge(p)];
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) sum[v] += weight * S::load(source + offset[v]);
      } else {
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) sum[v] += S::load(source + offset[v]);
      }
    }
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) S::store(out + row * features + offset[v], sum[v]);
  }
}

// As many vectors as `width` needs, known when compiling.
template <int Lanes, int Vectors, bool Weighted, typename Real, typename Index>
void sum_width(const Task<Real, Index>& task, int64_t from, int64_t width) {
  if constexpr (Vectors > 1) {
    if (width <= (Vectors - 1) * Lanes) return sum_width<Lanes, Vectors - 1, Weighted>(task, from, width);
  }
  sum_strip<Lanes, Vectors, Weighted>(task, from, width);
}

// The widest vectors that the features fill at least once.
template <int Lanes, bool Weighted, typename Real, typename Index>
void sum_features(const Task<Real, Index>& task) {
  if constexpr (Lanes > 1) {
    if (task.features < Lanes) return sum_features<Lanes / 2, Weighted>(task);
  }
  constexpr int vectors = Lanes == kLanes<Real> ? kStripVectors : Lanes > 1 ? 2 : 1;
  // A last strip of fewer features than a vector has lanes begins earlier, in the strip before it.
  const int64_t widest = vectors * Lanes;
  for (int64_t from = 0; from < task.features; from += widest) {
    from = std::min(from, task.features - Lanes);
    sum_width<Lanes, vectors, Weighted>(task, from, std::min(widest, task.features - from));
  }
}

}  // namespace

template <typename Real, typename Index>
void aggregate_sum_cpu(const Csr<Index>& graph, const Real* x, const Real* weight, Real* out, int64_t features,
                       int64_t begin, int64_t end) {
  const Task<Real, Index> task{graph, x, weight, out, features, begin, end};
  weight ? sum_features<kLanes<Real>, true>(task) : sum_features<kLanes<Real>, false>(task);
}

#define DLBENCH_INSTANTIATE(Real, Index) \
  template void aggregate_sum_cpu(const Csr<Index>&, const Real*, const Real*, Real*, int64_t, int64_t, int64_t);
DLBENCH_INSTANTIATE(float, int32_t)
DLBENCH_INSTANTIATE(float, int64_t)
DLBENCH_INSTANTIATE(double, int32_t)
DLBENCH_INSTANTIATE(double, int64_t)

}  // namespace dlbench
