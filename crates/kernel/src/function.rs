//! Integrands: what a factor of one Gaussian variable is, and how it is evaluated.

use netsor_gauss::dual::{Activation, Rectified};
use netsor_gauss::{Covariance, Estimate, Function, GaussError, Tolerance, expect};
use netsor_ir::expr::{Expr, ExprId, for_each_child};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::number::{power_to_f64, to_f64};
use netsor_ir::tape::{Functions, Input, Scratch, Setting, Tape};
use netsor_limit::Graph;
use netsor_limit::graph::Leaf;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::KernelError;
use crate::plan::{Homogeneous, Real};

/// The most terms of a polynomial that is read.
const MAX_TERMS: usize = 16;

/// What is known of a function of one variable.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// A polynomial on each side of zero: for positive arguments, for negative ones, and the value at zero.
    Polynomials { right: Vec<f64>, left: Vec<f64>, zero: f64 },
    /// `scale erf(rate u)`
    Erf { scale: f64, rate: f64 },
    /// `scale erf(a u) erf(b u)`
    ErfPair { scale: f64, rates: [f64; 2] },
    /// `scale exp(-rate u^2)` with a positive rate.
    Gaussian { scale: f64, rate: f64 },
    /// Smooth.
    Smooth,
    /// With a kink or a jump at zero.
    Kinked,
    /// Not smooth somewhere else.
    Rough,
}

impl Shape {
    /// A power of degree 0 or 1 on each side.
    pub(crate) fn homogeneous(&self) -> Option<Homogeneous> {
        let Self::Polynomials { right, left, zero } = self else { return None };
        let at = |p: &[f64], k: usize| p.get(k).copied().unwrap_or(0.0);
        let only = |k: usize| {
            right.len().max(left.len()) <= 2 && [1 - k].iter().all(|&o| at(right, o) == 0.0 && at(left, o) == 0.0)
        };
        let degree = (0..2).find(|&k| only(k))?;
        Some(Homogeneous {
            degree: degree as u8,
            right: Real(at(right, degree)),
            left: Real(at(left, degree)),
            zero: Real(*zero),
        })
    }

    /// Whether a grid that knows nothing of kinks integrates it well.
    pub(crate) fn is_smooth(&self) -> bool {
        match self {
            Self::Polynomials { right, left, .. } => right == left,
            Self::Erf { .. } | Self::ErfPair { .. } | Self::Gaussian { .. } | Self::Smooth => true,
            Self::Kinked | Self::Rough => false,
        }
    }
}

/// A function of one Gaussian variable `u`, whose slots are multiples of `u`.
#[derive(Clone, Debug)]
pub(crate) struct SlotFunction {
    tape: Tape<f64>,
    /// What each input of the tape is: a multiple of `u`, or a number.
    inputs: Vec<Source>,
    pub(crate) shape: Shape,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Multiple(f64),
    Number(f64),
}

/// What makes a [`SlotFunction`]: its factors and what its leaves are.
#[derive(Clone, Debug)]
pub(crate) struct FunctionKey {
    /// Factors.
    pub(crate) factors: Vec<ExprId>,
    /// Multiples of the slots that occur.
    pub(crate) multiples: Vec<(usize, Real)>,
    /// Values of the parameters that occur.
    pub(crate) parameters: Vec<(usize, Real)>,
}

impl FunctionKey {
    fn multiple(&self, slot: usize) -> Option<f64> {
        self.multiples.iter().find(|(s, _)| *s == slot).map(|(_, c)| c.0)
    }

    fn parameter(&self, k: usize) -> Option<f64> {
        self.parameters.iter().find(|(s, _)| *s == k).map(|(_, c)| c.0)
    }
}

impl SlotFunction {
    pub(crate) fn new(graph: &Graph, key: &FunctionKey) -> Result<Self, KernelError> {
        let tape = compile(graph, &key.factors)?;
        let inputs = tape
            .inputs()
            .iter()
            .map(|(symbol, _)| match graph.leaf(*symbol) {
                Leaf::Slot(k) => key.multiple(k).map(Source::Multiple),
                Leaf::Parameter(k) => key.parameter(k).map(Source::Number),
                _ => None,
            })
            .collect::<Option<_>>()
            .ok_or_else(|| KernelError::Lower("an integrand mentions more than its slots".to_owned()))?;
        Ok(Self { tape, inputs, shape: shape(graph, key) })
    }

    /// Fills `out` with the values at `u`.
    pub(crate) fn eval(&self, u: &[f64], out: &mut [f64], scratch: &mut FunctionScratch) {
        let FunctionScratch { tape, scaled, values } = scratch;
        scaled.resize_with(self.inputs.len(), Vec::new);
        for (column, source) in scaled.iter_mut().zip(&self.inputs) {
            column.clear();
            if let Source::Multiple(c) = source {
                column.extend(u.iter().map(|x| c * x));
            }
        }
        let inputs: Vec<Input<'_, f64>> = self
            .inputs
            .iter()
            .zip(scaled.iter())
            .map(|(source, column)| match source {
                Source::Multiple(_) => Input::Batch(column),
                Source::Number(x) => Input::Scalar(*x),
            })
            .collect();
        let n = self.tape.n_roots();
        values.resize_with(n, Vec::new);
        values.iter_mut().for_each(|v| v.resize(u.len(), 0.0));
        let mut slices: Vec<&mut [f64]> = values.iter_mut().map(Vec::as_mut_slice).collect();
        self.tape.eval(&inputs, &mut slices, tape);
        out.fill(1.0);
        for factor in slices {
            out.iter_mut().zip(factor.iter()).for_each(|(o, f)| *o *= f);
        }
    }

    /// The function in the family of closed forms, if it is a polynomial on each side of zero.
    pub(crate) fn activation(&self) -> Option<Activation> {
        let Shape::Polynomials { right, left, .. } = &self.shape else { return None };
        let q = sum(right, &scaled(left, -1.0));
        Some(Activation::Rectified(Rectified::new(left, &q, &[])))
    }

    /// `E f(u)` by the general integrator.
    pub(crate) fn mean(&self, variance: f64, tolerance: &Tolerance) -> Result<Estimate, GaussError> {
        let scratch = std::cell::RefCell::new(FunctionScratch::default());
        let f = Function::new(1, |points: &[&[f64]], out: &mut [f64]| {
            self.eval(points[0], out, &mut scratch.borrow_mut());
        });
        let covariance = Covariance::new(1, vec![variance])?;
        expect(&self.with_kinks(f, 0), &covariance, tolerance)
    }

    /// `E f(u) g(v)` by the general integrator.
    pub(crate) fn dual(&self, g: &Self, [uu, uv, vv]: [f64; 3], tolerance: &Tolerance) -> Result<Estimate, GaussError> {
        let scratch = std::cell::RefCell::new((FunctionScratch::default(), Vec::new()));
        let product = Function::new(2, |points: &[&[f64]], out: &mut [f64]| {
            let (scratch, other) = &mut *scratch.borrow_mut();
            other.resize(out.len(), 0.0);
            self.eval(points[0], out, scratch);
            g.eval(points[1], other, scratch);
            out.iter_mut().zip(other.iter()).for_each(|(a, b)| *a *= b);
        });
        let covariance = Covariance::new(2, vec![uu, uv, uv, vv])?;
        let product = g.with_kinks(self.with_kinks(product, 0), 1);
        expect(&product, &covariance, tolerance)
    }

    fn with_kinks<F: Fn(&[&[f64]], &mut [f64])>(&self, f: Function<F>, slot: usize) -> Function<F> {
        match &self.shape {
            shape if shape.is_smooth() => f,
            Shape::Rough => f.not_smooth(),
            _ => f.with_kinks(slot, &[0.0]),
        }
    }
}

/// Memory for [`SlotFunction::eval`].
#[derive(Debug, Default)]
pub(crate) struct FunctionScratch {
    tape: Scratch<f64>,
    scaled: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
}

/// An integrand of any number of slots, with parameters.
#[derive(Clone, Debug)]
pub(crate) struct General {
    tape: Tape<f64>,
    leaves: Vec<Leaf>,
    pub(crate) slots: usize,
    kinks: Vec<bool>,
    rough: bool,
}

impl General {
    pub(crate) fn new(graph: &Graph, integrand: ExprId, slots: usize) -> Result<Self, KernelError> {
        let tape = compile(graph, &[integrand])?;
        let leaves = tape.inputs().iter().map(|(symbol, _)| graph.leaf(*symbol)).collect();
        let mut kinks = vec![false; slots];
        let mut rough = false;
        for kink in kinks_of(graph, &[integrand]) {
            match kink {
                Some(slot) => kinks[slot] = true,
                None => rough = true,
            }
        }
        Ok(Self { tape, leaves, slots, kinks, rough })
    }

    /// The expectation: `args` are the lower triangle of the covariance and then the parameters.
    pub(crate) fn expect(&self, args: &[f64], tolerance: &Tolerance) -> Result<Estimate, GaussError> {
        let n = self.slots;
        let entry = |i: usize, j: usize| args[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)];
        let parameters = &args[n * (n + 1) / 2..];
        let covariance = Covariance::new(n, (0..n * n).map(|k| entry(k / n, k % n)).collect())?;
        let scratch = std::cell::RefCell::new(Scratch::default());
        let mut f = Function::new(n, |points: &[&[f64]], out: &mut [f64]| {
            let inputs: Vec<Input<'_, f64>> = self
                .leaves
                .iter()
                .map(|leaf| match leaf {
                    Leaf::Slot(k) => Input::Batch(points[*k]),
                    Leaf::Parameter(k) => Input::Scalar(parameters[*k]),
                    _ => Input::Scalar(f64::NAN),
                })
                .collect();
            self.tape.eval(&inputs, &mut [out], &mut scratch.borrow_mut());
        });
        for (slot, &kink) in self.kinks.iter().enumerate() {
            if kink {
                f = f.with_kinks(slot, &[0.0]);
            }
        }
        if self.rough {
            f = f.not_smooth();
        }
        expect(&f, &covariance, tolerance)
    }
}

fn compile(graph: &Graph, roots: &[ExprId]) -> Result<Tape<f64>, KernelError> {
    let setting = Setting::new(&graph.pool, &Numeric);
    let roots: Vec<(ExprId, &[netsor_ir::Index])> = roots.iter().map(|&e| (e, &[][..])).collect();
    Tape::compile(&setting, &roots).map_err(|e| KernelError::Lower(e.to_string()))
}

/// Names for expressions such that two have the same one if they are the same function of `u`.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    known: FxHashMap<(String, Vec<u32>), u32>,
}

impl Forms {
    /// The names of the factors of a function, sorted.
    pub(crate) fn of(&mut self, graph: &Graph, key: &FunctionKey) -> Vec<u32> {
        let mut names: Vec<u32> = key.factors.iter().map(|&f| self.name(graph, key, f)).collect();
        names.sort_unstable();
        names
    }

    fn name(&mut self, graph: &Graph, key: &FunctionKey, root: ExprId) -> u32 {
        let mut order = Vec::new();
        let mut seen = FxHashSet::default();
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            if seen.insert(id) {
                order.push(id);
                for_each_child(graph.pool.node(id), |child| stack.push(child));
            }
        }
        // Children have smaller ids than their parents.
        order.sort_unstable();
        let mut done: FxHashMap<ExprId, u32> = FxHashMap::default();
        for id in order {
            let node = graph.pool.node(id);
            let mut children = Vec::new();
            for_each_child(node, |child| children.push(done[&child]));
            let tag = match node {
                Expr::Ref(symbol, _) => match graph.leaf(*symbol) {
                    Leaf::Slot(k) => format!("u {:?}", key.multiple(k)),
                    Leaf::Parameter(k) => format!("c {:?}", key.parameter(k)),
                    _ => format!("leaf {}", symbol.0),
                },
                Expr::Add(..) | Expr::Mul(..) => {
                    children.sort_unstable();
                    if matches!(node, Expr::Add(..)) { "+".to_owned() } else { "*".to_owned() }
                }
                Expr::Neg(_) => "neg".to_owned(),
                Expr::Sub(..) => "-".to_owned(),
                Expr::Div(..) => "/".to_owned(),
                Expr::Pow(_, p) => format!("^ {p}"),
                Expr::Apply(func, _) => func.name().to_owned(),
                other => format!("{other:?}"),
            };
            let next = self.known.len() as u32;
            done.insert(id, *self.known.entry((tag, children)).or_insert(next));
        }
        done[&root]
    }
}

/// The slots that an expression mentions, sorted.
pub(crate) fn slots_of(graph: &Graph, id: ExprId) -> Vec<usize> {
    leaves_of(graph, id, |leaf| match leaf {
        Leaf::Slot(k) => Some(k),
        _ => None,
    })
}

/// The parameters that an expression mentions, sorted.
pub(crate) fn parameters_of(graph: &Graph, id: ExprId) -> Vec<usize> {
    leaves_of(graph, id, |leaf| match leaf {
        Leaf::Parameter(k) => Some(k),
        _ => None,
    })
}

fn leaves_of(graph: &Graph, id: ExprId, select: impl Fn(Leaf) -> Option<usize>) -> Vec<usize> {
    let mut found = Vec::new();
    graph.pool.visit(id, &mut |node| {
        if let Expr::Ref(symbol, _) = node {
            found.extend(select(graph.leaf(*symbol)));
        }
    });
    found.sort_unstable();
    found.dedup();
    found
}

/// The factors of a product, and its sign.
pub(crate) fn factors(graph: &Graph, id: ExprId) -> (Vec<ExprId>, f64) {
    let (mut factors, mut sign) = (Vec::new(), 1.0);
    let mut stack = vec![id];
    while let Some(id) = stack.pop() {
        match *graph.pool.node(id) {
            Expr::Mul(a, b) => stack.extend([b, a]),
            Expr::Neg(a) => {
                sign = -sign;
                stack.push(a);
            }
            _ => factors.push(id),
        }
    }
    (factors, sign)
}

/// Where the expressions are not smooth: at zero of a slot, or (`None`) somewhere else.
fn kinks_of(graph: &Graph, roots: &[ExprId]) -> Vec<Option<usize>> {
    let mut kinks = Vec::new();
    for &root in roots {
        graph.pool.visit(root, &mut |node| {
            let Expr::Apply(func, args) = node else { return };
            if func.facts().smoothness == Smoothness::Smooth {
                return;
            }
            let slot = match graph.pool.node(args[0]) {
                Expr::Ref(symbol, _) => match graph.leaf(*symbol) {
                    Leaf::Slot(k) => Some(k),
                    _ => None,
                },
                _ => None,
            };
            let against_zero = !matches!(func, Func::Max | Func::Min) || graph.pool.is_zero(args[args.len() - 1]);
            if args.iter().any(|&a| !slots_of(graph, a).is_empty()) {
                kinks.push(slot.filter(|_| against_zero));
            }
        });
    }
    kinks
}

fn shape(graph: &Graph, key: &FunctionKey) -> Shape {
    let reader = Reader { graph, key };
    let all = key.factors.iter().map(|&f| reader.sides(f)).collect::<Option<Vec<_>>>();
    if let Some([right, left, zero]) = all.and_then(product) {
        return Shape::Polynomials { right, left, zero: zero.first().copied().unwrap_or(0.0) };
    }
    if let Some(shape) = reader.bell(&key.factors) {
        return shape;
    }
    match &kinks_of(graph, &key.factors)[..] {
        [] => Shape::Smooth,
        kinks if kinks.iter().all(Option::is_some) => Shape::Kinked,
        _ => Shape::Rough,
    }
}

/// Polynomials for positive and for negative arguments, and the value at zero as a polynomial of degree 0.
type Sides = [Vec<f64>; 3];

/// An operation on polynomials.
type Binary<'a> = &'a dyn Fn(&[f64], &[f64]) -> Vec<f64>;

fn product(all: Vec<Sides>) -> Option<Sides> {
    all.into_iter().try_fold([vec![1.0], vec![1.0], vec![1.0]], |a, b| {
        let sides = [0, 1, 2].map(|k| multiplied(&a[k], &b[k]));
        (sides[0].len().max(sides[1].len()) <= MAX_TERMS).then_some(sides)
    })
}

/// Reads functions of `u` structurally. It only makes things faster: what it does not recognise is integrated.
struct Reader<'a> {
    graph: &'a Graph,
    key: &'a FunctionKey,
}

impl Reader<'_> {
    fn sides(&self, id: ExprId) -> Option<Sides> {
        let both = |p: Vec<f64>| {
            let zero = p.iter().take(1).copied().collect();
            Some([p.clone(), p, zero])
        };
        let zip = |a: &Sides, b: &Sides, f: Binary<'_>| [0, 1, 2].map(|k| f(&a[k], &b[k]));
        match self.graph.pool.node(id) {
            Expr::Const(value) => both(trimmed(vec![to_f64(value)])),
            Expr::Pi => both(vec![std::f64::consts::PI]),
            Expr::Ref(symbol, _) => match self.graph.leaf(*symbol) {
                Leaf::Slot(k) => both(trimmed(vec![0.0, self.key.multiple(k)?])),
                Leaf::Parameter(k) => both(trimmed(vec![self.key.parameter(k)?])),
                _ => None,
            },
            Expr::Neg(a) => Some(self.sides(*a)?.map(|p| scaled(&p, -1.0))),
            Expr::Add(a, b) => Some(zip(&self.sides(*a)?, &self.sides(*b)?, &sum)),
            Expr::Sub(a, b) => Some(zip(&self.sides(*a)?, &self.sides(*b)?, &|p, q| sum(p, &scaled(q, -1.0)))),
            Expr::Mul(a, b) => {
                let product = zip(&self.sides(*a)?, &self.sides(*b)?, &multiplied);
                product.iter().all(|p| p.len() <= MAX_TERMS).then_some(product)
            }
            Expr::Div(a, b) => {
                let divisor = self.number(*b)?;
                Some(self.sides(*a)?.map(|p| p.iter().map(|c| c / divisor).collect()))
            }
            Expr::Pow(a, p) if p.is_integer() && (0..=8).contains(p.numer()) => {
                let base = self.sides(*a)?;
                product(vec![base; *p.numer() as usize])
            }
            Expr::Pow(a, p) => both(vec![self.number(*a)?.powf(power_to_f64(*p))]),
            Expr::Apply(func, args) => {
                let inner = self.sides(args[0])?;
                let (Some(c), true) = (multiple(&inner[0]), inner[0] == inner[1]) else { return None };
                // The function for positive and for negative arguments of its own.
                let [mut right, mut left, zero] = match func {
                    Func::Relu => [vec![0.0, c], vec![], vec![]],
                    Func::Step => [vec![1.0], vec![], vec![]],
                    Func::Sign => [vec![1.0], vec![-1.0], vec![]],
                    Func::Abs => [vec![0.0, c], vec![0.0, -c], vec![]],
                    Func::LeakyRelu => {
                        let slope = self.number(args[1])?;
                        [vec![0.0, c], vec![0.0, slope * c], vec![]]
                    }
                    Func::Max if self.number(args[1])? == 0.0 => [vec![0.0, c], vec![], vec![]],
                    Func::Min if self.number(args[1])? == 0.0 => [vec![], vec![0.0, c], vec![]],
                    _ => return None,
                };
                if c < 0.0 {
                    std::mem::swap(&mut right, &mut left);
                }
                Some([trimmed(right), trimmed(left), zero])
            }
            Expr::Width(_) | Expr::Table(..) | Expr::Sum(_) => None,
        }
    }

    /// The value of a constant.
    fn number(&self, id: ExprId) -> Option<f64> {
        let [right, left, _] = self.sides(id)?;
        match (&right[..], &left[..]) {
            ([], []) => Some(0.0),
            ([a], [b]) if a == b => Some(*a),
            _ => None,
        }
    }

    /// A multiple of one error function or of Gaussians.
    fn bell(&self, factors: &[ExprId]) -> Option<Shape> {
        let (mut scale, mut exponent, mut rates) = (1.0, 0.0, Vec::new());
        for &factor in factors {
            let node = self.graph.pool.node(factor);
            if let Some(c) = self.number(factor) {
                scale *= c;
            } else if let Expr::Apply(Func::Erf, args) = node {
                let rate = multiple(&self.sides(args[0])?[0])?;
                rates.push(rate);
            } else if let Expr::Apply(Func::Exp, args) = node {
                let [p, q, _] = self.sides(args[0])?;
                let [c, linear, square] = p[..] else { return None };
                if p != q || linear != 0.0 || 0.0 <= square {
                    return None;
                }
                scale *= netsor_num::special::exp(c);
                exponent -= square;
            } else {
                return None;
            }
        }
        match rates[..] {
            [rate] if exponent == 0.0 => Some(Shape::Erf { scale, rate }),
            [a, b] if exponent == 0.0 => Some(Shape::ErfPair { scale, rates: [a, b] }),
            [] if 0.0 < exponent => Some(Shape::Gaussian { scale, rate: exponent }),
            _ => None,
        }
    }
}

/// `c` if the polynomial is `c u` with `c` other than 0.
fn multiple(p: &[f64]) -> Option<f64> {
    match p {
        [zero, c] if *zero == 0.0 && *c != 0.0 => Some(*c),
        _ => None,
    }
}

fn trimmed(mut p: Vec<f64>) -> Vec<f64> {
    while p.last() == Some(&0.0) {
        p.pop();
    }
    p
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    let at = |p: &[f64], k: usize| p.get(k).copied().unwrap_or(0.0);
    trimmed((0..a.len().max(b.len())).map(|k| at(a, k) + at(b, k)).collect())
}

fn scaled(p: &[f64], c: f64) -> Vec<f64> {
    trimmed(p.iter().map(|x| c * x).collect())
}

fn multiplied(a: &[f64], b: &[f64]) -> Vec<f64> {
    if a.is_empty() || b.is_empty() {
        return Vec::new();
    }
    let mut product = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            product[i + j] += x * y;
        }
    }
    trimmed(product)
}

/// The numerical functions behind the names of the language.
struct Numeric;

impl Functions<f64> for Numeric {
    fn unary(&self, name: &str) -> Option<fn(f64) -> f64> {
        netsor_num::functions::unary(name)
    }
    fn binary(&self, name: &str) -> Option<fn(f64, f64) -> f64> {
        netsor_num::functions::binary(name)
    }
    fn power(&self) -> fn(f64, f64) -> f64 {
        <f64 as netsor_num::Real>::powf
    }
}
