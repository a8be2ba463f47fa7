#include "aggregate/aggregate_strips.h"

namespace dlbench {
namespace {

template <int Lanes, int Vectors, Weights kind>
struct Sum {
  template <typename Element, typename Index>
  static void run(const Strip<Vectors, Element, Index>& strip, Mark begin, Mark end) {
    using Real = Widened<Element>;
    const auto& task = strip.task;
    const bool mean = task.reduction == Reduction::mean;
    task.graph.between(begin, end, [&](int64_t row, int64_t first, int64_t last, int64_t chunk) {
      VectorOf<Lanes, Real> sum[Vectors] = {};
      strip.template each_message<Lanes, kind>(
          first, last, [&](int v, auto message, int64_t) __attribute__((always_inline)) { sum[v] += message; });
      if (chunk >= 0) {
        Real* out = task.of_chunk(chunk) + strip.from;
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) Simd<Real, Lanes>::store(out + strip.offset[v], sum[v]);
        return;
      }
      if (mean && last - first > 1) {
        const Real count = last - first;
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) sum[v] /= count;
      }
      Element* out = task.out + row * task.width() + strip.from;
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) store_narrowed<Lanes>(out + strip.offset[v], sum[v]);
    });
  }
};

}  // namespace

template <typename Element, typename Index>
void sum_cpu(const Aggregation<Element, Index>& task, Mark begin, Mark end) {
  Strips<Sum, kStripVectors, true, Element, Index>::run(task, begin, end);
}

template <typename Element, typename Index>
void combine_sum_cpu(const Aggregation<Element, Index>& task, int64_t row) {
  const int64_t first = task.graph.first_chunk(row), chunks = task.graph.chunks_of(row), width = task.width();
  auto* total = task.of_chunk(first);
  for (int64_t k = 1; k < chunks; ++k)
    for (int64_t f = 0; f < width; ++f) total[f] += task.of_chunk(first + k)[f];
  const Widened<Element> count = task.reduction == Reduction::mean ? task.graph.edges_of(row) : 1;
  for (int64_t f = 0; f < width; ++f) task.out[row * width + f] = narrowed<Element>(total[f] / count);
}

#define DLBENCH_INSTANTIATE(Element, Index)                                \
  template void sum_cpu(const Aggregation<Element, Index>&, Mark, Mark); \
  template void combine_sum_cpu(const Aggregation<Element, Index>&, int64_t);
DLBENCH_FOR_ALL_ELEMENTS(DLBENCH_INSTANTIATE)

}  // namespace dlbench
