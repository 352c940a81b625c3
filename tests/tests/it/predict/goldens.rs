//! The peer's predictions: `tests/goldens/kernels/predict.json`, computed by neural-tangents 0.6.5 in double precision.
//!
//! The kernels are in the file, so no kernel engine takes part. Both sides are backward stable with six points
//! and condition numbers up to 92, so outputs of order one agree to a small multiple of `92 * 6 eps = 1.2e-13`.

use netsor_predict::{
    CrossEntropy, DiagReg, Ensemble, FlowOptions, GradientFlow, KernelDescent, Kernels, LossFlow, Mat, MomentumFlow,
    Normalisation, SquaredError, Trained, max_learning_rate,
};
use serde_json::Value;

use crate::files::golden_cases;

const TOLERANCE: f64 = 1e-12;

fn cases() -> Vec<Value> {
    golden_cases("kernels/predict.json")
}

fn matrix(value: &Value) -> Mat<f64> {
    let rows: Vec<Vec<f64>> = serde_json::from_value(value.clone()).unwrap();
    Mat::from_fn(rows.len(), rows[0].len(), |i, j| rows[i][j])
}

fn time(key: &str) -> f64 {
    key.parse().unwrap()
}

fn options(case: &Value) -> FlowOptions {
    FlowOptions {
        learning_rate: case["learning_rate"].as_f64().unwrap(),
        normalisation: Normalisation::PerEntry,
        diag_reg: DiagReg::Relative(case["diag_reg"].as_f64().unwrap()),
    }
}

#[track_caller]
fn check(what: &str, ours: &Mat<f64>, theirs: &Value) {
    let theirs = matrix(theirs);
    let error = (ours - &theirs).norm_max();
    assert!(error <= TOLERANCE * theirs.norm_max().max(1.0), "{what}: {error:e}");
}

#[test]
fn gradient_flow() {
    for case in cases() {
        let flow = &case["gradient_descent_mse"];
        let kernel = flow["kernel"].as_str().unwrap();
        let (k, k_test) = (matrix(&case["k_train_train"][kernel]), matrix(&case["k_test_train"][kernel]));
        let (f0, f0_test) = (matrix(&flow["f_train_0"]), matrix(&flow["f_test_0"]));
        let y = matrix(&case["y_train"]);
        let ours = GradientFlow::new(k.as_ref(), y.as_ref(), &options(&case)).unwrap();
        for (t, expected) in flow["results"].as_object().unwrap() {
            let train = ours.train(time(t), f0.as_ref()).unwrap();
            let test = ours.test(time(t), k_test.as_ref(), f0.as_ref(), f0_test.as_ref());
            check(&format!("f_train at {t}"), &train, &expected["f_train"]);
            check(&format!("f_test at {t}"), &test.unwrap(), &expected["f_test"]);
        }
    }
}

#[test]
fn ensembles() {
    for case in cases() {
        let [train, test_train, test_test] = ["k_train_train", "k_test_train", "k_test_test"].map(|which| {
            let of = &case[which];
            (matrix(&of["nngp"]), matrix(&of["ntk"]))
        });
        let [train, test_train] =
            [&train, &test_train].map(|(nngp, ntk)| Kernels { nngp: nngp.as_ref(), ntk: ntk.as_ref() });
        let y = matrix(&case["y_train"]);
        let ours = Ensemble::new(train, y.as_ref(), &options(&case)).unwrap();
        for (t, expected) in case["gradient_descent_mse_ensemble"].as_object().unwrap() {
            for (name, trained) in [("nngp", Trained::Readout), ("ntk", Trained::All)] {
                let expected = &expected[name];
                let on_train = ours.train(time(t), trained).unwrap();
                let on_test = ours.test(time(t), trained, test_train, test_test.0.as_ref()).unwrap();
                for (what, ours) in [
                    ("train_mean", &on_train.mean),
                    ("train_cov", &on_train.covariance),
                    ("test_mean", &on_test.mean),
                    ("test_cov", &on_test.covariance),
                ] {
                    check(&format!("{name} {what} at {t}"), ours, &expected[what]);
                }
            }
        }
    }
}

#[test]
fn largest_learning_rates() {
    for case in cases() {
        let k = matrix(&case["k_train_train"]["ntk"]);
        let n_outputs = case["y_train"][0].as_array().unwrap().len();
        for (key, momentum) in [("momentum_0", 0.0), ("momentum_09", 0.9)] {
            let ours = max_learning_rate(k.as_ref(), n_outputs, Normalisation::PerEntry, momentum).unwrap();
            let theirs = case["max_learning_rate"][key].as_f64().unwrap();
            assert!((ours / theirs - 1.0).abs() < TOLERANCE, "{ours} against {theirs}");
        }
    }
}

#[test]
fn discrete_descent() {
    for case in cases() {
        let (k, k_test) = (matrix(&case["k_train_train"]["ntk"]), matrix(&case["k_test_train"]["ntk"]));
        let flow = &case["gradient_descent_mse"];
        let (f0, f0_test) = (matrix(&flow["f_train_0"]), matrix(&flow["f_test_0"]));
        let y = matrix(&case["y_train"]);
        let eta = case["learning_rate"].as_f64().unwrap() / Normalisation::PerEntry.divisor(y.nrows(), y.ncols());
        for (n_steps, expected) in case["discrete_gd"]["results"].as_object().unwrap() {
            let mut descent = KernelDescent::new(
                k.as_ref(),
                k_test.as_ref(),
                y.as_ref(),
                f0.as_ref(),
                f0_test.as_ref(),
                SquaredError,
            )
            .unwrap();
            for _ in 0..n_steps.parse().unwrap() {
                descent.step_full(eta).unwrap();
            }
            check(&format!("f_train after {n_steps}"), &descent.f_train().to_owned(), &expected["f_train"]);
            check(&format!("f_test after {n_steps}"), &descent.f_test().to_owned(), &expected["f_test"]);
        }
    }
}

/// The peer integrates these numerically (its default relative tolerance is 1.4e-8 a step, over tens of steps);
/// our forms are closed, so the tolerance is that of its solver.
#[test]
fn integrated_flows() {
    const SOLVER_TOLERANCE: f64 = 1e-7;
    for case in cases() {
        let (k, k_test) = (matrix(&case["k_train_train"]["ntk"]), matrix(&case["k_test_train"]["ntk"]));
        let start = &case["gradient_descent_mse"];
        let (f0, f0_test) = (matrix(&start["f_train_0"]), matrix(&start["f_test_0"]));
        let y = matrix(&case["y_train"]);
        let options = FlowOptions { diag_reg: DiagReg::None, ..options(&case) };
        let flow = GradientFlow::new(k.as_ref(), y.as_ref(), &options).unwrap();
        let momentum = MomentumFlow::new(k.as_ref(), y.as_ref(), 0.9, &options).unwrap();
        for name in ["mse", "mse_momentum_0.9"] {
            let expected = &case["gradient_descent_ode"][name];
            for (i, t) in expected["t"].as_array().unwrap().iter().enumerate() {
                let t = t.as_f64().unwrap();
                let (f0, f0_test, k_test) = (f0.as_ref(), f0_test.as_ref(), k_test.as_ref());
                let (train, test) = match name {
                    "mse" => (flow.train(t, f0), flow.test(t, k_test, f0, f0_test)),
                    _ => (momentum.train(t, f0), momentum.test(t, k_test, f0, f0_test)),
                };
                for (ours, theirs) in [(train, "f_train"), (test, "f_test")] {
                    let error = (ours.unwrap() - matrix(&expected[theirs][i])).norm_max();
                    assert!(error < SOLVER_TOLERANCE, "{name} {theirs} at {t}: {error:e}");
                }
            }
        }
    }
}

/// Both sides integrate: ours to 1e-11 a step, so again the tolerance is that of the peer's solver.
#[test]
fn cross_entropy_flow() {
    for case in cases() {
        let (k, k_test) = (matrix(&case["k_train_train"]["ntk"]), matrix(&case["k_test_train"]["ntk"]));
        let start = &case["gradient_descent_mse"];
        let (f0, f0_test) = (matrix(&start["f_train_0"]), matrix(&start["f_test_0"]));
        // The labels are the points' numbers modulo the outputs.
        let y = Mat::from_fn(f0.nrows(), f0.ncols(), |i, j| f64::from(u8::from(i % f0.ncols() == j)));
        let options = FlowOptions { diag_reg: DiagReg::None, ..options(&case) };
        let flow = LossFlow::new(k.as_ref(), y.as_ref(), f0.as_ref(), CrossEntropy, &options).unwrap();
        let expected = &case["gradient_descent_ode"]["xent"];
        for (i, t) in expected["t"].as_array().unwrap().iter().enumerate() {
            let state = flow.at(t.as_f64().unwrap(), 1e-11).unwrap();
            let test = state.test(k_test.as_ref(), f0_test.as_ref()).unwrap();
            for (ours, theirs) in [(&state.f_train, "f_train"), (&test, "f_test")] {
                let error = (ours - matrix(&expected[theirs][i])).norm_max();
                assert!(error < 1e-7, "{theirs} at {t}: {error:e}");
            }
        }
    }
}
