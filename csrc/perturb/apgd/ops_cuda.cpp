// apgd_step_ for torch, on an NVIDIA GPU: as apgd_ops_cpu.cpp, on the tensors' device and in torch's current stream.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "perturb/apgd/arguments.h"

namespace dlbench {
namespace {

// The limits of every sample, its step scaled; by kernels, not by a copy, which would wait for the host.
template <typename Real>
at::Tensor scaled_table(const BallLimits<Real>& limits, const StepArguments& args, const at::Tensor& step_scale) {
  at::Tensor table = at::empty({4, args.batch.samples, limits.table.channels}, args.x_adv.options());
  const Real values[4] = {limits.all.eps, limits.all.step, limits.all.lower, limits.all.upper};
  if (args.table) table.copy_(*args.table);
  else
    for (int i = 0; i < 4; ++i) table.select(0, i).fill_(values[i]);
  table.select(0, 1).mul_(step_scale.unsqueeze(1));
  return table;
}

void apgd_step_(const at::Tensor& x_adv, const at::Tensor& x_prev, const at::Tensor& x_best,
                const at::Tensor& grad_best, const at::Tensor& loss_best, const at::Tensor& loss_prev,
                const at::Tensor& loss_checked, const at::Tensor& rises, const at::Tensor& halved,
                const at::Tensor& step_scale, const at::Tensor& x, const at::Tensor& grad, const at::Tensor& loss,
                double eps, double step_size, double lower, double upper, const OptionalTensor& table, double momentum,
                int64_t since_checkpoint, double rho, std::string norm, const OptionalTensor& tally) {
  const c10::cuda::CUDAGuard guard(x_adv.device());
  const ApgdState state{x_adv,     x_prev,       x_best, grad_best, loss_best,
                        loss_prev, loss_checked, rises,  halved,    step_scale};
  with_apgd_arguments(state, x, grad, loss, table, since_checkpoint, norm, tally, [&](const StepArguments& args) {
    const auto stream = c10::cuda::getCurrentCUDAStream().stream();
    const at::Tensor bytes = at::empty({args.batch.samples}, x_adv.options().dtype(at::kByte));
    ApgdMove* const moves = reinterpret_cast<ApgdMove*>(bytes.mutable_data_ptr<uint8_t>());
    visit_step(args, [&](auto to) {
      using Real = typename decltype(to)::Real;
      using Format = typename decltype(to)::Format;
      using Bits = typename Format::Bits;
      BallLimits<Real> limits = ball_limits<Real>(args, eps, step_size, lower, upper);
      const auto points = state.points_with<Real, Bits>(args);
      int64_t* const counts = args.observers().tally;
      apgd_judge_cuda(state.books(), loss.const_data_ptr<double>(), args.batch.samples, since_checkpoint, rho, moves,
                      stream);
      if (norm == "linf") {
        apgd_step_cuda(moves, step_scale.const_data_ptr<double>(), points,
                       FloatBits<Bits>{Format::kInfinity, Format::kSmallestNormal}, args.batch, limits,
                       static_cast<Real>(momentum), counts, stream);
      } else {
        const at::Tensor scaled = scaled_table(limits, args, step_scale), z = at::empty_like(args.x_adv);
        limits.table = args.template limits_table<Real>(scaled);
        at::Tensor slopes;  // only where samples may be sent back
        if (since_checkpoint > 0) slopes = at::empty_like(args.grad);
        apgd_l2_step_cuda<Format>(moves, points, args.batch, limits, static_cast<Real>(momentum),
                                  z.template mutable_data_ptr<Real>(),
                                  slopes.defined() ? static_cast<Bits*>(slopes.mutable_data_ptr()) : nullptr, counts,
                                  stream);
      }
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) { m.impl("apgd_step_", apgd_step_); }

}  // namespace
}  // namespace dlbench
