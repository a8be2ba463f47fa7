// The losses for torch, on the CPU. Labels are checked at every call: whatever a caller hands over, nothing is read or
// written outside of the logits.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>

#include "perturb/losses/arguments.h"

namespace dlbench::losses_on_cpu {
namespace {

constexpr int64_t kGrain = 32768;  // logits below which a thread costs more than it saves

void check_range(const char* name, const at::Tensor& indices, int64_t classes) {
  const int64_t* index = indices.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < indices.numel(); ++i)
    TORCH_CHECK_INDEX(0 <= index[i] && index[i] < classes, name, " has ", index[i], ", outside of the classes [0, ",
                      classes, ")");
}

int64_t grain(int64_t classes) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, classes)); }

template <LossKind kind>
Loss loss(const at::Tensor& logits, const at::Tensor& y, const std::optional<at::Tensor>& target) {
  const LossArguments args(logits, y, target, kPlaces<kind>, kRanks<kind>);
  check_range("y", args.y, logits.size(1));
  if (target) check_range("target", args.target, logits.size(1));
  visit_elements("logits", logits.scalar_type(), [&](auto element) {
    const auto task = args.task<decltype(element)>();
    at::parallel_for(0, task.rows, grain(task.classes),
                     [&](int64_t begin, int64_t end) { loss_cpu<kind>(task, begin, end); });
  });
  return args.result();
}

Loss margin_loss(const at::Tensor& logits, const at::Tensor& y) {
  return loss<LossKind::margin>(logits, y, std::nullopt);
}

Loss dlr_loss(const at::Tensor& logits, const at::Tensor& y, const std::optional<at::Tensor>& target) {
  return target ? loss<LossKind::targeted_dlr>(logits, y, target) : loss<LossKind::dlr>(logits, y, target);
}

at::Tensor scatter_slopes(const at::Tensor& places, const at::Tensor& slopes, const at::Tensor& grad, int64_t classes) {
  const SlopeArguments args(places, slopes, grad, classes);
  check_range("places", args.places, classes);
  args.visit([&](auto real) {
    const auto task = args.task<decltype(real)>();
    at::parallel_for(0, task.rows, grain(classes),
                     [&](int64_t begin, int64_t end) { scatter_slopes_cpu(task, begin, end); });
  });
  return args.out;
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) {
  m.impl("margin_loss", margin_loss);
  m.impl("dlr_loss", dlr_loss);
  m.impl("scatter_slopes", scatter_slopes);
}

}  // namespace
}  // namespace dlbench::losses_on_cpu
