#include <cuda_runtime.h>

#include <algorithm>

#include "aggregate/aggregate.h"
#include "aggregate/lanes.cuh"
#include "pack.cuh"
#include "perturb/bits.h"

namespace dlbench {
namespace {

constexpr int kThreads = 256;

// `lanes` threads work on one row or chunk, each on N neighbouring features of it, and go over its edges in order: so a
// reduction has one order, needs no atomics, and stays in registers. Features beyond lanes * N are other blocks' (grid.y).
template <typename Element, typename Index, int N>
struct Team {
  using Real = Widened<Element>;
  const Aggregation<Element, Index>& task;
  int64_t edges, from;

  __device__ Real* partial(int64_t chunk) const { return task.partial + chunk * task.width() + from; }
  __device__ Real* also_partial(int64_t chunk) const { return partial(edges / kFineChunk + chunk); }

  // f(k, message of the k-th feature, position) for the edges at [first, last).
  template <typename F>
  __device__ void each_message(int64_t first, int64_t last, F f) const {
    const int64_t pitch = task.width(), head = from / task.features;
#pragma unroll 4
    for (int64_t p = first; p < last; ++p) {
      const auto source = *reinterpret_cast<const Pack<Element, N>*>(task.x + task.graph.col[p] * pitch + from);
      const Real scale = task.weight ? task.weight[task.graph.edge(p) * task.heads + head] : Real(1);
#pragma unroll
      for (int k = 0; k < N; ++k) f(k, scale * widened(source.element[k]), p);
    }
  }

  template <typename F>
  __device__ void store(int64_t row, F value) const {
    Pack<Element, N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) out.element[k] = narrowed<Element>(value(k));
    *reinterpret_cast<Pack<Element, N>*>(task.out + row * task.width() + from) = out;
  }
};

// What is kept of the edges seen so far. `row` and `chunk` write it down; `join` takes up a chunk that was written down.
template <int N, typename Real>
struct Sum {
  Real sum[N] = {};

  template <typename T>
  __device__ void take(const T& team, int64_t first, int64_t last) {
    team.each_message(first, last, [&](int k, Real message, int64_t) { sum[k] += message; });
  }
  template <typename T>
  __device__ void chunk(const T& team, int64_t chunk) const {
    for (int k = 0; k < N; ++k) team.partial(chunk)[k] = sum[k];
  }
  template <typename T>
  __device__ void join(const T& team, int64_t chunk, int64_t) {
    for (int k = 0; k < N; ++k) sum[k] += team.partial(chunk)[k];
  }
  template <typename T>
  __device__ void row(const T& team, int64_t row, int64_t count) const {
    const Real divisor = team.task.reduction == Reduction::mean && count > 1 ? count : 1;
    team.store(row, [&](int k) { return sum[k] / divisor; });
  }
};

// The mean and the squares about it, joined as in aggregate_std_cpu.cpp.
template <int N, typename Real>
struct Std {
  Real mean[N] = {}, squares[N] = {};
  int64_t count = 0;

  template <typename T>
  __device__ void take(const T& team, int64_t first, int64_t last) {
    count = last - first;
    if (count == 0) return;
    team.each_message(first, last, [&](int k, Real message, int64_t) { mean[k] += message; });
    for (int k = 0; k < N; ++k) mean[k] /= count;
    team.each_message(first, last, [&](int k, Real message, int64_t) {
      squares[k] += (message - mean[k]) * (message - mean[k]);
    });
  }
  template <typename T>
  __device__ void chunk(const T& team, int64_t chunk) const {
    for (int k = 0; k < N; ++k) team.partial(chunk)[k] = mean[k], team.also_partial(chunk)[k] = squares[k];
  }
  template <typename T>
  __device__ void join(const T& team, int64_t chunk, int64_t size) {
    for (int k = 0; k < N; ++k) {
      const Real away = team.partial(chunk)[k] - mean[k];
      squares[k] += team.also_partial(chunk)[k] + away * away * (Real(size) * count / (count + size));
      mean[k] += away * (Real(size) / (count + size));
    }
    count += size;
  }
  template <typename T>
  __device__ void row(const T& team, int64_t row, int64_t) const {
    team.store(row, [&](int k) {
      if (count == 1) return mean[k] - mean[k];  // as on the CPU; NaN for what is no number
      return count > 0 ? sqrt(squares[k] / count) : Real(0);
    });
  }
};

// Of a chunk, the place of the winner among the positions is written down as the bits of a real.
template <int N, typename Real>
struct Max {
  using Place = std::conditional_t<sizeof(Real) == 4, int32_t, int64_t>;
  Real best[N];
  int64_t place[N];
  bool any = false;

  __device__ void offer(int k, Real message, int64_t at, bool min) {
    const bool stays = any && ((min ? message >= best[k] : message <= best[k]) || best[k] != best[k]);
    best[k] = stays ? best[k] : message;
    place[k] = stays ? place[k] : at;
  }
  template <typename T>
  __device__ void take(const T& team, int64_t first, int64_t last) {
    const bool min = team.task.reduction == Reduction::min;
    team.each_message(first, last, [&](int k, Real message, int64_t p) {
      offer(k, message, p - first, min);
      any |= k == N - 1;
    });
  }
  template <typename T>
  __device__ void chunk(const T& team, int64_t chunk) const {
    for (int k = 0; k < N; ++k) {
      team.partial(chunk)[k] = best[k];
      team.also_partial(chunk)[k] = reinterpreted<Real>(Place(place[k]));
    }
  }
  template <typename T>
  __device__ void join(const T& team, int64_t chunk, int64_t) {
    for (int k = 0; k < N; ++k)
      offer(k, team.partial(chunk)[k], joined + reinterpreted<Place>(team.also_partial(chunk)[k]),
            team.task.reduction == Reduction::min);
    any = true;
    joined += kFineChunk;
  }
  template <typename T>
  __device__ void row(const T& team, int64_t row, int64_t) const {
    team.store(row, [&](int k) { return any ? best[k] : Real(0); });
    if (!team.task.position) return;
    auto* out = team.task.position + row * team.task.width() + team.from;
    for (int k = 0; k < N; ++k) out[k] = any ? team.task.graph.rowptr[row] + place[k] : team.edges;
  }

  int64_t joined = 0;  // edges of the chunks joined so far
};

// A row a team; those that are cut are left to the other two kernels.
template <template <int, typename> class Kept, int N, typename Element, typename Index>
__global__ void rows_kernel(Aggregation<Element, Index> task, int64_t edges, int lanes) {
  const int64_t row = int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
  const Team<Element, Index, N> team{task, edges, (int64_t(blockIdx.y) * lanes + threadIdx.x % lanes) * N};
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

// A chunk a team; numbers that are no row's are passed over.
template <template <int, typename> class Kept, int N, typename Element, typename Index>
__global__ void chunks_kernel(Aggregation<Element, Index> task, int64_t edges, int lanes) {
  const int64_t chunk = int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
  const Team<Element, Index, N> team{task, edges, (int64_t(blockIdx.y) * lanes + threadIdx.x % lanes) * N};
  if (chunk >= edges / kFineChunk || team.from >= task.width()) return;
  const int64_t row = row_of_chunk(task.graph, chunk);
  const int64_t k = chunk - task.graph.first_chunk(row, kFineChunk), chunks = task.graph.chunks_of(row, kFineChunk);
  if (k < 0 || k >= chunks) return;
  const int64_t first = task.graph.rowptr[row] + k * kFineChunk;
  Kept<N, Widened<Element>> kept;
  kept.take(team, first, k + 1 < chunks ? first + kFineChunk : int64_t(task.graph.rowptr[row + 1]));
  kept.chunk(team, chunk);
}

// The team of a row's first chunk joins them all, in their order.
template <template <int, typename> class Kept, int N, typename Element, typename Index>
__global__ void combine_kernel(Aggregation<Element, Index> task, int64_t edges, int lanes) {
  const int64_t chunk = int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
  const Team<Element, Index, N> team{task, edges, (int64_t(blockIdx.y) * lanes + threadIdx.x % lanes) * N};
  if (chunk >= edges / kFineChunk || team.from >= task.width()) return;
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
  const int64_t a_block = kThreads / lanes, chunks = edges / kFineChunk;
  const unsigned strips = (task.width() + lanes * N - 1) / (lanes * N);
  const auto blocks = [&](int64_t teams) { return dim3((teams + a_block - 1) / a_block, strips); };
  rows_kernel<Kept, N><<<blocks(task.graph.rows), kThreads, 0, stream>>>(task, edges, lanes);
  if (chunks < 2) return;  // no row is long enough to be cut
  chunks_kernel<Kept, N><<<blocks(chunks), kThreads, 0, stream>>>(task, edges, lanes);
  combine_kernel<Kept, N><<<blocks(chunks), kThreads, 0, stream>>>(task, edges, lanes);
}

template <int N, typename Element, typename Index>
void launch(const Aggregation<Element, Index>& task, int64_t edges, cudaStream_t stream) {
  switch (task.reduction) {
    case Reduction::sum:
    case Reduction::mean: return launch<Sum, N>(task, edges, stream);
    case Reduction::max:
    case Reduction::min: return launch<Max, N>(task, edges, stream);
    case Reduction::std: return launch<Std, N>(task, edges, stream);
  }
}

}  // namespace

template <typename Element, typename Index>
void aggregate_cuda(const Aggregation<Element, Index>& task, int64_t edges, CUstream_st* stream) {
  if (task.graph.rows == 0 || task.width() == 0) return;
  constexpr int N = 16 / sizeof(Element);
  if (task.features % N == 0 && aligned<Pack<Element, N>>(task.x) && aligned<Pack<Element, N>>(task.out))
    launch<N>(task, edges, stream);
  else
    launch<1>(task, edges, stream);
}

#define DLBENCH_INSTANTIATE(Element, Index) \
  template void aggregate_cuda(const Aggregation<Element, Index>&, int64_t, CUstream_st*);
DLBENCH_FOR_ALL_ELEMENTS(DLBENCH_INSTANTIATE)

}  // namespace dlbench
