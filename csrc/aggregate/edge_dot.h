// The dot product of the two ends of every edge (a dense product sampled at the entries of a sparse matrix):
//
//     out[edge(p)] = <a[i, :], b[col[p], :]>      for every position p of row i
//
// This is the gradient of aggregate with respect to its weights. Every edge is summed by one thread, in one order.
#pragma once
#include "aggregate/csr.h"

namespace dlbench {

// The edges of rows [begin, end) only. a [rows, features], b [sources, features], out [edges].
// Real: float, double. Index: int32_t, int64_t.
template <typename Real, typename Index>
void edge_dot_cpu(const Csr<Index>& graph, const Real* a, const Real* b, Real* out, int64_t features, int64_t begin,
                  int64_t end);

// All edges, on the current device, in `stream`.
template <typename Real, typename Index>
void edge_dot_cuda(const Csr<Index>& graph, int64_t edges, const Real* a, const Real* b, Real* out, int64_t features,
                   CUstream_st* stream);

}  // namespace dlbench
