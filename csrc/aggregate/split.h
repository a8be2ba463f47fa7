// How a GPU shares out a graph's edges among its teams of threads. Neither way depends on the GPU or on how kernels are
// launched, and so the results do not either; but the two sum long rows in other orders, so that they may differ in
// last digits.
//
// by_rows: a row a team; rows of 2 * kFineChunk edges and more are cut into chunks (csr.h).
// merged: kShare rows and edges a team, wherever in a row that begins and ends, after Merrill & Garland, "Merge-based
//     parallel sparse matrix-vector multiplication", SC 2016. Nobody waits for a longer row, but every team has to
//     search for where it begins.
#pragma once
#include <optional>

#include "aggregate/aggregate.h"

namespace dlbench {

enum class Split { by_rows, merged };

// A team finds its share in as many steps as the number of rows has bits, each of which waits for memory: so not too
// few. Of a long row one team joins the pieces, and a small graph must do for many teams: so not too many. No GPU has
// measured what is best.
constexpr int64_t kShare = 128;

// Where the mean row is shorter, Yang, Buluc & Owens, "Design principles for sparse matrix multiplication on the GPU",
// Euro-Par 2018, merge, and where it is longer they split by rows. Theirs are kernels in which a warp has a row; no GPU
// has measured it for those here.
constexpr double kShortRow = 9.35;

DLBENCH_SHARED int64_t shares_of(int64_t rows, int64_t edges) { return (rows + edges + kShare - 1) / kShare; }

// Rows that are known to be uneven are merged, and others go by themselves: there, a team idles only while another one
// of its warp has a longer row. Graph knows (_is_uneven in dlbench/ops/graph.py); asking for the lengths here would be
// waiting for the GPU, so where the caller does not tell, their mean must do. A std goes over its edges twice, and by
// rows.
inline Split split_for(Reduction reduction, int64_t rows, int64_t edges, std::optional<bool> uneven) {
  if (reduction == Reduction::std) return Split::by_rows;
  return uneven.value_or(double(edges) < kShortRow * double(rows)) ? Split::merged : Split::by_rows;
}

// How many pieces of rows are written down at most; Aggregation's `partial` has room for two of each.
DLBENCH_SHARED int64_t pieces_of(Split split, int64_t rows, int64_t edges) {
  return split == Split::by_rows ? edges / kFineChunk : 2 * shares_of(rows, edges);
}

}  // namespace dlbench
