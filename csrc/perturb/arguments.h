// What the CPU's and the GPU's glue of linf_step_ have in common: the checks, one order in memory for all three tensors,
// and the scalars rounded to the state's type in the direction that keeps the bounds exact.
#pragma once
#include <ATen/MemoryOverlap.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_strided.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "perturb/linf_step.h"

namespace dlbench {

template <typename Real>
Real rounded_down(double value) {
  const Real nearest = static_cast<Real>(value);
  return nearest > value ? std::nextafter(nearest, -std::numeric_limits<Real>::infinity()) : nearest;
}

template <typename Real>
LinfStep<Real> linf_step(double eps, double step_size, double lower, double upper) {
  TORCH_CHECK_VALUE(eps >= 0 && std::isfinite(eps), "eps must be finite and at least 0, not ", eps);
  TORCH_CHECK_VALUE(std::isfinite(step_size), "step_size must be finite, not ", step_size);
  constexpr Real largest = std::numeric_limits<Real>::max();
  // An infinite bound is no bound; as the largest number it is one that arithmetic cannot cross either.
  const LinfStep<Real> step{rounded_down<Real>(eps), static_cast<Real>(step_size),
                            std::max(-rounded_down<Real>(-lower), -largest), std::min(rounded_down<Real>(upper), largest)};
  TORCH_CHECK_VALUE(step.lower <= step.upper, "no number of the state's type lies between lower ", lower, " and upper ",
                    upper);
  return step;
}

struct LinfArguments {
  at::Tensor x_adv, x, grad;
  uint64_t infinity;  // its bits in grad's type

  // f(Real, Bits), by values that only carry their types.
  template <typename F>
  void visit(F f) const {
    x_adv.scalar_type() == at::kFloat ? visit_grad(f, float()) : visit_grad(f, double());
  }

 private:
  template <typename F, typename Real>
  void visit_grad(F f, Real real) const {
    switch (grad.element_size()) {
      case 2:
        return f(real, uint16_t());
      case 4:
        return f(real, uint32_t());
      default:
        return f(real, uint64_t());
    }
  }
};

inline uint64_t infinity_bits(at::ScalarType type) {
  switch (type) {
    case at::kHalf:
      return 0x7c00;
    case at::kBFloat16:
      return 0x7f80;
    case at::kFloat:
      return 0x7f800000;
    case at::kDouble:
      return 0x7ff0000000000000;
    default:
      TORCH_CHECK_TYPE(false, "grad must be float64, float32, bfloat16 or float16, not ", type);
  }
}

// `tensor`, or its copy, with its elements where those of `like` lie.
inline at::Tensor laid_out_as(const at::Tensor& tensor, const at::Tensor& like) {
  if (tensor.strides() == like.strides()) return tensor;
  return at::empty_strided(like.sizes(), like.strides(), tensor.options()).copy_(tensor);
}

// Checks, lays out, calls run(LinfArguments), and hands the result back where x_adv has holes or overlaps.
template <typename Run>
void with_linf_arguments(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, Run run) {
  TORCH_CHECK_TYPE(x_adv.scalar_type() == at::kFloat || x_adv.scalar_type() == at::kDouble,
                   "x_adv must be float32 or float64, not ", x_adv.scalar_type());
  TORCH_CHECK_TYPE(x.scalar_type() == x_adv.scalar_type(), "x is ", x.scalar_type(), " but x_adv is ",
                   x_adv.scalar_type());
  TORCH_CHECK_VALUE(x.sizes() == x_adv.sizes() && grad.sizes() == x_adv.sizes(), "x ", x.sizes(), " and grad ",
                    grad.sizes(), " must have x_adv's shape ", x_adv.sizes());
  TORCH_CHECK_VALUE(x.device() == x_adv.device() && grad.device() == x_adv.device(), "x on ", x.device(),
                    " and grad on ", grad.device(), " must be on x_adv's device ", x_adv.device());
  at::assert_no_internal_overlap(x_adv);
  at::assert_no_partial_overlap(x_adv, x);
  at::assert_no_partial_overlap(x_adv, grad);

  const bool dense = x_adv.is_non_overlapping_and_dense();
  const at::Tensor state = dense ? x_adv : x_adv.contiguous();
  const LinfArguments args{state, laid_out_as(x, state), laid_out_as(grad, state), infinity_bits(grad.scalar_type())};
  if (state.numel() > 0) run(args);
  if (!dense) x_adv.copy_(state);
  // The dispatcher counts the versions of its own operators' results; of others' it must be told.
  if (!x_adv.is_inference()) x_adv.unsafeGetTensorImpl()->bump_version();
}

}  // namespace dlbench
