"""Values with units: PET SUVbw, Philips private scaling, Real World Value Mapping.

Plain functions over attributes: anything with ``get(keyword)``, be it a dict or a pydicom Dataset; sequences are lists
of the same. Private elements of a dict have the key (group, element), as in ``{(0x7053, 0x1000): 0.0003}``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import ValuesError

__all__ = ["RealWorldValues", "philips_scaling", "real_world_values", "suv_basis", "suv_factor"]

LONG_HALF_LIFE_S = 10 * 3600.0
"""Nuclides that live longer are imaged on later days too, so a start time without a date does not say when."""

MAX_HALF_LIVES = 10.0
"""A thousandth of the dose: nobody images that, so a date is wrong (often: shifted by de-identification)."""

LEAST_DOSE_BQ = 1e5
LEAST_DOSE_SMALL_BQ = 1e3
"""Nobody makes an image of a dose below this: 0.1 MBq, or 1 kBq for animals of at most 1 kg. Doses lie between 1 MBq
(mice) and 10 GBq, so those that were written in MBq (1 to 10,000) or mCi lie below, with some distance."""

TIMES_AGREE = timedelta(seconds=60)
"""Two attributes that give one time may be rounded to the minute."""


class Attributes(Protocol):
    """A dict by keyword, or a pydicom Dataset."""

    def get(self, key: Any, default: Any = None) -> Any: ...


def suv_factor(attributes: Attributes) -> tuple[float, str]:
    """Factor from modality values (after Rescale Slope and Intercept) to SUVbw in g/ml, and how it came about.

    Parameters
    ----------
    attributes : dict or Dataset of one PET image
        Units, Decay Correction, Corrected Image, Series, Acquisition and Radiopharmaceutical times, Radionuclide Total
        Dose (Bq) and Half Life (s), Patient's Weight (kg); private elements of Philips and GE where they matter.

    Returns
    -------
    factor : float
        Rescale Slope may differ from slice to slice, so the factor belongs to one image, not to the series.
    description : str
        One sentence for the record; holds no attribute that identifies a person.

    Raises
    ------
    ValuesError
        Something that the rules need is missing, zero or contradicts itself; the message names it.

    Notes
    -----
    Source: QIBA, "Vendor-neutral pseudo-code for SUV calculation" (robust version), extended by Decay Correction ADMIN:
    values that are already corrected to the time of administration are divided by the dose as it was then
    (PS3.3 C.8.9.1.1.5).
    """
    units = _text(attributes, "Units")
    if units == "GML":
        kind = _text(attributes, "SUVType") or "BW"
        if kind != "BW":
            raise _unknown(f"Units (0054,1001) are GML, but SUV Type (0054,1006) is {kind}, not BW")
        return 1.0, "Units are GML: values are SUVbw already"
    if units == "CNTS":
        direct = _private(attributes, "Philips PET Private Group", 0x7053, 0x00)
        if direct:
            return direct, "Units are CNTS: Philips SUV scale factor (7053,1000)"
        to_activity = _private(attributes, "Philips PET Private Group", 0x7053, 0x09)
        if to_activity:
            factor, description = _activity_factor(attributes)
            return to_activity * factor, f"Units are CNTS: Philips activity scale factor (7053,1009); {description}"
        raise _unknown(
            "Units (0054,1001) are CNTS and neither of Philips' scale factors (7053,1000), (7053,1009) is there"
        )
    if units == "BQML":
        return _activity_factor(attributes)
    raise _unknown(f"Units (0054,1001) are {units or 'absent'}, not BQML, CNTS or GML")


def suv_basis(attributes: Attributes) -> dict[str, str]:
    """What the SUV factor of an image rests on and all images of its series must share, by name.

    Source: PS3.3 A.21.3: patient study, series and isotope are one for a series.
    """
    basis = {"Units (0054,1001)": _text(attributes, "Units")}
    direct = basis["Units (0054,1001)"] == "CNTS" and _private(attributes, "Philips PET Private Group", 0x7053, 0x00)
    if basis["Units (0054,1001)"] == "GML" or direct:
        return basis
    basis["Decay Correction (0054,1102)"] = _text(attributes, "DecayCorrection")
    basis["Patient's Weight (0010,1030)"] = f"{_number(attributes.get('PatientWeight')):g}"
    for drug in _listed(attributes.get("RadiopharmaceuticalInformationSequence"))[:1]:
        basis["Radionuclide Total Dose (0018,1074)"] = f"{_number(drug.get('RadionuclideTotalDose')):g}"
        basis["Radionuclide Half Life (0018,1075)"] = f"{_number(drug.get('RadionuclideHalfLife')):g}"
        basis["Radiopharmaceutical Start DateTime (0018,1078)"] = _text(drug, "RadiopharmaceuticalStartDateTime")
        basis["Radiopharmaceutical Start Time (0018,1072)"] = _text(drug, "RadiopharmaceuticalStartTime")
    series = _moment(attributes, "SeriesDate", "SeriesTime")
    acquired = _moment(attributes, "AcquisitionDate", "AcquisitionTime")
    if series is not None and acquired is not None and series <= acquired:  # else it does not count
        basis["Series Date and Time (0008,0021), (0008,0031)"] = f"{series:%Y%m%d %H%M%S.%f}"
    return basis


def _activity_factor(attributes: Attributes) -> tuple[float, str]:
    """Body weight in g over the dose in Bq that is left at the time to which the values are decay corrected."""
    corrections = {str(value).strip().upper() for value in _listed(attributes.get("CorrectedImage"))}
    missing = {"ATTN", "DECY"} - corrections
    if missing:
        raise _unknown(f"Corrected Image (0028,0051) lacks {' and '.join(sorted(missing))}")
    weight = _positive(attributes, "PatientWeight", "Patient's Weight (0010,1030)")
    sequence = _listed(attributes.get("RadiopharmaceuticalInformationSequence"))
    if len(sequence) != 1:
        raise _unknown(f"Radiopharmaceutical Information Sequence (0054,0016) has {len(sequence)} items, not one")
    drug = sequence[0]
    dose = _positive(drug, "RadionuclideTotalDose", "Radionuclide Total Dose (0018,1074)")
    least = LEAST_DOSE_BQ if weight > 1 else LEAST_DOSE_SMALL_BQ
    if dose < least:
        raise _unknown(
            f"Radionuclide Total Dose (0018,1074) is {dose:g} Bq for {weight:g} kg, of which nothing could be seen "
            f"(less than {least:g} Bq). It was probably written in MBq: multiply it by 1e6 in the files"
        )
    half_life = _positive(drug, "RadionuclideHalfLife", "Radionuclide Half Life (0018,1075)")

    correction = _text(attributes, "DecayCorrection")
    if correction == "ADMIN":
        return weight * 1000.0 / dose, f"activity, decay corrected to administration: body weight / {dose:g} Bq"
    if correction != "START":
        raise _unknown(f"Decay Correction (0054,1102) is {correction or 'absent'}, not START or ADMIN")
    scan, scan_source = _scan_time(attributes, half_life)
    start, start_source = _injection_time(drug, scan, half_life, _text(attributes, "TimezoneOffsetFromUTC"))
    decay = (scan - start).total_seconds()
    if decay > MAX_HALF_LIVES * half_life:
        raise _unknown(
            f"the injection lies {decay / half_life:.1f} half lives ({decay:g} s) before the scan, so one of the dates "
            "or times must be wrong"
        )
    left = dose * 2.0 ** (-decay / half_life)
    return weight * 1000.0 / left, (
        f"activity, decay corrected to {scan_source}, {decay:g} s after the injection ({start_source}): body weight / "
        f"({dose:g} Bq * 2**(-{decay:g} / {half_life:g}))"
    )


def _scan_time(attributes: Attributes, half_life: float) -> tuple[datetime, str]:
    """Time to which START has corrected the values."""
    series = _moment(attributes, "SeriesDate", "SeriesTime")
    acquired = _moment(attributes, "AcquisitionDate", "AcquisitionTime")
    if acquired is None:
        raise _unknown("Acquisition Date and Time (0008,0022), (0008,0032) are absent or unreadable")
    if series is not None and series <= acquired:
        return series, "Series Time"
    # A series that is younger than its acquisition was made by post-processing: its time says nothing about the scan.
    ge = _date_time(_private_text(attributes, "GEMS_PETD_01", 0x0009, 0x0D), "")
    if ge is not None:
        return ge, "GE scan time (0009,100D)"
    reference = _number(attributes.get("FrameReferenceTime"))
    duration = _number(attributes.get("ActualFrameDuration"))
    if reference > 0 and duration > 0:
        decay_constant = math.log(2) / half_life
        decayed = decay_constant * duration / 1000.0
        average = math.log(decayed / -math.expm1(-decayed)) / decay_constant
        back = timedelta(seconds=average - reference / 1000.0)
        return acquired + back, "the scan time that follows from Frame Reference Time (0054,1300)"
    raise _unknown(
        "Series Time (0008,0031) is absent or later than Acquisition Time (0008,0032), and neither GE's scan time "
        "(0009,100D) nor Frame Reference Time (0054,1300) with Actual Frame Duration (0018,1242) replace it"
    )


def _injection_time(drug: Attributes, scan: datetime, half_life: float, timezone: str) -> tuple[datetime, str]:
    """Start of the injection: a full date and time, else a time on the day of the scan or the day before."""
    full = _date_time(_text(drug, "RadiopharmaceuticalStartDateTime"), timezone)
    clock = _clock(_text(drug, "RadiopharmaceuticalStartTime"))
    if full is not None and clock is not None and abs(_since_midnight(full) - clock) > TIMES_AGREE:
        raise _unknown(
            "Radiopharmaceutical Start DateTime (0018,1078) and Start Time (0018,1072) name different times of the day"
        )
    if full is not None and full <= scan:
        return full, "Radiopharmaceutical Start DateTime"
    if clock is None:
        where = "absent or unreadable" if full is None else "after the scan"
        raise _unknown(
            f"Radiopharmaceutical Start DateTime (0018,1078) is {where}, Start Time (0018,1072) absent or unreadable"
        )
    if half_life > LONG_HALF_LIFE_S:
        raise _unknown(
            f"the day of injection is unknown (Radiopharmaceutical Start DateTime (0018,1078) is absent or after the "
            f"scan), which matters with a half life of {half_life / 3600:.1f} h"
        )
    start = datetime(scan.year, scan.month, scan.day) + clock
    if start > scan:
        start -= timedelta(days=1)
    note = "Radiopharmaceutical Start Time, whose date is taken from the scan"
    return start, note if full is None else f"{note}, as that of Start DateTime lies after it"


def philips_scaling(scale_slope: float, scale_intercept: float) -> tuple[float, float]:
    """Slope and intercept from stored values to Philips' floating point values, comparable between series.

    Parameters
    ----------
    scale_slope, scale_intercept : float
        Private (2005,100E) and (2005,100D) of "Philips MR Imaging DD 001".

    Returns
    -------
    (slope, intercept) : ``(stored - scale_intercept) / scale_slope`` is ``slope * stored + intercept``.

    Source: Chenevert et al., Translational Oncology 7 (2014) 65: FP = (PV - SI) / SS.
    """
    if not (math.isfinite(scale_slope) and math.isfinite(scale_intercept)) or scale_slope == 0:
        raise ValuesError(
            f"Philips' scale slope (2005,100E) {scale_slope:g}, intercept (2005,100D) {scale_intercept:g}: unusable. "
            "Load values='modality' without Philips scaling."
        )
    return 1.0 / scale_slope, -scale_intercept / scale_slope


@dataclass(frozen=True)
class RealWorldValues:
    """One item of Real World Value Mapping Sequence (0040,9096). Source: PS3.3 C.7.6.16.2.11."""

    first: float
    """Smallest stored value that is mapped."""
    last: float
    """Largest stored value that is mapped."""
    slope: float
    """Real World Value Slope (0040,9225); 1 where a table is used."""
    intercept: float
    """Real World Value Intercept (0040,9224); 0 where a table is used."""
    table: tuple[float, ...]
    """Real World Value LUT Data (0040,9212), from `first` on; empty where slope and intercept are used."""
    units: str
    """Code Value of Measurement Units Code Sequence (0040,08EA), mostly UCUM: ``[hnsf'U]``, ``mm2/s``; may be empty."""
    label: str
    """LUT Label (0040,9210)."""

    def apply(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Real world values of stored values, float64; NaN where a value is not mapped."""
        values = stored.astype(np.float64)
        mapped = (values >= self.first) & (values <= self.last)
        if self.table:
            index = np.where(mapped, values - self.first, 0.0).astype(np.int64)
            return np.where(mapped, np.asarray(self.table)[index], np.nan)
        return np.where(mapped, values * self.slope + self.intercept, np.nan)


def real_world_values(attributes: Attributes) -> tuple[RealWorldValues, ...]:
    """The real world value mappings of an image (or of a functional group macro that holds the sequence).

    Returns
    -------
    One for each item, in their order; empty where the sequence is absent.

    Raises
    ------
    ValuesError
        An item has neither slope and intercept nor a table of the size that its range needs.
    """
    return tuple(_mapping(item) for item in _listed(attributes.get("RealWorldValueMappingSequence")))


def _mapping(item: Attributes) -> RealWorldValues:
    first = _number(item.get("RealWorldValueFirstValueMapped", item.get("DoubleFloatRealWorldValueFirstValueMapped")))
    last = _number(item.get("RealWorldValueLastValueMapped", item.get("DoubleFloatRealWorldValueLastValueMapped")))
    slope = _number(item.get("RealWorldValueSlope"))
    intercept = _number(item.get("RealWorldValueIntercept"))
    table = tuple(_number(value) for value in _listed(item.get("RealWorldValueLUTData")))
    if not first <= last:
        raise _unusable(f"maps from {first:g} to {last:g}")
    if table and len(table) != last - first + 1:
        raise _unusable(f"has a table of {len(table)} values for {last - first + 1:g} stored values")
    if not table and not (math.isfinite(slope) and math.isfinite(intercept)):
        raise _unusable("has neither a slope and intercept nor a table")
    codes = _listed(item.get("MeasurementUnitsCodeSequence"))
    return RealWorldValues(
        first=first,
        last=last,
        slope=1.0 if table else slope,
        intercept=0.0 if table else intercept,
        table=table,
        units=_text(codes[0], "CodeValue", upper=False) if codes else "",
        label=_text(item, "LUTLabel", upper=False),
    )


def _unusable(what: str) -> ValuesError:
    return ValuesError(
        f"An item of Real World Value Mapping Sequence (0040,9096) {what}. Load values='modality' or 'stored' instead."
    )


def _unknown(why: str) -> ValuesError:
    return ValuesError(f"SUV cannot be computed: {why}. Load values='modality', or correct the headers.", reason=why)


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    if isinstance(value, (str, bytes)):
        return str(value).split("\\")
    try:
        return list(value)
    except TypeError:
        return (value,)


def _text(attributes: Attributes, keyword: str, *, upper: bool = True) -> str:
    value = attributes.get(keyword)
    text = "" if value is None else str(value).strip().strip("\0")
    return text.upper() if upper else text


def _number(value: Any) -> float:
    """NaN where there is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _positive(attributes: Attributes, keyword: str, name: str) -> float:
    value = _number(attributes.get(keyword))
    if not (math.isfinite(value) and value > 0):
        raise _unknown(f"{name} is {'absent' if math.isnan(value) else f'{value:g}'}")
    return value


def _private_value(attributes: Attributes, creator: str, group: int, element: int) -> Any:
    block = getattr(attributes, "private_block", None)
    if block is None:
        return attributes.get((group, 0x1000 | element))
    try:
        return block(group, creator)[element].value
    except KeyError:
        return None


def _private(attributes: Attributes, creator: str, group: int, element: int) -> float:
    """A usable factor, or 0."""
    value = _private_value(attributes, creator, group, element)
    if isinstance(value, bytes):  # VR UN from an implicit file: the text of a DS
        value = value.decode("ascii", "replace").strip("\0 ")
    number = _number(value)
    return number if math.isfinite(number) and number > 0 else 0.0


def _private_text(attributes: Attributes, creator: str, group: int, element: int) -> str:
    value = _private_value(attributes, creator, group, element)
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return "" if value is None else str(value).strip("\0 ")


def _moment(attributes: Attributes, date_keyword: str, time_keyword: str) -> datetime | None:
    day = _day(_text(attributes, date_keyword))
    clock = _clock(_text(attributes, time_keyword))
    return None if day is None or clock is None else day + clock


def _day(text: str) -> datetime | None:
    """DA: YYYYMMDD, formerly YYYY.MM.DD."""
    digits = text.replace(".", "").replace("-", "")[:8]
    try:
        return datetime(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None


def _clock(text: str) -> timedelta | None:
    """TM: HH[MM[SS[.FFFFFF]]], formerly HH:MM:SS."""
    whole, _, fraction = text.replace(":", "").partition(".")
    if not whole.isdigit() or len(whole) not in (2, 4, 6) or (fraction and not fraction.isdigit()):
        return None
    hours, minutes, seconds = int(whole[:2]), int(whole[2:4] or 0), int(whole[4:6] or 0)
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=int((fraction + "000000")[:6]))


def _date_time(text: str, timezone: str) -> datetime | None:
    """DT: YYYYMMDDHHMMSS.FFFFFF&ZZXX, in the local time of the header.

    `timezone` is Timezone Offset From UTC (0008,0201) of DA and TM attributes (PS3.3 C.12.1.1.8). Without it the offset
    of a DT is taken to be the same.
    """
    plain = re.split(r"[+-]", text)[0]
    day, clock = _day(plain), _clock(plain[8:])
    if day is None or clock is None:
        return None
    own, local = _offset(text[len(plain) :]), _offset(timezone)
    return day + clock + (local - own if own is not None and local is not None else timedelta())


def _offset(text: str) -> timedelta | None:
    found = re.fullmatch(r"([+-])(\d\d)(\d\d)", text)
    if found is None:
        return None
    return timedelta(hours=int(found[2]), minutes=int(found[3])) * (-1 if found[1] == "-" else 1)


def _since_midnight(moment: datetime) -> timedelta:
    return moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)
