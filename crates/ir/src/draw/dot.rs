//! A diagram for Graphviz.

use std::fmt::Write as _;

use super::diagram::{Diagram, Node, Shape};

/// One `digraph`.
pub(super) fn write(diagram: &Diagram) -> String {
    let mut out = format!("digraph \"{}\" {{\n", quoted(&diagram.name));
    out.push_str("  rankdir=LR;\n  node [fontname=\"monospace\", fontsize=11];\n  edge [arrowsize=0.6];\n");
    for (k, node) in diagram.nodes.iter().enumerate() {
        let _ = writeln!(out, "  n{k} [{}, tooltip=\"{}\"];", look(node), quoted(&node.title));
    }
    for edge in &diagram.edges {
        let style = if edge.dashed { "style=dashed, " } else { "" };
        let head = if diagram.nodes[edge.to].shape.is_instruction() { "none" } else { "normal" };
        let _ = writeln!(out, "  n{} -> n{} [{style}arrowhead={head}];", edge.from, edge.to);
    }
    out.push_str("}\n");
    out
}

fn look(node: &Node) -> String {
    let label = node.lines.join("\n");
    let small = |shape: &str, fill: &str| {
        format!(
            "shape={shape}, style=filled, fillcolor={fill}, width=0.2, fixedsize=true, label=\"\", xlabel=\"{}\"",
            quoted(&label)
        )
    };
    match node.shape {
        Shape::Empty => small("circle", "white"),
        Shape::Filled => small("circle", "black"),
        Shape::Square => small("square", "white"),
        Shape::Rhombus => small("diamond", "white"),
        Shape::Gate => format!("shape=box, style=rounded, label=\"{}\"", quoted(&label)),
        // The second, empty field of the record is the bar on the side of the output.
        Shape::BarGate => format!("shape=record, label=\"{{{}|}}\"", in_record(&label)),
        Shape::Matrix => format!("shape=plain, label=\"{}\"", quoted(&label)),
    }
}

/// Text inside of double quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Text inside of a field of a record.
fn in_record(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '{' | '}' | '|' | '<' | '>' | '\\' | '"' => out.extend(['\\', c]),
            ' ' => out.push_str("\\ "),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
}
