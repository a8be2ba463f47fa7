#include <cuda_runtime.h>

#include "aggregate/aggregate.h"
#include "aggregate/lanes.cuh"

namespace dlbench {
namespace {

constexpr int kThreads = 256;

// A thread has a feature of a source, and looks at what the targets of its edges chose there. What is chosen is read for
// every edge and feature, gradients only where this edge won.
template <typename Real, typename Index>
__global__ void scatter_kernel(Csr<Index> graph, Csr<Index> transpose, const Real* grad, const Index* position,
                               const Real* weight, int64_t heads, int64_t features, Real* out, int lanes) {
  const int64_t source = int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes, width = heads * features;
  const int64_t f = int64_t(blockIdx.y) * lanes + threadIdx.x % lanes;
  if (source >= transpose.rows || f >= width) return;
  Real sum = 0;
  for (int64_t q = transpose.rowptr[source]; q < transpose.rowptr[source + 1]; ++q) {
    const int64_t edge = transpose.edge(q), at = transpose.col[q] * width + f;
    if (graph.edge(position[at]) != edge) continue;
    sum += weight ? weight[edge * heads + f / features] * grad[at] : grad[at];
  }
  out[source * width + f] = sum;
}

// `lanes` threads share an edge's head, and their sums meet in a tree of fixed shape.
template <typename Real, typename Index>
__global__ void dots_kernel(Csr<Index> graph, int64_t edges, const Real* grad, const Real* x, const Index* position,
                            int64_t heads, int64_t features, Real* out, int lanes) {
  const int64_t dot = int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
  const int64_t p = dot / heads, h = dot % heads;
  Real sum = 0;
  if (p < edges) {
    const int64_t target = (graph.row_of(p) * heads + h) * features, source = (graph.col[p] * heads + h) * features;
    for (int64_t f = threadIdx.x % lanes; f < features; f += lanes)
      if (position[target + f] == p) sum += grad[target + f] * x[source + f];
  }
  for (int distance = lanes / 2; distance > 0; distance /= 2)  // all threads of the warp, those without an edge too
    sum += __shfl_xor_sync(0xffffffff, sum, distance);
  if (p < edges && threadIdx.x % lanes == 0) out[graph.edge(p) * heads + h] = sum;
}

int64_t blocks_for(int64_t teams, int lanes) {
  const int64_t a_block = kThreads / lanes;
  return (teams + a_block - 1) / a_block;
}

}  // namespace

template <typename Real, typename Index>
void scatter_winners_cuda(const Csr<Index>& graph, const Csr<Index>& transpose, const Real* grad, const Index* position,
                          const Real* weight, int64_t heads, int64_t features, Real* out, CUstream_st* stream) {
  const int64_t width = heads * features;
  if (transpose.rows == 0 || width == 0) return;
  const int lanes = lanes_for(width);
  const dim3 blocks(blocks_for(transpose.rows, lanes), (width + lanes - 1) / lanes);
  scatter_kernel<<<blocks, kThreads, 0, stream>>>(graph, transpose, grad, position, weight, heads, features, out, lanes);
}

template <typename Real, typename Index>
void winner_dots_cuda(const Csr<Index>& graph, int64_t edges, const Real* grad, const Real* x, const Index* position,
                      int64_t heads, int64_t features, Real* out, CUstream_st* stream) {
  if (edges == 0 || heads == 0) return;
  const int lanes = lanes_for(features);
  dots_kernel<<<blocks_for(edges * heads, lanes), kThreads, 0, stream>>>(graph, edges, grad, x, position, heads,
                                                                         features, out, lanes);
}

#define DLBENCH_INSTANTIATE(Real, Index)                                                                             \
  template void scatter_winners_cuda(const Csr<Index>&, const Csr<Index>&, const Real*, const Index*, const Real*, \
                                     int64_t, int64_t, Real*, CUstream_st*);                                         \
  template void winner_dots_cuda(const Csr<Index>&, int64_t, const Real*, const Real*, const Index*, int64_t,       \
                                 int64_t, Real*, CUstream_st*);
DLBENCH_INSTANTIATE(float, int32_t)
DLBENCH_INSTANTIATE(float, int64_t)
DLBENCH_INSTANTIATE(double, int32_t)
DLBENCH_INSTANTIATE(double, int64_t)

}  // namespace dlbench
