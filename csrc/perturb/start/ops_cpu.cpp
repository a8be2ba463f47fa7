// random_start for torch, on the CPU.
#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "perturb/start/arguments.h"

namespace dlbench::start_on_cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements below which a thread costs more than it saves

at::Tensor random_start(const at::Tensor& x, const at::Tensor& streams, c10::string_view norm, int64_t seed, double eps,
                        double lower, double upper, const OptionalTensor& table) {
  const RandomStartArguments args(x, streams, norm, seed, eps, lower, upper, table);
  at::Tensor out = at::empty_like(args.x);
  const auto run = [&](auto real) {
    using Real = decltype(real);
    const RandomStart<Real> start = args.start<Real>();
    if (out.numel() == 0) return;
    const int64_t grain = std::max<int64_t>(1, kGrain / start.batch.size());
    at::parallel_for(0, start.batch.samples, grain, [&](int64_t begin, int64_t end) {
      random_start_cpu(start, args.x.const_data_ptr<Real>(), out.mutable_data_ptr<Real>(), begin, end);
    });
  };
  out.scalar_type() == at::kFloat ? run(float()) : run(double());
  return out;
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) { m.impl("random_start", random_start); }

}  // namespace
}  // namespace dlbench::start_on_cpu
