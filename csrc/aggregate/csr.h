// A graph as the kernels see it: compressed rows, one a target. Row i owns the positions [rowptr[i], rowptr[i+1]); at
// position p, col[p] is the source and edge_id[p] the number of that edge in the caller's order, in which everything
// that belongs to edges is kept (without edge_id the position is that number).
//
// The kernels trust it: who calls them has checked that rowptr does not fall, and that col and edge_id are in range.
#pragma once
#include <cstdint>

#include "portable.h"

namespace dlbench {

template <typename Index>
struct Csr {
  const Index* rowptr;
  const Index* col;
  const Index* edge_id;  // or null
  int64_t rows;

  DLBENCH_SHARED int64_t edge(int64_t position) const { return edge_id ? edge_id[position] : position; }

  // The row that a position belongs to.
  DLBENCH_SHARED int64_t row_of(int64_t position) const {
    return first_row([&](int64_t row) { return rowptr[row + 1] > position; });
  }

  // The first row before which lie at least `work` edges and rows. Between two such rows lies a fair share of the work,
  // however unequal the rows are.
  DLBENCH_SHARED int64_t row_at(int64_t work) const {
    return first_row([&](int64_t row) { return rowptr[row] + row >= work; });
  }

 private:
  // The first row for which a condition holds that, once true, stays true.
  template <typename Condition>
  DLBENCH_SHARED int64_t first_row(Condition holds) const {
    int64_t low = 0, high = rows;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (holds(middle))
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }
};

}  // namespace dlbench
