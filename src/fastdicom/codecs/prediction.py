"""The predictors of lossless JPEG (ISO 10918-1 Table H.1)."""

from __future__ import annotations

from typing import Any

from fastdicom._numba import kernel

__all__ = ["predicted"]


@kernel()
def predicted(left: Any, above: Any, corner: Any, predictor: Any) -> Any:
    """What predictor 1 to 7 makes of the samples on the left, above and between them, as int64; not in the first row
    and column."""
    if predictor == 1:
        return left
    if predictor == 2:
        return above
    if predictor == 3:
        return corner
    if predictor == 4:
        return left + above - corner
    if predictor == 5:
        return left + ((above - corner) >> 1)
    if predictor == 6:
        return above + ((left - corner) >> 1)
    return (left + above) >> 1
