// Adds weighted rows of features [heads, features] to one or two sums, each head with weights of its own.
#pragma once
#include <algorithm>
#include <cstdint>

namespace dlbench {

template <typename Real>
struct WeightedRows {
  const Real* const* rows;  // [count], wherever they lie
  const Real* weights[2];   // [count, heads] each
  Real* sums[2];            // [heads, features] each
  int64_t count, heads, features;
};

// Adds to sums[0], and to sums[1] as well where `Sums` is 2. Real: float, double.
template <int Sums, typename Real>
void add_weighted_rows(const WeightedRows<Real>& task);

}  // namespace dlbench
