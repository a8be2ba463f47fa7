#include <cuda_runtime.h>

#include "attention/edge_softmax.h"
#include "perturb/bits.h"

namespace dlbench {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

template <typename Real>
__device__ Real summed(Real mine) {
  for (int by = kWarp / 2; by > 0; by /= 2) mine += __shfl_xor_sync(~0u, mine, by);
  return mine;
}

// A warp for each head of a row. f(warp's place, its row, its head), by whole warps.
template <typename Index, typename F>
__device__ void visit_row(const Csr<Index>& graph, int64_t heads, F f) {
  const int64_t warp = int64_t(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (warp < graph.rows * heads) f(graph.rowptr[warp / heads], graph.rowptr[warp / heads + 1], warp % heads);
}

template <typename Real, typename Index>
__global__ void edge_softmax_kernel(Csr<Index> graph, const Real* scores, Real* out, int64_t heads) {
  visit_row(graph, heads, [&](int64_t begin, int64_t end, int64_t head) {
    Real largest = -kInfinity<Real>, total = 0;
    for (int64_t p = begin + threadIdx.x % kWarp; p < end; p += kWarp) {
      const Real score = scores[graph.edge(p) * heads + head];
      largest = score > largest ? score : largest;
    }
    for (int by = kWarp / 2; by > 0; by /= 2) {
      const Real other = __shfl_xor_sync(~0u, largest, by);
      largest = other > largest ? other : largest;
    }
    if (largest == -kInfinity<Real>) largest = 0;
    for (int64_t p = begin + threadIdx.x % kWarp; p < end; p += kWarp)
      total += exp(scores[graph.edge(p) * heads + head] - largest);
    total = summed(total);
    const Real factor = total == 0 ? 0 : 1 / total;
    for (int64_t p = begin + threadIdx.x % kWarp; p < end; p += kWarp) {
      const int64_t place = graph.edge(p) * heads + head;
      out[place] = exp(scores[place] - largest) * factor;
    }
  });
}

template <typename Real, typename Index>
__global__ void edge_total_kernel(Csr<Index> graph, const Real* values, Real* out, int64_t heads) {
  visit_row(graph, heads, [&](int64_t begin, int64_t end, int64_t head) {
    Real total = 0;
    for (int64_t p = begin + threadIdx.x % kWarp; p < end; p += kWarp) total += values[graph.edge(p) * heads + head];
    total = summed(total);
    for (int64_t p = begin + threadIdx.x % kWarp; p < end; p += kWarp) out[graph.edge(p) * heads + head] = total;
  });
}

int64_t blocks_for(int64_t warps) { return (warps * kWarp + kThreads - 1) / kThreads; }

}  // namespace

template <typename Real, typename Index>
void edge_softmax_cuda(const Csr<Index>& graph, const Real* scores, Real* out, int64_t heads, CUstream_st* stream) {
  const int64_t blocks = blocks_for(graph.rows * heads);
  if (blocks > 0) edge_softmax_kernel<<<blocks, kThreads, 0, stream>>>(graph, scores, out, heads);
}

template <typename Real, typename Index>
void edge_total_cuda(const Csr<Index>& graph, const Real* values, Real* out, int64_t heads, CUstream_st* stream) {
  const int64_t blocks = blocks_for(graph.rows * heads);
  if (blocks > 0) edge_total_kernel<<<blocks, kThreads, 0, stream>>>(graph, values, out, heads);
}

#define DLBENCH_INSTANTIATE(Real, Index)                                                                  \
  template void edge_softmax_cuda(const Csr<Index>&, const Real*, Real*, int64_t, CUstream_st*);          \
  template void edge_total_cuda(const Csr<Index>&, const Real*, Real*, int64_t, CUstream_st*);
DLBENCH_INSTANTIATE(float, int32_t)
DLBENCH_INSTANTIATE(float, int64_t)
DLBENCH_INSTANTIATE(double, int32_t)
DLBENCH_INSTANTIATE(double, int64_t)

}  // namespace dlbench
