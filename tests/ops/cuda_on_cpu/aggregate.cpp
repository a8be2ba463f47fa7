// The kernels of aggregate behind functions that ctypes can call.
#include "aggregate/kept.cuh"
#include "aggregate/split.h"

using namespace dlbench;

namespace {

template <typename Element, typename Index>
void run(Split split, Aggregation<Element, Index> task, int64_t edges) {
  split == Split::merged ? aggregate_merged_cuda(task, edges, nullptr) : aggregate_rows_cuda(task, edges, nullptr);
}

}  // namespace

extern "C" {

// `which` are 0 or 1 for rows or merged, and the threads' order; sizes are rows, edges, heads and features; partial
// results are pieces_of(...) twice.
#define FUNCTION(name, Element, Index)                                                                                \
  void name(const int64_t* which, const int64_t* sizes, int64_t reduction, const Index* rowptr, const Index* col,     \
            const Index* edge_id, const Element* x, const Widened<Element>* weight, Element* out, Index* position,    \
            Widened<Element>* partial) {                                                                              \
    const Csr<Index> graph{rowptr, col, edge_id, sizes[0]};                                                           \
    cuda_on_cpu::order = which[1];                                                                                    \
    run(Split(which[0]), Aggregation<Element, Index>{graph, Reduction(reduction), x, weight, sizes[2], sizes[3], out, \
                                                     position, partial, 0}, sizes[1]);                                \
  }

FUNCTION(float32_int32, float, int32_t)
FUNCTION(float32_int64, float, int64_t)
FUNCTION(float64_int32, double, int32_t)
FUNCTION(float64_int64, double, int64_t)
FUNCTION(bfloat16_int32, BFloat16, int32_t)
FUNCTION(bfloat16_int64, BFloat16, int64_t)
FUNCTION(float16_int32, Half, int32_t)
FUNCTION(float16_int64, Half, int64_t)

int64_t pieces(int64_t split, int64_t rows, int64_t edges) { return pieces_of(Split(split), rows, edges); }

// 0 or 1 for rows or merged; of unevenness -1 is not known
int64_t split(int64_t reduction, int64_t rows, int64_t edges, int64_t uneven) {
  return int64_t(split_for(Reduction(reduction), rows, edges, uneven < 0 ? std::nullopt : std::optional<bool>(uneven)));
}

void use_threads(int64_t threads) { aggregate_on_cuda::kThreads = threads; }
}
