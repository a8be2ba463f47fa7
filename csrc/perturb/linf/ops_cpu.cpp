// linf_step_ for torch: what the kernel takes for granted is made so here.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "perturb/arguments.h"
#include "perturb/limit_rows.h"
#include "perturb/linf/linf_step.h"

namespace dlbench::linf_on_cpu {
namespace {

constexpr int64_t kGrain = 32768;  // elements below which a thread costs more than it saves
constexpr int64_t kBlock = 4096;   // elements that are still in the first cache when the observers come

// One set of limits, nothing to observe: a pass over all elements.
template <typename Real, typename Bits>
void run_uniform(const StepArguments& args, Limits<Real> limits) {
  Real* x_adv = args.x_adv.mutable_data_ptr<Real>();
  const Real* x = args.x.const_data_ptr<Real>();
  const Bits* grad = static_cast<const Bits*>(args.grad.const_data_ptr());
  const Bits infinity = static_cast<Bits>(args.infinity);
  at::parallel_for(0, args.x_adv.numel(), kGrain, [&](int64_t begin, int64_t end) {
    linf_step_cpu(x_adv + begin, x + begin, grad + begin, infinity, end - begin, limits);
  });
}

// Block by block, so that a block's result and gradient are in the cache when they are looked at again.
template <typename Real, typename Bits>
void run_blocks(const StepArguments& args, LimitsTable<Real> table) {
  Real* x_adv = args.x_adv.mutable_data_ptr<Real>();
  const Real* x = args.x.const_data_ptr<Real>();
  const Bits* grad = static_cast<const Bits*>(args.grad.const_data_ptr());
  const Batch batch = args.batch;
  const Observers to = args.observers();
  const auto kind = args.template kind<Bits>();
  const int64_t size = batch.size(), blocks = (size + kBlock - 1) / kBlock;

  at::parallel_for(0, batch.samples * blocks, std::max<int64_t>(1, kGrain / std::min(size, kBlock)),
                   [&](int64_t begin, int64_t end) {
    Rows<Real> rows;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t sample = block / blocks, first = block % blocks * kBlock, n = std::min(kBlock, size - first);
      const int64_t at = sample * size + first;
      if (table.channels == 1)
        linf_step_cpu(x_adv + at, x + at, grad + at, kind.infinity, n, table.at(sample, 0));
      else
        linf_step_cpu(x_adv + at, x + at, grad + at, kind.infinity, n, rows.fill(table, batch, sample, first, n));
      if (to.hash) __atomic_fetch_add(to.hash + sample, hash_cpu(x_adv + at, first, n), __ATOMIC_RELAXED);
      if (to.tally) tally_cpu(grad + at, n, kind, to.tally + sample * kKinds);
    }
  });
}

void linf_step_(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, double eps, double step_size,
                double lower, double upper, const OptionalTensor& table, const OptionalTensor& hash,
                const OptionalTensor& tally) {
  with_step_arguments(x_adv, x, grad, table, hash, tally, [&](const StepArguments& args) {
    args.visit([&](auto real, auto bits) {
      using Real = decltype(real);
      const Limits<Real> limits = limits_of<Real>(eps, step_size, lower, upper);
      if (args.uniform()) return run_uniform<Real, decltype(bits)>(args, limits);
      if (hash) hash->zero_();
      run_blocks<Real, decltype(bits)>(args, table ? args.limits_table<Real>(*table) : LimitsTable<Real>{&limits.eps, 1, 1});
    });
  });
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) { m.impl("linf_step_", linf_step_); }

}  // namespace
}  // namespace dlbench::linf_on_cpu
