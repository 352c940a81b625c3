//! Expressions as members of the three families of closed forms.

use netsor_gauss::dual::{Activation, ErfSum, ErfTerm, Phase, WaveSum, WaveTerm};
use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::number::{power_to_f64, to_f64};
use num_traits::Zero;

use super::Leaves;
use super::sides::{Sides, product, quotient};
use crate::graph::{Graph, Leaf};

/// The largest exponent that may stand apart from the rest of its exponential.
const EXPONENT: f64 = 200.0;
/// The highest power that is multiplied out.
const MAX_POWER: i64 = 12;
/// The most terms of a sum of error functions or waves.
const MAX_TERMS: usize = 64;

/// Reads functions of `u` from their structure.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) graph: &'a Graph,
    pub(super) leaves: Leaves<'a>,
}

impl Reader<'_> {
    /// The product of the factors as a member of one family.
    pub(super) fn activation(&self, factors: &[ExprId]) -> Option<Activation> {
        let rectified = || {
            let all = factors.iter().map(|&f| self.sides(f));
            let product = all.reduce(|a, b| a?.times(&b?))??;
            Some(Activation::Rectified(product.to_rectified()))
        };
        let erf = || {
            let all = factors.iter().map(|&f| self.erf(f));
            Some(Activation::Erf(ErfSum::new(all.reduce(|a, b| multiply_erf(&a?, &b?))??)))
        };
        let wave = || {
            let all = factors.iter().map(|&f| self.wave(f));
            Some(Activation::Wave(WaveSum::new(all.reduce(|a, b| multiply_wave(&a?, &b?))??)))
        };
        rectified().or_else(erf).or_else(wave)
    }

    /// The value of a term that does not depend on `u`.
    pub(super) fn number(&self, id: ExprId) -> Option<f64> {
        self.sides(id)?.as_number()
    }

    fn polynomial(&self, id: ExprId) -> Option<Vec<f64>> {
        self.sides(id)?.as_polynomial().map(<[f64]>::to_vec)
    }

    /// `c` if the expression is `c u` and `c^2` within the range of numbers.
    fn rate(&self, id: ExprId) -> Option<f64> {
        match self.polynomial(id)?[..] {
            [] => Some(0.0),
            [zero, c] if zero == 0.0 && coefficient(c, c).is_some() => Some(c),
            _ => None,
        }
    }

    fn sides(&self, id: ExprId) -> Option<Sides> {
        stacker::maybe_grow(64 * 1024, 1024 * 1024, || self.sides_of(id))
    }

    fn sides_of(&self, id: ExprId) -> Option<Sides> {
        match self.graph.pool.node(id) {
            Expr::Const(value) => {
                let x = to_f64(value);
                (x.is_normal() || value.is_zero()).then(|| Sides::constant(x))
            }
            Expr::Pi => Some(Sides::constant(std::f64::consts::PI)),
            Expr::Ref(symbol, _) => match self.graph.leaf(*symbol) {
                Leaf::Slot(k) => Some(Sides::polynomial(vec![0.0, (self.leaves.multiple)(k)?])),
                Leaf::Parameter(k) => Some(Sides::constant((self.leaves.parameter)(k)?)),
                _ => None,
            },
            Expr::Neg(a) => Some(self.sides(*a)?.negated()),
            Expr::Add(a, b) => self.sides(*a)?.plus(&self.sides(*b)?),
            Expr::Sub(a, b) => self.sides(*a)?.plus(&self.sides(*b)?.negated()),
            Expr::Mul(a, b) => self.sides(*a)?.times(&self.sides(*b)?),
            Expr::Div(a, b) => self.sides(*a)?.over(self.number(*b)?),
            Expr::Pow(a, p) if p.is_integer() && (0..=MAX_POWER).contains(p.numer()) => {
                let base = self.sides(*a)?;
                (0..*p.numer()).try_fold(Sides::constant(1.0), |acc, _| acc.times(&base))
            }
            Expr::Pow(a, p) => {
                let power = self.number(*a)?.powf(power_to_f64(*p));
                power.is_normal().then(|| Sides::constant(power))
            }
            Expr::Apply(func, args) => self.applied(*func, args),
            Expr::Width(_) | Expr::Table(..) | Expr::Sum(_) => None,
        }
    }

    /// Functions that are homogeneous on each side of zero, and all functions of constants.
    fn applied(&self, func: Func, args: &[ExprId]) -> Option<Sides> {
        let inner = args.iter().map(|&a| self.sides(a)).collect::<Option<Vec<_>>>()?;
        let numbers = inner.iter().map(Sides::as_number).collect::<Option<Vec<_>>>();
        if let Some(numbers) = numbers {
            let value = match numbers[..] {
                [x] => netsor_num::functions::unary::<f64>(func.name())?(x),
                [x, y] => netsor_num::functions::binary::<f64>(func.name())?(x, y),
                _ => return None,
            };
            // A zero is one at zero, of a logarithm or of a piece, and underflow otherwise.
            let zero = numbers[0] == 0.0 || func == Func::Log || func.facts().smoothness != Smoothness::Smooth;
            return (value.is_normal() || (value == 0.0 && zero)).then(|| Sides::constant(value));
        }
        let pieces = |right: &[f64], left: &[f64]| Sides { right: right.to_vec(), left: left.to_vec(), zero: 0.0 };
        let relu = pieces(&[0.0, 1.0], &[]);
        match func {
            Func::Relu => inner[0].inside(&relu),
            Func::Step => inner[0].inside(&pieces(&[1.0], &[])),
            Func::Sign => inner[0].inside(&pieces(&[1.0], &[-1.0])),
            Func::Abs => inner[0].inside(&pieces(&[0.0, 1.0], &[0.0, -1.0])),
            Func::LeakyRelu => match inner[1].as_number()? {
                0.0 => inner[0].inside(&relu),
                slope => inner[0].inside(&pieces(&[0.0, 1.0], &[0.0, slope])),
            },
            // max(a, b) = b + relu(a - b) and min(a, b) = a - relu(a - b)
            Func::Max => inner[1].plus(&inner[0].plus(&inner[1].negated())?.inside(&relu)?),
            Func::Min => inner[0].plus(&inner[0].plus(&inner[1].negated())?.inside(&relu)?.negated()),
            _ => None,
        }
    }

    fn erf(&self, id: ExprId) -> Option<Vec<ErfTerm>> {
        if let Some(p) = self.polynomial(id) {
            let term = |(power, coefficient)| ErfTerm { coefficient, power, erf: None, gauss: 0.0 };
            return Some(p.into_iter().enumerate().map(term).collect());
        }
        match self.graph.pool.node(id) {
            Expr::Neg(a) => Some(negated_erf(self.erf(*a)?)),
            Expr::Add(a, b) => Some([self.erf(*a)?, self.erf(*b)?].concat()),
            Expr::Sub(a, b) => Some([self.erf(*a)?, negated_erf(self.erf(*b)?)].concat()),
            Expr::Mul(a, b) => multiply_erf(&self.erf(*a)?, &self.erf(*b)?),
            Expr::Div(a, b) => {
                let divisor = self.number(*b)?;
                let over = |t: ErfTerm| Some(ErfTerm { coefficient: quotient(t.coefficient, divisor)?, ..t });
                self.erf(*a)?.into_iter().map(over).collect()
            }
            Expr::Pow(a, p) if p.is_integer() && (1..=MAX_POWER).contains(p.numer()) => {
                let base = self.erf(*a)?;
                (1..*p.numer()).try_fold(base.clone(), |acc, _| multiply_erf(&acc, &base))
            }
            Expr::Apply(Func::Erf, args) => {
                let rate = self.rate(args[0])?;
                Some(vec![ErfTerm { coefficient: 1.0, power: 0, erf: Some(rate), gauss: 0.0 }])
            }
            Expr::Apply(Func::Gelu, args) => {
                // x Phi(x) = x/2 + x erf(x / sqrt 2)/2
                let rate = self.rate(args[0])?;
                let half = rate / 2.0;
                Some(vec![
                    ErfTerm { coefficient: half, power: 1, erf: None, gauss: 0.0 },
                    ErfTerm { coefficient: half, power: 1, erf: Some(rate / 2f64.sqrt()), gauss: 0.0 },
                ])
            }
            Expr::Apply(Func::Exp, args) => match self.polynomial(args[0])?[..] {
                [c, 0.0, gauss] => Some(vec![ErfTerm { coefficient: exponential(c)?, power: 0, erf: None, gauss }]),
                _ => None,
            },
            _ => None,
        }
    }

    fn wave(&self, id: ExprId) -> Option<Vec<WaveTerm>> {
        let plain = WaveTerm { coefficient: 1.0, power: 0, gauss: 0.0, rate: 0.0, frequency: 0.0, phase: Phase::Cos };
        if let Some(p) = self.polynomial(id) {
            let term = |(power, coefficient)| WaveTerm { coefficient, power, ..plain };
            return Some(p.into_iter().enumerate().map(term).collect());
        }
        match self.graph.pool.node(id) {
            Expr::Neg(a) => Some(negated_wave(self.wave(*a)?)),
            Expr::Add(a, b) => Some([self.wave(*a)?, self.wave(*b)?].concat()),
            Expr::Sub(a, b) => Some([self.wave(*a)?, negated_wave(self.wave(*b)?)].concat()),
            Expr::Mul(a, b) => multiply_wave(&self.wave(*a)?, &self.wave(*b)?),
            Expr::Div(a, b) => {
                let divisor = self.number(*b)?;
                let over = |t: WaveTerm| Some(WaveTerm { coefficient: quotient(t.coefficient, divisor)?, ..t });
                self.wave(*a)?.into_iter().map(over).collect()
            }
            Expr::Apply(func @ (Func::Sin | Func::Cos), args) => {
                let [shift, frequency] = self.polynomial(args[0])?[..] else { return None };
                let (sin, cos) = (
                    WaveTerm { frequency, phase: Phase::Sin, ..plain },
                    WaveTerm { frequency, phase: Phase::Cos, ..plain },
                );
                // sin(a + b) and cos(a + b)
                Some(match func {
                    Func::Sin => {
                        vec![WaveTerm { coefficient: shift.cos(), ..sin }, WaveTerm { coefficient: shift.sin(), ..cos }]
                    }
                    _ => vec![
                        WaveTerm { coefficient: shift.cos(), ..cos },
                        WaveTerm { coefficient: -shift.sin(), ..sin },
                    ],
                })
            }
            Expr::Apply(Func::Exp, args) => {
                let p = self.polynomial(args[0])?;
                if 3 < p.len() {
                    return None;
                }
                let at = |k: usize| p.get(k).copied().unwrap_or(0.0);
                Some(vec![WaveTerm { coefficient: exponential(at(0))?, rate: at(1), gauss: at(2), ..plain }])
            }
            _ => None,
        }
    }
}

/// `exp(c)` as a coefficient of its own. In `exp(-100 (u - 3)^2)` it would be `exp(-900) = 0`, to be multiplied by an
/// expectation that overflows; such integrands are left to quadrature, which evaluates the exponential as a whole.
fn exponential(c: f64) -> Option<f64> {
    (c.abs() <= EXPONENT).then(|| netsor_num::special::exp(c))
}

/// A product of coefficients; `None` if it leaves the range in which the rest of a closed form can make up for it.
fn coefficient(a: f64, b: f64) -> Option<f64> {
    let within = |x: f64| x == 0.0 || ((-EXPONENT).exp() <= x.abs() && x.abs() <= EXPONENT.exp());
    product(a, b).filter(|&x| within(x))
}

fn negated_erf(terms: Vec<ErfTerm>) -> Vec<ErfTerm> {
    terms.into_iter().map(|t| ErfTerm { coefficient: -t.coefficient, ..t }).collect()
}

fn negated_wave(terms: Vec<WaveTerm>) -> Vec<WaveTerm> {
    terms.into_iter().map(|t| WaveTerm { coefficient: -t.coefficient, ..t }).collect()
}

/// The product, unless two error functions meet.
fn multiply_erf(a: &[ErfTerm], b: &[ErfTerm]) -> Option<Vec<ErfTerm>> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
    let all = pairs.map(|(x, y)| {
        let erf = match (x.erf, y.erf) {
            (Some(_), Some(_)) => return None,
            (a, b) => a.or(b),
        };
        let coefficient = coefficient(x.coefficient, y.coefficient)?;
        Some(ErfTerm { coefficient, power: x.power + y.power, erf, gauss: x.gauss + y.gauss })
    });
    let collected = ErfSum::new(all.collect::<Option<_>>()?).terms().to_vec();
    (collected.len() <= MAX_TERMS).then_some(collected)
}

/// The product, unless two waves meet: as a sum of waves, `sin(u)^2 = (1 - cos(2 u))/2` would cancel at small variances.
fn multiply_wave(a: &[WaveTerm], b: &[WaveTerm]) -> Option<Vec<WaveTerm>> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
    let all = pairs.map(|(x, y)| {
        let wave = match (x.frequency == 0.0, y.frequency == 0.0) {
            (false, false) => return None,
            (false, true) => x,
            _ => y,
        };
        Some(WaveTerm {
            coefficient: coefficient(x.coefficient, y.coefficient)?,
            power: x.power + y.power,
            gauss: x.gauss + y.gauss,
            rate: x.rate + y.rate,
            frequency: wave.frequency,
            phase: wave.phase,
        })
    });
    let collected = WaveSum::new(all.collect::<Option<_>>()?).terms().to_vec();
    (collected.len() <= MAX_TERMS).then_some(collected)
}
