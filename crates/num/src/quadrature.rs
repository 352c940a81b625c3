//! Rules of integration: Gauss-Legendre and Gauss-Hermite of any order, the trapezoid rule under a Gaussian weight, and adaptive Gauss-Kronrod.

use crate::normal;

/// Nodes and weights; on [-1, 1] for Gauss-Legendre, under the standard normal weight for Gauss-Hermite and the trapezoid rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Where the integrand is evaluated, in increasing order.
    pub nodes: Vec<f64>,
    /// How much each value counts.
    pub weights: Vec<f64>,
}

impl Rule {
    /// The integral of `f` from `a` to `b` by a rule made for [-1, 1].
    pub fn integrate(&self, a: f64, b: f64, f: impl Fn(f64) -> f64) -> f64 {
        let (centre, half) = (0.5 * (a + b), 0.5 * (b - a));
        half * self.expect(|x| f(centre + half * x))
    }

    /// The weighted sum of the values of `f` at the nodes: `E f(Z)` for a rule made for the normal weight.
    pub fn expect(&self, f: impl Fn(f64) -> f64) -> f64 {
        self.nodes.iter().zip(&self.weights).map(|(x, w)| w * f(*x)).sum()
    }
}

/// The Gauss-Legendre rule with `n` nodes on [-1, 1], exact for polynomials of degree `2n - 1`.
///
/// Newton's method on the Legendre polynomial from Tricomi's asymptotic nodes; the cost is of order `n^2`.
///
/// # Panics
/// If `n` is 0: there is no such rule.
pub fn gauss_legendre(n: usize) -> Rule {
    assert!(0 < n, "a Gauss-Legendre rule has at least one node");
    let mut rule = Rule { nodes: vec![0.0; n], weights: vec![0.0; n] };
    let order = n as f64;
    for i in 0..n.div_ceil(2) {
        let guess = libm::cos(std::f64::consts::PI * (i as f64 + 0.75) / (order + 0.5));
        let mut x = guess * (1.0 - (order - 1.0) / (8.0 * order * order * order));
        if 2 * i + 1 == n {
            x = 0.0;
        }
        let mut slope = legendre(n, x).1;
        for _ in 0..10 {
            let (value, derivative) = legendre(n, x);
            let change = value / derivative;
            x -= change;
            slope = derivative;
            if change.abs() <= 1e-16 {
                break;
            }
        }
        let weight = 2.0 / ((1.0 - x) * (1.0 + x) * slope * slope);
        (rule.nodes[i], rule.nodes[n - 1 - i]) = (-x, x);
        (rule.weights[i], rule.weights[n - 1 - i]) = (weight, weight);
    }
    rule
}

/// The Legendre polynomial of degree `n` and its derivative at `x` in (-1, 1).
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (0.0, 1.0);
    for k in 0..n {
        let k = k as f64;
        (before, value) = (value, ((2.0 * k + 1.0) * x * value - k * before) / (k + 1.0));
    }
    (value, n as f64 * (before - x * value) / ((1.0 - x) * (1.0 + x)))
}

/// The Gauss-Hermite rule with `n` nodes under the standard normal weight: `E p(Z)` exactly for polynomials of degree `2n - 1`.
///
/// Zeros of the Hermite polynomial by bisection between those of the one before (they interlace), then Newton; the cost is of order `n^3`, meant for `n` up to a few hundred.
///
/// # Panics
/// If `n` is 0: there is no such rule.
pub fn gauss_hermite(n: usize) -> Rule {
    assert!(0 < n, "a Gauss-Hermite rule has at least one node");
    let mut nodes: Vec<f64> = vec![0.0];
    for degree in 2..=n {
        let bound = 2.0 * libm::sqrt(degree as f64) + 1.0;
        let mut ends = vec![-bound];
        ends.extend(&nodes);
        ends.push(bound);
        nodes = ends.windows(2).map(|pair| hermite_zero(degree, pair[0], pair[1])).collect();
    }
    // The Christoffel numbers of the orthonormal family: 1 / (n h_{n-1}(x)^2).
    let weights = nodes.iter().map(|x| christoffel(n, *x)).collect();
    Rule { nodes, weights }
}

/// The zero of the Hermite function of this degree between `a` and `b`, where its sign changes once.
fn hermite_zero(degree: usize, mut a: f64, mut b: f64) -> f64 {
    let at_a = hermite(degree, a).0;
    let mut x = 0.5 * (a + b);
    for _ in 0..100 {
        let (value, before) = hermite(degree, x);
        if (value < 0.0) == (at_a < 0.0) {
            a = x;
        } else {
            b = x;
        }
        // h_n' = sqrt(n) h_{n-1} for the orthonormal family.
        let newton = x - value / (libm::sqrt(degree as f64) * before);
        let next = if a < newton && newton < b { newton } else { 0.5 * (a + b) };
        if (next - x).abs() <= 1e-16 * (1.0 + x.abs()) {
            return next;
        }
        x = next;
    }
    x
}

/// Orthonormal Hermite polynomials `h_n(x)` and `h_{n-1}(x)`, both times the same positive factor.
fn hermite(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (0.0, 1.0);
    for k in 0..n {
        let k = k as f64;
        (before, value) = (value, (x * value - libm::sqrt(k) * before) / libm::sqrt(k + 1.0));
        if 1e100 < value.abs() {
            (before, value) = (before * 1e-100, value * 1e-100);
        }
    }
    (value, before)
}

/// The weight `1 / sum_{k < n} h_k(x)^2` of the node `x`.
fn christoffel(n: usize, x: f64) -> f64 {
    let (mut before, mut value, mut total, mut scale) = (0.0, 1.0, 0.0, 0);
    for k in 0..n {
        total += value * value;
        let k = k as f64;
        (before, value) = (value, (x * value - libm::sqrt(k) * before) / libm::sqrt(k + 1.0));
        if 1e100 < total {
            (before, value, total) = (before * 1e-50, value * 1e-50, total * 1e-100);
            scale += 1;
        }
    }
    (0..scale).fold(1.0 / total, |weight, _| weight * 1e-100)
}

/// The trapezoid rule with step `h` on `|x| <= range` under the standard normal weight, its grid shifted by the fraction `shift` of a step.
///
/// For a function that is analytic in the strip `|Im x| < a` the error falls like `exp(-2 pi a / h)`, and for entire functions of moderate growth like `exp(-2 pi^2 / h^2)`: no other rule of as many points is better for all of them (Trefethen and Weideman 2014).
pub fn trapezoid(h: f64, range: f64, shift: f64) -> Rule {
    let first = (-range / h - shift).ceil() as i64;
    let last = (range / h - shift).floor() as i64;
    let nodes: Vec<f64> = (first..=last).map(|i| (i as f64 + shift) * h).collect();
    let weights = nodes.iter().map(|x| h * normal::pdf(*x)).collect();
    Rule { nodes, weights }
}

/// The result of an adaptive integration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Integral {
    /// The integral.
    pub value: f64,
    /// An estimate of its absolute error, rounding included.
    pub error: f64,
    /// The integral of the absolute value of the integrand, as far as the nodes see it.
    pub absolute: f64,
    /// How many times the integrand was evaluated.
    pub evaluations: usize,
}

/// The adaptive integral over the consecutive pieces between `breaks`, until the error is below `absolute + relative * integral of |f|` or `max_evaluations` are spent.
///
/// The integrand is given a batch of points and fills in its values; each batch is the 15 nodes of one Gauss-Kronrod rule.
/// Put a break wherever the integrand is not smooth; a singularity inside a piece is found by bisection, at some cost.
/// The answer is the sum of the pieces from left to right.
pub fn adaptive(
    breaks: &[f64],
    absolute: f64,
    relative: f64,
    max_evaluations: usize,
    mut f: impl FnMut(&[f64; 15], &mut [f64; 15]),
) -> Integral {
    let mut panels: Vec<Panel> =
        breaks.windows(2).filter(|ends| ends[0] < ends[1]).map(|ends| Panel::new(ends[0], ends[1], &mut f)).collect();
    let mut evaluations = 15 * panels.len();
    loop {
        let magnitude: f64 = panels.iter().map(|panel| panel.magnitude).sum();
        let error: f64 = panels.iter().map(|panel| panel.error).sum();
        let target = absolute + relative * magnitude;
        // A NaN leaves the loop too and is seen in the value.
        if error.is_nan() || error <= target || max_evaluations < evaluations + 30 {
            panels.sort_by(|left, right| left.a.total_cmp(&right.a));
            let value = panels.iter().map(|panel| panel.value).sum();
            return Integral { value, error: error + f64::EPSILON * magnitude, absolute: magnitude, evaluations };
        }
        // Bisect every panel with more than its share of the error that is too much.
        let share = 0.5 * target / panels.len() as f64;
        let mut next = Vec::with_capacity(2 * panels.len());
        let mut split = false;
        for panel in panels {
            let middle = 0.5 * (panel.a + panel.b);
            let can = panel.a < middle && middle < panel.b && evaluations + 30 <= max_evaluations;
            if share < panel.error && can {
                next.push(Panel::new(panel.a, middle, &mut f));
                next.push(Panel::new(middle, panel.b, &mut f));
                evaluations += 30;
                split = true;
            } else {
                next.push(panel);
            }
        }
        panels = next;
        if !split {
            evaluations = evaluations.max(max_evaluations);
        }
    }
}

struct Panel {
    a: f64,
    b: f64,
    value: f64,
    error: f64,
    magnitude: f64,
}

impl Panel {
    fn new(a: f64, b: f64, f: &mut impl FnMut(&[f64; 15], &mut [f64; 15])) -> Self {
        let (centre, half) = (0.5 * (a + b), 0.5 * (b - a));
        let mut values = [0.0; 15];
        f(&KRONROD_NODES.map(|x| centre + half * x), &mut values);
        let (mut value, mut gauss, mut magnitude) = (0.0, 0.0, 0.0);
        for (i, y) in values.iter().enumerate() {
            let w = KRONROD_WEIGHTS[i.min(14 - i)];
            value += w * y;
            magnitude += w * y.abs();
            if i % 2 == 1 {
                gauss += GAUSS_WEIGHTS[i.min(14 - i) / 2] * y;
            }
        }
        let mean = 0.5 * value;
        let spread: f64 =
            values.iter().enumerate().map(|(i, y)| KRONROD_WEIGHTS[i.min(14 - i)] * (y - mean).abs()).sum();
        // The usual estimate of QUADPACK: the difference of the two rules, to the power 3/2 when it is small.
        let difference = (value - gauss).abs();
        let error = if spread == 0.0 { 0.0 } else { spread * libm::pow(200.0 * difference / spread, 1.5).min(1.0) };
        let error = if difference < error { difference } else { error };
        Self { a, b, value: half * value, error: half * error, magnitude: half * magnitude }
    }
}

/// Nodes of the 15-point Kronrod rule in increasing order (QUADPACK, qk15).
const KRONROD_NODES: [f64; 15] = [
    -0.991_455_371_120_812_6,
    -0.949_107_912_342_758_5,
    -0.864_864_423_359_769_1,
    -0.741_531_185_599_394_5,
    -0.586_087_235_467_691_1,
    -0.405_845_151_377_397_2,
    -0.207_784_955_007_898_47,
    0.0,
    0.207_784_955_007_898_47,
    0.405_845_151_377_397_2,
    0.586_087_235_467_691_1,
    0.741_531_185_599_394_5,
    0.864_864_423_359_769_1,
    0.949_107_912_342_758_5,
    0.991_455_371_120_812_6,
];

const KRONROD_WEIGHTS: [f64; 8] = [
    0.022_935_322_010_529_224,
    0.063_092_092_629_978_56,
    0.104_790_010_322_250_19,
    0.140_653_259_715_525_92,
    0.169_004_726_639_267_9,
    0.190_350_578_064_785_4,
    0.204_432_940_075_298_89,
    0.209_482_141_084_727_82,
];

const GAUSS_WEIGHTS: [f64; 4] =
    [0.129_484_966_168_869_7, 0.279_705_391_489_276_64, 0.381_830_050_505_118_9, 0.417_959_183_673_469_4];

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule of n nodes has to integrate monomials up to degree 2n - 1; rounding of n terms is the tolerance.
    #[test]
    fn gauss_legendre_is_exact() {
        for n in [1, 2, 3, 7, 20, 64, 200] {
            let rule = gauss_legendre(n);
            for degree in [0, 1, 2, 3, n, 2 * n - 2, 2 * n - 1] {
                if 2 * n <= degree {
                    continue;
                }
                let exact = if degree % 2 == 0 { 2.0 / (degree as f64 + 1.0) } else { 0.0 };
                let value = rule.integrate(-1.0, 1.0, |x| x.powi(degree as i32));
                assert!((value - exact).abs() < 1e-14, "{n} {degree}: {value} {exact}");
            }
        }
    }

    #[test]
    fn gauss_hermite_is_exact() {
        for n in [1, 2, 5, 20, 64, 150] {
            let rule = gauss_hermite(n);
            // E exp(t Z) = exp(t^2/2) tests all moments at once, once n is large enough for t.
            assert!((rule.expect(|_| 1.0) - 1.0).abs() < 1e-13, "{n}");
            if 1 < n {
                assert!((rule.expect(|x| x * x) - 1.0).abs() < 1e-13, "{n}");
            }
            if 20 <= n {
                assert!((rule.expect(libm::exp) - libm::exp(0.5)).abs() < 1e-13, "{n}");
            }
        }
    }

    #[test]
    fn trapezoid_converges_at_the_promised_rate() {
        // E cos(Z) = exp(-1/2); aliasing error about 2 exp(-(2 pi/h - 1)^2/2).
        for (h, shift) in [(1.0, 0.0), (0.8, 0.3), (0.7, 0.5)] {
            let error = (trapezoid(h, 9.0, shift).expect(libm::cos) - libm::exp(-0.5)).abs();
            let frequency = std::f64::consts::TAU / h - 1.0;
            assert!(error <= 2.0 * libm::exp(-0.5 * frequency * frequency) + 1e-15, "{h} {error}");
        }
    }

    /// The Kronrod rule has degree 22, the Gauss rule inside 13: both constants tables are checked by monomials.
    #[test]
    fn kronrod_is_exact() {
        for degree in 0..=22 {
            let exact = if degree % 2 == 0 { 2.0 / (f64::from(degree) + 1.0) } else { 0.0 };
            let mut gauss = 0.0;
            let mut value = 0.0;
            for (i, x) in KRONROD_NODES.iter().enumerate() {
                value += KRONROD_WEIGHTS[i.min(14 - i)] * x.powi(degree);
                if i % 2 == 1 {
                    gauss += GAUSS_WEIGHTS[i.min(14 - i) / 2] * x.powi(degree);
                }
            }
            assert!((value - exact).abs() < 1e-15, "{degree} {value}");
            assert!(13 < degree || (gauss - exact).abs() < 1e-15, "{degree} {gauss}");
        }
    }

    #[test]
    fn adaptive_finds_a_singularity() {
        let sqrt = |x: &[f64; 15], y: &mut [f64; 15]| *y = x.map(libm::sqrt);
        let integral = adaptive(&[0.0, 1.0], 1e-12, 0.0, 100_000, sqrt);
        assert!((integral.value - 2.0 / 3.0).abs() <= integral.error);
        assert!(integral.error < 2e-12 && integral.evaluations < 3000, "{integral:?}");
    }

    #[test]
    fn adaptive_says_when_it_has_not_converged() {
        let rough = |x: &[f64; 15], y: &mut [f64; 15]| *y = x.map(|x| libm::sin(1e4 * x * x));
        let integral = adaptive(&[0.0, 3.0], 1e-12, 0.0, 600, rough);
        assert!(1e-3 < integral.error && integral.evaluations <= 600);
        let nan = adaptive(&[0.0, 1.0], 1e-12, 0.0, 600, |_, y| *y = [f64::NAN; 15]);
        assert!(nan.value.is_nan());
    }
}
