// lp_norms and compact for torch, on an NVIDIA GPU, in torch's current stream. Nothing is waited for.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "perturb/rows/compact.h"
#include "perturb/rows/arguments.h"

namespace dlbench {
namespace {

at::Tensor lp_norms(const at::Tensor& a, const OptionalTensor& b) {
  const c10::cuda::CUDAGuard guard(a.device());
  const NormsArguments args(a, b);
  visit_elements("a", args.a.scalar_type(), [&](auto element) {
    lp_norms_cuda(args.task<decltype(element)>(), c10::cuda::getCurrentCUDAStream().stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return args.norms;
}

std::tuple<at::Tensor, std::vector<at::Tensor>> compact(const at::Tensor& keep, at::TensorList tensors) {
  const c10::cuda::CUDAGuard guard(keep.device());
  const CompactArguments args(keep, tensors);
  const auto stream = c10::cuda::getCurrentCUDAStream().stream();
  int64_t* place = args.place.mutable_data_ptr<int64_t>();
  partition_cuda(args.keep.const_data_ptr<bool>(), place, args.count.mutable_data_ptr<int64_t>(), args.rows(), stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  for (size_t i = 0; i < args.from.size(); ++i) {
    move_rows_cuda(args.from[i].const_data_ptr(), args.to[i].mutable_data_ptr(), place, args.row_bytes(i),
                   args.rows(), stream);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return {args.count, args.to};
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) {
  m.impl("lp_norms", lp_norms);
  m.impl("compact", compact);
}

}  // namespace
}  // namespace dlbench
