//! Expansion of expressions in powers of the width.
//!
//! `n^(1/2) (tanh(h + n^(-1/2) d) - tanh(h))` tends to `tanh'(h) d` (TP IIb App. eq. 84, the divided difference), and an
//! engine that put limits in first would see infinity times zero. Here an expression becomes a sum of powers of `n`
//! whose coefficients have no width: smooth functions by Taylor's formula, powers and quotients by the binomial series.
//!
//! References stay symbols all the while. A coefficient cancels only where it does so identically in them, which is an
//! identity at every width; two quantities that merely have the same limit do not cancel, because their difference may
//! be of the order that a positive power of the width brings back.

use std::collections::BTreeMap;
use std::rc::Rc;

use netsor_ir::calculus::Derivative;
use netsor_ir::expr::{Expr, ExprId, Symbol, for_each_child};
use netsor_ir::func::Func;
use netsor_ir::number::{Number, Power};
use num_traits::{One, Signed, Zero};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::error::LimitError;
use crate::graph::Graph;

/// Powers in descending order with their coefficients, which are free of the width and not 0.
pub(crate) type Series = Vec<(Power, ExprId)>;

/// The most orders of a Taylor or binomial series.
const ORDERS: usize = 16;

/// The most monomials that two sides of an identity are multiplied out to.
const MONOMIALS: usize = 4_096;

/// Expands expressions whose references have known orders.
pub(crate) struct Expansion<'a> {
    graph: &'a mut Graph,
    fresh: &'a mut u32,
    /// The power of the width that each reference carries; its symbol then stands for what is left.
    order: &'a dyn Fn(Symbol) -> Power,
    name: &'a str,
    plain: FxHashMap<ExprId, bool>,
    series: FxHashMap<(ExprId, Power), Series>,
    leading: FxHashMap<ExprId, Option<(Power, ExprId)>>,
    derivatives: FxHashMap<(Func, SmallVec<[u32; 2]>), ExprId>,
}

impl<'a> Expansion<'a> {
    pub(crate) fn new(
        graph: &'a mut Graph,
        fresh: &'a mut u32,
        order: &'a dyn Fn(Symbol) -> Power,
        name: &'a str,
    ) -> Self {
        Self {
            graph,
            fresh,
            order,
            name,
            plain: FxHashMap::default(),
            series: FxHashMap::default(),
            leading: FxHashMap::default(),
            derivatives: FxHashMap::default(),
        }
    }

    /// The terms whose power is at least `floor`.
    pub(crate) fn series(&mut self, id: ExprId, floor: Power) -> Result<Series, LimitError> {
        if self.is_plain(id) {
            let nothing = Power::zero() < floor || self.graph.pool.is_zero(id);
            return Ok(if nothing { Vec::new() } else { vec![(Power::zero(), id)] });
        }
        if let Some(known) = self.series.get(&(id, floor)) {
            return Ok(known.clone());
        }
        let found = stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || self.series_of_node(id, floor))?;
        self.series.insert((id, floor), found.clone());
        Ok(found)
    }

    /// The first term that is not identically zero; `None` if the expression is identically zero.
    pub(crate) fn leading(&mut self, id: ExprId) -> Result<Option<(Power, ExprId)>, LimitError> {
        if let Some(&known) = self.leading.get(&id) {
            return Ok(known);
        }
        let mut found = None;
        if let Some(top) = self.top(id)? {
            let (step, reach) = self.steps(id);
            let mut depth = Power::zero();
            while found.is_none() && depth <= reach {
                let floor = top - depth;
                found = self.series(id, floor)?.into_iter().find(|&(_, c)| !identically_zero(self.graph, c));
                depth = if depth.is_zero() { step } else { depth * Power::from_integer(2) };
            }
            if found.is_none() && !identically_zero(self.graph, id) {
                return Err(self.unsettled());
            }
        }
        self.leading.insert(id, found);
        Ok(found)
    }

    /// The smallest power in the expression, in steps of which terms are looked for, and how far down.
    fn steps(&mut self, id: ExprId) -> (Power, Power) {
        let mut powers = Vec::new();
        self.graph.pool.visit(id, &mut |node| match node {
            Expr::Width(p) => powers.push(p.abs()),
            Expr::Ref(symbol, _) => powers.push((self.order)(*symbol).abs()),
            _ => {}
        });
        powers.retain(|p| !p.is_zero());
        let least = powers.iter().min().copied().unwrap_or_else(|| Power::new(1, 2));
        let most = powers.iter().max().copied().unwrap_or_else(Power::one);
        (least, Power::from_integer(8) + most * Power::from_integer(4))
    }

    fn unsettled(&self) -> LimitError {
        LimitError::Expansion { name: self.name.to_owned(), order: ORDERS }
    }

    /// Whether the expression has no power of the width and no reference that carries one.
    fn is_plain(&mut self, root: ExprId) -> bool {
        let mut stack = vec![root];
        while let Some(&id) = stack.last() {
            if self.plain.contains_key(&id) {
                stack.pop();
                continue;
            }
            let before = stack.len();
            let node = self.graph.pool.node(id);
            let mut plain = match node {
                Expr::Width(_) => false,
                Expr::Ref(symbol, _) => (self.order)(*symbol).is_zero(),
                _ => true,
            };
            for_each_child(node, |child| match self.plain.get(&child) {
                Some(known) => plain &= known,
                None => stack.push(child),
            });
            if stack.len() == before {
                self.plain.insert(id, plain);
                stack.pop();
            }
        }
        self.plain[&root]
    }

    /// An upper bound on the leading power; `None` for zero.
    fn top(&mut self, id: ExprId) -> Result<Option<Power>, LimitError> {
        if self.is_plain(id) {
            return Ok((!self.graph.pool.is_zero(id)).then(Power::zero));
        }
        stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || self.top_of_node(id))
    }

    fn top_of_node(&mut self, id: ExprId) -> Result<Option<Power>, LimitError> {
        Ok(match self.graph.pool.node(id).clone() {
            Expr::Width(p) => Some(p),
            Expr::Ref(symbol, _) => Some((self.order)(symbol)),
            Expr::Neg(a) => self.top(a)?,
            Expr::Add(a, b) | Expr::Sub(a, b) => self.top(a)?.max(self.top(b)?),
            Expr::Mul(a, b) => match (self.top(a)?, self.top(b)?) {
                (Some(p), Some(q)) => Some(p + q),
                _ => None,
            },
            Expr::Div(a, b) => match (self.top(a)?, self.leading(b)?) {
                (Some(p), Some((q, _))) => Some(p - q),
                (None, _) => None,
                (_, None) => return Err(self.vanishing_divisor(b)),
            },
            Expr::Pow(a, p) => match self.leading(a)? {
                Some((q, _)) => Some(q * p),
                None if p.is_positive() => None,
                None => return Err(self.vanishing_divisor(a)),
            },
            Expr::Apply(func, args) => Some(self.scale_of(func, args[0])?.0),
            Expr::Sum(sum) => self.top(sum.body)?,
            Expr::Const(_) | Expr::Pi | Expr::Table(..) => Some(Power::zero()),
        })
    }

    /// For `func(n^q y)` of a function homogeneous of degree `k`: the power `k q` that comes out, and `q`.
    fn scale_of(&mut self, func: Func, arg: ExprId) -> Result<(Power, Power), LimitError> {
        let facts = func.facts();
        let q = self.leading(arg)?.map_or_else(Power::zero, |(q, _)| q);
        match facts.homogeneity {
            Some(k) if facts.arity == 1 => Ok((q * Power::from_integer(i64::from(k)), q)),
            _ if func == Func::Sqrt => Ok((q / Power::from_integer(2), q)),
            _ if func == Func::Delta => Ok((-q, q)),
            _ => Ok((Power::zero(), Power::zero())),
        }
    }

    fn series_of_node(&mut self, id: ExprId, floor: Power) -> Result<Series, LimitError> {
        let Some(top) = self.top(id)? else { return Ok(Vec::new()) };
        if top < floor {
            return Ok(Vec::new());
        }
        match self.graph.pool.node(id).clone() {
            Expr::Width(p) => Ok(vec![(p, self.graph.pool.integer(1))]),
            Expr::Ref(symbol, _) => Ok(vec![((self.order)(symbol), id)]),
            Expr::Const(_) | Expr::Pi | Expr::Table(..) => Ok(vec![(Power::zero(), id)]),
            Expr::Neg(a) => {
                let terms = self.series(a, floor)?;
                Ok(terms.into_iter().map(|(p, c)| (p, self.graph.pool.neg(c))).collect())
            }
            Expr::Add(a, b) => {
                let (a, b) = (self.series(a, floor)?, self.series(b, floor)?);
                Ok(self.joined(a.into_iter().chain(b)))
            }
            Expr::Sub(a, b) => {
                let (a, b) = (self.series(a, floor)?, self.series(b, floor)?);
                let mut terms: BTreeMap<Power, (ExprId, ExprId)> = BTreeMap::new();
                let zero = self.graph.pool.integer(0);
                a.into_iter().for_each(|(p, c)| terms.entry(p).or_insert((zero, zero)).0 = c);
                b.into_iter().for_each(|(p, c)| terms.entry(p).or_insert((zero, zero)).1 = c);
                let pool = &mut self.graph.pool;
                let differences = terms.into_iter().rev().map(|(p, (a, b))| (p, pool.sub(a, b)));
                let differences: Series = differences.collect();
                Ok(differences.into_iter().filter(|&(_, c)| !self.graph.pool.is_zero(c)).collect())
            }
            Expr::Mul(a, b) => {
                let (Some(p), Some(q)) = (self.top(a)?, self.top(b)?) else { return Ok(Vec::new()) };
                let (a, b) = (self.series(a, floor - q)?, self.series(b, floor - p)?);
                Ok(self.product(&a, &b, floor))
            }
            Expr::Div(a, b) => {
                let Some(p) = self.top(a)? else { return Ok(Vec::new()) };
                let (q, b0) = self.leading(b)?.ok_or_else(|| self.vanishing_divisor(b))?;
                let a = self.series(a, floor + q)?;
                let divisor = self.series(b, floor - p + q + q)?;
                if divisor.iter().all(|&(power, _)| power == q) {
                    return Ok(a.into_iter().map(|(p, c)| (p - q, self.graph.pool.div(c, b0))).collect());
                }
                // With the leading divisor taken out the leading term is `a / b0` as it is written: functions of it at
                // two places cancel.
                let front: Series = a.into_iter().map(|(p, c)| (p - q, self.graph.pool.div(c, b0))).collect();
                let rest = divisor.into_iter().filter(|&(power, _)| power < q);
                let rest: Series = rest.map(|(power, c)| (power - q, self.graph.pool.div(c, b0))).collect();
                let inverse = self.geometric(&rest, floor - p + q)?;
                Ok(self.product(&front, &inverse, floor))
            }
            Expr::Pow(a, p) => self.power(a, p, floor),
            Expr::Apply(func, args) => self.function(func, &args, floor),
            Expr::Sum(sum) => {
                let opened = self.graph.pool.open(&sum, self.fresh);
                let terms = self.series(opened.body, floor)?;
                let close = |(p, c)| (p, self.graph.pool.sum(&opened.variables, opened.guards.iter().cloned(), c));
                Ok(terms.into_iter().map(close).collect())
            }
        }
    }

    /// `1 / (1 + rest)` for a rest that vanishes.
    fn geometric(&mut self, rest: &Series, floor: Power) -> Result<Series, LimitError> {
        let mut total = Vec::new();
        let mut factor = vec![(Power::zero(), self.graph.pool.integer(1))];
        let negative: Series = rest.iter().map(|&(p, c)| (p, self.graph.pool.neg(c))).collect();
        for k in 0.. {
            if factor.is_empty() {
                break;
            }
            if ORDERS <= k {
                return Err(self.unsettled());
            }
            total.extend(factor.iter().copied());
            factor = self.product(&factor, &negative, floor);
        }
        Ok(self.joined(total))
    }

    /// `a^p` by the binomial series around the leading term of `a`.
    fn power(&mut self, a: ExprId, p: Power, floor: Power) -> Result<Series, LimitError> {
        let Some((q, a0)) = self.leading(a)? else {
            return if p.is_positive() { Ok(Vec::new()) } else { Err(self.vanishing_divisor(a)) };
        };
        let below = floor - p * q;
        let terms = self.series(a, below + q)?;
        let rest: Series = terms.into_iter().filter(|&(power, _)| power < q).collect();
        let rest: Series = rest.into_iter().map(|(power, c)| (power - q, c)).collect();
        let mut total = Vec::new();
        let mut factor = vec![(Power::zero(), self.graph.pool.integer(1))];
        let mut binomial = Number::one();
        for k in 0_i64.. {
            if factor.is_empty() || binomial.is_zero() {
                break;
            }
            if ORDERS as i64 <= k {
                return Err(self.unsettled());
            }
            let base = self.graph.pool.pow(a0, p - Power::from_integer(k));
            let coefficient = self.graph.pool.constant(binomial.clone());
            let front = self.graph.pool.mul(coefficient, base);
            for &(power, c) in &factor {
                total.push((power + p * q, self.graph.pool.mul(front, c)));
            }
            factor = self.product(&factor, &rest, below);
            let next = p - Power::from_integer(k);
            binomial *= Number::new((*next.numer()).into(), (*next.denom()).into());
            binomial /= Number::from_integer((k + 1).into());
        }
        Ok(self.joined(total))
    }

    /// `func(args)` by Taylor's formula around the limits of the arguments.
    fn function(&mut self, func: Func, args: &[ExprId], floor: Power) -> Result<Series, LimitError> {
        let (out, scale) = self.scale_of(func, args[0])?;
        let below = floor - out;
        let mut points = Vec::new();
        let mut steps: Vec<Series> = Vec::new();
        for (k, &arg) in args.iter().enumerate() {
            let scale = if k == 0 { scale } else { Power::zero() };
            let mut point = self.graph.pool.integer(0);
            let mut step = Vec::new();
            for (power, c) in self.series(arg, below.min(Power::zero()) + scale)? {
                match power - scale {
                    p if p.is_zero() => point = c,
                    p if p.is_negative() => step.push((p, c)),
                    _ if identically_zero(self.graph, c) => {}
                    p => return Err(LimitError::NotAScalar { name: self.name.to_owned(), power: p.to_string() }),
                }
            }
            points.push(point);
            steps.push(step);
        }
        let unit = vec![(Power::zero(), self.graph.pool.integer(1))];
        let mut total = Vec::new();
        // Orders of differentiation in each argument, with the product of the steps so far.
        let mut stack = vec![(SmallVec::<[u32; 2]>::from_elem(0, args.len()), unit, 0)];
        while let Some((orders, factor, from)) = stack.pop() {
            if ORDERS <= orders.iter().sum::<u32>() as usize {
                return Err(self.unsettled());
            }
            let derivative = self.derivative(func, &orders, &points)?;
            let factorials: i64 = orders.iter().map(|&k| (1..=i64::from(k)).product::<i64>()).product();
            let inverse = self.graph.pool.constant(netsor_ir::number::fraction(1, factorials));
            let front = self.graph.pool.mul(inverse, derivative);
            for &(power, c) in &factor {
                total.push((power + out, self.graph.pool.mul(front, c)));
            }
            for (k, step) in steps.iter().enumerate().skip(from) {
                let next = self.product(&factor, step, below);
                if !next.is_empty() {
                    let mut orders = orders.clone();
                    orders[k] += 1;
                    stack.push((orders, next, k));
                }
            }
        }
        Ok(self.joined(total))
    }

    /// The partial derivative of a function, in the weak sense, at `points`.
    fn derivative(&mut self, func: Func, orders: &[u32], points: &[ExprId]) -> Result<ExprId, LimitError> {
        let symbolic = self.symbolic_derivative(func, orders)?;
        Ok(self.graph.pool.replace_refs(symbolic, self.fresh, &mut |_, symbol, _, _| {
            points.iter().enumerate().find(|&(k, _)| Graph::slot_symbol(k) == symbol).map(|(_, &point)| point)
        }))
    }

    /// The same over slots in place of the points.
    fn symbolic_derivative(&mut self, func: Func, orders: &[u32]) -> Result<ExprId, LimitError> {
        let key = (func, orders.iter().copied().collect());
        if let Some(&known) = self.derivatives.get(&key) {
            return Ok(known);
        }
        let result = match orders.iter().position(|&k| 0 < k) {
            None => {
                let slots: Vec<ExprId> =
                    (0..orders.len()).map(|k| self.graph.pool.reference(Graph::slot_symbol(k), [])).collect();
                match slots[..] {
                    [x, y] => self.graph.pool.apply2(func, x, y),
                    _ => self.graph.pool.apply(func, slots[0]),
                }
            }
            Some(k) => {
                let mut lower: SmallVec<[u32; 2]> = orders.iter().copied().collect();
                lower[k] -= 1;
                let lower = self.symbolic_derivative(func, &lower)?;
                let wanted = |symbol| symbol == Graph::slot_symbol(k);
                if self.graph.pool.has_delta_of(lower, &wanted) {
                    return Err(self.unsettled());
                }
                let found = self.graph.pool.occurrences(lower, Derivative::Weak, self.fresh, &wanted);
                self.graph.pool.add_all(found.into_iter().map(|o| o.coefficient))
            }
        };
        self.derivatives.insert(key, result);
        Ok(result)
    }

    /// The product of two series, down to `floor`.
    fn product(&mut self, a: &Series, b: &Series, floor: Power) -> Series {
        let mut terms = Vec::new();
        for &(p, x) in a {
            for &(q, y) in b.iter().filter(|&&(q, _)| floor <= p + q) {
                terms.push((p + q, self.graph.pool.mul(x, y)));
            }
        }
        self.joined(terms)
    }

    /// Terms of equal power added, in descending order, zeros left out.
    fn joined(&mut self, terms: impl IntoIterator<Item = (Power, ExprId)>) -> Series {
        let mut by_power: BTreeMap<Power, ExprId> = BTreeMap::new();
        for (p, c) in terms {
            let total = match by_power.get(&p) {
                Some(&earlier) => self.graph.pool.add(earlier, c),
                None => c,
            };
            by_power.insert(p, total);
        }
        by_power.into_iter().rev().filter(|&(_, c)| !self.graph.pool.is_zero(c)).collect()
    }

    fn vanishing_divisor(&self, _divisor: ExprId) -> LimitError {
        LimitError::Domain { what: format!("in `{}` a division by zero", self.name), value: f64::INFINITY }
    }
}

/// Whether an expression is zero as a polynomial in its references and in the functions applied to them.
///
/// Sound but not complete: `sin(x)^2 + cos(x)^2 - 1` is not recognised.
pub(crate) fn identically_zero(graph: &mut Graph, id: ExprId) -> bool {
    if graph.pool.is_zero(id) {
        return true;
    }
    let mut polynomials = Polynomials { graph, known: FxHashMap::default() };
    polynomials.of(id).is_some_and(|monomials| monomials.is_empty())
}

/// The expression multiplied out, if that makes terms cancel and is not too long.
pub(crate) fn multiplied_out(graph: &mut Graph, id: ExprId) -> ExprId {
    let mut polynomials = Polynomials { graph, known: FxHashMap::default() };
    let Some(monomials) = polynomials.of(id) else { return id };
    let mut total = graph.pool.integer(0);
    for (factors, coefficient) in monomials.iter() {
        let coefficient = graph.pool.constant(coefficient.clone());
        let product = graph.pool.mul_all(factors.iter().copied());
        let term = graph.pool.mul(coefficient, product);
        total = graph.pool.add(total, term);
    }
    total
}

/// The expression as a sum of monomials, factors in ascending order; `None` if there are too many.
pub(crate) fn monomials(graph: &mut Graph, id: ExprId) -> Option<Vec<(Vec<ExprId>, Number)>> {
    let found = Polynomials { graph, known: FxHashMap::default() }.of(id)?;
    Some(found.iter().map(|(factors, coefficient)| (factors.clone(), coefficient.clone())).collect())
}

/// Factors in ascending order, with their coefficient.
type Monomials = BTreeMap<Vec<ExprId>, Number>;

/// Expressions multiplied out, shared subterms once.
struct Polynomials<'a> {
    graph: &'a mut Graph,
    known: FxHashMap<ExprId, Option<Rc<Monomials>>>,
}

impl Polynomials<'_> {
    /// `None` if it becomes too long.
    fn of(&mut self, id: ExprId) -> Option<Rc<Monomials>> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let found = stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || self.of_node(id)).map(Rc::new);
        self.known.insert(id, found.clone());
        found
    }

    fn of_node(&mut self, id: ExprId) -> Option<Monomials> {
        let single = |factors: Vec<ExprId>, c: Number| Some(BTreeMap::from([(factors, c)]));
        match self.graph.pool.node(id).clone() {
            Expr::Const(c) if c.is_zero() => Some(Monomials::new()),
            Expr::Const(c) => single(Vec::new(), c),
            Expr::Neg(_) | Expr::Add(..) | Expr::Sub(..) => self.of_sum(id),
            Expr::Mul(a, b) => times(&*self.of(a)?, &*self.of(b)?),
            Expr::Div(a, b) => {
                let inverse = self.graph.pool.pow(b, -Power::one());
                times(&*self.of(a)?, &BTreeMap::from([(vec![inverse], Number::one())]))
            }
            Expr::Pow(a, p) if p.is_integer() && (2..=8).contains(p.numer()) => {
                let base = self.of(a)?;
                (1..*p.numer()).try_fold((*base).clone(), |acc, _| times(&acc, &base))
            }
            _ => single(vec![id], Number::one()),
        }
    }
}

impl Polynomials<'_> {
    /// A sum of many terms is a chain of sums of two: its terms are joined once, not once for every partial sum.
    fn of_sum(&mut self, id: ExprId) -> Option<Monomials> {
        let mut total = Monomials::new();
        let (mut at, mut sign) = (id, 1);
        loop {
            let is_chain = |e: ExprId| {
                let known = self.known.contains_key(&e);
                !known && matches!(self.graph.pool.node(e), Expr::Neg(_) | Expr::Add(..) | Expr::Sub(..))
            };
            // One of the two goes on, the other is a term; of two chains the second is one.
            let (rest, term) = match *self.graph.pool.node(at) {
                Expr::Neg(a) => ((a, -sign), None),
                Expr::Add(a, b) if is_chain(a) => ((a, sign), Some((b, sign))),
                Expr::Add(a, b) => ((b, sign), Some((a, sign))),
                Expr::Sub(a, b) if is_chain(a) => ((a, sign), Some((b, -sign))),
                Expr::Sub(a, b) => ((b, -sign), Some((a, sign))),
                _ => unreachable!("the chain goes on at sums and negatives"),
            };
            let ends = !is_chain(rest.0);
            for (part, sign) in term.into_iter().chain(ends.then_some(rest)) {
                add_to(&mut total, &*self.of(part)?, sign)?;
            }
            if ends {
                total.retain(|_, c| !c.is_zero());
                return Some(total);
            }
            (at, sign) = rest;
        }
    }
}

/// `total + sign part`, with what cancels left as zeros; `None` if it becomes too long.
fn add_to(total: &mut Monomials, part: &Monomials, sign: i64) -> Option<()> {
    let sign = Number::from_integer(sign.into());
    for (factors, c) in part {
        match total.get_mut(factors) {
            Some(sum) => *sum += c * &sign,
            None => {
                total.insert(factors.clone(), c * &sign);
            }
        }
    }
    if MONOMIALS < total.len() {
        total.retain(|_, c| !c.is_zero());
    }
    (total.len() <= MONOMIALS).then_some(())
}

fn times(a: &Monomials, b: &Monomials) -> Option<Monomials> {
    if MONOMIALS < a.len().saturating_mul(b.len()) {
        return None;
    }
    let mut product = Monomials::new();
    for (x, c) in a {
        for (y, d) in b {
            let mut factors: Vec<ExprId> = x.iter().chain(y).copied().collect();
            factors.sort_unstable();
            *product.entry(factors).or_insert_with(Number::zero) += c * d;
        }
    }
    product.retain(|_, c| !c.is_zero());
    Some(product)
}
