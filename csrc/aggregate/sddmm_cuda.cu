#include <cuda_runtime.h>

#include "aggregate/edge_dot.h"
#include "aggregate/lanes.cuh"
#include "pack.cuh"

namespace dlbench {
namespace {

constexpr int kThreads = 256;

// `lanes` threads share an edge and take its features in turns, N at a time; then their sums meet in a tree of fixed
// shape. Each edge looks its row up by bisection, so that a row with many edges is not one thread's alone.
template <typename Real, typename Index, int N>
__global__ void edge_dot_kernel(Csr<Index> graph, int64_t edges, const Real* a, const Real* b, Real* out,
                                int64_t features, int lanes) {
  const int64_t p = int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
  Real sum = 0;
  if (p < edges) {
    a += graph.row_of(p) * features;
    b += graph.col[p] * features;
    for (int64_t f = threadIdx.x % lanes * N; f < features; f += lanes * N) {
      const auto u = *reinterpret_cast<const Pack<Real, N>*>(a + f);
      const auto v = *reinterpret_cast<const Pack<Real, N>*>(b + f);
#pragma unroll
      for (int k = 0; k < N; ++k) sum += u.element[k] * v.element[k];
    }
  }
  for (int distance = lanes / 2; distance > 0; distance /= 2)  // all threads of the warp, those without an edge too
    sum += __shfl_xor_sync(0xffffffff, sum, distance);
  if (p < edges && threadIdx.x % lanes == 0) out[graph.edge(p)] = sum;
}

template <int N, typename Real, typename Index>
void launch(const Csr<Index>& graph, int64_t edges, const Real* a, const Real* b, Real* out, int64_t features,
            cudaStream_t stream) {
  const int lanes = lanes_for((features + N - 1) / N);
  const int64_t edges_a_block = kThreads / lanes;
  const int64_t blocks = (edges + edges_a_block - 1) / edges_a_block;
  edge_dot_kernel<Real, Index, N><<<blocks, kThreads, 0, stream>>>(graph, edges, a, b, out, features, lanes);
}

}  // namespace

template <typename Real, typename Index>
void edge_dot_cuda(const Csr<Index>& graph, int64_t edges, const Real* a, const Real* b, Real* out, int64_t features,
                   CUstream_st* stream) {
  if (edges == 0) return;
  constexpr int N = 16 / sizeof(Real);
  if (features % N == 0 && aligned<Pack<Real, N>>(a) && aligned<Pack<Real, N>>(b))
    launch<N>(graph, edges, a, b, out, features, stream);
  else
    launch<1>(graph, edges, a, b, out, features, stream);
}

#define DLBENCH_INSTANTIATE(Real, Index) \
  template void edge_dot_cuda(const Csr<Index>&, int64_t, const Real*, const Real*, Real*, int64_t, CUstream_st*);
DLBENCH_INSTANTIATE(float, int32_t)
DLBENCH_INSTANTIATE(float, int64_t)
DLBENCH_INSTANTIATE(double, int32_t)
DLBENCH_INSTANTIATE(double, int64_t)

}  // namespace dlbench
