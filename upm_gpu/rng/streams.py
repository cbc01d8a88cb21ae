"""The registry of stream ids: which family of draws a counter's last word names.

A stream word is uint32 = (user stream << 8) | internal id. The user stream (below 2^24) is the `stream` of a scenario
specification, so two studies with one seed can be made independent; the internal id keeps the engine's own families of
draws apart. An id is never used for two purposes and never changes: that would be a change of format.
"""

from __future__ import annotations

from upm_gpu.errors import InputError

FACTOR = 0
"""normals of whole base steps: counter (scenario, factor, step, word)"""
MIXING = 1
"""the uniform of a step's chi-square mixing variable: counter (scenario, 0, step, word)"""
BRIDGE = 2
"""nodes of the dyadic Brownian bridge inside a step: counter (scenario, factor, step * 256 + heap index, word)"""
BRIDGE_END = 3
"""what a date adds below the bridge's finest level: counter (scenario, factor, seconds since valuation, word)"""
BOOK = 4
"""uniforms of synthetic books: counter (draw, kind of account, number within the kind, word)"""
JUMP = 32
"""jumps of a whole step: counter (scenario, clock, step, word); the first uniform gives the count, the second the sizes"""
JUMP_SPLIT = 33
"""how the jumps of an interval fall into its halves: counter (scenario, clock, step * 256 + heap index, word), both uniforms"""
JUMP_END = 34
"""the same at a date below the finest halves: counter (scenario, clock, seconds since valuation, word), both uniforms"""
SCRAMBLING = 40
"""keys of the Sobol scramblings: counter (dimension, scrambling, 0, word)"""
COMPONENT = 48
"""the uniform that picks the component of the importance mixture a scenario is drawn from: counter (scenario, 0, 0, word)"""
PILOT = 64
"""added to FACTOR, MIXING, COMPONENT and the ids of jumps and regimes: the same draws of the pilot scenarios that importance sampling is guided by"""
RESIDUAL = 16
"""the uniform that picks the date whose residuals a whole base step takes: counter (scenario, 0, step, word)"""
RESIDUAL_BRIDGE = 17
"""the same for a node of the bridge inside a step: counter (scenario, 0, step * 256 + heap index, word)"""
RESIDUAL_BRIDGE_END = 18
"""the same below the bridge's finest level: counter (scenario, 0, seconds since valuation, word)"""
WINDOW = 19
"""the uniform that picks the window of a historical simulation: counter (scenario, 0, 0, word)"""
SHUFFLE = 21
"""orders of the dates of an underlying that has nothing in common with others: counter (row, underlying, copy, word)"""
FILL = 20
"""the residuals drawn once for dates that lack a factor: counter (number of the date, factor, 0, word)"""
BOOTSTRAP = 72
"""first rows of the blocks of a block bootstrap: counter (repeat, 0, number of the block, word)"""
BACKTEST = 73
"""null laws of back-test statistics: counter (sample, number of the draw, day, word)"""
REGIME = 24
"""the uniform that picks the correlation regime of a scenario: counter (scenario, 0, 0, word)"""
PATH_HIGH = 80
"""how high the path of a factor rises between two path dates: counter (scenario, factor, seconds since valuation of the later date, word)"""
PATH_LOW = 81
"""how low it falls"""

COMMON = 1 << 31
"""factor word of the first common factor of a factor model, in the streams of the normals"""

USER_STREAMS = 1 << 24


def stream_word(stream: int, internal: int) -> int:
    """The counter's last word.

    >>> hex(stream_word(1, BRIDGE))
    '0x102'
    """
    if not 0 <= stream < USER_STREAMS:
        raise InputError("UPM-CF-080", f"stream {stream} is outside 0 to {USER_STREAMS - 1}. Choose a smaller stream number.")
    return (stream << 8) | internal


def key_words(seed: int) -> tuple[int, int]:
    """The two key words of a 64-bit seed, low word first."""
    if not 0 <= seed < 1 << 64:
        raise InputError("UPM-CF-081", f"seed {seed} is not a 64-bit unsigned number. Use a seed from 0 to 18446744073709551615.")
    return seed & 0xFFFFFFFF, seed >> 32
