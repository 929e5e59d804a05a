"""The errors and warnings of fastdicom.

Every class is a :class:`FastDicomError` and also the builtin that fits, carries its numbers as attributes, names the
file where there is one, and has a message that ends with what to do.

Errors travel between processes (Dask workers, process pools), so each must survive pickling: keyword details live in
``self.__dict__`` and the message in ``self.args``, which is all that :class:`BaseException` pickles.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "DecodeError",
    "FastDicomError",
    "FastDicomWarning",
    "FileChangedError",
    "GeometryError",
    "GeometryWarning",
    "HeaderError",
    "InvalidStoreError",
    "IrregularSpacingError",
    "MissingDependencyError",
    "MixedSeriesError",
    "NoDicomError",
    "PixelDataError",
    "PlanMismatchError",
    "RepeatedPositionError",
    "SeriesSelectionError",
    "SkippedFilesWarning",
    "SourceError",
    "SourceNotFoundError",
    "TiltError",
    "UnsupportedTransferSyntaxError",
    "UsageError",
    "ValuesError",
    "WorkerError",
]


class FastDicomError(Exception):
    """Root of all errors that fastdicom raises on purpose.

    Parameters
    ----------
    message : str
        One or two sentences: what was found (numbers, file), what was expected, what to do.
    **details
        The same numbers as attributes of the error, for programs: ``path``, ``frame``, ``series_instance_uid``, ...
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.__dict__.update(details)

    @property
    def message(self) -> str:
        """The sentence itself (``str()`` of a KeyError would add quotes)."""
        return str(self.args[0])

    def __str__(self) -> str:
        return self.message


class UsageError(FastDicomError, ValueError):
    """An argument has a value that cannot work."""


class SourceError(FastDicomError, OSError):
    """A source (folder, file list, archive, URL) cannot be read."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """The path, or a file that a list or a DICOMDIR names, does not exist."""


class NoDicomError(FastDicomError, ValueError):
    """A source holds no DICOM image at all."""


class HeaderError(FastDicomError, ValueError):
    """A file is DICOM, but its header cannot be read to the pixel data."""


class SeriesSelectionError(FastDicomError, LookupError):
    """A source holds several volumes and ``series=`` names none of them, or more than one."""


class GeometryError(FastDicomError, ValueError):
    """The frames of a series do not form one volume with a certain geometry."""


class IrregularSpacingError(GeometryError):
    """The gaps between slices are not equal within the tolerance."""


class RepeatedPositionError(GeometryError):
    """Several frames share a position and nothing in their headers explains it."""


class TiltError(GeometryError):
    """The slices are stacked obliquely (gantry tilt) and the policy refuses that."""


class MixedSeriesError(GeometryError):
    """Frames of one series differ in something that one array cannot hold (size, orientation, ...)."""


class PixelDataError(FastDicomError, ValueError):
    """The pixel data of a file are absent, shorter than the header says, or out of the file's bounds."""


class FileChangedError(PixelDataError):
    """A file changed size between the scan and the reading of its pixels."""


class DecodeError(PixelDataError):
    """The compressed bytes of a frame do not decode to the image that the header describes."""


class UnsupportedTransferSyntaxError(DecodeError, NotImplementedError):
    """No decoder for this transfer syntax exists here."""


class MissingDependencyError(FastDicomError, ImportError):
    """An optional package is needed; the message names it and the pip extra."""


class ValuesError(FastDicomError, ValueError):
    """The asked-for values (modality, SUV, window, dtype) cannot be computed from this series."""


class WorkerError(FastDicomError, RuntimeError):
    """Worker processes could not be started, or ended before their work did."""


class InvalidStoreError(FastDicomError, ValueError):
    """A Zarr store is not one that fastdicom wrote, or it is incomplete."""


class PlanMismatchError(FastDicomError, ValueError):
    """The store belongs to another input or to other settings; it cannot be continued."""


class FastDicomWarning(UserWarning):
    """Root of the warnings; every one of them is also recorded in the volume it concerns."""


class GeometryWarning(FastDicomWarning):
    """The geometry rests on something weaker than positions (InstanceNumber, SliceThickness, ...)."""


class SkippedFilesWarning(FastDicomWarning):
    """DICOM files of the source could not be read and are not part of any volume."""
