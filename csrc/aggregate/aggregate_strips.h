// How the CPU's kernels go over the messages of a graph: a strip of features at a time, which fits in registers. There
// the results live while the edges of a row pass by, so that an edge costs one load for each vector and the output is
// written once.
#pragma once
#include <algorithm>

#include "aggregate/aggregate.h"
#include "aggregate/ahead.h"
#include "simd.h"

namespace dlbench {

// Features of so many bytes in all fit into a second cache of 1 MB, and are there without being asked for: to ask all the
// same took 15 to 25 % longer there, at 16 and 64 features of 2,708 nodes.
constexpr int64_t kNear = 768 << 10;

// Vectors that leave registers free for loads, where each feature has one running value. AVX-512 comes with 32, AVX with
// 16.
constexpr int kStripVectors = kVectorBytes == 64 ? 16 : 8;

// What a message is multiplied with: one number for all features of the strip, or one for each vector, which lies in one
// head. Where there are no weights the one number is 1, which changes no bit.
enum class Weights { one, by_head };

template <int Vectors, typename Element, typename Index>
struct Strip {
  const Aggregation<Element, Index>& task;
  const Widened<Element>* weight;  // of the strip's first head, or of all
  int64_t weight_pitch;            // from one edge to the next
  int64_t from;
  int64_t offset[Vectors];  // of each vector in the strip
  int64_t head[Vectors];

  // f(v, message, position relative to `first`) for the edges at [first, last) and the strip's vectors.
  template <int Lanes, Weights kind, typename F>
  __attribute__((always_inline)) void each_message(int64_t first, int64_t last, F f) const {
    const Csr<Index>& graph = task.graph;
    const int64_t pitch = task.width(), last_known = graph.rowptr[graph.rows] - 1;
    const Element* x = task.x + from;
    const Index* numbers = weight_pitch == 0 ? nullptr : graph.edge_id;
    const bool far = task.sources * pitch * int64_t(sizeof(Element)) > kNear;
    constexpr int64_t kAhead = edges_ahead(Vectors * Lanes * sizeof(Element));
    constexpr int vectors_a_line = std::max<int>(1, kLineBytes / (Lanes * sizeof(Element)));
    for (int64_t p = first; p < last; ++p) {
      if (far) {
        const Element* ahead = x + graph.col[std::min(p + kAhead, last_known)] * pitch;
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v)
          if (v % vectors_a_line == 0 || v + 1 == Vectors) __builtin_prefetch(ahead + offset[v]);
      }

      const Element* source = x + graph.col[p] * pitch;
      const Widened<Element>* scale = weight + (numbers ? int64_t(numbers[p]) : p) * weight_pitch;
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v)
        f(v, (kind == Weights::one ? *scale : scale[head[v]]) * load_widened<Lanes>(source + offset[v]), p - first);
    }
  }
};

// Kernel<Lanes, Vectors, kind>::run(strip, begin, end) over all features, in strips of at most `most` vectors; heads
// together where `by_heads`, or one by one. Indices of 64 bits, which only enormous graphs need, make do with narrow
// strips: every width is more code to compile.
template <template <int, int, Weights> class Kernel, int most, bool by_heads, typename Element, typename Index>
struct Strips {
  using Real = Widened<Element>;
  static constexpr int kWidest = sizeof(Index) == 4 ? most : 2;

  static void run(const Aggregation<Element, Index>& task, Mark begin, Mark end) {
    constexpr int lanes = kLanes<Real>;
    static constexpr Real one = 1;
    const Strips strips{task, begin, end, task.weight ? task.heads : 0};
    if (!task.weight) return strips.template over_features<lanes, Weights::one>(0, task.width(), &one);
    if constexpr (by_heads) {
      if (task.heads > 1 && task.features % lanes == 0)
        return strips.template over_features<lanes, Weights::by_head>(0, task.width(), task.weight);
    }
    for (int64_t h = 0; h < task.heads; ++h)
      strips.template over_features<lanes, Weights::one>(h * task.features, (h + 1) * task.features, task.weight + h);
  }

  // The widest vectors that the features fill at least once. A last strip of fewer features than a vector has lanes
  // begins earlier, in the strip before it.
  template <int Lanes, Weights kind>
  void over_features(int64_t first, int64_t last, const Real* weight) const {
    if constexpr (Lanes > 1 && kind == Weights::one) {
      if (last - first < Lanes) return over_features<Lanes / 2, kind>(first, last, weight);
    }
    constexpr int vectors = Lanes == kLanes<Real> ? kWidest : 1;
    for (int64_t from = first; from < last; from += vectors * Lanes) {
      from = std::min(from, last - Lanes);
      strip<Lanes, vectors, kind>(from, std::min<int64_t>(vectors * Lanes, last - from), weight);
    }
  }

  // Enough vectors for `width`, a number known when compiling. None reaches over the strip's end: the last ones may
  // overlap those before them, and the same features are reduced twice in the same order, which spares a special tail.
  template <int Lanes, int Vectors, Weights kind>
  void strip(int64_t from, int64_t width, const Real* weight) const {
    if constexpr (Vectors > 1) {
      if (width <= Vectors / 2 * Lanes) return strip<Lanes, Vectors / 2, kind>(from, width, weight);
    }
    Strip<Vectors, Element, Index> strip{task, weight, weight_pitch, from, {}, {}};
    for (int v = 0; v < Vectors; ++v) {
      strip.offset[v] = std::min<int64_t>(v * Lanes, width - Lanes);
      strip.head[v] = (from + strip.offset[v]) / task.features;
    }
    Kernel<Lanes, Vectors, kind>::run(strip, begin, end);
  }

  const Aggregation<Element, Index>& task;
  Mark begin, end;
  int64_t weight_pitch;
};

// The three families, each in a file of its own.
template <typename Element, typename Index>
void sum_cpu(const Aggregation<Element, Index>& task, Mark begin, Mark end);
template <typename Element, typename Index>
void max_cpu(const Aggregation<Element, Index>& task, Mark begin, Mark end);
template <typename Element, typename Index>
void std_cpu(const Aggregation<Element, Index>& task, Mark begin, Mark end);
template <typename Element, typename Index>
void combine_sum_cpu(const Aggregation<Element, Index>& task, int64_t row);
template <typename Element, typename Index>
void combine_max_cpu(const Aggregation<Element, Index>& task, int64_t row);
template <typename Element, typename Index>
void combine_std_cpu(const Aggregation<Element, Index>& task, int64_t row);

}  // namespace dlbench
