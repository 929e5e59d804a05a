"""The compiled walk over the elements of a file, and its reading of local files without the interpreter.

Every read is preceded by a comparison with `limit` (the end of the bytes at hand) and every length by one with `size`
(the end of the file); every turn of the loop moves `position` forward or ends an item or sequence, so it ends.
"""

# ruff: noqa: SIM110 (a generator is no compiled loop)
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from fastdicom._numba import kernel
from fastdicom._posix import OPEN_FLAGS, READ_FAILED, SEEK_END, close, lseek, open_, pread

RUNNING, DONE, NO_PIXELS, HANDED_OVER = 0, 1, 2, 3
(
    R_START, R_META, R_SYNTAX, R_VR, R_ORDER, R_LENGTH, R_SEQUENCE, R_UNDEFINED, R_ENHANCED, R_LONG, R_CHARSET,
    R_UNREADABLE,
) = range(1, 13)  # fmt: skip

VALUE, FLAG, SPAN, ENHANCED = 0, 1, 2, 3
TEXT, US, SS, UL, SL, FD, FL, SQ, UN, OTHER = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
LONG = 0x80

MAX_VALUE_NBYTES = 1024
"""Longer values of wanted elements (no legal one is, PS3.5 6.2) are left to pydicom."""

# Columns of the state of one file: scalars, the ends of the open items (-1: undefined), the block of each creator.
POSITION, STATUS, REASON, LAST, DEPTH, IMPLICIT_FROM, IN_META, NEXT, OPEN = 0, 1, 2, 3, 4, 5, 6, 7, 8
PIXEL_TAG, PIXEL_OFFSET, PIXEL_LENGTH, FRAGMENT, SYNTAX = 9, 10, 11, 12, 13
ENDS, BLOCKS, STATE_WIDTH = 16, 32, 64
MAX_DEPTH = BLOCKS - ENDS
MAX_CREATORS = STATE_WIDTH - BLOCKS

UNDEFINED = 0xFFFF_FFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
FLOAT_PIXELS, DOUBLE_PIXELS, PIXELS = 0x7FE0_0008, 0x7FE0_0009, 0x7FE0_0010
NEVER = 1 << 30
SYNTAX_EXPLICIT, SYNTAX_IMPLICIT = 1, 2
IN_META_GROUP, IN_DATA_SET = 1, 2

PLAIN_PREFIX = np.frombuffer(b"1.2.840.10008.1.2", dtype=np.uint8)
# What follows the prefix in syntaxes whose data set is not plain little endian.
OTHER_ENCODINGS = np.frombuffer(b".2   .1.99.4.95.4.205", dtype=np.uint8)
OTHER_LENGTHS = np.array([2, 5, 5, 6])
OTHER_STARTS = np.array([0, 5, 10, 15])


@kernel()
def _byte(block, at):
    return np.int64(block[np.uintp(at)])  # unsigned: a signed index costs a test for a negative one


@kernel()
def _is_code_string(block, value_at):
    """Whether the explicit header before a value says CS, which has the short form: tag, VR, two bytes of length."""
    return _byte(block, value_at - 4) == 0x43 and _byte(block, value_at - 3) == 0x53


@kernel()
def _u16(block, at):
    return _byte(block, at) | _byte(block, at + 1) << 8


@kernel()
def _u32(block, at):
    return _byte(block, at) | _byte(block, at + 1) << 8 | _byte(block, at + 2) << 16 | _byte(block, at + 3) << 24


@kernel()
def _tag(block, at):
    return _u16(block, at) << 16 | _u16(block, at + 2)


@kernel()
def _both_capital(block, at):
    return 65 <= _byte(block, at) <= 90 and 65 <= _byte(block, at + 1) <= 90


@kernel()
def _equals(block, at, n, other, start, m):
    if n != m:
        return False
    for k in range(n):
        if block[at + k] != other[start + k]:
            return False
    return True


@kernel()
def _syntax_of(block, at, n):
    """Encoding that a Transfer Syntax UID value means; 0 where pydicom must say."""
    while n > 0 and block[at + n - 1] == 0:
        n -= 1
    m = len(PLAIN_PREFIX)
    if n < m or not _equals(block, at, m, PLAIN_PREFIX, 0, m):
        return 0
    if n == m:
        return SYNTAX_IMPLICIT
    if block[at + m] != 46:
        return 0
    for k in range(m, n):
        if not (block[at + k] == 46 or 48 <= block[at + k] <= 57):
            return 0
    for k in range(len(OTHER_LENGTHS)):
        if _equals(block, at + m, n - m, OTHER_ENCODINGS, OTHER_STARTS[k], OTHER_LENGTHS[k]):
            return 0
    return SYNTAX_EXPLICIT


@kernel()
def _is_plain_charset(block, at, n):
    """Only capitals, digits, space, underscore and backslash: pydicom looks the others up, and that may fail."""
    for k in range(at, at + n):
        c = block[k]
        if not (65 <= c <= 90 or 48 <= c <= 57 or c == 32 or c == 95 or c == 92):
            return False
    return True


@kernel()
def _contains(values, value):
    lo, hi = 0, len(values)
    while lo < hi:
        middle = (lo + hi) // 2
        if values[middle] < value:
            lo = middle + 1
        else:
            hi = middle
    return lo < len(values) and values[lo] == value


@kernel()
def _reserve(block, at, n, tag, creators, names, state):
    """Remember which block a private creator element reserves; the first reservation counts."""
    while n > 0 and (block[at + n - 1] == 0 or block[at + n - 1] == 32):
        n -= 1
    while n > 0 and (block[at] == 0 or block[at] == 32):
        at += 1
        n -= 1
    for c in range(len(creators)):
        is_free = creators[c, 0] == tag >> 16 and state[BLOCKS + c] == 0
        if is_free and _equals(block, at, n, names, creators[c, 1], creators[c, 2]):
            state[BLOCKS + c] = tag & 0xFF


@kernel()
def _private_column(tag, private, first, state):
    """Column of a private element; `first` is the first wanted one that is not in an earlier group."""
    for p in range(first, len(private)):
        if private[p, 0] >> 16 != tag >> 16:
            break
        if private[p, 0] & 0xFF == tag & 0xFF and state[BLOCKS + private[p, 2]] == (tag >> 8) & 0xFF:
            return private[p, 1]
    return -1


@kernel()
def _fits(found, expected):
    """Whether the bytes of a value in one VR are those of another."""
    return found in (expected, UN) or (found in (US, SS) and expected in (US, SS))


@kernel()
def _walk_file(
    block, start, count, size, state, vr_table, sequences, standard, private, creators, names, kinds,
    offset, length, at, values, used,
):  # fmt: skip
    position = state[POSITION]
    shift = start - position
    limit = min(position + count, size)
    last, depth, implicit_from = state[LAST], state[DEPTH], state[IMPLICIT_FROM]
    in_meta, following_wanted, open_column = state[IN_META], state[NEXT], state[OPEN]
    following_private = 0
    status, reason = RUNNING, 0

    if in_meta == 0:
        if limit < min(size, 140):
            return used
        if size >= 132 and _u32(block, start + 128) == 0x4D43_4944:  # DICM
            position = 132
        elif size < 12 or not (_tag(block, start) == 0x0002_0000 and _u16(block, start + 4) == 0x4C55):
            reason = R_START
        in_meta, implicit_from = IN_META_GROUP, NEVER

    while reason == 0:
        if depth > 0:
            end = state[ENDS + depth - 1]
            if end >= 0 and position >= end:
                if position > end:
                    reason = R_LENGTH
                    break
                depth -= 1
                if implicit_from > 0 and depth < implicit_from:
                    implicit_from = NEVER
                continue
        if position + 8 > limit:
            if depth == 0 and position == size:
                status = NO_PIXELS
            elif position + 8 > size:
                reason = R_LENGTH
            break
        i = position + shift
        tag = _tag(block, i)

        if depth & 1:  # between the items of a sequence
            if tag == SEQUENCE_END:
                position += 8
                depth -= 1
                if implicit_from > 0 and depth < implicit_from:
                    implicit_from = NEVER
                if depth == 0:
                    open_column = -1
                continue
            n = _u32(block, i + 4)
            if tag != ITEM or depth == MAX_DEPTH:
                reason = R_SEQUENCE
                break
            end = -1
            if n != UNDEFINED:
                end = position + 8 + n
                if end > size:
                    reason = R_LENGTH
                    break
            if n > 0 and depth < implicit_from:
                # An item may be implicit in an explicit file (PS3.5 6.2.2: UN); its first element shows it.
                if position + 14 > size:
                    reason = R_LENGTH
                    break
                if position + 14 > limit:
                    break
                if not _both_capital(block, i + 12):
                    implicit_from = depth + 1
            state[ENDS + depth] = end
            depth += 1
            position += 8
            if depth == 2 and open_column >= 0:
                length[open_column] = -2
            continue

        if tag >> 16 == 0xFFFE:
            # pydicom takes the length of a delimiter for a VR, which may be one; it is zero in all that are sound.
            if tag == ITEM_END and depth > 0 and state[ENDS + depth - 1] == -1 and _u32(block, i + 4) == 0:
                position += 8
                depth -= 1
                if implicit_from > 0 and depth < implicit_from:
                    implicit_from = NEVER
                continue
            reason = R_SEQUENCE
            break
        if depth == 0:
            if tag <= last:
                reason = R_ORDER
                break
            if in_meta == IN_META_GROUP and tag >> 16 != 2:
                if state[SYNTAX] == 0:
                    reason = R_SYNTAX
                    break
                if state[SYNTAX] == SYNTAX_IMPLICIT:
                    implicit_from = 0
                    if _both_capital(block, i + 4):
                        reason = R_VR
                        break
                in_meta = IN_DATA_SET

        implicit = depth >= implicit_from
        head = 8
        vr = 0
        if implicit:
            n = _u32(block, i + 4)
        else:
            if not _both_capital(block, i + 4):
                reason = R_VR
                break
            vr = _byte(vr_table, (_byte(block, i + 4) - 65) * 26 + _byte(block, i + 5) - 65)
            if vr == 0:
                reason = R_VR
                break
            if vr & LONG:
                if position + 12 > size:
                    reason = R_LENGTH
                    break
                if position + 12 > limit:
                    break
                n = _u32(block, i + 8)
                head = 12
                vr -= LONG
            else:
                n = _u16(block, i + 6)
        value = position + head

        if depth == 0 and tag >= FLOAT_PIXELS and tag in (PIXELS, FLOAT_PIXELS, DOUBLE_PIXELS):
            if not (implicit or vr in (OTHER, UN)):
                reason = R_VR
                break
            state[PIXEL_TAG], state[PIXEL_OFFSET], state[PIXEL_LENGTH] = tag, value, n
            if n == UNDEFINED:
                state[PIXEL_LENGTH] = -1
                if value + 8 <= limit and _tag(block, value + shift) == ITEM:
                    state[FRAGMENT] = value + 8 + _u32(block, value + shift + 4)
            status = DONE
            break

        column = -1
        is_private = (tag >> 16) & 1 == 1
        is_creator = is_private and 0x10 <= tag & 0xFFFF <= 0xFF
        if depth == 0:
            if is_private:
                if tag & 0xFFFF >= 0x1000:
                    while following_private < len(private) and private[following_private, 0] >> 16 < tag >> 16:
                        following_private += 1
                    column = _private_column(tag, private, following_private, state)
            else:
                while following_wanted < len(standard) and standard[following_wanted, 0] < tag:
                    following_wanted += 1
                if following_wanted < len(standard) and standard[following_wanted, 0] == tag:
                    column = standard[following_wanted, 1]
        keep = kinds[column, 1] if column >= 0 else SPAN

        if n == UNDEFINED:
            if not implicit:
                is_sequence = vr in (SQ, UN)
            elif is_private:
                if value + 4 > size:
                    reason = R_LENGTH
                    break
                if value + 4 > limit:
                    break
                is_sequence = _tag(block, value + shift) == ITEM
            else:
                is_sequence = _contains(sequences, tag)
            if not is_sequence or (depth == 0 and is_creator) or depth == MAX_DEPTH or in_meta == IN_META_GROUP:
                reason = R_UNDEFINED
                break
            if column >= 0:
                if keep == FLAG:
                    offset[column], length[column] = value, 0
                    open_column = column
                else:
                    reason = R_ENHANCED if keep == ENHANCED else R_UNDEFINED
                    break
            if depth == 0:
                last = tag
            state[ENDS + depth] = -1
            depth += 1
            position = value
            continue

        after = value + n
        if after > size:
            reason = R_LENGTH
            break
        is_charset = tag == 0x0008_0005
        if is_charset or (depth == 0 and is_creator) or (column >= 0 and keep == VALUE):
            # These values are looked at, so they must be at hand; all others are skipped by their length.
            if n > MAX_VALUE_NBYTES:
                reason = R_LONG
                break
            if after > limit:
                break
            if is_charset and not _is_plain_charset(block, value + shift, n):
                reason = R_CHARSET
                break
        if depth > 0:
            position = after
            continue
        if is_charset and not implicit and not _is_code_string(block, value + shift):
            reason = R_VR
            break
        if is_creator:
            _reserve(block, value + shift, n, tag, creators, names, state)
        if in_meta == IN_META_GROUP:
            if tag == 0x0002_0000:
                if vr != UL or n != 4:
                    reason = R_META
                    break
            elif last == 0 and vr != OTHER and vr != TEXT:
                reason = R_META
                break
            if tag == 0x0002_0010:
                if n > 64 or after > size or vr != TEXT:
                    reason = R_SYNTAX
                    break
                if after > limit:
                    break
                state[SYNTAX] = _syntax_of(block, value + shift, n)
        if column >= 0:
            if keep == ENHANCED and (n > 0 or (not implicit and vr != SQ)):
                reason = R_ENHANCED
                break
            if keep == VALUE:
                if not implicit and not _fits(vr, kinds[column, 0]):
                    reason = R_VR
                    break
                for k in range(n):
                    values[np.uintp(used + k)] = block[np.uintp(value + shift + k)]
                at[column] = used
                used += n
            offset[column], length[column] = value, n
        last = tag
        position = after

    state[POSITION], state[LAST], state[DEPTH], state[IMPLICIT_FROM] = position, last, depth, implicit_from
    state[IN_META], state[NEXT], state[OPEN] = in_meta, following_wanted, open_column
    state[STATUS], state[REASON] = (HANDED_OVER, reason) if reason else (status, 0)
    return used


@kernel(
    "int64(const(uint8[::1]), const(int64[::1]), const(int64[::1]), const(int64[::1]), const(int64[::1]),"
    " int64[:, ::1], const(uint8[::1]), const(int64[::1]), const(int64[:, ::1]), const(int64[:, ::1]),"
    " const(int64[:, ::1]), const(uint8[::1]), const(int64[:, ::1]), int64[:, ::1], int64[:, ::1], int64[:, ::1],"
    " uint8[::1], int64)",
    warm=0,
)
def walk_blocks(
    block, rows, starts, counts, sizes, state, vr_table, sequences, standard, private, creators, names, kinds,
    offset, length, at, values, used,
):  # fmt: skip
    """Walk on in the files `rows`, each with its bytes of `block`; returns how much of `values` is used."""
    for k in range(len(rows)):
        row = rows[k]
        used = _walk_file(
            block, starts[k], counts[k], sizes[row], state[row], vr_table, sequences, standard, private, creators,
            names, kinds, offset[row], length[row], at[row], values, used,
        )  # fmt: skip
    return used


@kernel()
def _read(descriptor, offset, buffer, count):
    """Bytes read into the start of `buffer`; fewer than `count` only at the end of the file. -1: an error."""
    done = 0
    while done < count:  # a network file system may give less than asked for
        got = pread(descriptor, buffer.ctypes.data + done, count - done, offset + done)
        if got < 0:
            return READ_FAILED
        if got == 0:
            break
        done += got
    return done


@kernel(
    "UniTuple(int64, 2)(const(uint8[::1]), const(int64[::1]), const(int64[::1]), int64, int64, uint8[::1],"
    " int64[::1], int64[:, ::1], const(uint8[::1]), const(int64[::1]), const(int64[:, ::1]), const(int64[:, ::1]),"
    " const(int64[:, ::1]), const(uint8[::1]), const(int64[:, ::1]), int64[:, ::1], int64[:, ::1], int64[:, ::1],"
    " uint8[::1], int64)"
)
def walk_local_files(
    paths, path_starts, rows, first, nbytes, buffer, sizes, state, vr_table, sequences, standard, private, creators,
    names, kinds, offset, length, at, values, used,
):  # fmt: skip
    """Open, read, walk and close the files ``rows[first:]``, one after the other.

    File r's path is the zero-terminated text at ``paths[path_starts[r]]``. Of each, `nbytes` are read first, and four
    times as many each time that its header goes on, up to all of `buffer`. A negative size is asked of the system.

    Returns
    -------
    (k, used)
        The files up to ``rows[k]`` are done; fewer than all where `values` has no room for one file more.
    """
    room = (len(standard) + len(private)) * MAX_VALUE_NBYTES
    for k in range(first, len(rows)):
        if used + room > len(values):
            return k, used
        row = rows[k]
        state[row, STATUS], state[row, REASON] = HANDED_OVER, R_UNREADABLE
        descriptor = open_(paths.ctypes.data + path_starts[row], np.int32(OPEN_FLAGS))
        if descriptor < 0:
            continue
        if sizes[row] < 0:
            sizes[row] = lseek(descriptor, 0, np.int32(SEEK_END))
        count = min(nbytes, len(buffer))
        while True:
            position = state[row, POSITION]
            got = _read(descriptor, position, buffer, count)
            if got < 0:
                break
            used = _walk_file(
                buffer, 0, got, sizes[row], state[row], vr_table, sequences, standard, private, creators, names,
                kinds, offset[row], length[row], at[row], values, used,
            )  # fmt: skip
            if state[row, STATUS] != RUNNING:
                break
            if state[row, POSITION] == position and got < count:
                state[row, STATUS], state[row, REASON] = HANDED_OVER, R_UNREADABLE
                break
            count = min(4 * count, len(buffer))
        close(descriptor)
    return len(rows), used
