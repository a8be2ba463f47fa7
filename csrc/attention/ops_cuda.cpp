// edge_softmax, edge_total and gat_aggregate for torch, on an NVIDIA GPU, in torch's current stream. Whether a graph's
// numbers are in range is not asked here, for the answer would have to be waited for: Graph asks once.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "attention/arguments.h"
#include "attention/edge_softmax.h"

namespace dlbench {
namespace {

CUstream_st* stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

at::Tensor edge_softmax(const at::Tensor& scores, const at::Tensor& rowptr, const OptionalTensor& edge_id, bool) {
  const c10::cuda::CUDAGuard guard(scores.device());
  const EdgeValues args("scores", scores, rowptr, edge_id);
  args.visit([&](auto index, auto real) {
    using Real = decltype(real);
    edge_softmax_cuda(args.view<decltype(index)>(), args.values.const_data_ptr<Real>(),
                      args.out.mutable_data_ptr<Real>(), args.heads(), stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return args.out.to(scores.scalar_type());
}

at::Tensor edge_total(const at::Tensor& values, const at::Tensor& rowptr, const OptionalTensor& edge_id, bool) {
  const c10::cuda::CUDAGuard guard(values.device());
  const EdgeValues args("values", values, rowptr, edge_id);
  args.visit([&](auto index, auto real) {
    using Real = decltype(real);
    edge_total_cuda(args.view<decltype(index)>(), args.values.const_data_ptr<Real>(),
                    args.out.mutable_data_ptr<Real>(), args.heads(), stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return args.out.to(values.scalar_type());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gat_aggregate(
    const at::Tensor& x, const at::Tensor& score_src, const at::Tensor& score_dst, const at::Tensor& rowptr,
    const at::Tensor& col, const OptionalTensor& edge_id, const OptionalTensor&, const OptionalTensor&,
    const OptionalTensor&, double negative_slope, double dropout, int64_t seed, bool) {
  const c10::cuda::CUDAGuard guard(x.device());
  const GatArguments args(x, score_src, score_dst, rowptr, col, edge_id, negative_slope, dropout, seed);
  const at::Tensor out = args.fresh({args.graph.rows(), args.heads(), args.features()});
  const at::Tensor largest = args.fresh(args.score_dst.sizes()), inverse = args.fresh(args.score_dst.sizes());
  args.visit([&](auto index, auto real) {
    using Real = decltype(real);
    gat_cuda(args.graph.view<decltype(index)>(), args.view<Real>(), args.x.const_data_ptr<Real>(),
             args.score_src.const_data_ptr<Real>(), args.score_dst.const_data_ptr<Real>(),
             out.mutable_data_ptr<Real>(), largest.mutable_data_ptr<Real>(), inverse.mutable_data_ptr<Real>(),
             stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {out.to(x.scalar_type()), largest, inverse};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gat_aggregate_backward(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& score_src, const at::Tensor& score_dst,
    const at::Tensor& largest, const at::Tensor& inverse, const at::Tensor& rowptr, const at::Tensor& col,
    const OptionalTensor& edge_id, const at::Tensor& t_rowptr, const at::Tensor& t_col, const OptionalTensor& t_edge_id,
    double negative_slope, double dropout, int64_t seed, bool) {
  const c10::cuda::CUDAGuard guard(x.device());
  const GatBackwardArguments args(grad, x, score_src, score_dst, largest, inverse, rowptr, col, edge_id, t_rowptr,
                                  t_col, t_edge_id, negative_slope, dropout, seed);
  const at::Tensor of_x = args.fresh(args.x.sizes()), of_src = args.fresh(args.score_src.sizes()),
                   of_dst = args.fresh(args.score_dst.sizes()),
                   targets = args.fresh({args.graph.rows(), kTargetParts, args.heads()});
  args.visit([&](auto index, auto real) {
    using Real = decltype(real);
    using Index = decltype(index);
    const auto* arriving = args.grad.const_data_ptr<Real>();
    const auto* features = args.x.const_data_ptr<Real>();
    const auto* scores = args.score_src.const_data_ptr<Real>();
    gat_of_targets_cuda(args.graph.view<Index>(), args.view<Real>(), arriving, features, scores,
                        args.score_dst.const_data_ptr<Real>(), args.largest.const_data_ptr<Real>(),
                        args.inverse.const_data_ptr<Real>(), of_dst.mutable_data_ptr<Real>(),
                        targets.mutable_data_ptr<Real>(), stream());
    gat_of_sources_cuda(args.transpose.view<Index>(), args.view<Real>(), arriving, features, scores,
                        targets.const_data_ptr<Real>(), of_x.mutable_data_ptr<Real>(),
                        of_src.mutable_data_ptr<Real>(), stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {of_x.to(x.scalar_type()), of_src.to(score_src.scalar_type()), of_dst.to(score_dst.scalar_type())};
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) {
  m.impl("edge_softmax", edge_softmax);
  m.impl("edge_total", edge_total);
  m.impl("gat_aggregate", gat_aggregate);
  m.impl("gat_aggregate_backward", gat_aggregate_backward);
}

}  // namespace
}  // namespace dlbench
