// A book ready to be priced, and the scratch of one thread.
#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <vector>

#include "aligned.h"
#include "engine.h"

namespace upm {

inline void require(bool holds) {
  if (!holds) throw std::invalid_argument("argument");
}

struct Isa {
  const char* name;
  const TileFunctions* functions;
  const Operations* operations;
  const KeptFunctions* kept;
  bool (*runs)();
  double cost;  // time against AVX-512
};
// Instruction sets built in, widest first.
const std::vector<Isa>& isas();

// What a call spends its time on; prices and sums are those of `row_tail`.
enum Phase { SIMULATE, PRICE, AGGREGATE, TAIL, PHASES };

struct Prepared {
  Prepared(const UpmBook& source, int isa, int64_t block_columns);

  UpmBook book;
  std::vector<UpmProgram> programs;
  int isa;
  const TileFunctions* tile;
  std::vector<double> value0;
  // Columns are priced and summed in blocks that fit the L2 cache. Several blocks have their own copies of the entries: read in
  // the order of the book they would be short pieces far apart.
  struct Block {
    int64_t first, last;                // columns
    std::vector<int64_t> entry_first;   // (rows + 1,)
    std::vector<int32_t> own_column;
    std::vector<double> own_quantity;
    const int32_t* column;
    const double* quantity;
  };
  std::vector<Block> blocks;

  mutable Spare spare;
  mutable std::array<int64_t, PHASES> nanoseconds{};  // by phase, summed over threads

  int64_t options() const { return book.columns - book.linear; }
  size_t stored() const { return book.store_float32 ? 4 : 8; }
  int64_t widest_block() const;
  void check(const UpmScenarios& set, int64_t first, int64_t last) const;
};

// Scratch of one thread; the states of a tile and what is made from them.
struct Scratch {
  Scratch(const Prepared& p, const UpmScenarios& set, bool units, bool sums);

  Aligned<double> states;  // (dates, states, TILE)
  Aligned<double> model;   // (set.scratch, TILE)
  Aligned<double> unit;    // (widest block, TILE)
  Aligned<double> sum;     // (rows, TILE) where there are several blocks
  std::vector<int64_t> clipped;
  std::array<int64_t, PHASES> nanoseconds{};

  void draw(const Prepared& p, const UpmScenarios& set, int64_t first, int live, Leaving* leaving = nullptr);
};

// Adds the time since the last lap to a phase.
class Laps {
 public:
  explicit Laps(std::array<int64_t, PHASES>& to) : to_(to), last_(std::chrono::steady_clock::now()) {}
  void lap(Phase phase) {
    const auto now = std::chrono::steady_clock::now();
    to_[phase] += std::chrono::duration_cast<std::chrono::nanoseconds>(now - last_).count();
    last_ = now;
  }

 private:
  std::array<int64_t, PHASES>& to_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace upm
