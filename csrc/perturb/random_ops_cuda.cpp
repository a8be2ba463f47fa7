// random_start for torch, on an NVIDIA GPU, in torch's current stream. Whether numbers in tensors are in their range is
// not asked here, for the answer would have to be waited for: a sample whose eps is no radius becomes NaN.
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "perturb/random_arguments.h"

namespace dlbench {
namespace {

at::Tensor random_start(const at::Tensor& x, const at::Tensor& eps, c10::string_view norm, int64_t seed,
                        const std::optional<at::Tensor>& sample_ids, int64_t restart, const at::Tensor& lower,
                        const at::Tensor& upper) {
  const c10::cuda::CUDAGuard guard(x.device());
  const RandomStartArguments args(x, eps, norm, seed, sample_ids, restart, lower, upper);
  at::Tensor out = at::empty_like(args.x);
  const at::Tensor masses =
      at::zeros({args.start.norm == Norm::linf ? 0 : x.size(0)}, args.x.options().dtype(at::kLong));
  const auto run = [&](auto real) {
    using Real = decltype(real);
    random_start_cuda(args.start, args.x.const_data_ptr<Real>(), out.mutable_data_ptr<Real>(),
                      masses.mutable_data_ptr<int64_t>(), x.size(0), c10::cuda::getCurrentCUDAStream().stream());
  };
  out.scalar_type() == at::kFloat ? run(float()) : run(double());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) { m.impl("random_start", random_start); }

}  // namespace
}  // namespace dlbench
