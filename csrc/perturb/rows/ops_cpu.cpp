// lp_norms and compact for torch, on the CPU.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>

#include "perturb/rows/compact.h"
#include "perturb/rows/arguments.h"

namespace dlbench::rows_on_cpu {
namespace {

constexpr int64_t kGrain = 32768;  // elements, or bytes to move, below which a thread costs more than it saves

int64_t grain(int64_t row) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, row)); }

at::Tensor lp_norms(const at::Tensor& a, const OptionalTensor& b) {
  const NormsArguments args(a, b);
  visit_elements("a", args.a.scalar_type(), [&](auto element) {
    const auto task = args.task<decltype(element)>();
    at::parallel_for(0, task.rows, grain(task.elements),
                     [&](int64_t begin, int64_t end) { lp_norms_cpu(task, begin, end); });
  });
  return args.norms;
}

std::tuple<at::Tensor, std::vector<at::Tensor>> compact(const at::Tensor& keep, at::TensorList tensors) {
  const CompactArguments args(keep, tensors);
  int64_t* place = args.place.mutable_data_ptr<int64_t>();
  *args.count.mutable_data_ptr<int64_t>() = partition_cpu(args.keep.const_data_ptr<bool>(), place, args.rows());
  for (size_t i = 0; i < args.from.size(); ++i) {
    const void* from = args.from[i].const_data_ptr();
    void* to = args.to[i].mutable_data_ptr();
    const int64_t bytes = args.row_bytes(i);
    at::parallel_for(0, args.rows(), grain(bytes), [&](int64_t begin, int64_t end) {
      move_rows_cpu(from, to, place, bytes, begin, end);
    });
  }
  return {args.count, args.to};
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) {
  m.impl("lp_norms", lp_norms);
  m.impl("compact", compact);
}

}  // namespace
}  // namespace dlbench::rows_on_cpu
