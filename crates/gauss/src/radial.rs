//! The integral over the tilts `t` of [`crate::powers`], by the trapezoid rule in a variable like `log t`.

use netsor_num::sum::Compensated;

use crate::powers::{Monomial, Quadratic, square, step_variables};
use crate::symmetric::spectrum;
use crate::truncated::Moments;
use crate::{Estimate, GaussError, Method, Tolerance};

/// Eigenvalues of a form below this, relative to the largest, are zero: covariances are not known better.
const RANK: f64 = 1e-11;

/// A vector of which no more than this, relatively, sticks out of the range of a form lies in it.
const INSIDE: f64 = 1e-8;

/// `t = scale exp(x - exp(-x / 2))`: the decay for `t -> 0` is double exponential, and the strip of analyticity loses
/// little, where `scale` is small in comparison with all `t` that count: those up to the inverse of the form or of its
/// constant.
const BELOW: f64 = 0.049_787_068_367_863_94; // exp(-3)

/// Steps of `x`, from coarse to fine; the first is for integrals over more than one.
const STEPS: [f64; 6] = [0.6, 0.5, 0.38, 0.28, 0.2, 0.14];

/// The integrand is followed until it has fallen by the exponential of at most this.
const FALL: f64 = 34.0;

/// The error of the trapezoid rule with step `h` falls no faster than `exp(-RATE / h)`, since the integrand has
/// singularities at distance `pi` from the real line. Where a form has a constant, `exp(-t c)` grows beyond half of that.
const RATE: f64 = 2.0 * std::f64::consts::PI * std::f64::consts::PI;

/// `constant + x' matrix x` in whitened coordinates, with its spectrum.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) constant: f64,
    matrix: Vec<f64>,
    values: Vec<f64>,
    vectors: Vec<f64>,
    pub(crate) largest: f64,
}

impl Form {
    /// `None` if it is not positive semi-definite.
    pub(crate) fn new(quadratic: &Quadratic, rows: &[Vec<f64>], rank: usize) -> Option<Self> {
        let slots = rows.len();
        let mut matrix = vec![0.0; rank * rank];
        for (k, entry) in quadratic.matrix.iter().enumerate().filter(|(_, entry)| **entry != 0.0) {
            let (a, b) = (&rows[k / slots], &rows[k % slots]);
            for i in 0..rank {
                for j in 0..rank {
                    matrix[i * rank + j] += 0.5 * entry * (a[i] * b[j] + a[j] * b[i]);
                }
            }
        }
        if quadratic.constant.is_nan() || matrix.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let spectrum = spectrum(rank, matrix.clone());
        let largest = spectrum.values.iter().copied().fold(0.0, f64::max);
        let mut values = spectrum.values;
        for value in &mut values {
            if *value < -RANK * largest || (largest == 0.0 && *value < 0.0) {
                return None;
            }
            if *value <= RANK * largest {
                *value = 0.0;
            }
        }
        (0.0 <= quadratic.constant).then_some(Self {
            constant: quadratic.constant,
            matrix,
            values,
            vectors: spectrum.vectors,
            largest,
        })
    }

    /// The ratio to another form, if they are multiples of each other.
    pub(crate) fn multiple_of(&self, other: &Self, relative: f64) -> Option<f64> {
        let ratio = self.largest / other.largest;
        let close = |a: f64, b: f64, size: f64| (a - ratio * b).abs() <= relative * size;
        let same = 0.0 < ratio
            && ratio.is_finite()
            && close(self.constant, other.constant, self.constant)
            && self.matrix.iter().zip(&other.matrix).all(|(a, b)| close(*a, *b, self.largest));
        same.then_some(ratio)
    }

    /// Below all tilts that count.
    fn scale(&self) -> f64 {
        BELOW / (2.0 * self.largest).max(self.constant)
    }

    /// A vector in the coordinates of the eigenvectors.
    fn turn(&self, v: &[f64]) -> Vec<f64> {
        let r = v.len();
        (0..r).map(|k| (0..r).map(|i| self.vectors[i * r + k] * v[i]).sum()).collect()
    }

    /// Another matrix in the coordinates of the eigenvectors.
    fn turn_matrix(&self, m: &[f64]) -> Vec<f64> {
        let r = self.values.len();
        let half: Vec<f64> = (0..r).flat_map(|i| self.turn(&m[i * r..][..r])).collect();
        let column = |k: usize| (0..r).map(|i| half[i * r + k]).collect::<Vec<_>>();
        let columns: Vec<Vec<f64>> = (0..r).map(|k| self.turn(&column(k))).collect();
        (0..r * r).map(|i| columns[i % r][i / r]).collect()
    }
}

/// What is integrated, in the eigenvectors of each form: where one `t` is the largest its null space must be exact.
struct Frame {
    values: Vec<f64>,
    /// The other forms, one after the other, with their own place left empty.
    others: Vec<Vec<f64>>,
    /// The variables that occur.
    rows: Vec<Vec<f64>>,
}

/// `prod_a 1/Gamma(s_a) int t_a^(s_a - 1) exp(-t_a c_a) det(P)^(-1/2) E_t[monomials] dt`.
pub(crate) struct Integral<'a> {
    forms: Vec<&'a Form>,
    powers: Vec<f64>,
    frames: Vec<Frame>,
    monomials: Vec<(f64, usize, Vec<u8>)>,
    moments: Moments,
    rank: usize,
    /// How fast the integrand falls for `t_a -> inf`, as a power.
    decay: Vec<f64>,
    /// Evaluations so far.
    pub(crate) points: usize,
    precision: Vec<f64>,
}

/// A sum over a lattice.
struct Lattice {
    value: f64,
    absolute: f64,
    /// About what the rule misses by the step of each variable.
    discretisation: Vec<f64>,
    /// What may be missing beyond the upper end of each variable, and the lower.
    beyond: Vec<[f64; 2]>,
}

impl<'a> Integral<'a> {
    /// `None` where there are too many steps.
    pub(crate) fn new(
        rows: &[Vec<f64>],
        rank: usize,
        forms: Vec<&'a Form>,
        powers: Vec<f64>,
        monomials: &[Monomial],
    ) -> Result<Option<Self>, GaussError> {
        let Some(steps) = step_variables(monomials) else { return Ok(None) };
        let mut used: Vec<usize> =
            monomials.iter().flat_map(|m| m.factors.iter().copied()).chain(steps.clone()).collect();
        used.sort_unstable();
        used.dedup();
        let place = |slot: usize| used.binary_search(&slot).unwrap_or(0);
        let decay = convergent(rows, rank, &forms, &powers, monomials)?;
        let packed = monomials.iter().map(|m| {
            let set = steps.iter().enumerate().filter(|(_, s)| m.steps.contains(s)).map(|(bit, _)| 1 << bit).sum();
            let mut factors = m.factors.clone();
            // Variables without steps come last.
            factors.sort_by_key(|f| (!m.steps.contains(f), *f));
            (m.coefficient, set, factors.iter().map(|&f| place(f) as u8).collect())
        });
        let packed = packed.collect();
        let frames = if forms.is_empty() {
            let rows = used.iter().map(|&k| rows[k].clone()).collect();
            vec![Frame { values: vec![0.0; rank], others: Vec::new(), rows }]
        } else {
            let frame = |a: usize| Frame {
                values: forms[a].values.clone(),
                others: (0..forms.len())
                    .map(|b| if a == b { Vec::new() } else { forms[a].turn_matrix(&forms[b].matrix) })
                    .collect(),
                rows: used.iter().map(|&k| forms[a].turn(&rows[k])).collect(),
            };
            (0..forms.len()).map(frame).collect()
        };
        let moments = Moments::new(used.len(), rank, steps.iter().map(|&s| place(s)).collect());
        Ok(Some(Self {
            forms,
            powers,
            frames,
            monomials: packed,
            moments,
            rank,
            decay,
            points: 0,
            precision: vec![0.0; rank * rank],
        }))
    }

    /// The value, with finer steps until the tolerance is met or the budget is spent.
    pub(crate) fn estimate(&mut self, tol: &Tolerance) -> Estimate {
        let dims = self.forms.len();
        let method = Method::Quadrature { dims, points: 0 };
        if dims == 0 {
            let (value, absolute) = self.node(&[]);
            return Estimate { value, error: 64.0 * f64::EPSILON * absolute, method };
        }
        // At the top of the envelopes the integrand is about as large as the integral.
        let tops: Vec<f64> = (0..dims).map(|a| self.range(a, 0.0)[0]).collect();
        let nodes: Vec<(f64, f64)> = (0..dims).map(|a| self.abscissa(a, tops[a])).collect();
        let t: Vec<f64> = nodes.iter().map(|n| n.0).collect();
        let size = self.weighted(&t, nodes.iter().map(|n| n.1).sum()).1;
        let aim = tol.relative.max(tol.absolute / size.max(f64::MIN_POSITIVE));
        let fall = (6.0 - libm::log(aim)).clamp(16.0, FALL);
        let mut ranges: Vec<[f64; 2]> = (0..dims).map(|a| self.range(a, fall)).collect();
        let mut best = Estimate { value: f64::NAN, error: f64::INFINITY, method };
        for (level, &step) in STEPS.iter().enumerate().skip(usize::from(dims == 1)) {
            let size: f64 = ranges.iter().map(|[lower, upper]| (upper - lower) / step).product();
            if 0 < self.points && tol.max_points < self.points + size as usize {
                break;
            }
            let mut sum = self.lattice(&ranges, step);
            // What lies beyond the ends is looked for until it does not matter.
            for _ in 0..6 {
                let allowed = 0.05 * tol.allowed(sum.value).max(1e-14 * sum.absolute);
                let mut again = false;
                for (range, beyond) in ranges.iter_mut().zip(&sum.beyond) {
                    for side in 0..2 {
                        if allowed < beyond[side] {
                            range[side] += [-3.0, 0.3 * (range[1] - range[0])][side];
                            again = true;
                        }
                    }
                }
                if !again || tol.max_points < self.points {
                    break;
                }
                sum = self.lattice(&ranges, step);
            }
            let beyond: f64 = sum.beyond.iter().flatten().sum();
            let error = sum.discretisation.iter().sum::<f64>() + beyond + 64.0 * f64::EPSILON * sum.absolute;
            if error < best.error {
                best = Estimate { value: sum.value, error, method };
            }
            if best.met(tol) || level + 1 == STEPS.len() {
                break;
            }
        }
        best
    }

    /// `t_a` at a place, and the logarithm of its weight.
    fn abscissa(&self, a: usize, x: f64) -> (f64, f64) {
        let bend = libm::exp(-0.5 * x);
        let log_t = libm::log(self.forms[a].scale()) + x - bend;
        let s = self.powers[a];
        (libm::exp(log_t), s * log_t + libm::log1p(0.5 * bend) - libm::lgamma(s))
    }

    /// Where the integrand over `x_a` has not fallen by the exponential of `fall` from its largest value.
    fn range(&self, a: usize, fall: f64) -> [f64; 2] {
        let (form, s) = (self.forms[a], self.powers[a]);
        let scale = form.scale();
        let smallest = form.values.iter().copied().filter(|v| 0.0 < *v).fold(form.largest, f64::min);
        let envelope = |x: f64| {
            let log_t = x - libm::exp(-0.5 * x);
            let t = scale * libm::exp(log_t);
            let decay: f64 = form.values.iter().map(|v| 0.5 * libm::log1p(2.0 * t * v)).sum();
            // Factors that vanish with the form shrink as well, at the latest where its smallest eigenvalue counts.
            let rank = form.values.iter().filter(|v| 0.0 < **v).count() as f64;
            let extra = (self.decay[a] + s - 0.5 * rank).max(0.0) * libm::log1p(2.0 * t * smallest);
            s * log_t - decay - extra - t * form.constant + libm::log1p(0.5 * libm::exp(-0.5 * x))
        };
        // From where the double exponential has nothing left, upwards until all has fallen again.
        let first = -2.0 * libm::log(40.0 / s).max(1.0);
        let mut found: Vec<(f64, f64)> = Vec::new();
        let mut top = (first, f64::NEG_INFINITY);
        for x in (0..2_000).map(|k| first + 0.5 * f64::from(k)) {
            let value = envelope(x);
            found.push((x, value));
            if top.1 < value {
                top = (x, value);
            }
            if value < top.1 - fall {
                break;
            }
        }
        let lower = found.iter().find(|p| top.1 - fall <= p.1).map_or(first, |p| p.0);
        let upper = found.last().map_or(top.0, |p| p.0);
        if fall == 0.0 { [top.0, top.0] } else { [lower, upper] }
    }

    /// The trapezoid rule with this step.
    fn lattice(&mut self, ranges: &[[f64; 2]], step: f64) -> Lattice {
        let dims = ranges.len();
        // Nodes and the logarithms of their weights.
        let axes: Vec<Vec<(f64, f64)>> = (0..dims)
            .map(|a| {
                let [lower, upper] = ranges[a];
                let (first, last) = (libm::floor(lower / step) as i64, libm::ceil(upper / step) as i64);
                let node = |k: i64| {
                    let (t, weight) = self.abscissa(a, step * k as f64);
                    (t, weight + libm::log(step))
                };
                (first..=last).map(node).collect()
            })
            .collect();
        let mut value = Compensated::default();
        let mut absolute = 0.0;
        // Every second node of a variable, and every third from three starts.
        let mut halves = vec![Compensated::default(); dims];
        let mut thirds = vec![[Compensated::default(); 3]; dims];
        // The sizes of the outermost two layers at both ends of each variable.
        let mut faces = vec![[[0.0; 2]; 2]; dims];
        let mut at = vec![0; dims];
        let mut t = vec![0.0; dims];
        'all: loop {
            let mut weight = 0.0;
            for a in 0..dims {
                let (node, own) = axes[a][at[a]];
                t[a] = node;
                weight += own;
            }
            let (term, size) = self.weighted(&t, weight);
            value.add(term);
            absolute += size;
            for a in 0..dims {
                if at[a].is_multiple_of(2) {
                    halves[a].add(2.0 * term);
                }
                thirds[a][at[a] % 3].add(3.0 * term);
                for (side, depth) in [at[a], axes[a].len() - 1 - at[a]].into_iter().enumerate() {
                    if depth < 2 {
                        faces[a][side][depth] += size;
                    }
                }
            }
            for a in 0..dims {
                at[a] += 1;
                if at[a] < axes[a].len() {
                    continue 'all;
                }
                at[a] = 0;
            }
            break;
        }
        // Beyond both ends it falls at least like a geometric series.
        let beyond = (0..dims)
            .map(|a| {
                let series = |side: usize, slowest: f64| {
                    let [outer, inner] = faces[a][side];
                    let ratio: f64 = if outer == 0.0 { 0.0 } else { outer / inner };
                    outer / (1.0 - ratio.max(slowest).min(0.98))
                };
                [series(0, 0.0), series(1, libm::exp(-step * self.decay[a]))]
            })
            .collect();
        let value = value.value();
        let constant = self.forms.iter().any(|form| 0.0 < form.constant);
        let rate = if constant { 0.5 * RATE } else { RATE };
        let discretisation = (0..dims)
            .map(|a| {
                // The error changes its sign with the place of the nodes and can be 0 by accident; of the three rules
                // with three times the step not all are.
                let thirds = thirds[a].iter().map(|sum| (sum.value() - value).abs()).fold(0.0, f64::max);
                let fastest = |h: f64, finer: f64| libm::exp(rate / h - rate / finer);
                let half = (halves[a].value() - value).abs().max(thirds * fastest(3.0 * step, 2.0 * step));
                if half == 0.0 {
                    return 0.0;
                }
                // If the error is exp(-c / h), the two give c and the error of the rule itself. A singularity of order
                // `rank / 2` has a factor h^(-rank / 2) in front.
                let ratio = (half / thirds).min(1.0);
                let order = 0.5 * self.forms[a].values.iter().filter(|v| 0.0 < **v).count() as f64;
                let safety = 10.0 * libm::exp2(order);
                half.min(safety * half * (ratio * ratio * ratio).max(fastest(2.0 * step, step)))
            })
            .collect();
        Lattice { value, absolute, discretisation, beyond }
    }

    /// The integrand at one node, times the exponential of a weight; and the sum of the sizes of its terms.
    fn weighted(&mut self, t: &[f64], weight: f64) -> (f64, f64) {
        let constant: f64 = t.iter().zip(&self.forms).map(|(t, form)| t * form.constant).sum();
        let log = weight - constant - 0.5 * self.tilt(t);
        // Factors may be small, but no smaller than a power of this.
        if log < -700.0 {
            return (0.0, 0.0);
        }
        let (value, size) = self.inner();
        let weight = libm::exp(log);
        (weight * value, weight * size)
    }

    fn node(&mut self, t: &[f64]) -> (f64, f64) {
        self.weighted(t, 0.0)
    }

    fn inner(&mut self) -> (f64, f64) {
        let (mut value, mut size) = (0.0, 0.0);
        for (coefficient, set, factors) in &self.monomials {
            let term = coefficient * self.moments.moment(*set, factors);
            value += term;
            size += term.abs();
        }
        (value, size)
    }

    /// Moves to the tilted law, and gives `log det P`.
    fn tilt(&mut self, t: &[f64]) -> f64 {
        self.points += 1;
        let r = self.rank;
        let size = |a: usize| t[a] * self.forms[a].largest;
        let leading = (0..t.len()).max_by(|&a, &b| size(a).total_cmp(&size(b)).then(b.cmp(&a))).unwrap_or(0);
        let frame = &self.frames[leading];
        let leading_t = t.get(leading).copied().unwrap_or(0.0);
        let law = self.moments.law();
        if t.len() < 2 {
            let mut log_det = LogProduct::default();
            for (j, value) in frame.values.iter().enumerate() {
                let p = 1.0 + 2.0 * leading_t * value;
                log_det.times(p);
                let root = libm::sqrt(p);
                for (k, row) in frame.rows.iter().enumerate() {
                    law[k * r + j] = row[j] / root;
                }
            }
            return log_det.value();
        }
        let p = &mut self.precision;
        p.fill(0.0);
        for (j, value) in frame.values.iter().enumerate() {
            p[j * (r + 1)] = 1.0 + 2.0 * leading_t * value;
        }
        for (other, t) in frame.others.iter().zip(t) {
            for (p, g) in p.iter_mut().zip(other) {
                *p += 2.0 * t * g;
            }
        }
        // Cholesky; P is at least the identity.
        let mut log_det = LogProduct::default();
        for j in 0..r {
            let mut pivot = p[j * r + j];
            for k in 0..j {
                pivot -= p[j * r + k] * p[j * r + k];
            }
            let pivot = pivot.max(1.0);
            log_det.times(pivot);
            let pivot = libm::sqrt(pivot);
            p[j * r + j] = pivot;
            for i in j + 1..r {
                let mut sum = p[i * r + j];
                for k in 0..j {
                    sum -= p[i * r + k] * p[j * r + k];
                }
                p[i * r + j] = sum / pivot;
            }
        }
        for (k, row) in frame.rows.iter().enumerate() {
            let solved = &mut law[k * r..][..r];
            for j in 0..r {
                let mut sum = row[j];
                for i in 0..j {
                    sum -= p[j * r + i] * solved[i];
                }
                solved[j] = sum / p[j * r + j];
            }
        }
        log_det.value()
    }
}

/// The logarithm of a product of many numbers that are at least 1.
struct LogProduct {
    product: f64,
    log: f64,
}

impl Default for LogProduct {
    fn default() -> Self {
        Self { product: 1.0, log: 0.0 }
    }
}

impl LogProduct {
    fn times(&mut self, x: f64) {
        if 1e150 < x || 1e150 < self.product {
            self.log += libm::log(self.product);
            self.product = 1.0;
        }
        self.product *= x;
    }

    fn value(&self) -> f64 {
        self.log + libm::log(self.product)
    }
}

/// How fast the integrand falls for each `t_a -> inf`, as a power of `t_a`, if all integrals converge.
///
/// Where forms without constants vanish together, on the null space of their sum, the integrand is like
/// `length^(-2 s + d)` in as many dimensions as the sum has rank, with `s` the sum of the powers and `d` the number of
/// factors that vanish there, too.
pub(crate) fn convergent(
    rows: &[Vec<f64>],
    rank: usize,
    forms: &[&Form],
    powers: &[f64],
    monomials: &[Monomial],
) -> Result<Vec<f64>, GaussError> {
    let mut decay = vec![0.0; forms.len()];
    if let Some(a) = forms.iter().position(|form| form.largest == 0.0) {
        return Err(GaussError::DivergentPower { power: powers[a], rank: 0, degree: 0 });
    }
    for set in 1_usize..1 << forms.len() {
        let own: Vec<usize> = (0..forms.len()).filter(|a| set & (1 << a) != 0).collect();
        if set.count_ones() > 1 && own.iter().any(|&a| 0.0 < forms[a].constant) {
            continue;
        }
        let mut total = vec![0.0; rank * rank];
        for &a in &own {
            total.iter_mut().zip(&forms[a].matrix).for_each(|(sum, g)| *sum += g / forms[a].largest);
        }
        let found = spectrum(rank, total);
        let largest = found.values.iter().copied().fold(0.0, f64::max);
        let null: Vec<usize> = (0..rank).filter(|&k| found.values[k] <= RANK * largest || largest == 0.0).collect();
        let inside = |v: &[f64]| {
            let out: f64 = null
                .iter()
                .map(|&k| (0..rank).map(|i| found.vectors[i * rank + k] * v[i]).sum::<f64>())
                .map(|x| x * x)
                .sum();
            out <= INSIDE * INSIDE * square(v)
        };
        let dimension = rank - null.len();
        let power: f64 = own.iter().map(|&a| powers[a]).sum();
        for monomial in monomials {
            let degree = monomial.factors.iter().filter(|&&f| inside(&rows[f])).count();
            let left = 0.5 * (dimension + degree) as f64 - power;
            if let [a] = own[..] {
                if 0.0 < forms[a].constant {
                    decay[a] = 1.0;
                    continue;
                }
                decay[a] = if decay[a] == 0.0 { left } else { left.min(decay[a]) };
            }
            if left <= 0.0 {
                return Err(GaussError::DivergentPower { power, rank: dimension, degree });
            }
        }
    }
    Ok(decay)
}

#[cfg(test)]
mod tests {
    use crate::{Covariance, Function, PowerTerm, Quadratic, Tolerance, expect, expect_powers};

    /// `E (c + z^2)^p` against quadrature in `z`, for forms that are everything or nothing beside their constant.
    #[test]
    fn constants_of_any_size() {
        let tol = Tolerance::default();
        for ratio in [1e-14, 1e-12, 1e-9, 1e-4, 0.3, 10.0, 1e3] {
            for power in [-2.0, -0.5, 0.5] {
                let constant = 0.1;
                let c = Covariance::new(1, vec![constant * ratio]).unwrap();
                let quadratic = Quadratic { constant, matrix: vec![1.0] };
                let term = PowerTerm { coefficient: 1.0, exponents: vec![power], factors: vec![], steps: vec![] };
                let found = expect_powers(&[term], &[quadratic], &c, &tol).unwrap().unwrap();
                let f = Function::new(1, move |points, out| {
                    out.iter_mut().zip(points[0]).for_each(|(y, z)| *y = (constant + z * z).powf(power));
                });
                let plain = expect(&f, &c, &tol).unwrap();
                assert!(
                    (found.value - plain.value).abs() <= found.error + plain.error,
                    "{ratio} {power}: {found:?} {plain:?}"
                );
                assert!(found.met(&tol), "{ratio} {power}: {found:?}");
            }
        }
    }
}
