// What the CPU's and the GPU's glue of apgd_step_ have in common: its many tensors, and what must hold of them.
#pragma once
#include <array>
#include <string>

#include "perturb/apgd/apgd_step.h"
#include "perturb/ball/arguments.h"

namespace dlbench {

// The tensors that a step changes, in the order of the operator's arguments.
struct ApgdState {
  const at::Tensor &x_adv, &x_prev, &x_best, &grad_best, &loss_best, &loss_prev, &loss_checked, &rises, &halved,
      &step_scale;

  std::array<const at::Tensor*, 4> points() const { return {&x_adv, &x_prev, &x_best, &grad_best}; }
  std::array<const at::Tensor*, 6> numbers() const {
    return {&loss_best, &loss_prev, &loss_checked, &rises, &halved, &step_scale};
  }

  ApgdBooks books() const {
    return {loss_best.mutable_data_ptr<double>(), loss_prev.mutable_data_ptr<double>(),
            loss_checked.mutable_data_ptr<double>(), rises.mutable_data_ptr<int64_t>(), halved.mutable_data_ptr<bool>(),
            step_scale.mutable_data_ptr<double>()};
  }

  template <typename Real, typename Bits>
  ApgdPoints<Real, Bits> points_with(const StepArguments& args) const {
    return {x_adv.mutable_data_ptr<Real>(),  x_prev.mutable_data_ptr<Real>(),
            x_best.mutable_data_ptr<Real>(), args.x.const_data_ptr<Real>(),
            static_cast<const Bits*>(args.grad.const_data_ptr()), static_cast<Bits*>(grad_best.mutable_data_ptr())};
  }
};

inline void check_points(const ApgdState& state, const at::Tensor& x, const at::Tensor& grad) {
  const at::Tensor& x_adv = state.x_adv;
  TORCH_CHECK_VALUE(x_adv.dim() > 0, "x_adv must have a first dimension of samples");
  for (const at::Tensor* tensor : state.points()) {
    const auto kind = tensor == &state.grad_best ? grad.scalar_type() : x_adv.scalar_type();
    TORCH_CHECK_TYPE(tensor->scalar_type() == kind,
                     "x_prev and x_best must be of x_adv's type and grad_best of grad's");
    TORCH_CHECK_VALUE(tensor->sizes() == x_adv.sizes() && tensor->device() == x_adv.device(),
                      "x_prev, x_best and grad_best must have x_adv's shape ", x_adv.sizes(), " and device");
    TORCH_CHECK_VALUE(x_adv.is_contiguous() ? tensor->is_contiguous()
                                            : is_channels_last(x_adv) && is_channels_last(*tensor),
                      "the state's tensors must all be contiguous, or all be channels-last");
    at::assert_no_overlap(*tensor, x);
    at::assert_no_overlap(*tensor, grad);
  }
  const auto points = state.points();
  for (size_t i = 0; i < points.size(); ++i)
    for (size_t j = 0; j < i; ++j) at::assert_no_overlap(*points[i], *points[j]);
}

inline void check_numbers(const ApgdState& state, const at::Tensor& loss) {
  const auto fits = [&](const at::Tensor& tensor, at::ScalarType kind) {
    TORCH_CHECK_VALUE(tensor.scalar_type() == kind && tensor.dim() == 1 && tensor.numel() == state.x_adv.size(0) &&
                          tensor.is_contiguous() && tensor.device() == state.x_adv.device(),
                      "loss and the state's numbers must be contiguous [", state.x_adv.size(0),
                      "] on the state's device: losses and step_scale float64, rises int64, halved bool");
  };
  fits(loss, at::kDouble);
  for (const at::Tensor* tensor : state.numbers())
    fits(*tensor, tensor == &state.rises ? at::kLong : tensor == &state.halved ? at::kBool : at::kDouble);
}

inline void changed(const at::Tensor* tensor) {
  if (!tensor->is_inference()) tensor->unsafeGetTensorImpl()->bump_version();
}

// Checks, lays out and calls run(StepArguments).
template <typename Run>
void with_apgd_arguments(const ApgdState& state, const at::Tensor& x, const at::Tensor& grad, const at::Tensor& loss,
                         const OptionalTensor& table, int64_t since, const std::string& norm,
                         const OptionalTensor& tally, Run run) {
  check_points(state, x, grad);
  check_numbers(state, loss);
  TORCH_CHECK_VALUE(since >= 0, "since_checkpoint must be 0 or more, not ", since);
  TORCH_CHECK_VALUE(norm == "linf" || norm == "l2", "norm must be linf or l2, not ", norm);
  with_ball_arguments(state.x_adv, x, grad, table, tally, run);
  const auto points = state.points();
  const auto numbers = state.numbers();
  std::for_each(points.begin() + 1, points.end(), changed);  // the first of them is counted by now
  std::for_each(numbers.begin(), numbers.end(), changed);
}

}  // namespace dlbench
