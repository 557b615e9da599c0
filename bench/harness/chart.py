"""The bar chart: what a spawn and join costs, and skynet, on a logarithmic scale. Colours fit a light and a dark page."""

import math
from xml.sax.saxutils import escape

WIDTH, LABEL, BAR, GAP = 760, 150, 16, 7
LEFT, RIGHT = LABEL + 10, WIDTH - 90
STYLE = """<style>
text { font: 12px sans-serif; fill: #333 } .title { font-weight: bold } .axis { fill: #777 }
.bar { fill: #8a94a6 } .thrum { fill: #d9622b } .grid { stroke: #8886; stroke-width: 1 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .axis { fill: #aaa } .bar { fill: #7c879c } .thrum { fill: #f08040 } }
</style>"""


def scale(values):
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)) + 1e-9)
    return low, max(high, low + 1)


def at(value, low, high):
    return LEFT + (RIGHT - LEFT) * (math.log10(value) - low) / (high - low)


def panel(title, unit, rows, top):
    """Rows of (label, value, is thrum), the smallest first; returns SVG lines and where they end."""
    rows = sorted(rows, key=lambda row: row[1])
    floor = 0.1  # a cost below it, or none, is drawn at it
    low, high = scale([max(value, floor) for _, value, _ in rows])
    bottom = top + 24 + len(rows) * (BAR + GAP)
    lines = [f'<text class="title" x="4" y="{top + 12}">{escape(title)}</text>']
    for power in range(low, high + 1):
        x = at(10**power, low, high)
        lines.append(f'<line class="grid" x1="{x:.1f}" y1="{top + 20}" x2="{x:.1f}" y2="{bottom}"/>')
        lines.append(f'<text class="axis" x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{10**power:g}</text>')
    for i, (label, value, is_thrum) in enumerate(rows):
        y = top + 24 + i * (BAR + GAP)
        end = max(at(max(value, floor), low, high), LEFT + 2)
        lines.append(f'<text x="{LABEL}" y="{y + 12}" text-anchor="end">{escape(label)}</text>')
        lines.append(f'<rect class="{"thrum" if is_thrum else "bar"}" x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}"/>')
        text = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
        lines.append(f'<text x="{end + 5:.1f}" y="{y + 12}">{text} {unit}</text>')
    return lines, bottom + 34


def svg(panels):
    body, top = [], 6
    for title, unit, rows in panels:
        if rows:
            lines, top = panel(title, unit, rows, top)
            body += lines
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">',
                      STYLE, *body, "</svg>"]) + "\n"


def panels(figures, there):
    fib, sky = [], []
    for peer in there:
        if peer.name != "serial":
            for workload, suffix in (("fib", ", typed"), ("fib-generic", ", generic")):
                cost = figures.over_serial(peer.name, workload, 1)
                if cost is not None:
                    fib.append((peer.label + (suffix if peer.name == "thrum" else ""), cost, peer.name == "thrum"))
        wall = figures.wall_ms(peer.name, "skynet", 1 if peer.name == "serial" else 2)
        if wall is not None:
            sky.append((peer.label + (", 1 core" if peer.name == "serial" else ""), wall, peer.name == "thrum"))
    return [("A spawn and join beyond a call: fib without cutoff, 1 worker, ns", "ns", fib),
            ("skynet: 1.11 million tasks, 2 workers, ms", "ms", sky)]
