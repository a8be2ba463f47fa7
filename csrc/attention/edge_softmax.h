// Over the edges of every target, for each head by itself:
//
//     edge_softmax   out[e] = exp(scores[e] - largest) / sum over the target's edges of exp(scores - largest)
//     edge_total     out[e] = sum over the target's edges of values
//
// edge_total is its own adjoint, and what is missing for the softmax's: p (g - total(p g)). Where all scores of a target
// are -inf, the softmax is 0.
#pragma once
#include "aggregate/csr.h"

namespace dlbench {

// The edges of rows [begin, end) only, in the order of edge numbers. graph.col is not read. scores, values and out
// [edges, heads]. Real: float, double. Index: int32_t, int64_t.
template <typename Real, typename Index>
void edge_softmax_cpu(const Csr<Index>& graph, const Real* scores, Real* out, int64_t heads, int64_t begin,
                      int64_t end);
template <typename Real, typename Index>
void edge_total_cpu(const Csr<Index>& graph, const Real* values, Real* out, int64_t heads, int64_t begin, int64_t end);

// All rows, on the current device, in `stream`.
template <typename Real, typename Index>
void edge_softmax_cuda(const Csr<Index>& graph, const Real* scores, Real* out, int64_t heads, CUstream_st* stream);
template <typename Real, typename Index>
void edge_total_cuda(const Csr<Index>& graph, const Real* values, Real* out, int64_t heads, CUstream_st* stream);

}  // namespace dlbench
