// The sum of neighbours' features by their attention, for every head by itself:
//
//     score[p] = leaky_relu(score_src[col[p]] + score_dst[i])         for every position p of row i
//     weight[p] = exp(score[p] - largest[i]) * inverse[i]             inverse = 1 / sum over the row of exp
//     out[i, :] = sum over p of  mask[p] weight[p] x[col[p], :]       mask: dropout's, of the edge's number
//
// Backwards the weights are computed again from the two numbers of each target. With g the gradient of out and slope[p]
// the leaky ReLU's, which is 1 or negative_slope, the gradient of a score before its leaky ReLU is
//
//     slope[p] weight[p] (mask[p] <g[i], x[col[p]]> - D[i]),   D[i] = sum over p of mask[p] weight[p] <g[i], x[col[p]]>
//
// and its sums over a row, or over a row of the transpose, need no dot product at the edges: with
// B[i, :] = sum over p of mask[p] weight[p] slope[p] x[col[p], :] the first is <g[i], B[i]> - D[i] sum slope[p] weight[p].
// So all three kernels do the same at an edge, a weight for each head and one pass over the other end's features.
// Each sum runs in the order of positions: its bits do not depend on the number of threads, and nothing is atomic.
#pragma once
#include "aggregate/csr.h"
#include "attention/dropout.h"

namespace dlbench {

template <typename Real>
struct Gat {
  int64_t heads, features;
  Real negative_slope;
  Dropout dropout;

  int64_t numbers() const { return heads * features; }
};

// What the transpose's rows need of a target, together so that they come with few cache lines: [targets, 4, heads].
enum TargetPart { kTargetScore, kTargetLargest, kTargetInverse, kTargetDot, kTargetParts };

// Rows [begin, end) only. x [sources, heads, features], score_src [sources, heads], score_dst, largest, inverse
// [rows, heads], out [rows, heads, features]. Real: float, double. Index: int32_t, int64_t.
template <typename Real, typename Index>
void gat_cpu(const Csr<Index>& graph, const Gat<Real>& gat, const Real* x, const Real* score_src, const Real* score_dst,
             Real* out, Real* largest, Real* inverse, int64_t begin, int64_t end);

// Fills of_dst [rows, heads], and `targets` for the next.
template <typename Real, typename Index>
void gat_of_targets_cpu(const Csr<Index>& graph, const Gat<Real>& gat, const Real* grad, const Real* x,
                        const Real* score_src, const Real* score_dst, const Real* largest, const Real* inverse,
                        Real* of_dst, Real* targets, int64_t begin, int64_t end);

// Rows of the transpose. Fills of_x [sources, heads, features] and of_src [sources, heads].
template <typename Real, typename Index>
void gat_of_sources_cpu(const Csr<Index>& transpose, const Gat<Real>& gat, const Real* grad, const Real* x,
                        const Real* score_src, const Real* targets, Real* of_x, Real* of_src, int64_t begin,
                        int64_t end);

// The same for all rows, on the current device, in `stream`.
template <typename Real, typename Index>
void gat_cuda(const Csr<Index>& graph, const Gat<Real>& gat, const Real* x, const Real* score_src,
              const Real* score_dst, Real* out, Real* largest, Real* inverse, CUstream_st* stream);
template <typename Real, typename Index>
void gat_of_targets_cuda(const Csr<Index>& graph, const Gat<Real>& gat, const Real* grad, const Real* x,
                         const Real* score_src, const Real* score_dst, const Real* largest, const Real* inverse,
                         Real* of_dst, Real* targets, CUstream_st* stream);
template <typename Real, typename Index>
void gat_of_sources_cuda(const Csr<Index>& transpose, const Gat<Real>& gat, const Real* grad, const Real* x,
                         const Real* score_src, const Real* targets, Real* of_x, Real* of_src, CUstream_st* stream);

}  // namespace dlbench
