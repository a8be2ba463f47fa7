// l2_step_, l1_step_ and project_ for torch, on an NVIDIA GPU: on the tensors' device and in torch's current stream.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "perturb/ball/arguments.h"

namespace dlbench {
namespace {

void l2_step_(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, double eps, double step_size,
              double lower, double upper, const OptionalTensor& table, const OptionalTensor& tally) {
  const c10::cuda::CUDAGuard guard(x_adv.device());
  with_ball_arguments(x_adv, x, grad, table, tally, [&](const StepArguments& args) {
    visit_step(args, [&](auto to) {
      using Format = typename decltype(to)::Format;
      const auto limits = ball_limits<typename decltype(to)::Real>(args, eps, step_size, lower, upper);
      l2_step_cuda<Format>(to.x_adv, to.x, to.grad, args.batch, limits, args.observers().tally,
                           c10::cuda::getCurrentCUDAStream().stream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
}

void l1_step_(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, double eps, double step_size,
              double lower, double upper, double sparsity, const OptionalTensor& table,
              const OptionalTensor& sparsities, const OptionalTensor& tally) {
  const c10::cuda::CUDAGuard guard(x_adv.device());
  with_ball_arguments(x_adv, x, grad, table, tally, [&](const StepArguments& args) {
    const Sparsity chosen = sparsity_of(args, sparsity, sparsities);
    visit_step(args, [&](auto to) {
      using Format = typename decltype(to)::Format;
      const auto limits = ball_limits<typename decltype(to)::Real>(args, eps, step_size, lower, upper);
      l1_step_cuda<Format>(to.x_adv, to.x, to.grad, args.batch, limits, chosen, args.observers().tally,
                           c10::cuda::getCurrentCUDAStream().stream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
}

void project_(const at::Tensor& x_adv, const at::Tensor& x, double eps, double lower, double upper, std::string norm,
              const OptionalTensor& table) {
  const c10::cuda::CUDAGuard guard(x_adv.device());
  with_ball_arguments(x_adv, x, x, table, std::nullopt, [&](const StepArguments& args) {
    visit_ball(args, norm, [&](auto ball) {
      using Real = typename decltype(ball)::Real;
      const auto limits = ball_limits<Real>(args, eps, 0, lower, upper);
      project_cuda<decltype(ball)>(args.x_adv.template mutable_data_ptr<Real>(), args.x.template const_data_ptr<Real>(),
                                   args.batch, limits, c10::cuda::getCurrentCUDAStream().stream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) {
  m.impl("l2_step_", l2_step_);
  m.impl("l1_step_", l1_step_);
  m.impl("project_", project_);
}

}  // namespace
}  // namespace dlbench
