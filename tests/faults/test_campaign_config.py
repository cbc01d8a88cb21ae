"""Every campaign that cannot be meant is refused with its place and a remedy, before anything is read or written."""

from __future__ import annotations

import pytest
from campaigns import CAMPAIGN

from upm_gpu.campaign.config import load_campaign
from upm_gpu.errors import InputError

CASES = {
    "unknown key": ("liquidity = 2.0", "liquidty = 2.0", "UPM-CF-059", "liquidity"),
    "price gone": ("price = -0.3,", "price = -1.0,", "UPM-CF-056", "above -1"),
    "unknown move": ("ETH = { price = -0.4 }", "ETH = { prices = -0.4 }", "UPM-CF-056", "prices: an asset has price, volatility, basis"),
    "grid without leader": ('leader = "BTC"\n', "", "UPM-CF-056", "Name a leader"),
    "empty list": ("volatility = [0.0, 0.5]", "volatility = []", "UPM-CF-056", "empty list"),
    "share": ("correlation = [0.0, 1.0]", "correlation = [0.0, 1.5]", "UPM-CF-056", "from 0 to 1"),
    "two of a name": ('name = "half"', 'name = "grid"', "UPM-ST-001", "'grid' is given twice"),
    "too many": ("count = 20", "count = 2000000", "UPM-ST-001", "2,000,014 shocks"),
    "degrees": ("seed = 3", "seed = 3\ndegrees_of_freedom = 1.5", "UPM-CF-056", "more than 2"),
    "fund": ("[losses]\ndefault_fund = 1000", "[reverse]\ndefault_fund = true\n[losses]", "UPM-CF-056", "Give losses.default_fund"),
    "cost": ("delta_cost = 0.001", "delta_cost = 1.5", "UPM-CF-056", "share of delta"),
    "count": ("count = 4096", "count = 10", "UPM-CF-056", "1000 to 10000000"),
    "schema": ("schema_version = 1\n", "", "UPM-CF-067", "schema_version"),
    "no shocks": (CAMPAIGN[CAMPAIGN.index("[[events]]"):], "", "UPM-ST-001", "0 shocks"),
    "book": ("[[events]]", '[[books]]\nname = "a b"\n[[events]]', "UPM-CF-056", "letters, digits and _"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_campaigns(tmp_path, case):
    old, new, code, word = case
    assert CAMPAIGN.count(old) == 1
    file = tmp_path / "campaign.toml"
    file.write_text(CAMPAIGN.replace(old, new))
    with pytest.raises(InputError) as stopped:
        load_campaign(file)
    assert stopped.value.code == code and word in str(stopped.value), str(stopped.value)
    assert code in ("UPM-CF-067", "UPM-ST-001") or "campaign.toml line" in str(stopped.value)
