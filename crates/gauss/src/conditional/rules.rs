//! Rules for the inner variables, and tables of what they gave.

use netsor_num::normal;
use netsor_num::quadrature::gauss_legendre;

/// The range of a variable: the Hermite functions of the orders in use have decayed there.
pub(super) const RANGE: f64 = 12.0;

/// Nodes and weights of one inner variable, with the Hermite polynomials at the nodes times the weights.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) nodes: Vec<f64>,
    /// Row `k` is `h_k(node) weight`.
    pub(super) table: Vec<f64>,
}

impl Inner {
    pub(super) fn new(nodes: Vec<f64>, weights: &[f64], terms: usize) -> Self {
        let q = nodes.len();
        let mut table = vec![0.0; terms * q];
        table[..q].copy_from_slice(weights);
        for k in 1..terms {
            let (root, below) = (libm::sqrt(k as f64), libm::sqrt((k - 1) as f64));
            for (j, x) in nodes.iter().enumerate() {
                let earlier = if k == 1 { 0.0 } else { table[(k - 2) * q + j] };
                table[k * q + j] = (x * table[(k - 1) * q + j] - below * earlier) / root;
            }
        }
        Self { nodes, table }
    }
}

/// How a variable with kinks is integrated: Gauss-Legendre on pieces between them.
#[derive(Clone)]
pub(super) struct Pieces {
    /// The most that a piece may measure, in standard deviations.
    length: f64,
    /// The rule of each piece.
    nodes: Vec<f64>,
    weights: Vec<f64>,
}

impl Pieces {
    pub(super) fn new(length: f64, count: usize) -> Self {
        let rule = gauss_legendre(count);
        Self { length, nodes: rule.nodes.to_vec(), weights: rule.weights.to_vec() }
    }

    /// Shorter pieces with more nodes each: a piece between two close kinks cannot be the same rule twice.
    pub(super) fn finer(&self) -> Self {
        Self::new(0.7 * self.length, self.nodes.len() + 2)
    }

    /// About how many nodes a variable takes.
    pub(super) fn total(&self) -> f64 {
        2.0 * RANGE / self.length * self.nodes.len() as f64
    }

    /// The rule for a function with kinks at these nodes.
    pub(super) fn rule(&self, cuts: &[f64], terms: usize) -> Inner {
        let mut ends = vec![-RANGE, RANGE];
        ends.extend(cuts.iter().copied().filter(|x| x.abs() < RANGE));
        ends.sort_by(f64::total_cmp);
        let (mut nodes, mut weights) = (Vec::new(), Vec::new());
        for pair in ends.windows(2) {
            let pieces = ((pair[1] - pair[0]) / self.length).ceil().max(1.0);
            let half = 0.5 * (pair[1] - pair[0]) / pieces;
            for p in 0..pieces as usize {
                let centre = pair[0] + (2.0 * p as f64 + 1.0) * half;
                for (x, w) in self.nodes.iter().zip(&self.weights) {
                    let x = centre + half * x;
                    nodes.push(x);
                    weights.push(half * w * normal::pdf(x));
                }
            }
        }
        Inner::new(nodes, &weights, terms)
    }
}

/// Points of the interpolation.
pub(super) const STENCIL: usize = 12;

/// The most rows of a table.
pub(super) const ROWS: usize = 4_000;

/// Coefficients `a_k` that depend on one linear form of the outer variables only, on a uniform grid of its values.
pub(super) struct Table {
    /// The slot whose value, or conditional mean, is that form.
    pub(super) slot: usize,
    pub(super) start: f64,
    pub(super) step: f64,
    pub(super) terms: usize,
    /// One row a value.
    pub(super) values: Vec<f64>,
}

impl Table {
    /// Interpolates between rows; false if the value is not within the table.
    pub(super) fn look_up(&self, value: f64, out: &mut Vec<f64>) -> bool {
        let place = (value - self.start) / self.step;
        let rows = self.values.len() / self.terms;
        let middle = (STENCIL / 2 - 1) as f64;
        if place.is_nan() || place < middle || (rows - STENCIL / 2) as f64 <= place {
            return false;
        }
        let first = (place - middle) as usize;
        let t = place - first as f64;
        // Barycentric weights of equidistant points: binomials with alternating signs.
        let mut weights = [0.0; STENCIL];
        let mut binomial = 1.0;
        let mut total = 0.0;
        for (j, weight) in weights.iter_mut().enumerate() {
            let gap = t - j as f64;
            if gap == 0.0 {
                out.clear();
                out.extend_from_slice(&self.values[(first + j) * self.terms..][..self.terms]);
                return true;
            }
            *weight = if j % 2 == 0 { binomial } else { -binomial } / gap;
            total += *weight;
            binomial *= (STENCIL - 1 - j) as f64 / (j + 1) as f64;
        }
        out.clear();
        out.resize(self.terms, 0.0);
        for (j, weight) in weights.iter().enumerate() {
            let weight = weight / total;
            let row = &self.values[(first + j) * self.terms..][..self.terms];
            out.iter_mut().zip(row).for_each(|(a, b)| *a += weight * b);
        }
        true
    }
}
