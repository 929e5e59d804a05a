"""What a block cost."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["BlockStats"]


@dataclass
class BlockStats:
    """Time and bytes of each stage, summed over the frames of a block; nanoseconds.

    Where one compiled call reads and rescales (`fastdicom.runs`), its time is that of reading.
    """

    frames: int = 0
    files_opened: int = 0
    bytes_read: int = 0
    open_ns: int = 0
    read_ns: int = 0
    decode_ns: int = 0
    values_ns: int = 0
    by_decoder: dict[str, list[int]] = field(default_factory=dict)
    """Decoder name -> [frames, nanoseconds]."""

    def add(self, other: BlockStats) -> None:
        for name in ("frames", "files_opened", "bytes_read", "open_ns", "read_ns", "decode_ns", "values_ns"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for decoder, (frames, spent) in other.by_decoder.items():
            total = self.by_decoder.setdefault(decoder, [0, 0])
            total[0] += frames
            total[1] += spent

    def count_decoder(self, name: str, spent: int, frames: int = 1) -> None:
        total = self.by_decoder.setdefault(name, [0, 0])
        total[0] += frames
        total[1] += spent
