#include <memory>

#include "perturb/start/start_point.h"

namespace dlbench {
namespace {

constexpr int kChunk = 64;  // elements whose random words are made at once, by vectors of counters

template <Norm norm>
void draw_chunk(Stream stream, uint32_t counter, float* draws) {
  uint32_t words[kChunk];
#pragma omp simd
  for (int i = 0; i < kChunk / 4; ++i) {
    const auto four = start_words<uint64_t>(stream, counter + i);
    words[4 * i] = four.a;
    words[4 * i + 1] = four.b;
    words[4 * i + 2] = four.c;
    words[4 * i + 3] = four.d;
  }
#pragma omp simd
  for (int i = 0; i < kChunk; ++i) draws[i] = start_draw<norm>(words[i]);
}

// n elements with limits in common, each of which lies `stride` after the one before.
template <typename Real>
void start_points(const Real* x, Real* out, int64_t stride, const float* draws, Real scale, Limits<Real> limits,
                  int64_t n) {
  const auto [eps, step, lower, upper] = limits;
  if (stride == 1) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = start_point(x[i], draws[i], scale, lower, upper);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i * stride] = start_point(x[i * stride], draws[i], scale, lower, upper);
  }
}

template <Norm norm, typename Real>
void start_sample(const RandomStart<Real>& start, int64_t sample, const Real* x, Real* out, float* draws) {
  const Batch batch = start.batch;
  const int64_t elements = batch.size();
  const Stream stream = start.stream(sample);
  for (int64_t e = 0; e < elements; e += kChunk) draw_chunk<norm>(stream, e / 4, draws + e);

  int64_t mass = 0;
  if constexpr (norm != Norm::linf) {
#pragma omp simd reduction(+ : mass)
    for (int64_t e = 0; e < elements; ++e) mass += start_mass<norm>(draws[e]);
  }
  Real scale = start_scale<norm>(start, sample, start.limits_at(sample, 0), mass);
  if (batch.inner == 1 && start.table.channels > 1) {  // limits lie side by side, as the elements do
    const LimitsTable<Real> table = start.table;
#pragma omp simd
    for (int64_t e = 0; e < elements; ++e) {
      const Limits<Real> limits = table.at(sample, e);
      const Real own = norm == Norm::linf ? checked_radius(limits.eps) : scale;
      out[e] = start_point(x[e], draws[e], own, limits.lower, limits.upper);
    }
    return;
  }
  for (int64_t channel = 0; channel < batch.channels; ++channel) {
    const Limits<Real> limits = start.limits_at(sample, channel);
    if constexpr (norm == Norm::linf) scale = checked_radius(limits.eps);
    const int64_t element = channel * batch.inner, place = start.place_of(element);
    start_points(x + place, out + place, batch.channels_last ? batch.channels : 1, draws + element, scale, limits,
                 batch.inner);
  }
}

template <Norm norm, typename Real>
void start_samples(const RandomStart<Real>& start, const Real* x, Real* out, int64_t begin, int64_t end) {
  const int64_t elements = start.batch.size();
  const std::unique_ptr<float[]> draws(new float[(elements + kChunk - 1) / kChunk * kChunk]);
  for (int64_t n = begin; n < end; ++n)
    start_sample<norm>(start, n, x + n * elements, out + n * elements, draws.get());
}

}  // namespace

template <typename Real>
void random_start_cpu(const RandomStart<Real>& start, const Real* x, Real* out, int64_t begin, int64_t end) {
  switch (start.norm) {
    case Norm::linf:
      return start_samples<Norm::linf>(start, x, out, begin, end);
    case Norm::l2:
      return start_samples<Norm::l2>(start, x, out, begin, end);
    case Norm::l1:
      return start_samples<Norm::l1>(start, x, out, begin, end);
  }
}

template void random_start_cpu(const RandomStart<float>&, const float*, float*, int64_t, int64_t);
template void random_start_cpu(const RandomStart<double>&, const double*, double*, int64_t, int64_t);

}  // namespace dlbench
