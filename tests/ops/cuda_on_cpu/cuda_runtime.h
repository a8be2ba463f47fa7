// As much of CUDA as kernels need that use neither shuffles nor shared memory nor atomics, for a C++ compiler: a launch
// runs thread by thread, to the end each, in whatever order is asked for. A thread that reads what another of its
// launch writes gets it in one order and not in another.
#pragma once
#include <math.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#define __global__
#define __device__
#define __host__

struct CUstream_st;
using cudaStream_t = CUstream_st*;

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline dim3 blockIdx, threadIdx;

namespace cuda_on_cpu {

inline uint32_t order = 0;  // 0 runs threads as they are numbered, 1 backwards, others are the seed of a shuffle

// What a test puts for kernel<<<blocks, threads, 0, stream>>>(...): thread() runs one thread of the kernel.
template <typename F>
void launch(dim3 blocks, unsigned threads, F thread) {
  std::vector<uint64_t> numbers(uint64_t(blocks.x) * blocks.y * blocks.z * threads);
  std::iota(numbers.begin(), numbers.end(), 0);
  if (order == 1) std::reverse(numbers.begin(), numbers.end());
  if (order > 1) std::shuffle(numbers.begin(), numbers.end(), std::mt19937_64(order));
  for (const uint64_t number : numbers) {
    const uint64_t block = number / threads;
    threadIdx = dim3(number % threads);
    blockIdx = dim3(block % blocks.x, block / blocks.x % blocks.y, block / blocks.x / blocks.y);
    thread();
  }
}

}  // namespace cuda_on_cpu
