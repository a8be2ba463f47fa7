// Defines the operators, and binds for Python what is not one: the facts of this build, its self-test, and graphs.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/library.h>
#include <torch/version.h>

#include <cmath>
#include <string>
#include <vector>

#include "aggregate/aggregate.h"
#include "aggregate/bound_graph.h"
#include "aggregate/sddmm.h"
#include "simd.h"
#include "fresh.h"
#include "perturb/ball/ball.h"
#include "perturb/linf/linf_step.h"
#include "perturb/short_way.h"
#include "philox.h"

#define DLBENCH_TEXT_OF(x) #x
#define DLBENCH_TEXT(x) DLBENCH_TEXT_OF(x)

TORCH_LIBRARY(dlbench, m) {
#define OP(schema) m.def(schema);
#include "schema.inc"
#undef OP
}

namespace dlbench {
namespace {

pybind11::dict facts() {
  pybind11::dict facts;
  facts["torch"] = TORCH_VERSION;
  facts["compiler"] =
#if defined(__clang__)
      "clang " __clang_version__;
#elif defined(__GNUC__)
      "gcc " __VERSION__;
#else
      "unknown";
#endif
  facts["march"] = DLBENCH_TEXT(DLBENCH_MARCH);
  facts["vector_bits"] = 8 * kVectorBytes;
  facts["source_hash"] = DLBENCH_TEXT(DLBENCH_SOURCE_HASH);
#ifdef _OPENMP
  facts["parallel"] = "OpenMP " DLBENCH_TEXT(_OPENMP);
#else
  facts["parallel"] = "none";
#endif
#ifdef DLBENCH_WITH_CUDA
  facts["with_cuda"] = true;
#else
  facts["with_cuda"] = false;
#endif
  return facts;
}

// Cases small enough to be right by reading them. They run once after a build, on the machine that it is for: they find
// a compiler or an instruction set that does not do what it says. What the operators promise is tested from Python.
std::vector<std::string> self_test() {
  std::vector<std::string> failures;
  const auto expect = [&](bool right, const char* what) {
    if (!right) failures.push_back(what);
  };

  // Half a step up, half a step down, held at the ball, held at the box, a zero and a NaN gradient; 17 times over, so
  // that vectors and their rest are both used.
  const std::vector<float> x = {0.5f, 0.5f, 0.5f, 0.95f, 0.25f, 0.25f};
  const std::vector<float> start = {0.5f, 0.5f, 0.6f, 0.95f, 0.25f, 0.25f};
  const std::vector<float> grad = {3.0f, -1e-40f, 1.0f, 1.0f, 0.0f, NAN};
  const std::vector<float> want = {0.5625f, 0.4375f, 0.625f, 1.0f, 0.25f, 0.25f};
  std::vector<float> state, origin, slope;
  for (int i = 0; i < 17; ++i) {
    state.insert(state.end(), start.begin(), start.end());
    origin.insert(origin.end(), x.begin(), x.end());
    slope.insert(slope.end(), grad.begin(), grad.end());
  }
  linf_step_cpu<float, uint32_t>(state.data(), origin.data(), reinterpret_cast<const uint32_t*>(slope.data()),
                                 0x7f800000, state.size(), {0.125f, 0.0625f, 0.0f, 1.0f});
  bool stepped = true;
  for (size_t i = 0; i < state.size(); ++i) stepped &= state[i] == want[i % want.size()];
  expect(stepped, "linf_step_cpu: a step of 1/16 in a ball of 1/8");

  // A gradient of length 5 in each of two samples, the step held at half its length by a ball, and one coordinate at the
  // end of the box; enough further coordinates that do not move for vectors and their rest.
  bool moved = true;
  for (int64_t size = 2; size <= 70; ++size) {
    const Batch batch{2, 1, size, false};
    const BallLimits<float> limits{{0.25f, 0.5f, 0.0f, 1.0f}, {nullptr, 1, 1}};
    std::vector<float> centre(2 * size, 0.5f), slopes(2 * size, 0.0f);
    slopes[0] = 3, slopes[1] = -4, slopes[size] = 3, slopes[2 * size - 1] = 4, centre[2 * size - 1] = 1;
    std::vector<float> points = centre, sparse = centre;
    std::vector<uint32_t> keys(2 * size);
    std::vector<float> memory(memory_for<float>(size));
    const auto* bits = reinterpret_cast<const uint32_t*>(slopes.data());
    for (int64_t n = 0; n < 2; ++n) {
      l2_step_cpu<Binary32>(points.data(), centre.data(), bits, batch, limits, n, memory.data());
      l1_step_cpu<Binary32>(sparse.data(), centre.data(), bits, batch, limits, {0.001, nullptr}, n, memory.data(),
                            keys.data());
    }
    const auto near = [](float got, double want) { return got <= want + 1e-6 && got >= want - 1e-6; };
    moved &= near(points[0], 0.65) && near(points[1], 0.3) && near(points[size], 0.75) && points[2 * size - 1] == 1;
    moved &= sparse[0] == 0.5f && near(sparse[1], 0.25) && near(sparse[size], 0.75) && sparse[2 * size - 1] == 1;
    for (int64_t i = 2; i < size; ++i) moved &= points[i] == 0.5f && sparse[i] == 0.5f;
  }
  expect(moved, "l2_step_cpu, l1_step_cpu: a step of 1/2 in a ball of 1/4");

  // Three nodes: 0 <- 1 (weight 2), 0 <- 2 (weight 3), nothing into 1, 2 <- 2 (weight 4). Node j has the features j + 1.
  const std::vector<int32_t> rowptr = {0, 2, 2, 3}, col = {1, 2, 2};
  const std::vector<float> weight = {2, 3, 4};
  const Csr<int32_t> graph{rowptr.data(), col.data(), nullptr, 3};
  const Mark begin{0, 0}, end{3, 3};
  bool summed = true, largest = true, dotted = true;
  for (int64_t features = 1; features <= 40; ++features) {
    std::vector<float> nodes(3 * features), sum(3 * features), max(3 * features), dot(3);
    std::vector<int32_t> position(3 * features);
    for (int64_t i = 0; i < 3 * features; ++i) nodes[i] = float(i / features + 1);
    Aggregation<float, int32_t> task{graph, Reduction::sum, nodes.data(), weight.data(), 1, features,
                                     sum.data(), nullptr, nullptr, 3};
    aggregate_cpu(task, begin, end);
    task.reduction = Reduction::max, task.out = max.data(), task.position = position.data();
    aggregate_cpu(task, begin, end);
    for (int64_t f = 0; f < features; ++f) {
      summed &= sum[f] == 13 && sum[features + f] == 0 && sum[2 * features + f] == 12;
      largest &= max[f] == 9 && max[features + f] == 0 && max[2 * features + f] == 12;
      largest &= position[f] == 1 && position[features + f] == 3 && position[2 * features + f] == 2;
    }
    sddmm_cpu(graph, nodes.data(), nodes.data(), dot.data(), 1, features, begin, end);
    dotted &= dot[0] == 2 * features && dot[1] == 3 * features && dot[2] == 9 * features;
  }
  expect(summed, "aggregate_cpu, sum: three nodes, three weighted edges");
  expect(largest, "aggregate_cpu, max: three nodes, three weighted edges");
  expect(dotted, "sddmm_cpu: three nodes, three edges");

  // What the authors' library Random123 gives as known answers, in either type of word.
  const auto narrow = philox<uint32_t>({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822);
  const auto wide = philox<uint64_t>({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff);
  expect(narrow.a == 0xd16cfe09 && narrow.b == 0x94fdcceb && narrow.c == 0x5001e420 && narrow.d == 0x24126ea1,
         "philox: the known answer for the digits of pi");
  expect(wide.a == 0x408f276d && wide.b == 0x41c83b0e && wide.c == 0xa20bc7c6 && wide.d == 0x6d5451fd,
         "philox: the known answer for ones");
  return failures;
}

}  // namespace
}  // namespace dlbench

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("facts", dlbench::facts, "How and for what this library was built.");
  m.def("release_memory", dlbench::release_memory, "Frees what is kept for outputs to come; how many bytes that were.");
  m.def("self_test", dlbench::self_test, "What fails of a few cases with known answers; [] where all is well.");
  dlbench::bind_graph(m);
  dlbench::bind_short_way(m);
}
