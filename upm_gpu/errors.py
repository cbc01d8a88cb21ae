"""The error tree: every failure a user can meet has a code, a place, a cause and a remedy.

A code reads ``UPM-<room>-<number>``; the rooms are CF (configuration and use), IN (book files), MD (market
data), CA (calibration), CP (capacity), DV (device), RN (run folder), PR (pricing), BT (back-tests), ST (stress campaigns) and QY (questions in SQL). The class decides the
exit code of the command line, so that a script can act on a failure without reading its text.
"""

from __future__ import annotations


class UpmError(Exception):
    """A failure with a code. `str(error)` is the whole message: code, what, where, why, remedy."""

    exit_code = 1

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


class UsageError(UpmError):
    """The command was called in a way that cannot be obeyed (exit 2)."""

    exit_code = 2


class InputError(UpmError):
    """A book, configuration or methodology cannot be used; nothing was computed (exit 3)."""

    exit_code = 3


class MarketDataError(InputError):
    """Market data is missing, undefined or inconsistent (exit 3)."""


class StaleDataError(MarketDataError):
    """Market data is older than the configuration allows (exit 6)."""

    exit_code = 6


class CalibrationError(InputError):
    """A model could not be fitted to the data given (exit 3)."""


class CapacityError(UpmError):
    """The work does not fit into memory, disk or a documented width (exit 7)."""

    exit_code = 7


class DeviceError(UpmError):
    """A backend or device cannot run (exit 7)."""

    exit_code = 7


class RunInterrupted(UpmError):
    """Stopped on request between two chunks; `upm resume` goes on (exit 8)."""

    exit_code = 8


class IntegrityError(UpmError):
    """A stored result does not match its checksum (exit 9)."""

    exit_code = 9
