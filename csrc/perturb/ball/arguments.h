// What the CPU's and the GPU's glue of the L2 and the L1 ball have in common.
#pragma once
#include <string>

#include "perturb/arguments.h"
#include "perturb/ball/ball.h"

namespace dlbench {

// Checks, lays out sample by sample, calls run(StepArguments), and hands the result back where x_adv has holes.
template <typename Run>
void with_ball_arguments(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad,
                         const OptionalTensor& table, const OptionalTensor& tally, Run run) {
  check_state(x_adv, x, grad);
  StepArguments args{x_adv, x, grad, {}, table, std::nullopt, tally, 0, 0};
  const bool fits = x_adv.is_contiguous() || is_channels_last(x_adv);
  if (!fits) args.x_adv = x_adv.contiguous();
  args.x = laid_out_as(x, args.x_adv);
  if (args.x.const_data_ptr() == args.x_adv.const_data_ptr()) args.x = args.x.clone();  // looked at after x_adv changes
  args.grad = laid_out_as(grad, args.x_adv);
  args.batch = batch_of(args.x_adv);
  check_extras(x_adv, args);

  if (args.x_adv.numel() > 0) run(args);
  if (!fits) x_adv.copy_(args.x_adv);
  if (!x_adv.is_inference()) x_adv.unsafeGetTensorImpl()->bump_version();
}

template <typename Real_, typename Format_>
struct StepPointers {
  using Real = Real_;
  using Format = Format_;
  Real* x_adv;
  const Real* x;
  const typename Format::Bits* grad;

  explicit StepPointers(const StepArguments& args)
      : x_adv(args.x_adv.mutable_data_ptr<Real>()),
        x(args.x.const_data_ptr<Real>()),
        grad(static_cast<const typename Format::Bits*>(args.grad.const_data_ptr())) {}
};

// f(StepPointers) of the state's and the gradient's type.
template <typename F>
void visit_step(const StepArguments& args, F f) {
  const auto with_format = [&](auto format) {
    using Format = decltype(format);
    args.x_adv.scalar_type() == at::kFloat ? f(StepPointers<float, Format>(args))
                                           : f(StepPointers<double, Format>(args));
  };
  switch (args.grad.scalar_type()) {
    case at::kHalf:
      return with_format(Binary16());
    case at::kBFloat16:
      return with_format(Brain16());
    case at::kFloat:
      return with_format(Binary32());
    case at::kDouble:
      return with_format(Binary64());
    default:
      TORCH_CHECK_TYPE(false, "grad must be float64, float32, bfloat16 or float16, not ", args.grad.scalar_type());
  }
}

// f(L2 or L1) of the state's type, for a norm's name; only the type counts.
template <typename F>
void visit_ball(const StepArguments& args, const std::string& norm, F f) {
  TORCH_CHECK_VALUE(norm == "l2" || norm == "l1", "norm must be l2 or l1, not ", norm);
  if (args.x_adv.scalar_type() == at::kFloat)
    norm == "l2" ? f(L2<float>(0)) : f(L1<float>(0));
  else
    norm == "l2" ? f(L2<double>(0)) : f(L1<double>(0));
}

template <typename Real>
BallLimits<Real> ball_limits(const StepArguments& args, double eps, double step_size, double lower, double upper) {
  if (args.table) return {{}, args.limits_table<Real>(*args.table)};
  return {limits_of<Real>(eps, step_size, lower, upper), {nullptr, 1, 1}};
}

inline Sparsity sparsity_of(const StepArguments& args, double sparsity, const OptionalTensor& each) {
  if (!each) {
    TORCH_CHECK_VALUE(sparsity > 0 && sparsity <= 1, "sparsity must be in (0, 1], not ", sparsity);
    return {sparsity, nullptr};
  }
  TORCH_CHECK_VALUE(each->scalar_type() == at::kDouble && each->is_contiguous() &&
                        each->numel() == args.batch.samples && each->device() == args.x_adv.device(),
                    "sparsities must be float64 [", args.batch.samples, "], contiguous, on the state's device");
  return {sparsity, each->const_data_ptr<double>()};
}

}  // namespace dlbench
