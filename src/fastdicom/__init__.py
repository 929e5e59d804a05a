"""Heaps of DICOM files to correct volumes, fast."""

__version__ = "0.1.0"
