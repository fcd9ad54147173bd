"""The strict decoder: exact pixels for every mode, and a reason for every file it refuses."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bestiary.data.images import inspect, load_rgb
from bestiary.errors import DataError, ImageError

Pixels = npt.NDArray[np.uint8]


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def rgb(source: bytes | str | Path) -> Pixels:
    image = load_rgb(source)
    assert image.mode == "RGB"
    return np.asarray(image)


def noise(height: int = 9, width: int = 13, channels: int = 3, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def grey3(values: Any) -> Pixels:
    return np.repeat(np.asarray(values, dtype=np.uint8)[..., None], 3, axis=-1)


NOISE = noise()
RGB = Image.fromarray(NOISE)

# What a viewer shows for each orientation, written as the turn of the stored array (EXIF 2.32, tag 0x0112).
TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG", "MPO", "AVIF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_image_is_turned_as_pillow_turns_it(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    data = encode(RGB, form, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(rgb(data), expected)
    assert inspect(data).format == ("JPEG" if form == "MPO" else form)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG", "MPO"])
@pytest.mark.parametrize("orientation", [*TURNS, 0, 9])
def test_image_is_turned_as_its_exif_says(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = np.stack(np.broadcast_arrays(np.arange(24)[:, None] * 10, np.arange(32) * 7, 99), -1).astype(np.uint8)
    stored = smooth if form in ("JPEG", "MPO") else NOISE
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    data = encode(Image.fromarray(stored), form, exif=exif, **options)
    expected = TURNS.get(orientation, TURNS[1])(stored)
    shown = rgb(data)
    assert shown.shape == expected.shape
    tolerance = 12 if form in ("JPEG", "MPO") else 0
    assert np.abs(shown.astype(int) - expected).max() <= tolerance
    facts = inspect(data)
    assert (facts.height_px, facts.width_px) == expected.shape[:2]


@pytest.mark.parametrize(
    ("form", "options", "stored_as"),
    [
        ("PNG", {}, "PNG"),
        ("BMP", {}, "BMP"),
        ("WEBP", {"lossless": True}, "WEBP"),
        *(("TIFF", {"compression": kind}, "TIFF") for kind in ("raw", "tiff_lzw", "packbits", "tiff_deflate")),
    ],
)
def test_lossless_formats_give_exact_pixels_and_facts(form: str, options: dict[str, Any], stored_as: str) -> None:
    data = encode(RGB, form, **options)
    np.testing.assert_array_equal(rgb(data), NOISE)
    facts = inspect(data)
    assert (facts.width_px, facts.height_px, facts.mode, facts.format) == (13, 9, "RGB", stored_as)
    assert len(facts.phash) == 16
    assert int(facts.phash, 16) >= 0


def with_transparency() -> tuple[Image.Image, Pixels]:
    values = noise(channels=4, seed=1)
    values[0, :, 3], values[1, :, 3] = 0, 255
    alpha = values[..., 3:].astype(float) / 255
    return Image.fromarray(values), np.rint(values[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def test_alpha_is_laid_over_white() -> None:
    image, expected = with_transparency()
    for form in ("PNG", "TIFF"):
        shown = rgb(encode(image, form)).astype(int)
        assert np.abs(shown - expected).max() <= 1
        np.testing.assert_array_equal(shown[:2], expected[:2])
    assert (rgb(encode(image, "PNG"))[0] == 255).all()


def test_grey_with_alpha_is_laid_over_white() -> None:
    values = np.array([[0, 0, 100, 100]], np.uint8)
    alpha = np.array([[0, 255, 128, 255]], np.uint8)
    image = Image.merge("LA", (Image.fromarray(values), Image.fromarray(alpha)))
    expected = grey3([[255, 0, round(100 * 128 / 255 + 255 * 127 / 255), 100]])
    assert np.abs(rgb(encode(image, "PNG")).astype(int) - expected).max() <= 1


def palette_image() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "L").convert("P")
    image.putdata([0, 1, 2, 1])
    image.putpalette([250, 10, 20, 0, 200, 0, 7, 8, 9])
    return image


COLOURS = np.array([[[250, 10, 20], [0, 200, 0]], [[7, 8, 9], [0, 200, 0]]], np.uint8)


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette_is_looked_up(form: str) -> None:
    np.testing.assert_array_equal(rgb(encode(palette_image(), form)), COLOURS)


@pytest.mark.parametrize(("form", "transparent"), [("PNG", 1), ("PNG", bytes([255, 0, 255])), ("GIF", 1)])
def test_transparent_palette_entry_becomes_white(form: str, transparent: int | bytes) -> None:
    expected = COLOURS.copy()
    expected[:, 1] = 255
    np.testing.assert_array_equal(rgb(encode(palette_image(), form, transparency=transparent)), expected)


def test_half_transparent_palette_entry_is_mixed_with_white() -> None:
    shown = rgb(encode(palette_image(), "PNG", transparency=bytes([255, 128, 255])))[0, 1]
    assert np.abs(shown.astype(int) - [127, 227, 127]).max() <= 1


@pytest.mark.parametrize(
    ("image", "transparent", "expected"),
    [
        (Image.fromarray(np.array([[5, 9]], np.uint8)), 5, grey3([[255, 9]])),
        (Image.fromarray(np.array([[[5, 6, 7], [5, 6, 8]]], np.uint8)), (5, 6, 7), [[[255] * 3, [5, 6, 8]]]),
        (Image.fromarray(np.array([[257, 514]], np.uint16)), 257, grey3([[255, 2]])),
    ],
    ids=["grey", "rgb", "16-bit grey"],
)
def test_transparent_colour_of_a_png_becomes_white(image: Image.Image, transparent: Any, expected: Any) -> None:
    np.testing.assert_array_equal(rgb(encode(image, "PNG", transparency=transparent)), expected)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_grey_and_one_bit_are_repeated_in_three_channels(form: str) -> None:
    grey = NOISE[..., 0]
    np.testing.assert_array_equal(rgb(encode(Image.fromarray(grey), form)), grey3(grey))
    bits = Image.fromarray(grey > 127)
    np.testing.assert_array_equal(rgb(encode(bits, form)), grey3(np.where(grey > 127, 255, 0)))


def test_grey_jpeg_is_repeated_in_three_channels() -> None:
    shown = rgb(encode(Image.new("L", (9, 7), 77), "JPEG"))
    np.testing.assert_array_equal(shown, np.full((7, 9, 3), 77))


@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
def test_cmyk_becomes_rgb_without_a_profile(form: str) -> None:
    inks = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255], [40, 80, 120, 60]], np.uint8)
    for ink in inks:
        image = Image.merge("CMYK", [Image.new("L", (8, 8), int(value)) for value in ink])
        options = {"quality": 100} if form == "JPEG" else {}
        expected = (255 - ink[:3].astype(int)) * (255 - int(ink[3])) / 255
        shown = rgb(encode(image, form, **options))
        assert np.abs(shown - expected).max() <= (3 if form == "JPEG" else 1)


def test_lab_becomes_rgb() -> None:
    white, black = (Image.merge("LAB", [Image.new("L", (2, 2), v) for v in (level, 128, 128)]) for level in (255, 0))
    assert rgb(encode(white, "TIFF")).min() >= 253
    assert rgb(encode(black, "TIFF")).max() <= 2


DEEP = np.array([[0, 256, 257, 511, 514], [32768, 65278, 65279, 65534, 65535]], np.uint16)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_divided_by_257(form: str) -> None:
    data = encode(Image.fromarray(DEEP), form)
    np.testing.assert_array_equal(rgb(data), grey3(DEEP // 257))


def big_endian_tiff(values: npt.NDArray[np.uint16]) -> bytes:
    height, width = values.shape
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: values.nbytes}
    pixels = values.astype(">u2").tobytes()
    entries = b"".join(
        struct.pack(">HHI", tag, 4, 1) + struct.pack(">I", value)
        if tag in (256, 257, 273, 278, 279)
        else struct.pack(">HHIHH", tag, 3, 1, value, 0)
        for tag, value in tags.items()
    )
    head = b"MM\0*" + struct.pack(">I", 8 + len(pixels))
    return head + pixels + struct.pack(">H", len(tags)) + entries + b"\0\0\0\0"


def test_big_endian_16_bit_tiff_is_divided_by_257() -> None:
    np.testing.assert_array_equal(rgb(big_endian_tiff(DEEP)), grey3(DEEP // 257))


@pytest.mark.parametrize("values", [[[0, 257], [514, 65535]], [[1, 2], [3, 400]]])
def test_32_bit_integers_within_16_bits_are_divided_by_257(values: list[list[int]]) -> None:
    data = encode(Image.fromarray(np.array(values, np.int32)), "TIFF")
    np.testing.assert_array_equal(rgb(data), grey3(np.array(values) // 257))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones((2, 2), np.float32), "floating-point"),
        (np.array([[0, 65536]], np.int32), "beyond 16 bits"),
        (np.array([[-1, 4]], np.int32), "beyond 16 bits"),
    ],
)
def test_depth_without_a_stated_range_is_refused(values: npt.NDArray[Any], reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        load_rgb(encode(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_first_frame_of_several_is_taken(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 0, 200))]
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    data = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert np.abs(rgb(data).astype(int) - [200, 0, 0]).max() <= 3
    assert inspect(data).format == form


@pytest.mark.parametrize("name", ["photo.png", "photo.txt", "photo"])
def test_format_is_told_by_content_and_not_by_the_ending(tmp_path: Path, name: str) -> None:
    data = encode(RGB, "JPEG")
    (tmp_path / name).write_bytes(data)
    np.testing.assert_array_equal(rgb(tmp_path / name), rgb(data))
    np.testing.assert_array_equal(rgb(str(tmp_path / name)), rgb(data))
    assert inspect(data).format == "JPEG"


SAMPLES = {
    "jpeg": encode(RGB, "JPEG"),
    "progressive jpeg": encode(Image.fromarray(noise(40, 52)), "JPEG", progressive=True),
    "cmyk jpeg": encode(RGB.convert("CMYK"), "JPEG"),
    "png": encode(RGB, "PNG"),
    "palette png": encode(RGB.quantize(9), "PNG"),
    "webp": encode(RGB, "WEBP"),
    "lossless webp": encode(RGB, "WEBP", lossless=True),
    "gif": encode(RGB.quantize(9), "GIF"),
    "bmp": encode(RGB, "BMP"),
    "tiff": encode(RGB, "TIFF"),
    "lzw tiff": encode(RGB, "TIFF", compression="tiff_lzw"),
    "avif": encode(RGB, "AVIF"),
}
# Bytes behind the last pixel: the end mark and, of a PNG, the checksums, the padding of a BMP row.
TAIL_BYTES = {"png": 20, "palette png": 24, "gif": 2, "bmp": 3}


@pytest.mark.parametrize("kind", SAMPLES)
def test_file_cut_short_never_passes_for_whole(kind: str) -> None:
    data = SAMPLES[kind]
    whole = rgb(data)
    last = len(data) - TAIL_BYTES.get(kind, 0)
    for length in {*range(1, last, max(1, last // 150)), *range(max(last - 30, 1), last)}:
        with pytest.raises(ImageError):
            load_rgb(data[:length])
    for length in range(last, len(data)):
        try:
            np.testing.assert_array_equal(rgb(data[:length]), whole)
        except ImageError:
            continue


@given(seed=st.integers(0, 1000), height=st.integers(1, 60), width=st.integers(1, 60), data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_cut_jpeg_or_png_gives_other_pixels(seed: int, height: int, width: int, data: st.DataObject) -> None:
    image = Image.fromarray(noise(height, width, seed=seed))
    form, options = data.draw(st.sampled_from([("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})]))
    whole = encode(image, form, **options)
    length = data.draw(st.integers(0, len(whole) - (1 if form == "JPEG" else 20)))
    if form == "JPEG":
        with pytest.raises(ImageError):
            load_rgb(whole[: length - 1 if length else 0])
        return
    try:
        np.testing.assert_array_equal(rgb(whole[:length]), np.asarray(image))
    except ImageError:
        return


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_cut_file_is_called_truncated(kind: str) -> None:
    with pytest.raises(ImageError, match=r"^truncated image"):
        load_rgb(SAMPLES[kind][: len(SAMPLES[kind]) * 2 // 3])


@given(data=st.binary(max_size=200), prefix=st.sampled_from([b"", *{sample[:24] for sample in SAMPLES.values()}]))
@settings(max_examples=300, deadline=None)
def test_random_bytes_raise_only_image_errors(data: bytes, prefix: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        load_rgb(prefix + data)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@given(kind=st.sampled_from(sorted(SAMPLES)), data=st.data())
@settings(max_examples=300, deadline=None)
def test_altered_files_are_read_or_refused_and_nothing_else(kind: str, data: st.DataObject) -> None:
    altered = bytearray(SAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert load_rgb(bytes(altered)).mode == "RGB"
    except ImageError as error:
        assert str(error)  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize(
    "content",
    [
        *(b"just some text\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4", bytes(1000)),
        *(b"P6 1 1 255 abc", b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", b"RIFF\x24\0\0\0WAVEfmt "),
    ],
)
def test_what_is_no_image_of_the_named_formats_is_refused_with_their_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"not an image .*JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC"):
        load_rgb(tmp_path / "photo.png")


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ImageError, match="0 bytes"):
        load_rgb(tmp_path / "a.jpg")


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def bmp_header(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head


@pytest.mark.parametrize("header", [png_header, bmp_header])
def test_decompression_bomb_is_refused_from_its_header(header: Callable[[int, int], bytes]) -> None:
    with pytest.raises(ImageError, match="decompression bomb"):
        load_rgb(header(60_000, 60_000))


WITHIN_THE_LIMIT = {
    "JPEG": {},
    "PNG": {},
    "WEBP": {},
    "GIF": {"transparency": 1, "disposal": 2},
    "BMP": {},
    "TIFF": {},
    "AVIF": {},
}


@pytest.mark.parametrize("form", WITHIN_THE_LIMIT)
def test_image_that_pillow_would_warn_of_is_read_and_a_larger_one_refused(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = RGB.quantize(9) if form == "GIF" else RGB
    data = encode(image, form, **WITHIN_THE_LIMIT[form])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9 * 13 * 2 // 3)
    assert rgb(data).shape == (9, 13, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9 * 13 // 3)
    with pytest.raises(ImageError, match="decompression bomb"):
        load_rgb(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert rgb(data).shape == (9, 13, 3)


def test_frame_beyond_the_screen_of_a_gif_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(encode(RGB.quantize(9), "GIF"))
    whole = rgb(bytes(data))
    data[6:10] = struct.pack("<2H", 1, 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9 * 13 * 2 // 3)
    np.testing.assert_array_equal(rgb(bytes(data)), whole)


def test_grey_tiff_with_premultiplied_alpha_is_read() -> None:
    image = Image.merge("LA", (Image.new("L", (5, 4), 100), Image.new("L", (5, 4), 255)))
    data = bytearray(encode(image, "TIFF"))
    extra_samples = data.index(struct.pack("<HHI", 338, 3, 1))
    data[extra_samples + 8] = 1
    assert Image.open(io.BytesIO(data)).mode == "La"
    np.testing.assert_array_equal(rgb(bytes(data)), grey3(np.full((4, 5), 100)))


def test_damaged_tiff_writes_nothing_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encode(Image.fromarray(noise(60, 60)), "TIFF", compression="tiff_lzw"))
    middle = len(data) // 2
    data[middle : middle + 50] = b"\xff" * 50

    def attempt(_: int) -> None:
        with pytest.raises(ImageError, match="decoder error"):
            load_rgb(bytes(data))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempt, range(20)))
    assert capfd.readouterr() == ("", "")
    # Whoever decodes it otherwise still gets the message of libtiff.
    with pytest.raises(OSError, match="decoder error"):
        Image.open(io.BytesIO(data)).load()
    assert "tempfile.tif" in capfd.readouterr().err


def test_reason_is_a_sentence_where_pillow_names_a_number_alone() -> None:
    data = bytearray(encode(RGB, "TIFF"))
    entry = data.index(struct.pack("<HHI", 259, 3, 1))
    data[entry + 8 : entry + 10] = struct.pack("<H", 4711)
    with pytest.raises(ImageError, match=r"damaged image: its header makes no sense \(4711\)"):
        load_rgb(bytes(data))


def test_importing_changes_nothing_in_the_process() -> None:
    code = (
        "import numpy, pandas, warnings, PIL.Image as I, PIL.ImageFile as F, PIL.PngImagePlugin as P\n"
        "state = lambda: (list(warnings.filters), warnings.showwarning, I.MAX_IMAGE_PIXELS, F.LOAD_TRUNCATED_IMAGES,\n"
        "    P.MAX_TEXT_CHUNK, P.MAX_TEXT_MEMORY)\n"
        "before = state()\n"
        "import bestiary; bestiary.load_rgb; bestiary.predict\n"
        "assert state() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def heic_of(image: Image.Image) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, quality=-1, chroma=444)
    return stream.getvalue()


HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def test_heic_is_read_where_pillow_heif_is_installed() -> None:
    smooth = np.stack(np.broadcast_arrays(np.arange(64)[:, None] * 3, np.arange(80) * 2, 99), -1).astype(np.uint8)
    data = heic_of(Image.fromarray(smooth))
    assert np.abs(rgb(data).astype(int) - smooth).max() <= 6
    assert inspect(data).format == "HEIC"


def test_heic_without_pillow_heif_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"^HEIC: install bestiary\[heic\] to read it"):
        load_rgb(HEIC_HEAD)


def test_heic_is_decoded_by_pillow_heif_and_turned_by_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = RGB.copy()
    decoded.info["exif"] = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    file = SimpleNamespace(size=decoded.size, to_pillow=lambda: decoded)
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(open_heif=lambda stream: file))
    np.testing.assert_array_equal(rgb(HEIC_HEAD), NOISE)
    file.size = (60_000, 60_000)
    with pytest.raises(ImageError, match="decompression bomb"):
        load_rgb(HEIC_HEAD)


def test_file_that_claims_to_be_empty_is_not_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("opened"))
    with pytest.raises(ImageError, match="0 bytes"):
        load_rgb(tmp_path / "a.jpg")


def test_file_larger_than_any_image_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "film.mp4").open("wb") as stream:
        stream.truncate(3 << 30)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read"))
    with pytest.raises(ImageError, match=r"larger than any image: 3\.2 GB"):
        load_rgb(tmp_path / "film.mp4")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="devices of POSIX")
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/stdin", "/dev/tty"])
def test_device_is_not_opened(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("opened"))
    with pytest.raises(ImageError):
        load_rgb(device)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder, "cannot be read: a folder, a pipe"),
        (lambda folder: folder / "none.png", "cannot be read: No such file"),
        (lambda folder: folder / "a\0b.png", "cannot be read: embedded null"),
    ],
    ids=["folder", "missing", "null byte"],
)
def test_path_that_is_no_file_is_refused_with_the_reason(
    tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        load_rgb(make(tmp_path))
    assert isinstance(caught.value, DataError)


def test_file_without_permission_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.png").write_bytes(b"something")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        load_rgb(tmp_path / "a.png")


def test_hash_of_a_picture_survives_another_size_and_tells_others_apart() -> None:
    small, other = (Image.fromarray(noise(8, 8, seed=seed)).resize((64, 64)) for seed in (3, 4))
    large = small.resize((96, 80), Image.Resampling.BICUBIC)
    bits = [int(inspect(encode(image, "PNG")).phash, 16) for image in (small, large, other)]
    assert (bits[0] ^ bits[1]).bit_count() <= 4
    assert (bits[0] ^ bits[2]).bit_count() >= 16
