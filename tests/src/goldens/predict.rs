//! `predict.json`: kernels of layers, and what training with them gives.

use netsor_predict::{
    CrossEntropy, DiagReg, Ensemble, FlowOptions, GradientFlow, KernelDescent, Kernels, LossFlow, Mat, MomentumFlow,
    Normalisation, PredictError, SquaredError, Trained, max_learning_rate, row_major, to_row_major,
};
use serde_json::Value;

use super::json::{Array, entries, field, float, named_cases, optional, text};
use super::kernels::{Batch, layers};
use super::{Case, Checks, Trouble};

/// Backward stable on both sides, with condition numbers up to some hundreds.
const TOLERANCE: f64 = 1e-10;
/// What the peer integrates: the tolerance of its solver.
const SOLVER: f64 = 1e-7;
/// Most steps of discrete descent.
const MAX_STEPS: usize = 1_000_000;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "cases", check)
}

fn matrix(value: &Value, name: &str) -> Result<Mat<f64>, Trouble> {
    let array = Array::field(value, name, 2)?.finite(name)?;
    let view = row_major("matrix", &array.numbers, array.shape[0], array.shape[1]).map_err(Trouble::not_covered)?;
    Ok(view.to_owned())
}

fn time(key: &str) -> Result<f64, Trouble> {
    key.parse().map_err(|_| Trouble::not_covered(format!("`{key}` is not a time")))
}

struct Comparer {
    checks: Checks,
}

impl Comparer {
    fn close(
        &mut self,
        what: &str,
        found: Result<Mat<f64>, PredictError>,
        expected: &Value,
        tolerance: f64,
    ) -> Result<(), Trouble> {
        let found = found.map_err(|e| Trouble::failed(format!("{what}: {e}")))?;
        let expected = Array::read(expected).filter(|a| a.shape == [found.nrows(), found.ncols()]);
        let expected = expected.ok_or_else(|| Trouble::not_covered(format!("{what} has another shape")))?.numbers;
        let found = to_row_major(found.as_ref());
        let scale = expected.iter().fold(1.0f64, |s, x| s.max(x.abs()));
        for (k, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
            if !expected.is_nan() {
                self.checks.close(|| format!("{what}[{k}]"), found, expected, tolerance * scale);
            }
        }
        Ok(())
    }
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    let mut c = Comparer { checks: Checks::default() };
    kernels_of_layers(case, &mut c)?;
    let of = |which: &str, kernel: &str| matrix(field(case, which)?, kernel);
    let y = matrix(case, "y_train")?;
    let options = FlowOptions {
        learning_rate: float(case, "learning_rate")?,
        normalisation: Normalisation::PerEntry,
        diag_reg: DiagReg::Relative(float(case, "diag_reg")?),
    };
    let start = field(case, "gradient_descent_mse")?;
    let (f0, f0_test) = (matrix(start, "f_train_0")?, matrix(start, "f_test_0")?);

    let (nngp, ntk) = (of("k_train_train", "nngp")?, of("k_train_train", "ntk")?);
    let (nngp_test, ntk_test) = (of("k_test_train", "nngp")?, of("k_test_train", "ntk")?);
    let nngp_tests = of("k_test_test", "nngp")?;
    let ensemble = Ensemble::new(Kernels { nngp: nngp.as_ref(), ntk: ntk.as_ref() }, y.as_ref(), &options);
    let ensemble = ensemble.map_err(Trouble::failed)?;
    let test_train = Kernels { nngp: nngp_test.as_ref(), ntk: ntk_test.as_ref() };
    for (t, expected) in entries(case, "gradient_descent_mse_ensemble")? {
        for (name, trained) in [("nngp", Trained::Readout), ("ntk", Trained::All)] {
            let Some(expected) = optional(expected, name) else { continue };
            let on_train = ensemble.train(time(t)?, trained).map_err(Trouble::failed)?;
            let on_test = ensemble.test(time(t)?, trained, test_train, nngp_tests.as_ref()).map_err(Trouble::failed)?;
            for (what, found) in [
                ("train_mean", on_train.mean),
                ("train_cov", on_train.covariance),
                ("test_mean", on_test.mean),
                ("test_cov", on_test.covariance),
            ] {
                if let Some(expected) = optional(expected, what) {
                    c.close(&format!("ensemble {name} {what} at {t}"), Ok(found), expected, TOLERANCE)?;
                }
            }
        }
    }

    let (k, k_test) = (of("k_train_train", text(start, "kernel")?)?, of("k_test_train", text(start, "kernel")?)?);
    let flow = GradientFlow::new(k.as_ref(), y.as_ref(), &options).map_err(Trouble::failed)?;
    for (t, expected) in entries(start, "results")? {
        let train = flow.train(time(t)?, f0.as_ref());
        let test = flow.test(time(t)?, k_test.as_ref(), f0.as_ref(), f0_test.as_ref());
        c.close(&format!("flow f_train at {t}"), train, field(expected, "f_train")?, TOLERANCE)?;
        c.close(&format!("flow f_test at {t}"), test, field(expected, "f_test")?, TOLERANCE)?;
    }
    for (key, expected) in entries(case, "max_learning_rate")? {
        let momentum = match key {
            "momentum_0" => 0.0,
            "momentum_09" => 0.9,
            _ => return Err(Trouble::not_covered(format!("unknown learning rate `{key}`"))),
        };
        let found = max_learning_rate(ntk.as_ref(), y.ncols(), Normalisation::PerEntry, momentum);
        let found = found.map_err(Trouble::failed)?;
        let expected = expected.as_f64().ok_or_else(|| Trouble::not_covered("a learning rate is no number"))?;
        c.checks.close(|| format!("max_learning_rate {key}"), found, expected, TOLERANCE * expected.abs());
    }
    integrated(case, &mut c, [&ntk, &ntk_test, &y, &f0, &f0_test], &options)?;

    let eta = options.learning_rate / Normalisation::PerEntry.divisor(y.nrows(), y.ncols());
    for (steps, expected) in entries(field(case, "discrete_gd")?, "results")? {
        let count: usize = steps.parse().map_err(Trouble::not_covered)?;
        if MAX_STEPS < count {
            return Err(Trouble::not_covered(format!("{count} steps of descent")));
        }
        let (f0, f0_test) = (f0.as_ref(), f0_test.as_ref());
        let mut descent = KernelDescent::new(ntk.as_ref(), ntk_test.as_ref(), y.as_ref(), f0, f0_test, SquaredError)
            .map_err(Trouble::failed)?;
        for _ in 0..count {
            descent.step_full(eta).map_err(Trouble::failed)?;
        }
        let (train, test) = (descent.f_train().to_owned(), descent.f_test().to_owned());
        c.close(&format!("descent f_train after {steps}"), Ok(train), field(expected, "f_train")?, TOLERANCE)?;
        c.close(&format!("descent f_test after {steps}"), Ok(test), field(expected, "f_test")?, TOLERANCE)?;
    }
    Ok(c.checks)
}

/// The kernels in the file by the limit engine.
fn kernels_of_layers(case: &Value, c: &mut Comparer) -> Result<(), Trouble> {
    let train = Array::field(case, "x_train", 2)?.finite("x_train")?;
    let test = Array::field(case, "x_test", 2)?.finite("x_test")?;
    let (n, m) = (train.shape[0], test.shape[0]);
    let kernels = Batch::join(case, &train, &test)?.kernels(&layers(case)?, true)?;
    for (name, found) in [("nngp", &kernels.nngp), ("ntk", &kernels.ntk)] {
        let part = |rows: usize, row0: usize, cols: usize, col0: usize| {
            Mat::from_fn(rows, cols, |i, j| found[(row0 + i) * (n + m) + col0 + j])
        };
        for (which, found) in
            [("k_train_train", part(n, 0, n, 0)), ("k_test_train", part(m, n, n, 0)), ("k_test_test", part(m, n, m, n))]
        {
            // On the diagonal the inputs coincide, where the peer's arc cosine is good to 1e-8.
            c.close(&format!("{which} {name}"), Ok(found), field(field(case, which)?, name)?, 1e-8)?;
        }
    }
    Ok(())
}

/// The flows that the peer integrates numerically.
fn integrated(
    case: &Value,
    c: &mut Comparer,
    [k, k_test, y, f0, f0_test]: [&Mat<f64>; 5],
    options: &FlowOptions,
) -> Result<(), Trouble> {
    let options = FlowOptions { diag_reg: DiagReg::None, ..*options };
    let (k, k_test, y, f0, f0_test) = (k.as_ref(), k_test.as_ref(), y.as_ref(), f0.as_ref(), f0_test.as_ref());
    for (name, expected) in entries(case, "gradient_descent_ode")? {
        if name == "note" {
            continue;
        }
        let times = Array::field(expected, "t", 1)?.finite("t")?.numbers;
        for (at, &t) in times.iter().enumerate() {
            let (train, test) = match name.strip_prefix("mse_momentum_").map(str::parse::<f64>) {
                Some(momentum) => {
                    let momentum = momentum.map_err(Trouble::not_covered)?;
                    let flow = MomentumFlow::new(k, y, momentum, &options).map_err(Trouble::failed)?;
                    (flow.train(t, f0), flow.test(t, k_test, f0, f0_test))
                }
                None if name == "mse" => {
                    let flow = GradientFlow::new(k, y, &options).map_err(Trouble::failed)?;
                    (flow.train(t, f0), flow.test(t, k_test, f0, f0_test))
                }
                None if name == "xent" => {
                    // Labels are the numbers of the points modulo the outputs.
                    let label = |i: usize, j: usize| f64::from(u8::from(i % f0.ncols() == j));
                    let labels = Mat::from_fn(f0.nrows(), f0.ncols(), label);
                    let flow =
                        LossFlow::new(k, labels.as_ref(), f0, CrossEntropy, &options).map_err(Trouble::failed)?;
                    let state = flow.at(t, 1e-11).map_err(Trouble::failed)?;
                    let test = state.test(k_test, f0_test);
                    (Ok(state.f_train), test)
                }
                None => return Err(Trouble::not_covered(format!("unknown flow `{name}`"))),
            };
            for (what, found) in [("f_train", train), ("f_test", test)] {
                let of_time = field(expected, what)?.get(at);
                let of_time = of_time.ok_or_else(|| Trouble::not_covered(format!("`{what}` has no time {at}")))?;
                c.close(&format!("{name} {what} at {t}"), found, of_time, SOLVER)?;
            }
        }
    }
    Ok(())
}
