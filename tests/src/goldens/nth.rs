//! `nth_goldens.json`: explicit weights in the paper's parametrization; kernels of the hierarchy, gradient flow, its
//! truncations, and a step of gradient descent with its Taylor series.

use netsor_finite::Inputs;
use netsor_ir::Network;
use netsor_ir::verify::Verified;
use netsor_nth::{
    HuangYau, KernelOptions, KernelTensor, Kernels, Smooth, Truncated, bold_hierarchy, discrete_step, gradient_flow,
    gradient_step, hierarchy, kernels_at,
};
use netsor_num::ode::OdeOptions;
use serde_json::Value;

use super::json::{Array, count, entries, field, float, list, named_cases, optional, text};
use super::{Case, Checks, Trouble};

/// The tolerance that the file states for kernels and steps: double precision on both sides.
const KERNELS: f64 = 1e-10;
/// And for solutions of differential equations.
const FLOWS: f64 = 1e-8;
/// Error of a step of the solvers.
const STEP: f64 = 1e-12;
/// Kernels of higher order are not in the library.
const MAX_ORDER: usize = 7;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    if text(file, "loss")? != "(1/2n) sum (f-y)^2" {
        return Err(Trouble::not_covered(format!("unknown loss `{}`", text(file, "loss")?)));
    }
    named_cases(file, "cases", check)
}

/// A case as the library takes it.
struct Problem {
    network: Verified<Network>,
    inputs: Inputs,
    options: KernelOptions,
    points: usize,
    train: usize,
    y: Vec<f64>,
}

impl Problem {
    fn read(case: &Value) -> Result<Self, Trouble> {
        let (hidden, m, train) = (count(case, "H")?, count(case, "m")?, count(case, "n_train")?);
        let x = Array::field(case, "X", 2)?.finite("X")?;
        let (points, dim) = (x.shape[0], x.shape[1]);
        let paper = HuangYau {
            points: points as u32,
            dim: dim as u32,
            hidden: hidden as u32,
            activation: activation(text(case, "activation")?)?,
            sigma_w: float(case, "sigma_w")?,
            sigma_a: float(case, "sigma_a")?,
        };
        let layers = list(case, "W")?;
        if layers.len() != hidden || train == 0 || points < train {
            return Err(Trouble::not_covered(format!(
                "{} matrices for H = {hidden}, {train} of {points} points",
                layers.len()
            )));
        }
        let rows = |array: &Array| array.numbers.chunks(array.shape[1]).map(<[f64]>::to_vec).collect::<Vec<_>>();
        let mut weights = Vec::new();
        for (layer, matrix) in layers.iter().enumerate() {
            let array = Array::read(matrix).filter(|a| a.shape == [m, if layer == 0 { dim } else { m }]);
            let array = array.ok_or_else(|| Trouble::not_covered(format!("`W[{layer}]` has another shape")))?;
            weights.push(rows(&array.finite("W")?));
        }
        let a = Array::shaped(case, "a", &[m])?.finite("a")?.numbers;
        Ok(Self {
            network: paper.network().map_err(Trouble::failed)?,
            inputs: paper.inputs(&rows(&x), &weights, &a).map_err(Trouble::failed)?,
            options: KernelOptions::new(m, 0).with_train(train),
            points,
            train,
            y: Array::shaped(case, "y", &[train])?.finite("y")?.numbers,
        })
    }

    fn kernels(&self, inputs: &Inputs, order: usize) -> Result<Kernels, Trouble> {
        let program = hierarchy(&self.network, order).map_err(Trouble::failed)?;
        kernels_at(&program, inputs, &self.options).map_err(Trouble::failed)
    }

    /// The numbers of a kernel of order `r` in the file.
    fn array(&self, case: &Value, name: &str, r: usize) -> Result<Vec<f64>, Trouble> {
        let shape: Vec<usize> = (0..r).map(|k| if k < 2 { self.points } else { self.train }).collect();
        Ok(Array::shaped(case, name, &shape)?.numbers)
    }
}

pub(super) fn activation(name: &str) -> Result<Smooth, Trouble> {
    let unknown = || Trouble::not_covered(format!("unknown activation `{name}`"));
    Ok(match name {
        "tanh" => Smooth::Tanh,
        "erf" => Smooth::Erf,
        "sigmoid" => Smooth::Sigmoid,
        "softplus" => Smooth::Softplus { sharpness: 1.0 },
        _ => {
            let sharpness = name.strip_prefix("softplus").and_then(|a| a.parse().ok()).ok_or_else(unknown)?;
            Smooth::Softplus { sharpness }
        }
    })
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    let problem = Problem::read(case)?;
    let mut checks = Checks::default();
    let given = (2..=MAX_ORDER).take_while(|r| optional(case, &format!("K{r}")).is_some()).count() + 1;
    let truncated = entries(case, "truncated")?;
    let mut orders = Vec::new();
    for (name, _) in &truncated {
        let p: Option<usize> = name.strip_prefix('p').and_then(|p| p.parse().ok());
        let p = p.filter(|p| (2..=MAX_ORDER).contains(p));
        orders.push(p.ok_or_else(|| Trouble::not_covered(format!("unknown truncation `{name}`")))?);
    }
    let order = orders.iter().copied().chain([given, 2]).max().unwrap_or(2);
    let start = problem.kernels(&problem.inputs, order)?;
    static_kernels(case, &problem, &start, given, &mut checks)?;
    slopes(case, &problem, &start, &mut checks)?;
    discrete(case, &problem, &mut checks)?;

    let ode = OdeOptions::with_tolerance(STEP);
    if optional(case, "gradient_flow").is_some() {
        let path = list(case, "gradient_flow")?;
        let times = times(path)?;
        let found = gradient_flow(&problem.network, &problem.inputs, &problem.y, &times, &problem.options, &ode)
            .map_err(Trouble::failed)?;
        for ((state, f), inputs) in path.iter().zip(&found.f).zip(&found.inputs) {
            let kernel = problem.kernels(inputs, 2)?.kernels.remove(0);
            compare(&mut checks, "gradient flow", &problem, state, f, &kernel)?;
        }
    }
    for ((name, _), p) in truncated.iter().zip(orders) {
        let path = list(field(case, "truncated")?, name)?;
        let times = times(path)?;
        let system = Truncated::new(&start, &problem.y, p).map_err(Trouble::failed)?;
        let mut solutions = vec![system.solve(&times, &ode).map_err(Trouble::failed)?];
        if p == 3 {
            solutions.push(system.solve_reduced(&times, &ode).map_err(Trouble::failed)?);
        }
        for found in &solutions {
            for (k, state) in path.iter().enumerate() {
                compare(&mut checks, name, &problem, state, &found.f[k], &found.kernels[k][0])?;
            }
        }
    }
    Ok(checks)
}

fn times(path: &[Value]) -> Result<Vec<f64>, Trouble> {
    path.iter().map(|state| float(state, "t")).collect()
}

/// One state of a path: `f` and `K2`.
fn compare(
    checks: &mut Checks,
    what: &str,
    problem: &Problem,
    state: &Value,
    f: &[f64],
    kernel: &KernelTensor,
) -> Result<(), Trouble> {
    let at = format!("{what} at t = {}", float(state, "t")?);
    checks.all_close(&format!("f, {at}"), f, &Array::shaped(state, "f", &[problem.points])?.numbers, FLOWS)?;
    checks.all_close(&format!("K2, {at}"), &kernel.dense(), &problem.array(state, "K2", 2)?, FLOWS)
}

fn static_kernels(
    case: &Value,
    problem: &Problem,
    start: &Kernels,
    given: usize,
    checks: &mut Checks,
) -> Result<(), Trouble> {
    let f = Array::shaped(case, "f", &[problem.points])?.numbers;
    checks.all_close("f", &start.f, &f, KERNELS)?;
    for r in 2..=given {
        let found = start.of_order(r).map_err(Trouble::failed)?;
        checks.all_close(&format!("K{r}"), &found.dense(), &problem.array(case, &format!("K{r}"), r)?, KERNELS)?;
    }
    if optional(case, "G_layers").is_some() {
        let shape = [start.parts.len(), problem.points, problem.points];
        let layers: Vec<f64> = start.parts.iter().flat_map(|(_, part)| part.dense()).collect();
        checks.all_close("G_layers", &layers, &Array::shaped(case, "G_layers", &shape)?.numbers, KERNELS)?;
    }
    for r in 3..=MAX_ORDER {
        let name = format!("bold_K{r}");
        if optional(case, &name).is_some() {
            let program = bold_hierarchy(&problem.network, r).map_err(Trouble::failed)?;
            let bold = kernels_at(&program, &problem.inputs, &problem.options).map_err(Trouble::failed)?;
            checks.all_close(&name, &bold.kernels[r - 2].dense(), &problem.array(case, &name, r)?, KERNELS)?;
        }
    }
    Ok(())
}

fn slopes(case: &Value, problem: &Problem, start: &Kernels, checks: &mut Checks) -> Result<(), Trouble> {
    let p = start.kernels.len() + 1;
    let (df, dk) = Truncated::new(start, &problem.y, p).map_err(Trouble::failed)?.slopes_at_start();
    if optional(case, "dt_f").is_some() {
        checks.all_close("dt_f", &df, &Array::shaped(case, "dt_f", &[problem.points])?.numbers, KERNELS)?;
    }
    for (k, found) in dk.iter().enumerate() {
        let name = format!("dt_K{}", k + 2);
        if optional(case, &name).is_some() {
            checks.all_close(&name, &found.dense(), &problem.array(case, &name, k + 2)?, KERNELS)?;
        }
    }
    Ok(())
}

fn discrete(case: &Value, problem: &Problem, checks: &mut Checks) -> Result<(), Trouble> {
    let Some(step) = optional(case, "discrete") else { return Ok(()) };
    let eta = float(step, "eta")?;
    let (f, after) =
        gradient_step(&problem.network, &problem.inputs, &problem.y, eta, &problem.options).map_err(Trouble::failed)?;
    let points = problem.points;
    checks.all_close("f_next", &f, &Array::shaped(step, "f_next", &[points])?.numbers, KERNELS)?;
    let kernel = problem.kernels(&after, 2)?.kernels.remove(0);
    checks.all_close("K2_next", &kernel.dense(), &problem.array(step, "K2_next", 2)?, KERNELS)?;

    let program = bold_hierarchy(&problem.network, 5).map_err(Trouble::failed)?;
    let bold = kernels_at(&program, &problem.inputs, &problem.options).map_err(Trouble::failed)?;
    let series = |order| discrete_step(&program, &bold, &problem.y, eta, order).map_err(Trouble::failed);
    let of_f = Array::shaped(step, "f_taylor_orders_1_2_3", &[3, points])?.numbers;
    let of_kernel = Array::shaped(step, "K2_taylor_orders_0_1_2_3", &[4, points, points])?.numbers;
    for (order, expected) in of_kernel.chunks(points * points).enumerate() {
        let (f, kernel) = series(order)?;
        checks.all_close(&format!("series of K2 to order {order}"), &kernel.dense(), expected, KERNELS)?;
        if 0 < order {
            let expected = &of_f[(order - 1) * points..order * points];
            checks.all_close(&format!("series of f to order {order}"), &f, expected, KERNELS)?;
        }
    }
    Ok(())
}
