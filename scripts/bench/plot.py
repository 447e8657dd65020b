"""The curves as one SVG: two log-log panels, readable on light and on dark."""

import math
from html import escape

WIDTH, HEIGHT = 420, 300
LEFT, TOP = 70, 40
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600 }
.grid { stroke: #8884; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
.peer { stroke-dasharray: 5 4 }
.bar { fill: none; stroke: #888; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } }
"""
COLOURS = {"refrain": ("#2f6fde", "#7b4bd6"), "DVC": ("#d9822b", "#b5651d"), "Snakemake": ("#3a9d5d", "#2b7a78"),
           "": ("#2f6fde", "#7b4bd6")}
PANELS = [
    ("Seconds by stages", (10, 10_000), (0.01, 100), lambda name: ", " in name and "CSV" not in name),
    ("Seconds by rows", (1000, 1_000_000), (0.001, 10), lambda name: "CSV" in name or "known" in name),
]
# What is asked of refrain: where, and how many seconds at most.
BARS = [[(10, 0.02), (1000, 0.1), (10_000, 1), (1000, 5)], [(1_000_000, 1)]]


def decades(first, last):
    """1, 10, 100 … from first to last."""
    return [10.0 ** power for power in range(round(math.log10(first)), round(math.log10(last)) + 1)]


def series(points, wanted):
    """The points by curve, in the order of the curves' first appearance."""
    curves = {}
    for name, size, seconds in points:
        if wanted(name):
            curves.setdefault(name, []).append((size, seconds))
    return {name: sorted(curve) for name, curve in curves.items()}


def colour(name, seen):
    """A colour for a curve: each program has two."""
    program = next((program for program in COLOURS if program and name.startswith(program)), "")
    seen[program] = seen.get(program, -1) + 1
    return COLOURS[program][seen[program] % 2], program not in ("", "refrain")


def panel(left, points, title, across, up, wanted, bars):
    """One panel, its left edge at `left`."""
    def x(size):
        return left + WIDTH * math.log10(size / across[0]) / math.log10(across[1] / across[0])

    def y(seconds):
        return TOP + HEIGHT * (1 - math.log10(seconds / up[0]) / math.log10(up[1] / up[0]))

    yield f'<text class="title" x="{left}" y="{TOP - 14}">{title}</text>'
    for size in decades(*across):
        yield f'<path class="grid" d="M{x(size):.1f} {TOP}v{HEIGHT}"/>'
        yield f'<text x="{x(size):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{size:,.0f}</text>'
    for seconds in decades(*up):
        yield f'<path class="grid" d="M{left} {y(seconds):.1f}h{WIDTH}"/>'
        yield f'<text x="{left - 8}" y="{y(seconds) + 4:.1f}" text-anchor="end">{seconds:g} s</text>'
    for size, seconds in bars:
        yield f'<path class="bar" d="M{x(size) - 9:.1f} {y(seconds):.1f}h18m-9 0v7"/>'
    seen, below = {}, TOP + HEIGHT + 44
    for name, curve in series(points, wanted).items():
        stroke, is_peer = colour(name, seen)
        path = "L".join(f"{x(size):.1f} {y(seconds):.1f}" for size, seconds in curve)
        yield f'<path class="line{" peer" if is_peer else ""}" stroke="{stroke}" d="M{path}"/>'
        for size, seconds in curve:
            yield f'<circle cx="{x(size):.1f}" cy="{y(seconds):.1f}" r="3" fill="{stroke}"/>'
        yield f'<path class="line{" peer" if is_peer else ""}" stroke="{stroke}" d="M{left} {below - 4}h26"/>'
        yield f'<text x="{left + 34}" y="{below}">{escape(name)}</text>'
        below += 18
    yield f'<path class="bar" d="M{left + 4} {below - 4}h18m-9 0v7"/>'
    yield f'<text x="{left + 34}" y="{below}">the most that is allowed</text>'


def draw(points, path):
    """Writes the plot of all curves."""
    whole = LEFT + 2 * (WIDTH + LEFT), TOP + HEIGHT + 44 + 7 * 18
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole[0]} {whole[1]}">', f"<style>{STYLE}</style>"]
    for number, (title, across, up, wanted) in enumerate(PANELS):
        left = LEFT + number * (WIDTH + LEFT + 20)
        parts += panel(left, points, title, across, up, wanted, BARS[number])
    with open(path, "w") as file:
        file.write("\n".join([*parts, "</svg>\n"]))
