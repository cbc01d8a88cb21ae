"""What a run is told: the run configuration and the methodology file, as strict models, and their TOML.

Every key has a default that `upm run --show-config` prints with its meaning. Verified: tests/faults/test_config.py.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from upm_gpu import errors
from upm_gpu.strict_toml import SCHEMA_VERSION, Strict, build, place, read_toml, stop, toml_value

if TYPE_CHECKING:
    from upm_gpu.scenario.spec import ScenarioSpec

MAX_SCENARIOS = 2**32 - 1
"""scenario ids are one 32-bit word of the generator's counter"""
MAX_SEED = 2**64 - 1
MAX_HORIZON_DAYS = 3650.0
UNITS = {"h": 1.0 / 24.0, "d": 1.0}


class BookSection(Strict):
    path: str = Field(default="sample:crypto", description="folder with instruments, positions, collateral, accounts; or sample:NAME")
    max_reject_share: float = Field(default=0.01, description="stop when more than this share of a file's rows is rejected")


class MarketSection(Strict):
    path: str = Field(default="sample:crypto", description="folder with spots, forwards, implied_vols, rates, history; or sample:NAME")
    next_path: str = Field(default="", description="a later market folder, for the comparison with the loss that came; blank: none")
    max_age_minutes: float = Field(default=0.0, description="refuse older market data (exit 6); 0: no limit")


class ModelSection(Strict):
    name: Literal["gbm"] = Field(default="gbm", description="how factors move")
    parameters: str = Field(default="", description="calibrated TOML; blank: calibrate the covariance from the market's history at the start")
    measure: Literal["margin", "pricing", "historical"] = Field(default="margin", description="margin: E[S_h / S_0] = 1, historical means unused")
    step_days: float = Field(default=1.0, description="base step of the law, days (house choice: histories are daily)")
    horizons: list[str] = Field(default=["2d"], description="dates read off the paths: hours h or days d, such as 0.999d")
    steps: int = Field(default=1, description="equally spaced path dates to the longest horizon, for simulate; changes no figure")
    copula: Literal["student_t", "gaussian"] = Field(default="student_t", description="dependence of the driving normals")
    copula_degrees_of_freedom: float = Field(default=4.0, description="above 2 (house choice: crypto returns estimate 3 to 5)")
    marginal: Literal["student_t", "gaussian"] = Field(default="student_t", description="law of one base step, unit variance")
    degrees_of_freedom: float = Field(default=4.0, description="of the marginals, above 2 (house choice)")
    max_log_move_price: float = Field(default=1.5, description="truncation of a step's log-return (house choice: a factor 4.5; makes E[exp X] finite)")
    max_log_move_volatility: float = Field(default=1.5, description="truncation of a step's log-volatility move (house choice)")
    estimator: Literal["ewma", "ledoit_wolf"] = Field(default="ewma", description="ewma, or equal weights with Ledoit-Wolf shrinkage")
    ewma_lambda: float = Field(default=0.97, description="daily decay (house choice; RiskMetrics uses 0.94 for one day, 0.97 for a month)")
    correlation: Literal["sample", "kendall"] = Field(default="sample", description="pairwise sample correlation, or sin(pi tau / 2)")
    volatility_dynamics: Literal["sticky_moneyness", "sticky_strike"] = Field(default="sticky_moneyness", description="how the surface follows the price")
    volatility_shift: Literal["relative", "additive"] = Field(default="relative", description="the volatility factor multiplies, or adds points")
    volatility_decay_short: float = Field(default=0.30, description="power of 30 d / T below 30 days (house choice)")
    volatility_decay_long: float = Field(default=0.13, description="the same beyond 30 days (house choice)")


class ScenariosSection(Strict):
    count: int = Field(default=100_000, description="scenarios")
    seed: int = Field(default=20_260_205, description="64-bit key of the generator")
    stream: int = Field(default=0, description="independent repetition: another stream draws other numbers")
    sampler: Literal["philox", "sobol"] = Field(default="philox", description="philox (sobol is not offered yet)")
    target_relative_error: float = Field(default=0.0, description="0: a fixed count (adaptive counts are not offered yet)")


class MethodologySection(Strict):
    file: str = Field(default="configs/methodology/house_v1.toml", description="what the margin is made of")


class ComputeSection(Strict):
    device: Literal["auto", "cpu", "cuda", "reference"] = Field(default="auto", description="auto takes a GPU where there is one")
    precision: Literal["mixed", "double", "fast"] = Field(default="mixed", description="fast needs cuda")
    chunk: int = Field(default=0, description="scenarios a chunk, rounded up to 4096; 0: chosen from the memory")
    threads: int = Field(default=0, description="CPU threads; 0: all")


class OutputSection(Strict):
    path: str = Field(default="runs/margin", description="run folder to create; one that holds another run is left untouched")
    report: bool = Field(default=True, description="write report.html")
    store_pnl: bool = Field(default=False, description="keep the unit P&L of every scenario for what-ifs")


class RunConfig(Strict):
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


class Core(Strict):
    measure: Literal["expected_shortfall"] = Field(default="expected_shortfall", description="of the P&L over the margin period")
    level: float = Field(default=0.99, description="confidence")
    horizon: str = Field(default="2d", description="margin period of risk")
    multiplier: float = Field(default=1.0, description="core = max(0, ES) x multiplier")

    @property
    def horizon_days(self) -> float:
        return parse_horizon(self.horizon, "key core.horizon")


class ChargeEntry(BaseModel):
    """One add-on by name; every other key is a parameter of that charge, which checks it."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    name: str


class CollateralRules(Strict):
    modes: dict[str, Literal["simulated", "haircut"]] = Field(default={}, description="by asset; simulated: moves in the scenarios, full value in equity")
    haircuts: dict[str, float] = Field(default={}, description="by asset, for haircut mode: share of the value that does not count")
    default_haircut: float = Field(default=1.0, description="of assets not listed")


class Methodology(Strict):
    schema_version: Literal[1] = 1
    name: str
    version: str
    effective_date: datetime.date
    maintenance_ratio: float = 0.8
    charges: list[ChargeEntry] = Field(default=[])
    core: Core = Core()
    collateral: CollateralRules = CollateralRules()


NUMBERS = {
    "scenarios.count": 60, "scenarios.seed": 64, "scenarios.stream": 64, "model.horizons": 62, "model.step_days": 62, "core.horizon": 62,
    "core.level": 61, "book.max_reject_share": 61, "schema_version": 67,
}


def parse_horizon(text: str, where: str) -> float:
    """Days of a horizon such as "2d", "0.999d" or "12h". Raises InputError UPM-CF-062.

    >>> parse_horizon("12h", "here")
    0.5
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([hd])\s*", text) if isinstance(text, str) else None
    if match is None:
        stop(62, f'{where}: {text!r} is not a horizon. Write hours or days with their unit, such as "12h" or "2d".')
    days = float(match[1]) * UNITS[match[2]]
    if not 0.0 < days <= MAX_HORIZON_DAYS:
        stop(62, f"{where}: the horizon {text!r} is {days:g} days. It must be above 0 and at most {MAX_HORIZON_DAYS:g} days.")
    return days


def _problems(c: RunConfig) -> list[tuple[str, int, str]]:
    """(key, code number, message) of every value out of range or in contradiction with another."""
    m, s = c.model, c.scenarios
    rules = [
        ("scenarios.count", 60, 1 <= s.count <= MAX_SCENARIOS, f"{s.count} scenarios; give 1 to {MAX_SCENARIOS}."),
        ("scenarios.seed", 64, 0 <= s.seed <= MAX_SEED, f"seed {s.seed}; give 0 to {MAX_SEED} (64 bits, not negative)."),
        ("scenarios.stream", 64, 0 <= s.stream <= 4095, f"stream {s.stream}; give 0 to 4095."),
        ("scenarios.sampler", 51, s.sampler == "philox", "the sobol sampler is not offered yet. Use philox."),
        ("scenarios.target_relative_error", 51, s.target_relative_error == 0.0, "adaptive counts are not offered yet. Use 0 and a fixed count."),
        ("book.max_reject_share", 61, 0.0 <= c.book.max_reject_share <= 1.0, f"{c.book.max_reject_share:g} is not a share between 0 and 1."),
        ("market.max_age_minutes", 56, c.market.max_age_minutes >= 0.0, f"{c.market.max_age_minutes:g} is negative; 0 means no limit."),
        ("model.step_days", 62, 0.0 < m.step_days <= 365.0, f"a base step of {m.step_days:g} days; give above 0 and at most 365."),
        ("model.horizons", 62, bool(m.horizons), 'no horizon is given. Write at least one, such as ["2d"].'),
        ("model.steps", 56, 1 <= m.steps <= 100_000, f"{m.steps} steps; give 1 to 100000."),
        ("model.copula_degrees_of_freedom", 56, m.copula == "gaussian" or m.copula_degrees_of_freedom > 2.0, f"{m.copula_degrees_of_freedom:g} degrees of freedom; the variance is infinite at 2 or below."),
        ("model.degrees_of_freedom", 56, m.marginal == "gaussian" or m.degrees_of_freedom > 2.0, f"{m.degrees_of_freedom:g} degrees of freedom; the variance is infinite at 2 or below."),
        ("model.max_log_move_price", 56, 0.0 < m.max_log_move_price <= 50.0, f"{m.max_log_move_price:g}; give above 0 and at most 50."),
        ("model.max_log_move_volatility", 56, 0.0 < m.max_log_move_volatility <= 50.0, f"{m.max_log_move_volatility:g}; give above 0 and at most 50."),
        ("model.ewma_lambda", 56, 0.0 < m.ewma_lambda < 1.0, f"{m.ewma_lambda:g}; a decay lies between 0 and 1, such as 0.97."),
        ("model.volatility_decay_short", 56, 0.0 <= m.volatility_decay_short <= 2.0, f"{m.volatility_decay_short:g}; give 0 to 2."),
        ("model.volatility_decay_long", 56, 0.0 <= m.volatility_decay_long <= 2.0, f"{m.volatility_decay_long:g}; give 0 to 2."),
        ("compute.chunk", 60, 0 <= c.compute.chunk <= MAX_SCENARIOS, f"a chunk of {c.compute.chunk}; give 0 (chosen) or more."),
        ("compute.threads", 56, 0 <= c.compute.threads <= 4096, f"{c.compute.threads} threads; give 0 (all) to 4096."),
        ("output.path", 56, bool(c.output.path.strip()), "the path is blank. Name the run folder."),
        ("compute.precision", 63, not (c.compute.precision == "fast" and c.compute.device in ("cpu", "reference")),
         f"precision fast runs on tensor cores and device is {c.compute.device}. Use mixed or double, or device cuda."),
        ("model.correlation", 63, not (m.correlation == "kendall" and m.estimator == "ledoit_wolf"),
         "Ledoit-Wolf shrinks the sample covariance; it is not defined for kendall. Use correlation sample, or estimator ewma."),
    ]
    return [(key, number, message) for key, number, good, message in rules if not good]


def load_config(path: str | Path | None = None, overrides: dict[str, Any] | None = None) -> RunConfig:
    """The run configuration of a TOML file (None: all defaults) with command-line overrides {"scenarios.count": "5000"}.

    Relative paths inside the file that exist beside it are taken from there, else from the working directory. Raises InputError with
    every complaint: file, line, key, value, remedy.
    """
    tables: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    text, name, base = "", "configuration", None
    if path is not None:
        file = Path(path)
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
    problems = [(number, f"{place(name, text, key, origin)}: {message}") for key, number, message in _problems(config)]
    if problems:
        stop(problems[0][0], problems[0][1] + "".join(f"\n  {message}" for _, message in problems[1:]))
    for horizon in config.model.horizons:
        parse_horizon(horizon, place(name, text, "model.horizons", origin))
    return _resolved(config, base, origin) if base is not None else config


def scenario_spec(config: RunConfig) -> ScenarioSpec:
    """What to simulate, as the engine takes it."""
    from upm_gpu.scenario.spec import ScenarioSpec

    m, s = config.model, config.scenarios
    return ScenarioSpec(
        count=s.count, seed=s.seed, stream=s.stream, horizons=config.horizon_days, steps=m.steps, measure=m.measure, model=m.name,
        parameters=m.parameters, base_step_days=m.step_days, copula=m.copula, copula_degrees_of_freedom=m.copula_degrees_of_freedom,
        marginal=m.marginal, degrees_of_freedom=m.degrees_of_freedom, max_log_move_price=m.max_log_move_price,
        max_log_move_volatility=m.max_log_move_volatility, estimator=m.estimator, ewma_lambda=m.ewma_lambda, correlation=m.correlation,
        volatility_dynamics=m.volatility_dynamics, volatility_shift=m.volatility_shift, volatility_decay_short=m.volatility_decay_short,
        volatility_decay_long=m.volatility_decay_long,
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
        "market": config.market.model_copy(update={"path": beside("market.path", config.market.path),
                                                   "next_path": beside("market.next_path", config.market.next_path)}),
        "model": config.model.model_copy(update={"parameters": beside("model.parameters", config.model.parameters)}),
        "methodology": config.methodology.model_copy(update={"file": beside("methodology.file", config.methodology.file)}),
    })


def find_file(name: str | Path) -> Path:
    """A file as given, else the one of that name shipped with the package (`configs/...`)."""
    path = Path(name)
    if path.exists() or path.is_absolute() or path.parts[:1] != ("configs",) or ".." in path.parts:
        return path
    package = Path(errors.__file__).parent
    for root in (package, package.parent):
        if (root / path).is_file():
            return root / path
    return path


def load_methodology(path: str | Path = "configs/methodology/house_v1.toml") -> Methodology:
    """A methodology file, checked. Raises InputError."""
    file = find_file(path)
    tables, text = read_toml(file, "methodology")
    made = build(Methodology, tables, file.name, text, NUMBERS)
    core, pledged = made.core, made.collateral
    percent = f" Write {core.level / 100.0:g}." if 50.0 <= core.level < 100.0 else ""
    rules = [
        ("core.level", 61, 0.5 <= core.level < 1.0, f"level {core.level:g}; a confidence lies from 0.5 to below 1, such as 0.99.{percent}"),
        ("core.multiplier", 56, 0.0 < core.multiplier <= 100.0, f"multiplier {core.multiplier:g}; give above 0 and at most 100."),
        ("maintenance_ratio", 56, 0.0 < made.maintenance_ratio <= 1.0, f"maintenance_ratio {made.maintenance_ratio:g}; give above 0 and at most 1."),
        ("collateral.default_haircut", 56, 0.0 <= pledged.default_haircut <= 1.0, f"haircut {pledged.default_haircut:g}; give 0 to 1."),
        *((f"collateral.haircuts.{a}", 56, 0.0 <= h <= 1.0, f"haircut {h:g} of {a}; give 0 to 1.") for a, h in pledged.haircuts.items()),
        *((f"collateral.haircuts.{a}", 63, pledged.modes.get(a) != "simulated", f"{a} is simulated and has a haircut; one unit never has both. Remove one.")
          for a in pledged.haircuts),
    ]
    found = [(number, f"{place(file.name, text, key)}: {message}") for key, number, good, message in rules if not good]
    if found:
        stop(found[0][0], found[0][1] + "".join(f"\n  {message}" for _, message in found[1:]))
    parse_horizon(core.horizon, place(file.name, text, "core.horizon"))
    return made


def to_toml(config: RunConfig) -> str:
    """The whole configuration as TOML with the meaning of every key; `load_config` reads it back to an equal object."""
    lines = [f"schema_version = {config.schema_version}"]
    for section in RunConfig.model_fields:
        value = getattr(config, section)
        if isinstance(value, Strict):
            lines += ["", f"[{section}]"]
            for key, field in type(value).model_fields.items():
                lines.append(f"{key} = {toml_value(getattr(value, key))}  # {field.description}")
    return "\n".join(lines) + "\n"


__all__ = ["Methodology", "RunConfig", "find_file", "load_config", "load_methodology", "parse_horizon", "scenario_spec", "to_toml"]
