// The mean first and then the squares about it, while the row's sources are in the cache: the difference of the mean
// square and the squared mean would be all rounding where the mean is large. What chunks found is combined by
//
//     squares = sum over chunks of (squares of the chunk + size of the chunk * (its mean - mean)^2)
//
// (Chan, Golub & LeVeque, The American Statistician, 1983).
#include <cmath>

#include "aggregate/aggregate_strips.h"

namespace dlbench {
namespace {

template <int Lanes, int Vectors, Weights kind>
struct Std {
  template <typename Element, typename Index>
  static void run(const Strip<Vectors, Element, Index>& strip, Mark begin, Mark end) {
    using Real = Widened<Element>;
    const auto& task = strip.task;
    const int64_t edges = task.graph.rowptr[task.graph.rows];
    task.graph.between(begin, end, [&](int64_t row, int64_t first, int64_t last, int64_t chunk) {
      VectorOf<Lanes, Real> mean[Vectors] = {}, squares[Vectors] = {};
      strip.template each_message<Lanes, kind>(
          first, last, [&](int v, auto message, int64_t) __attribute__((always_inline)) { mean[v] += message; });
      const Real count = std::max<int64_t>(last - first, 1);
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) mean[v] /= count;
      strip.template each_message<Lanes, kind>(
          first, last, [&](int v, auto message, int64_t) __attribute__((always_inline)) {
            squares[v] += (message - mean[v]) * (message - mean[v]);
          });
      if (chunk >= 0) {
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) {
          Simd<Real, Lanes>::store(task.of_chunk(chunk) + strip.from + strip.offset[v], mean[v]);
          Simd<Real, Lanes>::store(task.also_of_chunk(chunk, edges) + strip.from + strip.offset[v], squares[v]);
        }
        return;
      }
      Element* out = task.out + row * task.width() + strip.from;
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) {
        // One message differs from itself by nothing, but by its rounding where it was multiplied and added at once.
        VectorOf<Lanes, Real> deviation = last - first == 1 ? mean[v] - mean[v] : squares[v] / count;
        for (int k = 0; k < Lanes; ++k) deviation[k] = std::sqrt(deviation[k]);
        store_narrowed<Lanes>(out + strip.offset[v], deviation);
      }
    });
  }
};

}  // namespace

template <typename Element, typename Index>
void std_cpu(const Aggregation<Element, Index>& task, Mark begin, Mark end) {
  Strips<Std, kStripVectors / 2, false, Element, Index>::run(task, begin, end);
}

template <typename Element, typename Index>
void combine_std_cpu(const Aggregation<Element, Index>& task, int64_t row) {
  using Real = Widened<Element>;
  const Csr<Index>& graph = task.graph;
  const int64_t first = graph.first_chunk(row), chunks = graph.chunks_of(row), count = graph.edges_of(row);
  const int64_t width = task.width(), edges = graph.rowptr[graph.rows];
  const auto size = [&](int64_t k) { return Real(k + 1 < chunks ? kChunk : count - k * kChunk); };
  for (int64_t f = 0; f < width; ++f) {
    Real mean = 0, squares = 0;
    for (int64_t k = 0; k < chunks; ++k) mean += size(k) / count * task.of_chunk(first + k)[f];
    for (int64_t k = 0; k < chunks; ++k) {
      const Real away = task.of_chunk(first + k)[f] - mean;
      squares += task.also_of_chunk(first + k, edges)[f] + size(k) * away * away;
    }
    task.out[row * width + f] = narrowed<Element>(std::sqrt(squares / count));
  }
}

#define DLBENCH_INSTANTIATE(Element, Index)                                \
  template void std_cpu(const Aggregation<Element, Index>&, Mark, Mark); \
  template void combine_std_cpu(const Aggregation<Element, Index>&, int64_t);
DLBENCH_FOR_ALL_ELEMENTS(DLBENCH_INSTANTIATE)

}  // namespace dlbench
