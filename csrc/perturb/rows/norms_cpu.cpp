#include "perturb/rows/norms.h"

namespace dlbench {
namespace {

// difference(i) for i in [0, n)
template <typename Difference>
NormParts parts_of(int64_t n, Difference difference) {
  double nonzeros = 0, sum = 0, squares = 0, most = 0;
#pragma omp simd reduction(+ : nonzeros, sum, squares) reduction(max : most)
  for (int64_t i = 0; i < n; ++i) {
    const double d = difference(i), size = std::fabs(d);
    nonzeros += d != 0 ? 1.0 : 0.0;
    sum += size;
    squares += d * d;
    most = size > most ? size : most;
  }
  return {nonzeros, sum, squares, most};
}

}  // namespace

template <typename Element>
void lp_norms_cpu(const NormsTask<Element>& task, int64_t begin, int64_t end) {
  const int64_t n = task.elements;
  for (int64_t row = begin; row < end; ++row) {
    const Element* a = task.a + row * n;
    const Element* b = task.b ? task.b + row * n : nullptr;
    const NormParts parts = b ? parts_of(n, [=](int64_t i) { return double(widened(a[i])) - widened(b[i]); })
                              : parts_of(n, [=](int64_t i) { return double(widened(a[i])); });
    parts.write(task.norms + 4 * row);
  }
}

template void lp_norms_cpu(const NormsTask<float>&, int64_t, int64_t);
template void lp_norms_cpu(const NormsTask<double>&, int64_t, int64_t);
template void lp_norms_cpu(const NormsTask<Half>&, int64_t, int64_t);
template void lp_norms_cpu(const NormsTask<BFloat16>&, int64_t, int64_t);

}  // namespace dlbench
