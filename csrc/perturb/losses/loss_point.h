// One row's loss from its largest logits, for the CPU and the GPU alike.
#pragma once
#include "perturb/losses/losses.h"

namespace dlbench {

template <typename Real>
struct Ranked {
  Real value;
  int32_t index;

  DLBENCH_SHARED bool before(const Ranked& other) const {
    return value > other.value || (value == other.value && index < other.index);
  }
};

// The first n of those that were inserted, in order. The order is total, so that it does not matter when each came. A
// NaN does not enter.
template <typename Real, int n>
struct Top {
  Ranked<Real> rank[n];

  DLBENCH_SHARED Top() {
    for (int j = 0; j < n; ++j) rank[j] = {-kInfinity<Real>, INT32_MAX};
  }

  DLBENCH_SHARED void insert(Ranked<Real> one) {
    for (int j = 0; j < n; ++j) {
      if (!one.before(rank[j])) continue;
      const Ranked<Real> next = rank[j];
      rank[j] = one;
      one = next;
    }
  }
};

template <LossKind kind, typename Element>
DLBENCH_SHARED void write_loss(const LossTask<Element>& task, int64_t row,
                               const Top<Widened<Element>, kRanks<kind>>& top, bool any_nan) {
  using Real = Widened<Element>;
  constexpr int width = kPlaces<kind>;
  const Element* z = task.logits + row * task.classes;
  int64_t* place = task.places + row * width;
  Real* slope = task.slopes + row * width;
  const int64_t y = task.y[row], t = kind == LossKind::targeted_dlr ? task.target[row] : 0;
  const bool known = uint64_t(y) < uint64_t(task.classes) && uint64_t(t) < uint64_t(task.classes);
  if (any_nan || !known) {
    for (int j = 0; j < width; ++j) {
      place[j] = known ? y : 0;
      slope[j] = kNan<Real>;
    }
    task.loss[row] = kNan<Real>;
    return;
  }

  const int64_t other = top.rank[0].index == y ? top.rank[1].index : top.rank[0].index;
  place[0] = y;
  place[1] = kind == LossKind::targeted_dlr ? t : other;
  const Real gap = widened(z[place[1]]) - widened(z[y]);
  Real spread = 1;
  if constexpr (kind == LossKind::dlr) spread = top.rank[0].value - top.rank[2].value + Real(1e-12);
  if constexpr (kind == LossKind::targeted_dlr)
    spread = top.rank[0].value - Real(0.5) * (top.rank[2].value + top.rank[3].value) + Real(1e-12);
  const Real loss = gap / spread;
  task.loss[row] = loss;
  slope[0] = -1 / spread;
  slope[1] = 1 / spread;
  if constexpr (kind == LossKind::margin) return;
  const Real of_spread = loss / spread;
  place[2] = top.rank[0].index;
  slope[2] = -of_spread;
  for (int j = 3; j < width; ++j) {
    place[j] = top.rank[j - 1].index;
    slope[j] = of_spread / (width - 3);
  }
}

}  // namespace dlbench
