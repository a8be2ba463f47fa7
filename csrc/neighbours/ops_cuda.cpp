// neighbour_count and nearest for torch, on an NVIDIA GPU, in torch's current stream.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "neighbours/arguments.h"

namespace dlbench {
namespace {

at::Tensor neighbour_count(const at::Tensor& pos, const at::Tensor& clouds, double limit, bool loop) {
  const c10::cuda::CUDAGuard guard(pos.device());
  const PointArguments args(pos, clouds, loop);
  const at::Tensor count = at::empty({args.points()}, args.clouds.options());
  visit_real(args.pos.scalar_type(), [&](auto real) {
    using Real = decltype(real);
    neighbour_count_cuda(args.view<Real>(), Real(limit), count.mutable_data_ptr<int64_t>(),
                         c10::cuda::getCurrentCUDAStream().stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return count;
}

at::Tensor nearest(const at::Tensor& pos, const at::Tensor& clouds, const at::Tensor& rowptr_, int64_t edges,
                   bool loop) {
  const c10::cuda::CUDAGuard guard(pos.device());
  const PointArguments args(pos, clouds, loop);
  const at::Tensor rowptr = checked_rowptr(rowptr_, args.pos.device());
  TORCH_CHECK_VALUE(rowptr.numel() == args.points() + 1, "rowptr must have shape [", args.points() + 1, "], not ",
                    rowptr.sizes());
  const at::Tensor col = at::empty({edges}, rowptr.options()), distance = at::empty({edges}, args.pos.options());
  visit_real(args.pos.scalar_type(), [&](auto real) {
    using Real = decltype(real);
    visit_index(rowptr, [&](auto index) {
      using Index = decltype(index);
      nearest_cuda(args.view<Real>(), rowptr.const_data_ptr<Index>(), col.mutable_data_ptr<Index>(),
                   distance.mutable_data_ptr<Real>(), c10::cuda::getCurrentCUDAStream().stream());
    });
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return col;
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) {
  m.impl("neighbour_count", neighbour_count);
  m.impl("nearest", nearest);
}

}  // namespace
}  // namespace dlbench
