"""A made-up run folder in the layout of a real one, for tests of what reads it: coherent figures, no engine.

Every account is a quadratic form of four factor moves, so that tails, contributions, stresses and heat maps agree.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

STATES = ("log_level[BTC]", "log_level[ETH]", "volatility_shift[BTC]", "volatility_shift[ETH]")
HOSTILE = ("<script>alert(1)</script>", "../../etc/passwd", "=cmd|' /C calc'!A0", "</script><img src=x onerror=alert(2)>", "[red]id[/red]\x1b[31m", "'\"&amp;")
HORIZONS = (0.999, 2.0)
LEVELS = (0.99, 0.995)


def make_run(path: Path, accounts: int = 2000, scenarios: int = 4000, detail: int = 6, hostile: bool = True, seed: int = 7) -> Path:
    """Write the folder and return it. The first accounts have ids that try to break out of a page or a path."""
    rng = np.random.default_rng(seed)
    (path / "report").mkdir(parents=True)
    ids = [f"desk-{n:04d}" for n in range(accounts)]
    for n, text in enumerate(HOSTILE if hostile else ()):
        if n < accounts:
            ids[n] = text
    names = [f"{u}-27MAR26-{k}-{t}" for u, ks in (("BTC", range(50_000, 90_000, 5_000)), ("ETH", range(1_200, 3_000, 300))) for k in ks for t in "CP"]
    names += ["BTC-PERPETUAL", "ETH-PERPETUAL", "<b>X</b>"]
    delta, gamma, vega = rng.normal(0, 1, (len(names), 2)), rng.normal(0.5, 2, (len(names), 2)), rng.normal(0.3, 1, (len(names), 2))
    size = np.exp(rng.normal(10.5, 1.6, accounts))
    held = [np.sort(rng.choice(len(names), size=int(rng.integers(1, 14)), replace=False)) for _ in range(accounts)]
    weight = [rng.normal(0, 1, len(h)) * size[a] for a, h in enumerate(held)]
    mix = np.linalg.cholesky(np.array([[1, .85, -.6, -.5], [.85, 1, -.5, -.6], [-.6, -.5, 1, .8], [-.5, -.6, .8, 1]]))
    moves = mix @ rng.normal(size=(4, scenarios)) * np.sqrt(5 / rng.chisquare(5, scenarios)) * np.array([[.045], [.06], [.12], [.13]])

    def unit(x: np.ndarray) -> np.ndarray:
        return delta @ x[:2] + gamma @ (x[:2] ** 2) * 3 + vega @ x[2:] * 0.3

    values = unit(moves)
    pnl = np.array([weight[a] @ values[held[a]] for a in range(accounts)])
    order = np.argsort(pnl, axis=1, kind="stable")
    k = scenarios // 100
    worst = np.take_along_axis(pnl, order[:, :k], 1)
    var, es = -pnl[np.arange(accounts), order[:, k]], -worst.mean(axis=1)
    es_se = np.sqrt(np.maximum(-worst - var[:, None], 0).var(axis=1) / k) + 0.01 * abs(es)
    charge = 0.08 * np.maximum(es, 0) * rng.random(accounts)
    core = np.maximum(es, 0)
    initial = core + charge + 2 * es_se
    collateral = initial * np.exp(rng.normal(0.55, 0.33, accounts))
    equity = collateral * (1 + rng.normal(0, 0.03, accounts))
    maintenance = 0.8 * initial
    status = np.where(equity >= initial, "ok", np.where(equity >= maintenance, "call", "liquidation"))
    margin = {"account_id": ids, "initial_margin": initial, "maintenance_margin": maintenance, "expected_shortfall": es,
              "expected_shortfall_standard_error": es_se, "value_at_risk": var, "collateral_value": collateral, "equity": equity,
              "excess": equity - initial, "margin_ratio": equity / maintenance, "status": status.tolist(), "core": core,
              "charge_liquidity": charge, "charge_sampling_error": 2 * es_se}
    _write(path / "margin.parquet", margin)
    lines = [(a, n, -weight[a][j] * values[n, order[a, :k]].mean()) for a in range(accounts) for j, n in enumerate(held[a])]
    _write(path / "contributions.parquet", {"account_id": [ids[a] for a, _, _ in lines], "instrument_id": [names[n] for _, n, _ in lines],
                                            "contribution": np.array([value for _, _, value in lines])})
    _write(path / "greeks.parquet", {"account_id": [ids[a] for a, _, _ in lines], "underlying": [names[n][:3].replace("<b>", "BTC") for _, n, _ in lines],
                                     "instrument_id": [names[n] for _, n, _ in lines], **{g: rng.normal(0, 1000, len(lines)) for g in ("delta", "gamma", "vega", "theta")}})
    house = pnl.sum(axis=0)
    shown = [*np.argsort(-initial, kind="stable")[:detail].tolist(), *range(min(len(HOSTILE) if hostile else 0, accounts))]
    shown = list(dict.fromkeys(shown))
    rows = [("", house)] + [(ids[a], pnl[a]) for a in range(accounts)]
    top = {name: np.argsort(values, kind="stable")[:10] for name, values in [*rows[:1], *((ids[a], pnl[a]) for a in shown)]}
    _write(path / "worst_scenarios.parquet", {
        "account_id": [name for name in top for _ in range(10)], "rank": np.tile(np.arange(1, 11), len(top)), "scenario": np.concatenate(list(top.values())),
        "pnl": np.concatenate([dict(rows)[name][found] for name, found in top.items()]),
        **{state: np.concatenate([moves[i][found] for found in top.values()]) for i, state in enumerate(STATES)}})
    _exhibits(path / "report", rows, {"", *(ids[a] for a in shown)}, ids, var, es, es_se, rng)
    grid = [(which, p, v) for which in ("all", "BTC", "ETH") for p in (-.4, -.3, -.2, -.15, -.1, -.05, 0., .05, .1, .15, .2, .3, .4) for v in (-.4, -.25, -.1, 0., .1, .25, .5, .75, 1.)]
    states = np.array([[np.log1p(p) * (w in ("all", u)) for w, p, _ in grid] for u in ("BTC", "ETH")] + [[np.log1p(v) * (w in ("all", u)) for w, _, v in grid] for u in ("BTC", "ETH")])
    cells = unit(states)
    shown_rows = [("", sum(weight[a] @ cells[held[a]] for a in range(accounts)))] + [(ids[a], weight[a] @ cells[held[a]]) for a in shown]
    _write(path / "report" / "heatmap.parquet", {
        "account_id": [name for name, _ in shown_rows for _ in grid], "underlying": [w for w, _, _ in grid] * len(shown_rows),
        "price_move": np.tile([p for _, p, _ in grid], len(shown_rows)), "volatility_move": np.tile([v for _, _, v in grid], len(shown_rows)),
        "pnl": np.concatenate([found for _, found in shown_rows])})
    stresses = {"Crash, 12 March 2020": (-.39, -.43, .8, .8), "Down 20 %, volatility +50 %": (-.2, -.25, .5, .5), "Up 20 %, volatility +20 %": (.2, .25, .2, .2),
                "Volatility collapse": (0., 0., -.4, -.4), "Melt-up": (.35, .45, .6, .6)}
    shock = unit(np.log1p(np.array(list(stresses.values())).T))
    loss = np.array([weight[a] @ shock[held[a]] for a in range(accounts)])
    _write(path / "report" / "stress.parquet", {"account_id": ["" for _ in stresses] + [i for i in ids for _ in stresses], "scenario": list(stresses) * (accounts + 1),
                                                "pnl": np.concatenate([loss.sum(axis=0), loss.ravel()])})
    breaches = [a for a in range(accounts) if status[a] != "ok"]
    _csv(path / "calls.csv", ["account_id", "status", "amount"], [[ids[a], status[a], f"{initial[a] - equity[a]:.2f}"] for a in breaches])
    _csv(path / "rejects.csv", ["file", "line", "column", "code", "message", "raw"],
         [["positions.csv", "8213", "quantity", "UPM-IN-014", '"1,000" is not a plain number. Use 1000.', "a7,BTC-PERPETUAL,<b>1,000</b>"],
          ["positions.csv", "9001", "instrument_id", "UPM-IN-021", "instrument BTC-31FEB26 is unknown.", "a9,BTC-31FEB26,4"]])
    _json(path / "report" / "quality.json", {
        "age_minutes": 42.4, "warnings": ["No rates file: zero rates are used.", "Window <b>of</b> the ETH volatility history ends 2025-12-30."],
        "quarantined": [{"instrument_id": "BTC-6FEB26-40000-P", "reason": "model misses the mark", "mark": 0.0021, "model": 0.0093}],
        "surface": [{"underlying": u, "expiry": e, "quotes": n, "root_mean_square": r} for u, e, n, r in
                    (("BTC", "2026-02-06", 38, .0112), ("BTC", "2026-03-27", 61, .0043), ("ETH", "2026-02-06", 35, .0136), ("ETH", "2026-03-27", 52, .0061))],
        "model_minus_mark": {"BTC": {"count": 812, "mean": -1.2e-5, "largest": .0041}, "ETH": {"count": 790, "mean": 3.1e-5, "largest": .0047}}})
    _json(path / "manifest.json", {
        "format": 1, "schema_version": 1, "command": ["upm", "run", "configs/quickstart.toml", "--out", "run <1>"], "upm_gpu": "0.1.0", "seed": 20260205, "scenarios": scenarios,
        "precision": "mixed", "backend": "cpu", "device": "cpu, AVX-512, 2 threads", "device_reason": "no CUDA driver was found (UPM-DV-002)", "isa": "avx512",
        "threads": 2, "chunk": 65536, "methodology": "crypto-es99 1.0", "valuation_time": "2026-02-05T09:36:47Z", "reporting_currency": "USD",
        "error_formula": "influence function of the expected shortfall", "snapshot_sha256": "3f" * 32, "spec_sha256": "a1" * 32, "methodology_sha256": "77" * 32,
        "kernels_sha256": "0c" * 32, "inputs": {"positions.csv": "9b" * 32, "collateral.csv": "e4" * 32}, "libraries": {"python": "3.11.2", "numpy": "2.1.0"},
        "timings": {"engine": 3.217, "simulate": 0.4, "price": 1.9, "aggregate": .7, "tail": .2}, "counts": {"accounts": accounts, "rejects": 2}, "warnings": []})
    return path


def _exhibits(folder: Path, rows: list, kept: set, ids: list, var: np.ndarray, es: np.ndarray, es_se: np.ndarray, rng: np.random.Generator) -> None:
    """Histograms, tail measures and what really came."""
    bins, tails = [], []
    for name, values in rows:
        number = None if name == "" else ids.index(name) if name in kept else -1
        for days in HORIZONS:
            scaled = values * np.sqrt(days / 2.0)
            if name in kept:
                low, high = np.quantile(scaled, [1e-3, 1 - 1e-3])
                counts, edges = np.histogram(np.clip(scaled, low, high), 80, (low, high))
                bins.append((name, days, edges[:-1], edges[1:], counts))
                for level in LEVELS:
                    k = round(len(scaled) * (1 - level))
                    ordered = np.sort(scaled)
                    shortfall = float(es[number]) if number is not None and days == 2.0 and level == 0.99 else -ordered[:k].mean()
                    error = abs(shortfall) * 0.02
                    tails.append((name, days, level, -ordered[k], error * .8, shortfall, error, k >= 30))
    _write(folder / "histograms.parquet", {
        "account_id": [n for n, _, left, _, _ in bins for _ in left], "horizon_days": np.concatenate([np.full(len(left), d) for _, d, left, _, _ in bins]),
        "bin_left": np.concatenate([b[2] for b in bins]), "bin_right": np.concatenate([b[3] for b in bins]), "count": np.concatenate([b[4] for b in bins])})
    heads = ("account_id", "horizon_days", "level", "value_at_risk", "value_at_risk_standard_error", "expected_shortfall", "expected_shortfall_standard_error", "reliable")
    _write(folder / "tails.parquet", {head: [line[i] for line in tails] for i, head in enumerate(heads)})
    loss = es * 0.7 * rng.normal(0.1, 0.55, len(ids))
    scale = np.sqrt(HORIZONS[0] / 2.0)
    _write(folder / "realised.parquet", {"account_id": ids, "horizon_days": np.full(len(ids), HORIZONS[0]), "value_at_risk": var * scale, "expected_shortfall": es * scale,
                                         "realised_loss": loss, "realised_loss_without_proxy": loss * 0.95})


def _write(path: Path, columns: dict) -> None:
    pq.write_table(pa.table({name: pa.array(list(values) if isinstance(values, list) else values) for name, values in columns.items()}), path)


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _csv(path: Path, heads: list[str], rows: list) -> None:
    import csv

    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([heads, *rows])
