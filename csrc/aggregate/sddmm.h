// The dot product of the two ends of every edge (a dense product sampled at the entries of a sparse matrix):
//
//     out[edge(p), h] = <a[i, h, :], b[col[p], h, :]>      for every position p of row i and every head h
//
// This is the gradient of an aggregate with respect to its weights. Every dot is summed by one thread, in one order.
#pragma once
#include "aggregate/csr.h"
#include "perturb/element.h"

namespace dlbench {

// The edges between two marks only. a [rows, heads, features], b [sources, heads, features], out [edges, heads].
// Element: float, double, BFloat16, Half. Index: int32_t, int64_t.
template <typename Element, typename Index>
void sddmm_cpu(const Csr<Index>& graph, const Element* a, const Element* b, Widened<Element>* out, int64_t heads,
               int64_t features, Mark begin, Mark end);

// All edges, on the current device, in `stream`.
template <typename Element, typename Index>
void sddmm_cuda(const Csr<Index>& graph, int64_t edges, const Element* a, const Element* b, Widened<Element>* out,
                int64_t heads, int64_t features, CUstream_st* stream);

}  // namespace dlbench
