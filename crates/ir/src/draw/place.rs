//! Coordinates: layers side by side, and within a layer the places nearest to the neighbours' that keep a distance.

use super::DrawError;
use super::diagram::{Diagram, Node, Shape};
use super::layers::{Layered, Spot, layers};
use super::order::{Neighbours, order};

/// Width of a character of the labels, in pixels: 0.6 em of a monospaced font, rounded up.
pub(super) const CHARACTER: f64 = 7.6;
/// Height of a line of a label.
pub(super) const LINE: f64 = 16.0;
/// Radius of a circle.
pub(super) const RADIUS: f64 = 8.0;
/// Space inside a gate, on each side.
const PADDING: f64 = 7.0;
/// Least vertical distance between things in a layer.
const GAP: f64 = 12.0;
/// Rounds of adjustment.
const ROUNDS: usize = 60;
/// A bend that is smaller than this is taken out where there is room.
const WIGGLE: f64 = 14.0;

/// A diagram with coordinates.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) layered: Layered,
    /// The centre of each spot.
    pub(super) y: Vec<f64>,
    /// Left and right side of each layer.
    pub(super) columns: Vec<(f64, f64)>,
    pub(super) width: f64,
}

/// The width of a node, with its label.
pub(super) fn node_width(node: &Node) -> f64 {
    let text = node.lines.iter().map(|l| l.chars().count()).max().unwrap_or(0) as f64 * CHARACTER;
    match node.shape {
        Shape::Gate | Shape::BarGate => text + 2.0 * PADDING,
        Shape::Matrix => text + 4.0,
        _ => text.max(2.0 * RADIUS + 4.0),
    }
}

/// How far a node reaches above and below its centre.
pub(super) fn node_extent(node: &Node) -> (f64, f64) {
    match node.shape {
        Shape::Gate | Shape::BarGate => {
            let half = node.lines.len() as f64 * LINE / 2.0 + 4.0;
            (half, half)
        }
        Shape::Matrix => (LINE / 2.0, LINE / 2.0),
        // The label stands below.
        _ => (RADIUS + 3.0, RADIUS + LINE),
    }
}

/// Layers, order and coordinates of a diagram.
pub(super) fn place(diagram: &Diagram, limit: usize) -> Result<Placed, DrawError> {
    let layered = layers(diagram, limit)?;
    let neighbours = Neighbours::new(&layered);
    let order = order(&layered, &neighbours);
    let extent = |spot: usize| match layered.spots[spot] {
        Spot::Node(node) => node_extent(&diagram.nodes[node]),
        Spot::Dummy(_) => (2.0, 2.0),
    };
    let gap = |upper: usize, lower: usize| extent(upper).1 + extent(lower).0 + GAP;

    let mut y = vec![0.0; layered.spots.len()];
    for layer in &order {
        for pair in layer.windows(2) {
            y[pair[1]] = y[pair[0]] + gap(pair[0], pair[1]);
        }
    }
    // Edges that pass through should be straight, so that their dummies pull hard at each other.
    let pull = |a: usize, b: usize| match (layered.spots[a], layered.spots[b]) {
        (Spot::Dummy(_), Spot::Dummy(_)) => 8.0,
        (Spot::Node(_), Spot::Node(_)) => 1.0,
        _ => 2.0,
    };
    for round in 0..ROUNDS {
        let settling = ROUNDS / 2 <= round;
        for k in 0..order.len() {
            let forward = round % 2 == 0;
            let k = if forward { k } else { order.len() - 1 - k };
            let wishes: Vec<(f64, f64)> = order[k]
                .iter()
                .map(|&spot| {
                    let before = neighbours.before[spot].iter().filter(|_| forward || settling);
                    let after = neighbours.after[spot].iter().filter(|_| !forward || settling);
                    let (mut sum, mut weight) = (0.0, 0.0);
                    for &other in before.chain(after) {
                        sum += pull(spot, other) * y[other];
                        weight += pull(spot, other);
                    }
                    if weight == 0.0 { (y[spot], 1e-3) } else { (sum / weight, weight) }
                })
                .collect();
            let gaps: Vec<f64> = order[k].windows(2).map(|pair| gap(pair[0], pair[1])).collect();
            for (&spot, at) in order[k].iter().zip(separate(&wishes, &gaps)) {
                y[spot] = at;
            }
        }
    }

    straighten(&layered, &neighbours, &order, &gap, &mut y);

    let top = (0..y.len()).map(|s| y[s] - extent(s).0).fold(f64::INFINITY, f64::min);
    let top = if top.is_finite() { top } else { 0.0 };
    y.iter_mut().for_each(|y| *y -= top);

    // A gap between layers is wide enough for its steepest edge to be drawn without a fold.
    let mut steepest = vec![0.0_f64; layered.n_layers];
    for segment in &layered.segments {
        let at = &mut steepest[layered.layer[segment.from]];
        *at = at.max((y[segment.from] - y[segment.to]).abs());
    }
    let mut columns = Vec::new();
    let mut x = 0.0;
    for (layer, steep) in order.iter().zip(&steepest) {
        let width = layer.iter().map(|&spot| match layered.spots[spot] {
            Spot::Node(node) => node_width(&diagram.nodes[node]),
            Spot::Dummy(_) => 0.0,
        });
        let width = width.fold(0.0, f64::max);
        columns.push((x, x + width));
        x += width + (18.0 + 0.12 * steep).min(70.0);
    }
    let width = columns.last().map_or(0.0, |c| c.1);
    Ok(Placed { layered, y, columns, width })
}

/// Takes out bends that need not be: a long edge runs level as far as there is room, and a node that follows a single
/// one stands beside it if it nearly did.
fn straighten(
    layered: &Layered,
    neighbours: &Neighbours,
    order: &[Vec<usize>],
    gap: &dyn Fn(usize, usize) -> f64,
    y: &mut [f64],
) {
    let mut place = vec![(0, 0); y.len()];
    for (k, layer) in order.iter().enumerate() {
        for (at, &spot) in layer.iter().enumerate() {
            place[spot] = (k, at);
        }
    }
    let room = |spot: usize, y: &[f64]| {
        let (k, at) = place[spot];
        let low = at.checked_sub(1).map_or(f64::NEG_INFINITY, |a| y[order[k][a]] + gap(order[k][a], spot));
        let high = order[k].get(at + 1).map_or(f64::INFINITY, |&b| y[b] - gap(spot, b));
        (low, high)
    };
    for &spot in order.iter().flatten() {
        if let ([before], Spot::Node(_)) = (&neighbours.before[spot][..], layered.spots[spot])
            && (y[*before] - y[spot]).abs() < WIGGLE
        {
            let (low, high) = room(spot, y);
            if low <= high {
                y[spot] = y[*before].clamp(low, high);
            }
        }
    }
    // Dummies of one node have ascending numbers from left to right.
    let mut chains: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
    for (spot, kind) in layered.spots.iter().enumerate() {
        if let Spot::Dummy(source) = kind {
            chains.entry(*source).or_default().push(spot);
        }
    }
    for (source, chain) in chains {
        let mut first = 0;
        while first < chain.len() {
            let (mut low, mut high) = room(chain[first], y);
            let mut end = first + 1;
            while let Some(&next) = chain.get(end) {
                let (l, h) = room(next, y);
                if h.min(high) < l.max(low) {
                    break;
                }
                (low, high) = (l.max(low), h.min(high));
                end += 1;
            }
            let run = &chain[first..end];
            // Level with what it comes from, or with what it goes to, or where it was.
            let from = if first == 0 { source } else { chain[first - 1] };
            let to = neighbours.after[run[run.len() - 1]].first().map(|&to| y[to]);
            let fits = |at: f64| low <= at && at <= high;
            let mean = run.iter().map(|&spot| y[spot]).sum::<f64>() / run.len() as f64;
            let at = [Some(y[from]), to].into_iter().flatten().find(|&at| fits(at)).unwrap_or(mean);
            if low <= high {
                run.iter().for_each(|&spot| y[spot] = at.clamp(low, high));
            }
            first = end;
        }
    }
}

/// The places that minimise `sum of weight (place - wish)^2` with at least `gaps[k]` between places `k` and `k + 1`: an
/// isotonic regression, solved exactly by pooling neighbours that are too close.
fn separate(wishes: &[(f64, f64)], gaps: &[f64]) -> Vec<f64> {
    struct Pool {
        mean: f64,
        weight: f64,
        count: usize,
    }
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(wishes.len());
    let mut pools: Vec<Pool> = Vec::new();
    for (k, &(wish, weight)) in wishes.iter().enumerate() {
        if 0 < k {
            offset += gaps[k - 1];
        }
        offsets.push(offset);
        let mut pool = Pool { mean: wish - offset, weight, count: 1 };
        while let Some(last) = pools.pop_if(|last| pool.mean < last.mean) {
            let weight = last.weight + pool.weight;
            pool = Pool {
                mean: (last.mean * last.weight + pool.mean * pool.weight) / weight,
                weight,
                count: last.count + pool.count,
            };
        }
        pools.push(pool);
    }
    let places = pools.iter().flat_map(|pool| std::iter::repeat_n(pool.mean, pool.count));
    places.zip(offsets).map(|(place, offset)| place + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two that wish for the same place share the gap by weight; one that is far away stays where it wishes to be.
    #[test]
    fn places_keep_their_distance() {
        assert_eq!(separate(&[(0.0, 1.0), (0.0, 3.0), (100.0, 1.0)], &[8.0, 8.0]), [-6.0, 2.0, 100.0]);
        assert!(separate(&[], &[]).is_empty());
    }
}
