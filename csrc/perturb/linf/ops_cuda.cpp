// linf_step_ for torch, on an NVIDIA GPU: as ops_cpu.cpp, on the tensors' device and in torch's current stream.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "perturb/arguments.h"
#include "perturb/linf/linf_step.h"

namespace dlbench {
namespace {

// The same limits for all samples, as a table on the device; by kernels, not by a copy, which would wait for the host.
template <typename Real>
at::Tensor table_of(const Limits<Real>& limits, const at::Tensor& like) {
  at::Tensor table = at::empty({4, 1, 1}, like.options());
  const Real values[4] = {limits.eps, limits.step, limits.lower, limits.upper};
  for (int i = 0; i < 4; ++i) table.select(0, i).fill_(values[i]);
  return table;
}

void linf_step_(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, double eps, double step_size,
                double lower, double upper, const OptionalTensor& table, const OptionalTensor& hash,
                const OptionalTensor& tally) {
  const c10::cuda::CUDAGuard guard(x_adv.device());
  with_step_arguments(x_adv, x, grad, table, hash, tally, [&](const StepArguments& args) {
    args.visit([&](auto real, auto bits) {
      using Real = decltype(real);
      using Bits = decltype(bits);
      const Limits<Real> limits = limits_of<Real>(eps, step_size, lower, upper);
      Real* state = args.x_adv.template mutable_data_ptr<Real>();
      const Real* centre = args.x.template const_data_ptr<Real>();
      const Bits* slope = static_cast<const Bits*>(args.grad.const_data_ptr());
      const auto stream = c10::cuda::getCurrentCUDAStream().stream();
      if (args.uniform()) {
        linf_step_cuda(state, centre, slope, static_cast<Bits>(args.infinity), args.x_adv.numel(), limits, stream);
      } else {
        if (hash) hash->zero_();
        const at::Tensor values = table ? *table : table_of(limits, x_adv);
        linf_step_cuda(state, centre, slope, args.template kind<Bits>(), args.batch,
                       args.template limits_table<Real>(values), args.observers(), stream);
      }
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) { m.impl("linf_step_", linf_step_); }

}  // namespace
}  // namespace dlbench
