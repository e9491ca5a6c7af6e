"""Scrubbing: overwrites what SQLite leaves in the unused parts of its pages.

With `secure_delete`, SQLite overwrites cells that are deleted and pages that become free. What it leaves is between the
two: when a page is split, the cells that have moved to another one stay where they were, in the gap between the page's
array of cell pointers and its content (https://www.sqlite.org/fileformat2.html, section 1.6). So a message may be in
the file once more than `UPDATE` knows of. Here the gaps of all pages of trees are filled with zeros, by a walk from the
roots, so that no other page is taken for one.

It is done while nothing else writes, and the WAL is empty, so that the file has the present version of each page. The
bytes mean nothing to SQLite; but a page in the cache of a connection has them, too, and would bring them back. So the
caller empties its own cache, and commits something, which empties those of others.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence

LEAF_INDEX, LEAF_TABLE, INTERIOR_INDEX, INTERIOR_TABLE = 10, 13, 2, 5
_HEADER = {LEAF_INDEX: 8, LEAF_TABLE: 8, INTERIOR_INDEX: 12, INTERIOR_TABLE: 12}
BLOCK_PAGES = 256
_ZEROS = bytes(65536)


class Pages:
    """The file of a database that nothing writes to at the moment.

    Args:
        number: Of an open file.
    """

    def __init__(self, number: int) -> None:
        self._file = number
        size = struct.unpack(">H", os.pread(number, 2, 16))[0]
        self.size = 65536 if size == 1 else int(size)
        self.count = os.fstat(number).st_size // self.size

    def read(self, page: int, count: int = 1) -> bytes:
        """Return some pages; the first one of the file is 1."""
        return os.pread(self._file, count * self.size, (page - 1) * self.size)

    def trees(self, roots: Sequence[int]) -> set[int]:
        """Return the pages of trees that have cells, but for the first page of the file, which has the schema."""
        found: set[int] = set()
        waiting = [root for root in roots if root > 1]
        while waiting:
            page = waiting.pop()
            found.add(page)
            data = self.read(page)
            kind = data[0]
            if kind in (LEAF_INDEX, LEAF_TABLE):  # a root without anything below it
                continue
            children = list(self._children(data))
            first = self.read(children[0])[0]
            if first in (LEAF_INDEX, LEAF_TABLE):
                found.update(children)  # all leaves of a tree are equally deep
            else:
                waiting += children
        return found

    def _children(self, data: bytes) -> Iterator[int]:
        count, right = struct.unpack_from(">H", data, 3)[0], struct.unpack_from(">I", data, 8)[0]
        for pointer in struct.unpack_from(f">{count}H", data, 12):
            yield struct.unpack_from(">I", data, pointer)[0]
        yield right

    def scrub(self, pages: set[int], first: int) -> int:
        """Fill the gaps of those of *pages* with zeros that are in the block that begins at *first*; return where the
        next block begins."""
        block = self.read(first, BLOCK_PAGES)
        for n in range(len(block) // self.size):
            if first + n not in pages:
                continue
            at = n * self.size
            header = _HEADER.get(block[at])
            if header is None:
                continue
            cells, content = struct.unpack_from(">HH", block, at + 3)
            begin, end = at + header + 2 * cells, at + (content or 65536)
            if begin < end <= at + self.size and block.count(0, begin, end) != end - begin:
                os.pwrite(self._file, _ZEROS[: end - begin], (first - 1) * self.size + begin)
        return first + BLOCK_PAGES
