"""Bodies in gzip: several members, cut anywhere, padded, damaged, and far larger than they look."""

from __future__ import annotations

import gzip
import zlib

import pytest

from streamstore.client.unzipping import STEP, Unzip

TEXTS = [b"data: one\n\n", b"", b"data: two\n\n", "data: drei \u00fc\n\n".encode()]
MEMBERS = b"".join(map(gzip.compress, TEXTS))
WHOLE = b"".join(TEXTS)


def unzipped(*pieces: bytes) -> bytes:
    unzip = Unzip()
    return b"".join(chunk for piece in pieces for chunk in unzip.feed(piece))


@pytest.mark.parametrize("count", range(len(TEXTS) + 1))
def test_all_members_are_read(count: int) -> None:
    body = b"".join(map(gzip.compress, TEXTS[:count]))
    assert unzipped(body) == b"".join(TEXTS[:count])


def test_members_may_be_cut_at_any_byte() -> None:
    for at in range(len(MEMBERS) + 1):
        assert unzipped(MEMBERS[:at], b"", MEMBERS[at:]) == WHOLE
    assert unzipped(*(bytes([byte]) for byte in MEMBERS)) == WHOLE


def test_a_member_that_is_flushed_is_given_before_its_end() -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    unzip = Unzip()
    for text in TEXTS:
        flushed = packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)
        assert b"".join(unzip.feed(flushed)) == text


@pytest.mark.parametrize("padding", [b"\0" * 700, b"\r\n"])
def test_padding_between_members_and_behind_the_last_is_no_data(padding: bytes) -> None:
    body = padding.join([*map(gzip.compress, TEXTS), b""])
    assert unzipped(body) == WHOLE
    assert unzipped(*(bytes([byte]) for byte in body)) == WHOLE


@pytest.mark.parametrize("rest", [b"data: plain\n\n", MEMBERS[:-8] + b"\0" * 8])
def test_what_is_no_member_is_told_behind_what_came_before(rest: bytes) -> None:
    unzip, found = Unzip(), bytearray()
    with pytest.raises(zlib.error):
        for chunk in unzip.feed(MEMBERS + rest):
            found += chunk
    assert found.startswith(WHOLE)


def test_a_bomb_comes_in_small_pieces() -> None:
    size = 64 * STEP + 7
    unzip = Unzip()
    chunks = unzip.feed(gzip.compress(bytes(size)) * 2)
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) == STEP and 0 not in sizes and sum(sizes) == 2 * size


@pytest.mark.parametrize("size", [STEP - 1, STEP, STEP + 1, 3 * STEP])
def test_what_waits_inside_comes_without_further_bytes(size: int) -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    flushed = packer.compress(b"x" * size) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert unzipped(flushed) == b"x" * size


def test_many_members_in_one_chunk_are_not_copied_again_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each member copies what is behind it: bounded by a step, however large the chunk."""
    seen = 0
    real = zlib.decompressobj

    class Counting:
        def __init__(self, wbits: int) -> None:
            self.below = real(wbits)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal seen
            seen = max(seen, len(data))
            return self.below.decompress(data, most)

        def __getattr__(self, name: str) -> object:
            return getattr(self.below, name)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    assert unzipped(MEMBERS * 2_000) == WHOLE * 2_000
    assert 0 < seen <= STEP
