//! Integrands as functions that the integrals of [`netsor_gauss`] take: compiled, with the places where they are not
//! smooth.

use std::cell::RefCell;

use netsor_gauss::Integrand;
use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::tape::{Functions, Input, Scratch, Setting, SliceFunction, Tape};
use smallvec::SmallVec;

use crate::closed_form::slots_of;
use crate::error::LimitError;
use crate::graph::{Graph, Leaf};

/// An integrand as a product of factors.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// 1 or -1, in front.
    pub(super) sign: f64,
    pub(super) factors: Vec<CompiledFactor>,
}

/// A factor of an integrand, ready for batches.
#[derive(Clone, Debug)]
pub(super) struct CompiledFactor {
    /// The factor itself.
    pub(super) expr: ExprId,
    tape: Tape<f64>,
    /// The slots that it depends on.
    pub(super) slots: Vec<usize>,
    /// Arguments of functions with a kink or jump at zero.
    kinks: Vec<Kink>,
}

/// The argument of a function with a kink or jump at zero.
#[derive(Clone, Debug)]
struct Kink {
    tape: Tape<f64>,
    /// The place, among the factor's slots, of the one slot that it is an affine function of.
    threshold: Option<usize>,
}

impl CompiledFactor {
    /// Compiles a factor of an integrand of `graph`.
    ///
    /// # Errors
    /// If it is too large for a tape.
    pub(super) fn new(graph: &Graph, factor: ExprId) -> Result<Self, LimitError> {
        let slots = slots_of(graph, factor);
        let compile = |expr: ExprId| {
            let setting = Setting::new(&graph.pool, &Numeric);
            Tape::compile(&setting, &[(expr, &[])]).map_err(|e| LimitError::Tape(e.to_string()))
        };
        let mut kinks = Vec::new();
        for (argument, subtracted) in kink_arguments(graph, factor) {
            let of = |expr: ExprId| affine_in(graph, expr);
            let setting = Setting::new(&graph.pool, &Numeric);
            let (tape, slot) = match subtracted {
                None => (compile(argument)?, of(argument)),
                Some(second) => {
                    // The two arguments of a maximum: their difference.
                    let roots: [(ExprId, &[_]); 2] = [(argument, &[]), (second, &[])];
                    let tape = Tape::compile(&setting, &roots).map_err(|e| LimitError::Tape(e.to_string()))?;
                    let slot = match (of(argument), of(second)) {
                        (Affine::In(k), Affine::Constant) | (Affine::Constant, Affine::In(k)) => Affine::In(k),
                        (Affine::In(k), Affine::In(l)) if k == l => Affine::In(k),
                        (Affine::Constant, Affine::Constant) => Affine::Constant,
                        _ => Affine::No,
                    };
                    (tape, slot)
                }
            };
            let threshold = match slot {
                // A constant that happens to be at the kink is there for every value of the slots.
                Affine::Constant => continue,
                Affine::In(k) => slots.iter().position(|&slot| slot == k),
                Affine::No => None,
            };
            kinks.push(Kink { tape, threshold });
        }
        Ok(Self { expr: factor, tape: compile(factor)?, slots, kinks })
    }

    /// The function of the factor's slots for given values of the parameters.
    pub(super) fn function<'a>(&'a self, graph: &'a Graph, parameters: &'a [f64]) -> FactorFunction<'a> {
        let mut function = FactorFunction {
            factor: self,
            graph,
            parameters,
            thresholds: vec![Vec::new(); self.slots.len()],
            surfaces: Vec::new(),
            smooth: true,
            scratch: RefCell::default(),
        };
        for kink in &self.kinks {
            let Some(slot) = kink.threshold else {
                function.surfaces.push(kink);
                function.smooth = false;
                continue;
            };
            // An affine function of the slot, by its values at 0 and 1.
            let points = [0.0, 1.0];
            let columns: SmallVec<[&[f64]; 8]> = self.slots.iter().map(|_| &points[..]).collect();
            let mut values = [0.0; 2];
            function.run(&kink.tape, &columns, &mut values);
            let [at_zero, at_one] = values;
            if at_one != at_zero {
                function.thresholds[slot].push(-at_zero / (at_one - at_zero));
                function.smooth = false;
            }
        }
        for thresholds in &mut function.thresholds {
            thresholds.sort_by(f64::total_cmp);
            thresholds.dedup();
        }
        function
    }
}

/// A factor with numbers for its parameters.
pub(super) struct FactorFunction<'a> {
    factor: &'a CompiledFactor,
    graph: &'a Graph,
    parameters: &'a [f64],
    /// Where each slot has kinks.
    thresholds: Vec<Vec<f64>>,
    /// Kinks elsewhere.
    surfaces: Vec<&'a Kink>,
    smooth: bool,
    scratch: RefCell<Scratch<f64>>,
}

impl FactorFunction<'_> {
    /// The value of a tape at points of the factor's slots; of two roots their difference.
    fn run(&self, tape: &Tape<f64>, points: &[&[f64]], out: &mut [f64]) {
        let inputs: SmallVec<[Input<'_, f64>; 8]> = tape
            .inputs()
            .iter()
            .map(|(symbol, _)| match self.graph.leaf(*symbol) {
                Leaf::Slot(k) => self
                    .factor
                    .slots
                    .iter()
                    .position(|&slot| slot == k)
                    .map_or(Input::Scalar(f64::NAN), |at| Input::Batch(points[at])),
                Leaf::Parameter(k) => Input::Scalar(self.parameters.get(k).copied().unwrap_or(f64::NAN)),
                _ => Input::Scalar(f64::NAN),
            })
            .collect();
        let scratch = &mut self.scratch.borrow_mut();
        if tape.n_roots() == 2 {
            let mut second = vec![0.0; out.len()];
            tape.eval(&inputs, &mut [&mut *out, &mut second], scratch);
            out.iter_mut().zip(&second).for_each(|(a, b)| *a -= b);
        } else {
            tape.eval(&inputs, &mut [out], scratch);
        }
    }
}

impl Integrand for FactorFunction<'_> {
    fn slots(&self) -> usize {
        self.factor.slots.len()
    }

    fn eval(&self, points: &[&[f64]], out: &mut [f64]) {
        self.run(&self.factor.tape, points, out);
    }

    fn kinks(&self, slot: usize) -> &[f64] {
        &self.thresholds[slot]
    }

    fn surfaces(&self) -> usize {
        self.surfaces.len()
    }

    fn surface(&self, surface: usize, points: &[&[f64]], out: &mut [f64]) {
        self.run(&self.surfaces[surface].tape, points, out);
    }

    fn smooth(&self) -> bool {
        self.smooth
    }
}

/// What is under every function of `expr` that is not smooth at zero of it; of maxima and minima both arguments.
fn kink_arguments(graph: &Graph, expr: ExprId) -> Vec<(ExprId, Option<ExprId>)> {
    let mut found = Vec::new();
    graph.pool.visit(expr, &mut |node| {
        let Expr::Apply(func, args) = node else { return };
        if func.facts().smoothness == Smoothness::Smooth {
            return;
        }
        let argument = match func {
            Func::Max | Func::Min => (args[0], Some(args[1])),
            _ => (args[0], None),
        };
        if !found.contains(&argument) {
            found.push(argument);
        }
    });
    found
}

/// How an expression depends on slots.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Affine {
    Constant,
    In(usize),
    No,
}

/// Whether an expression is an affine function of one slot.
fn affine_in(graph: &Graph, expr: ExprId) -> Affine {
    match slots_of(graph, expr)[..] {
        [] => return Affine::Constant,
        [_] => {}
        _ => return Affine::No,
    }
    let of = |id: ExprId| affine_in(graph, id);
    match *graph.pool.node(expr) {
        Expr::Ref(symbol, _) => match graph.leaf(symbol) {
            Leaf::Slot(k) => Affine::In(k),
            _ => Affine::Constant,
        },
        Expr::Neg(a) => of(a),
        Expr::Add(a, b) | Expr::Sub(a, b) => match (of(a), of(b)) {
            (Affine::Constant, x) | (x, Affine::Constant) => x,
            (Affine::In(k), Affine::In(_)) => Affine::In(k),
            _ => Affine::No,
        },
        Expr::Mul(a, b) => match (of(a), of(b)) {
            (Affine::Constant, x) | (x, Affine::Constant) => x,
            _ => Affine::No,
        },
        Expr::Div(a, b) if of(b) == Affine::Constant => of(a),
        _ => Affine::No,
    }
}

/// The numerical functions behind the names of the language.
pub(super) struct Numeric;

impl Functions<f64> for Numeric {
    fn unary(&self, name: &str) -> Option<fn(f64) -> f64> {
        netsor_num::functions::unary(name)
    }
    fn unary_slice(&self, name: &str) -> Option<SliceFunction<f64>> {
        netsor_num::functions::unary_slice(name)
    }
    fn binary(&self, name: &str) -> Option<fn(f64, f64) -> f64> {
        netsor_num::functions::binary(name)
    }
    fn power(&self) -> fn(f64, f64) -> f64 {
        <f64 as netsor_num::Real>::powf
    }
}
