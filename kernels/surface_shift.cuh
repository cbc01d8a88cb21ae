// Volatility surface of one underlying in one scenario: level, skew and slope to a shift, a skew and a stretch of every expiry, kept free of arbitrage
// where asked. Twin: upm_gpu/formula/surface_shift.py; tables: upm_gpu/market/surface_bounds.py.
//
// reals: the head below, then (expiries, 4) loading of the level, loading of the slope, lowest and highest change of skew; under `project` then gap
// (expiries - 1, skew cells, 3) and stretch (expiries, skew cells, variance cells, 5). Results of expiry e: out[e stride] shift of log-volatility, out[(E + e) stride]
// change of skew, out[(2 E + e) stride] logarithm of the stretch.
#ifndef UPM_SURFACE_SHIFT_CUH
#define UPM_SURFACE_SHIFT_CUH

#include "elementary.cuh"
#include "platform.cuh"

namespace upm {

#define UPM_SURFACE_EXPIRIES 64  // bits of a word that says which expiries were moved
#define UPM_SURFACE_HEAD 9
#define UPM_SURFACE_OUT_OF_ORDER 1e-12  // log-volatilities nearer than this are rounding
#define UPM_SURFACE_MOVED 1e-9          // a correction below this is not counted

enum SurfaceHead { SURFACE_EXPIRIES, SURFACE_PROJECT, SURFACE_DELTA, SURFACE_SKEW_FIRST, SURFACE_SKEW_INVERSE, SURFACE_SKEW_CELLS, SURFACE_VARIANCE_FIRST,
                   SURFACE_VARIANCE_INVERSE, SURFACE_VARIANCE_CELLS };

// Bit e: expiry e was shifted for the calendar, its skew was held, it asked for the stretch.
struct SurfaceEvents {
  u64 shifted, held, stretched;
};

// Cell of a table and place in it, held to the table.
struct SurfacePlace {
  i32 cell;
  double part;
};

UPM_INLINE SurfacePlace surface_place(double x, double first, double inverse, i32 cells) {
  SurfacePlace r;
  const double p = at_most(at_least((x - first) * inverse, 0.0), (double)cells);
  r.cell = (i32)p;
  if (r.cell == cells) r.cell = cells - 1;
  r.part = p - (double)r.cell;
  return r;
}

// Bound of ln l of an expiry whose total variance is exp(y) of today's; above the table it grows by no more than y.
UPM_INLINE double stretch_needed(const double* table, SurfacePlace skew, double y, double first, double inverse, i32 cells) {
  const SurfacePlace at = surface_place(y, first, inverse, cells);
  const double* c = table + 5 * ((i64)skew.cell * cells + at.cell);
  const double t = skew.part, s = at.part;
  const double flat = (1.0 - t) * ((1.0 - s) * c[0] + s * c[1]) + t * ((1.0 - s) * c[2] + s * c[3]);
  return flat + 4.0 * (t * (1.0 - t) + s * (1.0 - s)) * c[4] + at_least(y - (first + (double)cells / inverse), 0.0);
}

// Least-squares ascending sequence by pooling neighbours that fall (R. Barlow et al., 1972); z (n,), in place.
UPM_INLINE void pool_falls(double* z, i32 n) {
  double mean[UPM_SURFACE_EXPIRIES];
  i32 size[UPM_SURFACE_EXPIRIES];
  i32 blocks = 0;
  for (i32 e = 0; e < n; ++e) {
    mean[blocks] = z[e];
    size[blocks] = 1;
    ++blocks;
    while (blocks > 1 && mean[blocks - 2] > mean[blocks - 1]) {
      const i32 a = size[blocks - 2], b = size[blocks - 1];
      mean[blocks - 2] = (mean[blocks - 2] * (double)a + mean[blocks - 1] * (double)b) / (double)(a + b);
      size[blocks - 2] = a + b;
      --blocks;
    }
  }
  i32 e = 0;
  for (i32 b = 0; b < blocks; ++b)
    for (i32 i = 0; i < size[b]; ++i) z[e++] = mean[b];
}

UPM_INLINE SurfaceEvents surface_shift(const double* reals, double level, double skew, double slope, double* out, i64 stride) {
  const i32 n = (i32)reals[SURFACE_EXPIRIES];
  const bool delta = reals[SURFACE_DELTA] != 0.0;
  const double* expiry = reals + UPM_SURFACE_HEAD;
  SurfaceEvents events = {0, 0, 0};
  if (reals[SURFACE_PROJECT] == 0.0) {
    for (i32 e = 0; e < n; ++e) {
      const double shift = expiry[4 * e] * level + expiry[4 * e + 1] * slope;
      out[e * stride] = shift;
      out[(n + e) * stride] = skew;
      out[(2 * n + e) * stride] = delta ? shift : 0.0;
    }
    return events;
  }
  const i32 skew_cells = (i32)reals[SURFACE_SKEW_CELLS], cells = (i32)reals[SURFACE_VARIANCE_CELLS];
  const SurfacePlace at = surface_place(skew, reals[SURFACE_SKEW_FIRST], reals[SURFACE_SKEW_INVERSE], skew_cells);
  const double* gap = expiry + 4 * n;
  const double* stretch = gap + 3 * (i64)(n - 1) * skew_cells;
  const double bow = 4.0 * at.part * (1.0 - at.part);

  // In z = shift - (sum of the gaps before) the calendar's condition is that z ascends.
  double z[UPM_SURFACE_EXPIRIES], offset[UPM_SURFACE_EXPIRIES];
  bool falls = false;
  double before = 0.0;
  for (i32 e = 0; e < n; ++e) {
    if (e > 0) {
      const double* c = gap + 3 * ((i64)(e - 1) * skew_cells + at.cell);
      before = before + 0.5 * (c[0] + at.part * (c[1] - c[0]) + bow * c[2]);
    }
    const double shift = expiry[4 * e] * level + expiry[4 * e + 1] * slope;
    out[e * stride] = shift;
    offset[e] = before;
    z[e] = shift - before;
    if (e > 0 && z[e] < z[e - 1] - UPM_SURFACE_OUT_OF_ORDER) falls = true;
  }
  if (falls) {
    pool_falls(z, n);
    for (i32 e = 0; e < n; ++e) {
      const double shift = z[e] + offset[e];
      if (absolute(shift - out[e * stride]) > UPM_SURFACE_MOVED) events.shifted |= (u64)1 << e;
      out[e * stride] = shift;
    }
  }

  const double least = delta ? level : 0.0;
  double longest = least;
  for (i32 e = 0; e < n; ++e) {
    const double held = clip(skew, expiry[4 * e + 2], expiry[4 * e + 3]);
    if (held != skew) events.held |= (u64)1 << e;
    out[(n + e) * stride] = held;
    const double need = stretch_needed(stretch + 5 * (i64)e * skew_cells * cells, at, 2.0 * out[e * stride], reals[SURFACE_VARIANCE_FIRST], reals[SURFACE_VARIANCE_INVERSE], cells);
    if (need > least + UPM_SURFACE_MOVED) events.stretched |= (u64)1 << e;
    longest = at_least(longest, need);
  }
  for (i32 e = 0; e < n; ++e) out[(2 * n + e) * stride] = longest;
  return events;
}

}  // namespace upm

#endif
