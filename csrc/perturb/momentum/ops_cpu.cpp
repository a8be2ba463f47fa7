// momentum_step_ for torch, on the CPU.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "perturb/limit_rows.h"
#include "perturb/momentum/arguments.h"

namespace dlbench::momentum_on_cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements below which a thread costs more than it saves
constexpr int64_t kBlock = 4096;   // elements whose momentum is still in the first cache when the step comes

template <typename Real, typename Format>
void run_sample(const StepPointers<Real, Format>& to, Real* momentum, const StepArguments& args,
                const BallLimits<Real>& limits, double decay, int64_t sample, Rows<Real>& rows) {
  const Batch& batch = args.batch;
  const L1Rate rate = l1_rate_cpu<Format>(to.grad + sample * batch.size(), batch.size());
  for (int64_t first = 0; first < batch.size(); first += kBlock) {
    const int64_t n = std::min(kBlock, batch.size() - first), at = sample * batch.size() + first;
    const auto step = [&](const auto& own) {
      momentum_step_cpu<Format>(to.x_adv + at, to.x + at, to.grad + at, momentum + at, n, rate, decay, own);
    };
    limits.by_channel() ? step(rows.fill(limits.table, batch, sample, first, n)) : step(limits.at(sample, 0));
    if (args.tally)
      tally_cpu(to.grad + at, n, {Format::kInfinity, Format::kSmallestNormal},
                args.observers().tally + sample * kKinds);
  }
}

void momentum_step_(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, const at::Tensor& momentum,
                    double decay, double eps, double step_size, double lower, double upper, const OptionalTensor& table,
                    const OptionalTensor& tally) {
  const auto run = [&](const StepArguments& args, const at::Tensor& own) {
    visit_step(args, [&](auto to) {
      using Real = typename decltype(to)::Real;
      const auto limits = ball_limits<Real>(args, eps, step_size, lower, upper);
      Real* gathered = own.mutable_data_ptr<Real>();
      at::parallel_for(0, args.batch.samples, std::max<int64_t>(1, kGrain / args.batch.size()),
                       [&](int64_t begin, int64_t end) {
                         Rows<Real> rows;
                         for (int64_t sample = begin; sample < end; ++sample)
                           run_sample(to, gathered, args, limits, decay, sample, rows);
                       });
    });
  };
  with_momentum_arguments(x_adv, x, grad, momentum, decay, table, tally, run);
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) { m.impl("momentum_step_", momentum_step_); }

}  // namespace
}  // namespace dlbench::momentum_on_cpu
