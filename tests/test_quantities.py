"""SUV, Philips scaling and real world values."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from fastdicom.errors import ValuesError
from fastdicom.quantities import philips_scaling, real_world_values, suv_basis, suv_factor

DATA = Path(os.environ.get("FASTDICOM_DATA", Path(__file__).parents[2] / "shared" / "data"))


def drug(**changes: Any) -> dict[str, Any]:
    return {
        "RadionuclideTotalDose": "370000000",
        "RadionuclideHalfLife": "6586.2",
        "RadiopharmaceuticalStartTime": "120000.00",
        **changes,
    }


def pet(**changes: Any) -> dict[str, Any]:
    """An hour between injection and scan."""
    return {
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["NORM", "ATTN", "SCAT", "DECY"],
        "PatientWeight": "75",
        "SeriesDate": "20200310",
        "SeriesTime": "130000",
        "AcquisitionDate": "20200310",
        "AcquisitionTime": "131500",
        "RadiopharmaceuticalInformationSequence": [drug()],
        **changes,
    }


def expected(weight: float = 75, dose: float = 370e6, decay: float = 3600, half_life: float = 6586.2) -> float:
    return 1000 * weight / (dose * math.exp(-math.log(2) * decay / half_life))


class TestSuv:
    @given(st.floats(1, 300), st.floats(1e6, 1e10), st.integers(0, 6 * 3600), st.floats(3000, 30000))
    def test_formula(self, weight: float, dose: float, decay: int, half_life: float) -> None:
        clock = 18 * 3600 - decay
        start = f"{clock // 3600:02}{clock // 60 % 60:02}{clock % 60:02}"
        item = drug(RadionuclideTotalDose=dose, RadionuclideHalfLife=half_life, RadiopharmaceuticalStartTime=start)
        attributes = pet(
            PatientWeight=weight,
            SeriesTime="180000",
            AcquisitionTime="180000",
            RadiopharmaceuticalInformationSequence=[item],
        )
        assert suv_factor(attributes)[0] == pytest.approx(expected(weight, dose, decay, half_life))

    def test_a_dict_and_a_dataset_give_the_same(self) -> None:
        ds, item = Dataset(), Dataset()
        for keyword, value in drug().items():
            setattr(item, keyword, value)
        for keyword, value in pet(RadiopharmaceuticalInformationSequence=[item]).items():
            setattr(ds, keyword, value)
        assert suv_factor(ds) == suv_factor(pet())

    def test_decay_corrected_to_administration(self) -> None:
        factor, description = suv_factor(pet(DecayCorrection="ADMIN", SeriesTime=None))
        assert factor == pytest.approx(75_000 / 370e6)
        assert "administration" in description

    def test_midnight_between_injection_and_scan(self) -> None:
        times = {"SeriesTime": "003000", "AcquisitionTime": "003000"}
        item = drug(RadiopharmaceuticalStartTime="233000")
        factor, _ = suv_factor(pet(**times, RadiopharmaceuticalInformationSequence=[item]))
        assert factor == pytest.approx(expected())

    def test_start_date_time(self) -> None:
        item = drug(RadiopharmaceuticalStartDateTime="20200309120000", RadionuclideHalfLife=282_240)  # Zr-89
        factor, _ = suv_factor(pet(RadiopharmaceuticalInformationSequence=[item]))
        assert factor == pytest.approx(expected(decay=25 * 3600, half_life=282_240))

    def test_start_date_time_of_another_time_zone(self) -> None:
        item = drug(RadiopharmaceuticalStartDateTime="20200310110000.00+0000")
        attributes = pet(TimezoneOffsetFromUTC="+0100", RadiopharmaceuticalInformationSequence=[item])
        assert suv_factor(attributes)[0] == pytest.approx(expected())

    def test_start_date_after_the_scan_but_at_the_known_time(self) -> None:
        item = drug(RadiopharmaceuticalStartDateTime="20200311120000")
        factor, description = suv_factor(pet(RadiopharmaceuticalInformationSequence=[item]))
        assert factor == pytest.approx(expected())
        assert "lies after it" in description

    def test_series_made_later_ge(self) -> None:
        attributes = pet(SeriesTime="150000")
        attributes[(0x0009, 0x100D)] = "20200310130000.00"
        assert suv_factor(attributes)[0] == pytest.approx(expected())

    def test_series_made_later_from_the_frame_reference_time(self) -> None:
        # Average count rate of a frame that starts 900 s into the scan and lasts 180 s (PS3.3 C.8.9.4.1.5, example 2)
        decay_constant, duration = math.log(2) / 6586.2, 180.0
        average = math.log(decay_constant * duration / (1 - math.exp(-decay_constant * duration))) / decay_constant
        attributes = pet(
            SeriesTime="150000", FrameReferenceTime=(900 + average) * 1000, ActualFrameDuration=duration * 1000
        )
        assert suv_factor(attributes)[0] == pytest.approx(expected())

    def test_units(self) -> None:
        assert suv_factor({"Units": "GML"})[0] == 1.0
        assert suv_factor({"Units": "GML", "SUVType": "BW"})[0] == 1.0
        assert suv_factor({"Units": "CNTS", (0x7053, 0x1000): 0.000251})[0] == 0.000251
        attributes = pet(Units="CNTS")
        attributes[(0x7053, 0x1009)] = "2.5"
        assert suv_factor(attributes)[0] == pytest.approx(2.5 * expected())

    def test_private_elements_of_a_dataset(self) -> None:
        ds = Dataset()
        ds.Units = "CNTS"
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.000251")
        assert suv_factor(ds)[0] == 0.000251
        other = Dataset()
        other.Units = "CNTS"
        other.private_block(0x7053, "SOMEBODY ELSE", create=True).add_new(0x00, "DS", "0.000251")
        with pytest.raises(ValuesError, match="Philips"):
            suv_factor(other)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"Units": None}, "absent, not BQML"),
            ({"Units": "PROPCPS"}, "PROPCPS"),
            ({"Units": "GML", "SUVType": "LBM"}, "LBM"),
            ({"Units": "CNTS"}, "7053,1000"),
            ({"DecayCorrection": "NONE"}, "NONE"),
            ({"DecayCorrection": None}, "absent"),
            ({"CorrectedImage": ["DECY"]}, "lacks ATTN"),
            ({"CorrectedImage": None}, "ATTN and DECY"),
            ({"PatientWeight": None}, "Weight .* absent"),
            ({"PatientWeight": "0"}, "Weight .* is 0"),
            ({"PatientWeight": ""}, "Weight"),
            ({"RadiopharmaceuticalInformationSequence": None}, "0 items"),
            ({"RadiopharmaceuticalInformationSequence": [drug(), drug()]}, "2 items"),
            ({"RadiopharmaceuticalInformationSequence": [drug(RadionuclideTotalDose=None)]}, "Dose .* absent"),
            ({"RadiopharmaceuticalInformationSequence": [drug(RadionuclideTotalDose="nan")]}, "Dose"),
            ({"RadiopharmaceuticalInformationSequence": [drug(RadionuclideTotalDose=370)]}, "370 Bq .* in MBq.* 1e6"),
            ({"RadiopharmaceuticalInformationSequence": [drug(RadionuclideTotalDose=10_000)]}, "10000 Bq for 75 kg"),
            (
                {
                    "PatientWeight": "0.025",
                    "RadiopharmaceuticalInformationSequence": [drug(RadionuclideTotalDose=7.4)],
                },
                "7.4 Bq for 0.025 kg",
            ),
            ({"RadiopharmaceuticalInformationSequence": [drug(RadionuclideHalfLife=-1)]}, "Half Life .* is -1"),
            ({"RadiopharmaceuticalInformationSequence": [drug(RadiopharmaceuticalStartTime="25")]}, "Start Time"),
            ({"RadiopharmaceuticalInformationSequence": [drug(RadionuclideHalfLife=282_240)]}, "day of injection"),
            (
                {"RadiopharmaceuticalInformationSequence": [drug(RadiopharmaceuticalStartDateTime="20200310100000")]},
                "different times",
            ),
            (
                {"RadiopharmaceuticalInformationSequence": [drug(RadiopharmaceuticalStartDateTime="20200309120000")]},
                "13.7 half lives",
            ),
            ({"AcquisitionTime": None}, "Acquisition"),
            ({"SeriesTime": "140000"}, "Frame Reference Time"),
            ({"SeriesTime": "garbage", "FrameReferenceTime": 0}, "Frame Reference Time"),
        ],
    )
    def test_refusals_say_why(self, changes: dict[str, Any], reason: str) -> None:
        with pytest.raises(ValuesError, match=rf"SUV cannot be computed.*{reason}.*values='modality'"):
            suv_factor(pet(**changes))

    def test_small_doses_of_small_animals(self) -> None:
        item = drug(RadionuclideTotalDose=90_000)
        attributes = pet(PatientWeight="0.025", RadiopharmaceuticalInformationSequence=[item])
        assert suv_factor(attributes)[0] == pytest.approx(expected(0.025, 90_000))

    def test_what_a_series_shares(self) -> None:
        start = {"RadiopharmaceuticalInformationSequence": [drug(RadiopharmaceuticalStartTime="110000")]}
        for change in ({"PatientWeight": "70"}, {"SeriesTime": "125900"}, {"DecayCorrection": "ADMIN"}, start):
            assert suv_basis(pet(**change)) != suv_basis(pet())
        assert suv_basis(pet(AcquisitionTime="140000")) == suv_basis(pet())
        assert suv_basis(pet(Units="GML", PatientWeight="1")) == suv_basis(pet(Units="GML"))
        direct = {"Units": "CNTS", (0x7053, 0x1000): 0.000251}
        assert suv_basis({**direct, "PatientWeight": 1}) == suv_basis(direct)

    def test_the_description_does_not_tell_the_weight(self) -> None:
        assert "73.5" not in suv_factor(pet(PatientWeight="73.5"))[1]

    @pytest.mark.realdata
    @pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
    def test_real_series(self) -> None:
        found: dict[str, float] = {}
        for name in ("pet-qin-hn-0024", "petct-sts005", "petct-sts010"):
            for path in sorted((DATA / "pet" / name / "dicom").rglob("*")):
                ds = dcmread(path, stop_before_pixels=True, force=True) if path.is_file() else Dataset()
                if ds.get("Modality") == "PT":
                    found[name] = suv_factor(ds)[0]
                    break
        # 66.2 kg, 381.47 MBq at 11:39, scan at 13:02:44.678, half life 6586.2 s
        assert found["pet-qin-hn-0024"] == pytest.approx(expected(66.2, 381.47e6, 5024.678), rel=1e-9)
        assert found["petct-sts005"] == found["petct-sts010"] == 1.0


class TestPhilips:
    @given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6), st.integers(-32768, 65535))
    def test_formula(self, scale_slope: float, scale_intercept: float, stored: int) -> None:
        slope, intercept = philips_scaling(scale_slope, scale_intercept)
        exact = (stored - scale_intercept) / scale_slope
        assert slope * stored + intercept == pytest.approx(exact, rel=1e-9, abs=1e-9 * abs(intercept) + 1e-12)

    @pytest.mark.parametrize("bad", [(0.0, 0.0), (math.nan, 0.0), (1.0, math.inf)])
    def test_unusable(self, bad: tuple[float, float]) -> None:
        with pytest.raises(ValuesError, match="2005,100E"):
            philips_scaling(*bad)


def mapping(**changes: Any) -> Dataset:
    unit, item, ds = Dataset(), Dataset(), Dataset()
    unit.CodeValue = "mm2/s"
    item.add_new("RealWorldValueFirstValueMapped", "US", 10)
    item.add_new("RealWorldValueLastValueMapped", "US", 13)
    item.RealWorldValueSlope, item.RealWorldValueIntercept = 0.5, -2.0
    item.LUTLabel = "ADC"
    item.MeasurementUnitsCodeSequence = [unit]
    for keyword, value in changes.items():
        if value is None:
            delattr(item, keyword)
        else:
            setattr(item, keyword, value)
    ds.RealWorldValueMappingSequence = [item]
    return ds


class TestRealWorldValues:
    def test_slope_and_intercept(self) -> None:
        (found,) = real_world_values(mapping())
        assert (found.units, found.label, found.slope, found.intercept) == ("mm2/s", "ADC", 0.5, -2.0)
        values = found.apply(np.array([[9, 10, 13, 14]], np.uint16))
        np.testing.assert_array_equal(values, [[np.nan, 3.0, 4.5, np.nan]])

    def test_table(self) -> None:
        (found,) = real_world_values(mapping(RealWorldValueLUTData=[1.0, 4.0, 9.0, 16.0]))
        values = found.apply(np.array([9, 10, 12, 13, 14], np.int16))
        np.testing.assert_array_equal(values, [np.nan, 1.0, 9.0, 16.0, np.nan])

    def test_float_range_and_no_units(self) -> None:
        ds = mapping(
            RealWorldValueFirstValueMapped=None,
            RealWorldValueLastValueMapped=None,
            MeasurementUnitsCodeSequence=None,
            DoubleFloatRealWorldValueFirstValueMapped=-1.5,
            DoubleFloatRealWorldValueLastValueMapped=1.5,
        )
        (found,) = real_world_values(ds)
        assert found.units == ""
        np.testing.assert_array_equal(found.apply(np.array([-2.0, 1.0])), [np.nan, -1.5])

    def test_absent(self) -> None:
        assert real_world_values({}) == ()

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"RealWorldValueSlope": None}, "neither"),
            ({"RealWorldValueLUTData": [1.0, 2.0]}, "table of 2 values for 4"),
            ({"RealWorldValueLastValueMapped": 9}, "from 10 to 9"),
            ({"RealWorldValueFirstValueMapped": None}, "from nan"),
        ],
    )
    def test_unusable(self, changes: dict[str, Any], reason: str) -> None:
        with pytest.raises(ValuesError, match=reason):
            real_world_values(mapping(**changes))
