// linf_step_ for torch, on an NVIDIA GPU: as ops_cpu.cpp, on the tensors' device and in torch's current stream.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "perturb/arguments.h"

namespace dlbench {
namespace {

void linf_step_(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, double eps, double step_size,
                double lower, double upper) {
  const c10::cuda::CUDAGuard guard(x_adv.device());
  with_linf_arguments(x_adv, x, grad, [&](const LinfArguments& args) {
    args.visit([&](auto real, auto bits) {
      using Real = decltype(real);
      using Bits = decltype(bits);
      linf_step_cuda(args.x_adv.mutable_data_ptr<Real>(), args.x.const_data_ptr<Real>(),
                     static_cast<const Bits*>(args.grad.const_data_ptr()), static_cast<Bits>(args.infinity),
                     args.x_adv.numel(), linf_step<Real>(eps, step_size, lower, upper),
                     c10::cuda::getCurrentCUDAStream().stream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) { m.impl("linf_step_", linf_step_); }

}  // namespace
}  // namespace dlbench
