// segment_reduce for torch, on an NVIDIA GPU, in torch's current stream. Whether rowptr rises is not asked here, for the
// answer would have to be waited for.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "segments/arguments.h"

namespace dlbench {
namespace {

std::tuple<at::Tensor, at::Tensor> segment_reduce(const at::Tensor& x, const at::Tensor& rowptr,
                                                  c10::string_view reduce) {
  const c10::cuda::CUDAGuard guard(x.device());
  const SegmentArguments args(x, rowptr, reduce);
  args.visit([&](const auto& task) {
    segment_reduce_cuda(task, args.reduction, c10::cuda::getCurrentCUDAStream().stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {args.out.to(x.scalar_type()), args.arg};
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) { m.impl("segment_reduce", segment_reduce); }

}  // namespace
}  // namespace dlbench
