#include <cuda_runtime.h>

#include "aggregate/sddmm.h"
#include "aggregate/lanes.cuh"
#include "pack.cuh"

namespace dlbench {
namespace {

constexpr int kThreads = 256;

// `lanes` threads share an edge's head and take its features in turns, N at a time; then their sums meet in a tree of
// fixed shape. Each edge looks its row up by bisection, so that a row with many edges is not one thread's alone.
template <typename Element, typename Index, int N>
__global__ void sddmm_kernel(Csr<Index> graph, int64_t edges, const Element* a, const Element* b,
                             Widened<Element>* out, int64_t heads, int64_t features, int lanes) {
  const int64_t dot = int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
  const int64_t p = dot / heads, h = dot % heads;
  Widened<Element> sum = 0;
  if (p < edges) {
    a += (graph.row_of(p) * heads + h) * features;
    b += (graph.col[p] * heads + h) * features;
    for (int64_t f = threadIdx.x % lanes * N; f < features; f += lanes * N) {
      const auto u = *reinterpret_cast<const Pack<Element, N>*>(a + f);
      const auto v = *reinterpret_cast<const Pack<Element, N>*>(b + f);
#pragma unroll
      for (int k = 0; k < N; ++k) sum += widened(u.element[k]) * widened(v.element[k]);
    }
  }
  for (int distance = lanes / 2; distance > 0; distance /= 2)  // all threads of the warp, those without an edge too
    sum += __shfl_xor_sync(0xffffffff, sum, distance);
  if (p < edges && threadIdx.x % lanes == 0) out[graph.edge(p) * heads + h] = sum;
}

template <int N, typename Element, typename Index>
void launch(const Csr<Index>& graph, int64_t edges, const Element* a, const Element* b, Widened<Element>* out,
            int64_t heads, int64_t features, cudaStream_t stream) {
  const int lanes = lanes_for((features + N - 1) / N);
  const int64_t a_block = kThreads / lanes;
  const int64_t blocks = (edges * heads + a_block - 1) / a_block;
  sddmm_kernel<Element, Index, N><<<blocks, kThreads, 0, stream>>>(graph, edges, a, b, out, heads, features, lanes);
}

}  // namespace

template <typename Element, typename Index>
void sddmm_cuda(const Csr<Index>& graph, int64_t edges, const Element* a, const Element* b, Widened<Element>* out,
                int64_t heads, int64_t features, CUstream_st* stream) {
  if (edges == 0 || heads == 0) return;
  constexpr int N = 16 / sizeof(Element);
  if (features % N == 0 && aligned<Pack<Element, N>>(a) && aligned<Pack<Element, N>>(b))
    launch<N>(graph, edges, a, b, out, heads, features, stream);
  else
    launch<1>(graph, edges, a, b, out, heads, features, stream);
}

#define DLBENCH_INSTANTIATE(Element, Index)                                                                      \
  template void sddmm_cuda(const Csr<Index>&, int64_t, const Element*, const Element*, Widened<Element>*, int64_t, \
                           int64_t, CUstream_st*);
DLBENCH_FOR_ALL_ELEMENTS(DLBENCH_INSTANTIATE)

}  // namespace dlbench
