// A graph as the kernels see it: compressed rows, one a target. Row i owns the positions [rowptr[i], rowptr[i+1]); at
// position p, col[p] is the source and edge_id[p] the number of that edge in the caller's order, in which everything
// that belongs to edges is kept (without edge_id the position is that number).
//
// The kernels trust it: who calls them has checked that rowptr does not fall, and that col and edge_id are in range.
#pragma once
#include <cstdint>

#include "portable.h"

namespace dlbench {

// Rows of twice this many edges and more are cut into chunks of so many, the last of them longer, which threads share.
// Where a row is cut depends on nothing but the row, so that neither do the bits of its result. A GPU, with its many
// threads, cuts finer.
constexpr int64_t kChunk = 4096;
constexpr int64_t kFineChunk = 256;

// A place between two threads' shares: in front of a row, or, where the row is cut, in front of one of its chunks.
struct Mark {
  int64_t row, position;
};

template <typename Index>
struct Csr {
  const Index* rowptr;
  const Index* col;
  const Index* edge_id;  // or null
  int64_t rows;

  DLBENCH_SHARED int64_t edge(int64_t position) const { return edge_id ? edge_id[position] : position; }

  DLBENCH_SHARED int64_t edges_of(int64_t row) const { return int64_t(rowptr[row + 1]) - rowptr[row]; }

  // The row that a position belongs to.
  DLBENCH_SHARED int64_t row_of(int64_t position) const {
    return first_row(0, rows, [&](int64_t row) { return rowptr[row + 1] > position; });
  }

  // Into how many chunks a row is cut, or 0 where it stays whole.
  DLBENCH_SHARED int64_t chunks_of(int64_t row, int64_t chunk = kChunk) const {
    const int64_t chunks = edges_of(row) / chunk;
    return chunks < 2 ? 0 : chunks;
  }

  // The number of a row's first chunk. Chunks of different rows have different numbers, less than edges / chunk.
  DLBENCH_SHARED int64_t first_chunk(int64_t row, int64_t chunk = kChunk) const { return rowptr[row] / chunk; }

  // The last mark before which lie at most `work` edges and rows: between two of them lies a fair share of the work,
  // however unequal the rows are.
  DLBENCH_SHARED Mark mark_at(int64_t work) const {
    const int64_t row = first_row(0, rows, [&](int64_t i) { return rowptr[i + 1] + i + 1 > work; });
    if (row == rows) return {rows, rowptr[rows]};
    const int64_t start = rowptr[row], chunks = chunks_of(row);
    if (chunks == 0 || work - row <= start) return {row, start};
    const int64_t chunk = (work - row - start) / kChunk;
    return {row, start + (chunk < chunks ? chunk : chunks - 1) * kChunk};
  }

  // The mark before which lie exactly `work` edges and ends of rows, a row's end coming after its edges: it may lie
  // inside of a row, or between its last edge and its end. Its row is sought in [low, high].
  DLBENCH_SHARED Mark merged_at(int64_t work, int64_t low, int64_t high) const {
    const int64_t row = first_row(low, high, [&](int64_t i) { return rowptr[i + 1] + i + 1 > work; });
    return {row, work - row};
  }

  // visit(row, first, last, chunk) for whatever lies between two marks: whole rows, whose chunk is -1, and chunks.
  template <typename Visit>
  DLBENCH_SHARED void between(Mark begin, Mark end, Visit visit) const {
    int64_t row = begin.row, first = begin.position;
    while (row < end.row || first < end.position) {
      const int64_t start = rowptr[row];
      int64_t last = rowptr[row + 1], chunk = -1, next = row + 1;
      if (last - start >= 2 * kChunk) {
        const int64_t k = (first - start) / kChunk;
        chunk = first_chunk(row) + k;
        if (k + 1 < chunks_of(row)) last = first + kChunk, next = row;
      }
      visit(row, first, last, chunk);
      row = next, first = last;
    }
  }

 private:
  // The first of the rows [low, high) for which a condition holds that, once true, stays true; high if there is none.
  template <typename Condition>
  DLBENCH_SHARED int64_t first_row(int64_t low, int64_t high, Condition holds) const {
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

// f(Element, Index) for all pairs.
#define DLBENCH_FOR_ALL_ELEMENTS(f) \
  f(float, int32_t) f(float, int64_t) f(double, int32_t) f(double, int64_t) \
  f(BFloat16, int32_t) f(BFloat16, int64_t) f(Half, int32_t) f(Half, int64_t)
