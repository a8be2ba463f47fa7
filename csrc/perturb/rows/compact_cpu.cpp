#include <algorithm>
#include <cstring>

#include "perturb/rows/compact.h"

namespace dlbench {
namespace {

// Rows of labels and numbers: a copy whose size the compiler knows is one instruction.
template <int bytes>
void move_small_rows(const char* from, char* to, const int64_t* place, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) std::memcpy(to + place[row] * bytes, from + row * bytes, bytes);
}

}  // namespace

int64_t partition_cpu(const bool* keep, int64_t* place, int64_t rows) {
  const int64_t count = std::count(keep, keep + rows, true);
  int64_t kept = 0;
  for (int64_t row = 0; row < rows; ++row) {
    place[row] = keep[row] ? kept : count + row - kept;
    kept += keep[row];
  }
  return count;
}

void move_rows_cpu(const void* from_, void* to_, const int64_t* place, int64_t row_bytes, int64_t begin, int64_t end) {
  const char* from = static_cast<const char*>(from_);
  char* to = static_cast<char*>(to_);
  switch (row_bytes) {
    case 1:
      return move_small_rows<1>(from, to, place, begin, end);
    case 4:
      return move_small_rows<4>(from, to, place, begin, end);
    case 8:
      return move_small_rows<8>(from, to, place, begin, end);
  }
  for (int64_t row = begin; row < end; ++row)
    std::memcpy(to + place[row] * row_bytes, from + row * row_bytes, row_bytes);
}

}  // namespace dlbench
