// kShare rows and edges a team, wherever in a row that begins and ends.
#include "aggregate/kept.cuh"
#include "aggregate/split.h"

namespace dlbench {
namespace aggregate_on_cuda {
namespace {

// Rows that begin and end in a share are finished here. Of the others, the edges here are a piece that is written down:
// at 2 * share that of a row that began before the share, after it that of the row that begins in the share and ends
// later.
//
// All teams of a warp go over edges in one loop, in which rows end when they do: in a loop over rows with one over
// edges inside of it, all would wait at every row for the longest.
template <template <int, typename> class Kept, int N, typename Element, typename Index>
__global__ void shares_kernel(Aggregation<Element, Index> task, int64_t edges, int lanes) {
  using Real = Widened<Element>;
  const Csr<Index>& graph = task.graph;
  const int64_t share = team_number(lanes), shares = shares_of(graph.rows, edges);
  const Team<Element, Index, N> team{task, edges, pieces_of(Split::merged, graph.rows, edges), first_feature<N>(lanes)};
  if (share >= shares || team.from >= task.width()) return;
  const Mark begin = graph.merged_at(share * kShare, 0, graph.rows);
  const int64_t farthest = begin.row + kShare < graph.rows ? begin.row + kShare : graph.rows;
  const int64_t work = share + 1 < shares ? (share + 1) * kShare : graph.rows + edges;
  const Mark end = graph.merged_at(work, begin.row, farthest);

  // The row that edges belong to, the first of them that is kept, and where the row ends: for the last one nowhere.
  const auto end_of = [&](int64_t row) { return row < end.row ? int64_t(graph.rowptr[row + 1]) : edges + 1; };
  int64_t row = begin.row, first = begin.position, last = end_of(row);
  Kept<N, Real> kept;
  const auto finish_rows = [&](int64_t position) {
    while (last <= position) {
      if (graph.rowptr[row] == first)
        kept.row(team, row, last - first);
      else if (first < last)
        kept.write(team, 2 * share);
      kept = Kept<N, Real>();
      first = last;
      last = end_of(++row);
    }
  };
  team.each_edge(begin.position, end.position, [&](const Real (&message)[N], int64_t p) {
    finish_rows(p);
    kept.add(team, message, p - first);
  });
  finish_rows(end.position);
  if (first < end.position) kept.write(team, 2 * share + (graph.rowptr[row] == first));
}

// The team in whose share a row begins that ends later joins its pieces, in their order. What lies before a mark is
// known, share * kShare edges and ends of rows; so for marks inside of a known row no search is needed.
template <template <int, typename> class Kept, int N, typename Element, typename Index>
__global__ void join_kernel(Aggregation<Element, Index> task, int64_t edges, int lanes) {
  const Csr<Index>& graph = task.graph;
  const int64_t share = team_number(lanes), shares = shares_of(graph.rows, edges);
  const Team<Element, Index, N> team{task, edges, pieces_of(Split::merged, graph.rows, edges), first_feature<N>(lanes)};
  if (share + 1 >= shares || team.from >= task.width()) return;
  const Mark end = graph.merged_at((share + 1) * kShare, 0, graph.rows);
  if (end.row == graph.rows) return;
  const int64_t start = graph.rowptr[end.row], last = graph.rowptr[end.row + 1];
  const bool is_cut = end.position > start, begins_before = share * kShare - end.row > start;
  if (!is_cut || begins_before) return;
  Kept<N, Widened<Element>> kept;
  kept.join(team, 2 * share + 1, end.position - start);
#pragma unroll 4
  for (int64_t next = share + 1; next * kShare - end.row < last; ++next) {
    const int64_t left = last - (next * kShare - end.row);
    kept.join(team, 2 * next, left < kShare ? left : kShare);
  }
  kept.row(team, end.row, last - start);
}

template <template <int, typename> class Kept, int N, typename Element, typename Index>
void launch(const Aggregation<Element, Index>& task, int64_t edges, cudaStream_t stream) {
  const int lanes = lanes_for((task.width() + N - 1) / N);
  const int64_t shares = shares_of(task.graph.rows, edges);
  const dim3 blocks = blocks_for<N>(shares, task.width(), lanes);
  shares_kernel<Kept, N><<<blocks, kThreads, 0, stream>>>(task, edges, lanes);
  if (shares < 2) return;  // all rows end in the one
  join_kernel<Kept, N><<<blocks, kThreads, 0, stream>>>(task, edges, lanes);
}

}  // namespace
}  // namespace aggregate_on_cuda

template <typename Element, typename Index>
void aggregate_merged_cuda(const Aggregation<Element, Index>& task, int64_t edges, CUstream_st* stream) {
  using namespace aggregate_on_cuda;
  visit_pack(task, [&](auto n) {
    constexpr int N = decltype(n)::value;
    if (task.reduction == Reduction::max || task.reduction == Reduction::min)
      launch<Max, N>(task, edges, stream);
    else
      launch<Sum, N>(task, edges, stream);
  });
}

#define DLBENCH_INSTANTIATE(Element, Index) \
  template void aggregate_merged_cuda(const Aggregation<Element, Index>&, int64_t, CUstream_st*);
DLBENCH_FOR_ALL_ELEMENTS(DLBENCH_INSTANTIATE)

}  // namespace dlbench
