// A graph as the kernels see it: compressed rows, one a target. Row i owns the positions [rowptr[i], rowptr[i+1]); at
// position p, col[p] is the source and edge_id[p] the number of that edge in the caller's order, in which everything
// that belongs to edges is kept (without edge_id the position is that number).
//
// The kernels trust it: who calls them has checked that rowptr does not fall, and that col and edge_id are in range.
#pragma once
#include <cstdint>

namespace dlbench {

template <typename Index>
struct Csr {
  const Index* rowptr;
  const Index* col;
  const Index* edge_id;  // or null
  int64_t rows;

  int64_t edge(int64_t position) const { return edge_id ? edge_id[position] : position; }

  // The first row at which the edges and rows before it amount to `work`. Between two such rows lies a fair share of
  // the work, however unequal the rows are.
  int64_t row_at(int64_t work) const {
    int64_t low = 0, high = rows;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (int64_t(rowptr[middle]) + middle < work)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
};

}  // namespace dlbench
