"""The liquidation file as a strict model: impact, spreads, pace, margin, auction, waterfall. Every number has its source in the files of configs/liquidation. Verified by tests/faults/test_liquidation_files.py."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from upm_gpu.shipped import find_file, package_file
from upm_gpu.strict_toml import Strict, build, read_toml

DEFAULT = "configs/liquidation/venue_v1.toml"
Layer = Literal["defaulter_contribution", "own_capital", "survivor_contributions", "assessments", "insurance_fund", "socialised_loss", "auto_deleveraging"]


class Impact(Strict):
    """The square-root law (`impact.py`)."""

    coefficient: float = Field(default=1.0, ge=0.0, le=10.0, description="Y")
    permanent: float = Field(default=2.0 / 3.0, ge=0.0, le=1.0, description="share of the impact that stays and moves everybody")
    volume: dict[str, float] = Field(default={}, description="delta traded a day by underlying, money")
    default_volume: float = Field(default=1e8, gt=0.0, description="of underlyings not listed")
    vega_volume: dict[str, float] = Field(default={}, description="vega traded a day by underlying, money a volatility point; not listed: from the volumes of the quotes")
    default_vega_volume: float = Field(default=1e5, gt=0.0, description="of underlyings neither listed nor quoted with volumes")
    open_interest_turnover: float = Field(default=0.1, gt=0.0, le=10.0, description="share of open interest that is taken for the day's volume where that is larger than the volume quoted")
    least_depth: float = Field(default=1.0, gt=0.0, description="units of an option that trade a day at least")

    @model_validator(mode="after")
    def _fits(self) -> Impact:
        if any(not v > 0.0 for v in (*self.volume.values(), *self.vega_volume.values())):
            raise ValueError("volumes must be above 0")
        return self


class Spreads(Strict):
    """Half of what stands between bid and ask."""

    linear: float = Field(default=0.0003, ge=0.0, le=0.5, description="of futures, perpetuals and spot: share of delta")
    tenor_days: list[float] = Field(default=[7.0, 30.0, 90.0], description="edges of the tenors of options, ascending")
    option_points: list[float] = Field(default=[2.0, 1.0, 0.7, 0.5], description="volatility points, one more than edges")
    least: float = Field(default=0.00025, ge=0.0, le=0.5, description="of an option at least: share of the underlying")

    @model_validator(mode="after")
    def _fits(self) -> Spreads:
        if any(b <= a for a, b in zip(self.tenor_days, self.tenor_days[1:], strict=False)):
            raise ValueError("tenor_days must ascend")
        if len(self.option_points) != len(self.tenor_days) + 1 or min(self.option_points) < 0.0:
            raise ValueError(f"option_points needs {len(self.tenor_days) + 1} numbers of at least 0, one more than tenor_days")
        return self


class Pace(Strict):
    """How a book is closed."""

    share: float = Field(default=0.25, gt=0.0, le=1.0, description="of a package as it was when its liquidation began, at most a round")
    restore: float = Field(default=1.0, ge=0.0, le=10.0, description="an account is let go when its equity is that many initial margins; bankrupt ones are closed in full")
    close_all: bool = Field(default=False, description="close every liquidated account in full, as a clearing house closes a member")
    rounds: int = Field(default=60, ge=1, le=10_000, description="at most")


class Margin(Strict):
    """Margin at the moved market, and calls."""

    scenarios: int = Field(default=4096, ge=200, le=1 << 20, description="of the run, the first: what margins are measured again on")
    charges: Literal["anew", "with_core"] = Field(default="anew", description="charges of the methodology: computed again for the books that are left where the market stands, or moved with the core margin (faster)")
    call_capacity: float = Field(default=0.0, ge=0.0, le=100.0, description="what owners can pay on calls, in initial margins of before")


class Auction(Strict):
    """Whole books offered to the other accounts (`auction.py`)."""

    bidders: int = Field(default=25, ge=1, le=10_000, description="accounts with the largest excess that are asked")
    return_on_margin: float = Field(default=0.05, ge=0.0, le=10.0, description="what a bidder asks for the margin it must post more, share of it")
    tick: float = Field(default=0.02, gt=0.0, le=1.0, description="steps of the falling price, share of the margin sold")
    largest_discount: float = Field(default=0.3, ge=0.0, le=10.0, description="share of the margin sold beyond which the auction fails")


class Fund(Strict):
    """What stands behind a loss. Shares are of the initial margin of all accounts at the start."""

    insurance: float = Field(default=0.0, ge=0.0, description="insurance fund, share")
    insurance_amount: float | None = Field(default=None, ge=0.0, description="the same as an amount, in place of the share")
    contributions: float = Field(default=0.0, ge=0.0, description="default fund, share; accounts contribute in proportion to their initial margin")
    own_capital: float = Field(default=0.0, ge=0.0, description="of the house, share of the default fund")
    assessments: float = Field(default=0.0, ge=0.0, description="what survivors can be asked for beyond, in their contributions")


class Parameters(Strict):
    """A liquidation file."""

    schema_version: int = 1
    name: str
    version: str
    description: str = ""
    impact: Impact = Impact()
    spreads: Spreads = Spreads()
    pace: Pace = Pace()
    margin: Margin = Margin()
    auction: Auction = Auction()
    fund: Fund = Fund()
    waterfall: list[Layer] = Field(min_length=1, description="who bears a loss that the defaulter's margin does not cover, in order")

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        if len(set(self.waterfall)) != len(self.waterfall):
            raise ValueError("a layer stands twice in the waterfall")
        return self


def load_parameters(path: str | Path | None = None) -> Parameters:
    """A liquidation file, checked; None: the venue that ships with the package; "venue" and "clearing" are those that ship. Raises InputError with every complaint."""
    short = {"venue": DEFAULT, "clearing": "configs/liquidation/clearing_v1.toml"}
    file = package_file(short.get(str(path), DEFAULT)) if path is None or str(path) in short else find_file(path)
    tables, text = read_toml(file, "liquidation file")
    return build(Parameters, tables, file.name, text, {"schema_version": 67})
