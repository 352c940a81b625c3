//! Layers: values in even columns, instructions in odd ones, and dummies where an edge passes through a column.

use super::DrawError;
use super::diagram::Diagram;

/// A place in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// A node of the diagram.
    Node(usize),
    /// An edge from this node passes through.
    Dummy(usize),
}

/// A stretch of an edge between neighbouring layers, by spots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) dashed: bool,
}

/// Spots with their layers, and the segments between them.
#[derive(Clone, Debug)]
pub(super) struct Layered {
    pub(super) spots: Vec<Spot>,
    /// The layer of each spot.
    pub(super) layer: Vec<usize>,
    pub(super) n_layers: usize,
    pub(super) segments: Vec<Segment>,
}

/// Every node as early as its arguments allow, initial values as late as their first use allows. Edges that leave the
/// same node share their dummies, so that a value that is used everywhere is one line with branches.
pub(super) fn layers(diagram: &Diagram, limit: usize) -> Result<Layered, DrawError> {
    let n = diagram.nodes.len();
    let mut incoming = vec![Vec::new(); n];
    let mut outgoing = vec![Vec::new(); n];
    for edge in &diagram.edges {
        incoming[edge.to].push(edge.from);
        outgoing[edge.from].push(edge.to);
    }
    // Nodes are in topological order.
    let mut layer = vec![0usize; n];
    for node in 0..n {
        let least = usize::from(diagram.nodes[node].shape.is_instruction());
        layer[node] = incoming[node].iter().map(|&from| layer[from] + 1).max().unwrap_or(0).max(least);
    }
    for node in (0..n).filter(|&node| incoming[node].is_empty()) {
        if let Some(first) = outgoing[node].iter().map(|&to| layer[to]).min() {
            layer[node] = first - 1;
        }
    }
    let n_layers = layer.iter().max().map_or(0, |last| last + 1);

    let mut spots: Vec<Spot> = (0..n).map(Spot::Node).collect();
    let mut segments = Vec::new();
    // The chain of dummies of each node, from the layer after it on.
    let mut chains: Vec<Vec<usize>> = vec![Vec::new(); n];
    for edge in &diagram.edges {
        let mut at = edge.from;
        for between in layer[edge.from] + 1..layer[edge.to] {
            let k = between - layer[edge.from] - 1;
            if chains[edge.from].len() == k {
                if spots.len() == limit {
                    return Err(DrawError::TooLarge { name: diagram.name.clone(), needed: limit + 1, limit });
                }
                chains[edge.from].push(spots.len());
                segments.push(Segment { from: at, to: spots.len(), dashed: false });
                spots.push(Spot::Dummy(edge.from));
                layer.push(between);
            }
            at = chains[edge.from][k];
        }
        segments.push(Segment { from: at, to: edge.to, dashed: edge.dashed });
    }
    if limit < spots.len() {
        return Err(DrawError::TooLarge { name: diagram.name.clone(), needed: spots.len(), limit });
    }
    Ok(Layered { spots, layer, n_layers, segments })
}
