//! Integrands as functions that the integrals of [`netsor_gauss`] take: compiled, with the places where they are not
//! smooth.

use std::cell::RefCell;

use netsor_gauss::{Integrand, Landmark};
use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::tape::{Input, Scratch, Setting, Tape};
use smallvec::SmallVec;

use crate::closed_form::slots_of;
use crate::error::LimitError;
use crate::graph::{Graph, Leaf};
pub(super) use crate::landmarks::Numeric;
use crate::landmarks::{Arguments, Binding, Change, varying};

/// Landmarks are looked for up to so many standard deviations.
const RANGE: f64 = 16.0;

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
    /// Arguments of nonlinear functions that depend on one slot, a list for each.
    arguments: Vec<Arguments>,
    /// Arguments of several slots of functions with a kink or jump at zero.
    surfaces: Vec<Tape<f64>>,
    /// Arguments of several slots around which the factor, though smooth, may vary quickly.
    smooth_arguments: Vec<(Tape<f64>, Change)>,
    /// Those of one slot, which are surfaces if they have too many roots.
    kinks: Vec<(usize, Tape<f64>)>,
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
        let (mut surfaces, mut kinks) = (Vec::new(), Vec::new());
        for (argument, subtracted) in kink_arguments(graph, factor) {
            let mut of = slots_of(graph, argument);
            let setting = Setting::new(&graph.pool, &Numeric);
            let tape = match subtracted {
                None => compile(argument)?,
                Some(second) => {
                    // The two arguments of a maximum: their difference.
                    of.extend(slots_of(graph, second));
                    of.sort_unstable();
                    of.dedup();
                    let roots: [(ExprId, &[_]); 2] = [(argument, &[]), (second, &[])];
                    Tape::compile(&setting, &roots).map_err(|e| LimitError::Tape(e.to_string()))?
                }
            };
            match of[..] {
                // A constant that happens to be at the kink is there for every value of the slots.
                [] => {}
                [slot] => kinks.push((slots.iter().position(|&s| s == slot).unwrap_or(0), tape)),
                _ => surfaces.push(tape),
            }
        }
        let mut smooth_arguments = Vec::new();
        for (argument, change) in varying_arguments(graph, factor) {
            if 1 < slots_of(graph, argument).len() {
                smooth_arguments.push((compile(argument)?, change));
            }
        }
        let arguments =
            slots.iter().map(|&slot| Arguments::new(graph, &[factor], &[slot])).collect::<Result<_, _>>()?;
        Ok(Self { expr: factor, tape: compile(factor)?, slots, arguments, surfaces, smooth_arguments, kinks })
    }

    /// The function of the factor's slots for given values of the parameters and standard deviations of the slots.
    pub(super) fn function<'a>(
        &'a self,
        graph: &'a Graph,
        parameters: &'a [f64],
        deviations: &[f64],
    ) -> FactorFunction<'a> {
        let mut surfaces: Vec<&Tape<f64>> = self.surfaces.iter().collect();
        let (mut thresholds, mut landmarks) = (Vec::new(), Vec::new());
        for ((place, (arguments, own)), deviation) in self.arguments.iter().zip(&self.slots).enumerate().zip(deviations)
        {
            let bind = |leaf: Leaf| match leaf {
                Leaf::Slot(k) if k == *own => Some(Binding::Multiple(1.0)),
                Leaf::Parameter(k) => parameters.get(k).copied().map(Binding::Number),
                _ => None,
            };
            let found = arguments.find(RANGE * deviation, &arguments.bind(graph, bind));
            if found.more {
                surfaces.extend(self.kinks.iter().filter(|(at, _)| *at == place).map(|(_, tape)| tape));
            }
            thresholds.push(found.kinks);
            landmarks.push(found.landmarks);
        }
        let smooth = surfaces.is_empty() && thresholds.iter().all(Vec::is_empty);
        FactorFunction {
            factor: self,
            graph,
            parameters,
            thresholds,
            landmarks,
            surfaces,
            smooth,
            scratch: RefCell::default(),
        }
    }
}

/// A factor with numbers for its parameters.
pub(super) struct FactorFunction<'a> {
    factor: &'a CompiledFactor,
    graph: &'a Graph,
    parameters: &'a [f64],
    /// Where each slot has kinks.
    thresholds: Vec<Vec<f64>>,
    landmarks: Vec<Vec<Landmark>>,
    /// Kinks elsewhere.
    surfaces: Vec<&'a Tape<f64>>,
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

    fn landmarks(&self, slot: usize) -> &[Landmark] {
        &self.landmarks[slot]
    }

    fn surfaces(&self) -> usize {
        self.surfaces.len()
    }

    fn surface(&self, surface: usize, points: &[&[f64]], out: &mut [f64]) {
        self.run(self.surfaces[surface], points, out);
    }

    fn arguments(&self) -> usize {
        self.factor.smooth_arguments.len()
    }

    fn argument(&self, argument: usize, points: &[&[f64]], out: &mut [f64]) {
        let (tape, change) = &self.factor.smooth_arguments[argument];
        self.run(tape, points, out);
        if *change == Change::Own {
            // What changes with the order of its argument changes by one with its logarithm.
            out.iter_mut().for_each(|x| *x = netsor_num::special::ln(x.abs().max(f64::MIN_POSITIVE)));
        }
    }

    fn smooth(&self) -> bool {
        self.smooth
    }
}

/// The arguments of the nonlinear functions in `expr`, with the change of them that changes the function.
fn varying_arguments(graph: &Graph, expr: ExprId) -> Vec<(ExprId, Change)> {
    let mut found = Vec::new();
    graph.pool.visit(expr, &mut |node| {
        if let Some((argument, change)) = varying(node)
            && change != Change::None
            && !found.contains(&(argument, change))
        {
            found.push((argument, change));
        }
    });
    found
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

#[cfg(test)]
mod tests {
    use netsor_ir::syntax::parse_program;

    use crate::{Data, Deriver, Evaluator, Tolerance};

    /// Bumps of width 1e-3 around a surface, which were 0 with error 0 before layers were looked for: the density of the
    /// argument over the slope. The product of two normal variables has the density `K_0(2)/pi` at 2, the squared length
    /// of three the density `sqrt(4) exp(-2) / sqrt(2 pi)` at 4; the second integral was taken by adaptive quadrature elsewhere,
    /// piece by piece. In the last three the bumps are in single slots, of functions
    /// of four variables.
    #[test]
    fn narrow_features_of_several_slots() {
        let pi = std::f64::consts::PI;
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * pi).sqrt();
        // E cos(b c d) = E (1 + b^2)^(-1/2) = exp(1/4) K_0(1/4) / sqrt(2 pi), with a Bessel function.
        let cos_of_three = 0.789_639_959_235_657_1;
        let (one, two) = (pi.sqrt() * 1e-3 * density(2.0), pi * 1e-6 * density(2.0) * density(1.0));
        let cases = [
            ("exp(-1e6 * (a * b - 2)^2)", pi.sqrt() * 1e-3 * 0.113_893_872_749_533_43 / pi, 1e-5),
            ("1e-6 / (1e-6 + (a * b - 2)^2)", 1.141_274_253_110_933e-4, 1e-9),
            ("exp(-1e6 * (a^2 + b^2 + c^2 - 4)^2)", pi.sqrt() * 1e-3 * 2.0 * density(2.0), 0.2),
            ("exp(-1e6 * (a - 2)^2) * cos(1/2 * a * b * c * d)", one * cos_of_three, 0.01),
            ("exp(-1e6 * (a - 2)^2) * exp(-1e6 * (b - 1)^2) * cos(a * c * d)", two / 5f64.sqrt(), 0.1),
            ("exp(-1e6 * (a - 2)^2) * cos(a * c * d)", one / 5f64.sqrt(), 0.01),
        ];
        for (expr, exact, share) in cases {
            let vectors: String = ["a", "b", "c", "d"].map(|v| format!("vector {v} ~ N(0, 1)\n")).concat();
            let text = format!("program p {{\n{vectors}moment m = mean({expr})\n}}\n");
            let program = parse_program(&text).unwrap();
            let mut deriver = Deriver::new(&program);
            let m = deriver.scalar(program.find("m").unwrap()).unwrap();
            let graph = deriver.into_graph();
            let data = Data::new();
            let tolerance = Tolerance { absolute: 0.0, ..Tolerance::default() };
            let found = Evaluator::new(&graph, &program, &data, tolerance).unwrap().value(m, &[]).unwrap();
            assert!(found.error <= share * found.value, "{expr}: {found:?}");
            // The exact values are those of bumps of width 0, up to the square of their width.
            let known = (found.value - exact).abs() <= found.error + 1e-5 * exact;
            assert!(known, "{expr}: {found:?}, exactly {exact}");
        }
    }
}
