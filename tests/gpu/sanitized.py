"""Every operation of the CUDA backend on a small book: the program that compute-sanitizer watches."""

from __future__ import annotations

import numpy as np
from parity import cases

from upm_gpu.backend import cuda
from upm_gpu.backend.cuda import memory, waves


def main() -> None:
    device = cuda.open_device()
    compiled = cases.make_compiled(per_group=2)
    rows = cases.make_rows(compiled, 9)
    for precision, law in (("mixed", "t_both"), ("double", "gaussian")):
        walk = cases.make_walk(law, 4500)
        with cuda.prepare(compiled, rows, precision, device=device) as prepared:
            tail = cuda.row_tail(prepared, walk, 0, 4500, 40)
            listed = np.sort(tail.scenario[2], axis=1).ravel()
            cuda.attribution(prepared, walk, 2, np.arange(10, dtype=np.int64) * 40, listed, np.ones(len(listed)))
            cuda.row_tail(prepared, cases.make_explicit(300), 0, 300, 40)
            if waves.tiles_fit(prepared):
                wave = memory.open_wave(prepared, walk, 4500, unit=True, pnl=True, floor=64)
                waves.draw(prepared, walk, wave, 0, wave.length)
                waves.price(prepared, wave, len(walk.state_names), 0, wave.length)
                waves.sum_rows(prepared, wave, wave.length, tiles=True)
    with cuda.prepare(compiled, rows, "mixed", device=device) as prepared:
        for drawn in (cases.make_garch("grouped_t", 4500), cases.make_garch("resampled", 4500), cases.make_resample(4500)):
            cuda.row_tail(prepared, drawn, 0, 4500, 40)
    cuda.values("european", {"spot": np.array([100.0, 90.0]), "strike": np.array([100.0, 120.0]), "time_to_expiry": np.array([0.5, 0.0]), "sign": np.array([1.0, -1.0]),
                 "volatility": np.array([0.4, np.nan]), "market_price": np.array([np.nan, 30.0])}, device)
    print("every kernel has run")


if __name__ == "__main__":
    main()
