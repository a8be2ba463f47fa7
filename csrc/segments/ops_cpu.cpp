// segment_reduce for torch, on the CPU.
#include <torch/library.h>

#include "segments/arguments.h"

namespace dlbench::segments_on_cpu {
namespace {

std::tuple<at::Tensor, at::Tensor> segment_reduce(const at::Tensor& x, const at::Tensor& rowptr,
                                                  c10::string_view reduce) {
  const SegmentArguments args(x, rowptr, reduce);
  args.visit([&](const auto& task) {
    check_rising(task.rowptr, task.segments, task.rows, "rows");
    const Csr rows{task.rowptr, task.rowptr, task.rowptr, task.segments};  // of which only rowptr is read
    share_rows(rows, task.rows, task.features,
               [&](int64_t begin, int64_t end) { segment_reduce_cpu(task, args.reduction, begin, end); });
  });
  return {args.out.to(x.scalar_type()), args.arg};
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) { m.impl("segment_reduce", segment_reduce); }

}  // namespace
}  // namespace dlbench::segments_on_cpu
