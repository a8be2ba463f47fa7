// l2_step_, l1_step_ and project_ for torch, on the CPU.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <memory>

#include "perturb/ball/arguments.h"

namespace dlbench::ball_on_cpu {
namespace {

constexpr int64_t kGrain = 8192;  // elements below which a thread costs more than it saves

// work(begin, end) on shares of the samples.
template <typename Work>
void share_samples(const Batch& batch, Work work) {
  at::parallel_for(0, batch.samples, std::max<int64_t>(1, kGrain / batch.size()), work);
}

// What kernels need, for as long as a thread's share takes. It is not cleared.
template <typename Number>
std::unique_ptr<Number[]> memory(int64_t size) {
  return std::unique_ptr<Number[]>(new Number[size]);
}

template <typename Format>
void count(const StepArguments& args, const typename Format::Bits* grad, int64_t sample) {
  const int64_t size = args.batch.size();
  if (args.tally)
    tally_cpu(grad + sample * size, size, {Format::kInfinity, Format::kSmallestNormal},
              args.observers().tally + sample * kKinds);
}

void l2_step_(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, double eps, double step_size,
              double lower, double upper, const OptionalTensor& table, const OptionalTensor& tally) {
  with_ball_arguments(x_adv, x, grad, table, tally, [&](const StepArguments& args) {
    visit_step(args, [&](auto to) {
      using Format = typename decltype(to)::Format;
      using Real = typename decltype(to)::Real;
      const auto limits = ball_limits<Real>(args, eps, step_size, lower, upper);
      share_samples(args.batch, [&](int64_t begin, int64_t end) {
        const auto own = memory<Real>(memory_for<Real>(args.batch.size()));
        for (int64_t sample = begin; sample < end; ++sample) {
          count<Format>(args, to.grad, sample);
          l2_step_cpu<Format>(to.x_adv, to.x, to.grad, args.batch, limits, sample, own.get());
        }
      });
    });
  });
}

void l1_step_(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, double eps, double step_size,
              double lower, double upper, double sparsity, const OptionalTensor& table,
              const OptionalTensor& sparsities, const OptionalTensor& tally) {
  with_ball_arguments(x_adv, x, grad, table, tally, [&](const StepArguments& args) {
    const Sparsity chosen = sparsity_of(args, sparsity, sparsities);
    visit_step(args, [&](auto to) {
      using Format = typename decltype(to)::Format;
      using Real = typename decltype(to)::Real;
      const auto limits = ball_limits<Real>(args, eps, step_size, lower, upper);
      share_samples(args.batch, [&](int64_t begin, int64_t end) {
        const auto own = memory<Real>(memory_for<Real>(args.batch.size()));
        const auto keys = memory<typename Format::Bits>(2 * args.batch.size());
        for (int64_t sample = begin; sample < end; ++sample) {
          count<Format>(args, to.grad, sample);
          l1_step_cpu<Format>(to.x_adv, to.x, to.grad, args.batch, limits, chosen, sample, own.get(), keys.get());
        }
      });
    });
  });
}

void project_(const at::Tensor& x_adv, const at::Tensor& x, double eps, double lower, double upper, std::string norm,
              const OptionalTensor& table) {
  with_ball_arguments(x_adv, x, x, table, std::nullopt, [&](const StepArguments& args) {
    visit_ball(args, norm, [&](auto ball) {
      using Ball = decltype(ball);
      using Real = typename Ball::Real;
      const auto limits = ball_limits<Real>(args, eps, 0, lower, upper);
      Real* state = args.x_adv.template mutable_data_ptr<Real>();
      const Real* centre = args.x.template const_data_ptr<Real>();
      share_samples(args.batch, [&](int64_t begin, int64_t end) {
        const auto own = memory<Real>(memory_for<Real>(args.batch.size()));
        for (int64_t sample = begin; sample < end; ++sample)
          project_cpu<Ball>(state, centre, args.batch, limits, sample, own.get());
      });
    });
  });
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) {
  m.impl("l2_step_", l2_step_);
  m.impl("l1_step_", l1_step_);
  m.impl("project_", project_);
}

}  // namespace
}  // namespace dlbench::ball_on_cpu
