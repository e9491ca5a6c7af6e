"""Where rooms lie on the shards of a Redis cluster, and what hot rooms make of that: the plot of docs/scaling.md.

    python bench/placement.py [--picture docs/pictures/placement.svg]

Rooms have popularities by Zipf's law: the n-th has a share proportional to n^-s. A room lies where the CRC16 of its
name puts it (Redis Cluster's specification, "Key distribution model"), as the hash tags of our keys have it. What one
shard carries is the sum of its rooms. Three placements:

- even: each shard has as many slots as any other, as a cluster begins;
- moved: slots are given to shards by what they carry, the heaviest first, each to the shard that has least;
- the floor: nothing can carry less than its heaviest room, for a room is one log.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SLOTS = 16_384
ROOMS = 200_000
SHARDS = (1, 2, 4, 8, 16, 32, 64)
EXPONENTS = (0.7, 1.0, 1.2)


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM, by which Redis Cluster hashes keys."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


class Outcome(NamedTuple):
    """What the busiest shard carries, as a share of everything."""

    even: float
    moved: float
    floor: float


def simulate(exponent: float, slots_of_rooms: list[int]) -> dict[int, Outcome]:
    """For each number of shards."""
    shares = [n**-exponent for n in range(1, len(slots_of_rooms) + 1)]
    total = sum(shares)
    slots = [0.0] * SLOTS
    for slot, share in zip(slots_of_rooms, shares, strict=True):
        slots[slot] += share / total
    outcomes = {}
    for count in SHARDS:
        even = [sum(slots[SLOTS * n // count : SLOTS * (n + 1) // count]) for n in range(count)]
        loads = [0.0] * count
        for load in sorted(slots, reverse=True):
            heapq.heapreplace(loads, loads[0] + load)
        outcomes[count] = Outcome(max(even), max(loads), max(shares[0] / total, 1 / count))
    return outcomes


COLOURS = {"even": "#d4562e", "moved": "#2e7dd4", "floor": "#888888"}


def picture(results: dict[float, dict[int, Outcome]]) -> str:
    """One panel for each exponent; both axes are logarithmic."""
    width, height, left, top = 250, 230, 52, 46
    whole = left + len(results) * (width + 58)

    def x(count: int) -> float:
        return SHARDS.index(count) * width / (len(SHARDS) - 1)

    def y(share: float) -> float:
        return height * -math.log2(share) / 6

    def panel(exponent: float, outcomes: dict[int, Outcome]) -> Iterator[str]:
        yield f'<text class="title" x="{width / 2}" y="-12">s = {exponent}</text>'
        for power in range(0, 7, 2):
            at = y(2**-power)
            yield f'<line class="grid" x1="0" x2="{width}" y1="{at:.1f}" y2="{at:.1f}"/>'
            label = f"{100 / 2**power:.3g} %"
            yield f'<text class="tick" x="-6" y="{at + 4:.1f}" text-anchor="end">{label}</text>'
        for count in SHARDS:
            yield f'<text class="tick" x="{x(count):.1f}" y="{height + 18}" text-anchor="middle">{count}</text>'
        for name, colour in COLOURS.items():
            points = " ".join(f"{x(count):.1f},{y(getattr(one, name)):.1f}" for count, one in outcomes.items())
            dash = ' stroke-dasharray="5 4"' if name == "floor" else ""
            yield f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dash} points="{points}"/>'

    parts = [
        f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {height + 112}" role="img" font-size="12"
  font-family="system-ui, sans-serif">""",
        "<title>What the busiest of so many shards carries, of everything, by how unequal rooms are</title>",
        """<style>text{fill:#333}.title{font-size:14px;font-weight:600;text-anchor:middle}.grid{stroke:#ccc}
  @media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}}</style>""",
    ]
    for n, (exponent, outcomes) in enumerate(results.items()):
        parts.append(f'<g transform="translate({left + n * (width + 58)} {top})">')
        parts += panel(exponent, outcomes)
        parts.append("</g>")
    parts.append(f'<text x="{whole / 2}" y="{top + height + 38}" text-anchor="middle">shards</text>')
    captions = {
        "even": "slots as a cluster begins",
        "moved": "slots moved by load",
        "floor": "no placement can do better",
    }
    for n, (name, colour) in enumerate(COLOURS.items()):
        at = left + n * 230
        parts.append(f'<rect x="{at}" y="{top + height + 50}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{at + 20}" y="{top + height + 57}">{captions[name]}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    """Print the table, and draw it if that is wanted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--rooms", type=int, default=ROOMS)
    arguments = parser.parse_args()
    slots = [crc16(f"room-{n}".encode()) % SLOTS for n in range(arguments.rooms)]
    results = {exponent: simulate(exponent, slots) for exponent in EXPONENTS}
    print("| shards | " + " | ".join(f"s = {s}: even | moved | floor" for s in EXPONENTS) + " |")
    print("| --- |" + " --- |" * 3 * len(EXPONENTS))
    for count in SHARDS:
        cells = [f"{100 * share:.1f} %" for s in EXPONENTS for share in results[s][count]]
        print(f"| {count} | " + " | ".join(cells) + " |")
    if arguments.picture:
        arguments.picture.write_text(picture(results), "utf-8")


if __name__ == "__main__":
    main()
