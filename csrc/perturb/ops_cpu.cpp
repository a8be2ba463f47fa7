// linf_step_ for torch: what the kernel takes for granted is made so here.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "perturb/arguments.h"

namespace dlbench {
namespace {

constexpr int64_t kGrain = 32768;  // elements below which a thread costs more than it saves

template <typename Real, typename Bits>
void run(const LinfArguments& args, LinfStep<Real> step) {
  Real* x_adv = args.x_adv.mutable_data_ptr<Real>();
  const Real* x = args.x.const_data_ptr<Real>();
  const Bits* grad = static_cast<const Bits*>(args.grad.const_data_ptr());
  const Bits infinity = static_cast<Bits>(args.infinity);
  at::parallel_for(0, args.x_adv.numel(), kGrain, [&](int64_t begin, int64_t end) {
    linf_step_cpu(x_adv + begin, x + begin, grad + begin, infinity, end - begin, step);
  });
}

void linf_step_(const at::Tensor& x_adv, const at::Tensor& x, const at::Tensor& grad, double eps, double step_size,
                double lower, double upper) {
  with_linf_arguments(x_adv, x, grad, [&](const LinfArguments& args) {
    args.visit([&](auto real, auto bits) {
      using Real = decltype(real);
      run<Real, decltype(bits)>(args, linf_step<Real>(eps, step_size, lower, upper));
    });
  });
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) { m.impl("linf_step_", linf_step_); }

}  // namespace
}  // namespace dlbench
