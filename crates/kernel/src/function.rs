//! Integrands: what a factor of one Gaussian variable is, and how it is evaluated.

use netsor_gauss::dual::{Activation, Dual};
use netsor_gauss::{Covariance, Estimate, Function, GaussError, Tolerance, expect};
use netsor_ir::expr::{Expr, ExprId, for_each_child};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::tape::{Functions, Input, Scratch, Setting, Tape};
use netsor_limit::Graph;
use netsor_limit::closed_form::{self, Leaves, slots_of};
use netsor_limit::graph::Leaf;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::KernelError;
use crate::plan::{Homogeneous, Real};

/// What is known of a function of one variable.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// With closed forms.
    Closed(closed_form::Function),
    /// Smooth.
    Smooth,
    /// With a kink or a jump at zero.
    Kinked,
    /// Not smooth somewhere else.
    Rough,
}

impl Shape {
    /// The function as a member of one of the families of closed forms.
    pub(crate) fn activation(&self) -> Option<&Activation> {
        match self {
            Self::Closed(closed_form::Function::Single(f)) => Some(f),
            _ => None,
        }
    }

    /// A power of degree 0 or 1 on each side.
    pub(crate) fn homogeneous(&self) -> Option<Homogeneous> {
        let Activation::Rectified(f) = self.activation()? else { return None };
        let (right, left) = f.sides();
        let at = |p: &[f64], k: usize| p.get(k).copied().unwrap_or(0.0);
        let only = |k: usize| right.len() <= 2 && at(&right, 1 - k) == 0.0 && at(&left, 1 - k) == 0.0;
        let degree = (0..2).find(|&k| only(k))?;
        Some(Homogeneous {
            degree: degree as u8,
            right: Real(at(&right, degree)),
            left: Real(at(&left, degree)),
            zero: Real(f.eval(0.0)),
        })
    }

    /// Whether a grid that knows nothing of kinks integrates it well.
    pub(crate) fn is_smooth(&self) -> bool {
        match self {
            Self::Closed(closed_form::Function::Single(f)) => f.is_smooth(),
            Self::Closed(closed_form::Function::Product(f, g)) => f.is_smooth() && g.is_smooth(),
            Self::Smooth => true,
            Self::Kinked | Self::Rough => false,
        }
    }

    /// Whether it is smooth away from zero.
    pub(crate) fn is_smooth_on_each_side(&self) -> bool {
        !matches!(self, Self::Rough)
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

    /// The closed form of `E f(u) g(v)`.
    pub(crate) fn closed(&self, g: &Self) -> Option<Dual> {
        Dual::new(self.shape.activation()?, g.shape.activation()?)
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
        if self.rough {
            // Kinks are declared all or none.
            f = f.not_smooth();
        } else {
            for slot in (0..n).filter(|&slot| self.kinks[slot]) {
                f = f.with_kinks(slot, &[0.0]);
            }
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
    let leaves = Leaves { multiple: &|k| key.multiple(k), parameter: &|k| key.parameter(k) };
    if let Some(function) = closed_form::read(graph, &key.factors, leaves) {
        return Shape::Closed(function);
    }
    match &kinks_of(graph, &key.factors)[..] {
        [] => Shape::Smooth,
        kinks if kinks.iter().all(Option::is_some) => Shape::Kinked,
        _ => Shape::Rough,
    }
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
