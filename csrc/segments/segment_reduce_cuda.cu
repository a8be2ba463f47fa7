#include <cuda_runtime.h>

#include <algorithm>

#include "perturb/element.h"
#include "segments/segment_reduce.h"

namespace dlbench {
namespace {

constexpr int kThreads = 256;

// A thread goes down one feature of one segment, its neighbours beside it.
template <SegmentReduction reduction, typename Element, typename Real, typename Index>
__global__ void segment_reduce_kernel(Segments<Element, Real, Index> task) {
  const int64_t place = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (place >= task.segments * task.features) return;
  const int64_t segment = place / task.features;
  const int64_t begin = task.rowptr[segment], end = task.rowptr[segment + 1];
  const Element* x = task.x + place % task.features;
  if constexpr (reduction == SegmentReduction::sum || reduction == SegmentReduction::mean) {
    Real sum = 0;
#pragma unroll 4
    for (int64_t row = begin; row < end; ++row) sum += Real(widened(x[row * task.features]));
    task.out[place] = reduction == SegmentReduction::mean && end > begin ? sum / Real(end - begin) : sum;
  } else {
    Real best = 0;
    int64_t from = task.rows;
#pragma unroll 4
    for (int64_t row = begin; row < end; ++row) {
      const Real value = widened(x[row * task.features]);
      if (row == begin || takes_over<reduction>(value, best)) best = value, from = row;
    }
    task.out[place] = best;
    task.arg[place] = from;
  }
}

}  // namespace

template <typename Element, typename Real, typename Index>
void segment_reduce_cuda(const Segments<Element, Real, Index>& task, SegmentReduction reduction, CUstream_st* stream) {
  const int64_t blocks = (task.segments * task.features + kThreads - 1) / kThreads;
  if (blocks == 0) return;
  switch (reduction) {
    case SegmentReduction::sum:
      return segment_reduce_kernel<SegmentReduction::sum><<<blocks, kThreads, 0, stream>>>(task);
    case SegmentReduction::mean:
      return segment_reduce_kernel<SegmentReduction::mean><<<blocks, kThreads, 0, stream>>>(task);
    case SegmentReduction::max:
      return segment_reduce_kernel<SegmentReduction::max><<<blocks, kThreads, 0, stream>>>(task);
    case SegmentReduction::min:
      return segment_reduce_kernel<SegmentReduction::min><<<blocks, kThreads, 0, stream>>>(task);
  }
}

#define DLBENCH_INSTANTIATE(Element, Real)                                                                \
  template void segment_reduce_cuda(const Segments<Element, Real, int32_t>&, SegmentReduction, CUstream_st*);    \
  template void segment_reduce_cuda(const Segments<Element, Real, int64_t>&, SegmentReduction, CUstream_st*);
DLBENCH_INSTANTIATE(float, float)
DLBENCH_INSTANTIATE(double, double)
DLBENCH_INSTANTIATE(Half, float)
DLBENCH_INSTANTIATE(BFloat16, float)

}  // namespace dlbench
