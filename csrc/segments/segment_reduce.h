// One row for each segment of rows: segment s owns the rows [rowptr[s], rowptr[s+1]) of x.
//
//     sum, mean: in the order of the rows; max, min: also the row that gave it, the first one of equals
//
// A NaN is the maximum and the minimum. An empty segment gives zeros, and as the row that gave them the number of rows.
#pragma once
#include <cstdint>

#include "portable.h"

namespace dlbench {

enum class SegmentReduction { sum, mean, max, min };

template <typename Element, typename Real, typename Index>
struct Segments {
  const Element* x;  // [rows, features]
  const Index* rowptr;
  Real* out;     // [segments, features]
  int64_t* arg;  // the same, for max and min; or null
  int64_t segments, rows, features;
};

// Whether `value` takes the place of `best`; the first value always does.
template <SegmentReduction reduction, typename Real>
DLBENCH_SHARED bool takes_over(Real value, Real best) {
  const bool better = reduction == SegmentReduction::max ? value > best : value < best;
  return better || (value != value && best == best);
}

// Segments [begin, end) only. Element: float, double, Half, BFloat16; Real: what it is widened to.
template <typename Element, typename Real, typename Index>
void segment_reduce_cpu(const Segments<Element, Real, Index>& task, SegmentReduction reduction, int64_t begin, int64_t end);

// All segments, on the current device, in `stream`.
template <typename Element, typename Real, typename Index>
void segment_reduce_cuda(const Segments<Element, Real, Index>& task, SegmentReduction reduction, CUstream_st* stream);

}  // namespace dlbench
