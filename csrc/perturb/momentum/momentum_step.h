// One step of the momentum iterative method (MI-FGSM; Dong et al., CVPR 2018, algorithm 1), in place:
//
//     momentum <- decay * momentum + grad / |grad|_1
//     x_adv <- clip(x_adv + step * sign(momentum), max(lower, x - eps), min(upper, x + eps))
//
// with the norm taken over a sample, and the bounds exact as in linf_step.h. Elements of the gradient that are infinite
// or NaN count as 0; where a sample has no others its momentum only decays.
#pragma once
#include <cstdint>

#include "perturb/gradient.h"
#include "perturb/limits.h"
#include "portable.h"

namespace dlbench {

// What a sample's gradient is multiplied by: by a power of two first, lest its norm leave double's range.
struct L1Rate {
  double scale, inverse;

  template <typename Format, typename Real>
  DLBENCH_SHARED Real gathered(Real momentum, typename Format::Bits grad, double decay) const {
    return static_cast<Real>(decay * momentum + finite<Format>(grad) * scale * inverse);
  }
};

template <typename Real>
struct FormatOf;
template <>
struct FormatOf<float> {
  using type = Binary32;
};
template <>
struct FormatOf<double> {
  using type = Binary64;
};

// n elements, dense, in one order for all. limits: one set for all (Limits<Real>), or rows (Limits<const Real*>).
template <typename Format, typename Real, typename AnyLimits>
void momentum_step_cpu(Real* x_adv, const Real* x, const typename Format::Bits* grad, Real* momentum, int64_t n,
                       L1Rate rate, double decay, const AnyLimits& limits);

template <typename Format>
L1Rate l1_rate_cpu(const typename Format::Bits* grad, int64_t n);

// All samples, on the current device, in `stream`. limits.values may be null, then `common` holds; tally may be null;
// rates has room for one a sample.
template <typename Format, typename Real>
void momentum_step_cuda(Real* x_adv, const Real* x, const typename Format::Bits* grad, Real* momentum, Batch batch,
                        Limits<Real> common, LimitsTable<Real> table, double decay, int64_t* tally, L1Rate* rates,
                        CUstream_st* stream);

}  // namespace dlbench
