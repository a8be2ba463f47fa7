#include "attention/edge_softmax.h"

#include <algorithm>
#include <vector>

#include "attention/exponential.h"
#include "attention/softmax_rows.h"

namespace dlbench {

template <typename Real, typename Index>
void edge_softmax_cpu(const Csr<Index>& graph, const Real* scores, Real* out, int64_t heads, int64_t begin,
                      int64_t end) {
  std::vector<Real> row, largest(heads), factor(heads);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t first = graph.rowptr[i], edges = graph.rowptr[i + 1] - first;
    if (int64_t(row.size()) < edges * heads) row.resize(edges * heads);
    for (int64_t e = 0; e < edges; ++e) {
      const Real* from = scores + graph.edge(first + e) * heads;
      std::copy(from, from + heads, row.data() + e * heads);
    }
    std::fill(largest.begin(), largest.end(), -kInfinity<Real>);
    raise_to_largest(row.data(), edges, heads, largest.data());
    std::replace(largest.begin(), largest.end(), -kInfinity<Real>, Real(0));
    std::fill(factor.begin(), factor.end(), Real(0));
    exponentiate(row.data(), edges, heads, largest.data(), factor.data());
    for (Real& total : factor) total = inverse_of(total);
    for (int64_t e = 0; e < edges; ++e) {
      Real* to = out + graph.edge(first + e) * heads;
      for (int64_t h = 0; h < heads; ++h) to[h] = row[e * heads + h] * factor[h];
    }
  }
}

template <typename Real, typename Index>
void edge_total_cpu(const Csr<Index>& graph, const Real* values, Real* out, int64_t heads, int64_t begin, int64_t end) {
  std::vector<Real> total(heads);
  for (int64_t i = begin; i < end; ++i) {
    std::fill(total.begin(), total.end(), Real(0));
    for (int64_t p = graph.rowptr[i]; p < graph.rowptr[i + 1]; ++p) {
      const Real* from = values + graph.edge(p) * heads;
      for (int64_t h = 0; h < heads; ++h) total[h] += from[h];
    }
    for (int64_t p = graph.rowptr[i]; p < graph.rowptr[i + 1]; ++p)
      std::copy(total.begin(), total.end(), out + graph.edge(p) * heads);
  }
}

#define DLBENCH_INSTANTIATE(Real, Index)                                                                    \
  template void edge_softmax_cpu(const Csr<Index>&, const Real*, Real*, int64_t, int64_t, int64_t);         \
  template void edge_total_cpu(const Csr<Index>&, const Real*, Real*, int64_t, int64_t, int64_t);
DLBENCH_INSTANTIATE(float, int32_t)
DLBENCH_INSTANTIATE(float, int64_t)
DLBENCH_INSTANTIATE(double, int32_t)
DLBENCH_INSTANTIATE(double, int64_t)

}  // namespace dlbench
