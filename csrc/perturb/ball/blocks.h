// A sample of a batch, gone over block by block, each small enough for the first cache.
#pragma once
#include <algorithm>
#include <memory>

#include "perturb/ball/ball.h"
#include "simd.h"

namespace dlbench {

constexpr int64_t kBlock = 2048;

template <typename Real>
using Lanes = Simd<Real, kLanes<Real>>;

// Lower and upper ends of the box, of one element or of a vector of them.
template <typename Numbers>
struct Ends {
  Numbers lower, upper;
};

// A box that is the same for all elements of a block.
template <typename Real>
struct OneBox {
  using Vector = typename Lanes<Real>::Vector;
  Ends<Real> all;

  Ends<Real> at(int64_t) const { return all; }
  Ends<Vector> from(int64_t) const { return {Vector{} + all.lower, Vector{} + all.upper}; }
};

// A box written out element by element, so that loops need not know of channels.
template <typename Real>
struct WrittenBox {
  using Vector = typename Lanes<Real>::Vector;
  const Real *lower, *upper;

  Ends<Real> at(int64_t i) const { return {lower[i], upper[i]}; }
  Ends<Vector> from(int64_t i) const { return {Lanes<Real>::load(lower + i), Lanes<Real>::load(upper + i)}; }
};

// Part of a sample.
template <typename Real, typename Box>
struct Block {
  Real* v;
  const Real* x;
  Box box;
  int64_t first, size;
};

template <typename Real>
class Sample {
 public:
  Sample(Real* x_adv, const Real* x, const Batch& batch, const BallLimits<Real>& limits, int64_t sample)
      : batch_(batch),
        limits_(limits),
        sample_(sample),
        v_(x_adv + sample * batch.size()),
        x_(x + sample * batch.size()) {
    if (!limits.by_channel()) return;
    if (batch.channels_last) period_ = batch.channels;
    const int64_t length = std::min(kBlock, batch.size()) + period_;
    lower_.reset(new Real[length]), upper_.reset(new Real[length]);
    for (int64_t channel = 0; channel < period_; ++channel) put(channel, 1, channel);
    for (int64_t written = period_; written > 0 && written < length; written *= 2) {
      const int64_t more = std::min(written, length - written);
      std::copy_n(lower_.get(), more, lower_.get() + written);
      std::copy_n(upper_.get(), more, upper_.get() + written);
    }
  }

  int64_t size() const { return batch_.size(); }

  template <typename F>
  void each_block(F f) {
    const Limits<Real> here = limits_.at(sample_, 0);
    for (int64_t first = 0; first < batch_.size(); first += kBlock) {
      const int64_t size = std::min(kBlock, batch_.size() - first), shift = period_ > 0 ? first % period_ : 0;
      if (!limits_.by_channel()) {
        f(Block<Real, OneBox<Real>>{v_ + first, x_ + first, {{here.lower, here.upper}}, first, size});
        continue;
      }
      if (period_ == 0) write_planes(first, size);
      const WrittenBox<Real> box{lower_.get() + shift, upper_.get() + shift};
      f(Block<Real, WrittenBox<Real>>{v_ + first, x_ + first, box, first, size});
    }
  }

 private:
  void put(int64_t i, int64_t count, int64_t channel) {
    const Limits<Real> here = limits_.at(sample_, channel);
    std::fill_n(lower_.get() + i, count, here.lower);
    std::fill_n(upper_.get() + i, count, here.upper);
  }

  void write_planes(int64_t first, int64_t size) {
    int64_t channel = first / batch_.inner, left = batch_.inner - first % batch_.inner;
    for (int64_t i = 0; i < size; ++channel, left = batch_.inner) {
      const int64_t count = std::min(left, size - i);
      put(i, count, channel);
      i += count;
    }
  }

  Batch batch_;
  BallLimits<Real> limits_;
  int64_t sample_;
  Real* v_;
  const Real* x_;
  int64_t period_ = 0;  // after which the box repeats itself; 0 for channels one after the other, written each block
  std::unique_ptr<Real[]> lower_, upper_;
};

}  // namespace dlbench
