#include "aggregate/aggregate_strips.h"

namespace dlbench {

template <typename Element, typename Index>
void aggregate_cpu(const Aggregation<Element, Index>& task, Mark begin, Mark end) {
  switch (task.reduction) {
    case Reduction::sum:
    case Reduction::mean: return sum_cpu(task, begin, end);
    case Reduction::max:
    case Reduction::min: return max_cpu(task, begin, end);
    case Reduction::std: return std_cpu(task, begin, end);
  }
}

template <typename Element, typename Index>
void combine_cpu(const Aggregation<Element, Index>& task, int64_t row) {
  switch (task.reduction) {
    case Reduction::sum:
    case Reduction::mean: return combine_sum_cpu(task, row);
    case Reduction::max:
    case Reduction::min: return combine_max_cpu(task, row);
    case Reduction::std: return combine_std_cpu(task, row);
  }
}

#define DLBENCH_INSTANTIATE(Element, Index)                                      \
  template void aggregate_cpu(const Aggregation<Element, Index>&, Mark, Mark); \
  template void combine_cpu(const Aggregation<Element, Index>&, int64_t);
DLBENCH_FOR_ALL_ELEMENTS(DLBENCH_INSTANTIATE)

}  // namespace dlbench
