// Sums over the threads of a block, for what a kernel counts.
#pragma once
#include <cuda_runtime.h>

namespace dlbench {

constexpr int kThreads = 256;  // of a block

// A number of every thread of a block, summed up where thread 0 adds it to `total`.
template <typename Integer>
__device__ void add_up(Integer mine, Integer* total) {
  __shared__ Integer partial[kThreads / 32];
  for (int lane = 16; lane > 0; lane /= 2) mine += __shfl_down_sync(0xffffffffu, mine, lane);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    Integer sum = 0;
    for (Integer part : partial) sum += part;
    if (sum != 0) atomicAdd(reinterpret_cast<unsigned long long*>(total), static_cast<unsigned long long>(sum));
  }
  __syncthreads();
}

}  // namespace dlbench
