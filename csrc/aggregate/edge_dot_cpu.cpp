#include "aggregate/edge_dot.h"

#include <algorithm>
#include <cstring>

#include "aggregate/simd.h"

namespace dlbench {
namespace {

// As in aggregate_cpu.cpp: a neighbour's features are asked for this many edges before they are needed, line by line.
constexpr int64_t kAhead = 8;
constexpr int64_t kLineBytes = 64;

// <a, b> + the lanes of `sum`. Full vectors first; then the sum is folded to half its lanes, with which the rest of the
// features is taken up, and so on down to one lane. The folding is the horizontal sum that is needed anyway.
template <int Lanes, typename Real>
inline Real dot(typename Simd<Real, Lanes>::Vector sum, const Real* a, const Real* b, int64_t n) {
  using S = Simd<Real, Lanes>;
  for (; n >= Lanes; n -= Lanes, a += Lanes, b += Lanes) sum += S::load(a) * S::load(b);
  if constexpr (Lanes == 1) {
    return sum[0];
  } else {
    typename Simd<Real, Lanes / 2>::Vector low, high;
    std::memcpy(&low, &sum, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&sum) + sizeof low, sizeof high);
    return dot<Lanes / 2>(low + high, a, b, n);
  }
}

}  // namespace

template <typename Real, typename Index>
void edge_dot_cpu(const Csr<Index>& graph, const Real* a, const Real* b, Real* out, int64_t features, int64_t begin,
                  int64_t end) {
  constexpr int lanes = kLanes<Real>;
  const typename Simd<Real, lanes>::Vector zero{};
  const int64_t last_known = graph.rowptr[end] - 1;
  for (int64_t row = begin; row < end; ++row) {
    const Real* target = a + row * features;
    for (int64_t p = graph.rowptr[row]; p < graph.rowptr[row + 1]; ++p) {
      const Real* ahead = b + graph.col[std::min(p + kAhead, last_known)] * features;
      for (int64_t f = 0; f < features; f += kLineBytes / sizeof(Real)) __builtin_prefetch(ahead + f);
      out[graph.edge(p)] = dot<lanes>(zero, target, b + graph.col[p] * features, features);
    }
  }
}

#define DLBENCH_INSTANTIATE(Real, Index) \
  template void edge_dot_cpu(const Csr<Index>&, const Real*, const Real*, Real*, int64_t, int64_t, int64_t);
DLBENCH_INSTANTIATE(float, int32_t)
DLBENCH_INSTANTIATE(float, int64_t)
DLBENCH_INSTANTIATE(double, int32_t)
DLBENCH_INSTANTIATE(double, int64_t)

}  // namespace dlbench
