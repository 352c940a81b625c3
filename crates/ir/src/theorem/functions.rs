//! What the functions of a program are like: Assumption B.8, read locally.
//!
//! The assumption asks that functions of vectors are pseudo-Lipschitz (Def. B.7) in vectors *and* parameters, which no
//! quotient by a scalar is. All that its proof uses is a neighbourhood of the scalars' limits, so that is what is asked
//! for here. Sums, products and compositions of pseudo-Lipschitz functions are pseudo-Lipschitz; it is enough to look
//! at each application and ask whether the function is, on the range of its arguments.

use num_traits::{One, Signed, Zero};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Missing;
use super::range::Range;
use crate::expr::{Expr, ExprId, Sum, for_each_child};
use crate::func::{Func, Smoothness};
use crate::index::{Index, for_each_assignment};
use crate::number::{Number, integer};
use crate::program::{Dim, Instr, Kind, Program, ValueId, value_of};

/// Most assignments that are tried to see whether a guarded sum can be empty.
const MAX_ASSIGNMENTS: u64 = 100_000;

/// The hypotheses about functions that fail, each with the first value that shows it.
pub(super) fn check(program: &Program) -> Vec<Missing> {
    let mut checker = Checker {
        program,
        ranges: FxHashMap::default(),
        random: FxHashMap::default(),
        values: Vec::with_capacity(program.values.len()),
        seen: FxHashSet::default(),
        found: Vec::new(),
    };
    for id in program.value_ids() {
        let range = match &program.value(id).instr {
            Instr::Map(e) | Instr::Moment(e) | Instr::Scalar(e) => checker.expr(id, *e),
            _ => Range::ALL,
        };
        checker.values.push(range);
    }
    checker.found
}

struct Checker<'a> {
    program: &'a Program,
    ranges: FxHashMap<ExprId, Range>,
    /// Whether a term mentions vectors whose dimension is a width.
    random: FxHashMap<ExprId, bool>,
    values: Vec<Range>,
    seen: FxHashSet<(&'static str, &'static str)>,
    found: Vec<Missing>,
}

impl Checker<'_> {
    fn expr(&mut self, id: ValueId, root: ExprId) -> Range {
        for next in self.program.exprs.reachable_from(&[root], |next| !self.ranges.contains_key(&next)) {
            if !self.ranges.contains_key(&next) {
                self.node(id, next);
            }
        }
        self.ranges[&root].clone()
    }

    fn node(&mut self, id: ValueId, at: ExprId) {
        let program = self.program;
        let node = program.exprs.node(at);
        let mut random = matches!(node, Expr::Ref(symbol, _) if is_wide(program, value_of(*symbol)));
        for_each_child(node, |child| random |= self.random[&child]);
        let of = |e: &ExprId| self.ranges[e].clone();
        let range = match node {
            Expr::Const(value) => Range::point(value.clone()),
            Expr::Pi => Range::point(integer(3)).hull(&Range::point(integer(4))),
            Expr::Width(p) if p.is_negative() => Range::point(Number::zero()),
            Expr::Width(p) if p.is_zero() => Range::point(Number::one()),
            Expr::Width(_) => Range::positive(),
            Expr::Ref(symbol, _) => self.values.get(value_of(*symbol).index()).cloned().unwrap_or(Range::ALL),
            Expr::Table(table, _) => match program.tables.get(table.index()) {
                Some(table) => {
                    let points = table.entries.iter().map(|e| Range::point(e.clone()));
                    points.reduce(|a, b| a.hull(&b)).unwrap_or(Range::ALL)
                }
                None => Range::ALL,
            },
            Expr::Neg(a) => of(a).neg(),
            Expr::Add(a, b) => of(a).add(&of(b)),
            Expr::Sub(a, b) => of(a).add(&of(b).neg()),
            Expr::Mul(a, b) if a == b => of(a).pow(2.into()),
            Expr::Mul(a, b) => of(a).mul(&of(b)),
            Expr::Div(a, b) => of(a).mul(&of(b).recip()),
            Expr::Pow(a, p) => of(a).pow(*p),
            Expr::Apply(func, args) => Range::apply(*func, &args.iter().map(of).collect::<Vec<_>>()),
            Expr::Sum(sum) => self.sum(id, sum),
        };
        self.hypotheses(id, node, random);
        self.ranges.insert(at, range);
        self.random.insert(at, random);
    }

    /// The range of a sum: as many copies of the body's as there are terms.
    fn sum(&self, id: ValueId, sum: &Sum) -> Range {
        let body = &self.ranges[&sum.body];
        let sizes: Vec<u64> =
            sum.axes.iter().map(|a| self.program.axes.get(a.index()).map_or(1, |a| u64::from(a.size))).collect();
        let terms = sizes.iter().product::<u64>();
        let all = body.mul(&Range::point(Number::from_integer(terms.into())));
        if sum.guards.is_empty() {
            return all;
        }
        // Between one term (or none) and all of them.
        let few = if self.is_never_empty(id, sum) { body.clone() } else { Range::point(Number::zero()) };
        let (none, some) = (Range::point(Number::zero()), few.hull(&all));
        if body.is_nonnegative() || body.neg().is_nonnegative() { some } else { none.hull(&some) }
    }

    /// Whether the guards leave at least one term for every member of the value.
    fn is_never_empty(&self, id: ValueId, sum: &Sum) -> bool {
        let base = self.program.exprs.height(sum.body) as usize;
        let sizes: Vec<u32> = sum.axes.iter().map(|a| self.program.axes.get(a.index()).map_or(1, |a| a.size)).collect();
        let family: Vec<u32> = self.program.family_sizes(id).iter().map(|&s| s as u32).collect();
        let known = |index: Index| match index {
            Index::Var(k) => (k as usize) < family.len(),
            Index::Bound(b) => (base..base + sizes.len()).contains(&(b as usize)),
            Index::At(_) => true,
        };
        let members: u64 = family.iter().map(|&s| u64::from(s)).product();
        let terms: u64 = sizes.iter().map(|&s| u64::from(s)).product();
        if MAX_ASSIGNMENTS < members.saturating_mul(terms)
            || !sum.guards.iter().all(|g| g.terms().iter().all(|&(_, i)| known(i)))
        {
            return false;
        }
        let mut bound = vec![0; base + sizes.len()];
        let mut at = vec![0; family.len()];
        loop {
            let mut any = false;
            for_each_assignment(&sizes, &sum.guards, base, &at, &mut bound, &mut |_| any = true);
            if !any {
                return false;
            }
            let Some(k) = (0..at.len()).rev().find(|&k| at[k] + 1 < family[k]) else { return true };
            at[k] += 1;
            at[k + 1..].fill(0);
        }
    }

    /// What one node asks for.
    fn hypotheses(&mut self, id: ValueId, node: &Expr, random: bool) {
        match node {
            Expr::Apply(func, args) => {
                let facts = func.facts();
                let x = args.first().and_then(|a| self.ranges.get(a)).cloned().unwrap_or(Range::ALL);
                if random {
                    match facts.smoothness {
                        Smoothness::Jump => self.report(id, "jump", facts.name),
                        Smoothness::Kink => self.report(id, "kink", facts.name),
                        Smoothness::Smooth => {}
                    }
                }
                match func {
                    Func::Exp if random && !x.is_bounded_above() => self.report(id, "growth", facts.name),
                    Func::Log | Func::Sqrt => self.keep_away(id, facts.name, random, &x, true),
                    // A function of scalars only has to be continuous at their limits, which a jump may not be.
                    _ if !random && facts.smoothness == Smoothness::Jump && x.clone().recip() == Range::ALL => {
                        self.report(id, "scalar", facts.name);
                    }
                    _ => {}
                }
            }
            Expr::Div(_, b) => {
                let by = self.ranges[b].clone();
                self.keep_away(id, "/", self.random[b], &by, false);
            }
            Expr::Pow(a, p) if p.is_negative() || !p.is_integer() => {
                let x = self.ranges[a].clone();
                let smooth_at_zero =
                    p.is_positive() && Number::one() <= Number::new((*p.numer()).into(), (*p.denom()).into());
                if !(smooth_at_zero && x.is_nonnegative()) {
                    self.keep_away(id, "^", self.random[a], &x, !p.is_integer());
                }
            }
            _ => {}
        }
    }

    /// The argument of a function that is singular at 0: away from it by a positive distance for vectors, and with a
    /// limit that is not 0 for scalars.
    fn keep_away(&mut self, id: ValueId, name: &'static str, random: bool, x: &Range, positive: bool) {
        let fine = match (random, positive) {
            (true, true) => x.is_bounded_below_by_positive(),
            (true, false) => x.keeps_away_from_zero(),
            (false, true) => x.is_positive(),
            (false, false) => x.excludes_zero(),
        };
        if !fine {
            self.report(id, if random { "singular" } else { "scalar" }, name);
        }
    }

    fn report(&mut self, id: ValueId, what: &'static str, function: &'static str) {
        if !self.seen.insert((what, function)) {
            return;
        }
        let value = self.program.value(id).name.clone();
        self.found.push(match what {
            "jump" => Missing::Continuity { value, function },
            "kink" => Missing::LipschitzDerivative { value, function },
            "growth" => Missing::PolynomialGrowth { value, function },
            "singular" => Missing::NoSingularity { value, function },
            _ => Missing::RegularLimit { value, function },
        });
    }
}

/// Whether a value is a vector whose dimension is a width.
pub(super) fn is_wide(program: &Program, id: ValueId) -> bool {
    program.values.get(id.index()).is_some_and(|v| matches!(v.ty.kind, Kind::Vector(Dim::Width(_))))
}

/// A function in the term whose derivatives are not all bounded, or a product of two unbounded terms: what Assumption
/// 2.1 of the hierarchy excludes. `None` if all derivatives of order one and more are bounded.
///
/// The class of terms with bounded derivatives is closed under sums and compositions, and under products of bounded
/// members.
pub(super) fn unbounded_derivative(program: &Program, root: ExprId) -> Option<&'static str> {
    // For each node: whether it is a constant, whether it is bounded.
    let mut facts: FxHashMap<ExprId, (bool, bool)> = FxHashMap::default();
    let order = program.exprs.reachable(root);
    for at in order {
        let node = program.exprs.node(at);
        let of = |e: &ExprId| facts[e];
        let fact = match node {
            // Bounded at each width is not enough: the bounds of the theorems do not depend on it.
            Expr::Width(_) => return Some("a power of n"),
            Expr::Const(_) | Expr::Pi | Expr::Table(..) => (true, true),
            Expr::Ref(symbol, _) => (!is_wide(program, value_of(*symbol)), false),
            Expr::Neg(a) => of(a),
            Expr::Add(a, b) | Expr::Sub(a, b) => (of(a).0 && of(b).0, of(a).1 && of(b).1),
            Expr::Mul(a, b) => {
                let ((a_const, a_bounded), (b_const, b_bounded)) = (of(a), of(b));
                if !(a_const || b_const || (a_bounded && b_bounded)) {
                    return Some("*");
                }
                (a_const && b_const, a_bounded && b_bounded)
            }
            Expr::Div(a, b) if of(b).0 => of(a),
            Expr::Pow(a, p) if of(a).0 || p.is_one() => of(a),
            Expr::Pow(a, p) if of(a).1 && p.is_integer() && p.is_positive() => (false, true),
            Expr::Div(..) => return Some("/"),
            Expr::Pow(..) => return Some("^"),
            Expr::Apply(func, args) => {
                let constant = args.iter().all(|a| of(a).0);
                let bounded = matches!(func, Func::Tanh | Func::Erf | Func::Sigmoid | Func::Sin | Func::Cos);
                let fits = bounded || matches!(func, Func::Softplus | Func::Gelu | Func::Silu);
                if !constant && !fits {
                    return Some(func.name());
                }
                (constant, bounded || constant)
            }
            Expr::Sum(sum) => of(&sum.body),
        };
        facts.insert(at, fact);
    }
    None
}
