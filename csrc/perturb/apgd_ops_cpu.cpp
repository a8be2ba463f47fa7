// apgd_step_ for torch: what the kernels take for granted is made so here.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <vector>

#include "perturb/apgd_arguments.h"
#include "perturb/limit_rows.h"

namespace dlbench {
namespace {

constexpr int64_t kGrain = 16384;  // elements below which a thread costs more than it saves
constexpr int64_t kBlock = 4096;   // elements whose points and gradients stay in the cache from copy to step

std::vector<ApgdMove> judged(const ApgdState& state, const at::Tensor& loss, int64_t since, double rho) {
  const ApgdBooks books = state.books();
  const double* losses = loss.const_data_ptr<double>();
  std::vector<ApgdMove> moves(loss.numel());
  for (size_t sample = 0; sample < moves.size(); ++sample)
    moves[sample] = apgd_judge(books, sample, losses[sample], since, rho);
  return moves;
}

template <typename Real, typename Bits>
void step(const ApgdState& state, const StepArguments& args, const std::vector<ApgdMove>& moves,
          LimitsTable<Real> table, Real momentum) {
  const auto points = state.points_with<Real, Bits>(args);
  const double* step_scale = state.step_scale.const_data_ptr<double>();
  const auto kind = args.template kind<Bits>();
  const Observers to = args.observers();
  const Batch batch = args.batch;
  const int64_t size = batch.size(), blocks = (size + kBlock - 1) / kBlock;

  at::parallel_for(0, batch.samples * blocks, std::max<int64_t>(1, kGrain / std::min(size, kBlock)),
                   [&](int64_t begin, int64_t end) {
    Rows<Real> rows;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t sample = block / blocks, first = block % blocks * kBlock, n = std::min(kBlock, size - first);
      const auto at = points.from(sample * size + first);
      const Real scale = static_cast<Real>(step_scale[sample]);
      if (to.tally) tally_cpu(at.grad, n, kind, to.tally + sample * kKinds);
      if (table.channels == 1) {
        Limits<Real> limits = table.at(sample, 0);
        limits.step *= scale;
        apgd_step_cpu(moves[sample], at, kind.infinity, n, limits, momentum);
      } else {
        const auto limits = rows.fill(table, batch, sample, first, n, scale);
        apgd_step_cpu(moves[sample], at, kind.infinity, n, limits, momentum);
      }
    }
  });
}

void apgd_step_(const at::Tensor& x_adv, const at::Tensor& x_prev, const at::Tensor& x_best,
                const at::Tensor& grad_best, const at::Tensor& loss_best, const at::Tensor& loss_prev,
                const at::Tensor& loss_checked, const at::Tensor& rises, const at::Tensor& halved,
                const at::Tensor& step_scale, const at::Tensor& x, const at::Tensor& grad, const at::Tensor& loss,
                double eps, double step_size, double lower, double upper, const OptionalTensor& table, double momentum,
                int64_t since_checkpoint, double rho, const OptionalTensor& tally) {
  const ApgdState state{x_adv,     x_prev,       x_best, grad_best, loss_best,
                        loss_prev, loss_checked, rises,  halved,    step_scale};
  with_apgd_arguments(state, x, grad, loss, table, since_checkpoint, tally, [&](const StepArguments& args) {
    args.visit([&](auto real, auto bits) {
      using Real = decltype(real);
      const Limits<Real> limits = limits_of<Real>(eps, step_size, lower, upper);
      const auto moves = judged(state, loss, since_checkpoint, rho);
      step<Real, decltype(bits)>(state, args, moves,
                                 table ? args.limits_table<Real>(*table) : LimitsTable<Real>{&limits.eps, 1, 1},
                                 static_cast<Real>(momentum));
    });
  });
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) { m.impl("apgd_step_", apgd_step_); }

}  // namespace
}  // namespace dlbench
