//! Expanding a Z-expression into monomials.
//!
//! `Z^x` is an expression in base Gaussian variables. Its expectation splits by independence only after products have
//! been multiplied out; but multiplying out `1 - tanh(h)^2` would only make work. A subexpression is therefore kept
//! whole (*opaque*) when all of it depends on the same variables through functions, and expanded when base variables
//! enter it as factors of their own.

use std::collections::BTreeSet;
use std::rc::Rc;

use netsor_ir::expr::{Expr, ExprId, Symbol, for_each_child};
use netsor_ir::number::{Number, integer};
use netsor_ir::{Axis, Func, Guard, Id, Index, Indices};
use num_traits::{One, Signed, Zero};
use rustc_hash::FxHashMap;

use crate::error::LimitError;
use crate::graph::{Graph, Leaf};

/// A product of scalars, bare base variables and opaque functions, summed over variables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Term {
    pub(crate) coefficient: Number,
    pub(crate) variables: Vec<(Index, Id<Axis>)>,
    pub(crate) guards: Vec<Guard>,
    /// Scalar factors.
    pub(crate) scalars: Vec<ExprId>,
    /// Base variables that are factors; sums of them in [`Expander::expand_to_sums`].
    pub(crate) bare: Vec<ExprId>,
    /// Functions of base variables.
    pub(crate) opaque: Vec<ExprId>,
}

impl Term {
    fn one() -> Self {
        Self {
            coefficient: Number::one(),
            variables: Vec::new(),
            guards: Vec::new(),
            scalars: Vec::new(),
            bare: Vec::new(),
            opaque: Vec::new(),
        }
    }

    fn times(&self, other: &Self) -> Self {
        let join = |a: &Vec<ExprId>, b: &Vec<ExprId>| a.iter().chain(b).copied().collect();
        Self {
            coefficient: &self.coefficient * &other.coefficient,
            variables: self.variables.iter().chain(&other.variables).copied().collect(),
            guards: self.guards.iter().chain(&other.guards).cloned().collect(),
            scalars: join(&self.scalars, &other.scalars),
            bare: join(&self.bare, &other.bare),
            opaque: join(&self.opaque, &other.opaque),
        }
    }
}

/// The set of base variables that an expression depends on, as mentioned.
type Dependencies = Rc<BTreeSet<(Symbol, Indices)>>;

/// How an expression depends on base variables.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Not at all.
    Scalar,
    /// As a polynomial with opaque coefficients: multiply it out. The degree is `None` if anything opaque is inside.
    /// `open` says that a delta, or a sum over an axis of more than variables, is inside: it is taken apart, never part
    /// of a function.
    Polynomial { degree: Option<u32>, on: Dependencies, open: bool },
    /// Through functions: keep it whole.
    Opaque { on: Dependencies },
}

impl Shape {
    fn on(&self) -> Option<&Dependencies> {
        match self {
            Shape::Scalar => None,
            Shape::Polynomial { on, .. } | Shape::Opaque { on } => Some(on),
        }
    }

    /// Whether the expression is linear in base variables with scalar coefficients (possibly plus a scalar).
    pub(crate) fn is_linear(&self) -> bool {
        matches!(self, Shape::Polynomial { degree: Some(1), .. })
    }

    /// Whether the expression is a polynomial in base variables of degree 2 or more.
    pub(crate) fn is_nonlinear_polynomial(&self) -> bool {
        self.degree().is_some_and(|degree| 1 < degree)
    }

    /// The degree of a polynomial in base variables.
    pub(crate) fn degree(&self) -> Option<u32> {
        match self {
            Shape::Scalar => Some(0),
            Shape::Polynomial { degree, .. } => *degree,
            Shape::Opaque { .. } => None,
        }
    }

    pub(crate) fn is_scalar(&self) -> bool {
        matches!(self, Shape::Scalar)
    }
}

/// The most terms that one expectation may expand to.
pub(crate) const TERM_LIMIT: usize = 200_000;

/// What becomes of a linear form of several variables when an expression is multiplied out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Forms {
    /// It is taken apart.
    #[default]
    Apart,
    /// It stays whole, as functions do.
    Opaque,
    /// It stays whole, as one Gaussian variable, if it is a sum over axes.
    Variables,
}

/// Memoised facts about the expressions of a graph.
#[derive(Debug, Default)]
pub(crate) struct Expander {
    shapes: FxHashMap<ExprId, Shape>,
    pub(crate) fresh: u32,
    /// What becomes of linear forms of several variables.
    forms: Forms,
    sums_in_forms: FxHashMap<ExprId, Option<bool>>,
    /// Products of terms that were taken so far, and how many may be.
    products: usize,
    pub(crate) most_products: Option<usize>,
}

impl Expander {
    pub(crate) fn new() -> Self {
        Self { fresh: 1_000, ..Self::default() }
    }

    /// Visits `root` and what is below it, children first, skipping what `known` already knows.
    fn post_order(graph: &Graph, root: ExprId, known: impl Fn(ExprId) -> bool) -> Vec<ExprId> {
        let mut seen = BTreeSet::new();
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            if !known(id) && seen.insert(id) {
                for_each_child(graph.pool.node(id), |child| stack.push(child));
            }
        }
        // Ids ascend from children to parents.
        seen.into_iter().collect()
    }

    /// How the expression depends on base variables.
    pub(crate) fn shape(&mut self, graph: &Graph, root: ExprId) -> Shape {
        for id in Self::post_order(graph, root, |id| self.shapes.contains_key(&id)) {
            let shape = self.shape_of_node(graph, graph.pool.node(id));
            self.shapes.insert(id, shape);
        }
        self.shapes[&root].clone()
    }

    fn shape_of_node(&self, graph: &Graph, node: &Expr) -> Shape {
        let of = |id: &ExprId| &self.shapes[id];
        match node {
            Expr::Const(_) | Expr::Pi | Expr::Width(_) | Expr::Table(..) => Shape::Scalar,
            Expr::Ref(symbol, indices) => match graph.leaf(*symbol) {
                Leaf::Value(_) | Leaf::Slot(_) if graph.is_random(*symbol) => Shape::Polynomial {
                    degree: Some(1),
                    on: Rc::new(BTreeSet::from([(*symbol, indices.clone())])),
                    open: false,
                },
                _ => Shape::Scalar,
            },
            Expr::Neg(a) => of(a).clone(),
            Expr::Add(a, b) | Expr::Sub(a, b) => add(of(a), of(b)),
            Expr::Mul(a, b) => multiply(of(a), of(b)),
            Expr::Div(a, b) => match of(b) {
                Shape::Scalar => of(a).clone(),
                _ => opaque([of(a), of(b)]),
            },
            Expr::Pow(a, p) => match of(a) {
                Shape::Polynomial { degree, on, open } if p.is_integer() && p.is_positive() && *p.numer() <= 16 => {
                    let degree = degree.map(|d| d * *p.numer() as u32);
                    Shape::Polynomial { degree, on: on.clone(), open: *open }
                }
                Shape::Scalar => Shape::Scalar,
                a => opaque([a]),
            },
            // A delta is always a factor of its own: it will be traded for a density.
            Expr::Apply(Func::Delta, args) => match of(&args[0]).on() {
                Some(on) => Shape::Polynomial { degree: None, on: on.clone(), open: true },
                None => Shape::Scalar,
            },
            Expr::Apply(_, args) => {
                if args.iter().all(|a| of(a).is_scalar()) {
                    Shape::Scalar
                } else {
                    opaque(args.iter().map(of))
                }
            }
            Expr::Sum(sum) => match of(&sum.body) {
                Shape::Scalar => Shape::Scalar,
                Shape::Polynomial { degree, on, open } => {
                    let open = *open || degree.is_none_or(|d| 1 < d);
                    Shape::Polynomial { degree: *degree, on: on.clone(), open }
                }
                Shape::Opaque { on } => Shape::Polynomial { degree: None, on: on.clone(), open: true },
            },
        }
    }

    /// The expression as a sum of terms, like terms joined.
    pub(crate) fn expand(&mut self, graph: &mut Graph, root: ExprId, name: &str) -> Result<Vec<Term>, LimitError> {
        Ok(collect(self.expand_node(graph, root, name)?))
    }

    /// As [`Self::expand`], with linear forms of several variables kept in one piece: `h - mean` stays one factor.
    pub(crate) fn expand_to_forms(
        &mut self,
        graph: &mut Graph,
        root: ExprId,
        name: &str,
    ) -> Result<Vec<Term>, LimitError> {
        self.expand_with(Forms::Opaque, graph, root, name)
    }

    /// As [`Self::expand`] for polynomials, where sums that are linear in Gaussian variables are variables themselves:
    /// a mean over a batch has one covariance with another, and is not multiplied out with it.
    pub(crate) fn expand_to_sums(
        &mut self,
        graph: &mut Graph,
        root: ExprId,
        name: &str,
    ) -> Result<Vec<Term>, LimitError> {
        self.expand_with(Forms::Variables, graph, root, name)
    }

    fn expand_with(
        &mut self,
        forms: Forms,
        graph: &mut Graph,
        root: ExprId,
        name: &str,
    ) -> Result<Vec<Term>, LimitError> {
        self.forms = forms;
        let terms = self.expand(graph, root, name);
        self.forms = Forms::Apart;
        terms
    }

    /// Whether a sum over axes is in a linear form in base variables; `None` if it is none, or has a constant part.
    fn sums_in_form(&mut self, graph: &Graph, root: ExprId) -> Option<bool> {
        for id in Self::post_order(graph, root, |id| self.sums_in_forms.contains_key(&id)) {
            let of = |id: &ExprId| self.sums_in_forms[id];
            let scalar = |id: &ExprId| self.shapes.get(id).is_some_and(Shape::is_scalar);
            let found = match graph.pool.node(id) {
                Expr::Ref(symbol, _) => graph.is_random(*symbol).then_some(false),
                Expr::Neg(a) => of(a),
                Expr::Add(a, b) | Expr::Sub(a, b) => of(a).zip(of(b)).map(|(a, b)| a || b),
                Expr::Mul(a, b) if scalar(a) => of(b),
                Expr::Mul(a, b) | Expr::Div(a, b) if scalar(b) => of(a),
                Expr::Sum(sum) => of(&sum.body).map(|_| true),
                _ => None,
            };
            self.sums_in_forms.insert(id, found);
        }
        self.sums_in_forms[&root]
    }

    fn expand_node(&mut self, graph: &mut Graph, id: ExprId, name: &str) -> Result<Vec<Term>, LimitError> {
        stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || self.expand_node_inner(graph, id, name))
    }

    fn expand_node_inner(&mut self, graph: &mut Graph, id: ExprId, name: &str) -> Result<Vec<Term>, LimitError> {
        let shape = self.shape(graph, id);
        let single = |edit: &dyn Fn(&mut Term)| {
            let mut term = Term::one();
            edit(&mut term);
            Ok(vec![term])
        };
        let node = graph.pool.node(id).clone();
        match (&node, &shape) {
            (Expr::Const(value), _) if value.is_zero() => Ok(Vec::new()),
            (Expr::Const(value), _) => single(&|t| t.coefficient = value.clone()),
            (_, Shape::Scalar) => single(&|t| t.scalars.push(id)),
            (Expr::Ref(..), _) => single(&|t| t.bare.push(id)),
            (Expr::Add(..) | Expr::Sub(..) | Expr::Sum(_), shape)
                if self.forms == Forms::Opaque && shape.is_linear() =>
            {
                single(&|t| t.opaque.push(id))
            }
            (Expr::Add(..) | Expr::Sub(..) | Expr::Sum(_), _)
                if self.forms == Forms::Variables && self.sums_in_form(graph, id) == Some(true) =>
            {
                single(&|t| t.bare.push(id))
            }
            // Factors one by one have an order of their own, whatever the order in which they were multiplied.
            (Expr::Mul(a, b), Shape::Opaque { .. }) if self.forms == Forms::Opaque => {
                let left = self.expand_node(graph, *a, name)?;
                let right = self.expand_node(graph, *b, name)?;
                self.product(&left, &right, name)
            }
            (_, Shape::Opaque { .. }) if !self.factors_out(graph, &node) => single(&|t| t.opaque.push(id)),
            (Expr::Neg(a), _) => {
                let mut terms = self.expand_node(graph, *a, name)?;
                terms.iter_mut().for_each(|t| t.coefficient = -t.coefficient.clone());
                Ok(terms)
            }
            (Expr::Add(a, b), _) => {
                let mut terms = self.expand_node(graph, *a, name)?;
                terms.extend(self.expand_node(graph, *b, name)?);
                Ok(collect(terms))
            }
            (Expr::Sub(a, b), _) => {
                let mut terms = self.expand_node(graph, *a, name)?;
                let mut other = self.expand_node(graph, *b, name)?;
                other.iter_mut().for_each(|t| t.coefficient = -t.coefficient.clone());
                terms.extend(other);
                Ok(collect(terms))
            }
            (Expr::Mul(a, b), _) => {
                let left = self.expand_node(graph, *a, name)?;
                let right = self.expand_node(graph, *b, name)?;
                self.product(&left, &right, name)
            }
            (Expr::Pow(a, p), Shape::Polynomial { .. }) => {
                let mut terms = vec![Term::one()];
                for _ in 0..*p.numer() {
                    // Expanded anew each time: summed variables of the copies must be different.
                    let factor = self.expand_node(graph, *a, name)?;
                    terms = self.product(&terms, &factor, name)?;
                }
                Ok(terms)
            }
            (Expr::Div(a, b), _) => {
                // The divisor is a scalar, or the whole would be opaque.
                let terms = self.expand_node(graph, *a, name)?;
                let one = graph.pool.integer(1);
                let inverse = graph.pool.div(one, *b);
                let factor = Term { scalars: vec![inverse], ..Term::one() };
                self.product(&terms, &[factor], name)
            }
            (Expr::Sum(sum), _) => {
                let opened = graph.pool.open(sum, &mut self.fresh);
                let mut terms = self.expand_node(graph, opened.body, name)?;
                for term in &mut terms {
                    term.variables.extend(opened.variables.iter().copied());
                    term.guards.extend(opened.guards.iter().cloned());
                }
                Ok(terms)
            }
            (Expr::Apply(Func::Delta, _), Shape::Polynomial { .. }) => single(&|t| t.opaque.push(id)),
            (Expr::Apply(..) | Expr::Pow(..) | Expr::Pi | Expr::Width(_) | Expr::Table(..), _) => {
                unreachable!("what is neither a scalar nor a polynomial is opaque")
            }
        }
    }

    /// The product of two sums of terms.
    fn product(&mut self, left: &[Term], right: &[Term], name: &str) -> Result<Vec<Term>, LimitError> {
        let count = left.len().saturating_mul(right.len());
        self.products = self.products.saturating_add(count);
        let allowed = self.most_products.filter(|&most| most < self.products);
        if let Some(limit) = allowed.or((TERM_LIMIT < count).then_some(TERM_LIMIT)) {
            return Err(LimitError::TooManyTerms { name: name.to_owned(), limit });
        }
        Ok(multiplied(left, right))
    }

    /// Whether an opaque product should still be taken apart, because a factor is a scalar.
    fn factors_out(&mut self, graph: &Graph, node: &Expr) -> bool {
        match node {
            Expr::Neg(_) => true,
            Expr::Mul(a, b) => self.shape(graph, *a).is_scalar() || self.shape(graph, *b).is_scalar(),
            Expr::Div(_, b) => self.shape(graph, *b).is_scalar(),
            _ => false,
        }
    }
}

/// The numeric and scalar factors of a term as one expression.
pub(crate) fn scalar_part(graph: &mut Graph, term: &Term) -> ExprId {
    let mut value = graph.pool.constant(term.coefficient.clone());
    for &factor in &term.scalars {
        value = graph.pool.mul(value, factor);
    }
    value
}

fn union<'a>(parts: impl IntoIterator<Item = &'a Shape>) -> Dependencies {
    let mut sets = parts.into_iter().filter_map(Shape::on);
    let Some(first) = sets.next() else { return Rc::default() };
    let mut all = first.clone();
    for set in sets {
        if !set.is_subset(&all) {
            all = Rc::new(all.union(set).cloned().collect());
        }
    }
    all
}

fn opaque<'a>(parts: impl IntoIterator<Item = &'a Shape>) -> Shape {
    Shape::Opaque { on: union(parts) }
}

fn is_open(shape: &Shape) -> bool {
    matches!(shape, Shape::Polynomial { open: true, .. })
}

fn add(a: &Shape, b: &Shape) -> Shape {
    match (a, b) {
        (Shape::Scalar, other) | (other, Shape::Scalar) => other.clone(),
        (Shape::Opaque { on: x }, Shape::Opaque { on: y }) if x == y => a.clone(),
        (Shape::Polynomial { on: p, open: false, .. }, Shape::Opaque { on })
        | (Shape::Opaque { on }, Shape::Polynomial { on: p, open: false, .. })
            if p.is_subset(on) && p.len() == on.len() =>
        {
            Shape::Opaque { on: on.clone() }
        }
        (Shape::Polynomial { degree: Some(d), .. }, Shape::Polynomial { degree: Some(e), .. }) => {
            Shape::Polynomial { degree: Some(*d.max(e)), on: union([a, b]), open: is_open(a) || is_open(b) }
        }
        _ => Shape::Polynomial { degree: None, on: union([a, b]), open: is_open(a) || is_open(b) },
    }
}

fn multiply(a: &Shape, b: &Shape) -> Shape {
    match (a, b) {
        (Shape::Scalar, other) | (other, Shape::Scalar) => other.clone(),
        (Shape::Opaque { on: x }, Shape::Opaque { on: y }) if x == y => a.clone(),
        (Shape::Polynomial { on: p, open: false, .. }, Shape::Opaque { on })
        | (Shape::Opaque { on }, Shape::Polynomial { on: p, open: false, .. })
            if p.is_subset(on) =>
        {
            Shape::Opaque { on: on.clone() }
        }
        (Shape::Polynomial { degree: Some(d), .. }, Shape::Polynomial { degree: Some(e), .. }) => {
            Shape::Polynomial { degree: Some(d + e), on: union([a, b]), open: is_open(a) || is_open(b) }
        }
        _ => Shape::Polynomial { degree: None, on: union([a, b]), open: is_open(a) || is_open(b) },
    }
}

fn multiplied(left: &[Term], right: &[Term]) -> Vec<Term> {
    let all = left.iter().flat_map(|a| right.iter().map(|b| a.times(b))).collect();
    collect(all)
}

/// Joins like terms without summed variables, and drops what cancels. Order of first appearance is kept.
fn collect(terms: Vec<Term>) -> Vec<Term> {
    if terms.len() < 2 {
        return terms;
    }
    let mut order: indexmap::IndexMap<Term, Number, rustc_hash::FxBuildHasher> = indexmap::IndexMap::default();
    let mut kept = Vec::new();
    for mut term in terms {
        if !term.variables.is_empty() {
            kept.push(term);
            continue;
        }
        term.scalars.sort_unstable();
        term.bare.sort_unstable();
        term.opaque.sort_unstable();
        let coefficient = std::mem::replace(&mut term.coefficient, integer(1));
        *order.entry(term).or_insert_with(Number::zero) += coefficient;
    }
    let joined = order.into_iter().filter(|(_, c)| !c.is_zero());
    joined.map(|(term, coefficient)| Term { coefficient, ..term }).chain(kept).collect()
}
