// A neighbour's features lie anywhere in memory, where no hardware prefetcher looks. They are asked for, line by line,
// some edges before they are needed: more edges where each needs few lines, so that as much is on its way. On a Zen 5,
// sums of 64 features over a million edges took 5.7 ms with 12 edges, 4.2 with 24, 3.2 with 48, 3.1 with 72, and 3.3
// with 160; from 128 features on, 12 to 160 made no difference but where all lay in the second cache, which 48 crowd.
#pragma once
#include <cstdint>

namespace dlbench {

constexpr int kLineBytes = 64;

// How many edges, of which each needs so many bytes.
constexpr int64_t edges_ahead(int64_t bytes) { return bytes <= 4 * kLineBytes ? 64 : 16; }

}  // namespace dlbench
