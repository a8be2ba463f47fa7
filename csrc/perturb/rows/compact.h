// A stable partition of rows: those to be kept come first, in their order, then the others, in theirs.
//
// One look at the flags tells each row its new place; then any number of tensors can be rearranged, whatever their rows
// are made of.
#pragma once
#include <cstdint>

#include "portable.h"

namespace dlbench {

// place [rows] is a row's new place. Returns the number of rows to be kept.
int64_t partition_cpu(const bool* keep, int64_t* place, int64_t rows);

// The same on the current device, in `stream`; the number is written to *count there.
void partition_cuda(const bool* keep, int64_t* place, int64_t* count, int64_t rows, CUstream_st* stream);

// to[place[row]] = from[row], for rows [begin, end) only, of row_bytes bytes each. from and to do not overlap.
void move_rows_cpu(const void* from, void* to, const int64_t* place, int64_t row_bytes, int64_t begin, int64_t end);

// All rows, on the current device, in `stream`.
void move_rows_cuda(const void* from, void* to, const int64_t* place, int64_t row_bytes, int64_t rows,
                    CUstream_st* stream);

}  // namespace dlbench
