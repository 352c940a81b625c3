//! The order within layers: barycentre sweeps, then exchanges of neighbours, to have few crossings.

use super::layers::Layered;

/// Sweeps in each direction.
const SWEEPS: usize = 12;
/// Rounds of exchanges of neighbours.
const EXCHANGES: usize = 4;

/// The neighbours of every spot in the layers before and after.
pub(super) struct Neighbours {
    pub(super) before: Vec<Vec<usize>>,
    pub(super) after: Vec<Vec<usize>>,
}

impl Neighbours {
    pub(super) fn new(layered: &Layered) -> Self {
        let n = layered.spots.len();
        let mut found = Self { before: vec![Vec::new(); n], after: vec![Vec::new(); n] };
        for segment in &layered.segments {
            found.before[segment.to].push(segment.from);
            found.after[segment.from].push(segment.to);
        }
        found
    }
}

/// The spots of each layer from top to bottom. Ties keep the order of the program, so the result is a function of it.
pub(super) fn order(layered: &Layered, neighbours: &Neighbours) -> Vec<Vec<usize>> {
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); layered.n_layers];
    for (spot, &layer) in layered.layer.iter().enumerate() {
        layers[layer].push(spot);
    }
    let mut position = positions(&layers, layered.spots.len());
    let mut best = layers.clone();
    let mut fewest = crossings(&layers, neighbours, &position);
    for sweep in 0..2 * SWEEPS {
        if fewest == 0 {
            break;
        }
        let forward = sweep % 2 == 0;
        let side = if forward { &neighbours.before } else { &neighbours.after };
        for k in 0..layers.len() {
            let k = if forward { k } else { layers.len() - 1 - k };
            let key = |&spot: &usize| barycentre(&side[spot], &position).unwrap_or(position[spot] as f64);
            let mut keyed: Vec<(f64, usize)> = layers[k].iter().map(|spot| (key(spot), *spot)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (at, (_, spot)) in keyed.into_iter().enumerate() {
                layers[k][at] = spot;
                position[spot] = at;
            }
        }
        let count = crossings(&layers, neighbours, &position);
        if count < fewest {
            fewest = count;
            best.clone_from(&layers);
        }
    }
    let mut position = positions(&best, layered.spots.len());
    for _ in 0..EXCHANGES {
        if !exchange(&mut best, neighbours, &mut position) {
            break;
        }
    }
    best
}

fn positions(layers: &[Vec<usize>], n: usize) -> Vec<usize> {
    let mut position = vec![0; n];
    for layer in layers {
        for (at, &spot) in layer.iter().enumerate() {
            position[spot] = at;
        }
    }
    position
}

fn barycentre(neighbours: &[usize], position: &[usize]) -> Option<f64> {
    let sum: usize = neighbours.iter().map(|&spot| position[spot]).sum();
    (!neighbours.is_empty()).then(|| sum as f64 / neighbours.len() as f64)
}

/// Exchanges neighbours where that removes crossings; whether it ever did.
fn exchange(layers: &mut [Vec<usize>], neighbours: &Neighbours, position: &mut [usize]) -> bool {
    let mut improved = false;
    for layer in layers {
        for at in 1..layer.len() {
            let (upper, lower) = (layer[at - 1], layer[at]);
            let between = |u: usize, l: usize| {
                pair_crossings(&neighbours.before[u], &neighbours.before[l], position)
                    + pair_crossings(&neighbours.after[u], &neighbours.after[l], position)
            };
            if between(lower, upper) < between(upper, lower) {
                layer.swap(at - 1, at);
                position[lower] = at - 1;
                position[upper] = at;
                improved = true;
            }
        }
    }
    improved
}

/// Crossings between the edges of an upper and a lower spot.
fn pair_crossings(upper: &[usize], lower: &[usize], position: &[usize]) -> usize {
    upper.iter().map(|&u| lower.iter().filter(|&&l| position[l] < position[u]).count()).sum()
}

/// All crossings: inversions between neighbouring layers, counted with a Fenwick tree.
fn crossings(layers: &[Vec<usize>], neighbours: &Neighbours, position: &[usize]) -> usize {
    let mut total = 0;
    for pair in layers.windows(2) {
        let mut tree = vec![0usize; pair[1].len() + 1];
        let mut entered = 0;
        for &spot in &pair[0] {
            let mut ends: Vec<usize> = neighbours.after[spot].iter().map(|&to| position[to]).collect();
            ends.sort_unstable();
            // Ends of one spot do not cross each other: count all of them before any is entered.
            for &end in &ends {
                let mut at = end + 1;
                let mut not_above = 0;
                while 0 < at {
                    not_above += tree[at];
                    at &= at - 1;
                }
                total += entered - not_above;
            }
            for end in ends {
                let mut at = end + 1;
                while at < tree.len() {
                    tree[at] += 1;
                    at += at & at.wrapping_neg();
                }
                entered += 1;
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::super::layers::{Segment, Spot};
    use super::*;

    /// K_{2,2} with the ends exchanged has one crossing; any order of it has.
    #[test]
    fn crossings_are_counted() {
        let segments = [(0, 3), (1, 2), (0, 2), (1, 3)].map(|(from, to)| Segment { from, to, dashed: false });
        let layered = |segments: &[Segment]| Layered {
            spots: (0..4).map(Spot::Node).collect(),
            layer: vec![0, 0, 1, 1],
            n_layers: 2,
            segments: segments.to_vec(),
        };
        let count = |segments: &[Segment]| {
            let layered = layered(segments);
            let neighbours = Neighbours::new(&layered);
            crossings(&[vec![0, 1], vec![2, 3]], &neighbours, &positions(&[vec![0, 1], vec![2, 3]], 4))
        };
        assert_eq!(count(&segments[..1]), 0);
        assert_eq!(count(&segments[..2]), 1);
        assert_eq!(count(&segments), 1);
        let crossed = layered(&segments[..2]);
        let order = order(&crossed, &Neighbours::new(&crossed));
        let neighbours = Neighbours::new(&crossed);
        assert_eq!(crossings(&order, &neighbours, &positions(&order, 4)), 0);
    }
}
