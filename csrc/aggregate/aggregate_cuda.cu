#include <cuda_runtime.h>

#include <algorithm>

#include "aggregate/aggregate.h"
#include "aggregate/lanes.cuh"
#include "pack.cuh"

namespace dlbench {
namespace {

constexpr int kThreads = 256;

// `lanes` threads share a row, each with N neighbouring features of it, and go over the row's edges in order: the sum
// has one order, needs no atomics, and stays in registers. Features beyond lanes * N are other blocks' (grid.y).
template <typename Real, typename Index, bool Weighted, int N>
__global__ void aggregate_sum_kernel(Csr<Index> graph, const Real* x, const Real* weight, Real* out, int64_t features,
                                     int lanes) {
  const int64_t row = int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
  const int64_t from = (int64_t(blockIdx.y) * lanes + threadIdx.x % lanes) * N;
  if (row >= graph.rows || from >= features) return;
  x += from;

  Pack<Real, N> sum = {};
  const int64_t end = graph.rowptr[row + 1];
#pragma unroll 4
  for (int64_t p = graph.rowptr[row]; p < end; ++p) {
    const auto source = *reinterpret_cast<const Pack<Real, N>*>(x + graph.col[p] * features);
    const Real scale = Weighted ? weight[graph.edge(p)] : Real(1);
#pragma unroll
    for (int k = 0; k < N; ++k) sum.element[k] += Weighted ? scale * source.element[k] : source.element[k];
  }
  *reinterpret_cast<Pack<Real, N>*>(out + row * features + from) = sum;
}

template <int N, typename Real, typename Index>
void launch(const Csr<Index>& graph, const Real* x, const Real* weight, Real* out, int64_t features,
            cudaStream_t stream) {
  const int lanes = lanes_for((features + N - 1) / N);
  const int64_t rows_a_block = kThreads / lanes;
  const dim3 blocks((graph.rows + rows_a_block - 1) / rows_a_block, (features + lanes * N - 1) / (lanes * N));
  if (weight)
    aggregate_sum_kernel<Real, Index, true, N><<<blocks, kThreads, 0, stream>>>(graph, x, weight, out, features, lanes);
  else
    aggregate_sum_kernel<Real, Index, false, N><<<blocks, kThreads, 0, stream>>>(graph, x, weight, out, features, lanes);
}

}  // namespace

template <typename Real, typename Index>
void aggregate_sum_cuda(const Csr<Index>& graph, const Real* x, const Real* weight, Real* out, int64_t features,
                        CUstream_st* stream) {
  if (graph.rows == 0 || features == 0) return;
  constexpr int N = 16 / sizeof(Real);
  if (features % N == 0 && aligned<Pack<Real, N>>(x) && aligned<Pack<Real, N>>(out))
    launch<N>(graph, x, weight, out, features, stream);
  else
    launch<1>(graph, x, weight, out, features, stream);
}

#define DLBENCH_INSTANTIATE(Real, Index) \
  template void aggregate_sum_cuda(const Csr<Index>&, const Real*, const Real*, Real*, int64_t, CUstream_st*);
DLBENCH_INSTANTIATE(float, int32_t)
DLBENCH_INSTANTIATE(float, int64_t)
DLBENCH_INSTANTIATE(double, int32_t)
DLBENCH_INSTANTIATE(double, int64_t)

}  // namespace dlbench
