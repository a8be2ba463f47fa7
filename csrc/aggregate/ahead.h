// A neighbour's features lie anywhere in memory, where no hardware prefetcher looks. They are asked for, line by line,
// some edges before they are needed: more edges where each needs few lines, so that as much is on its way. Farther ahead
// than that does no good.
#pragma once
#include <cstdint>

namespace dlbench {

constexpr int kLineBytes = 64;

// How many edges, of which each needs so many bytes.
constexpr int64_t edges_ahead(int64_t bytes) { return bytes <= 4 * kLineBytes ? 64 : 16; }

}  // namespace dlbench
