//! Powers of the width: scalars that have a limit, and divided differences (TP IIb App. eq. 84).
//!
//! A negative power of the width is a scalar with limit 0. A positive power in front of a term needs a reason: either
//! the term is small by its own negative powers, or it is the difference of a smooth function at two near points. A
//! positive power in front of a Moment, or a readout of the usual size, stays random or diverges: that is no scalar of
//! NETSOR⊤⁺ (TP IIb App. D.1.1), and the reason why attention at 1/sqrt(d) is outside of the theory.

use num_traits::{One, Signed, Zero};
use rustc_hash::FxHashMap;

use super::Missing;
use crate::expr::{Expr, ExprId, Exprs};
use crate::func::Smoothness;
use crate::number::{Number, Power};
use crate::program::{Dim, Instr, Kind, Program, ValueId, value_of};

/// What powers of the width do in a program.
#[derive(Debug, Default)]
pub(super) struct Widths {
    /// Hypotheses that fail.
    pub(super) missing: Vec<Missing>,
    /// Values that are divided differences, covered by eq. 84.
    pub(super) differences: Vec<String>,
}

/// Looks at every value except those in `outputs`, which may be random.
pub(super) fn check(program: &Program, outputs: &[ValueId]) -> Widths {
    let mut exprs = program.exprs.clone();
    let mut widths = Widths::default();
    // A bound on the order of each value, as a power of the width.
    let mut orders: Vec<Power> = Vec::with_capacity(program.values.len());
    for id in program.value_ids() {
        let value = program.value(id);
        let order = match &value.instr {
            Instr::Map(e) | Instr::Moment(e) | Instr::Scalar(e) => {
                let mut terms = Terms { exprs: &mut exprs, orders: &orders, kinks: Vec::new(), difference: false };
                let bound = terms.order(*e);
                let (kinks, difference) = (terms.kinks, terms.difference);
                if !bound.is_positive() && difference {
                    widths.differences.push(value.name.clone());
                }
                if !bound.is_positive() {
                    for function in kinks {
                        widths.missing.push(Missing::LipschitzDerivative { value: value.name.clone(), function });
                    }
                }
                bound
            }
            Instr::MatMul { matrix, transposed, vector } => {
                let of = orders.get(vector.value.index()).copied().unwrap_or_default();
                limited(of + product_order(program, matrix.value, *transposed))
            }
            _ => Power::zero(),
        };
        let random_readout = is_random_readout(program, id) && order.is_zero();
        let refused = order.is_positive() || random_readout;
        if refused && !outputs.contains(&id) {
            widths.missing.push(Missing::DeterministicScalars { value: value.name.clone(), power: order.to_string() });
        }
        // Reported once: what is made of it is judged as if it had a limit.
        orders.push(if refused { Power::zero() } else { order });
    }
    widths
}

/// The power, or one of the same sign if it is so large or fine that arithmetic with it could overflow.
fn limited(p: Power) -> Power {
    const MOST: i64 = 10_000;
    if p.denom().abs() <= MOST && p.numer().abs() <= MOST * p.denom().abs() {
        return p;
    }
    let whole = p.numer() / p.denom();
    let nearest = if whole == 0 { p.numer().signum() * p.denom().signum() } else { whole };
    Power::from_integer(nearest.clamp(-MOST, MOST))
}

/// The power of the width that a product with the matrix brings in: the standard deviation of a sum of independent
/// terms.
fn product_order(program: &Program, matrix: ValueId, transposed: bool) -> Power {
    let value = program.value(matrix);
    let (Instr::Matrix { variance }, Kind::Matrix { rows, cols }) = (&value.instr, value.ty.kind) else {
        return Power::zero();
    };
    let wide = matches!(if transposed { rows } else { cols }, Dim::Width(_));
    (limited(variance.power) + if wide { Power::one() } else { Power::zero() }) * Power::new(1, 2)
}

/// Whether the value is a product from a width to a constant dimension.
pub(super) fn is_random_readout(program: &Program, id: ValueId) -> bool {
    let value = program.value(id);
    let Instr::MatMul { matrix, transposed, .. } = &value.instr else { return false };
    let from = match program.value(matrix.value).ty.kind {
        Kind::Matrix { rows, cols } => {
            if *transposed {
                rows
            } else {
                cols
            }
        }
        _ => return false,
    };
    matches!((from, value.ty.kind), (Dim::Width(_), Kind::Vector(Dim::Finite(_))))
}

struct Terms<'a> {
    exprs: &'a mut Exprs,
    orders: &'a [Power],
    /// Functions with kinks inside a divided difference.
    kinks: Vec<&'static str>,
    difference: bool,
}

impl Terms<'_> {
    /// A bound on the order of a term.
    fn order(&mut self, root: ExprId) -> Power {
        let order = self.exprs.reachable(root);
        let mut known: FxHashMap<ExprId, Power> = FxHashMap::default();
        for at in order {
            let bound = match self.exprs.node(at).clone() {
                Expr::Width(p) => limited(p),
                Expr::Const(_) | Expr::Pi | Expr::Table(..) => Power::zero(),
                Expr::Ref(symbol, _) => self.orders.get(value_of(symbol).index()).copied().unwrap_or_default(),
                Expr::Neg(a) => known[&a],
                Expr::Add(a, b) | Expr::Sub(a, b) => known[&a].max(known[&b]),
                Expr::Mul(a, b) => self.product(a, b, &known),
                Expr::Div(a, b) => known[&a] - known[&b],
                Expr::Pow(a, p) => known[&a] * limited(p),
                // A function of something small need not be small; of something large it can be anything.
                Expr::Apply(_, args) => args.iter().map(|a| known[a]).max().unwrap_or_default().max(Power::zero()),
                Expr::Sum(sum) => known[&sum.body],
            };
            known.insert(at, limited(bound));
        }
        known[&root]
    }

    fn product(&mut self, a: ExprId, b: ExprId, known: &FxHashMap<ExprId, Power>) -> Power {
        let naive = known[&a] + known[&b];
        if !naive.is_positive() {
            return naive;
        }
        // `n^r * rest` with a `rest` that is 0 when the negative powers in it are.
        for (factor, rest) in [(a, b), (b, a)] {
            let r = known[&factor];
            if !r.is_positive() {
                continue;
            }
            let (at_zero, theta) = self.at_zero(rest);
            let Some(theta) = theta else { continue };
            if self.exprs.is_zero(at_zero) && r + theta <= Power::zero() {
                self.difference = true;
                self.note_kinks(rest);
                return r + theta;
            }
        }
        naive
    }

    /// The term with its negative powers of the width put to zero, and the largest of them.
    fn at_zero(&mut self, root: ExprId) -> (ExprId, Option<Power>) {
        let mut theta: Option<Power> = None;
        let zero = self.exprs.integer(0);
        let order = self.exprs.reachable(root);
        let mut done: FxHashMap<ExprId, ExprId> = FxHashMap::default();
        for at in order {
            let node = self.exprs.node(at).clone();
            let small = match &node {
                Expr::Width(p) => p.is_negative().then(|| limited(*p)),
                Expr::Ref(symbol, _) => {
                    self.orders.get(value_of(*symbol).index()).copied().filter(|order| order.is_negative())
                }
                _ => None,
            };
            let new = match small {
                Some(p) => {
                    theta = Some(theta.map_or(p, |t| t.max(p)));
                    zero
                }
                None => match crate::expr::with_children(&node, |child| done[&child]) {
                    Expr::Sum(sum) if self.exprs.is_zero(sum.body) => zero,
                    node => self.exprs.simplified(node),
                },
            };
            done.insert(at, new);
        }
        (done[&root], theta)
    }

    fn note_kinks(&mut self, root: ExprId) {
        let mut found = Vec::new();
        self.exprs.visit(root, &mut |node| {
            if let Expr::Apply(func, _) = node
                && func.facts().smoothness != Smoothness::Smooth
            {
                found.push(func.name());
            }
        });
        for name in found {
            if !self.kinks.contains(&name) {
                self.kinks.push(name);
            }
        }
    }
}

/// The hypothesis of Setup B.2 on matrices between widths: entries of variance `sigma^2 / n`.
pub(super) fn entry_variances(program: &Program) -> Vec<Missing> {
    let minus_one = -Power::one();
    program
        .values
        .iter()
        .filter_map(|value| match (&value.instr, value.ty.kind) {
            (Instr::Matrix { variance }, Kind::Matrix { rows: Dim::Width(_), cols: Dim::Width(_) })
                if variance.power != minus_one && variance.coefficient != Number::zero() =>
            {
                Some(Missing::EntryVariance { matrix: value.name.clone(), power: variance.power.to_string() })
            }
            _ => None,
        })
        .collect()
}
