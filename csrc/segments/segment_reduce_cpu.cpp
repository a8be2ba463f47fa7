#include "segments/segment_reduce.h"

#include <algorithm>

#include "perturb/element.h"

namespace dlbench {
namespace {

// Features that are reduced at once, in registers while the rows of a segment pass by.
constexpr int64_t kStrip = 64;

template <typename Element, typename Real>
void sum_strip(const Element* x, int64_t stride, int64_t rows, int64_t width, Real divisor, Real* out) {
  Real sum[kStrip] = {};
  const auto add = [&](int64_t n) {
    for (int64_t row = 0; row < rows; ++row)
#pragma omp simd
      for (int64_t f = 0; f < n; ++f) sum[f] += Real(widened(x[row * stride + f]));
  };
  width == kStrip ? add(kStrip) : add(width);
  for (int64_t f = 0; f < width; ++f) out[f] = sum[f] / divisor;
}

template <SegmentReduction reduction, typename Element, typename Real>
void best_strip(const Element* x, int64_t stride, int64_t first, int64_t rows, int64_t width, Real* out, int64_t* arg) {
  Real best[kStrip];
  int64_t place[kStrip];
  for (int64_t f = 0; f < width; ++f) best[f] = widened(x[f]), place[f] = first;
  for (int64_t row = 1; row < rows; ++row)
#pragma omp simd
    for (int64_t f = 0; f < width; ++f) {
      const Real value = widened(x[row * stride + f]);
      const bool taken = takes_over<reduction>(value, best[f]);
      best[f] = taken ? value : best[f];
      place[f] = taken ? first + row : place[f];
    }
  std::copy_n(best, width, out);
  std::copy_n(place, width, arg);
}

}  // namespace

template <typename Element, typename Real, typename Index>
void segment_reduce_cpu(const Segments<Element, Real, Index>& task, SegmentReduction reduction, int64_t begin, int64_t end) {
  for (int64_t segment = begin; segment < end; ++segment) {
    const int64_t first = task.rowptr[segment], rows = task.rowptr[segment + 1] - first;
    for (int64_t from = 0; from < task.features; from += kStrip) {
      const int64_t width = std::min(kStrip, task.features - from), place = segment * task.features + from;
      const Element* x = task.x + first * task.features + from;
      Real* out = task.out + place;
      if (reduction == SegmentReduction::sum || reduction == SegmentReduction::mean) {
        const Real divisor = reduction == SegmentReduction::mean ? std::max<int64_t>(rows, 1) : 1;
        sum_strip(x, task.features, rows, width, divisor, out);
      } else if (rows == 0) {
        std::fill_n(out, width, Real(0));
        std::fill_n(task.arg + place, width, task.rows);
      } else if (reduction == SegmentReduction::max) {
        best_strip<SegmentReduction::max>(x, task.features, first, rows, width, out, task.arg + place);
      } else {
        best_strip<SegmentReduction::min>(x, task.features, first, rows, width, out, task.arg + place);
      }
    }
  }
}

#define DLBENCH_INSTANTIATE(Element, Real)                                                                         \
  template void segment_reduce_cpu(const Segments<Element, Real, int32_t>&, SegmentReduction, int64_t, int64_t);          \
  template void segment_reduce_cpu(const Segments<Element, Real, int64_t>&, SegmentReduction, int64_t, int64_t);
DLBENCH_INSTANTIATE(float, float)
DLBENCH_INSTANTIATE(double, double)
DLBENCH_INSTANTIATE(Half, float)
DLBENCH_INSTANTIATE(BFloat16, float)

}  // namespace dlbench
