"""DICOM series made to measure, for the tests and benchmarks of everybody who reads DICOM.

>>> from fastdicom.testing import SeriesSpec, make_series
>>> series = make_series(SeriesSpec(slices=3, rows=4, columns=5))
>>> len(series), series[0].pixel_array.shape
(3, (4, 5))

``fastdicom.testing.strategies`` (needs hypothesis) draws such recipes; ``fastdicom.testing.corrupt`` damages files.
"""

from fastdicom.testing.codestreams import encodable_syntaxes
from fastdicom.testing.series import WrittenSeries, make_series, write_series
from fastdicom.testing.spec import SeriesSpec

__all__ = ["SeriesSpec", "WrittenSeries", "encodable_syntaxes", "make_series", "write_series"]
