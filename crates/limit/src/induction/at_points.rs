//! The Z rules in a prime field, without writing anything out.
//!
//! `E` is replaced by a random linear functional over functions, a weighted sum over a few random points. It is linear,
//! respects what is equal as a function, and is *not* multiplicative, so that an identity in expectations that follows
//! from linearity and from equality of functions holds for it, and another one of a degree below the number of points
//! does not, but for a chance of the field's size. Gaussian facts that are used: variables of different matrices are
//! independent, and products of two variables that enter linearly have their covariance as mean.

use std::rc::Rc;

use netsor_ir::expr::{Expr, ExprId, Exprs, Symbol};
use netsor_ir::number::{Number, Power};
use netsor_ir::program::value_of;
use netsor_ir::{Dim, Func, Instr, Kind, Program, ValueId};
use num_traits::{Signed, ToPrimitive, Zero};
use rustc_hash::{FxHashMap, FxHashSet};

use super::InductionError;
use super::field::{inverse, minus, number, plus, power, root, scramble, times};
use super::polynomial::Polynomial;
use crate::error::LimitError;
use crate::graph::Graph;
use crate::order::expanded_definitions;
use crate::paths::Limits;
use crate::product::Product;
use crate::tables::table_entry;
use crate::widths::{Expansion, multiplied_out};

/// One for vectors whose dimension is a width.
type Coordinates = Result<Vec<Rc<Polynomial>>, InductionError>;

/// `n^power` times the coordinates, one for vectors whose dimension is a width.
#[derive(Clone, Debug)]
pub(super) struct Z {
    pub(super) power: Power,
    /// Or why they are not known: deviations of error signals are quadratic in them, and nothing reads those.
    coordinates: Coordinates,
    pub(super) law: bool,
    mixed: bool,
}

impl Z {
    fn coordinates(&self) -> Result<&[Rc<Polynomial>], InductionError> {
        self.coordinates.as_deref().map_err(Clone::clone)
    }

    fn vanishes(&self) -> bool {
        self.coordinates.as_ref().is_ok_and(|all| all.iter().all(|c| c.is_zero()))
    }
}

/// A number of the field, with its degree in expectations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scalar {
    pub(super) value: u64,
    pub(super) degree: usize,
}

/// The points of one run.
#[derive(Clone, Debug)]
pub(super) struct Points {
    seed: u64,
    /// Names of the points.
    names: Vec<u64>,
    weights: Vec<u64>,
}

impl Points {
    /// The first `count` points, of any kind.
    pub(super) fn candidates(seed: u64, count: usize) -> Self {
        Self::named(seed, (0..count as u64).collect())
    }

    fn named(seed: u64, names: Vec<u64>) -> Self {
        let mut weights: Vec<u64> = names.iter().map(|&m| scramble(&[20, seed, m])).collect();
        // The mean of 1 is 1.
        let rest = weights.iter().skip(1).fold(0, |sum, &w| plus(sum, w));
        if let Some(first) = weights.first_mut() {
            *first = minus(1, rest);
        }
        Self { seed, names, weights }
    }

    /// Those of the points that are marked, and not more than `count`; where none is, for a reason that is not the point,
    /// any.
    pub(super) fn among(&self, marked: &[bool], count: usize) -> Self {
        let any = !marked.contains(&true);
        let names = self.names.iter().zip(marked).filter(|(_, m)| any || **m).map(|(&name, _)| name);
        Self::named(self.seed, names.take(count).collect())
    }

    pub(super) fn count(&self) -> usize {
        self.names.len()
    }
}

/// `Z` of the values of a plain program.
pub(super) struct AtPoints<'p> {
    program: &'p Program,
    graph: Graph,
    fresh: u32,
    /// Base variables below are the network's own.
    own: usize,
    points: Points,
    z: Vec<Option<Rc<Z>>>,
    products: FxHashMap<ProductKey, (ValueId, u64)>,
    covariances: FxHashMap<(ValueId, ValueId), Scalar>,
    /// Points at which every square root was one.
    pub(super) rooted: Vec<bool>,
}

/// Matrix, side, and the operand up to a factor.
type ProductKey = (ValueId, bool, Vec<(Option<ValueId>, Vec<u64>)>);

fn unsupported(name: &str, reason: &str) -> InductionError {
    InductionError::NotAtPoints { name: name.to_owned(), reason: reason.to_owned() }
}

impl<'p> AtPoints<'p> {
    /// The rules for a program whose first `own` values are a network's.
    pub(super) fn new(program: &'p Program, own: usize, points: Points) -> Self {
        let rooted = vec![true; points.count()];
        let z = vec![None; program.values.len()];
        let (products, covariances) = (FxHashMap::default(), FxHashMap::default());
        Self { program, graph: Graph::new(program), fresh: 1_000, own, points, z, products, covariances, rooted }
    }

    pub(super) fn program(&self) -> &'p Program {
        self.program
    }

    pub(super) fn zero(&self) -> Polynomial {
        Polynomial::scalar(0, 0, self.points.count())
    }

    /// `Z` of a value.
    pub(super) fn z(&mut self, value: ValueId) -> Result<Rc<Z>, InductionError> {
        let mut stack = vec![value];
        while let Some(&next) = stack.last() {
            if self.z[next.index()].is_some() {
                stack.pop();
                continue;
            }
            let before = stack.len();
            for argument in self.program.arguments(next) {
                let matrix = matches!(self.program.value(argument).ty.kind, Kind::Matrix { .. });
                if next <= argument {
                    return Err(unsupported(&self.program.value(next).name, "it mentions a later definition"));
                }
                if !matrix && self.z[argument.index()].is_none() {
                    stack.push(argument);
                }
            }
            if stack.len() == before {
                let z = self.apply_rule(next)?;
                self.z[next.index()] = Some(Rc::new(z));
                stack.pop();
            }
        }
        Ok(self.z[value.index()].clone().expect("the loop ends when it is known"))
    }

    /// The limit of each coordinate: 0 if the value vanishes.
    pub(super) fn limit(&mut self, value: ValueId) -> Result<Vec<Rc<Polynomial>>, InductionError> {
        let z = self.z(value)?;
        if z.power.is_negative() {
            let count = z.coordinates.as_ref().map_or(1, Vec::len);
            return Ok((0..count).map(|_| Rc::new(self.zero())).collect());
        }
        if z.power.is_positive() || z.law {
            let name = self.program.value(value).name.clone();
            return Err(LimitError::NotAScalar { name, power: z.power.to_string() }.into());
        }
        Ok(z.coordinates()?.to_vec())
    }

    /// `E x`.
    pub(super) fn mean(&mut self, x: &Polynomial) -> Result<Scalar, InductionError> {
        let mut total = Scalar { value: self.weighted(&x.constant), degree: x.degree + 1 };
        if self.points.count() != 0 && x.constant.iter().all(|&c| c == x.constant[0]) {
            total.degree = x.degree;
        }
        for (&(a, b), at) in &x.quadratic {
            let covariance = self.covariance(a, b)?;
            total.value = plus(total.value, times(self.weighted(at), covariance.value));
            total.degree = total.degree.max(x.degree + 1 + covariance.degree);
        }
        Ok(total)
    }

    /// `E x y`.
    fn mean_of(&mut self, x: &Polynomial, y: &Polynomial) -> Result<Scalar, InductionError> {
        if !x.quadratic.is_empty() || !y.quadratic.is_empty() {
            let product = x.times(y).ok_or_else(|| unsupported("a moment", "it has degree three in error signals"))?;
            return self.mean(&product);
        }
        let (a, b) = (Polynomial::function(x.constant.clone()), Polynomial::function(y.constant.clone()));
        let functions = a.times(&b).unwrap_or_default();
        let mut total = Scalar { value: self.weighted(&functions.constant), degree: x.degree + y.degree + 1 };
        for (&k, left) in &x.linear {
            for (&l, right) in &y.linear {
                let covariance = self.covariance(k, l)?;
                if covariance.value != 0 {
                    let both = left.iter().zip(right).zip(&self.points.weights);
                    let mean = both.fold(0, |sum, ((&u, &v), &w)| plus(sum, times(w, times(u, v))));
                    total.value = plus(total.value, times(mean, covariance.value));
                    total.degree = total.degree.max(x.degree + y.degree + 1 + covariance.degree);
                }
            }
        }
        Ok(total)
    }

    fn weighted(&self, at: &[u64]) -> u64 {
        at.iter().zip(&self.points.weights).fold(0, |sum, (&x, &w)| plus(sum, times(w, x)))
    }

    /// The covariance of two base variables that are not the network's own.
    fn covariance(&mut self, a: ValueId, b: ValueId) -> Result<Scalar, InductionError> {
        let key = (a.min(b), a.max(b));
        if let Some(&known) = self.covariances.get(&key) {
            return Ok(known);
        }
        let program = self.program;
        let found = match (&program.value(a).instr, &program.value(b).instr) {
            (
                Instr::MatMul { matrix, transposed, vector },
                Instr::MatMul { matrix: other, transposed: side, vector: second },
            ) if matrix.value == other.value && transposed == side => {
                let strength = number(&Product::new(program, matrix, *transposed, vector)?.strength);
                let (x, y) = (self.z(vector.value)?, self.z(second.value)?);
                let mut total = Scalar { value: 0, degree: 0 };
                for (x, y) in x.coordinates()?.iter().zip(y.coordinates()?) {
                    let product = match program.value(vector.value).ty.kind {
                        Kind::Vector(Dim::Width(_)) => self.mean_of(x, y)?,
                        _ => Scalar { value: times(x.constant[0], y.constant[0]), degree: x.degree + y.degree },
                    };
                    total.value = plus(total.value, times(strength, product.value));
                    total.degree = total.degree.max(product.degree);
                }
                total
            }
            _ => Scalar { value: 0, degree: 0 },
        };
        self.covariances.insert(key, found);
        Ok(found)
    }

    fn apply_rule(&mut self, id: ValueId) -> Result<Z, InductionError> {
        let program = self.program;
        let value = program.value(id);
        let points = self.points.count();
        if !value.ty.family.is_empty() {
            return Err(unsupported(&value.name, "it is a family"));
        }
        let size = match value.ty.kind {
            Kind::Vector(Dim::Finite(size)) => Some(size),
            _ => None,
        };
        let symbol =
            |k: u32| Polynomial::scalar(scramble(&[21, self.points.seed, id.index() as u64, k.into()]), 0, points);
        let plain = |coordinates: Vec<Polynomial>| Z {
            power: Power::zero(),
            coordinates: Ok(coordinates.into_iter().map(Rc::new).collect()),
            law: false,
            mixed: false,
        };
        match &value.instr {
            Instr::Data => Ok(plain((0..size.unwrap_or(1)).map(symbol).collect())),
            Instr::Constant(table, indices) => {
                let none = netsor_ir::Index::Var(0);
                let at: netsor_ir::Indices = indices.iter().copied().chain([none]).collect();
                let entries = (0..size.unwrap_or(1)).map(|k| table_entry(program, table.index(), &at, none, k));
                let entries: Option<Vec<Polynomial>> =
                    entries.map(|e| Some(Polynomial::scalar(number(&e?), 0, points))).collect();
                entries.map(plain).ok_or_else(|| unsupported(&value.name, "its entries are not constants"))
            }
            Instr::Matrix { .. } => Err(LimitError::Matrix { name: value.name.clone() }.into()),
            Instr::Gaussian(_) if size.is_some() => Err(LimitError::Readout { name: value.name.clone() }.into()),
            Instr::Gaussian(_) if self.own <= id.index() => {
                Err(unsupported(&value.name, "an initial vector is no part of the network"))
            }
            Instr::Gaussian(law) => {
                let mean = self.leading(law.mean, None, &value.name)?;
                let base = self.base(id);
                Ok(plain(vec![mean.coordinates()?[0].plus(&base)]))
            }
            Instr::Map(expr) | Instr::Scalar(expr) => {
                let mixed = self.carries_width(*expr)?;
                Ok(Z { mixed, ..self.leading(*expr, size, &value.name)? })
            }
            Instr::Moment(expr) => match program.expr_dim(*expr) {
                None => self.leading(*expr, None, &value.name),
                Some(Dim::Finite(size)) => {
                    let body = self.leading(*expr, Some(size), &value.name)?;
                    let share = inverse(u64::from(size));
                    let mut mean = self.zero();
                    body.coordinates()?.iter().for_each(|c| mean.add(c, share));
                    Ok(Z { coordinates: Ok(vec![Rc::new(mean)]), ..body })
                }
                Some(Dim::Width(_)) => self.moment(id, *expr),
            },
            Instr::MatMul { matrix, transposed, vector } => {
                let product = Product::new(program, matrix, *transposed, vector)?;
                match product.out_dim {
                    Dim::Width(_) => self.matmul(id, &product),
                    Dim::Finite(_) => Err(LimitError::Readout { name: value.name.clone() }.into()),
                }
            }
        }
    }

    /// The base variable of a value.
    fn base(&self, id: ValueId) -> Polynomial {
        let points = &self.points;
        if id.index() < self.own {
            let at = points.names.iter().map(|&m| scramble(&[22, points.seed, id.index() as u64, m]));
            return Polynomial::function(at.collect());
        }
        Polynomial::variable(id, points.count())
    }

    fn matmul(&mut self, id: ValueId, product: &Product<'_>) -> Result<Z, InductionError> {
        let x = self.z(product.vector.value)?;
        let sum_of = Power::from_integer(i64::from(!matches!(product.in_dim, Dim::Finite(_))));
        let power = (product.variance.power + sum_of) * Power::new(1, 2) + x.power;
        let coordinates = self.product(id, product, &x).map(|coefficient| vec![Rc::new(coefficient)]);
        Ok(Z { power, coordinates, law: x.law, mixed: false })
    }

    /// `Zhat + Zdot` without powers of the width.
    fn product(&mut self, id: ValueId, product: &Product<'_>, x: &Z) -> Result<Polynomial, InductionError> {
        let program = self.program;
        let name = &program.value(id).name;
        if x.vanishes() {
            return Ok(self.zero());
        }
        let same_side = |other: &Instr, from_left: bool| match other {
            Instr::MatMul { matrix, transposed, .. } => {
                matrix.value == product.matrix.value && (*transposed == product.transposed) == from_left
            }
            _ => false,
        };
        let earlier = &program.values[..self.own.min(id.index())];
        let correlated = self.own <= id.index() && earlier.iter().any(|other| same_side(&other.instr, true));
        if let Dim::Finite(_) = product.in_dim {
            return match correlated {
                true => Err(unsupported(name, "it is correlated with a product of the forward pass")),
                false => Ok(self.base(id)),
            };
        }
        let operand = x.coordinates()?[0].clone();
        let Some((factor, core)) = operand.normalised().filter(|_| operand.quadratic.is_empty()) else {
            return Err(unsupported(name, "its operand is quadratic in error signals"));
        };
        let parts = std::iter::once((None, core.constant)).chain(core.linear.into_iter().map(|(l, at)| (Some(l), at)));
        let key = (product.matrix.value, product.transposed, parts.collect::<Vec<_>>());
        if let Some(&(known, first)) = self.products.get(&key) {
            let known = self.z(known)?;
            return Ok(known.coordinates()?[0].scaled(times(factor, inverse(first)), operand.degree));
        }
        let function = operand.constant.iter().any(|&c| c != 0);
        if function && earlier.iter().any(|other| same_side(&other.instr, false)) {
            return Err(unsupported(name, "the forward pass has the matrix and its transpose"));
        }
        if function && correlated {
            return Err(unsupported(name, "it is correlated with a product of the forward pass"));
        }
        let mut total = self.base(id);
        for (&variable, at) in &operand.linear {
            let Instr::MatMul { vector, .. } = &program.value(variable).instr else { continue };
            if !same_side(&program.value(variable).instr, false) {
                continue;
            }
            let strength = times(number(&product.strength), self.weighted(at));
            let y = self.z(vector.value)?;
            total = total.plus(&y.coordinates()?[0].scaled(strength, operand.degree + 1));
        }
        self.products.insert(key, (id, factor));
        Ok(total)
    }

    /// The mean over coordinates; where it is 0, a fluctuation or a lower term, as for `derive`.
    fn moment(&mut self, id: ValueId, expr: ExprId) -> Result<Z, InductionError> {
        let name = &self.program.value(id).name;
        let body = self.leading(expr, None, name)?;
        let mean = match body.coordinates().and_then(|all| self.mean(&all[0])) {
            Ok(mean) => mean,
            Err(error) => return Ok(Z { coordinates: Err(error), ..body }),
        };
        let points = self.points.count();
        let z = |power, value: Scalar, law| Z {
            power,
            coordinates: Ok(vec![Rc::new(Polynomial::scalar(value.value, value.degree, points))]),
            law,
            mixed: false,
        };
        if mean.value != 0 || body.vanishes() {
            return Ok(z(body.power, mean, body.law));
        }
        let floor = body.power - Power::new(1, 2);
        if self.carries_width(expr)? {
            let mut deep = expr;
            loop {
                let deeper = self.with_definitions(deep);
                if deeper == deep {
                    break;
                }
                deep = deeper;
            }
            let orders = self.orders(deep)?;
            let order = |symbol: Symbol| orders.get(&symbol).copied().unwrap_or_else(Power::zero);
            let terms = Expansion::new(&mut self.graph, &mut self.fresh, &order, name).series(deep, floor)?;
            for (power, term) in terms.into_iter().filter(|&(p, _)| floor < p && p < body.power) {
                let law = self.mentions_law(term)?;
                let coefficient = self.value_of(term, 0, name)?;
                let mean = self.mean(&coefficient)?;
                if mean.value != 0 {
                    return Ok(z(power, mean, law));
                }
            }
        }
        let symbol = scramble(&[23, self.points.seed, id.index() as u64]);
        Ok(z(floor, Scalar { value: symbol, degree: 0 }, true))
    }

    /// The leading term of an expression over the program's values, at each coordinate.
    fn leading(&mut self, expr: ExprId, size: Option<u32>, name: &str) -> Result<Z, InductionError> {
        let mut expr = expr;
        let plain = !self.carries_width(expr)?;
        loop {
            let (power, term) = if plain {
                (Power::zero(), expr)
            } else {
                let orders = self.orders(expr)?;
                let order = |symbol: Symbol| orders.get(&symbol).copied().unwrap_or_else(Power::zero);
                let found = Expansion::new(&mut self.graph, &mut self.fresh, &order, name).leading(expr)?;
                found.unwrap_or_else(|| (Power::zero(), self.graph.pool.integer(0)))
            };
            let mut term = term;
            let mut law = self.mentions_law(term)?;
            if law {
                // Fluctuations that cancel do so identically.
                term = multiplied_out(&mut self.graph, term);
                law = self.mentions_law(term)?;
            }
            let all = (0..size.unwrap_or(1)).map(|k| self.value_of(term, k, name).map(Rc::new));
            let found = Z { power, coordinates: all.collect(), law, mixed: false };
            if !plain && (power.is_positive() || found.vanishes()) {
                let deeper = self.with_definitions(expr);
                if deeper != expr {
                    expr = deeper;
                    continue;
                }
            }
            return Ok(found);
        }
    }

    fn carries_width(&mut self, expr: ExprId) -> Result<bool, InductionError> {
        let mut found = false;
        self.graph.pool.visit(expr, &mut |node| found |= matches!(node, Expr::Width(_)));
        for (symbol, _) in self.graph.pool.refs(expr) {
            let z = self.z(value_of(symbol))?;
            found |= z.law || z.mixed || !z.power.is_zero();
        }
        Ok(found)
    }

    fn mentions_law(&mut self, expr: ExprId) -> Result<bool, InductionError> {
        let refs = self.graph.pool.refs(expr);
        refs.into_iter().try_fold(false, |law, (s, _)| Ok(law || self.z(value_of(s))?.law))
    }

    fn orders(&mut self, expr: ExprId) -> Result<FxHashMap<Symbol, Power>, InductionError> {
        self.graph.pool.refs(expr).into_iter().map(|(s, _)| Ok((s, self.z(value_of(s))?.power))).collect()
    }

    fn with_definitions(&mut self, expr: ExprId) -> ExprId {
        expanded_definitions(self.program, &mut self.graph, &mut self.fresh, expr)
    }

    fn value_of(&mut self, expr: ExprId, coordinate: u32, name: &str) -> Result<Polynomial, InductionError> {
        let pool = std::mem::take(&mut self.graph.pool);
        let found = self.value_in(&pool, expr, coordinate, name);
        self.graph.pool = pool;
        found
    }

    /// An expression over the program's values, in any pool.
    pub(super) fn value_in(
        &mut self,
        pool: &Exprs,
        root_of: ExprId,
        coordinate: u32,
        name: &str,
    ) -> Result<Polynomial, InductionError> {
        let points = self.points.count();
        let mut known: FxHashMap<ExprId, Rc<Polynomial>> = FxHashMap::default();
        let too_high = || unsupported(name, "it is no polynomial of degree two in error signals");
        for at in pool.reachable(root_of) {
            let of = |e: &ExprId| known[e].clone();
            let scalar = |value| Rc::new(Polynomial::scalar(value, 0, points));
            let value = match pool.node(at) {
                Expr::Const(c) => scalar(number(c)),
                Expr::Pi => scalar(scramble(&[24, self.points.seed])),
                Expr::Ref(symbol, _) => {
                    let z = self.z[value_of(*symbol).index()].clone();
                    let z = z.ok_or_else(|| unsupported(name, "it mentions a later definition"))?;
                    let all = z.coordinates()?;
                    all[if all.len() == 1 { 0 } else { coordinate as usize }].clone()
                }
                Expr::Neg(a) => Rc::new(of(a).scaled(minus(0, 1), 0)),
                Expr::Add(a, b) => Rc::new(of(a).plus(&of(b))),
                Expr::Sub(a, b) => {
                    let mut difference = (*of(a)).clone();
                    difference.add(&of(b), minus(0, 1));
                    Rc::new(difference)
                }
                Expr::Mul(a, b) => Rc::new(of(a).times(&of(b)).ok_or_else(too_high)?),
                Expr::Div(a, b) => {
                    let divisor = of(b).map(|_, x| inverse(x)).ok_or_else(too_high)?;
                    Rc::new(of(a).times(&divisor).ok_or_else(too_high)?)
                }
                Expr::Pow(a, p) if p.is_integer() && p.is_positive() && !of(a).is_function() => {
                    let mut product = of(a);
                    for _ in 1..*p.numer() {
                        product = Rc::new(product.times(&of(a)).ok_or_else(too_high)?);
                    }
                    product
                }
                Expr::Pow(a, p) => {
                    let rooted = &mut self.rooted;
                    let (p, seed) = (*p, self.points.seed);
                    let raised = of(a).map(|m, x| raised(x, p, seed, &mut rooted[m]));
                    let mut raised = raised.ok_or_else(too_high)?;
                    raised.degree = raised.degree.saturating_mul(p.numer().unsigned_abs() as usize);
                    Rc::new(raised)
                }
                Expr::Apply(Func::Sqrt, args) => {
                    let rooted = &mut self.rooted;
                    let seed = self.points.seed;
                    let raised = of(&args[0]).map(|m, x| raised(x, Power::new(1, 2), seed, &mut rooted[m]));
                    Rc::new(raised.ok_or_else(too_high)?)
                }
                Expr::Apply(func, args) => {
                    let args: Vec<Rc<Polynomial>> = args.iter().map(of).collect();
                    let name = func.name().bytes().fold(8, |sum, byte| scramble(&[sum, u64::from(byte)]));
                    let first = args.first().ok_or_else(too_high)?;
                    if args.iter().any(|a| !a.is_function()) {
                        return Err(too_high());
                    }
                    let mut value = first
                        .map(|m, _| {
                            let values = args.iter().map(|a| a.constant[m]);
                            scramble(&std::iter::once(name).chain(values).collect::<Vec<_>>())
                        })
                        .ok_or_else(too_high)?;
                    value.degree = args.iter().map(|a| a.degree).max().unwrap_or(0);
                    Rc::new(value)
                }
                Expr::Width(_) | Expr::Table(..) | Expr::Sum(_) => {
                    return Err(unsupported(name, "it has a sum or a power of the width inside"));
                }
            };
            known.insert(at, value);
        }
        Ok((*known[&root_of]).clone())
    }
}

/// Numbers of the field.
impl Limits for AtPoints<'_> {
    type Scalar = Scalar;
    type Vector = Rc<Polynomial>;
    type Error = InductionError;

    fn number(&mut self, value: &Number) -> Scalar {
        Scalar { value: number(value), degree: 0 }
    }

    fn inverse_root(&mut self, value: &Number) -> Scalar {
        Scalar { value: inverse(root(number(value))), degree: 0 }
    }

    fn sum(&mut self, a: &Scalar, b: &Scalar) -> Scalar {
        Scalar { value: plus(a.value, b.value), degree: a.degree.max(b.degree) }
    }

    fn difference(&mut self, a: &Scalar, b: &Scalar) -> Scalar {
        Scalar { value: minus(a.value, b.value), degree: a.degree.max(b.degree) }
    }

    fn product(&mut self, a: &Scalar, b: &Scalar) -> Scalar {
        Scalar { value: times(a.value, b.value), degree: a.degree + b.degree }
    }

    fn is_zero(&self, a: &Scalar) -> bool {
        a.value == 0
    }

    fn zero_vector(&mut self) -> Rc<Polynomial> {
        Rc::new(self.zero())
    }

    fn minus_multiple(&mut self, x: Rc<Polynomial>, factor: &Scalar, y: &Rc<Polynomial>) -> Rc<Polynomial> {
        let mut difference = Rc::unwrap_or_clone(x);
        difference.add(&y.scaled(minus(0, factor.value), factor.degree), 1);
        Rc::new(difference)
    }

    fn mean_of_product(&mut self, x: &Rc<Polynomial>, y: &Rc<Polynomial>) -> Result<Scalar, InductionError> {
        self.mean_of(x, y)
    }

    fn scalar(&mut self, value: ValueId) -> Result<Scalar, InductionError> {
        let limit = self.vector(value)?;
        Ok(Scalar { value: limit.constant[0], degree: limit.degree })
    }

    fn vector(&mut self, value: ValueId) -> Result<Rc<Polynomial>, InductionError> {
        Ok(self.limit(value)?[0].clone())
    }

    fn moment(&mut self, x: ValueId, y: ValueId) -> Result<Scalar, InductionError> {
        let (left, right) = (self.limit(x)?, self.limit(y)?);
        let wide = matches!(self.program.value(x).ty.kind, Kind::Vector(Dim::Width(_)));
        let mut total = Scalar { value: 0, degree: 0 };
        for (a, b) in left.iter().zip(&right) {
            let product = match wide {
                true => self.mean_of(a, b)?,
                false => Scalar { value: times(a.constant[0], b.constant[0]), degree: a.degree + b.degree },
            };
            total = self.sum(&total, &product);
        }
        Ok(total)
    }

    fn function(&mut self, exprs: &Exprs, term: ExprId, of: &str) -> Result<Rc<Polynomial>, InductionError> {
        let symbols: FxHashSet<Symbol> = exprs.refs(term).into_iter().map(|(s, _)| s).collect();
        symbols.into_iter().try_for_each(|s| self.z(value_of(s)).map(|_| ()))?;
        Ok(Rc::new(self.value_in(exprs, term, 0, of)?))
    }

    fn coefficient(&mut self, exprs: &Exprs, term: ExprId, of: &str) -> Result<Scalar, InductionError> {
        let value = self.function(exprs, term, of)?;
        Ok(Scalar { value: value.constant[0], degree: value.degree })
    }
}

/// `x^p`. A square root has a sign that products respect; `rooted` says whether its square is `x`.
fn raised(x: u64, p: Power, seed: u64, rooted: &mut bool) -> u64 {
    let integer = |base: u64, k: i64| match k {
        0.. => power(base, k.unsigned_abs()),
        _ => power(inverse(base), k.unsigned_abs()),
    };
    match (p.denom().to_u64(), p.numer()) {
        (Some(1), &k) => integer(x, k),
        (Some(2), &k) => {
            let half = root(x);
            *rooted &= times(half, half) == x;
            integer(half, k)
        }
        (Some(d), &k) => integer(scramble(&[25, seed, x, d]), k),
        (None, _) => 0,
    }
}
