"""The codes of HTJ2K: which samples of a quad are significant (Annex C), and how large its exponent may be (Table 3).

Both codes are prefix codes that leave no bits unused, so the tables of Annex C are written as what each code stands
for, in the order of the codes.

Source: ITU-T T.814 | ISO/IEC 15444-15.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel

__all__ = ["ESCAPE", "MODES", "WINDOW", "amount_table", "amounts_of", "quad_tables"]

WINDOW = 7
"""Bits of the longest code of a quad."""
CONTEXTS = 8
MODES = 4
"""Which of a pair of quads have an amount: none, the first, the second, both."""
ESCAPE = 15
"""Instead of the bits of a code: it goes on behind the 8 that the table of amounts is looked up by."""

_NO = np.bool_(False)

# For each context: four digits a code: e^k, e^1, significance (bit 0 is the sample at the top left, bit 1 the one below
# it), then 8 where an amount follows (u_off), added to the bits of the code.
_FIRST_ROW = (
    "0023008300430014005500c500a5003510bef4fee2fef8fea8eec8cec4ce88ae207e009e0096888e0066445e444ef1ffe6fff5ff"
    "22effcffbaff99ff00f7e4ef00e7d8df54df11df00d7cccf11bf00b7a2af515f227f0077006f313f223f111f222f",
    "0002008400440024001400c510bee4fea2feb8fea8ee54dec4ce88ce88ae00a6009e0096888e003e207e006e0066445e0056444e"
    "0036222e00f7f1ff88ffe4ef11df22ef00e7d8df00d711bf00b7a2af111f227f0077515f",
    "000200840044002400140055317e74fe11fef1fe20eec4de88de44ce00c620be00ae00a6009e00960066545e515e113e444e0036"
    "111ef8ff22ef32ff00f700e7d1df00d7c8cf747f22bf00b7888f555f227f0077006f222f323f",
    "000300140025f1fdf4fdf8fd0085555d00550045aafef2fef5fec8eed4ded1de44ce00c632be88ae00a60096113e717e647e545e"
    "515e444e0036111efcfff3ffe6ffb9ff44ef00f7e2efe4ef00e7d8dfd5dfdcdf99df00d7c8cfb8bf888f11bfb1bf00b7a2af989f"
    "119f737f727f222f667f0077626f446f0067323f",
    "0002008400440024001400a50096b8fe72fe91fec8ee44ee10de88ce00c600bea8aea2ae888e223e407e006e0066005e00560036"
    "222ef4ff76ff11df99ff00f7e2ef00e700d7c4cf009fb2bf00b7aaaf447f0077444f111f313f",
    "0003f2fdf8fdf4fd00a50085004500250015f1fe009676fee8eee2eed4de98de88ce00c6b2be98bea8aea2aeaaae888e323e647e"
    "226e0066445e00560036222efafff3ffd9ff77fffcff75ff00f7e4efeaefecef66ef00e7d1df99dfd5df00d7c4cfb1bf99bfb3bf"
    "00b7919f889f667f717f727f737f0077646f515f444f333f313f111f",
    "000300140025f1fdf2fd008500450035f8fef4fefcfe717ef3feeafe66fee8ee54dec8ce00c6b2be91be22ae00a60096647e0066"
    "115e0056222e323e313e333e111ef5ffb9ff00f7e4ef55dfecef22efe2ef00e7d1dfc8df00d7c4cfb8bfcccf99bfbabf00b7a8af"
    "989f119f727f888f667f737f0077646f226f444f545f",
    "f1fcf4fcf8fcf2fcfafd0005f3fdf5fdfffdfcfef6fee8eef9fee2eed4ded1deb2be22ae009e717e006e115e00260016fbfffeff"
    "00f7f7fffdffe4efeaefecef66ef00e7d8dfd5dfdcdf99df00d7c4cf88cf00c7b8bf00a7babfb1bfb3bf99bf00b7a8af757f0097"
    "888f0087747f727f737f667f007700570067545f444f0047313f323f333f0037222f111f",
)

_OTHER_ROWS = (
    "0013008300430023006500c500a50095888d0055003510fe40ee00de88ce009e00be88ae005e007e003e444e111e222e11ff00f7"
    "00d744ef00e7c4cf007700b7a2af006f",
    "000100840024001400450035005640fe00c600a6009600bf44ff00f700ef00e700df00d700cf00b700af888f009f444f007f0077"
    "006f0067005f222f323f113f111f",
    "0001002400140085004500c6a2ae00a600360056222ef8ff72ff51ff44ff00f740ef44ef00e700df00d700cfaaaf00bfb2bf00b7"
    "a8af007f009f0097888f0077006f0067005f313f444f223f111f",
    "000200240014008500450035517ef1fef8fef2fe00f640de00ce00c6b2be88be00b622ae00a6009e009600760066115e0056222e"
    "313e323e111ef4ffe2eff5ffa8fffaff73ff66ffc8ef44ef00e7b3bf44df00d7b1bfa8af888f447f727f545f006f444f333f",
    "00010084004400c50025001500a630fe20ee444e0066005632ff11ff00f700bf22ef00e700df00d7c4cfc8cfcccf00b700af007f"
    "009f0097888f0077006f003f005f0037222f111f",
    "00020044002500f500c5008500550015a8eef2fef8fef4fefcfef1fe00e654de00d644ce207e10be00b600ae00a60096888e0076"
    "0066445e003e444e0036111ef3fffaff76ffd5ff99ff22efe4ef11dfd8df11bfc8cf006f009f227f222f515f",
    "0003004400240014005500c500a5008500b6f4fef8fef2fe00f6e8ee00e600d6a2ae227e009e0096888e00760066445e223e444e"
    "0036222e111ef1fffcfff5ffb9ffe2effaff76ff33ffd1dfeaef44efe4efc8df44dfd4dfb1bfc4cfc8cfcccfa8bf22bfb2bfaaaf"
    "a8af515f747f317f646f226f313f",
    "00f3000400d5f4fdf1fdf8fdf2fd00b500750055fcfef5feb9fea8eefafe76fef3fe00e654de00ae00ce00c632be00a600960086"
    "717e00460066115e00360026111e0016e4effbfff7ffffffd8df22efe2efb8bf11dfd1df009f11bfb1bf727f888f006f737f447f"
    "747f323f545f444f113f222f",
)


@lru_cache(maxsize=1)
def quad_tables() -> NDArray[np.uint64]:
    """Both tables of Annex C, by context and the next bits.

    Returns
    -------
    (2048,) uint64
        ``[1024 * (not the first row) + 128 * context + 7 bits]``. Four lanes of 16 bits, one for each sample of the
        quad: bit 0 is its significance, bit 1 its e^k, bit 2 its e^1. The first lane has besides: bits 3 to 5 the
        bits of the code, bit 6 whether an amount follows, bits 7 to 9 what this quad adds to the context of the next.
    """
    tables = np.concatenate([_lanes(_FIRST_ROW, is_first=True), _lanes(_OTHER_ROWS, is_first=False)])
    tables.flags.writeable = False
    return tables


def _lanes(codes: tuple[str, ...], *, is_first: bool) -> NDArray[np.uint64]:
    entries = np.frombuffer(bytes.fromhex("".join(codes)), ">u2").astype(np.uint64)
    in_order = np.repeat(entries, (1 << (WINDOW - (entries & 7).astype(np.int64))))
    # The first bit of a code is the lowest of the window.
    places = np.arange(1 << WINDOW)
    reversed_bits = sum((places >> bit & 1) << (WINDOW - 1 - bit) for bit in range(WINDOW))
    found = in_order.reshape(CONTEXTS, -1)[:, reversed_bits].reshape(-1)
    significance, known, exponent = found >> 4 & 15, found >> 12, found >> 8 & 15
    lanes = (found & 7) << 3 | (found >> 3 & 1) << 6
    for sample in range(4):
        bits = (significance >> sample & 1) | (known >> sample & 1) << 1 | (exponent >> sample & 1) << 2
        lanes = lanes | bits << 16 * sample
    first, below, right, corner = (significance >> sample & 1 for sample in range(4))
    # Equation 1 for the first row of quads; the part of equation 2 that the quad on the left has.
    context = (first | below) << 7 | right << 8 | corner << 9 if is_first else (right | corner) << 8
    return np.asarray(lanes | context, np.uint64)


@kernel()
def _prefix(bits):
    """The prefix of an amount (u_pfx), and its bits."""
    if bits & np.uint64(1):
        return np.uint64(1), np.uint64(1)
    if bits & np.uint64(2):
        return np.uint64(2), np.uint64(2)
    if bits & np.uint64(4):
        return np.uint64(3), np.uint64(3)
    return np.uint64(5), np.uint64(3)


@kernel()
def _suffix(prefix, bits):
    """What follows a prefix (u_sfx), and its bits."""
    if prefix == np.uint64(3):
        return bits & np.uint64(1), np.uint64(1)
    if prefix == np.uint64(5):
        return bits & np.uint64(31), np.uint64(5)
    return np.uint64(0), np.uint64(0)


@kernel()
def amounts_of(bits, mode, is_first, event):
    """Bits of the code, and the amounts u of both quads of a pair (7.3.6).

    is_first : in the first row of quads, where a pair with two amounts has an event, too
    """
    first, second, used = np.uint64(0), np.uint64(0), np.uint64(0)
    if mode & 1:
        first, used = _prefix(bits)
    if mode & 2:
        if is_first and mode == 3 and not event and first > np.uint64(2):
            second, more = (bits >> used & np.uint64(1)) + np.uint64(1), np.uint64(1)
        else:
            second, more = _prefix(bits >> used)
        used += more
    added, more = _suffix(first, bits >> used)
    used += more
    first += added
    # A second amount of 1 or 2 without a prefix of its own has no suffix either.
    added, more = _suffix(second, bits >> used)
    used += more
    second += added
    if event:
        first += np.uint64(2)
        second += np.uint64(2)
    return used, first, second


@lru_cache(maxsize=1)
def amount_table() -> NDArray[np.uint16]:
    """The amounts of codes that are within eight bits, (256 * MODES,) uint16: see `_fill_amounts`."""
    table = np.empty(256 * MODES, np.uint16)
    _fill_amounts(table)
    table.flags.writeable = False
    return table


@kernel("void(uint16[::1])")
def _fill_amounts(table):
    """[256 * mode + the next 8 bits]: bits of the code, 16 * the first amount, 1024 * the second, each below 64."""
    for mode in range(MODES):
        for bits in range(256):
            used, first, second = amounts_of(np.uint64(bits), mode, _NO, _NO)
            entry = used | first << np.uint64(4) | second << np.uint64(10)
            table[256 * mode + bits] = ESCAPE if used > np.uint64(8) else np.int64(entry)
