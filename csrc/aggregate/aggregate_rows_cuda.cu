// A row a team, and of long rows a chunk a team.
#include "aggregate/kept.cuh"
#include "aggregate/split.h"

namespace dlbench {
namespace aggregate_on_cuda {
namespace {

// Rows that are cut are left to the other two kernels.
template <template <int, typename> class Kept, int N, typename Element, typename Index>
__global__ void rows_kernel(Aggregation<Element, Index> task, int64_t edges, int lanes) {
  const int64_t row = team_number(lanes);
  const Team<Element, Index, N> team{task, edges, edges / kFineChunk, first_feature<N>(lanes)};
  if (row >= task.graph.rows || team.from >= task.width() || task.graph.chunks_of(row, kFineChunk) > 0) return;
  Kept<N, Widened<Element>> kept;
  kept.take(team, task.graph.rowptr[row], task.graph.rowptr[row + 1]);
  kept.row(team, row, task.graph.edges_of(row));
}

// The row of a chunk's number, which has it if anyone has: its end lies in that row.
template <typename Index>
__device__ int64_t row_of_chunk(const Csr<Index>& graph, int64_t chunk) {
  return graph.row_of((chunk + 1) * kFineChunk - 1);
}

// Numbers of chunks that are no row's are passed over.
template <template <int, typename> class Kept, int N, typename Element, typename Index>
__global__ void chunks_kernel(Aggregation<Element, Index> task, int64_t edges, int lanes) {
  const int64_t chunk = team_number(lanes);
  const Team<Element, Index, N> team{task, edges, edges / kFineChunk, first_feature<N>(lanes)};
  if (chunk >= team.pieces || team.from >= task.width()) return;
  const int64_t row = row_of_chunk(task.graph, chunk);
  const int64_t k = chunk - task.graph.first_chunk(row, kFineChunk), chunks = task.graph.chunks_of(row, kFineChunk);
  if (k < 0 || k >= chunks) return;
  const int64_t first = task.graph.rowptr[row] + k * kFineChunk;
  Kept<N, Widened<Element>> kept;
  kept.take(team, first, k + 1 < chunks ? first + kFineChunk : int64_t(task.graph.rowptr[row + 1]));
  kept.write(team, chunk);
}

// The team of a row's first chunk joins them all, in their order.
template <template <int, typename> class Kept, int N, typename Element, typename Index>
__global__ void combine_kernel(Aggregation<Element, Index> task, int64_t edges, int lanes) {
  const int64_t chunk = team_number(lanes);
  const Team<Element, Index, N> team{task, edges, edges / kFineChunk, first_feature<N>(lanes)};
  if (chunk >= team.pieces || team.from >= task.width()) return;
  const int64_t row = row_of_chunk(task.graph, chunk), count = task.graph.edges_of(row);
  const int64_t chunks = task.graph.chunks_of(row, kFineChunk);
  if (chunks == 0 || chunk != task.graph.first_chunk(row, kFineChunk)) return;
  Kept<N, Widened<Element>> kept;
  for (int64_t k = 0; k < chunks; ++k)
    kept.join(team, chunk + k, k + 1 < chunks ? kFineChunk : count - k * kFineChunk);
  kept.row(team, row, count);
}

template <template <int, typename> class Kept, int N, typename Element, typename Index>
void launch(const Aggregation<Element, Index>& task, int64_t edges, cudaStream_t stream) {
  const int lanes = lanes_for((task.width() + N - 1) / N);
  const int64_t chunks = edges / kFineChunk;
  const auto blocks = [&](int64_t teams) { return blocks_for<N>(teams, task.width(), lanes); };
  rows_kernel<Kept, N><<<blocks(task.graph.rows), kThreads, 0, stream>>>(task, edges, lanes);
  if (chunks < 2) return;  // no row is long enough to be cut
  chunks_kernel<Kept, N><<<blocks(chunks), kThreads, 0, stream>>>(task, edges, lanes);
  combine_kernel<Kept, N><<<blocks(chunks), kThreads, 0, stream>>>(task, edges, lanes);
}

}  // namespace
}  // namespace aggregate_on_cuda

template <typename Element, typename Index>
void aggregate_rows_cuda(const Aggregation<Element, Index>& task, int64_t edges, CUstream_st* stream) {
  using namespace aggregate_on_cuda;
  visit_pack(task, [&](auto n) {
    constexpr int N = decltype(n)::value;
    switch (task.reduction) {
      case Reduction::sum:
      case Reduction::mean: return launch<Sum, N>(task, edges, stream);
      case Reduction::max:
      case Reduction::min: return launch<Max, N>(task, edges, stream);
      case Reduction::std: return launch<Std, N>(task, edges, stream);
    }
  });
}

#define DLBENCH_INSTANTIATE(Element, Index) \
  template void aggregate_rows_cuda(const Aggregation<Element, Index>&, int64_t, CUstream_st*);
DLBENCH_FOR_ALL_ELEMENTS(DLBENCH_INSTANTIATE)

}  // namespace dlbench
