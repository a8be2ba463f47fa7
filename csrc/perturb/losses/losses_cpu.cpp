#include <algorithm>
#include <cmath>

#include "perturb/losses/loss_point.h"

namespace dlbench {
namespace {

constexpr int64_t kBlock = 64;  // logits that are looked at one by one only if their largest is among the first

// The n largest of a row's logits; whether one is NaN.
template <int n, typename Element>
bool find_largest(const Element* z, int64_t classes, Top<Widened<Element>, n>& top) {
  using Real = Widened<Element>;
  const Ranked<Real>& last = top.rank[n - 1];
  for (int64_t begin = 0; begin < classes; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, classes);
    Real most = -kInfinity<Real>;
    int nans = 0;
#pragma omp simd reduction(max : most) reduction(| : nans)
    for (int64_t i = begin; i < end; ++i) {
      const Real v = widened(z[i]);
      most = v > most ? v : most;
      nans |= v != v;
    }
    if (nans) return true;
    if (!Ranked<Real>{most, int32_t(begin)}.before(last)) continue;
    for (int64_t i = begin; i < end; ++i) {
      const Ranked<Real> one{widened(z[i]), int32_t(i)};
      if (one.before(last)) top.insert(one);
    }
  }
  return false;
}

}  // namespace

template <LossKind kind, typename Element>
void loss_cpu(const LossTask<Element>& task, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    Top<Widened<Element>, kRanks<kind>> top;
    const bool any_nan = find_largest(task.logits + row * task.classes, task.classes, top);
    write_loss<kind>(task, row, top, any_nan);
  }
}

template <typename Real>
void scatter_slopes_cpu(const ScatterTask<Real>& task, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    Real* out = task.out + row * task.classes;
    std::fill_n(out, task.classes, Real(0));
    for (int64_t j = row * task.width; j < (row + 1) * task.width; ++j)
      out[task.places[j]] += std::fma(task.slopes[j], task.grad[row], Real(0));
  }
}

#define DLBENCH_INSTANTIATE(Element)                                                             \
  template void loss_cpu<LossKind::margin, Element>(const LossTask<Element>&, int64_t, int64_t); \
  template void loss_cpu<LossKind::dlr, Element>(const LossTask<Element>&, int64_t, int64_t);    \
  template void loss_cpu<LossKind::targeted_dlr, Element>(const LossTask<Element>&, int64_t, int64_t);
DLBENCH_INSTANTIATE(float)
DLBENCH_INSTANTIATE(double)
DLBENCH_INSTANTIATE(Half)
DLBENCH_INSTANTIATE(BFloat16)

template void scatter_slopes_cpu(const ScatterTask<float>&, int64_t, int64_t);
template void scatter_slopes_cpu(const ScatterTask<double>&, int64_t, int64_t);

}  // namespace dlbench
