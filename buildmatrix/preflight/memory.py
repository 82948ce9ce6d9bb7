"""One process's mappings, as far as a loader reads them.

An address space is a list of areas; a later mapping replaces what it covers, as MAP_FIXED does.
Reading follows mmap(2): past the last page of the file is SIGBUS, the rest of that page is zero, and
an address that nothing covers is SIGSEGV. Addresses, sizes and offsets are bytes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import NamedTuple, Protocol


class Blob(Protocol):
    """A file's bytes. `read` returns fewer bytes than asked only at the end of the file."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`."""


EXECUTE_ONLY = 4
WINDOW = 32 << 20
"""Areas up to this size in bytes are kept whole once they are read."""


NEIGHBOURS = 1 << 32
"""Within this distance of a library in bytes, others may be mapped (mmap places them top down, side by side)."""


class Fault(Exception):
    """A memory access that the kernel answers with a signal; `unsure` where something else may be mapped there."""

    def __init__(self, signal: str, address: int, unsure: bool = False) -> None:
        super().__init__(f"{signal} at {address:#x}")
        self.signal = signal
        self.address = address
        self.unsure = unsure


class Endless(Exception):
    """A chain that leads back into itself: whoever follows it never ends."""


class Area(NamedTuple):
    """A run of addresses with one backing: a file from `offset`, or zeros where `blob` is None.

    `touched` marks private pages that were written already: they are memory, not file.
    """

    start: int
    end: int
    prot: int
    blob: Blob | None
    offset: int


class AddressSpace:
    """Areas sorted by address. `page` is the page size in bytes.

    `crowded` says that addresses are relative to a place among other mappings of the process, as those of a
    library are, and not absolute ones.
    """

    def __init__(self, page: int, crowded: bool = False) -> None:
        self.page = page
        self.crowded = crowded
        self._areas: list[Area] = []
        self._starts: list[int] = []
        self._private: dict[int, bytes] = {}
        self._windows: list[tuple[int, int, bytes]] = []
        self._written: list[int] = []
        self._word = 8
        self.tainted = False

    def written(self, address: int, length: int) -> None:
        """Note that a loader writes words of `length` bytes here; reading one of them makes the space `tainted`."""
        insort(self._written, address)
        self._word = length

    def _taint(self, address: int, length: int) -> None:
        at = bisect_left(self._written, address - self._word + 1)
        if at < len(self._written) and self._written[at] < address + length:
            self.tainted = True

    def _keep(self, areas: list[Area]) -> None:
        self._areas = areas
        self._starts = [area.start for area in areas]

    @property
    def areas(self) -> tuple[Area, ...]:
        """All areas in ascending order."""
        return tuple(self._areas)

    def down(self, value: int) -> int:
        """`value` rounded down to a page."""
        return value & -self.page

    def up(self, value: int) -> int:
        """`value` rounded up to a page."""
        return (value + self.page - 1) & -self.page

    def unmap(self, start: int, end: int) -> None:
        """Remove every address in [start, end)."""
        self._windows.clear()
        kept: list[Area] = []
        for area in self._areas:
            if area.end <= start or area.start >= end:
                kept.append(area)
                continue
            if area.start < start:
                kept.append(area._replace(end=start))
            if area.end > end:
                kept.append(area._replace(start=end, offset=area.offset + end - area.start))
        self._keep(kept)
        for address in [key for key in self._private if start <= key < end]:
            del self._private[address]

    def map(self, start: int, end: int, prot: int, blob: Blob | None = None, offset: int = 0) -> None:
        """Map [start, end), replacing what was there."""
        if end > start:
            self.unmap(start, end)
            at = bisect_left(self._starts, start)
            self._areas.insert(at, Area(start, end, prot, blob, offset))
            self._starts.insert(at, start)

    def protect(self, start: int, end: int, prot: int) -> None:
        """mprotect(2) over what is mapped in [start, end)."""
        self._windows.clear()
        kept: list[Area] = []
        for area in self._areas:
            low, high = max(start, area.start), min(end, area.end)
            if low >= high:
                kept.append(area)
                continue
            if area.start < low:
                kept.append(area._replace(end=low))
            kept.append(area._replace(start=low, end=high, offset=area.offset + low - area.start, prot=prot))
            if high < area.end:
                kept.append(area._replace(start=high, offset=area.offset + high - area.start))
        self._keep(kept)

    def find(self, address: int) -> Area | None:
        """The area that holds `address`, or None."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and self._areas[index].end > address:
            return self._areas[index]
        return None

    def fault(self, address: int) -> Fault:
        """The fault of an access to `address`, which this space does not allow."""
        unsure = False
        if self.crowded and self._areas and self.find(address) is None:
            low, high = self._areas[0].start, self._areas[-1].end
            below, above = (low - address) % (1 << 64), (address - high) % (1 << 64)
            unsure = not low <= address < high and min(below, above) < NEIGHBOURS
        return Fault("SIGSEGV", address, unsure)

    def store(self, address: int, length: int, force: bool = False) -> None:
        """A write of `length` bytes at `address`; `force` writes where anything is allowed. Raises Fault."""
        for place in {address, address + length - 1}:
            area = self.find(place)
            if area is None or not (area.prot & 2 or (force and area.prot)):
                raise self.fault(place)
            if not self.backed(area, place):
                raise Fault("SIGBUS", place)

    def reach(self, address: int, length: int, write: bool = False) -> None:
        """Whether every byte of a range can be read, or written. Raises Fault for the first page that cannot."""
        page, end = address, address + length
        while page < end:
            self._touch(page, write)
            area = self.find(page)
            page = area.end if area is not None and area.blob is None else self.down(page) + self.page

    def covers(self, start: int, end: int) -> bool:
        """Whether every address in [start, end) is mapped; a range that wraps around never is."""
        if end < start:
            return False
        while start < end:
            area = self.find(start)
            if area is None:
                return False
            start = area.end
        return start >= end > 0

    def backed(self, area: Area, address: int) -> bool:
        """Whether the page of `address` lies inside the file (a page past its end is SIGBUS)."""
        if area.blob is None:
            return True
        offset = area.offset + (self.down(address) - area.start if self.down(address) >= area.start else 0)
        return offset < area.blob.size or self.down(address) in self._private

    def _touch(self, address: int, write: bool) -> Area:
        area = self.find(address)
        if area is None or not area.prot or (write and not area.prot & 2):
            raise self.fault(address)
        if not self.backed(area, address):
            raise Fault("SIGBUS", address)
        return area

    def _page_bytes(self, page: int) -> bytes:
        """The bytes of one page that is mapped as a whole."""
        private = self._private.get(page)
        if private is not None:
            return private
        area = self._touch(page, write=False)
        if area.blob is None:
            return bytes(self.page)
        return area.blob.read(area.offset + page - area.start, self.page).ljust(self.page, b"\0")

    def _window(self, address: int, length: int) -> tuple[int, bytes] | None:
        """The start and bytes of the area around an address, as it lies in the file; None where it is not so simple."""
        for start, end, data in self._windows:
            if start <= address and address + length <= end:
                return start, data
        area = self.find(address)
        if area is None or not area.prot or area.blob is None or area.end - area.start > WINDOW:
            return None
        data = area.blob.read(area.offset, min(area.end - area.start, max(area.blob.size - area.offset, 0)))
        dirty = [page for page in self._private if area.start <= page < area.end]
        end = area.start + len(data) if not dirty else min(area.start + len(data), *dirty)
        self._windows.append((area.start, end, data))
        return (area.start, data) if address + length <= end else None

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at `address`. Raises Fault; unsure where only execution is allowed: CPUs differ."""
        area = self.find(address)
        if area is not None and area.prot == EXECUTE_ONLY:
            raise Fault("SIGSEGV", address, unsure=True)
        if self._written:
            self._taint(address, length)
        return self.fetch(address, length)

    def fetch(self, address: int, length: int) -> bytes:
        """`length` bytes at `address`, read in order to be executed. Raises Fault."""
        window = self._window(address, length)
        if window is not None:
            at = address - window[0]
            return window[1][at : at + length]
        pieces: list[bytes] = []
        while length > 0:
            page = self.down(address)
            self._touch(address, write=False)
            take = min(length, page + self.page - address)
            pieces.append(self._page_bytes(page)[address - page : address - page + take])
            address, length = address + take, length - take
        return b"".join(pieces)

    def string(self, address: int, limit: int = 65536) -> bytes:
        """The NUL-terminated string at `address`, without its NUL. Raises Fault."""
        found = self._string(address, limit)
        area = self.find(address)
        if area is not None and area.prot == EXECUTE_ONLY:
            raise Fault("SIGSEGV", address, unsure=True)
        if self._written:
            self._taint(address, len(found) + 1)
        return found

    def _string(self, address: int, limit: int) -> bytes:
        window = self._window(address, 1)
        if window is not None:
            at = address - window[0]
            end = window[1].find(b"\0", at, at + limit)
            if end >= 0 and self._window(address, end - at + 1) is not None:
                return window[1][at:end]
        found = b""
        while len(found) < limit:
            take = min(self.down(address) + self.page - address, 256)
            chunk = self.fetch(address, take)
            end = chunk.find(b"\0")
            if end >= 0:
                return found + chunk[:end]
            found += chunk
            address += take
        return found

    @property
    def pristine(self) -> bool:
        """Whether no loader writes to any table of it."""
        return not self._written and not self.tainted

    def stretch(self, address: int) -> tuple[bytes, int] | None:
        """The bytes of the area around an address and the index of the address in them.

        None where they are not simply those of the file, or must not be read.
        """
        area = self.find(address)
        window = self._window(address, 1)
        if window is None or area is None or area.prot == EXECUTE_ONLY or not self.pristine:
            return None
        dirty = any(area.start <= page < area.end for page in self._private)
        return None if dirty else (window[1], address - window[0])

    def clear(self, start: int, end: int, force: bool = False) -> None:
        """Write zeros to [start, end). Raises Fault; `force` writes through a missing PROT_WRITE."""
        self._windows.clear()
        while start < end:
            page = self.down(start)
            self._touch(start, write=not force)
            stop = min(end, page + self.page)
            whole = bytearray(self._page_bytes(page))
            whole[start - page : stop - page] = bytes(stop - start)
            self._private[page] = bytes(whole)
            start = stop
