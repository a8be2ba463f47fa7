// Max and min, which is the max of the messages with their signs turned. A message takes the place of the best one so far
// where it is larger, or is the first NaN. Reals and the places that they come from are chosen by one mask, which their
// equal width makes possible: inside of a row or a chunk that is not cut, 32 bits hold any place.
//
// Where no places are wanted, the larger of two reals is one instruction, which loses NaNs. So some rows are reduced by
// that, and once more with care, which takes longer than the first time, if there was a NaN among their messages, or an
// infinity: 0 times either is NaN, and stays so in a sum, which is one instruction as well. Where the graph has many more
// edges than sources, which are close at hand, these are looked at first, and their messages need not be.
#include "aggregate/aggregate_strips.h"
#include "perturb/bits.h"

namespace dlbench {
namespace {

// What turns the signs of a min, and leaves a max as it is.
template <typename Integer>
constexpr Integer sign_mask(Reduction reduction) {
  return reduction == Reduction::min ? Integer(1) << (8 * sizeof(Integer) - 1) : 0;
}

template <typename Integers>
Integers sign_of(Reduction reduction) {
  return Integers{} + sign_mask<std::remove_reference_t<decltype(Integers()[0])>>(reduction);
}

constexpr int64_t kRowsAtOnce = 64;

template <bool placed, int Lanes, int Vectors, Weights kind>
struct Extremum {
  template <typename Element, typename Index>
  static void run(const Strip<Vectors, Element, Index>& strip, Mark begin, Mark end) {
    const auto& rowptr = strip.task.graph.rowptr;
    while (!placed && begin.row + kRowsAtOnce < end.row) {
      const Mark next{begin.row + kRowsAtOnce, rowptr[begin.row + kRowsAtOnce]};
      some_rows(strip, begin, next);
      begin = next;
    }
    some_rows(strip, begin, end);
  }

 private:
  template <typename Element, typename Index>
  static void some_rows(const Strip<Vectors, Element, Index>& strip, Mark begin, Mark end) {
    if (placed || !all_finite(strip, begin, end)) with_care(strip, begin, end);
  }

  // Reduces rows, right where all messages are finite: whether they are.
  template <typename Element, typename Index>
  static bool all_finite(const Strip<Vectors, Element, Index>& strip, Mark begin, Mark end) {
    using Real = Widened<Element>;
    using Reals = VectorOf<Lanes, Real>;
    using Integers = VectorOf<Lanes, std::make_unsigned_t<IntegerOf<Real>>>;
    constexpr int kSums = 4;  // so that none waits for the last
    const auto& task = strip.task;
    const Integers sign = sign_of<Integers>(task.reduction);
    Reals zero[kSums] = {};
    task.graph.between(begin, end, [&](int64_t row, int64_t first, int64_t last, int64_t chunk) {
      Reals best[Vectors];
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) best[v] = Reals{} - kInfinity<Real>;
      strip.template each_message<Lanes, kind>(
          first, last, [&](int v, Reals message, int64_t) __attribute__((always_inline)) {
            message = reinterpreted<Reals>(reinterpreted<Integers>(message) ^ sign);
            zero[v % kSums] += message * Real(0);
            best[v] = message > best[v] ? message : best[v];
          });
      store(strip, row, last - first, chunk, sign, best);
    });
    const Reals sum = (zero[0] + zero[1]) + (zero[2] + zero[3]);
    return !any<Lanes>(sum != sum);
  }

  template <typename Element, typename Index>
  static void with_care(const Strip<Vectors, Element, Index>& strip, Mark begin, Mark end) {
    using Real = Widened<Element>;
    using Integer = std::make_unsigned_t<IntegerOf<Real>>;
    using Reals = VectorOf<Lanes, Real>;
    using Integers = VectorOf<Lanes, Integer>;
    using Indices = VectorOf<Lanes, Index>;
    const auto& task = strip.task;
    const int64_t edges = task.graph.rowptr[task.graph.rows];
    const Integers sign = sign_of<Integers>(task.reduction);
    task.graph.between(begin, end, [&](int64_t row, int64_t first, int64_t last, int64_t chunk) {
      Reals best[Vectors];
      Integers place[Vectors];
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) best[v] = Reals{} - kInfinity<Real>, place[v] = Integers{};
      strip.template each_message<Lanes, kind>(
          first, last, [&](int v, Reals message, int64_t at) __attribute__((always_inline)) {
            message = reinterpreted<Reals>(reinterpreted<Integers>(message) ^ sign);
            const auto stays = (message <= best[v]) | (best[v] != best[v]);
            best[v] = stays ? best[v] : message;
            if constexpr (placed) place[v] = stays ? place[v] : Integers{} + Integer(at);
          });
      store(strip, row, last - first, chunk, sign, best);
      if constexpr (placed) {
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) {
          const int64_t feature = strip.from + strip.offset[v];
          if (chunk >= 0) {
            Simd<Real, Lanes>::store(task.also_of_chunk(chunk, edges) + feature, reinterpreted<Reals>(place[v]));
            continue;
          }
          const Indices winner = __builtin_convertvector(place[v], Indices) + Index(first);
          Simd<Index, Lanes>::store(task.position + row * task.width() + feature,
                                    first < last ? winner : Indices{} + Index(edges));
        }
      }
    });
  }

  // A row's result, or a chunk's, whose sign stays turned.
  template <typename Element, typename Index, typename Reals, typename Integers>
  static void store(const Strip<Vectors, Element, Index>& strip, int64_t row, int64_t count, int64_t chunk,
                    Integers sign, const Reals (&best)[Vectors]) {
    const auto& task = strip.task;
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      const int64_t feature = strip.from + strip.offset[v];
      if (chunk >= 0) {
        Simd<Widened<Element>, Lanes>::store(task.of_chunk(chunk) + feature, best[v]);
        continue;
      }
      const Reals out = reinterpreted<Reals>(reinterpreted<Integers>(best[v]) ^ sign);
      store_narrowed<Lanes>(task.out + row * task.width() + feature, count > 0 ? out : Reals{});
    }
  }
};

template <int Lanes, int Vectors, Weights kind>
using Max = Extremum<false, Lanes, Vectors, kind>;
template <int Lanes, int Vectors, Weights kind>
using PlacedMax = Extremum<true, Lanes, Vectors, kind>;

// Of finite features and weights, whose messages are no NaNs.
template <bool least, int Lanes, int Vectors, Weights kind>
struct PlainExtremum {
  template <typename Element, typename Index>
  static void run(const Strip<Vectors, Element, Index>& strip, Mark begin, Mark end) {
    using Real = Widened<Element>;
    using Reals = VectorOf<Lanes, Real>;
    const auto& task = strip.task;
    task.graph.between(begin, end, [&](int64_t row, int64_t first, int64_t last, int64_t chunk) {
      Reals best[Vectors];
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) best[v] = Reals{} + (least ? kInfinity<Real> : -kInfinity<Real>);
      strip.template each_message<Lanes, kind>(
          first, last, [&](int v, Reals message, int64_t) __attribute__((always_inline)) {
            if constexpr (least)
              best[v] = message < best[v] ? message : best[v];
            else
              best[v] = message > best[v] ? message : best[v];
          });
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) {
        const int64_t feature = strip.from + strip.offset[v];
        if (chunk >= 0)  // whose sign is turned for a min, see above
          Simd<Real, Lanes>::store(task.of_chunk(chunk) + feature, least ? -best[v] : best[v]);
        else
          store_narrowed<Lanes>(task.out + row * task.width() + feature, last > first ? best[v] : Reals{});
      }
    });
  }
};

template <int Lanes, int Vectors, Weights kind>
using PlainMax = PlainExtremum<false, Lanes, Vectors, kind>;
template <int Lanes, int Vectors, Weights kind>
using PlainMin = PlainExtremum<true, Lanes, Vectors, kind>;

template <typename Number>
bool all_finite(const Number* numbers, int64_t count) {
  using Real = Widened<Number>;
  constexpr int lanes = kLanes<Real>, sums = 4;
  VectorOf<lanes, Real> zero[sums] = {};
  int64_t i = 0;
  for (; i + sums * lanes <= count; i += sums * lanes)
#pragma GCC unroll 4
    for (int k = 0; k < sums; ++k) zero[k] += load_widened<lanes>(numbers + i + k * lanes) * Real(0);
  Real rest = 0;
  for (; i < count; ++i) rest += Real(widened(numbers[i])) * Real(0);
  const auto sum = (zero[0] + zero[1]) + (zero[2] + zero[3]) + rest;
  return !any<lanes>(sum != sum);
}

// Whether it takes less time to look at all sources than at their messages, and finds nothing.
template <typename Element, typename Index>
bool plain_sources(const Aggregation<Element, Index>& task, Mark begin, Mark end) {
  const int64_t numbers = task.sources * task.width();
  if (end.position - begin.position < 2 * task.sources || numbers * int64_t(sizeof(Element)) > kNear) return false;
  if (!all_finite(task.x, numbers)) return false;
  if (!task.weight) return true;
  if (task.graph.edge_id) return all_finite(task.weight, int64_t(task.graph.rowptr[task.graph.rows]) * task.heads);
  return all_finite(task.weight + begin.position * task.heads, (end.position - begin.position) * task.heads);
}

}  // namespace

template <typename Element, typename Index>
void max_cpu(const Aggregation<Element, Index>& task, Mark begin, Mark end) {
  if (task.position)
    Strips<PlacedMax, kStripVectors / 2, false, Element, Index>::run(task, begin, end);
  else if (!plain_sources(task, begin, end))
    Strips<Max, kStripVectors, false, Element, Index>::run(task, begin, end);
  else if (task.reduction == Reduction::max)
    Strips<PlainMax, kStripVectors, false, Element, Index>::run(task, begin, end);
  else
    Strips<PlainMin, kStripVectors, false, Element, Index>::run(task, begin, end);
}

template <typename Element, typename Index>
void combine_max_cpu(const Aggregation<Element, Index>& task, int64_t row) {
  using Real = Widened<Element>;
  using Integer = std::make_unsigned_t<IntegerOf<Real>>;
  const Csr<Index>& graph = task.graph;
  const int64_t first = graph.first_chunk(row), chunks = graph.chunks_of(row), width = task.width();
  const int64_t edges = graph.rowptr[graph.rows];
  for (int64_t f = 0; f < width; ++f) {
    Real best = task.of_chunk(first)[f];
    int64_t winner = 0;
    for (int64_t k = 1; k < chunks; ++k) {
      const Real message = task.of_chunk(first + k)[f];
      if (message <= best || best != best) continue;
      best = message, winner = k;
    }
    const int64_t at = row * width + f;
    const Integer sign = sign_mask<Integer>(task.reduction);
    task.out[at] = narrowed<Element>(reinterpreted<Real>(Integer(reinterpreted<Integer>(best) ^ sign)));
    if (!task.position) continue;
    const auto place = reinterpreted<Integer>(task.also_of_chunk(first + winner, edges)[f]);
    task.position[at] = Index(graph.rowptr[row] + winner * kChunk + int64_t(place));
  }
}

#define DLBENCH_INSTANTIATE(Element, Index)                                \
  template void max_cpu(const Aggregation<Element, Index>&, Mark, Mark); \
  template void combine_max_cpu(const Aggregation<Element, Index>&, int64_t);
DLBENCH_FOR_ALL_ELEMENTS(DLBENCH_INSTANTIATE)

}  // namespace dlbench
