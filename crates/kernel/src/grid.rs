//! Rules for expectations of functions of one and of two standard normal variables.
//!
//! Smooth functions are summed by the trapezoid rule, which is exact to rounding once its spacing resolves them;
//! functions with a kink or a jump at zero by Gauss' rule on panels of each half line. A rule is trusted if a coarser
//! one gives the same number.

use std::sync::LazyLock;

use netsor_num::normal::pdf;
use netsor_num::quadrature::gauss_legendre;

use crate::function::{FunctionScratch, SlotFunction};

/// The most terms of a series.
pub(crate) const MAX_TERMS: usize = 1024;
/// The last node: there `h_k(x) pdf(x)` is below 1e-15 for every `k`, since `|h_k(x)| sqrt(pdf(x)) < 1`.
const RANGE: usize = 12;
/// Nodes of a Gauss rule on one panel.
const PANEL: usize = 16;
/// Nodes in all of the plane for one entry, at most.
const PLANE: usize = 1 << 18;

/// Rules from coarse to fine, for smooth functions and for the others.
pub(crate) struct Grid {
    smooth: [Rule; 3],
    kinked: [Rule; 2],
}

/// The grid, made at first use.
pub(crate) static GRID: LazyLock<Grid> = LazyLock::new(Grid::new);

/// What makes the rows of a [`Rule`].
type Recursion = Box<dyn FnOnce() -> Vec<Vec<f64>> + Send>;

/// The nodes and weights of a rule on the positive half line.
pub(crate) struct Rule {
    nodes: Vec<f64>,
    weights: Vec<f64>,
    /// The weights of a coarser rule on the same nodes.
    check: Vec<f64>,
    /// How many Hermite polynomials the rule resolves, beside functions with wave numbers up to about 29.
    terms: usize,
    /// `h_k(x)` with the weight of `x`: row `k`. Made at first use.
    hermite: LazyLock<Vec<Vec<f64>>, Recursion>,
}

impl Rule {
    fn new(nodes: Vec<f64>, weights: Vec<f64>, check: Vec<f64>, terms: usize) -> Self {
        let (x, w) = (nodes.clone(), weights.clone());
        let hermite: Recursion = Box::new(move || hermite(&x, w, terms));
        Self { nodes, weights, check, terms, hermite: LazyLock::new(hermite) }
    }

    /// The trapezoid rule with so many nodes a unit of length, zero first; the check has half of them.
    fn trapezoid(density: usize, terms: usize) -> Self {
        let spacing = 1.0 / density as f64;
        let nodes: Vec<f64> = (0..=RANGE * density).map(|n| n as f64 * spacing).collect();
        // The two halves of the rule share the node at zero.
        let share = |n: usize| if n == 0 { 0.5 } else { 1.0 };
        let weights: Vec<f64> = nodes.iter().enumerate().map(|(n, &x)| share(n) * spacing * pdf(x)).collect();
        let check = weights.iter().enumerate().map(|(n, w)| if n % 2 == 0 { 2.0 * w } else { 0.0 }).collect();
        Self::new(nodes, weights, check, terms)
    }

    /// Gauss' rule on so many panels a unit of length; the check has half as many, on nodes that follow with weight 0.
    fn panels(density: usize, terms: usize) -> Self {
        let half = |density: usize| {
            let (rule, width) = (gauss_legendre(PANEL), 1.0 / density as f64);
            let mut all = Vec::new();
            for panel in 0..RANGE * density {
                let start = panel as f64 * width;
                all.extend(rule.nodes.iter().zip(&rule.weights).map(|(x, w)| {
                    let node = start + 0.5 * width * (1.0 + x);
                    (node, 0.5 * width * w * pdf(node))
                }));
            }
            all
        };
        let (fine, coarse) = (half(2 * density), half(density));
        let nodes = fine.iter().chain(&coarse).map(|(x, _)| *x).collect();
        let weights = fine.iter().map(|(_, w)| *w).chain(coarse.iter().map(|_| 0.0)).collect();
        let check = fine.iter().map(|_| 0.0).chain(coarse.iter().map(|(_, w)| *w)).collect();
        Self::new(nodes, weights, check, terms)
    }

    /// Fills `even` and `odd` with `f(x) + f(-x)` and `f(x) - f(-x)` at the nodes times the deviation.
    fn halves(&self, f: &SlotFunction, sd: f64, scratch: &mut GridScratch) {
        let GridScratch { points, values, even, odd, function, .. } = scratch;
        points.clear();
        points.extend(self.nodes.iter().map(|x| sd * x));
        points.extend(self.nodes.iter().map(|x| -sd * x));
        values.resize(points.len(), 0.0);
        f.eval(points, values, function);
        let (right, left) = values.split_at(self.nodes.len());
        even.clear();
        odd.clear();
        even.extend(right.iter().zip(left).map(|(a, b)| a + b));
        odd.extend(right.iter().zip(left).map(|(a, b)| a - b));
    }

    /// The sum of `value(n)` with the weights, that of the check, and that of sizes.
    fn sums(&self, value: impl Fn(usize) -> f64) -> [f64; 3] {
        let (mut full, mut check, mut size) = (0.0, 0.0, 0.0);
        for (n, (w, c)) in self.weights.iter().zip(&self.check).enumerate() {
            let value = value(n);
            full += w * value;
            check += c * value;
            size += w * value.abs();
        }
        [full, check, size]
    }

    /// `h_k` with the weights, for the first so many `k`.
    pub(crate) fn hermite(&self, terms: usize) -> &[Vec<f64>] {
        &self.hermite[..terms.min(self.terms)]
    }
}

fn hermite(nodes: &[f64], weights: Vec<f64>, terms: usize) -> Vec<Vec<f64>> {
    let mut before = vec![0.0; nodes.len()];
    let mut rows = vec![weights];
    for k in 0..terms - 1 {
        let (k0, k1) = ((k as f64).sqrt(), (k as f64 + 1.0).sqrt());
        let last = &rows[k];
        let next = (0..nodes.len()).map(|n| (nodes[n] * last[n] - k0 * before[n]) / k1).collect();
        before.clone_from(last);
        rows.push(next);
    }
    rows
}

impl Grid {
    fn new() -> Self {
        // A spacing of 1/m resolves wave numbers up to pi m on either side together; `h_k` has sqrt(k), and 6 beyond.
        Self {
            smooth: [Rule::trapezoid(8, 192), Rule::trapezoid(16, MAX_TERMS), Rule::trapezoid(32, MAX_TERMS)],
            kinked: [Rule::panels(1, 192), Rule::panels(2, MAX_TERMS)],
        }
    }

    fn rules(&self, smooth: bool) -> &[Rule] {
        if smooth { &self.smooth } else { &self.kinked }
    }

    /// `E f(s Z)`, or `None` where the rules are too coarse for `tolerance` (relative to the size of `f`).
    pub(crate) fn mean(&self, f: &SlotFunction, sd: f64, tolerance: f64, scratch: &mut GridScratch) -> Option<f64> {
        if !f.is_plain(sd) {
            return None;
        }
        self.rules(f.shape.is_smooth()).iter().find_map(|rule| {
            rule.halves(f, sd, scratch);
            let [full, check, size] = rule.sums(|n| scratch.even[n]);
            (resolved(sd, scratch) && (full - check).abs() <= tolerance * size).then_some(full)
        })
    }

    /// The rule that is fine enough for `f` and so many terms, with `E f(s Z)^2`; the values of `f` are left in
    /// `scratch`.
    pub(crate) fn energy(
        &self,
        f: &SlotFunction,
        sd: f64,
        terms: usize,
        tolerance: f64,
        scratch: &mut GridScratch,
    ) -> Option<(&Rule, f64)> {
        if !f.is_plain(sd) {
            return None;
        }
        let rules = self.rules(f.shape.is_smooth()).iter().filter(|rule| terms <= rule.terms);
        rules.into_iter().find_map(|rule| {
            rule.halves(f, sd, scratch);
            let (even, odd) = (&scratch.even, &scratch.odd);
            // f(x)^2 + f(-x)^2
            let [full, check, _] = rule.sums(|n| 0.5 * (even[n] * even[n] + odd[n] * odd[n]));
            (resolved(sd, scratch) && (full - check).abs() <= tolerance * full).then_some((rule, full))
        })
    }

    /// `E f(s X) g(t Y)` for correlation `rho`, to `tolerance` relative to `sqrt(E f^2 E g^2)`, or `None` where that is
    /// not reached.
    pub(crate) fn dual(
        &self,
        [f, g]: [&SlotFunction; 2],
        [s, t]: [f64; 2],
        rho: f64,
        tolerance: f64,
        scratch: &mut GridScratch,
    ) -> Option<f64> {
        if !(f.is_plain(s) && g.is_plain(t)) {
            return None;
        }
        let smooth = f.shape.is_smooth() && g.shape.is_smooth();
        if rho.abs() == 1.0 {
            return self.rules(smooth).iter().find_map(|rule| parallel(rule, [f, g], [s, rho * t], tolerance, scratch));
        }
        if !smooth {
            return None;
        }
        // The finest rule that the first variable needs for f and g, and coarser ones for what is left of the second.
        let outer = self.smooth[1..].iter();
        outer.flat_map(|x| self.smooth.iter().map(move |y| (x, y))).find_map(|(x, y)| {
            (x.nodes.len() * y.nodes.len() * 4 <= PLANE).then_some(())?;
            plane([x, y], [f, g], [s, t], rho, tolerance, scratch)
        })
    }
}

/// Whether the values that were taken last say anything: where all of them underflow, the function may be large between.
fn resolved(sd: f64, scratch: &GridScratch) -> bool {
    sd == 0.0 || scratch.values.iter().any(|&x| x != 0.0)
}

/// `E f(s Z) g(t Z)`.
fn parallel(
    rule: &Rule,
    [f, g]: [&SlotFunction; 2],
    [s, t]: [f64; 2],
    tolerance: f64,
    scratch: &mut GridScratch,
) -> Option<f64> {
    rule.halves(g, t, scratch);
    let (even, odd) = (std::mem::take(&mut scratch.even), std::mem::take(&mut scratch.odd));
    rule.halves(f, s, scratch);
    let value = |n: usize| 0.5 * (scratch.even[n] * even[n] + scratch.odd[n] * odd[n]);
    let [full, check, _] = rule.sums(value);
    let [ff, ..] = rule.sums(|n| 0.5 * (scratch.even[n] * scratch.even[n] + scratch.odd[n] * scratch.odd[n]));
    let [gg, ..] = rule.sums(|n| 0.5 * (even[n] * even[n] + odd[n] * odd[n]));
    let known = 0.0 < ff * gg || s * t == 0.0;
    (known && (full - check).abs() <= tolerance * (ff * gg).sqrt()).then_some(full)
}

/// `E f(s X) g(t (rho X + c Y))` with a rule for each variable.
fn plane(
    [outer, inner]: [&Rule; 2],
    [f, g]: [&SlotFunction; 2],
    [s, t]: [f64; 2],
    rho: f64,
    tolerance: f64,
    scratch: &mut GridScratch,
) -> Option<f64> {
    let c = ((1.0 - rho) * (1.0 + rho)).sqrt();
    let GridScratch { points, values, rows, function, .. } = scratch;
    let n = inner.nodes.len();
    points.resize(2 * n, 0.0);
    values.resize(2 * n, 0.0);
    rows.resize(outer.nodes.len(), [0.0; 2]);
    let both: Vec<f64> = outer.nodes.iter().flat_map(|x| [s * x, -s * x]).collect();
    let mut at = vec![0.0; both.len()];
    f.eval(&both, &mut at, function);
    let (mut ff, mut gg, mut coarse) = (0.0, 0.0, 0.0);
    for (k, &x) in outer.nodes.iter().enumerate() {
        rows[k] = [0.0; 2];
        for (side, x) in [x, -x].into_iter().enumerate() {
            for (j, y) in inner.nodes.iter().enumerate() {
                points[j] = t * (rho * x + c * y);
                points[n + j] = t * (rho * x - c * y);
            }
            g.eval(points, values, function);
            let fx = at[2 * k + side];
            let mut sums = [0.0; 3];
            for j in 0..n {
                let (a, b) = (values[j], values[n + j]);
                sums[0] += inner.weights[j] * (a + b);
                sums[1] += inner.check[j] * (a + b);
                sums[2] += inner.weights[j] * (a * a + b * b);
            }
            rows[k][0] += fx * sums[0];
            rows[k][1] += fx * sums[1];
            ff += outer.weights[k] * fx * fx;
            gg += outer.weights[k] * sums[2];
        }
        coarse += outer.check[k] * rows[k][0];
    }
    let sum = |which: usize| outer.weights.iter().zip(rows.iter()).map(|(w, r)| w * r[which]).sum::<f64>();
    let (full, check) = (sum(0), sum(1));
    let error = (full - check).abs().max((full - coarse).abs());
    (error <= tolerance * (ff * gg).sqrt()).then_some(full)
}

/// Memory for the functions of [`Grid`].
#[derive(Debug, Default)]
pub(crate) struct GridScratch {
    points: Vec<f64>,
    values: Vec<f64>,
    pub(crate) even: Vec<f64>,
    pub(crate) odd: Vec<f64>,
    rows: Vec<[f64; 2]>,
    function: FunctionScratch,
}
