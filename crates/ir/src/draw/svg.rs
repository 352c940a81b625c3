//! A placed diagram as SVG.

use std::fmt::Write as _;

use super::DrawOptions;
use super::bands::{Band, bands, name};
use super::diagram::{Diagram, Node, Shape};
use super::layers::Spot;
use super::place::{CHARACTER, LINE, Placed, RADIUS, node_extent, node_width};

/// Space around everything.
const MARGIN: f64 = 16.0;
/// Space below a picture.
const BELOW: f64 = 26.0;
/// Space between the rows of a picture.
const BETWEEN: f64 = 34.0;

const STYLE: &str = "\
.netsor { --ink: var(--netsor-ink, #1b1f24); --paper: var(--netsor-paper, #ffffff); --quiet: var(--netsor-quiet, #5b6470); color: var(--ink); \
font: 12.5px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; }
@media (prefers-color-scheme: dark) { .netsor { --ink: var(--netsor-ink, #e6e9ee); --paper: var(--netsor-paper, #14171c); --quiet: var(--netsor-quiet, #9aa4b2); } }
.netsor .page { fill: var(--paper); }
.netsor .line { fill: none; stroke: currentColor; stroke-width: 1.2; opacity: 0.75; }
.netsor .dashed { stroke-dasharray: 5 3.5; }
.netsor .open { fill: var(--paper); stroke: currentColor; stroke-width: 1.4; }
.netsor .filled { fill: currentColor; stroke: currentColor; stroke-width: 1.4; }
.netsor .bar { stroke: currentColor; stroke-width: 4; }
.netsor .arrow { fill: currentColor; opacity: 0.85; }
.netsor text { fill: currentColor; text-anchor: middle; }
.netsor .matrix { font-style: italic; font-weight: 600; }
.netsor .quiet { fill: var(--quiet); }
.netsor .title { font-weight: 600; text-anchor: start; }
.netsor .legend { text-anchor: start; fill: var(--quiet); }
";

/// All pictures, one below the other, then the legend.
pub(super) fn write(drawn: &[(&Diagram, Placed)], options: &DrawOptions) -> String {
    let titled = 1 < drawn.len();
    let legend_width: f64 = LEGEND.iter().map(|(_, text)| legend_entry(text)).sum();
    // A legend that does not fit into one line takes two columns a line.
    let rows_of = |(diagram, placed): &(&Diagram, Placed)| bands(diagram, placed, f64::from(options.width));
    let all: Vec<Vec<Band>> = drawn.iter().map(rows_of).collect();
    let least = if options.legend { 330.0 } else { 0.0 };
    let inner = all.iter().flatten().map(|band| band.width).fold(least, f64::max);
    let rows = if options.legend { (legend_width / inner).ceil().max(1.0) } else { 0.0 };
    let mut body = String::new();
    let mut y = MARGIN;
    for ((diagram, placed), bands) in drawn.iter().zip(&all) {
        if titled {
            let _ = writeln!(
                body,
                "<text class=\"title\" x=\"{MARGIN}\" y=\"{:.1}\">{}</text>",
                y + 12.0,
                escape(&diagram.name)
            );
            y += 28.0;
        }
        for (k, band) in bands.iter().enumerate() {
            y += if k == 0 { 0.0 } else { BETWEEN };
            let _ = writeln!(body, "<g transform=\"translate({MARGIN} {:.1})\">", y - band.y.0);
            picture(&mut body, diagram, placed, band);
            body.push_str("</g>\n");
            y += band.y.1 - band.y.0;
        }
        y += BELOW;
    }
    if options.legend {
        y += legend(&mut body, inner, y, rows);
    }
    let (width, height) = (inner + 2.0 * MARGIN, y - BELOW + MARGIN);
    let names: Vec<&str> = drawn.iter().map(|(d, _)| d.name.as_str()).collect();
    let title = escape(&names.join(", "));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"netsor\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n{body}</svg>\n"
    )
}

fn picture(out: &mut String, diagram: &Diagram, placed: &Placed, band: &Band) {
    let layered = &placed.layered;
    let column = |spot: usize| {
        let (left, right) = placed.columns[layered.layer[spot]];
        (left + band.shift, right + band.shift)
    };
    let centre = |spot: usize| (column(spot).0 + column(spot).1) / 2.0;
    let entered = |spot: usize| !band.layers.contains(&layered.layer[spot]);
    for segment in layered.segments.iter().filter(|s| !entered(s.to)) {
        let (y0, y1) = (placed.y[segment.from], placed.y[segment.to]);
        let (x0, right) = match layered.spots[segment.from] {
            _ if entered(segment.from) => entry_end(diagram, placed, segment.from),
            Spot::Node(node) => (centre(segment.from) + reach(&diagram.nodes[node]), column(segment.from).1),
            Spot::Dummy(_) => column(segment.from),
        };
        let (x1, arrow) = match layered.spots[segment.to] {
            Spot::Node(node) => {
                let node = &diagram.nodes[node];
                (centre(segment.to) - reach(node), !node.shape.is_instruction())
            }
            Spot::Dummy(_) => (column(segment.to).0, false),
        };
        let (bend0, bend1) = (right.max(x0), column(segment.to).0.min(x1));
        let middle = (bend0 + bend1) / 2.0;
        let class = if segment.dashed { "line dashed" } else { "line" };
        let _ = writeln!(
            out,
            "<path class=\"{class}\" d=\"M{x0:.1} {y0:.1}H{bend0:.1}C{middle:.1} {y0:.1} {middle:.1} {y1:.1} {bend1:.1} {y1:.1}H{x1:.1}\"/>"
        );
        if arrow {
            arrowhead(out, x1, y1);
        }
    }
    for &spot in &band.entries {
        let _ = writeln!(
            out,
            "<text class=\"legend\" x=\"0\" y=\"{:.1}\">{}</text>",
            placed.y[spot] + 4.5,
            escape(name(diagram, placed, spot))
        );
    }
    for &spot in &band.exits {
        let from = match layered.spots[spot] {
            Spot::Node(node) => centre(spot) + reach(&diagram.nodes[node]),
            Spot::Dummy(_) => column(spot).0,
        };
        let (y, tip) = (placed.y[spot], column(spot).1.max(from) + 26.0);
        let _ = writeln!(out, "<path class=\"line\" d=\"M{from:.1} {y:.1}H{tip:.1}\"/>");
        arrowhead(out, tip, y);
    }
    for (spot, kind) in layered.spots.iter().enumerate() {
        if let Spot::Node(node) = kind
            && !entered(spot)
        {
            draw_node(out, &diagram.nodes[*node], centre(spot), placed.y[spot]);
        }
    }
}

/// Where the edge of a value that enters a row begins, after its name.
fn entry_end(diagram: &Diagram, placed: &Placed, spot: usize) -> (f64, f64) {
    let end = name(diagram, placed, spot).chars().count() as f64 * CHARACTER + 4.0;
    (end, end)
}

fn arrowhead(out: &mut String, x: f64, y: f64) {
    let _ = writeln!(out, "<path class=\"arrow\" d=\"M{x:.1} {y:.1}l-6.5 -3.2v6.4z\"/>");
}

/// Half the width of the node itself, without a label beside it.
fn reach(node: &Node) -> f64 {
    match node.shape {
        Shape::Empty | Shape::Filled | Shape::Rhombus => RADIUS,
        Shape::Square => RADIUS - 1.0,
        Shape::Gate | Shape::Matrix => node_width(node) / 2.0,
        Shape::BarGate => node_width(node) / 2.0 + 2.0,
    }
}

fn draw_node(out: &mut String, node: &Node, x: f64, y: f64) {
    let _ = writeln!(out, "<g><title>{}</title>", escape(&node.title));
    if node.family && !node.shape.is_instruction() {
        symbol(out, node.shape, "open", x + 3.0, y - 3.0);
    }
    match node.shape {
        Shape::Gate | Shape::BarGate => {
            let (w, h) = (node_width(node), 2.0 * node_extent(node).0);
            let _ = writeln!(
                out,
                "<rect class=\"open\" x=\"{:.1}\" y=\"{:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"5\"/>",
                x - w / 2.0,
                y - h / 2.0
            );
            if node.shape == Shape::BarGate {
                let at = x + w / 2.0;
                let _ = writeln!(
                    out,
                    "<line class=\"bar\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                    y - h / 2.0,
                    y + h / 2.0
                );
            }
            let first = y - (node.lines.len() as f64 - 1.0) * LINE / 2.0 + 4.5;
            for (k, line) in node.lines.iter().enumerate() {
                text(out, "", x, first + k as f64 * LINE, line);
            }
        }
        Shape::Matrix => text(out, "matrix", x, y + 4.5, node.lines.first().map_or("", String::as_str)),
        shape => {
            symbol(out, shape, if shape == Shape::Filled { "filled" } else { "open" }, x, y);
            text(out, "quiet", x, y + RADIUS + 13.0, node.lines.first().map_or("", String::as_str));
        }
    }
    out.push_str("</g>\n");
}

fn symbol(out: &mut String, shape: Shape, class: &str, x: f64, y: f64) {
    let _ = match shape {
        Shape::Square => {
            let side = RADIUS - 1.0;
            let (left, top, size) = (x - side, y - side, 2.0 * side);
            writeln!(
                out,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{size:.1}\" height=\"{size:.1}\"/>"
            )
        }
        Shape::Rhombus => writeln!(
            out,
            "<path class=\"{class}\" d=\"M{x:.1} {:.1}l{RADIUS} {RADIUS}l-{RADIUS} {RADIUS}l-{RADIUS} -{RADIUS}z\"/>",
            y - RADIUS
        ),
        _ => writeln!(out, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\"/>"),
    };
}

fn text(out: &mut String, class: &str, x: f64, y: f64, content: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = writeln!(out, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(content));
}

const LEGEND: [(Shape, &str); 7] = [
    (Shape::Empty, "G-var"),
    (Shape::Filled, "X-var"),
    (Shape::Square, "scalar"),
    (Shape::Rhombus, "constant size"),
    (Shape::Matrix, "matrix product"),
    (Shape::Gate, "Nonlin"),
    (Shape::BarGate, "Moment"),
];

/// The width of an entry of the legend.
fn legend_entry(text: &str) -> f64 {
    46.0 + text.chars().count() as f64 * CHARACTER
}

/// Draws the legend from `top` and gives its height.
fn legend(out: &mut String, width: f64, top: f64, rows: f64) -> f64 {
    let total: f64 = LEGEND.iter().map(|(_, text)| legend_entry(text)).sum();
    let each_row = (total / rows).max(220.0);
    let (mut x, mut y) = (MARGIN, top + 10.0);
    for (k, (shape, label)) in LEGEND.iter().enumerate() {
        let entry = legend_entry(label);
        if 0 < k && (MARGIN + width < x + entry - 20.0 || MARGIN + each_row + 60.0 < x + entry) {
            x = MARGIN;
            y += 24.0;
        }
        match shape {
            Shape::Matrix => {
                let _ = writeln!(out, "<path class=\"line dashed\" d=\"M{x:.1} {y:.1}h24\"/>");
            }
            Shape::Gate | Shape::BarGate => {
                let _ = writeln!(
                    out,
                    "<rect class=\"open\" x=\"{x:.1}\" y=\"{:.1}\" width=\"20\" height=\"16\" rx=\"4\"/>",
                    y - 8.0
                );
                if *shape == Shape::BarGate {
                    let _ = writeln!(
                        out,
                        "<line class=\"bar\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{2:.1}\"/>",
                        x + 20.0,
                        y - 8.0,
                        y + 8.0
                    );
                }
            }
            shape => symbol(out, *shape, if *shape == Shape::Filled { "filled" } else { "open" }, x + 10.0, y),
        }
        let _ = writeln!(out, "<text class=\"legend\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>", x + 30.0, y + 4.5);
        x += entry;
    }
    y - top + 8.0 + BELOW
}

/// Text inside of XML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
