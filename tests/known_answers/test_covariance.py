"""Covariances: small cases by hand, the rules for gaps and common times, shrinkage, tails, and the parameter file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from upm_gpu.calibrate.covariance import CovarianceFit, calibrate_covariance, factor_names
from upm_gpu.calibrate.covariance_file import calibrate_file
from upm_gpu.calibrate.model_of_spec import calibrate_model, gbm_parameters
from upm_gpu.calibrate.parameter_file import read_parameters, write_parameters
from upm_gpu.calibrate.series import Series, common_returns, kendall, pair_returns, realised_volatility, returns
from upm_gpu.calibrate.shrinkage import constant_correlation_intensity, identity_intensity
from upm_gpu.calibrate.tail_fit import copula_degrees_of_freedom, filtered, marginal_degrees_of_freedom
from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.market.reader import load_market
from upm_gpu.market.surface import fit_surfaces
from upm_gpu.rng.normal import normal, normal_quantile, student_t_quantile, uniform
from upm_gpu.scenario.spec import ScenarioSpec

START = datetime(2025, 1, 1, tzinfo=UTC)


def history(**series: list[float] | np.ndarray) -> pd.DataFrame:
    """Daily closes from 1 January 2025; an asset `A_IV30` is the volatility series of A."""
    rows = [(START + timedelta(days=i), name.replace("_", "."), float(x)) for name, values in series.items() for i, x in enumerate(values)]
    frame = pd.DataFrame(rows, columns=["timestamp", "asset", "close"])
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True).astype("datetime64[ns, UTC]")
    return frame


def path(moves: np.ndarray, start: float = 100.0) -> np.ndarray:
    return start * np.exp(np.concatenate([[0.0], np.cumsum(moves)]))


def draws(count: int, factors: int, seed: int = 5) -> np.ndarray:
    return normal(seed, 0, count, factors)[:, 0, :].T


END = START + timedelta(days=100_000)


def test_ewma_by_hand():
    moves = np.array([0.01, -0.02, 0.03, 0.0, 0.01, -0.01, 0.02, 0.01, -0.03, 0.02])
    other = np.array([0.02, -0.01, 0.01, 0.01, 0.00, -0.02, 0.01, 0.02, -0.01, 0.01])
    fit = calibrate_covariance(history(A=path(moves), B=path(other)), ["log_level[A]", "log_level[B]"], END, ewma_lambda=0.9)
    weight = [0.9**age for age in range(9, -1, -1)]
    total = sum(weight)
    variance = sum(w * r * r for w, r in zip(weight, moves, strict=True)) / total
    second = sum(w * r * r for w, r in zip(weight, other, strict=True)) / total
    covariance = sum(w * r * s for w, r, s in zip(weight, moves, other, strict=True)) / total
    assert fit.daily_volatility == pytest.approx([np.sqrt(variance), np.sqrt(second)], rel=1e-9)
    assert fit.correlation[0, 1] == pytest.approx(covariance / np.sqrt(variance * second), rel=1e-9)
    assert fit.observations.tolist() == [[10, 10], [10, 10]]
    assert "only 10 returns" in fit.warnings[0]


def test_equal_weights_are_the_mean_square():
    moves = draws(40, 1)[:, 0] * 0.03
    fit = calibrate_covariance(history(A=path(moves)), ["log_level[A]"], END, estimator="equal")
    assert fit.daily_volatility[0] == pytest.approx(np.sqrt(np.mean(moves**2)), rel=1e-9)


def test_returns_are_scaled_by_elapsed_time_and_gaps_are_missing():
    # Half a day, two days, exactly four days, a gap of 4.5 days, one day.
    series = Series(np.array([0.0, 0.5, 2.5, 6.5, 11.0, 12.0]), np.array([0.0, 0.1, 0.3, 0.7, 5.0, 5.2]))
    assert returns(series) == pytest.approx([0.1 / np.sqrt(0.5), 0.2 / np.sqrt(2.0), 0.4 / 2.0, 0.2], rel=1e-12)


def test_pairs_use_the_times_they_have_in_common():
    a = Series(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 3.0, 6.0]))
    b = Series(np.array([0.0, 2.0, 2.5, 3.0]), np.array([0.0, 4.0, 9.0, 5.0]))
    r, s = pair_returns(a, b)
    assert r == pytest.approx([3.0 / np.sqrt(2.0), 3.0])
    assert s == pytest.approx([4.0 / np.sqrt(2.0), 1.0])
    assert common_returns([a, b]) == pytest.approx(np.stack([r, s], axis=1))


def test_nothing_after_the_valuation_time_enters():
    moves = draws(60, 2) * 0.02
    early = calibrate_covariance(history(A=path(moves[:40, 0]), B=path(moves[:40, 1])), ["log_level[A]", "log_level[B]"], END)
    cut = calibrate_covariance(history(A=path(moves[:, 0]), B=path(moves[:, 1])), ["log_level[A]", "log_level[B]"], START + timedelta(days=40))
    assert cut.daily_volatility.tolist() == early.daily_volatility.tolist()
    assert cut.correlation.tolist() == early.correlation.tolist()


def test_order_of_factors_and_rows_changes_nothing():
    moves = draws(50, 4) * 0.02
    frame = history(A=path(moves[:, 0]), B=path(moves[:, 1]), A_IV30=path(moves[:, 2], 0.5), B_IV30=path(moves[:, 3], 0.6))
    names = factor_names(["A", "B"])
    assert names == ("log_level[A]", "log_level[B]", "volatility_shift[A]", "volatility_shift[B]")
    fit = calibrate_covariance(frame, names, END)
    turned = calibrate_covariance(frame.iloc[::-1].reset_index(drop=True), names[::-1], END)
    assert turned.correlation[::-1, ::-1] == pytest.approx(fit.correlation, abs=1e-15)
    assert fit.daily_volatility[2] == pytest.approx(np.sqrt(np.sum(0.97 ** np.arange(49, -1, -1) * moves[:, 2] ** 2) / np.sum(0.97 ** np.arange(50))), rel=1e-9)


def test_constant_correlation_intensity_is_the_sum_of_the_paper():
    x = draws(60, 3) @ np.array([[1.0, 0.5, 0.2], [0.0, 0.8, 0.3], [0.0, 0.0, 0.9]])
    x = x / np.sqrt(np.mean(x**2, axis=0))
    t, n = x.shape
    s = [[float(np.mean(x[:, i] * x[:, j])) for j in range(n)] for i in range(n)]
    mean = sum(s[i][j] for i in range(n) for j in range(i)) / (n * (n - 1) / 2)
    pi, rho, gamma = 0.0, 0.0, 0.0
    for i in range(n):
        for j in range(n):
            pi_ij = sum((x[k, i] * x[k, j] - s[i][j]) ** 2 for k in range(t)) / t
            pi += pi_ij
            target = 1.0 if i == j else mean
            gamma += (target - s[i][j]) ** 2
            if i == j:
                rho += pi_ij
            else:
                theta_ii = sum((x[k, i] ** 2 - 1.0) * (x[k, i] * x[k, j] - s[i][j]) for k in range(t)) / t
                theta_jj = sum((x[k, j] ** 2 - 1.0) * (x[k, i] * x[k, j] - s[i][j]) for k in range(t)) / t
                rho += mean / 2.0 * (theta_ii + theta_jj)
    assert 0.05 < (pi - rho) / gamma / t < 0.95
    assert constant_correlation_intensity(x) == pytest.approx((pi - rho) / gamma / t, rel=1e-10)


def test_identity_intensity_is_the_sum_of_the_paper():
    x = draws(50, 3)
    x = x / np.sqrt(np.mean(x**2, axis=0))
    s = x.T @ x / 50
    distance = np.sum((s - np.eye(3)) ** 2)
    error = sum(np.sum((np.outer(row, row) - s) ** 2) for row in x) / 50**2
    assert identity_intensity(x) == pytest.approx(min(error, distance) / distance, rel=1e-10)


def test_shrinkage_moves_correlations_to_their_mean_and_keeps_volatilities():
    moves = draws(60, 3) @ np.array([[1.0, 0.7, 0.1], [0.0, 0.7, 0.3], [0.0, 0.0, 0.9]]) * 0.02
    frame = history(A=path(moves[:, 0]), B=path(moves[:, 1]), C=path(moves[:, 2]))
    names = [f"log_level[{a}]" for a in "ABC"]
    plain = calibrate_covariance(frame, names, END, estimator="equal")
    shrunk = calibrate_covariance(frame, names, END, estimator="ledoit_wolf")
    mean = (np.sum(plain.correlation) - 3.0) / 6.0
    delta = shrunk.shrinkage_intensity
    assert 0.0 < delta < 1.0 and shrunk.shrinkage == "constant_correlation"
    assert shrunk.correlation[0, 1] == pytest.approx((1 - delta) * plain.correlation[0, 1] + delta * mean, rel=1e-12)
    assert shrunk.daily_volatility.tolist() == plain.daily_volatility.tolist()
    with pytest.raises(CalibrationError, match="UPM-CA-102"):
        calibrate_covariance(frame, names, END, estimator="ewma", shrinkage="identity")


def test_kendall_by_hand():
    # Pairs of (1,1) (2,3) (3,2) (4,4): five concordant, one discordant, tau = 4 / 6.
    assert kendall(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(np.sin(np.pi * (4 / 6) / 2), rel=1e-12)


def test_slide_of_a_sticky_strike_smile_is_taken_out():
    moves = draws(60, 2) * 0.02
    skew, level = -0.4, 0.5
    # Volatility that only slides along a smile: nothing is left of it.
    price = path(moves[:, 0])
    pure = level * np.exp(skew / level * np.log(price / price[-1]))
    own = pure * path(moves[:, 1], 1.0) / path(moves[:, 1], 1.0)[-1]
    names = factor_names(["A"])
    fit = calibrate_covariance(history(A=price, A_IV30=own), names, END, estimator="equal", slide={"A": skew})
    assert fit.daily_volatility[1] == pytest.approx(np.sqrt(np.mean(moves[:, 1] ** 2)), rel=1e-9)
    with_slide = calibrate_covariance(history(A=price, A_IV30=own), names, END, estimator="equal")
    assert with_slide.correlation[0, 1] < fit.correlation[0, 1] - 0.3


def test_additive_volatility_moves_in_points():
    level = 0.5 + 0.01 * np.array([0, 1, -1, 2, 0, 1, 3, 2, 1, 0, 1, 2.0])
    fit = calibrate_covariance(history(A=path(draws(11, 1)[:, 0] * 0.02), A_IV30=level), factor_names(["A"]), END, estimator="equal", additive_volatility=True)
    assert fit.daily_volatility[1] == pytest.approx(np.sqrt(np.mean(np.diff(level) ** 2)), rel=1e-9)


def test_missing_volatility_index_takes_realised_volatility_and_says_so():
    moves = draws(200, 1)[:, 0] * 0.02
    fit = calibrate_covariance(history(A=path(moves)), factor_names(["A"]), END)
    assert fit.proxies == ("volatility_shift[A]",) and "A.IV30" in fit.warnings[0]
    series = realised_volatility(Series(np.arange(201.0), np.log(path(moves))), 0.97)
    variance = np.mean(moves[:30] ** 2)
    for r in moves[30:]:
        variance = 0.97 * variance + 0.03 * r * r
    assert series.value[-1] == pytest.approx(0.5 * np.log(365.0 * variance), rel=1e-9)


@pytest.mark.parametrize(("frame", "code"), [
    (history(B=[1.0, 2.0]), "UPM-CA-103"),
    (history(A=[100.0] * 40), "UPM-CA-104"),
    (history(A=[100.0, -1.0] * 20), "UPM-CA-105"),
    (history(A=[100.0, 101.0, 102.0]), "UPM-CA-107"),
    (pd.concat([history(A=path(np.full(20, 0.01))), history(A=[100.0])]), "UPM-CA-105"),
])
def test_bad_histories_are_named(frame, code):
    with pytest.raises(CalibrationError, match=rf"{code} .*A"):
        calibrate_covariance(frame, ["log_level[A]"], END)


def test_marginal_degrees_of_freedom_are_found():
    z = student_t_quantile(uniform(11, 0, 4000, 1)[0, 0], 4.0) / np.sqrt(2.0)
    assert marginal_degrees_of_freedom(z) == pytest.approx(4.0, abs=0.4)
    assert marginal_degrees_of_freedom(normal(12, 0, 4000, 1)[0, 0]) > 20.0
    assert np.isnan(marginal_degrees_of_freedom(filtered(np.ones(50))))


def test_copula_degrees_of_freedom_are_found():
    from scipy.special import chdtri, stdtr

    correlation = np.array([[1.0, 0.6], [0.6, 1.0]])
    z = draws(4000, 2, seed=21) @ np.linalg.cholesky(correlation).T
    mixing = np.sqrt(5.0 / chdtri(5.0, 1.0 - uniform(22, 0, 4000, 1)[0, 0]))
    assert copula_degrees_of_freedom(stdtr(5.0, z * mixing[:, None]), correlation) == pytest.approx(5.0, abs=0.8)
    gauss = stdtr(1e6, normal_quantile(uniform(23, 0, 4000, 2)[:, 0].T))
    assert copula_degrees_of_freedom(gauss, np.eye(2)) > 20.0


def a_fit() -> CovarianceFit:
    moves = draws(150, 2) * 0.02
    return calibrate_covariance(history(A=path(moves[:, 0]), A_IV30=path(moves[:, 1], 0.5)), factor_names(["A"]), END)


def test_parameter_file_reads_back_to_the_bit(tmp_path):
    fit = a_fit()
    write_parameters(fit, tmp_path / "p.toml")
    back = read_parameters(tmp_path / "p.toml")
    assert back.factors == fit.factors and back.valuation_time == fit.valuation_time
    assert back.daily_volatility.tobytes() == fit.daily_volatility.tobytes()
    assert back.correlation.tobytes() == fit.correlation.tobytes()
    assert back.degrees_of_freedom.tolist() == fit.degrees_of_freedom.tolist()
    assert (back.estimator, back.ewma_lambda) == ("ewma", 0.97)
    assert back.observations.tolist() == fit.observations.tolist()


@pytest.mark.parametrize(("old", "new", "word"), [
    ("schema_version = 1", "schema_version = 2", "schema_version"),
    ("daily_volatility = ", "daily_volatilty = ", "daily_volatility"),
    ('states = ["log_level[A]", ', "states = [", "1 states need 1"),
    ("states = [", "states = ", "not a parameter file"),
])
def test_damaged_parameter_files_are_refused(tmp_path, old, new, word):
    write_parameters(a_fit(), tmp_path / "p.toml")
    text = (tmp_path / "p.toml").read_text()
    assert old in text
    (tmp_path / "p.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=rf"UPM-CA-108 .*{word}"):
        read_parameters(tmp_path / "p.toml")


def test_model_of_a_fit():
    spec = ScenarioSpec(degrees_of_freedom=5.0, copula_degrees_of_freedom=3.0, max_log_move_volatility=0.7)
    model = gbm_parameters(a_fit(), spec)
    assert model.marginal_degrees_of_freedom.tolist() == [5.0, 5.0] and model.copula_degrees_of_freedom == 3.0
    assert model.max_log_move.tolist() == [1.5, 0.7]


def test_parameters_of_a_later_time_are_pointed_out(tmp_path):
    market = load_market("sample:crypto")
    write_parameters(replace(a_fit(), valuation_time=market.valuation_time + timedelta(days=1)), tmp_path / "late.toml")
    _, late = calibrate_model(market, ScenarioSpec(parameters=str(tmp_path / "late.toml")))
    assert "UPM-CA-110" in late.warnings[-1]
    write_parameters(replace(a_fit(), valuation_time=market.valuation_time), tmp_path / "fine.toml")
    _, fine = calibrate_model(market, ScenarioSpec(parameters=str(tmp_path / "fine.toml")))
    assert not any("UPM-CA-110" in w for w in fine.warnings)


def test_model_comes_from_the_history_where_no_file_is_named():
    market = load_market("sample:crypto")
    model, fit = calibrate_model(market, ScenarioSpec(volatility_dynamics="sticky_strike"), surfaces=fit_surfaces(market, ["BTC", "ETH"]))
    plain, _ = calibrate_model(market, ScenarioSpec())
    assert model.state_names == fit.factors == factor_names(["BTC", "ETH"])
    # Net of the slide the volatility factor moves less, and less against the price.
    assert model.daily_volatility[2] < plain.daily_volatility[2] and model.correlation[0, 2] > plain.correlation[0, 2]


def test_sample_calibrates_from_the_command(tmp_path):
    summary = calibrate_file("sample:crypto", tmp_path / "p.toml")
    assert summary["factors"] == list(factor_names(["BTC", "ETH"]))
    assert summary["valuation_time"] == "2026-02-05T09:36:47Z"
    assert 0.015 < summary["daily_volatility"][0] < summary["daily_volatility"][1] < 0.06
    fit = read_parameters(tmp_path / "p.toml")
    assert fit.correlation[0, 1] > 0.7 and fit.correlation[0, 2] < -0.3


def test_edited_correlations_are_repaired_and_said_aloud(tmp_path):
    """Three factors at 0.7, 0.7 and -0.1: lowest eigenvalue below 0; the file's model draws from the nearest matrix."""
    names = ("log_level[A]", "log_level[B]", "log_level[C]")
    given = np.array([[1.0, 0.7, 0.7], [0.7, 1.0, -0.1], [0.7, -0.1, 1.0]])
    assert np.linalg.eigvalsh(given)[0] < -0.04
    fit = replace(a_fit(), factors=names, daily_volatility=np.full(3, 0.03), correlation=given, degrees_of_freedom=np.full(3, 4.0),
                  observations=np.full((3, 3), 100), daily_mean=np.zeros(3))
    write_parameters(fit, tmp_path / "edited.toml")
    model, used = calibrate_model(load_market("sample:crypto"), ScenarioSpec(parameters=str(tmp_path / "edited.toml")))
    assert np.linalg.eigvalsh(model.correlation)[0] > -1e-10
    assert used.repair_distance == pytest.approx(np.linalg.norm(model.correlation - given)) and used.repair_distance > 0.02
    assert any("UPM-CA-112 edited.toml" in w for w in used.warnings)


def test_measures_drive_the_drift_and_nothing_else(tmp_path):
    """margin: none; pricing: the zero rate of the reporting currency; historical: the mean change a day, flagged, kept in the file."""
    market = replace(load_market("sample:crypto"), rates={"USD": ((1.0, 0.03), (3.0, 0.05))})
    margin, fit = calibrate_model(market, ScenarioSpec())
    pricing, _ = calibrate_model(market, ScenarioSpec(measure="pricing"))
    historical, flagged = calibrate_model(market, ScenarioSpec(measure="historical"))
    assert margin.drift is None
    assert pricing.drift.tolist() == pytest.approx([0.04 / 365.0, 0.04 / 365.0, 0.0, 0.0])
    btc = market.history[market.history["asset"] == "BTC"]
    days = np.diff(btc["timestamp"].to_numpy()) / np.timedelta64(1, "D")
    assert days.max() <= 4.0
    assert historical.drift[0] == pytest.approx(np.log(btc["close"].iloc[-1] / btc["close"].iloc[0]) / days.sum())
    assert "UPM-CA-111" in flagged.warnings[0] and not any("UPM-CA-111" in w for w in fit.warnings)
    write_parameters(fit, tmp_path / "p.toml")
    again, _ = calibrate_model(market, ScenarioSpec(measure="historical", parameters=str(tmp_path / "p.toml")))
    assert again.drift.tobytes() == historical.drift.tobytes()
    write_parameters(replace(fit, daily_mean=np.zeros(0)), tmp_path / "old.toml")
    with pytest.raises(CalibrationError, match="UPM-CA-111"):
        calibrate_model(market, ScenarioSpec(measure="historical", parameters=str(tmp_path / "old.toml")))


def test_a_series_nobody_can_estimate_is_left_out_by_name():
    """A delisted, a still and a short asset beside BTC and ETH: the factors of those two are what they were, to the bit."""
    market = load_market("sample:crypto")
    plain, _ = calibrate_model(market, ScenarioSpec())
    btc = market.history[market.history["asset"] == "BTC"]
    old = btc.iloc[:300].assign(asset="OLD", timestamp=btc["timestamp"].iloc[:300] - timedelta(days=2000))
    still = btc.iloc[-60:].assign(asset="PEG", close=1.0)
    short = btc.iloc[-5:].assign(asset="NEW")
    crowded = replace(market, history=pd.concat([market.history, old, still, short], ignore_index=True))
    model, fit = calibrate_model(crowded, ScenarioSpec())
    assert model.state_names == plain.state_names
    assert model.correlation.tobytes() == plain.correlation.tobytes() and model.daily_volatility.tobytes() == plain.daily_volatility.tobytes()
    assert [w.split()[-7] for w in fit.warnings[:3]] == ["NEW", "OLD", "PEG"]
    with pytest.raises(CalibrationError, match="UPM-CA-107"):
        calibrate_model(replace(market, history=short), ScenarioSpec())
