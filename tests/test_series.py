"""Heaps of header rows to volumes: whatever the order, the orientation, the defects."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fastdicom.errors import IrregularSpacingError, RepeatedPositionError, TiltError
from fastdicom.geometry import affine_of
from fastdicom.headers import HeaderTable
from fastdicom.series import FoundVolume, find_volumes, spacing_tolerance
from fastdicom.series.times import seconds_of
from fastdicom.types import GeometryPolicy, Skipped
from header_tables import header_table, joined, shuffled, stack_table


@dataclass(frozen=True)
class Stack:
    """A regular stack of slices and its true geometry."""

    positions: np.ndarray
    orientation: np.ndarray
    affine: np.ndarray
    tilt: float

    def table(self, keep: Iterable[int] | None = None, **columns: object) -> HeaderTable:
        rows = np.arange(len(self.positions)) if keep is None else np.array(sorted(keep))
        given = {"instance_number": rows + 1} | columns
        return stack_table(self.positions[rows], self.orientation, **given)


@st.composite
def stacks(draw: st.DrawFn, min_size: int = 2, max_size: int = 30, tilts: bool = True) -> Stack:
    count = draw(st.integers(min_size, max_size))
    spacing = draw(st.floats(0.3, 9.0))
    rotation = Rotation.from_rotvec(draw(st.tuples(*[st.floats(-3, 3)] * 3))).as_matrix()
    tilt = draw(st.just(0.0) | st.floats(0.5, 30.0)) if tilts else 0.0
    way = draw(st.floats(0, 6.28))
    across = np.cos(way) * rotation[:, 0] + np.sin(way) * rotation[:, 1]
    step = spacing * (rotation[:, 2] + np.tan(np.radians(tilt)) * across)
    origin = np.array(draw(st.tuples(*[st.floats(-400, 400)] * 3)))
    orientation = np.concatenate([rotation[:, 0], rotation[:, 1]])
    places = origin + np.arange(count)[:, None] * step
    return Stack(places, orientation, affine_of(orientation, (0.7, 0.8), origin, step), tilt)


def found(table: HeaderTable, **policy: object) -> tuple[list[FoundVolume], list[Skipped]]:
    """`find_volumes`, with the promise that every row is in exactly one place."""
    volumes, skipped = find_volumes(table, GeometryPolicy(**policy))
    used = np.concatenate([volume.used_rows for volume in volumes] or [np.empty(0, np.int64)])
    dropped = [row for volume in volumes for row in volume.dropped]
    assert sorted([*used.tolist(), *dropped]) == list(range(len(table)))
    assert {s.path for s in skipped} == {str(table["path"][row]) for row in dropped}
    return volumes, skipped


def one(table: HeaderTable, **policy: object) -> FoundVolume:
    volumes, _ = found(table, **policy)
    assert len(volumes) == 1, [v.notes for v in volumes]
    return volumes[0]


def regular(table: HeaderTable, **policy: object) -> FoundVolume:
    volume = one(table, **policy)
    if volume.error is not None:
        raise volume.error
    return volume


def uids(table: HeaderTable, volume: FoundVolume) -> list[bytes]:
    return table["sop_instance_uid"][volume.used_rows].tolist()


# --- properties ------------------------------------------------------------------------------------------------------


@given(stacks(), st.integers(0, 2**32))
def test_file_order_never_matters(stack: Stack, seed: int) -> None:
    table = stack.table()
    plain, other = regular(table), regular(shuffled(table, seed))
    assert uids(table, plain) == uids(shuffled(table, seed), other) == table["sop_instance_uid"].tolist()
    np.testing.assert_array_equal(plain.geometry.affine, other.geometry.affine)


@given(stacks(), st.integers(0, 2**32))
def test_the_affine_is_exact_for_any_orientation_and_tilt(stack: Stack, seed: int) -> None:
    volume = regular(shuffled(stack.table(), seed))
    np.testing.assert_allclose(volume.geometry.affine, stack.affine, atol=1e-9)
    np.testing.assert_allclose(volume.geometry.image_positions, stack.positions, atol=1e-9)
    assert volume.geometry.uniform
    assert volume.geometry.tilt_deg == pytest.approx(stack.tilt, abs=1e-6)
    assert (np.diff(volume.geometry.slice_positions) > 0).all()


@given(stacks(), st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(-100, 100)] * 3))
def test_a_rigid_motion_of_the_patient_changes_only_the_affine(
    stack: Stack, turn: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), shift
    moved = stack_table(
        stack.positions @ motion[:3, :3].T + motion[:3, 3],
        np.concatenate([motion[:3, :3] @ stack.orientation[:3], motion[:3, :3] @ stack.orientation[3:]]),
    )
    before, after = regular(stack.table()), regular(moved)
    np.testing.assert_array_equal(before.rows, after.rows)
    np.testing.assert_allclose(after.geometry.affine, motion @ before.geometry.affine, atol=1e-9)


@given(stacks(min_size=3), st.data())
def test_slices_that_are_missing_are_named_or_do_not_matter(stack: Stack, data: st.DataObject) -> None:
    count = len(stack.positions)
    keep = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=2)))
    table = shuffled(stack.table(keep), data.draw(st.integers(0, 9)))
    volume = one(table)
    steps = np.diff(keep)
    if (steps == steps[0]).all():
        assert volume.error is None
        np.testing.assert_allclose(volume.geometry.affine[:3, 0], stack.affine[:3, 0] * steps[0], atol=1e-9)
        return
    assert isinstance(volume.error, IrregularSpacingError)
    assert volume.error.gaps_total == len(steps)
    for part in ("mm", "GeometryPolicy(gaps=", volume.error.path.rsplit("/", 1)[1]):
        assert part in str(volume.error)
    kept = regular(table, gaps="keep")
    assert not kept.geometry.uniform
    np.testing.assert_allclose(kept.geometry.image_positions, stack.positions[keep], atol=1e-9)


@given(stacks(min_size=4), st.data())
def test_filling_puts_every_slice_where_it_was(stack: Stack, data: st.DataObject) -> None:
    count = len(stack.positions)
    keep = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=3)))
    steps = np.diff(keep)
    assume(steps.min() == np.gcd.reduce(steps) and steps.max() > steps.min())
    table = shuffled(stack.table(keep), 1)
    volume = one(table, gaps="fill")
    if volume.error is not None:  # only where a few slices are far closer than the rest, or hardly any would exist
        assert steps.max() >= 4 * steps.min()
        assert "'fill'" not in str(volume.error)
        return
    index = (np.array(keep) - keep[0]) // int(steps.min())
    assert volume.rows.shape == (index[-1] + 1,)
    np.testing.assert_array_equal(np.flatnonzero(volume.rows >= 0), index)
    affine = volume.geometry.affine
    predicted = affine[:3, 3] + np.flatnonzero(volume.rows >= 0)[:, None] * affine[:3, 0]
    np.testing.assert_allclose(predicted, stack.positions[keep], atol=1e-9)
    np.testing.assert_allclose(table["image_position"][volume.used_rows], stack.positions[keep])
    assert volume.geometry.uniform


@given(stacks(min_size=3), st.data())
def test_any_duplicate_is_named_and_every_policy_gives_the_true_geometry(stack: Stack, data: st.DataObject) -> None:
    count = len(stack.positions)
    again = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    table = shuffled(joined(stack.table(), stack.table(again)), data.draw(st.integers(0, 9)))
    volume = one(table)
    assert isinstance(volume.error, RepeatedPositionError)
    assert (volume.error.repeated, volume.error.positions) == (len(again), count)
    assert "duplicates='first'" in str(volume.error)
    first = regular(table, duplicates="first")
    np.testing.assert_allclose(first.geometry.affine, stack.affine, atol=1e-9)
    assert len(first.dropped) == len(again)
    split, _ = found(table, duplicates="split")
    assert sorted(v.rows.size for v in split) == sorted([count, len(again)])
    np.testing.assert_allclose(max(split, key=lambda v: v.rows.size).geometry.affine, stack.affine, atol=1e-9)


DIFFERENT_SERIES = [
    {"series_instance_uid": b"1.2.9"},
    {"frame_of_reference_uid": b"1.2.9"},
    {"rows": 16},
    {"pixel_spacing": (0.5, 0.5)},
    {"samples_per_pixel": 3, "photometric_interpretation": b"RGB"},
    {"photometric_interpretation": b"MONOCHROME1"},
    {"image_type": b"DERIVED\\PRIMARY\\ADC"},
    {"stack_id": b"2"},
]


@given(stacks(), stacks(), st.sampled_from(DIFFERENT_SERIES), st.integers(0, 2**32))
def test_a_mixture_of_two_series_is_two_volumes(first: Stack, second: Stack, differ: dict, seed: int) -> None:
    table = shuffled(joined(first.table(), second.table(**differ)), seed)
    volumes, _ = found(table)
    assert len(volumes) == 2
    for stack in (first, second):
        match = min(
            volumes,
            # By origin and step: the pixel spacing may be what differs.
            key=lambda v: (
                v.rows.size != len(stack.positions),
                np.abs(v.geometry.affine - stack.affine)[:, [0, 3]].max() > 1e-6,
            ),
        )
        assert match.error is None
        assert match.rows.shape == (len(stack.positions),)
        assert match.geometry.tilt_deg == pytest.approx(stack.tilt, abs=1e-6)


@pytest.mark.parametrize("differ", DIFFERENT_SERIES, ids=lambda d: next(iter(d)))
def test_stacks_at_one_place_that_differ_in_one_attribute_are_two_volumes(differ: dict) -> None:
    volumes, _ = found(shuffled(joined(stack_table(axial(5)), stack_table(axial(5), **differ)), 3))
    assert [v.rows.shape for v in volumes] == [(5,), (5,)]
    assert all(v.error is None for v in volumes)


@given(
    stacks(max_size=8),
    st.sampled_from(
        [
            ("trigger_time", "t", lambda i: 40.0 * i, "ms"),
            ("temporal_position_identifier", "t", lambda i: i + 1, ""),
            ("echo_time", "echo", lambda i: 2.5 + i, "ms"),
            ("diffusion_b_value", "b", lambda i: 500.0 * i, "s/mm2"),
            ("inversion_time", "inversion", lambda i: 100.0 + i, "ms"),
            ("flip_angle", "flip", lambda i: 5.0 + i, "deg"),
            ("kvp", "energy", lambda i: 80.0 + 20 * i, "kV"),
            ("frame_reference_time", "t", lambda i: 1000.0 * i, "ms"),
            ("acquisition_number", "acquisition", lambda i: i + 1, ""),
            ("content_time", "t", lambda i: b"10%02d00" % i, "s"),
            ("referenced_segment_number", "segment", lambda i: i + 1, ""),
        ]
    ),
    st.integers(2, 5),
    st.integers(0, 2**32),
)
def test_an_attribute_that_explains_repeats_becomes_a_named_axis(
    stack: Stack, attribute: tuple, repeats: int, seed: int
) -> None:
    column, name, value, units = attribute
    table = joined(*[stack.table(**{column: value(i)}) for i in range(repeats)])
    volume = regular(shuffled(table, seed))
    assert volume.dims == (name, "z")
    assert volume.rows.shape == (repeats, len(stack.positions))
    axis = volume.dimensions[0]
    assert (axis.attribute, axis.units) == (column, units)
    expected = [60.0 * i if column == "content_time" else value(i) for i in range(repeats)]
    np.testing.assert_allclose(axis.values, expected)
    per_row = shuffled(table, seed)[column][volume.rows]
    assert (per_row == per_row[:, :1]).all()
    np.testing.assert_allclose(volume.geometry.affine, stack.affine, atol=1e-9)


unusable = st.sampled_from([np.nan, np.inf, 1e300, -1e12, 0.0, 5.0, 5.01])


@given(st.lists(st.tuples(unusable, unusable, st.sampled_from([0, 1, 2]), st.booleans()), min_size=1, max_size=12))
def test_no_numbers_whatever_lose_a_frame_or_crash(rows: list[tuple]) -> None:
    count = len(rows)
    orientation = np.tile([1.0, 0, 0, 0, 1.0, 0], (count, 1))
    orientation[[bad for *_, bad in rows]] = [np.nan, 0, 0, 0, 0, 0]
    table = header_table(
        count,
        image_position=np.array([[a, 0.0, b] for a, b, *_ in rows]),
        image_orientation=orientation,
        pixel_spacing=np.array([[[0.7, 0.8], [0, 0.8], [np.nan, np.nan]][k] for *_, k, _ in rows]),
        instance_number=np.array([k for *_, k, _ in rows]),
    )
    for policy in ({}, {"duplicates": "first", "gaps": "fill"}, {"duplicates": "split", "gaps": "keep"}):
        for volume in found(table, **policy)[0]:
            assert np.isfinite(volume.geometry.affine).all()
            assert np.linalg.matrix_rank(volume.geometry.affine) == 4


@given(st.lists(st.times(), min_size=1, max_size=9), st.integers(0, 6), st.booleans())
def test_times_are_seconds_since_midnight(times: list, digits: int, colons: bool) -> None:
    texts = [
        t.strftime("%H:%M:%S" if colons else "%H%M%S") + (f".{t.microsecond:06d}"[: digits + 1] if digits else "")
        for t in times
    ]
    cut = [t.replace(microsecond=int(f"{t.microsecond:06d}"[:digits].ljust(6, "0")) if digits else 0) for t in times]
    expected = [t.hour * 3600 + t.minute * 60 + t.second + t.microsecond / 1e6 for t in cut]
    np.testing.assert_allclose(seconds_of(np.array(texts, dtype="S")), expected, atol=1e-9)


@given(st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1)), st.integers(-12, 12))
def test_dates_and_zones_count(moment: datetime, hours: int) -> None:
    zone = f"{'+' if hours >= 0 else '-'}{abs(hours):02d}00"
    whole = seconds_of(np.array([moment.strftime("%Y%m%d%H%M%S.%f") + zone], dtype="S"))
    parts = seconds_of(
        np.array([moment.strftime("%H%M%S.%f")], dtype="S"), np.array([moment.strftime("%Y%m%d")], dtype="S")
    )
    expected = (moment - datetime(2000, 1, 1)).total_seconds()
    np.testing.assert_allclose(whole, expected - hours * 3600, atol=1e-6)
    np.testing.assert_allclose(parts, expected, atol=1e-6)


@pytest.mark.parametrize("text", [b"", b"noon", b"1015x0", b"20241399101500", b"10.15.00", b"-1"])
def test_what_is_no_time_is_missing(text: bytes) -> None:
    assert np.isnan(seconds_of(np.array([text]))[0])


# --- named cases -----------------------------------------------------------------------------------------------------


def axial(count: int, step: float = 2.5, z: float = 0.0, x: float = 0.0) -> np.ndarray:
    return np.column_stack([np.full(count, x), np.zeros(count), z + step * np.arange(count)])


@pytest.mark.parametrize(
    "scout", [{"image_type": b"ORIGINAL\\PRIMARY\\LOCALIZER"}, {"image_orientation": [1.0, 0, 0, 0, 0, -1]}]
)
def test_a_scout_in_the_same_series_does_not_change_the_spacing(scout: dict) -> None:
    """The mean gap of 103 slices at 0.700 mm and a scout 12 mm away is 0.817 mm: what a mean over all would say."""
    table = joined(stack_table(axial(103, 0.7)), stack_table(axial(1, z=83.4), **scout))
    volumes, _ = found(shuffled(table, 3))
    assert [v.rows.size for v in volumes] == [103, 1]
    assert volumes[0].geometry.spacing[0] == pytest.approx(0.7, abs=1e-12)
    assert any("1 other frame of this series" in note for note in volumes[0].notes)


def test_a_scout_that_is_not_marked_as_one_is_refused_not_averaged() -> None:
    table = joined(stack_table(axial(103, 0.7)), stack_table(axial(1, z=83.45)))
    assert isinstance(one(table).error, IrregularSpacingError)


def test_a_missing_slice_is_named_with_its_place_and_file() -> None:
    places = np.delete(axial(119), 42, axis=0)
    error = one(stack_table(places)).error
    assert isinstance(error, IrregularSpacingError)
    assert (error.gaps_off, error.gaps_total, error.after_slice) == (1, 117, 41)
    assert str(error) == (
        "1 of 117 gaps in series 1.2.2 differ from the median 2.500 mm by more than 0.100 mm (largest difference: "
        "a gap of 5.000 mm after slice 41, 000041.dcm). Slices are probably missing. Pass "
        "policy=GeometryPolicy(gaps='fill') to insert empty ones, or gaps='keep' to keep the true positions."
    )


def test_filling_keeps_the_written_positions_of_the_slices_that_exist() -> None:
    places = np.delete(axial(30), 12, axis=0)
    places[:, 2] += np.random.default_rng(2).uniform(-0.02, 0.02, 29)
    geometry = regular(stack_table(places), gaps="fill").geometry
    np.testing.assert_array_equal(np.delete(geometry.image_positions, 12, axis=0), places)
    assert 0 < geometry.deviation_mm < 0.05


def test_a_doubled_series_is_refused_and_split_on_request() -> None:
    table = joined(stack_table(axial(20)), stack_table(axial(20)))
    error = one(table).error
    assert isinstance(error, RepeatedPositionError)
    assert (error.repeated, error.positions) == (20, 20)
    assert "Nothing in their headers tells them apart" in str(error)
    folders = [f"/{'ab'[i % 2]}/{i:03d}.dcm" for i in range(40)]
    table.columns["path"] = np.array(folders[::2] + folders[1::2], dtype=object)
    halves, _ = found(shuffled(table, 1), duplicates="split")
    assert [v.rows.size for v in halves] == [20, 20]
    for half in halves:
        assert len({path[:3] for path in shuffled(table, 1)["path"][half.used_rows]}) == 1


def test_two_phases_of_one_series_are_two_times() -> None:
    early = stack_table(axial(12), acquisition_time=b"101500.25", acquisition_number=1)
    late = stack_table(
        axial(12), acquisition_time=b"101531.75", acquisition_number=2, instance_number=np.arange(13, 25)
    )
    volume = regular(shuffled(joined(early, late), 5))
    assert volume.dims == ("t", "z")
    np.testing.assert_allclose(volume.dimensions[0].values, [0, 31.5])
    assert volume.dimensions[0].units == "s"


def test_two_phases_of_different_length_are_two_volumes() -> None:
    table = joined(stack_table(axial(12), acquisition_number=1), stack_table(axial(9), acquisition_number=2))
    for policy in ({}, {"duplicates": "first"}, {"duplicates": "split"}, {"gaps": "keep"}):
        volumes, _ = found(table, **policy)
        assert [v.rows.size for v in volumes] == [12, 9]
        assert all(v.error is None for v in volumes)


def test_a_localizer_of_three_orientations_is_three_volumes() -> None:
    orientations = ([1.0, 0, 0, 0, 1, 0], [1.0, 0, 0, 0, 0, -1], [0.0, 1, 0, 0, 0, -1])
    normals = [np.cross(o[:3], o[3:]) for o in orientations]
    parts = [
        stack_table(np.arange(3)[:, None] * 10 * n, o, image_type=b"ORIGINAL\\PRIMARY\\LOCALIZER")
        for o, n in zip(orientations, normals, strict=True)
    ]
    volumes, _ = found(shuffled(joined(*parts), 1))
    assert [v.rows.size for v in volumes] == [3, 3, 3]
    assert all(v.error is None and v.geometry.spacing[0] == pytest.approx(10) for v in volumes)


def test_stacks_that_lie_beside_one_another_are_volumes_of_their_own() -> None:
    table = joined(stack_table(axial(8)), stack_table(axial(8, x=60.0)))
    volumes, _ = found(shuffled(table, 2))
    assert [v.rows.size for v in volumes] == [8, 8]
    assert sorted(v.geometry.origin[0] for v in volumes) == [0.0, 60.0]
    assert all("beside one another" in v.notes[-1] for v in volumes)


def test_blocks_of_different_spacing_are_separate_volumes_where_image_type_tells_them_apart() -> None:
    fine, coarse = (
        stack_table(axial(14, 4.0)),
        stack_table(axial(14, 7.0, z=60.0), image_type=b"ORIGINAL\\PRIMARY\\ADD"),
    )
    for gaps in ("raise", "keep", "fill"):
        volumes, _ = found(joined(fine, coarse), gaps=gaps)
        assert sorted(v.geometry.spacing[0] for v in volumes) == [4.0, 7.0]


def test_repeated_weightings_are_counted_in_the_order_in_which_they_were_measured() -> None:
    """b = 0 three times, and a direction each between: the usual diffusion series."""
    b_values = [0.0, 1000.0, 0.0, 1000.0, 0.0]
    directions = [[np.nan] * 3, [1.0, 0, 0], [np.nan] * 3, [0, 1.0, 0], [np.nan] * 3]
    parts = [
        stack_table(
            axial(6),
            diffusion_b_value=b,
            diffusion_gradient_orientation=direction,
            acquisition_number=i + 1,
            instance_number=6 * i + np.arange(1, 7),
        )
        for i, (b, direction) in enumerate(zip(b_values, directions, strict=True))
    ]
    volume = regular(shuffled(joined(*parts), 4))
    assert volume.dims == ("b", "z")
    axis = volume.dimensions[0]
    np.testing.assert_array_equal(axis.values, b_values)
    np.testing.assert_array_equal(axis.directions, directions)


def test_gradients_of_one_weighting_are_told_apart_by_their_direction() -> None:
    parts = [
        stack_table(axial(4), diffusion_b_value=800.0, diffusion_gradient_orientation=direction)
        for direction in np.eye(3)
    ]
    one_way, other_way = regular(joined(*parts)), regular(joined(*parts[::-1]))
    np.testing.assert_array_equal(one_way.dimensions[0].directions, other_way.dimensions[0].directions)


def test_echoes_and_times_make_two_axes_with_time_slowest() -> None:
    parts = [
        stack_table(axial(5), echo_time=te, acquisition_time=b"10%02d00" % t) for t in range(3) for te in (3.0, 9.0)
    ]
    volume = regular(shuffled(joined(*parts), 8))
    assert volume.dims == ("t", "echo", "z")
    assert volume.rows.shape == (3, 2, 5)


def test_parts_of_the_complex_image_are_an_axis_with_names() -> None:
    parts = [stack_table(axial(5), image_type=b"ORIGINAL\\PRIMARY\\%s" % kind) for kind in (b"P", b"M", b"I", b"R")]
    volume = regular(joined(*parts))
    assert volume.dims == ("component", "z")
    assert volume.dimensions[0].values.tolist() == ["MAGNITUDE", "PHASE", "REAL", "IMAGINARY"]


def test_times_that_differ_from_slice_to_slice_count_by_their_order() -> None:
    clock = [b"1000%02d.%03d" % (10 * t + k, 7 * k) for t in range(4) for k in range(6)]
    table = joined(*[stack_table(axial(6)) for _ in range(4)])
    table.columns["acquisition_time"] = np.array(clock)
    volume = regular(shuffled(table, 6))
    assert volume.dims == ("t", "z")
    np.testing.assert_allclose(volume.dimensions[0].values, [0, 10, 20, 30])


def test_time_points_without_any_attribute_are_counted_by_instance_number_and_say_so() -> None:
    table = stack_table(np.tile(axial(5), (3, 1)))
    volume = regular(table)
    assert volume.dims == ("t", "z")
    assert "InstanceNumber" in volume.warnings[0]
    assert isinstance(one(HeaderTable(table.columns | {"modality": np.full(15, b"CT")})).error, RepeatedPositionError)


def test_a_time_point_that_lacks_a_slice_is_refused_with_the_counts() -> None:
    table = joined(stack_table(axial(6), echo_time=3.0), stack_table(axial(5), echo_time=9.0))
    volumes, _ = found(table)
    if len(volumes) == 1:
        assert "1 to 2 frames a position" in str(volumes[0].error)
    else:
        assert sorted(v.rows.size for v in volumes) == [5, 6]


@pytest.mark.parametrize("differ", [{"convolution_kernel": b"SHARP"}, {"image_type": b"DERIVED\\PRIMARY\\MPR"}])
def test_two_reconstructions_are_two_volumes_not_two_times(differ: dict) -> None:
    clocks = [[b"10%02d%02d.5" % (10 * half, k) for k in range(6)] for half in (0, 1)]
    soft = stack_table(axial(6), content_time=np.array(clocks[0]), acquisition_number=1)
    sharp = stack_table(axial(6), content_time=np.array(clocks[1]), acquisition_number=1, **differ)
    volumes, _ = found(shuffled(joined(soft, sharp), 9))
    assert [v.dims for v in volumes] == [("z",), ("z",)]


def test_one_time_point_of_another_image_type_is_still_a_time_point() -> None:
    parts = [
        stack_table(axial(6), acquisition_time=b"10%02d00" % t, image_type=b"ORIGINAL\\PRIMARY" + b"\\ADD" * (t == 0))
        for t in range(5)
    ]
    assert regular(joined(*parts)).rows.shape == (5, 6)


def test_segments_are_never_mixed_in_one_stack() -> None:
    table = joined(
        stack_table(axial(4), referenced_segment_number=1), stack_table(axial(4, z=10.0), referenced_segment_number=2)
    )
    volumes, _ = found(table)
    assert len(volumes) == 2


def test_repeats_that_are_moved_by_micrometres_are_repeats() -> None:
    rng = np.random.default_rng(0)
    parts = [
        stack_table(axial(10) + rng.normal(0, 0.002, (10, 3)), temporal_position_identifier=t + 1) for t in range(20)
    ]
    volume = regular(shuffled(joined(*parts), 1))
    assert volume.rows.shape == (20, 10)


def test_tilt_is_kept_by_default_and_refused_on_request() -> None:
    step = 5.0 * np.array([0, np.tan(np.radians(18.5)), 1.0])
    table = stack_table(np.arange(10)[:, None] * step)
    assert "18.50 degrees" in regular(table).notes[0]
    error = one(table, tilt="raise").error
    assert isinstance(error, TiltError)
    assert error.tilt_deg == pytest.approx(18.5)
    assert "tilt='keep'" in str(error)


def test_slices_moved_sideways_are_on_no_line_and_not_filled() -> None:
    places = axial(10)
    places[4, 0] += 3.0
    for gaps in ("raise", "fill"):
        error = one(stack_table(places), gaps=gaps).error
        assert isinstance(error, IrregularSpacingError)
        assert "slice 4 (000004.dcm)" in str(error)


def test_a_missing_slice_of_a_micrometre_stack_is_not_within_the_tolerance_in_mm() -> None:
    places = np.delete(axial(40, 0.02), 20, axis=0)
    assert isinstance(one(stack_table(places)).error, IrregularSpacingError)
    assert spacing_tolerance(GeometryPolicy(), 0.02) == pytest.approx(0.002)
    assert spacing_tolerance(GeometryPolicy(), 7.0) == pytest.approx(0.07)
    assert spacing_tolerance(GeometryPolicy(), 2.0) == pytest.approx(0.05)


def test_positions_rounded_to_tenths_are_a_regular_volume() -> None:
    places = axial(118, 7.003)
    places[:, 2] += np.random.default_rng(1).uniform(-0.05, 0.05, 118)
    assert regular(stack_table(places)).geometry.uniform


def test_a_slice_without_position_is_told_to_the_others() -> None:
    places = axial(8)
    places[7] = np.nan
    volumes, _ = found(stack_table(places))
    assert [v.rows.size for v in volumes] == [7, 1]
    assert "000007.dcm" in volumes[0].notes[-1]
    assert not volumes[1].geometry.has_positions


def test_frames_without_any_position_are_in_instance_order_and_say_so() -> None:
    table = header_table(5, instance_number=[3, 1, 2, 5, 4], image_orientation=np.nan)
    volume = regular(table)
    assert volume.rows.tolist() == [1, 2, 0, 4, 3]
    assert "InstanceNumber" in volume.warnings[0]


def test_a_sequence_without_geometry_is_a_volume_of_frames() -> None:
    table = header_table(
        6, path=np.array(["/data/us.dcm"] * 6, dtype=object), frame=np.arange(6), frames_in_file=6,
        image_orientation=np.nan, modality=b"US",
    )  # fmt: skip
    volume = regular(shuffled(table, 2))
    assert volume.dims == ("frame",)
    assert "sequence" in volume.notes[-1]


def test_one_slice_takes_its_spacing_from_the_header_and_says_so() -> None:
    table = stack_table(axial(1), spacing_between_slices=3.0, slice_thickness=2.0)
    assert regular(table).geometry.spacing_source == "SpacingBetweenSlices"
    assert regular(table).geometry.spacing[0] == 3.0


def test_orientations_are_merged_by_their_middle_whatever_comes_first() -> None:
    rng = np.random.default_rng(5)
    orientation = np.tile([1.0, 0, 0, 0, 1.0, 0], (30, 1)) + rng.uniform(-9e-5, 9e-5, (30, 6))
    for seed in range(5):
        assert regular(shuffled(stack_table(axial(30), orientation), seed)).rows.shape == (30,)


def test_radial_slices_are_a_volume_each_and_thousands_of_them_take_no_minutes() -> None:
    turn = Rotation.from_rotvec(np.linspace(0, np.pi, 3000, endpoint=False)[:, None] * [0, 0, 1.0]).as_matrix()
    table = stack_table(np.zeros((3000, 3)), np.concatenate([turn[:, :, 0], turn[:, :, 2]], axis=1))
    start = time.process_time()
    volumes, _ = found(shuffled(table, 0))
    assert len(volumes) == 3000
    assert time.process_time() - start < 10


@pytest.mark.parametrize(("series", "slices", "times"), [(1, 100_000, 1), (1000, 100, 1), (20, 50, 100)])
def test_grouping_and_sorting_100_000_rows_takes_less_than_a_second(series: int, slices: int, times: int) -> None:
    count = slices * times
    parts = [
        stack_table(
            np.tile(axial(slices), (times, 1)),
            series_instance_uid=b"1.2.840.113619.2.55.3.604688119.969.1268071029.%d" % number,
            study_instance_uid=b"1.2.840.113619.2.55.3.604688119.%d" % (number // 5),
            acquisition_number=np.repeat(np.arange(times), slices),
            content_time=np.array([b"%06d.%03d" % (100000 + i // 60 % 60, i % 1000) for i in range(count)]),
        )
        for number in range(series)
    ]
    table = shuffled(joined(*parts), 0)
    seconds = []
    for _ in range(3):  # the machine may be busy with something else
        start = time.process_time()
        volumes, _ = find_volumes(table, GeometryPolicy())
        seconds.append(time.process_time() - start)
    assert len(volumes) == series
    assert sum(v.rows.size for v in volumes) == len(table) == 100_000
    assert min(seconds) < 1.0


# --- what must not be mixed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [1, 11])
def test_phases_of_which_one_lacks_a_slice_are_split_by_what_differs(numbers: int) -> None:
    early = np.delete(np.arange(10), 4)
    phases = [
        stack_table(axial(10)[early], acquisition_number=1, instance_number=early + 1),
        stack_table(axial(10), acquisition_number=2, instance_number=np.arange(10) + numbers),
    ]
    table = shuffled(joined(*phases), 3)
    volumes, _ = found(table, duplicates="split")
    numbers_of = [set(table["acquisition_number"][v.used_rows].tolist()) for v in volumes]
    assert sorted(map(sorted, numbers_of)) == [[1], [2]]
    assert sorted(v.rows.size for v in volumes) == [9, 10]
    assert [isinstance(v.error, IrregularSpacingError) for v in volumes] == [v.rows.size == 9 for v in volumes]
    first = regular(table, duplicates="first")
    assert set(table["acquisition_number"][first.used_rows].tolist()) == {2}


def test_first_and_split_refuse_where_any_choice_would_mix() -> None:
    early = np.delete(np.arange(10), 4)
    table = joined(stack_table(axial(10)[early], instance_number=early + 1), stack_table(axial(10)))
    table.columns["instance_number"] = np.arange(19) + 1
    for duplicates in ("first", "split"):
        assert isinstance(one(table, duplicates=duplicates).error, RepeatedPositionError)


def test_jitter_of_a_trigger_is_no_order_of_times() -> None:
    rng = np.random.default_rng(4)
    parts = [
        stack_table(
            axial(3),
            acquisition_time=np.array([b"1000%02d.%03d" % (10 * t, 50 * k) for k in range(3)]),
            trigger_time=600 + rng.uniform(-5, 5, 3),
            instance_number=3 * t + np.arange(3) + 1,
        )
        for t in range(4)
    ]
    table = shuffled(joined(*parts), 1)
    volume = regular(table)
    assert volume.dimensions[0].attribute == "acquisition_time"
    np.testing.assert_array_equal(table["instance_number"][volume.rows], 3 * np.arange(4)[:, None] + np.arange(3) + 1)


def test_scattered_content_times_are_no_time_axis() -> None:
    seconds = np.random.default_rng(2).permutation(12)
    table = stack_table(np.tile(axial(6), (2, 1)), content_time=np.array([b"1000%02d" % s for s in seconds]))
    table.columns["modality"] = np.full(12, b"CT")
    assert isinstance(one(table).error, RepeatedPositionError)


def test_one_instance_uid_is_one_image_whatever_the_clock_says() -> None:
    table = joined(stack_table(axial(6), content_time=b"100000"), stack_table(axial(6), content_time=b"110000"))
    table.columns["sop_instance_uid"] = np.tile(table["sop_instance_uid"][:6], 2)
    error = one(table).error
    assert isinstance(error, RepeatedPositionError)
    assert "one SOP Instance UID" in str(error)
    assert regular(table, duplicates="first").rows.shape == (6,)


@pytest.mark.parametrize("absurd", [1e4, np.inf])
def test_an_absurd_pixel_spacing_does_not_merge_others(absurd: float) -> None:
    table = stack_table(axial(9), pixel_spacing=np.array([[0.7] * 2] * 4 + [[0.8] * 2] * 4 + [[absurd] * 2]))
    volumes, _ = found(table)
    assert [v.rows.size for v in volumes] == [4, 4, 1]


@pytest.mark.parametrize("modality", [b"US", b"XA", b"NM", b"OT", b"MR"])
def test_frames_of_a_file_with_one_position_are_a_sequence(modality: bytes) -> None:
    table = header_table(
        6, path=np.array(["/data/us.dcm"] * 6, dtype=object), frame=np.arange(6), frames_in_file=6,
        sop_instance_uid=b"1.2.3", image_position=[1.0, 2, 3], modality=modality, instance_number=1,
    )  # fmt: skip
    volume = regular(shuffled(table, 2))
    assert volume.dims == ("frame",)
    assert shuffled(table, 2)["frame"][volume.rows].tolist() == list(range(6))
    assert "one Image Position (Patient) for all" in volume.warnings[0]


def test_series_without_any_uid_are_told_apart_by_their_folder() -> None:
    parts = [stack_table(axial(4), study_instance_uid=b"", series_instance_uid=b"") for _ in range(2)]
    table = joined(*parts)
    table.columns["path"] = np.array([f"/{'ab'[k // 4]}/{k}.dcm" for k in range(8)], dtype=object)
    volumes, _ = found(shuffled(table, 1))
    assert [v.rows.size for v in volumes] == [4, 4]
    assert all("no Series Instance UID" in v.warnings[-1] for v in volumes)


def test_a_projection_that_lands_on_the_grid_is_no_slice() -> None:
    slices = stack_table(axial(7), image_type=b"ORIGINAL\\PRIMARY\\AXIAL")
    table = joined(slices, stack_table(axial(1, z=17.5), image_type=b"DERIVED\\SECONDARY\\AXIAL\\MIP"))
    assert [v.rows.size for v in found(table)[0]] == [7, 1]


def test_a_gap_in_a_micrometre_stack_makes_no_time_points() -> None:
    places = axial(8, 0.01)
    places[4:, 2] += 0.5
    assert isinstance(one(stack_table(places)).error, IrregularSpacingError)


def test_mosaics_that_cannot_be_taken_apart_are_told() -> None:
    volume = regular(stack_table(axial(4), image_type=b"ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC"))
    assert "MOSAIC" in volume.warnings[0]


# --- what lies between one another -----------------------------------------------------------------------------------

ORIGINAL, DERIVED = b"ORIGINAL\\PRIMARY\\AXIAL", b"DERIVED\\SECONDARY\\AXIAL"
KERNELS = [b"SOFT", b"SHARP", b"LUNG"]


@given(stacks(min_size=9), st.sampled_from(["image_type", "convolution_kernel"]), st.integers(2, 3), st.integers(0, 99))
def test_kinds_of_images_that_alternate_are_volumes_of_their_own(stack: Stack, name: str, ways: int, seed: int) -> None:
    kinds = [ORIGINAL, DERIVED, ORIGINAL + b"\\OTHER"] if name == "image_type" else KERNELS
    kind = np.arange(len(stack.positions)) % ways
    table = shuffled(stack.table(**{name: np.array(kinds)[kind]}), seed)
    volumes, _ = found(table)
    assert len(volumes) == ways
    for volume in volumes:
        assert len(np.unique(table[name][volume.rows])) == 1
        first = kinds.index(table[name][volume.rows[0]])
        np.testing.assert_allclose(volume.geometry.image_positions, stack.positions[first::ways], atol=1e-9)
        np.testing.assert_allclose(volume.geometry.affine[:3, 0], ways * stack.affine[:3, 0], atol=1e-9)
        assert volume.error is None
        assert f"one of {ways} volumes" in volume.warnings[-1]
        assert name in volume.warnings[-1]


@given(stacks(min_size=4), st.data())
def test_derived_slices_among_originals_are_never_joined_in_silence(stack: Stack, data: st.DataObject) -> None:
    """On the grid of the originals, whether between them or at their positions."""
    count = len(stack.positions)
    derived = np.isin(np.arange(count), list(data.draw(st.sets(st.integers(0, count - 1), min_size=1))))
    again = sorted(data.draw(st.sets(st.integers(0, count - 1))))
    table = stack.table(image_type=np.where(derived, DERIVED, ORIGINAL))
    if again:
        table = joined(table, stack.table(again, image_type=np.where(derived[again], ORIGINAL, DERIVED)))
    table = shuffled(table, data.draw(st.integers(0, 9)))
    for volume in found(table)[0]:
        types = table["image_type"][volume.used_rows]
        if len(np.unique(types)) > 1 and volume.error is None:
            number, total = int((types == DERIVED).sum()), len(types)
            assert f"{number} of {total} slices are DERIVED, {total - number} ORIGINAL" in " ".join(volume.warnings)


def test_derived_slices_at_the_end_of_a_stack_stay_in_it_with_their_number() -> None:
    table = stack_table(axial(9), image_type=np.array([ORIGINAL] * 6 + [DERIVED] * 3))
    volume = regular(shuffled(table, 3))
    assert volume.rows.shape == (9,)
    (warning,) = volume.warnings
    assert "3 of 9 slices are DERIVED, 6 ORIGINAL" in warning


def test_derived_times_are_told_and_derived_weightings_only_noted() -> None:
    types = np.repeat([ORIGINAL, DERIVED], 5)
    places = np.tile(axial(5), (2, 1))
    times = regular(stack_table(places, image_type=types, temporal_position_identifier=np.repeat([1, 2], 5)))
    assert "5 of 10 slices are DERIVED" in times.warnings[0]
    weightings = regular(stack_table(places, image_type=types, diffusion_b_value=np.repeat([0.0, 800.0], 5)))
    assert weightings.warnings == ()
    assert "5 of 10 slices are DERIVED" in " ".join(weightings.notes)


INTERLEAVING = {
    "acquisition_number": np.arange(1, 4),
    "protocol_name": np.array([b"CHEST", b"ABDOMEN", b"PELVIS"]),
    "series_description": np.array([b"early", b"late", b"later"]),
    "kvp": np.array([80.0, 100.0, 140.0]),
    "inversion_time": np.array([80.0, 100.0, 140.0]),
    "temporal_position_identifier": np.arange(1, 4),
}


@given(stacks(min_size=6), st.sampled_from(sorted(INTERLEAVING)), st.integers(2, 3), st.integers(0, 99))
def test_acquisitions_that_lie_between_one_another_are_told(stack: Stack, name: str, ways: int, seed: int) -> None:
    count = len(stack.positions)
    values = INTERLEAVING[name][np.arange(count) % ways]
    volume = regular(shuffled(stack.table(**{name: values, "modality": b"CT"}), seed))
    assert volume.rows.shape == (count,)
    step = volume.geometry.spacing[0]
    (warning,) = volume.warnings
    assert f"{name} alternates from slice to slice: {ways} values" in warning
    assert f"{ways * step:.3f} mm" in warning
    assert f"{step:.3f} mm" in warning


@given(stacks(min_size=6), st.sampled_from(sorted(INTERLEAVING)), st.data())
def test_blocks_and_odd_slices_of_an_attribute_are_no_acquisitions_between_one_another(
    stack: Stack, name: str, data: st.DataObject
) -> None:
    count = len(stack.positions)
    cuts = sorted(data.draw(st.sets(st.integers(1, count - 1), max_size=2)))
    block = np.searchsorted(cuts, np.arange(count), side="right")
    assume(not data.draw(st.booleans()) or len(cuts) < 2)
    volume = regular(stack.table(**{name: INTERLEAVING[name][block], "modality": b"CT"}))
    assert "alternates" not in " ".join((*volume.warnings, *volume.notes))


def test_interleaved_packages_of_a_magnetic_resonance_stack_are_noted_not_warned_of() -> None:
    numbers = np.arange(12) % 2 + 1
    volume = regular(stack_table(axial(12), acquisition_number=numbers))
    assert volume.warnings == ()
    assert "acquisition_number alternates" in " ".join(volume.notes)
    names = np.array([b"A", b"B"])[numbers - 1]
    told = regular(stack_table(axial(12), acquisition_number=numbers, protocol_name=names))
    assert "acquisition_number, protocol_name alternate" in told.warnings[0]


# --- whose images these are ------------------------------------------------------------------------------------------


@given(stacks(min_size=4), st.booleans(), st.integers(0, 99), st.data())
def test_two_patients_are_never_one_volume(stack: Stack, with_uid: bool, seed: int, data: st.DataObject) -> None:
    """Half the slices each, or a stack each at one place and two times: whatever else would make one volume of them."""
    uid = {} if with_uid else {"study_instance_uid": b"", "series_instance_uid": b"", "frame_of_reference_uid": b""}
    count = len(stack.positions)
    if data.draw(st.booleans()):
        keys = np.where(np.arange(count) < data.draw(st.integers(1, count - 1)), 5, -7)
        table = stack.table(patient_key=keys, **uid)
    else:
        early = stack.table(patient_key=5, acquisition_time=b"100000", **uid)
        table = joined(early, stack.table(patient_key=-7, acquisition_time=b"110000", **uid))
    table = shuffled(table, seed)
    volumes, _ = found(table)
    assert len(volumes) == 2
    for volume in volumes:
        assert len(np.unique(table["patient_key"][volume.rows])) == 1
        assert volume.dims == ("z",)
        assert "2 patients" in volume.warnings[0]


def test_without_uids_the_series_number_tells_series_apart() -> None:
    parts = [stack_table(axial(4, z=10.0 * k), series_instance_uid=b"", series_number=k) for k in (1, 2)]
    volumes, _ = found(shuffled(joined(*parts), 1))
    assert [v.rows.size for v in volumes] == [4, 4]


# --- tilt, and what lies beside or close to what ---------------------------------------------------------------------


def shorn(table: HeaderTable, stack: Stack, degrees: float, way: float) -> HeaderTable:
    """The same slices with a gantry tilt: each is moved in its own plane, by its height."""
    row, column = stack.orientation[:3], stack.orientation[3:]
    height = (table["image_position"] - stack.positions[0]) @ np.cross(row, column)
    drift = np.tan(np.radians(degrees)) * (np.cos(way) * row + np.sin(way) * column)
    return HeaderTable(table.columns | {"image_position": table["image_position"] + height[:, None] * drift})


def two_kinds(stack: Stack, clock: str, names: tuple[str, ...]) -> HeaderTable:
    """Two reconstructions or two times of one stack."""
    values = {"convolution_kernel": (b"SOFT", b"SHARP"), "image_type": (ORIGINAL, DERIVED), "echo_time": (3.0, 9.0)}
    count = len(stack.positions)
    parts = [
        stack.table(
            **{name: values[name][k] for name in names},
            **{clock: b"10000%d" % k, "modality": b"CT", "instance_number": np.arange(count) + 1 + 100 * k},
        )
        for k in range(2)
    ]
    return joined(*parts)


def off_grid(stack: Stack, block: int, by: float) -> HeaderTable:
    """Blocks of slices with wider gaps between them, which are no whole multiples."""
    blocks = np.arange(len(stack.positions)) // block
    return stack_table(stack.positions + (blocks * by)[:, None] * stack.affine[:3, 0], stack.orientation)


@given(
    stacks(min_size=6, tilts=False),
    st.floats(0.5, 30.0),
    st.floats(0, 6.28),
    st.one_of(
        st.tuples(
            st.just(two_kinds),
            st.sampled_from(["acquisition_time", "content_time"]),
            st.sampled_from([("convolution_kernel",), ("image_type",), ("echo_time",), ()]),
        ),
        st.tuples(st.just(off_grid), st.integers(3, 5), st.floats(0.3, 0.7)),
    ),
    st.integers(0, 99),
)
def test_a_tilt_changes_the_affine_of_volumes_and_not_which_there_are(
    stack: Stack, degrees: float, way: float, made: tuple, seed: int
) -> None:
    make, *how = made
    plain = shuffled(make(stack, *how), seed)
    straight, tilted = found(plain)[0], found(shorn(plain, stack, degrees, way))[0]
    assert [type(v.error) for v in tilted] == [type(v.error) for v in straight]
    for one_way, other in zip(straight, tilted, strict=True):
        np.testing.assert_array_equal(other.rows, one_way.rows)
        assert other.dims == one_way.dims
        assert tuple(note for note in other.notes if "tilted" not in note) == one_way.notes
        np.testing.assert_allclose(other.geometry.slice_positions, one_way.geometry.slice_positions, atol=1e-6)
        assert other.geometry.tilt_deg == pytest.approx(degrees, abs=1e-4)


@pytest.mark.parametrize(("tilt", "clock"), [(15.0, "acquisition_time"), (5.0, "content_time"), (15.0, "")])
def test_two_kernels_of_a_tilted_stack_are_two_volumes(tilt: float, clock: str) -> None:
    places = np.arange(30)[:, None] * [0, 5 * np.tan(np.radians(tilt)), 5.0]
    clocks = [{clock: b"10000%d" % k} if clock else {} for k in range(2)]
    parts = [stack_table(places, convolution_kernel=KERNELS[k], modality=b"CT", **clocks[k]) for k in range(2)]
    volumes, _ = found(shuffled(joined(*parts), 1))
    assert [(v.dims, v.rows.shape) for v in volumes] == [(("z",), (30,))] * 2
    assert all("differ in convolution_kernel" in v.notes[-1] for v in volumes)


@pytest.mark.parametrize("gaps", [[5], [2, 5], [2, 5, 7]])
def test_blocks_of_a_tilted_stack_are_not_passed_off_as_stacks_beside_one_another(gaps: list[int]) -> None:
    heights = 2.5 * np.arange(12) + 1.2 * np.searchsorted(gaps, np.arange(12))
    error = one(stack_table(heights[:, None] * [0, np.tan(np.radians(15)), 1.0])).error
    assert isinstance(error, IrregularSpacingError)
    assert error.gaps_off == len(gaps)


@given(
    stacks(min_size=3),
    st.integers(2, 4),
    st.floats(5.0, 90.0),
    st.floats(0, 6.28),
    st.floats(0.0, 2.0),
    st.integers(0, 99),
)
def test_parallel_stacks_that_share_heights_are_found_whatever_their_tilt(
    stack: Stack, ways: int, apart: float, way: float, later: float, seed: int
) -> None:
    """At the same heights, between one another, or in part beyond one another."""
    row, column = stack.orientation[:3], stack.orientation[3:]
    across = apart * (np.cos(way) * row + np.sin(way) * column)
    step = stack.affine[:3, 0]
    starts = [k * (across + round(later, 1) * step * (len(stack.positions) > 5)) for k in range(ways)]
    table = joined(*[stack_table(stack.positions + start, stack.orientation) for start in starts])
    volumes, _ = found(shuffled(table, seed))
    assert all(v.error is None for v in volumes), [v.error for v in volumes]
    assert [v.rows.shape for v in volumes] == [(len(stack.positions),)] * ways
    for volume in volumes:
        np.testing.assert_allclose(volume.geometry.affine[:3, 0], step, atol=1e-6)
        assert "beside one another" in volume.notes[-1]


@pytest.mark.parametrize("tilt", [0.0, 20.0])
@pytest.mark.parametrize("gap", [0.0, 1.2])
def test_stacks_that_follow_one_another_elsewhere_in_the_plane_are_refused(tilt: float, gap: float) -> None:
    places = axial(16)
    places[8:] += [60.0, 0.0, gap]
    places[:, 1] += np.tan(np.radians(tilt)) * places[:, 2]
    assert isinstance(one(shuffled(stack_table(places), 2)).error, IrregularSpacingError)


def test_two_kernels_beside_two_others_are_four_volumes_not_two_of_two_times() -> None:
    parts = [
        stack_table(axial(8, x=x), convolution_kernel=KERNELS[k], acquisition_time=b"10000%d" % k, modality=b"CT")
        for x in (0.0, 60.0)
        for k in range(2)
    ]
    table = shuffled(joined(*parts), 2)
    volumes, _ = found(table)
    assert [(v.dims, v.rows.shape) for v in volumes] == [(("z",), (8,))] * 4
    assert all(len(np.unique(table["convolution_kernel"][v.rows])) == 1 for v in volumes)


@given(
    stacks(min_size=4),
    st.floats(0.02, 0.2),
    st.sampled_from(["trigger_time", "echo_time", "acquisition_time"]),
    st.data(),
)
def test_repeats_that_moved_along_the_normal_are_never_missing_slices(
    stack: Stack, part: float, name: str, data: st.DataObject
) -> None:
    count = len(stack.positions)
    spacing = float(np.linalg.norm(stack.affine[:3, 0]) * np.cos(np.radians(stack.tilt)))
    assume(part * spacing > 0.051)  # less is jitter: these are at one place
    again = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    values = (b"100000", b"110000") if name == "acquisition_time" else (10.0, 500.0)
    moved = stack.table(again, **{name: values[1]})
    moved.columns["image_position"] = moved["image_position"] + part * stack.affine[:3, 0]
    table = shuffled(joined(stack.table(**{name: values[0]}), moved), data.draw(st.integers(0, 9)))
    for gaps in ("raise", "fill"):
        error = one(table, gaps=gaps).error
        assert isinstance(error, IrregularSpacingError)
        assert f"{2 * len(again)} of {count + len(again)} slices" in str(error)
        assert f"{error.close_gap_mm:.3f} mm from a neighbour" in str(error)
        assert error.close_gap_mm == pytest.approx(part * spacing, rel=1e-6)
        assert "They differ in" in str(error)
        assert name in str(error)
        assert "'fill'" not in str(error)
        assert "image_position" not in str(error)
    assert not regular(table, gaps="keep").geometry.uniform


@given(stacks(min_size=4, tilts=False), st.integers(2, 10**6), st.booleans())
def test_a_stray_slice_far_away_is_not_filled_up_to(stack: Stack, away: int, below: bool) -> None:
    count = len(stack.positions)
    step = stack.affine[:3, 0]
    stray = stack.positions[0] - away * step if below else stack.positions[-1] + away * step
    table = shuffled(stack_table(np.vstack([stack.positions, stray]), stack.orientation), 1)
    filled, refused = one(table, gaps="fill"), one(table).error
    assert isinstance(refused, IrregularSpacingError)
    if away - 1 <= 4 * (count + 1):
        assert filled.error is None
        assert filled.rows.shape == (count + away,)
        assert "gaps='fill'" in str(refused)
        return
    for error in (filled.error, refused):
        assert isinstance(error, IrregularSpacingError)
        assert f"{count + away} slices, {away - 1} of them empty" in str(error)
        assert "'fill'" not in str(error)
    assert filled.rows.size == count + 1


def test_a_long_run_of_slices_has_a_spacing_whatever_else_is_there() -> None:
    """Twenty fine slices and fifty coarse ones: what is missing in the coarse part can be filled."""
    heights = np.concatenate([np.arange(20), 20 + 5.0 * np.arange(50)])
    assert regular(stack_table(heights[:, None] * [0, 0, 1.0]), gaps="fill").rows.shape == (266,)


@given(
    stacks(min_size=3),
    st.sampled_from(["trigger_time", "echo_time"]),
    st.integers(2, 4),
    st.floats(0.06, 0.45),
    st.floats(0, 6.28),
)
def test_repeats_that_moved_in_the_plane_are_split_on_request(
    stack: Stack, name: str, repeats: int, by: float, way: float
) -> None:
    row, column = stack.orientation[:3], stack.orientation[3:]
    spacing = float(np.linalg.norm(stack.affine[:3, 0]))
    shift = by * max(1.0, 0.2 * spacing) * (np.cos(way) * row + np.sin(way) * column)
    parts = [stack_table(stack.positions + k * shift, stack.orientation, **{name: 10.0 * k}) for k in range(repeats)]
    table = shuffled(joined(*parts), 3)
    for duplicates in ("raise", "first"):
        error = one(table, duplicates=duplicates).error
        assert isinstance(error, RepeatedPositionError)
        assert error.distance_mm == pytest.approx((repeats - 1) * np.linalg.norm(shift))
        assert "duplicates='split'" in str(error)
        assert "'first'" not in str(error)
    volumes, _ = found(table, duplicates="split")
    assert len(volumes) == repeats
    for volume in volumes:
        assert volume.error is None
        (value,) = np.unique(table[name][volume.rows])
        expected = stack.positions + value / 10 * shift
        np.testing.assert_allclose(volume.geometry.image_positions, expected, atol=1e-9)
        assert name in volume.notes[-1]


@pytest.mark.parametrize("name", ["trigger_time", "echo_time"])
def test_repeats_that_moved_by_less_than_the_tolerance_are_one_array(name: str) -> None:
    for by, together in ((0.049, True), (0.051, False)):
        volume = one(joined(stack_table(axial(6), **{name: 1.0}), stack_table(axial(6, x=by), **{name: 2.0})))
        assert (volume.error is None) == together
    coarse = [stack_table(axial(6, 10.0, x=x), **{name: 1.0 + x}) for x in (0.0, 0.09)]
    assert regular(joined(*coarse)).rows.shape == (2, 6)


# --- advice that works -----------------------------------------------------------------------------------------------


@given(stacks(min_size=3, max_size=10), st.data())
def test_the_advice_for_repeated_positions_is_never_refused(stack: Stack, data: st.DataObject) -> None:
    count = len(stack.positions)
    again = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    first = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    assume(set(again) & set(first))
    numbers = data.draw(st.sampled_from([0, 1, 2, 100]))
    clock = data.draw(st.booleans())
    parts = [
        stack.table(keep, instance_number=np.array(keep) + shift, **({"content_time": time} if clock else {}))
        for keep, shift, time in ((first, 1, b"100000"), (again, 1 + numbers, b"110000"))
    ]
    table = joined(*parts)
    table.columns["modality"] = np.full(len(table), b"CT")
    error = one(table).error
    assume(isinstance(error, RepeatedPositionError))
    for duplicates in ("first", "split"):
        offered = f"GeometryPolicy(duplicates='{duplicates}')" in str(error) or f"or duplicates='{duplicates}'" in str(
            error
        )
        volumes, _ = found(table, duplicates=duplicates)
        assert offered != any(isinstance(v.error, RepeatedPositionError) for v in volumes)
        for volume in volumes:
            if isinstance(volume.error, RepeatedPositionError):
                assert f"(duplicates='{duplicates}')" not in str(volume.error)


def test_slices_sent_again_under_other_numbers_get_advice_that_helps() -> None:
    again = stack_table(axial(2, z=5.0), instance_number=[5, 6])
    table = joined(stack_table(axial(6)), again)
    table.columns["modality"] = np.full(8, b"CT")
    for duplicates in ("raise", "first", "split"):
        error = one(table, duplicates=duplicates).error
        assert isinstance(error, RepeatedPositionError)
        assert "GeometryPolicy" not in str(error)
        assert "leave out 2 of the 8, starting with all but one of 000002.dcm, 000006.dcm" in str(error)
    assert regular(table.take(np.arange(6))).rows.shape == (6,)


def test_a_stack_sent_twice_is_told_apart_by_its_clock_where_its_numbers_do_not() -> None:
    parts = [
        stack_table(
            axial(6),
            modality=b"CT",
            acquisition_number=1,
            acquisition_time=b"090000",
            content_time=np.array([b"1%d01%02d" % (h, k) for k in range(6)]),
        )
        for h in (0, 1)
    ]
    table = shuffled(joined(*parts), 5)
    volumes, _ = found(table, duplicates="split")
    assert sum(len(v.rows.reshape(-1, 6)) for v in volumes) == 2
    for volume in volumes:
        stacks_of = table["content_time"][volume.rows].reshape(-1, volume.rows.shape[-1])
        assert all(len({bytes(time)[:2] for time in times}) == 1 for times in stacks_of)
        assert volume.error is None
