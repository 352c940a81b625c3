//! Recognising integrands that have closed forms.
//!
//! An integrand that is a product of functions of at most two slots, each from a family of [`netsor_gauss::dual`], is
//! handed over to the closed forms there. This only makes evaluation faster and exact: the general way, quadrature of
//! the compiled expression, gives the same numbers, and tests compare the two.

use netsor_gauss::dual::{Activation, ErfSum, ErfTerm, Phase, Rectified, WaveSum, WaveTerm};
use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::Func;
use netsor_ir::number::{power_to_f64, to_f64};

use crate::graph::{Graph, Leaf};

/// The integrand as a product of one activation a slot.
pub(crate) struct Separated {
    /// The constant in front.
    pub(crate) factor: f64,
    /// Slots with their activations; at most two.
    pub(crate) slots: Vec<(usize, Activation)>,
}

/// Splits the integrand into activations of single slots, if it is such a product with at most two slots.
pub(crate) fn separate(graph: &Graph, integrand: ExprId, parameters: &[f64]) -> Option<Separated> {
    let mut factors = Vec::new();
    let mut sign = 1.0;
    flatten(graph, integrand, &mut factors, &mut sign);
    let mut factor = sign;
    let mut by_slot: Vec<(usize, Vec<ExprId>)> = Vec::new();
    for f in factors {
        match slots_of(graph, f)[..] {
            [] => factor *= constant(graph, f, parameters)?,
            [slot] => match by_slot.iter_mut().find(|(s, _)| *s == slot) {
                Some((_, own)) => own.push(f),
                None => by_slot.push((slot, vec![f])),
            },
            _ => return None,
        }
    }
    if 2 < by_slot.len() {
        return None;
    }
    let slots = by_slot
        .into_iter()
        .map(|(slot, own)| Some((slot, activation(graph, &own, parameters)?)))
        .collect::<Option<_>>()?;
    Some(Separated { factor, slots })
}

/// The factors of a product, with its sign.
pub(crate) fn flatten(graph: &Graph, id: ExprId, factors: &mut Vec<ExprId>, sign: &mut f64) {
    let mut stack = vec![id];
    while let Some(id) = stack.pop() {
        match *graph.pool.node(id) {
            Expr::Mul(a, b) => stack.extend([b, a]),
            Expr::Neg(a) => {
                *sign = -*sign;
                stack.push(a);
            }
            _ => factors.push(id),
        }
    }
}

/// The slots that an expression mentions, sorted.
pub(crate) fn slots_of(graph: &Graph, id: ExprId) -> Vec<usize> {
    let mut found = Vec::new();
    graph.pool.visit(id, &mut |node| {
        if let Expr::Ref(symbol, _) = node
            && let Leaf::Slot(k) = graph.leaf(*symbol)
        {
            found.push(k);
        }
    });
    found.sort_unstable();
    found.dedup();
    found
}

/// The product of functions of one slot, if it is in one of the families.
pub(crate) fn activation(graph: &Graph, factors: &[ExprId], parameters: &[f64]) -> Option<Activation> {
    let reader = Reader { graph, parameters };
    let rectified = |f: &ExprId| reader.rectified(*f);
    if let Some(all) = factors.iter().map(rectified).collect::<Option<Vec<_>>>() {
        let (p, q) = all.into_iter().reduce(|a, b| multiply_rectified(&a, &b))?;
        return Some(Activation::Rectified(Rectified::new(&p, &q, &[])));
    }
    let erf = |f: &ExprId| reader.erf(*f);
    if let Some(all) = factors.iter().map(erf).collect::<Option<Vec<_>>>() {
        let mut product = all.into_iter();
        let first = product.next()?;
        let terms = product.try_fold(first, |a, b| multiply_erf(&a, &b))?;
        return Some(Activation::Erf(ErfSum::new(terms)));
    }
    let mut all = factors.iter().map(|f| reader.wave(*f));
    let first = all.next()??;
    let terms = all.try_fold(first, |a, b| multiply_wave(&a, &b?))?;
    Some(Activation::Wave(WaveSum::new(terms)))
}

/// The value of a term without slots.
fn constant(graph: &Graph, id: ExprId, parameters: &[f64]) -> Option<f64> {
    let reader = Reader { graph, parameters };
    match reader.polynomial(id)?[..] {
        [] => Some(0.0),
        [c] => Some(c),
        _ => None,
    }
}

/// `p(u) + step(u) q(u)` with constant terms first.
type Pieces = (Vec<f64>, Vec<f64>);

struct Reader<'a> {
    graph: &'a Graph,
    parameters: &'a [f64],
}

impl Reader<'_> {
    fn polynomial(&self, id: ExprId) -> Option<Vec<f64>> {
        let (p, q) = self.rectified(id)?;
        q.is_empty().then_some(p)
    }

    /// `c` if the expression is `c u`.
    fn multiple(&self, id: ExprId) -> Option<f64> {
        match self.polynomial(id)?[..] {
            [0.0, c] => Some(c),
            _ => None,
        }
    }

    fn rectified(&self, id: ExprId) -> Option<Pieces> {
        let none = Vec::new;
        match self.graph.pool.node(id) {
            Expr::Const(value) => Some((trim(vec![to_f64(value)]), none())),
            Expr::Pi => Some((vec![std::f64::consts::PI], none())),
            Expr::Ref(symbol, _) => match self.graph.leaf(*symbol) {
                Leaf::Slot(_) => Some((vec![0.0, 1.0], none())),
                Leaf::Parameter(k) => Some((trim(vec![*self.parameters.get(k)?]), none())),
                _ => None,
            },
            Expr::Neg(a) => Some(scale(&self.rectified(*a)?, -1.0)),
            Expr::Add(a, b) => Some(add_rectified(&self.rectified(*a)?, &self.rectified(*b)?)),
            Expr::Sub(a, b) => Some(add_rectified(&self.rectified(*a)?, &scale(&self.rectified(*b)?, -1.0))),
            Expr::Mul(a, b) => Some(multiply_rectified(&self.rectified(*a)?, &self.rectified(*b)?)),
            Expr::Div(a, b) => match self.polynomial(*b)?[..] {
                [c] => Some(scale(&self.rectified(*a)?, 1.0 / c)),
                _ => None,
            },
            Expr::Pow(a, p) if p.is_integer() && (0..=12).contains(p.numer()) => {
                let base = self.rectified(*a)?;
                let one = (vec![1.0], none());
                Some((0..*p.numer()).fold(one, |acc, _| multiply_rectified(&acc, &base)))
            }
            Expr::Pow(a, p) => match self.polynomial(*a)?[..] {
                [c] => Some((vec![c.powf(power_to_f64(*p))], none())),
                _ => None,
            },
            Expr::Apply(func, args) => {
                let c = self.multiple(args[0])?;
                // By homogeneity f(c u) for positive c is c^k f(u); negative rates are left to quadrature.
                if c <= 0.0 {
                    return None;
                }
                match func {
                    Func::Relu => Some((none(), vec![0.0, c])),
                    Func::Step => Some((none(), vec![1.0])),
                    Func::Sign => Some((vec![-1.0], vec![2.0])),
                    Func::Abs => Some((vec![0.0, -c], vec![0.0, 2.0 * c])),
                    Func::LeakyRelu => match self.polynomial(args[1])?[..] {
                        [] => Some((none(), vec![0.0, c])),
                        [slope] => Some((vec![0.0, slope * c], vec![0.0, (1.0 - slope) * c])),
                        _ => None,
                    },
                    Func::Max if self.polynomial(args[1])?.is_empty() => Some((none(), vec![0.0, c])),
                    Func::Min if self.polynomial(args[1])?.is_empty() => Some((vec![0.0, c], vec![0.0, -c])),
                    _ => None,
                }
            }
            Expr::Width(_) | Expr::Table(..) | Expr::Sum(_) => None,
        }
    }

    fn erf(&self, id: ExprId) -> Option<Vec<ErfTerm>> {
        if let Some(p) = self.polynomial(id) {
            let term = |(power, coefficient)| ErfTerm { coefficient, power, erf: None, gauss: 0.0 };
            return Some(p.into_iter().enumerate().map(term).collect());
        }
        let scaled = |terms: Vec<ErfTerm>, c: f64| -> Vec<ErfTerm> {
            terms.into_iter().map(|t| ErfTerm { coefficient: c * t.coefficient, ..t }).collect()
        };
        match self.graph.pool.node(id) {
            Expr::Neg(a) => Some(scaled(self.erf(*a)?, -1.0)),
            Expr::Add(a, b) => Some([self.erf(*a)?, self.erf(*b)?].concat()),
            Expr::Sub(a, b) => Some([self.erf(*a)?, scaled(self.erf(*b)?, -1.0)].concat()),
            Expr::Mul(a, b) => multiply_erf(&self.erf(*a)?, &self.erf(*b)?),
            Expr::Div(a, b) => match self.polynomial(*b)?[..] {
                [c] => Some(scaled(self.erf(*a)?, 1.0 / c)),
                _ => None,
            },
            Expr::Pow(a, p) if p.is_integer() && (1..=8).contains(p.numer()) => {
                let base = self.erf(*a)?;
                (1..*p.numer()).try_fold(base.clone(), |acc, _| multiply_erf(&acc, &base))
            }
            Expr::Apply(Func::Erf, args) => {
                let rate = self.multiple(args[0])?;
                Some(vec![ErfTerm { coefficient: 1.0, power: 0, erf: Some(rate), gauss: 0.0 }])
            }
            Expr::Apply(Func::Gelu, args) => {
                // x Phi(x) = x/2 + x erf(x / sqrt 2)/2
                let rate = self.multiple(args[0])?;
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
        let scaled = |terms: Vec<WaveTerm>, c: f64| -> Vec<WaveTerm> {
            terms.into_iter().map(|t| WaveTerm { coefficient: c * t.coefficient, ..t }).collect()
        };
        match self.graph.pool.node(id) {
            Expr::Neg(a) => Some(scaled(self.wave(*a)?, -1.0)),
            Expr::Add(a, b) => Some([self.wave(*a)?, self.wave(*b)?].concat()),
            Expr::Sub(a, b) => Some([self.wave(*a)?, scaled(self.wave(*b)?, -1.0)].concat()),
            Expr::Mul(a, b) => multiply_wave(&self.wave(*a)?, &self.wave(*b)?),
            Expr::Div(a, b) => match self.polynomial(*b)?[..] {
                [c] => Some(scaled(self.wave(*a)?, 1.0 / c)),
                _ => None,
            },
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

/// The largest exponent that may stand apart from the rest of its exponential.
const EXPONENT: f64 = 200.0;

/// `exp(c)` as a coefficient of its own. In `exp(-100 (u - 3)^2)` it would be `exp(-900) = 0`, to be multiplied by an
/// expectation that overflows; such integrands are left to quadrature, which evaluates the exponential as a whole.
fn exponential(c: f64) -> Option<f64> {
    (c.abs() <= EXPONENT).then(|| c.exp())
}

/// A product of coefficients; `None` if it leaves the range in which the rest of a closed form can make up for it.
fn coefficient(a: f64, b: f64) -> Option<f64> {
    let product = a * b;
    let within = (-EXPONENT).exp() <= product.abs() && product.abs() <= EXPONENT.exp();
    (within || a == 0.0 || b == 0.0).then_some(product)
}

fn trim(mut p: Vec<f64>) -> Vec<f64> {
    while p.last() == Some(&0.0) {
        p.pop();
    }
    p
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    let at = |p: &[f64], k: usize| p.get(k).copied().unwrap_or(0.0);
    trim((0..a.len().max(b.len())).map(|k| at(a, k) + at(b, k)).collect())
}

fn multiply(a: &[f64], b: &[f64]) -> Vec<f64> {
    if a.is_empty() || b.is_empty() {
        return Vec::new();
    }
    let mut product = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            product[i + j] += x * y;
        }
    }
    trim(product)
}

fn scale((p, q): &Pieces, c: f64) -> Pieces {
    (multiply(p, &[c]), multiply(q, &[c]))
}

fn add_rectified(a: &Pieces, b: &Pieces) -> Pieces {
    (add(&a.0, &b.0), add(&a.1, &b.1))
}

/// `(p + s q)(p' + s q')` with `s^2 = s`.
fn multiply_rectified(a: &Pieces, b: &Pieces) -> Pieces {
    let cross = add(&multiply(&a.0, &b.1), &multiply(&a.1, &b.0));
    (multiply(&a.0, &b.0), add(&cross, &multiply(&a.1, &b.1)))
}

/// The product, unless two error functions meet.
fn multiply_erf(a: &[ErfTerm], b: &[ErfTerm]) -> Option<Vec<ErfTerm>> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
    pairs
        .map(|(x, y)| {
            let erf = match (x.erf, y.erf) {
                (Some(_), Some(_)) => return None,
                (a, b) => a.or(b),
            };
            let coefficient = coefficient(x.coefficient, y.coefficient)?;
            Some(ErfTerm { coefficient, power: x.power + y.power, erf, gauss: x.gauss + y.gauss })
        })
        .collect()
}

/// The product, unless two waves meet.
fn multiply_wave(a: &[WaveTerm], b: &[WaveTerm]) -> Option<Vec<WaveTerm>> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
    pairs
        .map(|(x, y)| {
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
        })
        .collect()
}
