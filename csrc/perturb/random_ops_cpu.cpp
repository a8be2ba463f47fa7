// random_start for torch, on the CPU.
#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

#include "perturb/random_arguments.h"
#include "perturb/start_point.h"

namespace dlbench {
namespace {

constexpr int64_t kGrain = 16384;  // elements below which a thread costs more than it saves

template <typename Real>
void check_numbers(const RandomStart& start, int64_t samples) {
  for (int64_t n = 0; n < (start.eps.step ? samples : 1); ++n)
    TORCH_CHECK_VALUE(start.eps[n] >= 0 && std::isfinite(start.eps[n]), "eps must be finite and at least 0, not ",
                      start.eps[n]);
  for (int64_t c = 0; c < (start.lower.step || start.upper.step ? start.shape.channels : 1); ++c) {
    const Box<Real> box = box_of<Real>(start.lower[c], start.upper[c]);
    TORCH_CHECK_VALUE(box.lower <= box.upper, "no number of x's type lies between lower ", start.lower[c],
                      " and upper ", start.upper[c]);
  }
}

at::Tensor random_start(const at::Tensor& x, const at::Tensor& eps, c10::string_view norm, int64_t seed,
                        const std::optional<at::Tensor>& sample_ids, int64_t restart, const at::Tensor& lower,
                        const at::Tensor& upper) {
  const RandomStartArguments args(x, eps, norm, seed, sample_ids, restart, lower, upper);
  at::Tensor out = at::empty_like(args.x);
  const auto run = [&](auto real) {
    using Real = decltype(real);
    check_numbers<Real>(args.start, x.size(0));
    if (out.numel() == 0) return;
    const int64_t grain = std::max<int64_t>(1, kGrain / args.start.shape.elements());
    at::parallel_for(0, x.size(0), grain, [&](int64_t begin, int64_t end) {
      random_start_cpu(args.start, args.x.const_data_ptr<Real>(), out.mutable_data_ptr<Real>(), begin, end);
    });
  };
  out.scalar_type() == at::kFloat ? run(float()) : run(double());
  return out;
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) { m.impl("random_start", random_start); }

}  // namespace
}  // namespace dlbench
