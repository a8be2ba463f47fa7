// momentum_step_ for torch, on an NVIDIA GPU: on the tensors' device and in torch's current stream.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "perturb/momentum/arguments.h"

namespace dlbench {
namespace {

void momentum_step_(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, const at::Tensor& momentum,
                    double decay, double eps, double step_size, double lower, double upper, const OptionalTensor& table,
                    const OptionalTensor& tally) {
  const c10::cuda::CUDAGuard guard(x_adv.device());
  const auto run = [&](const StepArguments& args, const at::Tensor& own) {
    const at::Tensor rates = at::empty({args.batch.samples, 2}, x_adv.options().dtype(at::kDouble));
    visit_step(args, [&](auto to) {
      using Real = typename decltype(to)::Real;
      using Format = typename decltype(to)::Format;
      const auto limits = ball_limits<Real>(args, eps, step_size, lower, upper);
      momentum_step_cuda<Format>(to.x_adv, to.x, to.grad, own.mutable_data_ptr<Real>(), args.batch, limits.all,
                                 limits.table, decay, args.observers().tally,
                                 reinterpret_cast<L1Rate*>(rates.mutable_data_ptr<double>()),
                                 c10::cuda::getCurrentCUDAStream().stream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  };
  with_momentum_arguments(x_adv, x, grad, momentum, decay, table, tally, run);
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) { m.impl("momentum_step_", momentum_step_); }

}  // namespace
}  // namespace dlbench
