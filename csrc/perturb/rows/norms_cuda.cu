#include <cuda_runtime.h>

#include <algorithm>

#include "perturb/rows/norms.h"

namespace dlbench {
namespace {

constexpr int kWarp = 32;
constexpr int kMostThreads = 1024;
constexpr unsigned kAll = 0xffffffff;

__device__ NormParts operator+(const NormParts& p, const NormParts& q) {
  return {p.nonzeros + q.nonzeros, p.sum + q.sum, p.squares + q.squares, fmax(p.most, q.most)};
}

// The parts of all threads of a warp together, in a tree of fixed shape; for all of them.
__device__ NormParts of_warp(NormParts parts) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    parts = parts + NormParts{__shfl_xor_sync(kAll, parts.nonzeros, distance),
                              __shfl_xor_sync(kAll, parts.sum, distance),
                              __shfl_xor_sync(kAll, parts.squares, distance),
                              __shfl_xor_sync(kAll, parts.most, distance)};
  return parts;
}

// A block takes a row.
template <typename Element>
__global__ void lp_norms_kernel(NormsTask<Element> task) {
  const int64_t n = task.elements, row = blockIdx.x;
  const Element* a = task.a + row * n;
  const Element* b = task.b ? task.b + row * n : nullptr;
  NormParts parts{};
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const double d = double(widened(a[i])) - (b ? double(widened(b[i])) : 0.0), size = fabs(d);
    parts = parts + NormParts{d != 0 ? 1.0 : 0.0, size, d * d, size};
  }
  parts = of_warp(parts);

  __shared__ NormParts of_warps[kMostThreads / kWarp];
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = parts;
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  parts = threadIdx.x < blockDim.x / kWarp ? of_warps[threadIdx.x] : NormParts{};
  parts = of_warp(parts);
  if (threadIdx.x == 0) parts.write(task.norms + 4 * row);
}

}  // namespace

template <typename Element>
void lp_norms_cuda(const NormsTask<Element>& task, CUstream_st* stream) {
  if (task.rows == 0) return;
  const int64_t warps = (task.elements + 4 * kWarp - 1) / (4 * kWarp);  // four elements a thread, if there are so many
  const int threads = int(std::clamp<int64_t>(warps * kWarp, kWarp, kMostThreads));
  lp_norms_kernel<<<static_cast<unsigned>(task.rows), threads, 0, stream>>>(task);
}

template void lp_norms_cuda(const NormsTask<float>&, CUstream_st*);
template void lp_norms_cuda(const NormsTask<double>&, CUstream_st*);
template void lp_norms_cuda(const NormsTask<Half>&, CUstream_st*);
template void lp_norms_cuda(const NormsTask<BFloat16>&, CUstream_st*);

}  // namespace dlbench
