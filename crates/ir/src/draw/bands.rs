//! Bands: a diagram that is wider than a page, cut into rows that are read like lines of text.
//!
//! A cut goes between a layer of values and the instructions after it. What crosses it leaves its row with an arrow, and
//! enters the next one at the same height, with the name of its value.

use std::collections::BTreeSet;
use std::ops::Range;

use super::diagram::Diagram;
use super::layers::Spot;
use super::place::{CHARACTER, LINE, Placed, node_extent};

/// What an edge that crosses a cut costs, as a distance in pixels from the width that would be even.
const CROSSING: f64 = 60.0;
/// Room for the arrows that leave a row.
const EXIT: f64 = 30.0;

/// A row of a picture.
#[derive(Clone, Debug)]
pub(super) struct Band {
    /// The layers of the row.
    pub(super) layers: Range<usize>,
    /// Spots of the layer before that edges into this row come from.
    pub(super) entries: Vec<usize>,
    /// Spots of the row's last layer that edges into the next row come from.
    pub(super) exits: Vec<usize>,
    /// How far the layers are moved to the right, after the names of the entries.
    pub(super) shift: f64,
    /// Where the row begins and ends among the heights of the spots.
    pub(super) y: (f64, f64),
    /// Width with entries and exits.
    pub(super) width: f64,
}

/// The name of the value whose edge a spot is on.
pub(super) fn name<'a>(diagram: &'a Diagram, placed: &Placed, spot: usize) -> &'a str {
    let (Spot::Node(node) | Spot::Dummy(node)) = placed.layered.spots[spot];
    diagram.nodes[node].lines.first().map_or("", String::as_str)
}

/// The rows of a diagram, each at most `max_width` wide if its layers allow it.
pub(super) fn bands(diagram: &Diagram, placed: &Placed, max_width: f64) -> Vec<Band> {
    let n_layers = placed.columns.len();
    // The spots from which edges leave each layer.
    let mut leaving = vec![BTreeSet::new(); n_layers];
    for segment in &placed.layered.segments {
        leaving[placed.layered.layer[segment.from]].insert(segment.from);
    }
    let label = |spot: usize| name(diagram, placed, spot).chars().count() as f64 * CHARACTER + 20.0;
    let entry_width = |cut: usize| match cut.checked_sub(1) {
        Some(last) => leaving[last].iter().map(|&spot| label(spot)).fold(0.0, f64::max),
        None => 0.0,
    };
    let mut cuts = vec![0];
    let mut start = 0;
    while start < n_layers {
        let left = placed.columns[start].0 - entry_width(start);
        let rest = placed.width - left;
        let even = rest / (rest / max_width).ceil();
        let width = |cut: usize| placed.columns[cut - 1].1 - left + EXIT;
        let possible = (start + 1..n_layers).filter(|cut| cut % 2 == 1 && width(*cut) <= max_width);
        let cost = |cut: usize| leaving[cut - 1].len() as f64 * CROSSING + (width(cut) - even).abs();
        let best = possible.min_by(|&a, &b| cost(a).total_cmp(&cost(b)));
        // A layer of values and the one of instructions before it are never parted.
        let forced = start + if start % 2 == 0 { 1 } else { 2 };
        start = if rest <= max_width { n_layers } else { best.unwrap_or(forced).min(n_layers) };
        cuts.push(start);
    }
    let band = |layers: Range<usize>| {
        let at = |layer: Option<usize>| layer.map_or_else(Vec::new, |l| leaving[l].iter().copied().collect());
        let entries: Vec<usize> = at(layers.start.checked_sub(1));
        let exits: Vec<usize> = at((layers.end < n_layers).then(|| layers.end - 1));
        let extent = |spot: usize| match placed.layered.spots[spot] {
            Spot::Node(node) if layers.contains(&placed.layered.layer[spot]) => node_extent(&diagram.nodes[node]),
            _ => (LINE / 2.0, LINE / 2.0),
        };
        let inside = (0..placed.y.len()).filter(|&spot| layers.contains(&placed.layered.layer[spot]));
        let all: Vec<usize> = inside.chain(entries.iter().copied()).collect();
        let top = all.iter().map(|&spot| placed.y[spot] - extent(spot).0).fold(f64::INFINITY, f64::min);
        let bottom = all.iter().map(|&spot| placed.y[spot] + extent(spot).1).fold(0.0, f64::max);
        let left = entry_width(layers.start);
        let columns = &placed.columns[layers.clone()];
        let (from, to) = (columns.first().map_or(0.0, |c| c.0), columns.last().map_or(0.0, |c| c.1));
        let exit = if exits.is_empty() { 0.0 } else { EXIT };
        Band {
            layers,
            entries,
            exits,
            shift: left - from,
            y: (if top.is_finite() { top } else { 0.0 }, bottom),
            width: left + to - from + exit,
        }
    };
    cuts.windows(2).map(|pair| band(pair[0]..pair[1])).collect()
}
