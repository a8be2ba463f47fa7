// apgd_step_ for torch: what the kernels take for granted is made so here.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <memory>
#include <vector>

#include "perturb/apgd/arguments.h"
#include "perturb/limit_rows.h"

namespace dlbench::apgd_on_cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements below which a thread costs more than it saves
constexpr int64_t kBlock = 4096;   // elements whose points and gradients stay in the cache from copy to step

// A step after the books, on one device in one type.
template <typename Real, typename Format>
struct Step {
  using Bits = typename Format::Bits;

  ApgdPoints<Real, Bits> points;
  std::vector<ApgdMove> moves;
  const double* step_scale;
  Batch batch;
  BallLimits<Real> limits;
  Real momentum;
  int64_t* tally;  // may be null

  // work(begin, end) on shares of `pieces` that have so many elements each.
  template <typename Work>
  void share(int64_t pieces, int64_t elements, Work work) const {
    at::parallel_for(0, pieces, std::max<int64_t>(1, kGrain / elements), work);
  }

  void count(const Bits* grad, int64_t n, int64_t sample) const {
    if (tally) tally_cpu(grad, n, {Format::kInfinity, Format::kSmallestNormal}, tally + sample * kKinds);
  }

  Limits<Real> scaled_limits(int64_t sample) const {
    Limits<Real> own = limits.at(sample, 0);
    own.step *= static_cast<Real>(step_scale[sample]);
    return own;
  }

  void in_linf_ball() const {
    const int64_t size = batch.size(), length = std::min(size, kBlock), blocks = (size + kBlock - 1) / kBlock;
    share(batch.samples * blocks, length, [&](int64_t begin, int64_t end) {
      Rows<Real> rows;
      for (int64_t block = begin; block < end; ++block) {
        const int64_t sample = block / blocks, first = block % blocks * kBlock, n = std::min(kBlock, size - first);
        const auto at = points.from(sample * size + first);
        const ApgdMove move = moves[sample];
        count(at.grad, n, sample);
        if (limits.by_channel()) {
          const auto each = rows.fill(limits.table, batch, sample, first, n, static_cast<Real>(step_scale[sample]));
          apgd_step_cpu(move, at, Format::kInfinity, n, each, momentum);
        } else {
          apgd_step_cpu(move, at, Format::kInfinity, n, scaled_limits(sample), momentum);
        }
      }
    });
  }

  void in_l2_ball() const {
    const int64_t size = batch.size(), channels = batch.channels;
    const Batch one{1, channels, batch.inner, batch.channels_last}, one_pixel{1, channels, 1, false};
    share(batch.samples, size, [&](int64_t begin, int64_t end) {
      const std::unique_ptr<Real[]> z(new Real[size + memory_for<Real>(size)]);
      Rows<Real> rows;
      for (int64_t sample = begin; sample < end; ++sample) {
        const auto at = points.from(sample * size);
        BallLimits<Real> own{scaled_limits(sample), {nullptr, 1, 1}};
        if (limits.by_channel()) {  // rows of a pixel are a table of a sample
          rows.fill(limits.table, one_pixel, sample, 0, channels, static_cast<Real>(step_scale[sample]));
          own.table = {rows.values.data(), 1, channels};
        }
        count(at.grad, size, sample);
        apgd_l2_step_cpu<Format>(moves[sample], at, one, own, momentum, z.get(), z.get() + size);
      }
    });
  }
};

std::vector<ApgdMove> judged(const ApgdState& state, const at::Tensor& loss, int64_t since, double rho) {
  const ApgdBooks books = state.books();
  const double* losses = loss.const_data_ptr<double>();
  std::vector<ApgdMove> moves(loss.numel());
  for (size_t sample = 0; sample < moves.size(); ++sample)
    moves[sample] = apgd_judge(books, sample, losses[sample], since, rho);
  return moves;
}

void apgd_step_(const at::Tensor& x_adv, const at::Tensor& x_prev, const at::Tensor& x_best,
                const at::Tensor& grad_best, const at::Tensor& loss_best, const at::Tensor& loss_prev,
                const at::Tensor& loss_checked, const at::Tensor& rises, const at::Tensor& halved,
                const at::Tensor& step_scale, const at::Tensor& x, const at::Tensor& grad, const at::Tensor& loss,
                double eps, double step_size, double lower, double upper, const OptionalTensor& table, double momentum,
                int64_t since_checkpoint, double rho, std::string norm, const OptionalTensor& tally) {
  const ApgdState state{x_adv,     x_prev,       x_best, grad_best, loss_best,
                        loss_prev, loss_checked, rises,  halved,    step_scale};
  with_apgd_arguments(state, x, grad, loss, table, since_checkpoint, norm, tally, [&](const StepArguments& args) {
    visit_step(args, [&](auto to) {
      using Real = typename decltype(to)::Real;
      using Format = typename decltype(to)::Format;
      const auto limits = ball_limits<Real>(args, eps, step_size, lower, upper);
      const Step<Real, Format> step{state.points_with<Real, typename Format::Bits>(args),
                                    judged(state, loss, since_checkpoint, rho),
                                    step_scale.const_data_ptr<double>(),
                                    args.batch,
                                    limits,
                                    static_cast<Real>(momentum),
                                    args.observers().tally};
      norm == "linf" ? step.in_linf_ball() : step.in_l2_ball();
    });
  });
}

TORCH_LIBRARY_IMPL(dlbench, CPU, m) { m.impl("apgd_step_", apgd_step_); }

}  // namespace
}  // namespace dlbench::apgd_on_cpu
