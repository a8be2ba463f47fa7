// What the CPU's and the GPU's glue of momentum_step_ have in common.
#pragma once
#include "perturb/ball/arguments.h"
#include "perturb/momentum/momentum_step.h"

namespace dlbench {

// Checks, lays out sample by sample, calls run(StepArguments, momentum laid out alike).
template <typename Run>
void with_momentum_arguments(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad,
                             const at::Tensor& momentum, double decay, const OptionalTensor& table,
                             const OptionalTensor& tally, Run run) {
  TORCH_CHECK_TYPE(momentum.scalar_type() == x_adv.scalar_type(), "momentum is ", momentum.scalar_type(),
                   " but x_adv is ", x_adv.scalar_type());
  TORCH_CHECK_VALUE(momentum.sizes() == x_adv.sizes() && momentum.device() == x_adv.device(), "momentum ",
                    momentum.sizes(), " on ", momentum.device(), " must have x_adv's shape and device");
  TORCH_CHECK_VALUE(decay >= 0 && std::isfinite(decay), "decay must be finite and at least 0, not ", decay);
  at::assert_no_internal_overlap(momentum);
  for (const at::Tensor* other : {&x_adv, &x, &grad}) at::assert_no_overlap(momentum, *other);
  with_ball_arguments(x_adv, x, grad, table, tally, [&](const StepArguments& args) {
    const at::Tensor own = laid_out_as(momentum, args.x_adv);
    run(args, own);
    if (!own.is_same(momentum)) momentum.copy_(own);
  });
  if (!momentum.is_inference()) momentum.unsafeGetTensorImpl()->bump_version();
}

}  // namespace dlbench
