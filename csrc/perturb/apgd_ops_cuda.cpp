// apgd_step_ for torch, on an NVIDIA GPU: as apgd_ops_cpu.cpp, on the tensors' device and in torch's current stream.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "perturb/apgd_arguments.h"

namespace dlbench {
namespace {

void apgd_step_(const at::Tensor& x_adv, const at::Tensor& x_prev, const at::Tensor& x_best,
                const at::Tensor& grad_best, const at::Tensor& loss_best, const at::Tensor& loss_prev,
                const at::Tensor& loss_checked, const at::Tensor& rises, const at::Tensor& halved,
                const at::Tensor& step_scale, const at::Tensor& x, const at::Tensor& grad, const at::Tensor& loss,
                double eps, double step_size, double lower, double upper, const OptionalTensor& table, double momentum,
                int64_t since_checkpoint, double rho, const OptionalTensor& tally) {
  const c10::cuda::CUDAGuard guard(x_adv.device());
  const ApgdState state{x_adv,     x_prev,       x_best, grad_best, loss_best,
                        loss_prev, loss_checked, rises,  halved,    step_scale};
  with_apgd_arguments(state, x, grad, loss, table, since_checkpoint, tally, [&](const StepArguments& args) {
    const at::Tensor moves = at::empty({args.batch.samples}, x_adv.options().dtype(at::kByte));
    args.visit([&](auto real, auto bits) {
      using Real = decltype(real);
      using Bits = decltype(bits);
      apgd_step_cuda(state.books(), loss.const_data_ptr<double>(), since_checkpoint, rho,
                     reinterpret_cast<ApgdMove*>(moves.mutable_data_ptr<uint8_t>()),
                     state.points_with<Real, Bits>(args), args.template kind<Bits>(), args.batch,
                     limits_of<Real>(eps, step_size, lower, upper),
                     table ? args.template limits_table<Real>(*table) : LimitsTable<Real>{nullptr, 1, 1},
                     static_cast<Real>(momentum), args.observers().tally, c10::cuda::getCurrentCUDAStream().stream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) { m.impl("apgd_step_", apgd_step_); }

}  // namespace
}  // namespace dlbench
