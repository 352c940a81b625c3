//! `ntk-train-mlp`: SGD of a wide network is kernel gradient descent with the limit kernel
//! (TP IIb Thm 5.3, eq. 22).

use std::ops::ControlFlow;

use netsor_finite::{Inputs, Loss, Options, Order, Rate, Trainer, Training, train};
use netsor_ir::Network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_predict::{KernelDescent, Mat, SquaredError};
use netsor_zoo::Mlp;

use super::setup::{LimitKernel, TwoClasses, abscissae, find, limit_kernel, over_seeds, slope_figure, slope_table};
use crate::stats::{Average, slope_over_seeds};
use crate::{Axis, Claim, Context, Figure, Outcome, Series, Style, Test};

/// Room around the slope -1/2.
const SLOPE_MARGIN: f64 = 0.15;
const ETA: f64 = 0.5;

pub(super) struct NtkTrain;

/// What one seed gives at one width.
type Run = (f64, Vec<f64>, Vec<f64>);

impl Claim for NtkTrain {
    fn id(&self) -> &'static str {
        "ntk-train-mlp"
    }

    fn title(&self) -> &str {
        r"SGD of a wide MLP is kernel gradient descent with $\mathring{K}$"
    }

    fn source(&self) -> &str {
        "TP IIb Thm 5.3, eq. 22"
    }

    fn prediction(&self) -> &str {
        r"SGD with batch size 1 on two classes of digits ($\pm 1$, squared loss) follows
          $\mathring{f}_{t+1}(\xi) = \mathring{f}_t(\xi) - \eta \mathring{K}(\xi, \xi_t)
          \mathcal{L}'_t(\mathring{f}_t(\xi_t))$ from the same $f_0$: the largest deviation over
          all steps and test points has slope $-1/2$ in $n$ up to $0.15$."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/ntk-train-mlp.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let (n_train, n_test, steps) = ctx.scale.pick((10, 6, 30), (16, 8, 40), (40, 20, 200));
        let widths: Vec<usize> = ctx.scale.pick(
            vec![64, 128, 256, 512],
            vec![64, 128, 256, 512, 1024],
            vec![64, 128, 256, 512, 1024, 2048, 4096],
        );
        let n_seeds = ctx.scale.pick(64, 96, 200);
        let data = TwoClasses::load(ctx, (4, 9), (n_train, n_test))?;
        let network = Mlp { inputs: data.n_points() as u32, dim: 64, hidden: 2, ..Mlp::default() };
        let network = verify_network(network.network()?)?;
        ctx.progress().message("limit");
        let limit = limit_kernel(&network, &data.inputs, n_train, 1e-7)?;
        ctx.progress().message(format!("{steps} steps of SGD, {n_seeds} seeds"));
        let rows: Vec<Vec<Run>> = over_seeds(ctx, "train", &ctx.seeds(n_seeds), |seed| {
            widths.iter().map(|&n| deviation(&network, &data, &limit, steps, n, seed)).collect()
        })?;

        let x = abscissae(&widths);
        let deviations: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().map(|run| run.0).collect()).collect();
        let curve = slope_over_seeds(&x, &deviations, Average::RootMeanSquare)?;
        let test = Test::equals("slope of the deviation", &curve.fit.slope, -0.5, SLOPE_MARGIN)?;
        let figure = slope_figure(
            "Deviation of SGD from kernel gradient descent",
            "largest deviation over steps and test points",
            &[("root mean square over seeds", &curve)],
            (-0.5, "slope −1/2"),
            format!(
                "{n_train} training and {n_test} test digits (4 and 9), {steps} steps, $\\eta = {ETA}$, {n_seeds} seeds; bars are pointwise 95 % intervals."
            ),
        );
        let path =
            |values: &[f64]| -> Vec<(f64, f64)> { values.iter().enumerate().map(|(t, f)| (t as f64, *f)).collect() };
        let mut series = Vec::new();
        for at in [0, widths.len() - 1] {
            let (_, network, kernel) = &rows[0][at];
            series.push(Series::new(format!("network, n = {}", widths[at]), Style::Line, path(network)));
            series.push(Series::new(format!("kernel, same f at 0 (n = {})", widths[at]), Style::Dashed, path(kernel)));
        }
        let paths = Figure {
            title: "A test point along training, first seed".to_owned(),
            x: Axis::linear("step t"),
            y: Axis::linear("f"),
            series,
            caption: "Each network and the kernel gradient descent that starts from its outputs.".to_owned(),
        };
        let tables = vec![slope_table("Deviation by width", "deviation", &curve)];
        Ok(Outcome { tests: vec![test], tables, figures: vec![figure, paths], notes: Vec::new() })
    }
}

/// The largest deviation over steps and test points, and both paths of the first test point.
fn deviation(
    network: &Verified<Network>,
    data: &TwoClasses,
    limit: &LimitKernel,
    steps: usize,
    n: usize,
    seed: u64,
) -> anyhow::Result<Run> {
    let xi = find(&network.program, "xi")?;
    let inputs = Inputs::new().with(xi, data.inputs.clone());
    let mut trainer = Trainer::<f64>::new(network, &inputs, Options::new(n, seed))?;
    let order: Vec<usize> = (0..data.n_train).collect();
    let training = Training {
        loss: Loss::Squared,
        targets: vec![data.targets.clone()],
        rate: Rate::Constant(ETA),
        order: Order::single(&order),
        steps,
    };
    let history = train(&mut trainer, &training, &mut |_| ControlFlow::Continue(()))?;
    let f0 = &history.snapshots[0].outputs[0];

    let (n_train, size) = (data.n_train, limit.size);
    let kernel = |i: usize, j: usize| limit.ntk[i * size + j];
    let train_train = Mat::from_fn(n_train, n_train, kernel);
    let test_train = Mat::from_fn(data.n_test, n_train, |i, j| kernel(n_train + i, j));
    let targets = Mat::from_fn(n_train, 1, |i, _| data.targets[i]);
    let f0_train = Mat::from_fn(n_train, 1, |i, _| f0[i]);
    let f0_test = Mat::from_fn(data.n_test, 1, |i, _| f0[n_train + i]);
    let mut descent = KernelDescent::new(
        train_train.as_ref(),
        test_train.as_ref(),
        targets.as_ref(),
        f0_train.as_ref(),
        f0_test.as_ref(),
        SquaredError,
    )?;
    let (mut largest, mut network_path, mut kernel_path) = (0.0_f64, Vec::new(), Vec::new());
    for (t, snapshot) in history.snapshots.iter().enumerate() {
        let f = &snapshot.outputs[0][n_train..];
        for (i, f) in f.iter().enumerate() {
            largest = largest.max((f - descent.f_test()[(i, 0)]).abs());
        }
        network_path.push(f[0]);
        kernel_path.push(descent.f_test()[(0, 0)]);
        if t < steps {
            descent.step_at(ETA, order[t % n_train])?;
        }
    }
    Ok((largest, network_path, kernel_path))
}
