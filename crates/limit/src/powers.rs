//! Recognising polynomials with steps, times powers of quadratic forms: what batch norm leads to.
//!
//! Such an integrand is handed over to [`netsor_gauss::expect_powers`]. As with [`crate::closed_form`] the general way,
//! quadrature of the compiled expression, gives the same numbers where it gets anywhere.

use netsor_gauss::{PowerTerm, Quadratic};
use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::Func;
use netsor_ir::number::{power_to_f64, to_f64};
use rustc_hash::FxHashMap;

use crate::graph::{Graph, Leaf};

/// An integrand as a sum of terms over quadratic forms.
pub(crate) struct Powers {
    pub(crate) terms: Vec<PowerTerm>,
    pub(crate) quadratics: Vec<Quadratic>,
}

/// The most terms that an integrand may have.
const MAX_TERMS: usize = 4_096;

/// The largest power that is multiplied out.
const MAX_POWER: i64 = 8;

/// Whether a power of a nonlinear expression is divided by, or a root is taken: the cheap test before reading.
pub(crate) fn has_powers(graph: &Graph, integrand: ExprId) -> bool {
    let mut found = false;
    graph.pool.visit(integrand, &mut |node| {
        let base = match node {
            Expr::Div(_, b) => *b,
            Expr::Pow(a, p) if !p.is_integer() || *p.numer() < 0 => *a,
            Expr::Apply(Func::Sqrt, args) => args[0],
            _ => return,
        };
        found |= !crate::closed_form::slots_of(graph, base).is_empty();
    });
    found
}

/// The integrand over `slots` slots as such a sum; `None` if it is not one.
pub(crate) fn read(graph: &Graph, integrand: ExprId, slots: usize, parameters: &[f64]) -> Option<Powers> {
    let mut reader = Reader { graph, parameters, forms: Vec::new(), known: FxHashMap::default() };
    let terms = reader.expr(integrand)?;
    let n_forms = reader.forms.len();
    let quadratics = reader.forms.iter().map(|form| quadratic(form, slots)).collect();
    let terms = terms
        .into_iter()
        .map(|term| {
            let mut exponents = vec![0.0; n_forms];
            term.powers.iter().for_each(|&(a, e)| exponents[a] = e);
            PowerTerm { coefficient: term.coefficient, exponents, factors: term.factors, steps: term.steps }
        })
        .collect();
    Some(Powers { terms, quadratics })
}

/// A name for the expectation that does not depend on the order of slots, terms or forms: one number for `E[a b / q]`
/// and `E[b a / q]`, and for both orders of two batches.
///
/// Correlations count up to 2e-13, which is more than the rounding of the same number found in two ways.
pub(crate) fn name(powers: &Powers, slots: usize, entry: &dyn Fn(usize, usize) -> f64) -> Vec<u64> {
    let deviation: Vec<f64> = (0..slots).map(|k| entry(k, k).max(0.0).sqrt()).collect();
    let correlation = |i: usize, j: usize| {
        let scale = deviation[i] * deviation[j];
        if scale == 0.0 { 0 } else { (entry(i, j) / scale * CORRELATIONS).round() as i64 as u64 }
    };
    let size = |k: usize| (deviation[k].to_bits() + (1 << 9)) >> 10;
    // Slots of one variable have one name, the first of them.
    let one = correlation_of_one();
    let first = |k: usize| (0..k).find(|&l| size(l) == size(k) && correlation(k, l) == one).unwrap_or(k);
    let first: Vec<usize> = (0..slots).map(first).collect();
    let mut used: Vec<usize> = first.clone();
    used.sort_unstable();
    used.dedup();
    let all = used.clone();
    let label = |k: usize| -> u64 {
        all.iter().map(|&l| mix(correlation(k, l) ^ size(l).rotate_left(17))).fold(mix(size(k)), u64::wrapping_add)
    };
    used.sort_by_cached_key(|&k| (label(k), k));
    let place = |k: usize| used.iter().position(|&l| l == first[k]).unwrap_or(0);
    let mut name = vec![used.len() as u64];
    for (i, &k) in used.iter().enumerate() {
        name.push(size(k));
        name.extend(used[..i].iter().map(|&l| correlation(k, l)));
    }
    let mut forms: Vec<(Vec<u64>, usize)> =
        powers.quadratics.iter().map(|q| form_name(q, slots, &place)).zip(0..).collect();
    forms.sort();
    name.push(forms.len() as u64);
    forms.iter().for_each(|(form, _)| name.extend(form));
    let mut terms: Vec<Vec<u64>> = powers
        .terms
        .iter()
        .map(|term| {
            let sorted = |list: &[usize]| {
                let mut list: Vec<u64> = list.iter().map(|&k| place(k) as u64).collect();
                list.sort_unstable();
                list
            };
            let exponents = forms.iter().map(|&(_, a)| term.exponents[a].to_bits());
            let mut own: Vec<u64> = std::iter::once(term.coefficient.to_bits()).chain(exponents).collect();
            let (factors, steps) = (sorted(&term.factors), sorted(&term.steps));
            own.extend([factors.len() as u64, steps.len() as u64]);
            own.extend(factors.into_iter().chain(steps));
            own
        })
        .collect();
    terms.sort();
    terms.into_iter().for_each(|term| name.extend(term));
    name
}

/// Correlations are counted in units of this fraction.
const CORRELATIONS: f64 = 4_398_046_511_104.0; // 2^42

fn correlation_of_one() -> u64 {
    CORRELATIONS as u64
}

/// A form in the places of its slots.
fn form_name(form: &Quadratic, slots: usize, place: &dyn Fn(usize) -> usize) -> Vec<u64> {
    let mut entries: std::collections::BTreeMap<(usize, usize), f64> = std::collections::BTreeMap::new();
    for (k, entry) in form.matrix.iter().enumerate().filter(|(_, entry)| **entry != 0.0) {
        *entries.entry((place(k / slots), place(k % slots))).or_default() += entry;
    }
    let mut name = vec![form.constant.to_bits(), entries.len() as u64];
    entries.into_iter().for_each(|((i, j), entry)| name.extend([i as u64, j as u64, entry.to_bits()]));
    name
}

/// Spreads the bits of a number (the finaliser of `SplitMix64`).
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A polynomial of degree 2 without linear part as a form.
fn quadratic(terms: &[Term], slots: usize) -> Quadratic {
    let mut form = Quadratic { constant: 0.0, matrix: vec![0.0; slots * slots] };
    for term in terms {
        match term.factors[..] {
            [i, j] => {
                form.matrix[i * slots + j] += 0.5 * term.coefficient;
                form.matrix[j * slots + i] += 0.5 * term.coefficient;
            }
            _ => form.constant += term.coefficient,
        }
    }
    form
}

/// `coefficient * prod q_a^e * prod slots * prod step(slots)`.
#[derive(Clone, Debug, PartialEq)]
struct Term {
    coefficient: f64,
    /// Forms with their exponents, sorted, none 0.
    powers: Vec<(usize, f64)>,
    /// Sorted, with repetitions.
    factors: Vec<usize>,
    /// Sorted, without: the square of a step is the step.
    steps: Vec<usize>,
}

impl Term {
    fn constant(coefficient: f64) -> Vec<Self> {
        let term = Self { coefficient, powers: Vec::new(), factors: Vec::new(), steps: Vec::new() };
        if coefficient == 0.0 { Vec::new() } else { vec![term] }
    }

    fn slot(slot: usize) -> Self {
        Self { coefficient: 1.0, powers: Vec::new(), factors: vec![slot], steps: Vec::new() }
    }

    fn alike(&self, other: &Self) -> bool {
        self.powers == other.powers && self.factors == other.factors && self.steps == other.steps
    }

    fn times(&self, other: &Self) -> Self {
        let mut factors = [&self.factors[..], &other.factors].concat();
        factors.sort_unstable();
        let mut steps = [&self.steps[..], &other.steps].concat();
        steps.sort_unstable();
        steps.dedup();
        let mut powers = self.powers.clone();
        for &(a, e) in &other.powers {
            match powers.iter_mut().find(|(b, _)| *b == a) {
                Some((_, own)) => *own += e,
                None => powers.push((a, e)),
            }
        }
        powers.retain(|(_, e)| *e != 0.0);
        powers.sort_by_key(|(a, _)| *a);
        Self { coefficient: self.coefficient * other.coefficient, powers, factors, steps }
    }
}

struct Reader<'a> {
    graph: &'a Graph,
    parameters: &'a [f64],
    /// Polynomials that powers were taken of.
    forms: Vec<Vec<Term>>,
    known: FxHashMap<ExprId, Option<Vec<Term>>>,
}

impl Reader<'_> {
    fn expr(&mut self, id: ExprId) -> Option<Vec<Term>> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let read = stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || self.node(id));
        let read = read.filter(|terms| terms.len() <= MAX_TERMS && terms.iter().all(|t| t.coefficient.is_finite()));
        self.known.insert(id, read.clone());
        read
    }

    fn node(&mut self, id: ExprId) -> Option<Vec<Term>> {
        match self.graph.pool.node(id) {
            Expr::Const(value) => Some(Term::constant(to_f64(value))),
            Expr::Pi => Some(Term::constant(std::f64::consts::PI)),
            Expr::Ref(symbol, _) => match self.graph.leaf(*symbol) {
                Leaf::Slot(k) => Some(vec![Term::slot(k)]),
                Leaf::Parameter(k) => Some(Term::constant(*self.parameters.get(k)?)),
                _ => None,
            },
            Expr::Neg(a) => Some(scaled(self.expr(*a)?, -1.0)),
            Expr::Add(a, b) => Some(sum(self.expr(*a)?, self.expr(*b)?)),
            Expr::Sub(a, b) => Some(sum(self.expr(*a)?, scaled(self.expr(*b)?, -1.0))),
            Expr::Mul(a, b) => product(&self.expr(*a)?, &self.expr(*b)?),
            Expr::Div(a, b) => {
                let b = self.expr(*b)?;
                let inverse = self.power(b, -1.0)?;
                product(&self.expr(*a)?, &inverse)
            }
            Expr::Pow(a, p) => {
                let base = self.expr(*a)?;
                if p.is_integer() && (0..=MAX_POWER).contains(p.numer()) {
                    (0..*p.numer()).try_fold(Term::constant(1.0), |acc, _| product(&acc, &base))
                } else {
                    self.power(base, power_to_f64(*p))
                }
            }
            Expr::Apply(func, args) => {
                let argument = self.expr(args[0])?;
                match func {
                    Func::Sqrt => self.power(argument, 0.5),
                    Func::Max | Func::Min if !self.expr(args[1])?.is_empty() => None,
                    Func::Relu | Func::Max => pieces(&argument, 0.0, 1.0),
                    Func::Min => pieces(&argument, 1.0, 0.0),
                    Func::Abs => pieces(&argument, -1.0, 1.0),
                    Func::LeakyRelu => match &self.expr(args[1])?[..] {
                        [] => pieces(&argument, 0.0, 1.0),
                        [slope] if slope.factors.is_empty() && slope.powers.is_empty() && slope.steps.is_empty() => {
                            pieces(&argument, slope.coefficient, 1.0)
                        }
                        _ => None,
                    },
                    Func::Step => step(&argument),
                    Func::Sign => Some(sum(scaled(step(&argument)?, 2.0), Term::constant(-1.0))),
                    _ => None,
                }
            }
            Expr::Width(_) | Expr::Table(..) | Expr::Sum(_) => None,
        }
    }

    /// A power that is not a natural number: of a product of powers, or of a quadratic form, which gets a name.
    fn power(&mut self, base: Vec<Term>, exponent: f64) -> Option<Vec<Term>> {
        if let [term] = &base[..]
            && term.factors.is_empty()
            && term.steps.is_empty()
            && 0.0 < term.coefficient
        {
            let powers = term.powers.iter().map(|&(a, e)| (a, e * exponent)).collect();
            let coefficient = netsor_num::Real::powf(term.coefficient, exponent);
            return Some(vec![Term { coefficient, powers, ..term.clone() }]);
        }
        let quadratic = |t: &Term| t.powers.is_empty() && t.steps.is_empty() && matches!(t.factors.len(), 0 | 2);
        if base.is_empty() || !base.iter().all(quadratic) {
            return None;
        }
        let at = self.forms.iter().position(|form| *form == base).unwrap_or_else(|| {
            self.forms.push(base);
            self.forms.len() - 1
        });
        Some(vec![Term { coefficient: 1.0, powers: vec![(at, exponent)], factors: Vec::new(), steps: Vec::new() }])
    }
}

/// `c q^e slot` with positive powers of forms, which a jump at 0 does not see.
fn argument(terms: &[Term]) -> Option<(&Term, usize)> {
    match terms {
        [term] if term.steps.is_empty() => match term.factors[..] {
            [slot] => Some((term, slot)),
            _ => None,
        },
        _ => None,
    }
}

/// The step of such an argument, which is that of its slot or the opposite.
fn step(terms: &[Term]) -> Option<Vec<Term>> {
    let (term, slot) = argument(terms)?;
    let positive = vec![Term { factors: Vec::new(), steps: vec![slot], ..Term::slot(slot) }];
    Some(if 0.0 < term.coefficient { positive } else { sum(Term::constant(1.0), scaled(positive, -1.0)) })
}

/// The function that multiplies negative arguments by one slope and positive ones by another.
fn pieces(terms: &[Term], negative: f64, positive: f64) -> Option<Vec<Term>> {
    if terms.is_empty() {
        return Some(Vec::new());
    }
    let slopes = sum(Term::constant(negative), scaled(step(terms)?, positive - negative));
    product(terms, &slopes)
}

fn scaled(mut terms: Vec<Term>, c: f64) -> Vec<Term> {
    terms.iter_mut().for_each(|t| t.coefficient *= c);
    terms.retain(|t| t.coefficient != 0.0);
    terms
}

fn sum(mut a: Vec<Term>, b: Vec<Term>) -> Vec<Term> {
    for term in b {
        match a.iter_mut().find(|own| own.alike(&term)) {
            Some(own) => own.coefficient += term.coefficient,
            None => a.push(term),
        }
    }
    a.retain(|t| t.coefficient != 0.0);
    a
}

fn product(a: &[Term], b: &[Term]) -> Option<Vec<Term>> {
    if MAX_TERMS < a.len().saturating_mul(b.len()) {
        return None;
    }
    let mut total = Vec::new();
    for x in a {
        total = sum(total, b.iter().map(|y| x.times(y)).collect());
    }
    Some(total)
}
