"""Bad parameters of SPAN and TIMS are refused with place and remedy."""

from __future__ import annotations

import pytest
from small_book import read, write

from upm_gpu.backend import reference
from upm_gpu.errors import InputError
from upm_gpu.rulebook import load_rule_book
from upm_gpu.rulebook.frame.held import hold
from upm_gpu.shipped import package_file


@pytest.mark.parametrize(("file", "old", "new", "code", "words"), [
    ("span_v1", "price_scan = 0.15", "price_scan = 0.6", "UPM-CF-056", ("price_scan",)),
    ("span_v1", "tier_days = [7.0, 35.0, 100.0]", "tier_days = [7.0, 100.0, 35.0]", "UPM-CF-056", ("BTC", "overlap", "ascending")),
    ("span_v1", "{ tiers = [1, 1], charge = 0.002 }", "{ tiers = [1, 5], charge = 0.002 }", "UPM-CF-056", ("4 tiers",)),
    ("span_v1", "{ tiers = [1, 1], charge = 0.002 }", "{ tiers = [1, 1], charge = -0.002 }", "UPM-CF-056", ("charge",)),
    ("span_v1", 'underlying = "ETH"', 'underlying = "BTC"', "UPM-CF-056", ("two entries",)),
    ("span_v1", 'legs = ["BTC", "ETH"]', 'legs = ["BTC", "XRP"]', "UPM-CF-056", ("XRP is no commodity",)),
    ("span_v1", "ratios = [1.0, 35.0]", "ratios = [1.0, 0.0]", "UPM-CF-056", ("above 0",)),
    ("span_v1", "credit = 0.5", "credit = 1.5", "UPM-CF-056", ("credit",)),
    ("tims_v1", "offset = 0.90", "offset = 1.90", "UPM-CF-056", ("offset",)),
    ("tims_v1", 'default_class = "equity"', 'default_class = "stocks"', "UPM-CF-056", ("not one of the classes",)),
    ("tims_v1", '["NDX", "QQQ", "RUT", "IWM"]', '["NDX", "SPX"]', "UPM-CF-056", ("SPX stands in two entries",)),
    ("tims_v1", "minimum_per_unit = 0.375", "minimum_per_unit = -1.0", "UPM-CF-056", ("minimum_per_unit",)),
    ("tims_v1", "minimum_per_unit", "minimum_by_unit", "UPM-CF-056", ("unknown key", "Did you mean minimum_per_unit?")),
])
def test_bad_parameters(tmp_path, file, old, new, code, words):
    text = (package_file("configs/methodology") / f"{file}.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as raised:
        load_rule_book(path)
    assert raised.value.code == code and all(w in str(raised.value) for w in ("mine.toml", *words)), raised.value


def test_an_underlying_without_a_scan_range(tmp_path):
    text = (package_file("configs/methodology") / "span_v1.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text[:text.index('[[commodities]]\nunderlying = "ETH"')])
    book = load_rule_book(path)
    held = hold(*read(write(tmp_path / "small", "account_id,instrument_id,quantity\nA,ETH-PERP,1\n")))[0]
    with pytest.raises(InputError) as raised:
        book.module.margin(held, book.parameters, reference.values)
    assert raised.value.code == "UPM-CF-130" and "ETH" in str(raised.value)
