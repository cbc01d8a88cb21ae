"""The products of `upm price`: how the cells of a row become the columns of an operation.

A product family is a module with a function `read(cells, product, model) -> Reading` and its lines in OFFERED. A row it cannot read is
`Refused` with a code UPM-PR-010 to 069; what only the arithmetic can find comes back as a status (STATUSES).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from upm_gpu.pricing.products.cells import Cells, Reading, Refused

PRODUCTS = ("european", "american", "digital", "barrier", "double_barrier", "digital_barrier", "one_touch", "no_touch", "asian", "forward_start",
            "spread", "maximum_of_two", "minimum_of_two")
MODELS = ("black_scholes", "merton", "heston", "bates")

OFFERED = {
    ("european", "black_scholes"): "european",
    ("digital", "black_scholes"): "barriers",
    ("barrier", "black_scholes"): "barriers",
    ("double_barrier", "black_scholes"): "barriers",
    ("digital_barrier", "black_scholes"): "barriers",
    ("one_touch", "black_scholes"): "barriers",
    ("no_touch", "black_scholes"): "barriers",
    ("asian", "black_scholes"): "asian",
    ("asian", "heston"): "asian",
    ("forward_start", "black_scholes"): "forward_start",
    ("spread", "black_scholes"): "two_asset",
    ("maximum_of_two", "black_scholes"): "two_asset",
    ("minimum_of_two", "black_scholes"): "two_asset",
    ("american", "black_scholes"): "american",
    ("european", "merton"): "model_option",
    ("european", "heston"): "model_option",
    ("european", "bates"): "model_option",
}
"""(product, model) -> module of this package whose `read` reads it"""

STATUSES = {
    1: ("UPM-PR-020", "the market price is below the payoff at the forward: no volatility gives it."),
    2: ("UPM-PR-021", "the market price is at or above the forward (call) or the strike (put), discounted: no volatility gives it."),
    3: ("UPM-PR-022", "the market price has no time value above rounding: every small volatility gives it."),
    4: ("UPM-PR-024", "the arguments leave the range of double precision."),
    10: ("UPM-PR-037", "the spot is beyond the barrier between two fixings: the correction for discrete monitoring does not reach there."),
    11: ("UPM-PR-038", "a rebate at the hit of one of two barriers under so negative a rate is not offered. Leave the rebate blank."),
    12: ("UPM-PR-041", "the fixings are too unequally spaced for one lattice of the average. Join those that lie close together."),
    30: ("UPM-PR-064", "exercise pays only between two levels (a negative rate below the other yield): two boundaries are not offered."),
    40: ("UPM-PR-050", "the Fourier integral did not settle: the parameters are beyond the range of the method. Check variances, vol_of_vol and correlation."),
    41: ("UPM-PR-051", "the jumps are explosive: over 10,000 of them are expected to expiry, or the expected size of one overflows. Check jump_intensity, jump_mean and jump_volatility."),
    31: ("UPM-PR-065", "the exercise boundary was not found: the arguments are outside the range that the method is tested on."),
}
"""status of an operation other than 0 -> code and message; numbers are shared by all operations"""


def read_row(row: dict[str, str]) -> Reading:
    """The operation, columns and method of one row. Raises Refused."""
    cells = Cells(row)
    product = cells.one_of("product", PRODUCTS, code="UPM-PR-010")
    model = cells.one_of("model", MODELS, "black_scholes", code="UPM-PR-011")
    if (product, model) not in OFFERED:
        models = [m for p, m in OFFERED if p == product]
        if not models:
            raise Refused("UPM-PR-010", f"product {product} is not offered. Offered: {', '.join(dict.fromkeys(p for p, _ in OFFERED))}.")
        raise Refused("UPM-PR-011", f"model {model} is not offered for {product}. Offered: {', '.join(models)}.")
    read: Callable[[Cells, str, str], Reading] = import_module(f"upm_gpu.pricing.products.{OFFERED[product, model]}").read
    return read(cells, product, model)
