// random_start for torch, on an NVIDIA GPU, in torch's current stream. What a table holds is not looked at, for that
// would have to be waited for: a sample whose eps is no radius becomes NaN.
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "perturb/start/arguments.h"

namespace dlbench {
namespace {

at::Tensor random_start(const at::Tensor& x, const at::Tensor& streams, c10::string_view norm, int64_t seed, double eps,
                        double lower, double upper, const OptionalTensor& table) {
  const c10::cuda::CUDAGuard guard(x.device());
  const RandomStartArguments args(x, streams, norm, seed, eps, lower, upper, table);
  at::Tensor out = at::empty_like(args.x);
  const at::Tensor masses = at::zeros({args.norm == Norm::linf ? 0 : x.size(0)}, args.streams.options());
  const auto run = [&](auto real) {
    using Real = decltype(real);
    random_start_cuda(args.start<Real>(), args.x.const_data_ptr<Real>(), out.mutable_data_ptr<Real>(),
                      masses.mutable_data_ptr<int64_t>(), c10::cuda::getCurrentCUDAStream().stream());
  };
  out.scalar_type() == at::kFloat ? run(float()) : run(double());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) { m.impl("random_start", random_start); }

}  // namespace
}  // namespace dlbench
