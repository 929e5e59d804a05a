"""Where bytes come from: files found in a source, and ranged reads of any of them.

A source is turned into `FileRef` records once; from then on a locator string is all that is needed to open a file
again, in any thread, process or machine that sees the same file system. Locators are absolute local paths, fsspec
URLs (``s3://bucket/a.dcm``), members of zip archives (``zip://a.dcm::/data/study.zip``, the archive being any locator)
and objects of this process (``object://...``).
"""

from fastdicom.sources.discovery import Discovered, discover
from fastdicom.sources.objects import OBJECT_SCHEME
from fastdicom.sources.opening import local_names, open_reader
from fastdicom.sources.readers import LocalReader
from fastdicom.sources.remote import is_url, read_ranges

__all__ = [
    "OBJECT_SCHEME",
    "Discovered",
    "LocalReader",
    "discover",
    "is_url",
    "local_names",
    "open_reader",
    "read_ranges",
]
