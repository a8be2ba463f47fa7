#include "attention/head_dots.h"

#include <algorithm>

#include "dot.h"

namespace dlbench {

template <typename Real>
void head_dots_cpu(const HeadDots<Real>& task, Real* const (&dots)[2], int64_t begin, int64_t end) {
  const auto [heads, features, x, vectors] = task;
  for (int64_t row = begin; row < end; ++row)
    for (int64_t h = 0; h < heads; ++h) {
      const Real* own = x + (row * heads + h) * features;
      dots[0][row * heads + h] = dot(own, vectors[0] + h * features, features);
      dots[1][row * heads + h] = dot(own, vectors[1] + h * features, features);
    }
}

template <typename Real>
void head_dots_backward_cpu(const HeadDots<Real>& task, const Real* const (&of_dots)[2], Real* of_x, Real* sums,
                            int64_t begin, int64_t end) {
  const auto [heads, features, x, vectors] = task;
  std::fill_n(sums, 2 * task.numbers(), Real(0));
  for (int64_t row = begin; row < end; ++row)
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t i = row * heads + h, head = h * features;
      const Real *own = x + i * features, *a = vectors[0] + head, *b = vectors[1] + head;
      const Real of_a = of_dots[0][i], of_b = of_dots[1][i];
      Real *to = of_x + i * features, *sum_a = sums + head, *sum_b = sum_a + task.numbers();
#pragma GCC ivdep
      for (int64_t f = 0; f < features; ++f) {
        to[f] += of_a * a[f] + of_b * b[f];
        sum_a[f] += of_a * own[f];
        sum_b[f] += of_b * own[f];
      }
    }
}

#define DLBENCH_INSTANTIATE(Real)                                                                             \
  template void head_dots_cpu(const HeadDots<Real>&, Real* const (&)[2], int64_t, int64_t);                   \
  template void head_dots_backward_cpu(const HeadDots<Real>&, const Real* const (&)[2], Real*, Real*, int64_t, \
                                       int64_t);
DLBENCH_INSTANTIATE(float)
DLBENCH_INSTANTIATE(double)

}  // namespace dlbench
