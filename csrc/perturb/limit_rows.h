// Limits written out element by element, as loops over vectors want them.
#pragma once
#include <cstdint>
#include <vector>

#include "perturb/limits.h"

namespace dlbench {

// Of the elements of a sample from `first` on: four rows.
template <typename Real>
struct Rows {
  std::vector<Real> values;

  Limits<const Real*> fill(const LimitsTable<Real>& table, const Batch& batch, int64_t sample, int64_t first, int64_t n,
                           Real step_scale = 1) {
    values.resize(4 * n);
    Real* row = values.data();
    for (int64_t i = 0; i < n; ++i) {
      const Limits<Real> limits = table.at(sample, batch.channel(first + i));
      row[i] = limits.eps, row[n + i] = step_scale * limits.step;
      row[2 * n + i] = limits.lower, row[3 * n + i] = limits.upper;
    }
    return {row, row + n, row + 2 * n, row + 3 * n};
  }
};

}  // namespace dlbench
