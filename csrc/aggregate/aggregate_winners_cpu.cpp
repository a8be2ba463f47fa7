#include "aggregate/aggregate.h"

namespace dlbench {
namespace {

// The winners' sources lie anywhere in memory: they are asked for this many rows before they are needed.
constexpr int64_t kRowsAhead = 4;

// Of a row of few edges each is compared with all winners, a vector of them at a time, where the sums lie nearby: from
// farther away more lines would be fetched so.
constexpr int64_t kFewEdges = 12, kNear = 1 << 20;

}  // namespace

template <typename Real, typename Index>
void scatter_winners_cpu(const Csr<Index>& graph, const Real* grad, const Index* position, const Real* weight,
                         int64_t heads, int64_t features, Real* out, int64_t sources, int64_t begin, int64_t end) {
  const int64_t width = heads * features;
  const bool near = sources * width * int64_t(sizeof(Real)) <= kNear && (!weight || heads == 1);
  for (int64_t row = 0; row < graph.rows; ++row) {
    const Real* from = grad + row * width;
    const Index* winner = position + row * width;
    if (near && graph.edges_of(row) <= kFewEdges) {
      for (Index p = graph.rowptr[row]; p < graph.rowptr[row + 1]; ++p) {
        const Real factor = weight ? weight[graph.edge(p)] : Real(1);
        Real* to = out + graph.col[p] * width;
#pragma GCC ivdep
        for (int64_t f = begin; f < end; ++f) to[f] += winner[f] == p ? factor * from[f] : Real(0);
      }
      continue;
    }
    const int64_t ahead = row + kRowsAhead;
    if (ahead < graph.rows && graph.edges_of(ahead) > 0)
      for (int64_t f = begin; f < end; ++f)
        __builtin_prefetch(out + graph.col[position[ahead * width + f]] * width + f, 1);
    if (graph.edges_of(row) == 0) continue;
    if (!weight)
      for (int64_t f = begin; f < end; ++f) out[graph.col[winner[f]] * width + f] += from[f];
    else
      for (int64_t f = begin; f < end; ++f)
        out[graph.col[winner[f]] * width + f] += weight[graph.edge(winner[f]) * heads + f / features] * from[f];
  }
}

template <typename Real, typename Index>
void winner_dots_cpu(const Csr<Index>& graph, const Real* grad, const Real* x, const Index* position, int64_t heads,
                     int64_t features, Real* out, int64_t begin, int64_t end) {
  const int64_t width = heads * features;
  for (int64_t row = begin; row < end; ++row) {
    if (graph.edges_of(row) == 0) continue;
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t f = h * features; f < (h + 1) * features; ++f) {
        const int64_t p = position[row * width + f];
        out[graph.edge(p) * heads + h] += grad[row * width + f] * x[graph.col[p] * width + f];
      }
  }
}

#define DLBENCH_INSTANTIATE(Real, Index)                                                                               \
  template void scatter_winners_cpu(const Csr<Index>&, const Real*, const Index*, const Real*, int64_t, int64_t, Real*, \
                                    int64_t, int64_t, int64_t);                                                                 \
  template void winner_dots_cpu(const Csr<Index>&, const Real*, const Real*, const Index*, int64_t, int64_t, Real*,     \
                                int64_t, int64_t);
DLBENCH_INSTANTIATE(float, int32_t)
DLBENCH_INSTANTIATE(float, int64_t)
DLBENCH_INSTANTIATE(double, int32_t)
DLBENCH_INSTANTIATE(double, int64_t)

}  // namespace dlbench
