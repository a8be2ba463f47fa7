// The aggregate family for torch, on an NVIDIA GPU, in torch's current stream. Whether a graph's numbers are in range is
// not asked here, for the answer would have to be waited for: Graph asks once.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "aggregate/arguments.h"
#include "aggregate/sddmm.h"
#include "aggregate/split.h"

namespace dlbench {
namespace {

void run(const AggregateArguments& args, std::optional<bool> uneven) {
  if (args.empty()) return;
  const int64_t rows = args.graph.rows(), edges = args.graph.edges();
  const Split split = split_for(args.reduction, rows, edges, uneven);
  args.visit([&](auto task) {
    using Real = typename decltype(task)::Real;
    const auto options = args.x.options().dtype(c10::CppTypeToScalarType<Real>());
    const at::Tensor partial = at::empty({2 * pieces_of(split, rows, edges), task.width()}, options);
    task.partial = partial.mutable_data_ptr<Real>();
    const auto stream = c10::cuda::getCurrentCUDAStream().stream();
    split == Split::merged ? aggregate_merged_cuda(task, edges, stream) : aggregate_rows_cuda(task, edges, stream);
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor aggregate(const at::Tensor& x, const at::Tensor& rowptr, const at::Tensor& col,
                     const OptionalTensor& edge_id, const OptionalTensor& weight, const OptionalTensor&,
                     const OptionalTensor&, const OptionalTensor&, c10::string_view reduce, bool,
                     std::optional<bool> uneven, std::optional<bool>) {
  const c10::cuda::CUDAGuard guard(x.device());
  const AggregateArguments args(x, rowptr, col, edge_id, weight, reduce, false);
  run(args, uneven);
  return args.out;
}

std::tuple<at::Tensor, at::Tensor> aggregate_arg(const at::Tensor& x, const at::Tensor& rowptr, const at::Tensor& col,
                                                 const OptionalTensor& edge_id, const OptionalTensor& weight,
                                                 const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                                 c10::string_view reduce, bool, std::optional<bool> uneven) {
  const c10::cuda::CUDAGuard guard(x.device());
  const AggregateArguments args(x, rowptr, col, edge_id, weight, reduce, true);
  run(args, uneven);
  return {args.out, args.position};
}

at::Tensor sddmm(const at::Tensor& a, const at::Tensor& b, const at::Tensor& rowptr, const at::Tensor& col,
                 const OptionalTensor& edge_id, const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                 std::optional<at::ScalarType> dtype, bool, std::optional<bool>, std::optional<bool>) {
  const c10::cuda::CUDAGuard guard(a.device());
  const SddmmArguments args(a, b, rowptr, col, edge_id);
  visit_index(args.graph.rowptr, [&](auto index) {
    visit_elements("a", a.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      sddmm_cuda(args.graph.view<decltype(index)>(), args.graph.edges(), elements<Element>(args.a),
                 elements<Element>(args.b), mutable_elements<Widened<Element>>(args.out), args.heads, args.features,
                 c10::cuda::getCurrentCUDAStream().stream());
    });
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return args.out.to(dtype.value_or(a.scalar_type()));
}

at::Tensor scatter_winners(const at::Tensor& grad, const at::Tensor& position, const at::Tensor& rowptr,
                           const at::Tensor& col, const OptionalTensor& edge_id, const OptionalTensor& weight,
                           const OptionalTensor& t_rowptr, const OptionalTensor& t_col,
                           const OptionalTensor& t_edge_id, int64_t num_src, bool) {
  const c10::cuda::CUDAGuard guard(grad.device());
  const ScatterArguments args(grad, position, rowptr, col, edge_id, weight);
  TORCH_CHECK_VALUE(t_rowptr && t_col, "scatter_winners needs the transpose on a GPU: give t_rowptr, t_col, t_edge_id");
  const GraphTensors transpose(*t_rowptr, *t_col, t_edge_id, grad.device());
  TORCH_CHECK_VALUE(transpose.rows() == num_src && transpose.edges() == args.graph.edges(), "the transpose has ",
                    transpose.rows(), " rows and ", transpose.edges(), " edges; it must have ", num_src, " and ",
                    args.graph.edges());
  const at::Tensor out = at::empty(args.shape(num_src), args.grad.options());
  args.visit([&](auto index, auto real) {
    using Index = decltype(index);
    using Real = decltype(real);
    scatter_winners_cuda(args.graph.view<Index>(), transpose.view<Index>(), elements<Real>(args.grad),
                         elements<Index>(args.position), elements<Real>(args.parts.weight), args.parts.heads,
                         args.parts.features, mutable_elements<Real>(out),
                         c10::cuda::getCurrentCUDAStream().stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out.to(grad.scalar_type());
}

at::Tensor winner_dots(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& position,
                       const at::Tensor& rowptr, const at::Tensor& col, const OptionalTensor& edge_id, bool by_head,
                       bool) {
  const c10::cuda::CUDAGuard guard(grad.device());
  const WinnerDotsArguments args(grad, x, position, rowptr, col, edge_id, by_head);
  const at::Tensor out = at::empty(args.shape, args.x.options());
  args.visit([&](auto index, auto real) {
    using Index = decltype(index);
    using Real = decltype(real);
    winner_dots_cuda(args.graph.view<Index>(), args.graph.edges(), elements<Real>(args.grad), elements<Real>(args.x),
                     elements<Index>(args.position), args.heads, args.features, mutable_elements<Real>(out),
                     c10::cuda::getCurrentCUDAStream().stream());
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

TORCH_LIBRARY_IMPL(dlbench, CUDA, m) {
  m.impl("aggregate", aggregate);
  m.impl("aggregate_arg", aggregate_arg);
  m.impl("sddmm", sddmm);
  m.impl("scatter_winners", scatter_winners);
  m.impl("winner_dots", winner_dots);
}

}  // namespace
}  // namespace dlbench
