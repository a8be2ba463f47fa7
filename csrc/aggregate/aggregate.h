// Weighted sum over the in-neighbours of each node (the product of a sparse matrix in CSR with a dense one):
//
//     out[i, :] = sum over positions p of row i of  weight[edge(p)] * x[col[p], :]
//
// Without weights every weight is 1. A row without edges gives zeros. Each sum runs in the order of the positions, so
// its bits depend neither on the number of threads nor on how rows are shared out.
#pragma once
#include "aggregate/csr.h"

namespace dlbench {

// Rows [begin, end) only. x [sources, features], weight [edges] or null, out [rows, features].
// Real: float, double. Index: int32_t, int64_t.
template <typename Real, typename Index>
void aggregate_sum_cpu(const Csr<Index>& graph, const Real* x, const Real* weight, Real* out, int64_t features,
                       int64_t begin, int64_t end);

// All rows, on the current device, in `stream`.
template <typename Real, typename Index>
void aggregate_sum_cuda(const Csr<Index>& graph, const Real* x, const Real* weight, Real* out, int64_t features,
                        CUstream_st* stream);

}  // namespace dlbench
