// The threads that share a sample, and what their values combine to.
#pragma once
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <cstring>

namespace dlbench {

constexpr int kWarp = 32;
constexpr int kMostWarps = 32;  // of a block

template <typename T>
__device__ T shuffled_down(T mine, int by) {
  unsigned words[sizeof(T) / sizeof(unsigned)];
  memcpy(words, &mine, sizeof mine);
  for (unsigned& word : words) word = __shfl_down_sync(0xffffffffu, word, by);
  memcpy(&mine, words, sizeof mine);
  return mine;
}

// The blocks of a cluster; one block where it was launched without, or on a GPU that has none.
class Team {
 public:
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __device__ int size() const { return cooperative_groups::this_cluster().num_blocks(); }
  __device__ int rank() const { return cooperative_groups::this_cluster().block_rank(); }
  __device__ void sync() const { size() > 1 ? cooperative_groups::this_cluster().sync() : __syncthreads(); }
  template <typename T>
  __device__ const T* in_block(int rank, T* own) const {  // that variable of another block
    return cooperative_groups::this_cluster().map_shared_rank(own, rank);
  }
#else
  __device__ int size() const { return 1; }
  __device__ int rank() const { return 0; }
  __device__ void sync() const { __syncthreads(); }
  template <typename T>
  __device__ const T* in_block(int, T* own) const {
    return own;
  }
#endif

  // What all threads' values combine to, known to all of them. The order is always the same, and so is the result.
  template <typename T, typename Combine>
  __device__ T all(T mine, Combine combine) {
    __shared__ T of_warp[kMostWarps];
    __shared__ T of_block[2];  // one may still be read by other blocks when the next is written
    for (int by = kWarp / 2; by > 0; by /= 2) mine = combine(mine, shuffled_down(mine, by));
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = mine;
    __syncthreads();
    T& own = of_block[round_++ % 2];
    if (threadIdx.x == 0) {
      own = of_warp[0];
      for (int warp = 1; warp < blockDim.x / kWarp; ++warp) own = combine(own, of_warp[warp]);
    }
    sync();
    T result = *in_block(0, &own);
    for (int rank = 1; rank < size(); ++rank) result = combine(result, *in_block(rank, &own));
    return result;
  }

 private:
  unsigned round_ = 0;
};

struct Add {
  template <typename T>
  __device__ T operator()(T a, const T& b) const {
    return a += b;
  }
};
struct Larger {
  __device__ double operator()(double a, double b) const { return fmax(a, b); }
};

}  // namespace dlbench
