//! Where functions of one Gaussian variable bend, jump or vary quickly.
//!
//! A nonlinear function of the language varies where its argument is of order one about zero, or about where the argument
//! turns; it has its kink or jump at zero of the argument. Such places are found from the inside out: arguments that
//! are affine have their root in closed form; others are looked at on a grid, which shrinks towards every place that is
//! known already, so that the narrow hat `relu(1 - c |u - a|)` has its roots next to the kink of its inner function.
//! Signs that change are bracketed and halved, extrema of arguments are found by the golden section, and whatever is new
//! makes the grid finer, until nothing is.

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use netsor_gauss::Landmark;
use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::number::power_to_f64;
use netsor_ir::tape::{Functions, Input, Scratch, Setting, SliceFunction, Tape};

use crate::closed_form::slots_of;
use crate::error::LimitError;
use crate::graph::{Graph, Leaf};

/// Cells of the uniform grid.
const CELLS: usize = 256;
/// Powers of two at which the grid shrinks towards a place, as parts of the range.
const DEPTH: i32 = 48;
/// The smallest length that is looked for, as a power of two of the range: a change within less is a jump.
const LENGTHS: i32 = 90;
/// Halvings of a bracket, and steps of the golden section.
const STEPS: usize = 80;
/// How often the grid is refined.
const ROUNDS: usize = 8;
/// More places than this are those of a wave.
const PLACES: usize = 64;
/// An extremum stands out by this, relative to the value: less is rounding.
const PROMINENCE: f64 = 1e-9;
/// Places that are closer, relative to the range, are one.
const SAME: f64 = 1e-14;

/// What a leaf of an expression is, as a function of the variable.
#[derive(Clone, Copy, Debug)]
pub enum Binding {
    /// This multiple of it.
    Multiple(f64),
    /// A number.
    Number(f64),
}

/// What was found in the range of a variable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Where the function is not smooth, increasing.
    pub kinks: Vec<f64>,
    /// Where it varies on a length of its own.
    pub landmarks: Vec<Landmark>,
    /// Whether there were too many kinks to be listed.
    pub more: bool,
}

/// The arguments of the nonlinear functions in an expression of one variable.
#[derive(Clone, Debug)]
pub struct Arguments {
    tape: Tape<f64>,
    probes: Vec<Probe>,
    affine: bool,
}

/// An argument, or the difference of two.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Probe {
    first: ExprId,
    second: Option<ExprId>,
    /// Whether the function is not smooth where it vanishes.
    kink: bool,
    change: Change,
}

/// What change of an argument changes the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has no length of its own.
    None,
    /// A change of order one.
    One,
    /// A change of the order of the argument.
    Own,
}

/// The argument of a nonlinear node, and the change of it that changes the node.
pub(crate) fn varying(node: &Expr) -> Option<(ExprId, Change)> {
    match node {
        Expr::Apply(Func::Max | Func::Min, _) => None,
        Expr::Apply(func, args) => {
            let change = match func {
                Func::Log | Func::Sqrt => Change::Own,
                Func::Elu => Change::One,
                _ if func.facts().smoothness != Smoothness::Smooth => Change::None,
                _ => Change::One,
            };
            Some((args[0], change))
        }
        Expr::Pow(base, power) => {
            let power = power_to_f64(*power);
            (power < 0.0 || power.fract() != 0.0).then_some((*base, Change::Own))
        }
        Expr::Div(_, by) => Some((*by, Change::Own)),
        _ => None,
    }
}

impl Arguments {
    /// The arguments that depend on slots which all are in `of`; an empty list means all.
    ///
    /// # Errors
    /// If they are too large for a tape.
    pub fn new(graph: &Graph, factors: &[ExprId], of: &[usize]) -> Result<Self, LimitError> {
        let mut probes: Vec<Probe> = Vec::new();
        let inside = |id: ExprId| {
            let slots = slots_of(graph, id);
            !slots.is_empty() && (of.is_empty() || slots.iter().all(|s| of.contains(s)))
        };
        let constant = |id: ExprId| slots_of(graph, id).is_empty();
        for &factor in factors {
            graph.pool.visit(factor, &mut |node| {
                let new = |first: ExprId, kink: bool, change: Change| Probe { first, second: None, kink, change };
                match node {
                    Expr::Apply(Func::Max | Func::Min, args) => {
                        let (a, b) = (args[0], args[1]);
                        if (inside(a) || constant(a)) && (inside(b) || constant(b)) && (inside(a) || inside(b)) {
                            probes.push(Probe { first: a, second: Some(b), kink: true, change: Change::None });
                        }
                    }
                    // A polynomial has no length, but where its base vanishes an outer argument may turn.
                    Expr::Pow(base, _) if inside(*base) && is_affine(graph, *base) => {
                        probes.push(new(*base, false, varying(node).map_or(Change::None, |(_, change)| change)));
                    }
                    _ if let Some((argument, change)) = varying(node)
                        && inside(argument) =>
                    {
                        let kink =
                            matches!(node, Expr::Apply(func, _) if func.facts().smoothness != Smoothness::Smooth);
                        probes.push(new(argument, kink, change));
                    }
                    Expr::Mul(a, b) => {
                        let straight = |id: &ExprId| inside(*id) && is_affine(graph, *id);
                        probes.extend([*a, *b].into_iter().filter(straight).map(|id| new(id, false, Change::None)));
                    }
                    _ => {}
                }
            });
        }
        let mut distinct: Vec<Probe> = Vec::new();
        for probe in probes {
            if !distinct.contains(&probe) {
                distinct.push(probe);
            }
        }
        let roots: Vec<(ExprId, &[netsor_ir::Index])> =
            distinct.iter().flat_map(|p| [p.first, p.second.unwrap_or(p.first)]).map(|e| (e, &[][..])).collect();
        let setting = Setting::new(&graph.pool, &Numeric);
        let tape = Tape::compile(&setting, &roots).map_err(|e| LimitError::Tape(e.to_string()))?;
        let straight = |p: &Probe| is_affine(graph, p.first) && p.second.is_none_or(|s| is_affine(graph, s));
        let affine = distinct.iter().all(straight);
        Ok(Self { tape, probes: distinct, affine })
    }

    /// What the leaves of the arguments are, in the order that [`Arguments::find`] wants; zero for what is not given.
    pub fn bind(&self, graph: &Graph, leaf: impl Fn(Leaf) -> Option<Binding>) -> Vec<Binding> {
        self.leaves(graph).into_iter().map(|l| leaf(l).unwrap_or(Binding::Number(0.0))).collect()
    }

    /// The leaves of the arguments, in the same order.
    pub fn leaves(&self, graph: &Graph) -> Vec<Leaf> {
        self.tape.inputs().iter().map(|(symbol, _)| graph.leaf(*symbol)).collect()
    }

    /// The kinks and landmarks with distance up to `range` from zero.
    pub fn find(&self, range: f64, bindings: &[Binding]) -> Found {
        let mut found = Found::default();
        if self.probes.is_empty() || !(0.0 < range && range.is_finite()) {
            return found;
        }
        let search = Search { arguments: self, bindings, range, scratch: RefCell::default() };
        if self.affine {
            search.affine(&mut found);
        } else {
            search.refine(&mut found);
        }
        found.kinks.sort_by(f64::total_cmp);
        found.kinks.dedup();
        found
    }
}

struct Search<'a> {
    arguments: &'a Arguments,
    bindings: &'a [Binding],
    range: f64,
    scratch: RefCell<Scratch<f64>>,
}

impl Search<'_> {
    /// The values of all probes, one row each.
    fn values(&self, points: &[f64]) -> Vec<Vec<f64>> {
        let scaled: Vec<Vec<f64>> = self
            .bindings
            .iter()
            .map(|b| match b {
                Binding::Multiple(c) => points.iter().map(|x| c * x).collect(),
                Binding::Number(_) => Vec::new(),
            })
            .collect();
        let inputs: Vec<Input<'_, f64>> = self
            .bindings
            .iter()
            .zip(&scaled)
            .map(|(b, column)| match b {
                Binding::Multiple(_) => Input::Batch(column),
                Binding::Number(x) => Input::Scalar(*x),
            })
            .collect();
        let mut rows = vec![vec![0.0; points.len()]; self.arguments.tape.n_roots()];
        let mut slices: Vec<&mut [f64]> = rows.iter_mut().map(Vec::as_mut_slice).collect();
        self.arguments.tape.eval(&inputs, &mut slices, &mut self.scratch.borrow_mut());
        let mut rows = rows.into_iter();
        let mut values = Vec::with_capacity(self.arguments.probes.len());
        for probe in &self.arguments.probes {
            let (Some(mut first), Some(second)) = (rows.next(), rows.next()) else { break };
            if probe.second.is_some() {
                first.iter_mut().zip(&second).for_each(|(a, b)| *a -= b);
            }
            values.push(first);
        }
        values
    }

    /// Roots of affine arguments, by their values at zero and at both ends, and once more at the root.
    fn affine(&self, found: &mut Found) {
        let ends = self.values(&[0.0, self.range, -self.range]);
        for (k, (probe, v)) in self.arguments.probes.iter().zip(&ends).enumerate() {
            let slope = (v[1] - v[2]) / (2.0 * self.range);
            let mut at = -v[0] / slope;
            if slope == 0.0 || !at.is_finite() || self.range < at.abs() {
                continue;
            }
            at -= self.values(&[at])[k][0] / slope;
            if probe.kink {
                found.kinks.push(at);
            }
            if probe.change == Change::One {
                found.landmarks.push(Landmark { at, scale: 1.0 / slope.abs() });
            }
        }
    }

    fn refine(&self, found: &mut Found) {
        let n = self.arguments.probes.len();
        let mut grid: Vec<f64> =
            (0..=CELLS).map(|i| self.range * (2.0 * i as f64 / CELLS as f64 - 1.0)).chain(self.around(0.0)).collect();
        // Roots and extrema of each probe.
        let mut places: Vec<Vec<(f64, bool)>> = vec![Vec::new(); n];
        for _ in 0..ROUNDS {
            grid.sort_by(f64::total_cmp);
            grid.dedup();
            let mut more = Vec::new();
            for (k, values) in self.values(&grid).iter().enumerate() {
                let known =
                    |x: f64, places: &[(f64, bool)]| places.iter().any(|(p, _)| (p - x).abs() <= SAME * self.range);
                for (at, root) in self.roots(k, &grid, values).into_iter().chain(self.extrema(k, &grid, values)) {
                    if PLACES < places[k].len() {
                        found.more |= self.arguments.probes[k].kink;
                        break;
                    }
                    if !known(at, &places[k]) {
                        places[k].push((at, root));
                        more.push(at);
                    }
                }
            }
            if more.is_empty() {
                break;
            }
            for at in more {
                grid.extend(self.around(at));
            }
        }
        for (k, (probe, places)) in self.arguments.probes.iter().zip(&places).enumerate() {
            for &(at, root) in places {
                if probe.kink && root {
                    found.kinks.push(at);
                }
                if probe.change != Change::None
                    && let Some(scale) = self.length(k, at, probe.change)
                {
                    found.landmarks.push(Landmark { at, scale });
                }
            }
        }
    }

    /// A place and a grid that shrinks towards it.
    fn around(&self, at: f64) -> impl Iterator<Item = f64> {
        let range = self.range;
        let steps = (1..=DEPTH).map(move |k| range * 2f64.powi(-k));
        steps.flat_map(move |step| [at - step, at + step]).chain([at]).filter(move |x| x.abs() <= range)
    }

    /// Where a probe changes its sign, by halving; a jump over zero is a root too.
    fn roots(&self, k: usize, grid: &[f64], values: &[f64]) -> Vec<(f64, bool)> {
        let change = |i: &usize| (values[*i] < 0.0) != (values[i + 1] < 0.0);
        let cells: Vec<usize> = (0..grid.len() - 1).filter(change).take(PLACES + 1).collect();
        let mut ends: Vec<[f64; 2]> = cells.iter().map(|&i| [grid[i], grid[i + 1]]).collect();
        for _ in 0..STEPS {
            let middles: Vec<f64> = ends.iter().map(|e| 0.5 * (e[0] + e[1])).collect();
            let middle_values = &self.values(&middles)[k];
            for ((e, m), (value, &cell)) in ends.iter_mut().zip(&middles).zip(middle_values.iter().zip(&cells)) {
                e[usize::from((*value < 0.0) != (values[cell] < 0.0))] = *m;
            }
        }
        // The end at which the function is zero, or else the middle.
        let both: Vec<f64> = ends.iter().flatten().copied().collect();
        let at_ends = &self.values(&both)[k];
        let root = |(e, v): (&[f64; 2], &[f64])| (if v[0].abs() < v[1].abs() { e[0] } else { e[1] }, true);
        ends.iter().zip(at_ends.chunks_exact(2)).map(root).collect()
    }

    /// Where a probe has a local extremum, by the golden section.
    fn extrema(&self, k: usize, grid: &[f64], values: &[f64]) -> Vec<(f64, bool)> {
        let ratio = 0.5 * (5f64.sqrt() - 1.0);
        // The points that lie flat, up to rounding, from one on: where the grid is dense the bottom of `1 + u^2` has many.
        let flat = |i: usize, x: f64| (x - values[i]).abs() <= PROMINENCE * values[i].abs().max(f64::MIN_POSITIVE);
        let bracket = |i: usize| {
            if flat(i, values[i - 1]) {
                return None;
            }
            let right = (i + 1..grid.len()).find(|&r| !flat(i, values[r]))?;
            let (a, b) = (values[i] - values[i - 1], values[i] - values[right]);
            // 1 for a maximum, -1 for a minimum.
            ((0.0 < a) == (0.0 < b)).then_some((a.signum(), [grid[i - 1], grid[right]]))
        };
        let mut brackets: Vec<(f64, [f64; 2])> = (1..grid.len() - 1).filter_map(bracket).take(PLACES + 1).collect();
        for _ in 0..STEPS {
            let inner = |&(_, [a, b]): &(f64, [f64; 2])| [b - ratio * (b - a), a + ratio * (b - a)];
            let points: Vec<f64> = brackets.iter().flat_map(inner).collect();
            let at = &self.values(&points)[k];
            for (((s, ends), p), v) in brackets.iter_mut().zip(points.chunks_exact(2)).zip(at.chunks_exact(2)) {
                if *s * v[0] < *s * v[1] {
                    ends[0] = p[0];
                } else {
                    ends[1] = p[1];
                }
            }
        }
        brackets.iter().map(|(_, [a, b])| (0.5 * (a + b), false)).collect()
    }

    /// The distance from a place within which a probe changes by its unit; `None` if it jumps there, or nowhere.
    fn length(&self, k: usize, at: f64, change: Change) -> Option<f64> {
        let steps: Vec<f64> = (0..=LENGTHS).map(|j| self.range * 2f64.powi(-j)).collect();
        let points: Vec<f64> = steps.iter().flat_map(|d| [at - d, at + d]).chain([at]).collect();
        let values = &self.values(&points)[k];
        let own = values[values.len() - 1];
        let unit = match change {
            Change::Own if own == 0.0 => return None,
            Change::Own => own.abs(),
            _ => 1.0,
        };
        let changed = |pair: &[f64]| pair.iter().any(|v| unit <= (v - own).abs());
        let j = values.chunks_exact(2).rposition(changed)?;
        // Below the rounding of the place there is only a jump.
        (4.0 * f64::EPSILON * at.abs() < steps[j] && j < LENGTHS as usize).then_some(steps[j])
    }
}

/// Whether an expression is an affine function of its slots.
fn is_affine(graph: &Graph, expr: ExprId) -> bool {
    if slots_of(graph, expr).is_empty() {
        return true;
    }
    let of = |id: ExprId| is_affine(graph, id);
    let constant = |id: ExprId| slots_of(graph, id).is_empty();
    match *graph.pool.node(expr) {
        Expr::Ref(..) => true,
        Expr::Neg(a) => of(a),
        Expr::Add(a, b) | Expr::Sub(a, b) => of(a) && of(b),
        Expr::Mul(a, b) => (constant(a) && of(b)) || (of(a) && constant(b)),
        Expr::Div(a, b) => of(a) && constant(b),
        _ => false,
    }
}

/// The numerical functions behind the names of the language.
pub(crate) struct Numeric;

impl Functions<f64> for Numeric {
    fn unary(&self, name: &str) -> Option<fn(f64) -> f64> {
        netsor_num::functions::unary(name)
    }
    fn unary_slice(&self, name: &str) -> Option<SliceFunction<f64>> {
        netsor_num::functions::unary_slice(name)
    }
    fn binary(&self, name: &str) -> Option<fn(f64, f64) -> f64> {
        netsor_num::functions::binary(name)
    }
    fn power(&self) -> fn(f64, f64) -> f64 {
        <f64 as netsor_num::Real>::powf
    }
}
