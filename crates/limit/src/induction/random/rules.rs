//! The Z rules in a prime field, without writing anything out.
//!
//! `E` is replaced by a random linear functional over functions, a weighted sum over a few random points. It is linear,
//! respects what is equal as a function, and is *not* multiplicative, so that an identity in expectations that follows
//! from linearity and from equality of functions holds for it, and another one of a degree below the number of points
//! does not, but for a chance of the field's size. Gaussian facts that are used: variables of different matrices are
//! independent, and products of two variables that enter linearly have their covariance as mean.

use std::rc::Rc;

use netsor_ir::expr::{ExprId, Exprs};
use netsor_ir::program::{Table, value_of};
use netsor_ir::{Dim, Id, Index, Indices, Instr, Kind, Program, ValueId};
use rustc_hash::FxHashMap;

use super::evaluate::Evaluation;
use super::points::{Draw, Points};
use super::polynomial::Polynomial;
use crate::error::LimitError;
use crate::graph::Graph;
use crate::induction::InductionError;
use crate::induction::field::{inverse, number, plus, times};
use crate::order::{Leading, Order};
use crate::product::Product;
use crate::rules::{Carrier, Rules};
use crate::tables::table_entry;

/// `Z` of a value: one for each coordinate of vectors of constant dimension, and one for others. Or why it is not known:
/// deviations of error signals are quadratic in them, and nothing reads those.
pub(super) type Coordinates = Result<Rc<[Rc<Polynomial>]>, InductionError>;

/// A number of the field, with its degree in expectations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scalar {
    pub(super) value: u64,
    pub(super) degree: usize,
}

impl Scalar {
    pub(super) const ZERO: Self = Self { value: 0, degree: 0 };

    pub(super) fn plus(self, other: Self) -> Self {
        Self { value: plus(self.value, other.value), degree: self.degree.max(other.degree) }
    }

    pub(super) fn times(self, other: Self) -> Self {
        Self { value: times(self.value, other.value), degree: self.degree + other.degree }
    }
}

/// Matrix, side, and the operand up to a factor.
type ProductKey = (ValueId, bool, Vec<(Option<ValueId>, Vec<u64>)>);

/// `Z` of the values of a program without families.
pub(super) struct AtPoints<'p> {
    pub(super) program: &'p Program,
    graph: Graph,
    fresh: u32,
    /// Base variables below are the network's own: they have values at the points, and others are kept as variables.
    own: usize,
    points: Points,
    z: Vec<Option<(Leading<Coordinates>, bool)>>,
    products: FxHashMap<ProductKey, (ValueId, u64)>,
    covariances: FxHashMap<(ValueId, ValueId), Scalar>,
    /// Points at which every square root was one.
    pub(super) rooted: Vec<bool>,
}

impl<'p> AtPoints<'p> {
    /// The rules for a program whose first `own` values are a network's.
    pub(super) fn new(program: &'p Program, own: usize, points: Points) -> Self {
        let rooted = vec![true; points.count()];
        let z = vec![None; program.values.len()];
        let (products, covariances) = (FxHashMap::default(), FxHashMap::default());
        Self { program, graph: Graph::new(program), fresh: 1_000, own, points, z, products, covariances, rooted }
    }

    /// A number as a random variable.
    pub(super) fn constant(&self, value: u64, degree: usize) -> Polynomial {
        Polynomial::scalar(value, degree, self.points.count())
    }

    /// Whether a value of the network has a base variable of its own.
    pub(super) fn is_variable(&self, value: ValueId) -> bool {
        match &self.program.value(value).instr {
            Instr::Gaussian(_) => true,
            Instr::MatMul { vector, .. } => {
                let input = matches!(self.program.value(vector.value).ty.kind, Kind::Vector(Dim::Finite(_)));
                input || self.products.values().any(|&(first, _)| first == value)
            }
            _ => false,
        }
    }

    /// Draws a variable of the network again where a square root was none, and forgets what came after it.
    pub(super) fn redraw(&mut self, variable: ValueId) {
        self.points.redraw(variable, &self.rooted);
        self.rooted.fill(true);
        self.z[variable.index()..].fill(None);
        self.products.retain(|_, (first, _)| *first < variable);
        self.covariances.clear();
    }

    /// The limit of each coordinate.
    pub(super) fn coordinates(&mut self, value: ValueId) -> Result<Rc<[Rc<Polynomial>]>, InductionError> {
        self.limit(value)?
    }

    /// `E x`.
    pub(super) fn mean(&mut self, x: &Polynomial) -> Result<Scalar, InductionError> {
        let mut total = Scalar { value: self.points.mean(&x.constant), degree: x.degree + 1 };
        if x.constant.iter().all(|&c| c == x.constant[0]) {
            total.degree = x.degree;
        }
        for (&(a, b), at) in &x.quadratic {
            let mean = Scalar { value: self.points.mean(at), degree: x.degree + 1 };
            total = total.plus(mean.times(self.covariance(a, b)?));
        }
        Ok(total)
    }

    /// `E x y`.
    pub(super) fn mean_of_two(&mut self, x: &Polynomial, y: &Polynomial) -> Result<Scalar, InductionError> {
        if !x.quadratic.is_empty() || !y.quadratic.is_empty() {
            let reason = "it has degree three in error signals";
            let product = x.times(y).ok_or_else(|| InductionError::not_at_points("a moment", reason))?;
            return self.mean(&product);
        }
        let degree = x.degree + y.degree + 1;
        let mut total = Scalar { value: self.mean_at_points(&x.constant, &y.constant), degree };
        for (&k, left) in &x.linear {
            for (&l, right) in &y.linear {
                let covariance = self.covariance(k, l)?;
                if covariance.value != 0 {
                    let mean = Scalar { value: self.mean_at_points(left, right), degree };
                    total = total.plus(mean.times(covariance));
                }
            }
        }
        Ok(total)
    }

    fn mean_at_points(&self, x: &[u64], y: &[u64]) -> u64 {
        let product: Vec<u64> = x.iter().zip(y).map(|(&a, &b)| times(a, b)).collect();
        self.points.mean(&product)
    }

    /// `E[x y]` of vectors with a kind, and the inner product of those of constant dimension.
    pub(super) fn inner(
        &mut self,
        kind: Kind,
        x: &[Rc<Polynomial>],
        y: &[Rc<Polynomial>],
    ) -> Result<Scalar, InductionError> {
        let mut total = Scalar::ZERO;
        for (x, y) in x.iter().zip(y) {
            total = total.plus(match kind {
                Kind::Vector(Dim::Width(_)) => self.mean_of_two(x, y)?,
                _ => x.number().times(y.number()),
            });
        }
        Ok(total)
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
                let strength = Product::new(program, matrix, *transposed, vector)?.strength;
                let (x, y) = (self.leading_of(vector.value)?, self.leading_of(second.value)?);
                let inner = self.inner(program.value(vector.value).ty.kind, &x.coefficient?, &y.coefficient?)?;
                inner.times(Scalar { value: number(&strength), degree: 0 })
            }
            _ => Scalar::ZERO,
        };
        self.covariances.insert(key, found);
        Ok(found)
    }

    /// The base variable of a value.
    fn base(&self, id: ValueId) -> Polynomial {
        if id.index() < self.own {
            return Polynomial::function(self.points.variable(id));
        }
        Polynomial::variable(id, self.points.count())
    }

    /// `Zhat + Zdot` without powers of the width.
    fn matrix_product(
        &mut self,
        id: ValueId,
        product: &Product<'_>,
        operand: &Polynomial,
    ) -> Result<Polynomial, InductionError> {
        let program = self.program;
        let name = &program.value(id).name;
        let same_side = |other: &Instr, from_left: bool| match other {
            Instr::MatMul { matrix, transposed, .. } => {
                matrix.value == product.matrix.value && (*transposed == product.transposed) == from_left
            }
            _ => false,
        };
        let earlier = &program.values[..self.own.min(id.index())];
        let correlated = self.own <= id.index() && earlier.iter().any(|other| same_side(&other.instr, true));
        let correlated = match correlated {
            true => Err(InductionError::not_at_points(name, "it is correlated with a product of the forward pass")),
            false => Ok(()),
        };
        if let Dim::Finite(_) = product.in_dim {
            return correlated.map(|()| self.base(id));
        }
        let Some((factor, core)) = operand.normalised().filter(|_| operand.quadratic.is_empty()) else {
            return Err(InductionError::not_at_points(name, "its operand is quadratic in error signals"));
        };
        let parts = std::iter::once((None, core.constant)).chain(core.linear.into_iter().map(|(l, at)| (Some(l), at)));
        let key = (product.matrix.value, product.transposed, parts.collect::<Vec<_>>());
        if let Some(&(known, first)) = self.products.get(&key) {
            let known = self.leading_of(known)?.coefficient?;
            return Ok(known[0].scaled(times(factor, inverse(first)), operand.degree));
        }
        if operand.constant.iter().any(|&c| c != 0) {
            if earlier.iter().any(|other| same_side(&other.instr, false)) {
                return Err(InductionError::not_at_points(name, "the forward pass has the matrix and its transpose"));
            }
            correlated?;
        }
        let mut total = self.base(id);
        for (&variable, at) in &operand.linear {
            let Instr::MatMul { vector, .. } = &program.value(variable).instr else { continue };
            if !same_side(&program.value(variable).instr, false) {
                continue;
            }
            let strength = times(number(&product.strength), self.points.mean(at));
            let y = self.leading_of(vector.value)?.coefficient?;
            total = total.plus(&y[0].scaled(strength, operand.degree + 1));
        }
        self.products.insert(key, (id, factor));
        Ok(total)
    }

    /// A term over the program's values, in any pool, with their limits put in.
    pub(super) fn evaluated(
        &mut self,
        exprs: &Exprs,
        term: ExprId,
        name: &str,
    ) -> Result<Rc<Polynomial>, InductionError> {
        let mut limits: FxHashMap<ValueId, Rc<Polynomial>> = FxHashMap::default();
        for (symbol, _) in exprs.refs(term) {
            let value = value_of(symbol);
            limits.insert(value, self.coordinates(value)?[0].clone());
        }
        let reference = |value: ValueId| Ok(limits[&value].clone());
        let (points, rooted) = (&self.points, &mut self.rooted[..]);
        Evaluation { exprs, points, rooted, reference: &reference, name }.of(term)
    }
}

/// Numbers of the field at points. Errors of coefficients wait until they are read.
impl<'p> Carrier<'p> for AtPoints<'p> {
    type Coefficient = Coordinates;
    /// All coordinates, by their number.
    type Coordinate = u32;
    type Dot = ();
    type Error = InductionError;

    fn program(&self) -> &'p Program {
        self.program
    }

    fn terms(&mut self) -> (&mut Graph, &mut u32) {
        (&mut self.graph, &mut self.fresh)
    }

    fn order(&self, value: ValueId) -> Option<Order> {
        let (z, mixed) = self.z[value.index()].as_ref()?;
        Some(Order { power: z.power, law: z.law, mixed: *mixed })
    }

    fn known(&self, value: ValueId) -> Option<Leading<Coordinates>> {
        self.z[value.index()].as_ref().map(|(z, _)| z.clone())
    }

    fn define(&mut self, value: ValueId, z: Leading<Coordinates>, (): (), mixed: bool) {
        self.z[value.index()] = Some((z, mixed));
    }

    fn zero(&mut self) -> Coordinates {
        one(self.constant(0, 0))
    }

    fn is_zero(&self, coefficient: &Coordinates) -> bool {
        coefficient.as_ref().is_ok_and(|all| all.iter().all(|c| c.is_zero()))
    }

    fn put_in(&mut self, term: ExprId, size: Option<u32>, name: &str) -> Result<Coordinates, InductionError> {
        let (z, points, rooted) = (&self.z, &self.points, &mut self.rooted[..]);
        let at = |k: u32| {
            let reference = |value: ValueId| {
                let (z, _) = z[value.index()].as_ref().expect("orders were asked for before");
                let all = z.coefficient.as_ref().map_err(Clone::clone)?;
                Ok(all[if all.len() == 1 { 0 } else { k as usize }].clone())
            };
            let exprs = &self.graph.pool;
            Evaluation { exprs, points, rooted: &mut *rooted, reference: &reference, name }.of(term)
        };
        Ok((0..size.unwrap_or(1)).map(at).collect())
    }

    fn coordinate(&self, _: ValueId, size: u32) -> u32 {
        size
    }

    fn bound_coordinate(&mut self, size: u32) -> u32 {
        size
    }

    fn mean_over(&mut self, _: u32, size: u32, coefficient: &Coordinates) -> Coordinates {
        let all = coefficient.as_ref().map_err(Clone::clone)?;
        let share = inverse(u64::from(size));
        let mut mean = self.constant(0, 0);
        all.iter().for_each(|c| mean.add(c, share));
        one(mean)
    }

    fn data(&mut self, value: ValueId) -> Coordinates {
        let size = match self.program.value(value).ty.kind {
            Kind::Vector(Dim::Finite(size)) => size,
            _ => 1,
        };
        let entry = |k: u32| self.points.drawn(Draw::Data, [value.index() as u64, k.into()]);
        Ok((0..size).map(|k| Rc::new(self.constant(entry(k), 0))).collect())
    }

    fn table(&mut self, value: ValueId, table: Id<Table>, at: &Indices) -> Result<Coordinates, InductionError> {
        let Kind::Vector(Dim::Finite(size)) = self.program.value(value).ty.kind else { return Ok(self.zero()) };
        let coordinate = Index::Var(0);
        let at: Indices = at.iter().copied().chain([coordinate]).collect();
        let entries = (0..size).map(|k| table_entry(self.program, table.index(), &at, coordinate, k));
        let entries = entries.map(|entry| Some(Rc::new(self.constant(number(&entry?), 0))));
        let reason = "its entries are not constants";
        let missing = || InductionError::not_at_points(&self.program.value(value).name, reason);
        Ok(Ok(entries.collect::<Option<_>>().ok_or_else(missing)?))
    }

    fn initial(&mut self, value: ValueId, mean: &Coordinates) -> Result<Coordinates, InductionError> {
        if self.own <= value.index() {
            let name = &self.program.value(value).name;
            return Err(InductionError::not_at_points(name, "an initial vector is no part of the network"));
        }
        let mean = mean.as_ref().map_err(Clone::clone)?;
        Ok(one(mean[0].plus(&self.base(value))))
    }

    fn expectation(&mut self, coefficient: &Coordinates, _: &str) -> Result<Coordinates, InductionError> {
        let mean = coefficient.clone().and_then(|all| self.mean(&all[0]));
        Ok(mean.and_then(|mean| one(self.constant(mean.value, mean.degree))))
    }

    fn fluctuation(&mut self, of: ValueId) -> Coordinates {
        one(self.constant(self.points.drawn(Draw::Fluctuation, [of.index() as u64, 0]), 0))
    }

    fn zhat_plus_zdot(
        &mut self,
        value: ValueId,
        product: &Product<'_>,
        operand: &Coordinates,
    ) -> Result<(Coordinates, ()), InductionError> {
        let found = operand.clone().and_then(|all| self.matrix_product(value, product, &all[0]));
        Ok((found.and_then(one), ()))
    }

    fn operand_of(&mut self, _: ValueId, product: &Product<'_>) -> Result<Leading<Coordinates>, InductionError> {
        self.leading_of(product.vector.value)
    }

    fn readout(&mut self, value: ValueId, _: &Product<'_>) -> Result<Leading<Coordinates>, InductionError> {
        Err(LimitError::Readout { name: self.program.value(value).name.clone() }.into())
    }
}

/// What is no vector of constant dimension has one coordinate.
fn one(x: Polynomial) -> Coordinates {
    Ok(Rc::new([Rc::new(x)]))
}
