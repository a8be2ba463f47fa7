// Four norms of each row of a - b (or of a), in one pass:
//
//     norms[row] = number of nonzeros, sum |d|, sqrt(sum d^2), max |d|
//
// d is the difference in double, in which that of half types and floats of like size is exact. The order of the sums is
// fixed by the code and the row's length: neither threads nor other rows change a bit. A NaN counts as a nonzero and
// makes the other three NaN. Squares overflow and vanish as doubles do, outside of 1e-154 < |d| < 1e154.
#pragma once
#include <cmath>
#include <cstdint>

#include "perturb/element.h"

namespace dlbench {

template <typename Element>
struct NormsTask {
  const Element* a;  // [rows, elements]
  const Element* b;  // the same, or null
  double* norms;     // [rows, 4]
  int64_t rows, elements;
};

// Rows [begin, end) only. Element: float, double, Half, BFloat16.
template <typename Element>
void lp_norms_cpu(const NormsTask<Element>& task, int64_t begin, int64_t end);

// All rows, on the current device, in `stream`.
template <typename Element>
void lp_norms_cuda(const NormsTask<Element>& task, CUstream_st* stream);

// The parts of a row's norms, from which they are put together.
struct NormParts {
  double nonzeros, sum, squares, most;

  // A maximum passes over NaNs; a sum of magnitudes is NaN only where one of them is.
  DLBENCH_SHARED void write(double* norms) const {
    norms[0] = nonzeros;
    norms[1] = sum;
    norms[2] = std::sqrt(squares);
    norms[3] = sum == sum ? most : sum;
  }
};

}  // namespace dlbench
