// What a team of a GPU's threads does with the edges that it is given, however they are shared out.
#pragma once
#include <cuda_runtime.h>

#include <type_traits>

#include "aggregate/aggregate.h"
#include "aggregate/lanes.cuh"
#include "pack.cuh"
#include "perturb/bits.h"

namespace dlbench::aggregate_on_cuda {

constexpr int kThreads = 256;
constexpr int kAhead = 4;  // edges whose features are asked for before the first of them are there

// `lanes` threads work together, each on N neighbouring features, and go over edges in order: so a reduction has one
// order, needs no atomics, and stays in registers. Features beyond lanes * N are other blocks' (grid.y).
template <typename Element, typename Index, int N>
struct Team {
  using Real = Widened<Element>;
  const Aggregation<Element, Index>& task;
  int64_t edges, pieces, from;

  __device__ Real* partial(int64_t piece) const { return task.partial + piece * task.width() + from; }
  __device__ Real* also_partial(int64_t piece) const { return partial(pieces + piece); }

  // f(messages of the N features, position) for the edges at [first, last).
  template <typename F>
  __device__ void each_edge(int64_t first, int64_t last, F f) const {
    const int64_t pitch = task.width(), head = from / task.features;
    for (int64_t start = first; start < last; start += kAhead) {
      Pack<Element, N> source[kAhead];
      Real scale[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int64_t p = start + i;
        if (p >= last) break;
        source[i] = *reinterpret_cast<const Pack<Element, N>*>(task.x + task.graph.col[p] * pitch + from);
        scale[i] = task.weight ? task.weight[task.graph.edge(p) * task.heads + head] : Real(1);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (start + i >= last) break;
        Real message[N];
#pragma unroll
        for (int k = 0; k < N; ++k) message[k] = scale[i] * widened(source[i].element[k]);
        f(message, start + i);
      }
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

// What is kept of the edges seen so far. `add` takes up one more, the at-th of its piece, and `take` all of a piece;
// `write` writes a piece down, of which there are so many, and `join` takes up one that was written, in the order of
// the edges; `row` writes the result.
template <int N, typename Real>
struct Sum {
  Real sum[N] = {};

  template <typename T>
  __device__ void add(const T&, const Real (&message)[N], int64_t) {
    for (int k = 0; k < N; ++k) sum[k] += message[k];
  }
  template <typename T>
  __device__ void take(const T& team, int64_t first, int64_t last) {
    team.each_edge(first, last, [&](const Real (&message)[N], int64_t p) { add(team, message, p - first); });
  }
  template <typename T>
  __device__ void write(const T& team, int64_t piece) const {
    for (int k = 0; k < N; ++k) team.partial(piece)[k] = sum[k];
  }
  template <typename T>
  __device__ void join(const T& team, int64_t piece, int64_t) {
    for (int k = 0; k < N; ++k) sum[k] += team.partial(piece)[k];
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
    team.each_edge(first, last, [&](const Real (&message)[N], int64_t) {
      for (int k = 0; k < N; ++k) mean[k] += message[k];
    });
    for (int k = 0; k < N; ++k) mean[k] /= count;
    team.each_edge(first, last, [&](const Real (&message)[N], int64_t) {
      for (int k = 0; k < N; ++k) squares[k] += (message[k] - mean[k]) * (message[k] - mean[k]);
    });
  }
  template <typename T>
  __device__ void write(const T& team, int64_t piece) const {
    for (int k = 0; k < N; ++k) team.partial(piece)[k] = mean[k], team.also_partial(piece)[k] = squares[k];
  }
  template <typename T>
  __device__ void join(const T& team, int64_t piece, int64_t size) {
    for (int k = 0; k < N; ++k) {
      const Real away = team.partial(piece)[k] - mean[k];
      squares[k] += team.also_partial(piece)[k] + away * away * (Real(size) * count / (count + size));
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

// Of a piece, the place of the winner in it is written down as the bits of a real.
template <int N, typename Real>
struct Max {
  using Place = std::conditional_t<sizeof(Real) == 4, int32_t, int64_t>;
  Real best[N];
  int64_t place[N];
  bool any = false;
  int64_t joined = 0;  // edges of the pieces joined so far

  __device__ void offer(int k, Real message, int64_t at, bool min) {
    const bool stays = any && ((min ? message >= best[k] : message <= best[k]) || best[k] != best[k]);
    best[k] = stays ? best[k] : message;
    place[k] = stays ? place[k] : at;
  }
  template <typename T>
  __device__ void add(const T& team, const Real (&message)[N], int64_t at) {
    for (int k = 0; k < N; ++k) offer(k, message[k], at, team.task.reduction == Reduction::min);
    any = true;
  }
  template <typename T>
  __device__ void take(const T& team, int64_t first, int64_t last) {
    team.each_edge(first, last, [&](const Real (&message)[N], int64_t p) { add(team, message, p - first); });
  }
  template <typename T>
  __device__ void write(const T& team, int64_t piece) const {
    for (int k = 0; k < N; ++k) {
      team.partial(piece)[k] = best[k];
      team.also_partial(piece)[k] = reinterpreted<Real>(Place(place[k]));
    }
  }
  template <typename T>
  __device__ void join(const T& team, int64_t piece, int64_t size) {
    for (int k = 0; k < N; ++k)
      offer(k, team.partial(piece)[k], joined + reinterpreted<Place>(team.also_partial(piece)[k]),
            team.task.reduction == Reduction::min);
    any = true;
    joined += size;
  }
  template <typename T>
  __device__ void row(const T& team, int64_t row, int64_t) const {
    team.store(row, [&](int k) { return any ? best[k] : Real(0); });
    if (!team.task.position) return;
    auto* out = team.task.position + row * team.task.width() + team.from;
    for (int k = 0; k < N; ++k) out[k] = any ? team.task.graph.rowptr[row] + place[k] : team.edges;
  }
};

// Which team of a launch a thread is of, and the thread's part in it.
__device__ inline int64_t team_number(int lanes) {
  return int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
}
template <int N>
__device__ int64_t first_feature(int lanes) {
  return (int64_t(blockIdx.y) * lanes + threadIdx.x % lanes) * N;
}

// The blocks of so many teams of threads of N features.
template <int N>
dim3 blocks_for(int64_t teams, int64_t width, int lanes) {
  const int64_t a_block = kThreads / lanes;
  return dim3((teams + a_block - 1) / a_block, (width + lanes * N - 1) / (lanes * N));
}

// f(N, by a value that only carries it): as many features as 16 bytes hold where everything is aligned to that, or one.
template <typename Element, typename Index, typename F>
void visit_pack(const Aggregation<Element, Index>& task, F f) {
  constexpr int N = 16 / sizeof(Element);
  if (task.features % N == 0 && aligned<Pack<Element, N>>(task.x) && aligned<Pack<Element, N>>(task.out))
    f(std::integral_constant<int, N>());
  else
    f(std::integral_constant<int, 1>());
}

}  // namespace dlbench::aggregate_on_cuda
