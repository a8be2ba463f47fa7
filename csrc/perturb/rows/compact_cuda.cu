#include <cuda_runtime.h>

#include <algorithm>

#include "pack.cuh"
#include "perturb/rows/compact.h"

namespace dlbench {
namespace {

constexpr int kWarp = 32;
constexpr unsigned kAll = 0xffffffff;
constexpr int kScanThreads = 1024;
constexpr int kWarps = kScanThreads / kWarp;
constexpr int kMoveThreads = 256;
constexpr int64_t kMostBlocks = 1 << 20;

// How many of the block's threads before this one have the flag, and how many there are.
__device__ int2 scan_block(bool flag) {
  __shared__ int of_warps[kWarps];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const unsigned flags = __ballot_sync(kAll, flag);
  if (lane == 0) of_warps[warp] = __popc(flags);
  __syncthreads();
  int before = __popc(flags & ((1u << lane) - 1)), all = 0;
  for (int w = 0; w < kWarps; ++w) {
    before += w < warp ? of_warps[w] : 0;
    all += of_warps[w];
  }
  __syncthreads();  // the next call writes again
  return {before, all};
}

// One block for all rows, which are as many as there are samples in a batch: first it counts, then it tells places.
__global__ void partition_kernel(const bool* keep, int64_t* place, int64_t* count, int64_t rows) {
  int64_t total = 0;
  for (int64_t tile = 0; tile < rows; tile += kScanThreads) {
    const int64_t row = tile + threadIdx.x;
    total += __syncthreads_count(row < rows && keep[row]);
  }
  int64_t kept = 0;
  for (int64_t tile = 0; tile < rows; tile += kScanThreads) {
    const int64_t row = tile + threadIdx.x;
    const bool flag = row < rows && keep[row];
    const int2 scanned = scan_block(flag);
    const int64_t before = kept + scanned.x;
    if (row < rows) place[row] = flag ? before : total + row - before;
    kept += scanned.y;
  }
  if (threadIdx.x == 0) *count = total;
}

template <int bytes>
__global__ void move_rows_kernel(const Pack<char, bytes>* from, Pack<char, bytes>* to, const int64_t* place,
                                 int64_t packs_a_row, int64_t packs) {
  const int64_t stride = int64_t(gridDim.x) * kMoveThreads;
  for (int64_t i = int64_t(blockIdx.x) * kMoveThreads + threadIdx.x; i < packs; i += stride)
    to[place[i / packs_a_row] * packs_a_row + i % packs_a_row] = from[i];
}

// In the widest packs that fit rows and addresses.
template <int bytes>
void move_rows(const void* from, void* to, const int64_t* place, int64_t row_bytes, int64_t rows, cudaStream_t stream) {
  using Bytes = Pack<char, bytes>;
  if constexpr (bytes > 1) {
    if (row_bytes % bytes || !aligned<Bytes>(from) || !aligned<Bytes>(to))
      return move_rows<bytes / 2>(from, to, place, row_bytes, rows, stream);
  }
  const int64_t packs_a_row = row_bytes / bytes, packs = packs_a_row * rows;
  const int blocks = int(std::min((packs + kMoveThreads - 1) / kMoveThreads, kMostBlocks));
  move_rows_kernel<bytes><<<blocks, kMoveThreads, 0, stream>>>(static_cast<const Bytes*>(from), static_cast<Bytes*>(to),
                                                               place, packs_a_row, packs);
}

}  // namespace

void partition_cuda(const bool* keep, int64_t* place, int64_t* count, int64_t rows, CUstream_st* stream) {
  partition_kernel<<<1, kScanThreads, 0, stream>>>(keep, place, count, rows);
}

void move_rows_cuda(const void* from, void* to, const int64_t* place, int64_t row_bytes, int64_t rows,
                    CUstream_st* stream) {
  if (rows * row_bytes > 0) move_rows<16>(from, to, place, row_bytes, rows, stream);
}

}  // namespace dlbench
