// Reductions over the in-neighbours of each node. The edge at position p of row i sends the message
//
//     weight[edge(p), h] * x[col[p], h, :]        for every head h,
//
// without weights x alone, and
//
//     out[i, h, :] = sum, mean, max, min or std of the messages at the positions of row i.
//
// The mean divides by the number of edges, the std is the population's. A row without edges gives zeros. NaN stays NaN:
// of a row with one, max and min are NaN. Halves are widened as they are loaded and narrowed as they are stored.
//
// Long rows are cut into chunks (csr.h, and for a GPU split.h), whose partial results are combined in order. So no bit
// depends on the number of threads or on how rows are shared out, and nothing here is atomic.
#pragma once
#include "aggregate/csr.h"
#include "perturb/element.h"
#include "portable.h"

namespace dlbench {

enum class Reduction { sum, mean, max, min, std };

// Element: float, double, BFloat16, Half. Index: int32_t, int64_t.
template <typename Element, typename Index>
struct Aggregation {
  using Real = Widened<Element>;

  Csr<Index> graph;
  Reduction reduction;
  const Element* x;    // [sources, heads, features]
  const Real* weight;  // [edges, heads] or null
  int64_t heads, features;
  Element* out;     // [rows, heads, features]
  Index* position;  // like out or null; max and min: where the winner is, the first of equals; edges in an empty row
  Real* partial;    // two of [edges / kChunk, heads, features]
  int64_t sources;  // rows of x

  DLBENCH_SHARED int64_t width() const { return heads * features; }
  DLBENCH_SHARED Real* of_chunk(int64_t chunk) const { return partial + chunk * width(); }
  DLBENCH_SHARED Real* also_of_chunk(int64_t chunk, int64_t edges) const { return of_chunk(edges / kChunk + chunk); }
};

// What lies between two marks only: the results of whole rows, and the partial results of chunks.
template <typename Element, typename Index>
void aggregate_cpu(const Aggregation<Element, Index>& task, Mark begin, Mark end);

// The result of a row that was cut, once all of its chunks are done.
template <typename Element, typename Index>
void combine_cpu(const Aggregation<Element, Index>& task, int64_t row);

// All of it, on the current device, in `stream`, in one of two ways (split.h): a row a team of threads, and of those
// that are cut a chunk a team; or kShare rows and edges a team, which std cannot. Pieces of rows are combined when all
// are done. `partial` is two of [pieces_of(...), heads, features]. There is at least one row and one feature.
template <typename Element, typename Index>
void aggregate_rows_cuda(const Aggregation<Element, Index>& task, int64_t edges, CUstream_st* stream);
template <typename Element, typename Index>
void aggregate_merged_cuda(const Aggregation<Element, Index>& task, int64_t edges, CUstream_st* stream);

// What remains when all messages but the winners are dropped, which is the derivative of max and min:
//
//     out[col[p], f] += weight[edge(p), f / features] * grad[i, f]      with p = position[i, f], for every row i in order
//
// Features [begin, end) of the heads * features only, a slab of which one thread does all rows; so nothing is atomic. out
// is [sources, heads, features].
template <typename Real, typename Index>
void scatter_winners_cpu(const Csr<Index>& graph, const Real* grad, const Index* position, const Real* weight,
                         int64_t heads, int64_t features, Real* out, int64_t sources, int64_t begin, int64_t end);

// And for weights: out[edge(p), f / features] += grad[i, f] * x[col[p], f], rows [begin, end) only, whose edges are no
// other row's.
template <typename Real, typename Index>
void winner_dots_cpu(const Csr<Index>& graph, const Real* grad, const Real* x, const Index* position, int64_t heads,
                     int64_t features, Real* out, int64_t begin, int64_t end);

// The same on the current device, in `stream`. Every source gathers what its out-edges won, in the order of the
// transpose, whose edges are numbered as the graph's; and every edge what it won.
template <typename Real, typename Index>
void scatter_winners_cuda(const Csr<Index>& graph, const Csr<Index>& transpose, const Real* grad, const Index* position,
                          const Real* weight, int64_t heads, int64_t features, Real* out, CUstream_st* stream);
template <typename Real, typename Index>
void winner_dots_cuda(const Csr<Index>& graph, int64_t edges, const Real* grad, const Real* x, const Index* position,
                      int64_t heads, int64_t features, Real* out, CUstream_st* stream);

}  // namespace dlbench
