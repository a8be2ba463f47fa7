#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>

#include "perturb/losses/loss_point.h"

namespace dlbench {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr unsigned kAll = 0xffffffff;

// A warp takes a row. Its threads keep the largest of the logits that they see, and then take in each other's.
template <LossKind kind, typename Element>
__global__ void loss_kernel(LossTask<Element> task) {
  using Real = Widened<Element>;
  constexpr int n = kRanks<kind>;
  const int64_t row = int64_t(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= task.rows) return;  // a whole warp
  const int lane = threadIdx.x % kWarp;

  const Element* z = task.logits + row * task.classes;
  Top<Real, n> top;
  bool nan = false;
  for (int64_t i = lane; i < task.classes; i += kWarp) {
    const Real v = widened(z[i]);
    nan |= v != v;
    top.insert({v, int32_t(i)});
  }
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    Ranked<Real> theirs[n];
#pragma unroll
    for (int j = 0; j < n; ++j)
      theirs[j] = {__shfl_xor_sync(kAll, top.rank[j].value, distance),
                   __shfl_xor_sync(kAll, top.rank[j].index, distance)};
#pragma unroll
    for (int j = 0; j < n; ++j) top.insert(theirs[j]);
  }
  nan = __any_sync(kAll, nan);
  if (lane == 0) write_loss<kind>(task, row, top, nan);
}

template <typename Real>
__global__ void scatter_slopes_kernel(ScatterTask<Real> task) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= task.rows * task.classes) return;
  const int64_t row = i / task.classes, here = i % task.classes;
  Real sum = 0;
  for (int64_t j = row * task.width; j < (row + 1) * task.width; ++j)
    if (task.places[j] == here) sum += std::fma(task.slopes[j], task.grad[row], Real(0));
  task.out[i] = sum;
}

unsigned blocks_for(int64_t work, int64_t work_a_block) {
  return static_cast<unsigned>((work + work_a_block - 1) / work_a_block);
}

}  // namespace

template <LossKind kind, typename Element>
void loss_cuda(const LossTask<Element>& task, CUstream_st* stream) {
  if (task.rows == 0) return;
  loss_kernel<kind><<<blocks_for(task.rows, kThreads / kWarp), kThreads, 0, stream>>>(task);
}

template <typename Real>
void scatter_slopes_cuda(const ScatterTask<Real>& task, CUstream_st* stream) {
  if (task.rows * task.classes == 0) return;
  scatter_slopes_kernel<<<blocks_for(task.rows * task.classes, kThreads), kThreads, 0, stream>>>(task);
}

#define DLBENCH_INSTANTIATE(Element)                                                          \
  template void loss_cuda<LossKind::margin, Element>(const LossTask<Element>&, CUstream_st*); \
  template void loss_cuda<LossKind::dlr, Element>(const LossTask<Element>&, CUstream_st*);    \
  template void loss_cuda<LossKind::targeted_dlr, Element>(const LossTask<Element>&, CUstream_st*);
DLBENCH_INSTANTIATE(float)
DLBENCH_INSTANTIATE(double)
DLBENCH_INSTANTIATE(Half)
DLBENCH_INSTANTIATE(BFloat16)

template void scatter_slopes_cuda(const ScatterTask<float>&, CUstream_st*);
template void scatter_slopes_cuda(const ScatterTask<double>&, CUstream_st*);

}  // namespace dlbench
