//! Integrands: what a factor of one Gaussian variable is, and how it is evaluated.

use std::sync::{Arc, Mutex};

use netsor_gauss::dual::{Activation, Dual};
use netsor_gauss::{Covariance, Estimate, Function, GaussError, Part, Tolerance, expect, expect_product};
use netsor_ir::expr::{Expr, ExprId, for_each_child};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::tape::{Functions, Input, Scratch, Setting, Tape};
use netsor_limit::Graph;
use netsor_limit::closed_form::{self, Leaves, slots_of};
use netsor_limit::graph::Leaf;
use netsor_limit::landmarks::{Arguments, Binding, Found};
use rustc_hash::FxHashMap;

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
    arguments: Arguments,
    bindings: Vec<Binding>,
    /// Where it bends or varies quickly, by the power of two that the deviation is up to.
    found: Arc<Mutex<FxHashMap<i32, Arc<Found>>>>,
}

/// Deviations within which places are looked for.
const RANGE: f64 = 16.0;

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
        let arguments = Arguments::new(graph, &key.factors, &[])?;
        let bindings = arguments.bind(graph, |leaf| match leaf {
            Leaf::Slot(k) => key.multiple(k).map(Binding::Multiple),
            Leaf::Parameter(k) => key.parameter(k).map(Binding::Number),
            _ => None,
        });
        Ok(Self { tape, inputs, shape: shape(graph, key), arguments, bindings, found: Arc::default() })
    }

    /// Where the function bends or varies quickly, for this deviation of `u`.
    fn places(&self, sd: f64) -> Arc<Found> {
        if !(0.0 < sd && sd.is_finite()) {
            return Arc::default();
        }
        let exponent = sd.log2().ceil() as i32;
        let find = || Arc::new(self.arguments.find(RANGE * 2f64.powi(exponent), &self.bindings));
        match self.found.lock() {
            Ok(mut known) => known.entry(exponent).or_insert_with(find).clone(),
            Err(_) => find(),
        }
    }

    /// Whether rules for functions that are smooth on each side of zero, and vary on no length far below the deviation,
    /// will do.
    pub(crate) fn is_plain(&self, sd: f64) -> bool {
        let places = self.places(sd);
        self.shape.is_smooth_on_each_side() && !places.landmarks.iter().any(|l| l.narrow(sd))
    }

    /// The function for the general integrator.
    fn integrand(&self, sd: f64) -> Function<impl Fn(&[&[f64]], &mut [f64])> {
        let scratch = std::cell::RefCell::new(FunctionScratch::default());
        let f = Function::new(1, move |points: &[&[f64]], out: &mut [f64]| {
            self.eval(points[0], out, &mut scratch.borrow_mut());
        });
        let places = self.places(sd);
        let f = f.with_landmarks(0, &places.landmarks);
        match &places.kinks[..] {
            _ if places.more => f.not_smooth(),
            [] => f,
            kinks => f.with_kinks(0, kinks),
        }
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
        expect(&self.integrand(variance.sqrt()), &Covariance::new(1, vec![variance])?, tolerance)
    }

    /// `E f(u) g(v)` by the general integrator.
    pub(crate) fn dual(&self, g: &Self, [uu, uv, vv]: [f64; 3], tolerance: &Tolerance) -> Result<Estimate, GaussError> {
        let covariance = Covariance::new(2, vec![uu, uv, uv, vv])?;
        let (f, g) = (self.integrand(uu.sqrt()), g.integrand(vv.sqrt()));
        let parts = [Part { slots: vec![0], function: &f }, Part { slots: vec![1], function: &g }];
        expect_product(&parts, &covariance, tolerance)
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
    /// Arguments that depend on one slot, a list for each.
    arguments: Vec<Arguments>,
    arguments_leaves: Vec<Vec<Leaf>>,
    /// Whether it has kinks in several slots together.
    rough: bool,
}

impl General {
    pub(crate) fn new(graph: &Graph, integrand: ExprId, slots: usize) -> Result<Self, KernelError> {
        let tape = compile(graph, &[integrand])?;
        let leaves = tape.inputs().iter().map(|(symbol, _)| graph.leaf(*symbol)).collect();
        let arguments: Vec<Arguments> =
            (0..slots).map(|slot| Arguments::new(graph, &[integrand], &[slot])).collect::<Result<_, _>>()?;
        let arguments_leaves = arguments.iter().map(|a| a.leaves(graph)).collect();
        let rough = kinks_of(graph, &[integrand]).contains(&Kink::OfMany);
        Ok(Self { tape, leaves, slots, arguments, arguments_leaves, rough })
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
        let mut hidden = self.rough;
        for slot in 0..n {
            let bind = |leaf: &Leaf| match leaf {
                Leaf::Slot(k) if *k == slot => Binding::Multiple(1.0),
                Leaf::Parameter(k) => Binding::Number(parameters[*k]),
                _ => Binding::Number(0.0),
            };
            let bindings: Vec<Binding> = self.arguments_leaves[slot].iter().map(bind).collect();
            let found = self.arguments[slot].find(RANGE * entry(slot, slot).max(0.0).sqrt(), &bindings);
            hidden |= found.more;
            f = f.with_landmarks(slot, &found.landmarks);
            if !hidden && !found.kinks.is_empty() {
                f = f.with_kinks(slot, &found.kinks);
            }
        }
        if hidden {
            // Kinks are declared all or none.
            for slot in 0..n {
                f = f.with_kinks(slot, &[]);
            }
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
        let mut done: FxHashMap<ExprId, u32> = FxHashMap::default();
        for id in graph.pool.reachable(root) {
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

/// Where an expression is not smooth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kink {
    /// Where a slot is zero.
    AtZero,
    /// Elsewhere, where a function of one slot is zero.
    OfOne,
    /// Where a function of several slots is zero.
    OfMany,
}

fn kinks_of(graph: &Graph, roots: &[ExprId]) -> Vec<Kink> {
    let mut kinks = Vec::new();
    for &root in roots {
        graph.pool.visit(root, &mut |node| {
            let Expr::Apply(func, args) = node else { return };
            if func.facts().smoothness == Smoothness::Smooth {
                return;
            }
            let is_slot = match graph.pool.node(args[0]) {
                Expr::Ref(symbol, _) => matches!(graph.leaf(*symbol), Leaf::Slot(_)),
                _ => false,
            };
            let against_zero = !matches!(func, Func::Max | Func::Min) || graph.pool.is_zero(args[args.len() - 1]);
            let mut slots: Vec<usize> = args.iter().flat_map(|&a| slots_of(graph, a)).collect();
            slots.sort_unstable();
            slots.dedup();
            match slots[..] {
                [] => {}
                [_] if is_slot && against_zero => kinks.push(Kink::AtZero),
                [_] => kinks.push(Kink::OfOne),
                _ => kinks.push(Kink::OfMany),
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
        kinks if kinks.iter().all(|k| *k == Kink::AtZero) => Shape::Kinked,
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
