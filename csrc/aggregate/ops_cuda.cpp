// aggregate and edge_dot for torch, on an NVIDIA GPU, in torch's current stream. Whether a graph's numbers are in range
// is not asked here, for the answer would have to be waited for: Graph asks once.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "aggregate/aggregate.h"
#include "aggregate/arguments.h"
#include "aggregate/edge_dot.h"

namespace dlbench {
namespace {

at::Tensor aggregate(const at::Tensor& x, const at::Tensor& rowptr, const at::Tensor& col,
                     const OptionalTensor& edge_id, const OptionalTensor& weight, const OptionalTensor&,
                     const OptionalTensor&, const OptionalTensor&, c10::string_view reduce) {
  const c10::cuda::CUDAGuard guard(x.device());
  const AggregateArguments args(x, rowptr, col, edge_id, weight, reduce);
  at::Tensor out = at::empty({args.graph.rows(), args.features}, args.x.options());
  args.graph.visit(out.scalar_type(), [&](auto index, auto real) {
    using Real = decltype(real);
    aggregate_sum_cuda(args.graph.view<decltype(index)>(), args.x.const_data_ptr<Real>(), args.weight_or_null<Real>(),
                       out.mutable_data_ptr<Real>(), args.features, c10::cuda::getCurrentCUDAStream().stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out.to(x.scalar_type());
}

at::Tensor edge_dot(const at::Tensor& a, const at::Tensor& b, const at::Tensor& rowptr, const at::Tensor& col,
                    const OptionalTensor& edge_id, const OptionalTensor&, const OptionalTensor&,
                    const OptionalTensor&) {
  const c10::cuda::CUDAGuard guard(a.device());
  const EdgeDotArguments args(a, b, rowptr, col, edge_id);
  at::Tensor out = at::empty({args.graph.edges()}, args.a.options());
  args.graph.visit(out.scalar_type(), [&](auto index, auto real) {
    using Real = decltype(real);
    edge_dot_cuda(args.graph.view<decltype(index)>(), args.graph.edges(), args.a.const_data_ptr<Real>(),
                  args.b.const_data_ptr<Real>(), out.mutable_data_ptr<Real>(), args.features,
                  c10::cuda::getCurrentCUDAStream().stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out.to(a.scalar_type());
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) {
  m.impl("aggregate", aggregate);
  m.impl("edge_dot", edge_dot);
}

}  // namespace
}  // namespace dlbench
