"""The cells of one row of `upm price`, read as numbers and words with a code for each thing that can be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from upm_gpu.domain.cells import CellFault, parse_number, shown

NAN = float("nan")
MOST_FIXINGS = 1000
"""of one case: the time of an arithmetic average grows with the power 1.5 of their number, a second at this one"""


class Refused(Exception):
    """Why a row has no value: `code` is the cell of the table, `message` is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Quanto:
    """A payment in another currency at a fixed rate: what its results are, given those in which the rate and the volatility move the dividend yield too."""

    fixed_rate: float
    drift: float
    """correlation x volatility of the exchange rate: change of the dividend yield a unit of volatility"""

    def turned(self, result: dict[str, float]) -> dict[str, float]:
        """Every number but an implied volatility at the fixed rate; vega and rho with what moves the dividend yield."""
        slope = result.get("dividend_rho", NAN)
        moved = {**result, "vega": result["vega"] + self.drift * slope, "rho": result["rho"] + slope}
        return {name: value if name == "implied_volatility" else self.fixed_rate * value for name, value in moved.items()}


@dataclass(frozen=True)
class Reading:
    """A row ready to be valued."""

    operation: str
    """of `formula/operations.py`"""
    columns: dict[str, float | tuple[float, ...]]
    """its inputs; a tuple for a repeated one"""
    method: str
    """name of the formula, for the column `method`"""
    beside: dict[str, float | tuple[float, ...]] | None = None
    """inputs of the same option with its two assets exchanged: its Greeks come back as those of the second asset"""
    quanto: Quanto | None = None


@dataclass(frozen=True)
class Cells:
    """Text by column; a column that the file lacks is blank."""

    row: dict[str, str]

    def text(self, column: str) -> str:
        """The cell without surrounding space."""
        return self.row.get(column, "").strip()

    def number(self, column: str, default: float | None = None) -> float:
        """A plain number; `default` for a blank cell. Refused UPM-PR-015, 016."""
        text = self.text(column)
        if not text:
            if default is None:
                raise Refused("UPM-PR-016", f"column {column} is blank. Give a number.")
            return default
        try:
            return parse_number(text)
        except CellFault as fault:
            raise Refused("UPM-PR-015", f"column {column}: {fault.message}") from None

    def positive(self, column: str, default: float | None = None) -> float:
        """A number above 0. Refused UPM-PR-018."""
        value = self.number(column, default)
        if value <= 0.0:
            raise Refused("UPM-PR-018", f"column {column}: {value!r} is not above 0.")
        return value

    def not_negative(self, column: str, default: float | None = None) -> float:
        """A number that is 0 or above. Refused UPM-PR-018."""
        value = self.number(column, default)
        if value < 0.0:
            raise Refused("UPM-PR-018", f"column {column}: {value!r} is below 0.")
        return value

    def one_of(self, column: str, allowed: Sequence[str], default: str = "", *, code: str) -> str:
        """A word of `allowed`; `default` for a blank cell. Refused with `code`."""
        value = self.text(column) or default
        if value not in allowed:
            raise Refused(code, f"column {column}: {shown(value)} is not one of {', '.join(allowed)}.")
        return value

    def sign(self) -> float:
        """+1 call, -1 put. Refused UPM-PR-013."""
        return 1.0 if self.one_of("option_type", ("call", "put"), code="UPM-PR-013") == "call" else -1.0

    def level(self) -> dict[str, float]:
        """`spot` and `forward`, one of them NaN, the other above 0. Refused UPM-PR-017, 018."""
        given = [c for c in ("spot", "forward") if self.text(c)]
        values = {c: self.positive(c) if c in given else NAN for c in ("spot", "forward")}
        if len(given) != 1:
            raise Refused("UPM-PR-017", f"{'both spot and forward are' if given else 'neither spot nor forward is'} given. Give one of them.")
        return values

    def market(self) -> dict[str, float]:
        """`level`, `time_to_expiry`, `rate`, `dividend_yield` and a `volatility` that must be given. Refused UPM-PR-025."""
        if not self.text("volatility") and self.text("market_price"):
            raise Refused("UPM-PR-025", "an implied volatility is not offered for this product. Give the volatility.")
        return {**self.level(), "time_to_expiry": self.not_negative("time_to_expiry"), "rate": self.number("rate", 0.0),
                "dividend_yield": self.number("dividend_yield", 0.0), "volatility": self.positive("volatility")}

    def payout(self) -> tuple[float, float]:
        """(units of the asset, cash) of `payout_type` and `payout`; one unit where the payout is blank. Refused UPM-PR-031."""
        asset = self.one_of("payout_type", ("cash", "asset"), code="UPM-PR-031") == "asset"
        payout = self.not_negative("payout", 1.0)
        return (payout, 0.0) if asset else (0.0, payout)

    def fixings(self, expiry: float) -> tuple[float, ...]:
        """Times in years of `fixings`: a count n (at i T / n) or times separated by `;`, ascending, inside [0, T]. Refused UPM-PR-032, 033, 034."""
        text = self.text("fixings")
        parts = [part.strip() for part in text.split(";")] if text else []
        try:
            numbers = [parse_number(part) for part in parts if part]
        except CellFault as fault:
            raise Refused("UPM-PR-032", f"column fixings: {fault.message}") from None
        if not numbers:
            raise Refused("UPM-PR-032", "column fixings is blank. Give a count, or times in years separated by `;`.")
        if len(parts) == 1 and numbers[0] == int(numbers[0]) and "." not in text:
            count = int(numbers[0])
            if not 1 <= count <= MOST_FIXINGS:
                raise Refused("UPM-PR-032", f"column fixings: a count of {count} is not between 1 and {MOST_FIXINGS}.")
            return tuple(expiry * i / count for i in range(1, count + 1))
        if len(numbers) > MOST_FIXINGS:
            raise Refused("UPM-PR-032", f"column fixings: {len(numbers)} times, more than {MOST_FIXINGS}.")
        if min(numbers) < 0.0:
            raise Refused("UPM-PR-034", f"column fixings: the fixing at {min(numbers)!r} is in the past. Count it in fixings_so_far and give its value in average_so_far.")
        if max(numbers) > expiry * (1.0 + 1e-12):
            raise Refused("UPM-PR-033", f"column fixings: the fixing at {max(numbers)!r} is after the expiry at {expiry!r}.")
        return tuple(min(t, expiry) for t in sorted(numbers))

    def blank(self, column: str, code: str, message: str) -> None:
        """Refused with `code` where the cell is filled."""
        if self.text(column):
            raise Refused(code, message)
