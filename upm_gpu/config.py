"""What a run is told: the run configuration as a strict model, and its TOML.

Every key has a default that `upm run --show-config` prints with its meaning. Verified: tests/faults/test_config.py.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from upm_gpu.regime_keys import CorrelationRegime, regime_rules, regime_specs
from upm_gpu.shipped import find_file
from upm_gpu.strict_toml import (
    SCHEMA_VERSION,
    Rule,
    Strict,
    build,
    check,
    parse_horizon,
    place,
    read_toml,
    toml_value,
)

if TYPE_CHECKING:
    from upm_gpu.scenario.spec import ScenarioSpec

MAX_SCENARIOS = 2**32 - 1
"""scenario ids are one 32-bit word of the generator's counter"""
MAX_SEED = 2**64 - 1


class BookSection(Strict):
    """What is held."""

    path: str = Field(default="sample:crypto", description="folder with instruments, positions, collateral, accounts; or sample:NAME")
    max_reject_share: float = Field(default=0.01, description="stop when more than this share of a file's rows is rejected")


class MarketSection(Strict):
    """What is known."""

    path: str = Field(default="sample:crypto", description="folder with spots, forwards, implied_vols, rates, history; or sample:NAME")
    next_path: str = Field(default="", description="a later market folder, for the comparison with the loss that came; blank: none")
    max_age_minutes: float = Field(default=0.0, description="refuse older market data (exit 6); 0: no limit")
    surface: Literal["svi", "ssvi"] = Field(default="svi", description="volatility surfaces: svi, five parameters an expiry; ssvi, one smile for all expiries, free of arbitrage by construction")
    ssvi_curve: Literal["power_law", "heston"] = Field(default="power_law", description="how the smile of an ssvi surface flattens with total variance")
    surface_file: str = Field(default="", description="slices that upm calibrate surface made for this market; blank: surfaces are fitted to its quotes")


class ModelSection(Strict):
    """How factors move, and on which dates they are read."""

    name: str = Field(default="gbm", description="how factors move: gbm, or a model of upm_gpu.model with its parameter file")
    parameters: str = Field(default="", description="calibrated TOML; blank: calibrate from the market's history at the start (gbm, garch, filtered_historical)")
    measure: Literal["margin", "pricing", "historical"] = Field(default="margin", description="margin: E[S_h / S_0] = 1, historical means unused")
    step_days: float = Field(default=1.0, description="base step of the law, days (house choice: histories are daily)")
    horizons: list[str] = Field(default=["2d"], description="dates read off the paths: hours h or days d, such as 0.999d")
    steps: int = Field(default=1, description="equally spaced path dates to the longest horizon, for simulate; changes no figure")
    copula: Literal["student_t", "gaussian", "grouped_t"] = Field(default="student_t", description="dependence of the driving normals; grouped_t (garch): one mixing variable an underlying")
    copula_degrees_of_freedom: float = Field(default=4.0, description="above 2 (house choice: crypto returns estimate 3 to 5); garch, gbm: 0 takes the fitted one")
    marginal: Literal["student_t", "gaussian", "skewed_t", "empirical"] = Field(default="student_t", description="law of one base step, unit variance; the last two: garch")
    degrees_of_freedom: float = Field(default=4.0, description="of the marginals, above 2 (house choice); garch, gbm: 0 takes the fitted ones")
    max_log_move_price: float = Field(default=1.5, description="truncation of a step's log-return (house choice: a factor 4.5; makes E[exp X] finite)")
    max_log_move_volatility: float = Field(default=1.5, description="truncation of a step's log-volatility move (house choice)")
    estimator: Literal["ewma", "ledoit_wolf"] = Field(default="ewma", description="ewma, or equal weights with Ledoit-Wolf shrinkage")
    ewma_lambda: float = Field(default=0.97, description="daily decay (house choice; RiskMetrics uses 0.94 for one day, 0.97 for a month)")
    volatility_floor: Literal["none", "long_run"] = Field(default="none", description="long_run: no volatility below its level of the last long_run_years (EMIR RTS 153/2013 art. 28(1)(c))")
    long_run_years: float = Field(default=10.0, description="look-back of the floor; a shorter history is taken whole")
    correlation: Literal["sample", "kendall"] = Field(default="sample", description="pairwise sample correlation, or sin(pi tau / 2)")
    inverse_assets: list[str] = Field(default=[], description="assets whose price falls when the others rise: their sign in a correlation regime toward one")
    across_dates: Literal["refused", "rearranged"] = Field(default="refused", description="perfect and zero correlation asked of a model that draws dates: refused, or each underlying's dates rearranged")
    filter: Literal["gjr", "garch", "ewma"] = Field(default="gjr", description="volatility recursion of the models garch and filtered_historical")
    common_factors: int = Field(default=0, description="common factors of the model garch; 0: the full correlation matrix")
    clock: Literal["calendar", "sessions"] = Field(default="calendar", description="what a day of variance is: every day, or a session of an exchange; horizons are its days")
    holidays: list[str] = Field(default=[], description="weekdays without a session, such as 2022-04-15")
    volatility_dynamics: Literal["sticky_moneyness", "sticky_strike", "sticky_delta"] = Field(default="sticky_moneyness", description="how the surface follows the price; sticky_delta: and the smile its own level")
    repricing: Literal["quoted", "model"] = Field(default="quoted", description="of European options at the horizon: quoted volatilities that move, or the model's own price at the path's variance (merton, heston, bates)")
    volatility_shift: Literal["relative", "additive"] = Field(default="relative", description="the volatility factor multiplies, or adds points")
    volatility_decay_short: float = Field(default=0.30, description="power of 30 d / T below 30 days (house choice)")
    volatility_decay_long: float = Field(default=0.13, description="the same beyond 30 days (house choice)")
    surface_factors: list[Literal["level", "skew", "slope"]] = Field(default=["level"], description="what moves a volatility surface; skew and slope read BTC.SKEW30 and BTC.SLOPE30 of the history")
    arbitrage: Literal["report", "project", "ignore"] = Field(default="report", description="of moved surfaces: count it in a sample of scenarios, correct it in all, or leave it")
    level_half_life: float = Field(default=0.0, description="days in which half of a move of the level is gone; 0: none reverts (house choice)")
    skew_half_life: float = Field(default=0.0, description="the same of the skew")
    slope_half_life: float = Field(default=0.0, description="the same of the slope")
    basis: bool = Field(default=False, description="perpetuals move by the index and a basis log_basis[ASSET]: from the history's ASSET.PERP, the parameter file, or basis_volatility (gbm, garch)")
    basis_volatility: float = Field(default=0.0, description="of a day, for assets without ASSET.PERP; 0: none")
    basis_half_life_days: float = Field(default=3.0, description="of the basis (house choice: 2020-2024 daily perpetual over spot, BTC 4.4, ETH 2.8); 0: a random walk")
    funding: Literal["zero", "path"] = Field(default="zero", description="path: perpetuals pay funding each base step at funding_rate[ASSET] on the index of the step")
    funding_rate: float = Field(default=0.0, description="today's, a day (0.0003 is 1 bp in 8 hours), for assets without ASSET.FUNDING in the history")
    funding_volatility: float = Field(default=0.0, description="of a day, for assets without ASSET.FUNDING; 0: today's rate in every scenario")
    funding_half_life_days: float = Field(default=3.0, description="of the funding rate (house choice: 2020-2023 daily sums, BTC 3.5, ETH 2.9); 0: a random walk")
    rates: Literal["fixed", "moving"] = Field(default="fixed", description="moving: discount factors follow rate_level and rate_slope of the currency")
    rate_volatility: float = Field(default=0.0, description="of a day, parallel, for currencies without CURRENCY.RATE in the history; 0: none")
    slope_volatility: float = Field(default=0.0, description="of a day, one-year over 30-day rate, for currencies without CURRENCY.SLOPE; 0: none")
    correlation_regimes: list[CorrelationRegime] = Field(default=[], description="[[model.correlation_regimes]] tables: states of the market with other correlations")


class ScenariosSection(Strict):
    """How many scenarios, and from which random numbers."""

    count: int = Field(default=100_000, description="scenarios")
    seed: int = Field(default=20_260_205, description="64-bit key of the generator")
    stream: int = Field(default=0, description="independent repetition: another stream draws other numbers")
    sampler: Literal["philox", "sobol", "importance"] = Field(default="philox", description="philox; sobol: 16 scramblings of a low-discrepancy sequence; importance: weighted scenarios where the accounts lose (gbm, merton)")
    scrambling: Literal["owen", "digital_shift"] = Field(default="owen", description="of sobol points; owen converges faster")
    sobol_order: Literal["brownian_bridge", "principal_components"] = Field(default="brownian_bridge", description="which steps get the first dimensions; factors go by principal components")
    variance_reduction: Literal["none", "antithetic", "moment_matching"] = Field(default="none", description="with philox: mirrored pairs, or normals matched in blocks of 4096 (gbm, merton, heston, bates)")
    target_relative_error: float = Field(default=0.0, description="above 0: stop when every account's error is at most this share of its expected shortfall; count is the cap")


class MethodologySection(Strict):
    """What the margin is made of."""

    file: str = Field(default="configs/methodology/house_v1.toml", description="what the margin is made of")


class ComputeSection(Strict):
    """Where and how the figures are computed; of these only device, precision and tables (within their promised error) can change one."""

    device: Literal["auto", "cpu", "cuda", "reference"] = Field(default="auto", description="auto takes a GPU where there is one")
    precision: Literal["mixed", "double", "fast"] = Field(default="mixed", description="fast needs cuda")
    chunk: int = Field(default=0, description="scenarios a chunk, rounded up to 4096; 0: chosen from the memory")
    threads: int = Field(default=0, description="CPU threads; 0: all")
    tables: str = Field(default="", description="file of value tables that upm tables made for an earlier market; they serve where they cover this one")


class OutputSection(Strict):
    """What is left behind."""

    path: str = Field(default="runs/margin", description="run folder to create; one that holds another run is left untouched")
    report: bool = Field(default=True, description="write report.html")
    store_pnl: bool = Field(default=False, description="keep the unit P&L of every scenario in the run folder, so that the desk opens it as a memory map; columns x scenarios x 4 bytes")


class RunConfig(Strict):
    """The whole configuration of a run."""

    schema_version: Literal[1] = 1
    book: BookSection = BookSection()
    market: MarketSection = MarketSection()
    model: ModelSection = ModelSection()
    scenarios: ScenariosSection = ScenariosSection()
    methodology: MethodologySection = MethodologySection()
    compute: ComputeSection = ComputeSection()
    output: OutputSection = OutputSection()

    @property
    def horizon_days(self) -> tuple[float, ...]:
        """Horizons in days, ascending."""
        return tuple(sorted({parse_horizon(h, "key model.horizons") for h in self.model.horizons}))


NUMBERS = {
    "scenarios.count": 60, "scenarios.seed": 64, "scenarios.stream": 64, "model.horizons": 62, "model.step_days": 62,
    "book.max_reject_share": 61, "schema_version": 67,
}


def _rules(c: RunConfig) -> list[Rule]:
    """What values must hold, alone and beside one another."""
    from upm_gpu.model.registry import CALIBRATED, FLOORED, FROM_HISTORY, MODELS, OPTION_MODELS, PER_YEAR

    m, s = c.model, c.scenarios
    halves = (("level_half_life", m.level_half_life), ("skew_half_life", m.skew_half_life), ("slope_half_life", m.slope_half_life))
    return [
        ("scenarios.count", 60, 1 <= s.count <= MAX_SCENARIOS, f"{s.count} scenarios; give 1 to {MAX_SCENARIOS}."),
        ("scenarios.count", 60, s.count != 1, "a single scenario has no standard error; give 2 or more."),
        ("scenarios.seed", 64, 0 <= s.seed <= MAX_SEED, f"seed {s.seed}; give 0 to {MAX_SEED} (64 bits, not negative)."),
        ("scenarios.stream", 64, 0 <= s.stream <= 4095, f"stream {s.stream}; give 0 to 4095."),
        ("scenarios.target_relative_error", 56, 0.0 <= s.target_relative_error < 1.0, f"{s.target_relative_error:g}; give a share below 1, such as 0.01, or 0 for a fixed count."),
        ("scenarios.variance_reduction", 63, s.sampler == "philox" or s.variance_reduction == "none",
         f"{s.variance_reduction} is made of philox draws and the sampler is {s.sampler}. Use variance_reduction none, or sampler philox."),
        ("scenarios.target_relative_error", 63, s.sampler != "importance" or s.target_relative_error == 0.0,
         "an adaptive run judges batches of equal scenarios and the sampler is importance. Use target_relative_error 0, or sampler philox or sobol."),
        ("scenarios.sampler", 91, m.name in ("gbm", "merton") or (m.name in ("heston", "bates") and s.sampler != "importance") or (s.sampler == "philox" and s.variance_reduction == "none"),
         f"model {m.name} does not take sampler {s.sampler} with variance_reduction {s.variance_reduction}. Use sampler philox and variance_reduction none, or model gbm or merton (heston "
         "and bates: all but importance)."),
        ("output.store_pnl", 63, not c.output.store_pnl or s.sampler != "importance", "the unit P&L is kept for the desk, which refuses scenarios that were guided by a book (sampler importance). Use false, or sampler philox or sobol."),
        ("book.max_reject_share", 61, 0.0 <= c.book.max_reject_share <= 1.0, f"{c.book.max_reject_share:g} is not a share between 0 and 1."),
        ("market.max_age_minutes", 56, c.market.max_age_minutes >= 0.0, f"{c.market.max_age_minutes:g} is negative; 0 means no limit."),
        ("model.name", 56, m.name in MODELS, f"model {m.name!r} is not known; use one of {', '.join(MODELS)}."),
        ("model.parameters", 56, m.name == CALIBRATED or m.name in FROM_HISTORY or bool(m.parameters), f"model {m.name} reads its parameters from a file and none is named. Give its TOML file."),
        ("model.step_days", 62, 0.0 < m.step_days <= 365.0, f"a base step of {m.step_days:g} days; give above 0 and at most 365."),
        ("model.horizons", 62, bool(m.horizons), 'no horizon is given. Write at least one, such as ["2d"].'),
        ("model.steps", 56, 1 <= m.steps <= 100_000, f"{m.steps} steps; give 1 to 100000."),
        ("model.copula_degrees_of_freedom", 56, m.copula == "gaussian" or m.copula_degrees_of_freedom > 2.0 or (m.name in ("garch", CALIBRATED) and m.copula_degrees_of_freedom == 0.0), f"{m.copula_degrees_of_freedom:g} degrees of freedom; the variance is infinite at 2 or below."),
        ("model.degrees_of_freedom", 56, m.marginal in ("gaussian", "empirical") or m.degrees_of_freedom > 2.0 or (m.name in ("garch", CALIBRATED) and m.degrees_of_freedom == 0.0), f"{m.degrees_of_freedom:g} degrees of freedom; the variance is infinite at 2 or below."),
        ("model.max_log_move_price", 56, 0.0 < m.max_log_move_price <= 50.0, f"{m.max_log_move_price:g}; give above 0 and at most 50."),
        ("model.max_log_move_volatility", 56, 0.0 < m.max_log_move_volatility <= 50.0, f"{m.max_log_move_volatility:g}; give above 0 and at most 50."),
        ("model.marginal", 63, m.name == "garch" or m.marginal in ("student_t", "gaussian"), f"marginal {m.marginal} is a law of the model garch. Use student_t or gaussian, or name garch."),
        ("model.copula", 63, m.name == "garch" or m.copula != "grouped_t", "copula grouped_t belongs to the model garch. Use student_t, or name garch."),
        ("model.common_factors", 56, m.common_factors >= 0, f"{m.common_factors} common factors; give 0 (the full matrix) or more."),
        ("model.common_factors", 63, m.name == "garch" or m.common_factors == 0, "common factors belong to the model garch. Use 0, or name garch."),
        ("model.clock", 63, m.clock == "calendar" or m.name not in PER_YEAR, f"model {m.name} has its parameters per year of 365 days and the clock counts sessions. Use clock calendar, or another model."),
        ("model.holidays", 56, all(map(_is_date, m.holidays)), f"{', '.join(d for d in m.holidays if not _is_date(d))}: not a date. Write dates such as 2022-04-15."),
        ("model.holidays", 63, m.clock == "sessions" or not m.holidays, "holidays contradict a clock that counts every day. Use clock sessions, or no holidays."),
        ("model.ewma_lambda", 56, 0.0 < m.ewma_lambda < 1.0, f"{m.ewma_lambda:g}; a decay lies between 0 and 1, such as 0.97."),
        ("model.long_run_years", 56, 0.0 < m.long_run_years <= 100.0, f"{m.long_run_years:g} years; give above 0 and at most 100."),
        ("model.volatility_floor", 63, m.volatility_floor == "none" or m.name in FLOORED, f"model {m.name} has no short-term volatility to put a floor under. Use none, or one of {', '.join(FLOORED)}."),
        ("model.volatility_decay_short", 56, 0.0 <= m.volatility_decay_short <= 2.0, f"{m.volatility_decay_short:g}; give 0 to 2."),
        ("model.volatility_decay_long", 56, 0.0 <= m.volatility_decay_long <= 2.0, f"{m.volatility_decay_long:g}; give 0 to 2."),
        ("model.surface_factors", 56, "level" in m.surface_factors and len(set(m.surface_factors)) == len(m.surface_factors), 'level is always among them, each once. Write ["level"], or ["level", "skew", "slope"].'),
        ("model.surface_factors", 63, m.surface_factors == ["level"] or m.name not in ("heston", "bates"),
         f"model {m.name} moves volatilities by its variance and makes no skew or slope factor. Use [\"level\"], or a model fitted to the history."),
        *((f"model.{key}", 56, 0.0 <= days <= 36_500.0, f"{days:g} days; give 0 (no reversion) to 36500.") for key, days in halves),
        *((f"model.{key}", 63, days == 0.0 or m.name in ("gbm", "garch", "filtered_historical"), f"model {m.name} takes no half-life from the configuration. Use 0, or model gbm, garch or filtered_historical.") for key, days in halves),
        ("model.volatility_shift", 63, m.volatility_shift == "relative" or (m.surface_factors == ["level"] and m.volatility_dynamics != "sticky_delta" and m.arbitrage != "project"),
         "skew and slope factors, sticky_delta and arbitrage project exclude volatility_shift additive. Use volatility_shift relative."),
        ("model.repricing", 63, m.repricing == "quoted" or m.name in OPTION_MODELS, f"model {m.name} has no option prices of its own. Use repricing quoted, or model {', '.join(OPTION_MODELS)}."),
        ("model.repricing", 63, m.repricing == "quoted" or (m.volatility_shift == "relative" and m.surface_factors == ["level"] and m.arbitrage != "project"),
         'repricing model takes no surface: it excludes volatility_shift additive, surface_factors beyond ["level"] and arbitrage project. Use repricing quoted, or leave these keys out.'),
        ("model.arbitrage", 63, not (m.arbitrage == "project" and m.volatility_dynamics == "sticky_strike"), "arbitrage project corrects a surface in moneyness and excludes sticky_strike. Use volatility_dynamics sticky_moneyness or sticky_delta."),
        *((f"model.{key}", 56, 0.0 <= value < 1e4, f"{value:g}; give 0 or more.") for key, value in (
            ("basis_volatility", m.basis_volatility), ("basis_half_life_days", m.basis_half_life_days), ("funding_volatility", m.funding_volatility),
            ("funding_half_life_days", m.funding_half_life_days), ("rate_volatility", m.rate_volatility), ("slope_volatility", m.slope_volatility))),
        ("model.funding_rate", 56, abs(m.funding_rate) < 0.1, f"{m.funding_rate:g} a day; give a fraction below 0.1 in size, such as 0.0003."),
        ("compute.chunk", 60, 0 <= c.compute.chunk <= MAX_SCENARIOS, f"a chunk of {c.compute.chunk}; give 0 (chosen) or more."),
        ("compute.threads", 56, 0 <= c.compute.threads <= 4096, f"{c.compute.threads} threads; give 0 (all) to 4096."),
        ("output.path", 56, bool(c.output.path.strip()), "the path is blank. Name the run folder."),
        ("compute.precision", 63, not (c.compute.precision == "fast" and c.compute.device in ("cpu", "reference")),
         f"precision fast runs on tensor cores and device is {c.compute.device}. Use mixed or double, or device cuda."),
        ("model.correlation", 63, not (m.correlation == "kendall" and m.estimator == "ledoit_wolf"),
         "Ledoit-Wolf shrinks the sample covariance; it is not defined for kendall. Use correlation sample, or estimator ewma."),
        *regime_rules(m),
    ]


def _is_date(text: str) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", text)) and _parsed(text)


def _parsed(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def load_config(path: str | Path | None = None, overrides: dict[str, Any] | None = None) -> RunConfig:
    """The run configuration of a TOML file (None: all defaults) with command-line overrides {"scenarios.count": "5000"}.

    `configs/...` where there is no such file is the one that ships with the package.

    Relative paths inside the file that exist beside it are taken from there, else from the working directory. Raises InputError with
    every complaint: file, line, key, value, remedy.
    """
    tables: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    text, name, base = "", "configuration", None
    if path is not None:
        file = find_file(path)
        name, base = file.name, file.parent
        tables, text = read_toml(file, "configuration")
    origin: dict[str, str] = {}
    for key, value in (overrides or {}).items():
        if value is None:
            continue
        section, _, field = key.partition(".")
        table = tables.setdefault(section, {})
        if not isinstance(table, dict):
            continue
        table[field] = _flag_value(section, field, value)
        origin[key] = f"{key} = {value}"
    config = build(RunConfig, tables, name, text, NUMBERS, origin)
    check(_rules(config), name, text, origin)
    for horizon in config.model.horizons:
        parse_horizon(horizon, place(name, text, "model.horizons", origin))
    return _resolved(config, base, origin) if base is not None else config


_FAMILY: dict[tuple[str, str], Literal["svi", "ssvi_power_law", "ssvi_heston"]] = {
    ("svi", "power_law"): "svi", ("svi", "heston"): "svi", ("ssvi", "power_law"): "ssvi_power_law", ("ssvi", "heston"): "ssvi_heston"}


def scenario_spec(config: RunConfig) -> ScenarioSpec:
    """What to simulate, as the engine takes it."""
    from upm_gpu.scenario.spec import ScenarioSpec

    m, s = config.model, config.scenarios
    return ScenarioSpec(
        count=s.count, seed=s.seed, stream=s.stream, sampler=s.sampler, scrambling=s.scrambling, sobol_order=s.sobol_order,
        variance_reduction=s.variance_reduction, target_relative_error=s.target_relative_error, horizons=config.horizon_days, steps=m.steps, measure=m.measure, model=m.name,
        parameters=m.parameters, base_step_days=m.step_days, copula=m.copula, copula_degrees_of_freedom=m.copula_degrees_of_freedom,
        marginal=m.marginal, degrees_of_freedom=m.degrees_of_freedom, max_log_move_price=m.max_log_move_price,
        max_log_move_volatility=m.max_log_move_volatility, estimator=m.estimator, ewma_lambda=m.ewma_lambda, volatility_floor=m.volatility_floor, long_run_years=m.long_run_years, correlation=m.correlation,
        correlation_regimes=regime_specs(m), inverse_assets=tuple(m.inverse_assets), across_dates=m.across_dates,
        filter=m.filter, common_factors=m.common_factors, clock=m.clock, holidays=tuple(m.holidays), volatility_dynamics=m.volatility_dynamics, repricing=m.repricing, volatility_shift=m.volatility_shift, volatility_decay_short=m.volatility_decay_short,
        volatility_decay_long=m.volatility_decay_long, basis=m.basis, basis_volatility=m.basis_volatility, basis_half_life_days=m.basis_half_life_days,
        funding=m.funding, funding_rate=m.funding_rate, funding_volatility=m.funding_volatility, funding_half_life_days=m.funding_half_life_days,
        rates=m.rates, rate_volatility=m.rate_volatility, slope_volatility=m.slope_volatility,
        surface=_FAMILY[config.market.surface, config.market.ssvi_curve], surface_file=config.market.surface_file, surface_factors=tuple(m.surface_factors), arbitrage=m.arbitrage, level_half_life=m.level_half_life, skew_half_life=m.skew_half_life, slope_half_life=m.slope_half_life,
    )


def _flag_value(section: str, field: str, value: Any) -> Any:
    """A flag's text as the number its key wants; what is no number stays text and is refused as such."""
    if not isinstance(value, str):
        return value
    owner = RunConfig.model_fields.get(section)
    info = owner.annotation.model_fields.get(field) if owner else None  # type: ignore[union-attr]
    kind = info.annotation if info else str
    if kind in (int, float):
        if re.fullmatch(r"[+-]?\d+", value.strip()):
            return int(value) if kind is int else float(value)
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value.strip()):
            return float(value)
    if kind is bool and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind == list[str]:
        return [part.strip() for part in value.split(",")]
    return value


def _resolved(config: RunConfig, base: Path, origin: dict[str, str]) -> RunConfig:
    def beside(key: str, value: str) -> str:
        known = not value or value.startswith("sample:") or key in origin or Path(value).is_absolute()
        return value if known or not (base / value).exists() else str(base / value)

    return config.model_copy(update={
        "book": config.book.model_copy(update={"path": beside("book.path", config.book.path)}),
        "market": config.market.model_copy(update={"path": beside("market.path", config.market.path), "surface_file": beside("market.surface_file", config.market.surface_file),
                                                   "next_path": beside("market.next_path", config.market.next_path)}),
        "compute": config.compute.model_copy(update={"tables": beside("compute.tables", config.compute.tables)}),
        "model": config.model.model_copy(update={"parameters": beside("model.parameters", config.model.parameters)}),
        "methodology": config.methodology.model_copy(update={"file": beside("methodology.file", config.methodology.file)}),
    })


def _keys(entry: Strict) -> list[str]:
    return [f"{key} = {toml_value(getattr(entry, key))}  # {field.description}" for key, field in type(entry).model_fields.items()]


def to_toml(config: RunConfig) -> str:
    """The whole configuration as TOML with the meaning of every key; `load_config` reads it back to an equal object."""
    lines = [f"schema_version = {config.schema_version}"]
    for section in RunConfig.model_fields:
        value = getattr(config, section)
        if isinstance(value, Strict):
            lines += ["", f"[{section}]"]
            tables: list[str] = []
            for key, field in type(value).model_fields.items():
                held = getattr(value, key)
                if isinstance(held, list) and held and isinstance(held[0], Strict):  # arrays of tables come after the keys of their section
                    for entry in held:
                        tables += ["", f"[[{section}.{key}]]", *_keys(entry)]
                else:
                    lines.append(f"{key} = {toml_value(held)}  # {field.description}")
            lines += tables
    return "\n".join(lines) + "\n"


__all__ = ["RunConfig", "load_config", "scenario_spec", "to_toml"]
