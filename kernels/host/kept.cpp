// Sums of kept rows on tiles of scenarios. Compiled once per instruction set, as tile.cpp: the same operations in the same order in each, so all give the same bits.
//
// A row is one float64 sum over its entries in their order, multiply then add, from 0.0. Scenarios stand side by side, so vectors change no sum.
#include "engine.h"

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace UPM_ISA {
namespace {

using namespace upm;

constexpr int T = TILE;
constexpr int K = UPM_KEPT_TILE;

#include "lanes.inc"

constexpr int V = K / W;  // vectors a tile of a kept row
typedef double Anywhere __attribute__((vector_size(UPM_VECTOR_BYTES), aligned(8)));  // of arrays that others allocated

constexpr int SCAN = 2048;  // scenarios whose approximation stays in the first cache

enum Kind { OTHER_QUANTITY = 0, NEW_COLUMN = 1, GONE = 2 };

template <class Stored>
const Stored* column_of(const UpmKept* kept, int32_t column) {
  return static_cast<const Stored*>(kept->unit) + column * kept->scenarios;
}

template <class Stored>
void sums_of(const UpmKept* kept, const uint32_t* scenario, int64_t first, int64_t count, double* out) {
  for (int64_t s = 0; s < count; ++s) out[s] = 0.0;
  for (int64_t e = 0; e < kept->entries; ++e) {
    const Stored* unit = column_of<Stored>(kept, kept->column[e]) + (scenario ? 0 : first);
    const double quantity = kept->quantity[e];
    if (scenario)
      for (int64_t s = 0; s < count; ++s) out[s] += quantity * static_cast<double>(unit[scenario[s]]);
    else
      for (int64_t s = 0; s < count; ++s) out[s] += quantity * static_cast<double>(unit[s]);
  }
}

template <class Stored>
void block_of(const UpmKept* kept, int64_t tile) {
  const uint32_t* order = kept->order + tile * K;
  Stored* block = static_cast<Stored*>(kept->block) + tile * kept->entries * K;
  double* partial = kept->partial + tile * (kept->entries / UPM_KEPT_STEP + 1) * K;
  double sum[K] = {};
  for (int64_t e = 0; e < kept->entries; ++e) {
    if (e % UPM_KEPT_STEP == 0)
      for (int s = 0; s < K; ++s) partial[e / UPM_KEPT_STEP * K + s] = sum[s];
    const Stored* unit = column_of<Stored>(kept, kept->column[e]);
    for (int s = 0; s < K; ++s) block[e * K + s] = unit[order[s]];
    for (int s = 0; s < K; ++s) sum[s] += kept->quantity[e] * static_cast<double>(block[e * K + s]);
  }
  if (kept->entries % UPM_KEPT_STEP == 0)
    for (int s = 0; s < K; ++s) partial[kept->entries / UPM_KEPT_STEP * K + s] = sum[s];
}

template <class Stored>
void guess_of(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, int64_t first, int64_t last, double* out) {
  for (int64_t i = first; i < last; ++i) out[i - first] = kept->ascending[i];
  for (int64_t e = changes->first[item]; e < changes->first[item + 1]; ++e) {
    const Stored* unit = column_of<Stored>(kept, changes->column[e]);
    const double difference = changes->difference[e];
    for (int64_t i = first; i < last; ++i) out[i - first] += difference * static_cast<double>(unit[kept->order[i]]);
  }
}

// In the order of ids: for changes that may bring in any scenario, a stream past all of them is faster than gathering in the order of the P&L.
template <class Stored>
int64_t scan_of(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, double bound, uint32_t* id, double* out) {
  int64_t count = 0;
  alignas(64) double guess[SCAN];
  for (int64_t first = 0; first < kept->scenarios; first += SCAN) {
    const int64_t n = kept->scenarios - first < SCAN ? kept->scenarios - first : SCAN;
    for (int64_t s = 0; s < n; ++s) guess[s] = kept->pnl[first + s];
    for (int64_t e = changes->first[item]; e < changes->first[item + 1]; ++e) {
      const Stored* unit = column_of<Stored>(kept, changes->column[e]) + first;
      const double difference = changes->difference[e];
      for (int64_t s = 0; s < n; ++s) guess[s] += difference * static_cast<double>(unit[s]);
    }
    for (int64_t start = 0; start < n; start += T) {
      uint64_t hits = at_or_below(guess + start, bound);
      if (n - start < T) hits &= ((uint64_t)1 << (n - start)) - 1;
      for (; hits; hits &= hits - 1, ++count) {
        const int64_t s = start + __builtin_ctzll(hits);
        id[count] = static_cast<uint32_t>(first + s), out[count] = guess[s];
      }
    }
  }
  return count;
}

template <class Stored>
void products_of(const UpmKept* kept, int64_t tile, double* out) {
  const Stored* block = static_cast<const Stored*>(kept->block) + tile * kept->entries * K;
  for (int64_t e = 0; e < kept->entries; ++e)
    for (int s = 0; s < K; ++s) out[e * K + s] = kept->quantity[e] * static_cast<double>(block[e * K + s]);
}

inline __attribute__((always_inline)) void add(Vector* sum, const double* x) {
  const Vector* v = (const Vector*)x;
#pragma GCC unroll 16
  for (int i = 0; i < V; ++i) sum[i] += v[i];
}

template <class Stored>
void tile_of(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, int64_t tile, const double* products, double* out) {
  const int64_t end = changes->first[item + 1], steps = kept->entries / UPM_KEPT_STEP + 1;
  int64_t change = changes->first[item], e = change < end ? changes->place[change] / UPM_KEPT_STEP * UPM_KEPT_STEP : kept->entries / UPM_KEPT_STEP * UPM_KEPT_STEP;
  const double* before = kept->partial + (tile * steps + e / UPM_KEPT_STEP) * K;
  const Stored* block = static_cast<const Stored*>(kept->block) + tile * kept->entries * K;
  Vector sum[V];
#pragma GCC unroll 16
  for (int i = 0; i < V; ++i) sum[i] = ((const Anywhere*)before)[i];
  for (;;) {
    const int64_t until = change < end ? changes->place[change] : kept->entries;
    for (; e < until; ++e) add(sum, products + e * K);
    if (change == end) break;
    const int32_t kind = changes->kind[change];
    if (kind != GONE) {
      alignas(64) double product[K];
      const double quantity = changes->quantity[change];
      if (kind == OTHER_QUANTITY) {
        for (int s = 0; s < K; ++s) product[s] = quantity * static_cast<double>(block[e * K + s]);
      } else {
        const Stored* unit = column_of<Stored>(kept, changes->column[change]);
        for (int s = 0; s < K; ++s) product[s] = quantity * static_cast<double>(unit[kept->order[tile * K + s]]);
      }
      add(sum, product);
    }
    e += kind != NEW_COLUMN;
    ++change;
  }
#pragma GCC unroll 16
  for (int i = 0; i < V; ++i) ((Vector*)out)[i] = sum[i];
}

template <class Stored>
void places_of(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, const int32_t* place, int64_t count, double* out) {
  const int64_t end = changes->first[item + 1];
  uint32_t scenario[K];
  for (int64_t s = 0; s < count; ++s) scenario[s] = kept->order[place[s]], out[s] = 0.0;
  int64_t change = changes->first[item];
  for (int64_t e = 0; e <= kept->entries; ++e) {
    bool own = e < kept->entries;
    for (; change < end && changes->place[change] == e; ++change) {
      own = own && changes->kind[change] == NEW_COLUMN;
      if (changes->kind[change] == GONE) continue;
      const Stored* unit = column_of<Stored>(kept, changes->column[change]);
      for (int64_t s = 0; s < count; ++s) out[s] += changes->quantity[change] * static_cast<double>(unit[scenario[s]]);
    }
    if (!own) continue;
    const Stored* unit = column_of<Stored>(kept, kept->column[e]);
    for (int64_t s = 0; s < count; ++s) out[s] += kept->quantity[e] * static_cast<double>(unit[scenario[s]]);
  }
}

void sums(const UpmKept* kept, const uint32_t* scenario, int64_t first, int64_t count, double* out) {
  (kept->float32 ? sums_of<float> : sums_of<double>)(kept, scenario, first, count, out);
}
void block(const UpmKept* kept, int64_t tile) { (kept->float32 ? block_of<float> : block_of<double>)(kept, tile); }
void guess(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, int64_t first, int64_t last, double* out) {
  (kept->float32 ? guess_of<float> : guess_of<double>)(kept, changes, item, first, last, out);
}
int64_t scan(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, double bound, uint32_t* id, double* out) {
  return (kept->float32 ? scan_of<float> : scan_of<double>)(kept, changes, item, bound, id, out);
}
void products(const UpmKept* kept, int64_t tile, double* out) { (kept->float32 ? products_of<float> : products_of<double>)(kept, tile, out); }
void tile(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, int64_t at, const double* given, double* out) {
  (kept->float32 ? tile_of<float> : tile_of<double>)(kept, changes, item, at, given, out);
}
void places(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, const int32_t* place, int64_t count, double* out) {
  (kept->float32 ? places_of<float> : places_of<double>)(kept, changes, item, place, count, out);
}

}  // namespace

extern const upm::KeptFunctions kept_functions;
const upm::KeptFunctions kept_functions = {sums, block, guess, scan, products, tile, places};

}  // namespace UPM_ISA
