//! `circle`: the tangent kernel on the circle at initialisation and after training (Talk,
//! "Results", after Jacot et al. 2018, figure 1).

use netsor_finite::{Inputs, Options, Trainer, empirical_kernel};
use netsor_ir::Network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_zoo::{Activation, Mlp};

use super::setup::{abscissae, find, limit_kernel, over_seeds, slope_figure, slope_table};
use crate::stats::{Average, slope_over_seeds};
use crate::{Axis, Claim, Context, Figure, Outcome, Series, Style, Test};

/// Room around the slope -1/2.
const SLOPE_MARGIN: f64 = 0.15;
const STEPS: usize = 200;
/// Four draws of `N(0, I_2)`, as in the figure.
const TRAINING: [[f64; 2]; 4] = [
    [0.6184590050797812, -0.2822254122561017],
    [0.3094957170946356, -0.4228815563584846],
    [-0.3685633713322117, -0.5591032810786268],
    [-1.0802862855239288, -1.4596043110490682],
];

pub(super) struct Circle;

/// The kernel's row of `x_0` at t = 0 and after training.
type Run = (Vec<f64>, Vec<f64>);

impl Claim for Circle {
    fn id(&self) -> &'static str {
        "circle"
    }

    fn title(&self) -> &str {
        r"On the circle the tangent kernel is that of the limit, before and after training"
    }

    fn source(&self) -> &str {
        r#"Talk, "Results" (after Jacot et al. 2018, Fig. 1)"#
    }

    fn prediction(&self) -> &str {
        r"For a relu network with three hidden layers (biases times $0.1$),
          $\Theta(x_0, x(\gamma))$ with $x(\gamma) = (\cos\gamma, \sin\gamma)$, $x_0 = x(0)$,
          approaches the limit curve: the root mean square deviation over the circle has slope
          $-1/2$ in $n$ up to $0.15$. 200 steps of gradient descent on $f^*(x) = x_1 x_2$ change
          the curve by less than that: the slope of the change is below $-1/2$."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/circle.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let n_angles = ctx.scale.pick(41, 61, 101);
        let widths: Vec<usize> =
            ctx.scale.pick(vec![64, 125, 250, 500], vec![125, 250, 500, 1000], vec![125, 500, 1000, 2500, 10000]);
        let (n_seeds, n_trained) = ctx.scale.pick((256, 32), (384, 48), (200, 40));
        let gamma: Vec<f64> =
            (0..n_angles).map(|k| std::f64::consts::PI * (2.0 * k as f64 / (n_angles - 1) as f64 - 1.0)).collect();
        // x_0 comes first, the circle after it.
        let mut points = vec![1.0, 0.0];
        points.extend(gamma.iter().flat_map(|gamma| [gamma.cos(), gamma.sin()]));
        let circle = network(n_angles as u32 + 1)?;
        let training = network(TRAINING.len() as u32)?;
        ctx.progress().message("limit");
        let limit = limit_kernel(&circle, &points, 1, 1e-8)?;
        let limit = &limit.ntk[1..=n_angles];
        ctx.progress().message(format!("{n_seeds} seeds, {n_trained} of them trained"));
        let seeds = ctx.seeds(n_seeds);
        let trained: Vec<Vec<Run>> = over_seeds(ctx, "trained", &seeds[..n_trained], |seed| {
            widths.iter().map(|&n| measure(&circle, &training, &points, n, seed)).collect()
        })?;
        let others: Vec<Vec<Vec<f64>>> = over_seeds(ctx, "initial", &seeds[n_trained..], |seed| {
            let at = |&n: &usize| row(&circle, &circle_inputs(&circle, &points)?, n, seed);
            widths.iter().map(at).collect()
        })?;

        let x = abscissae(&widths);
        let distance = |a: &[f64], b: &[f64]| {
            let square: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
            (square / a.len() as f64).sqrt()
        };
        let curve = |of: &dyn Fn(&Run) -> f64| {
            let samples: Vec<Vec<f64>> = trained.iter().map(|row| row.iter().map(of).collect()).collect();
            slope_over_seeds(&x, &samples, Average::RootMeanSquare)
        };
        let after = curve(&|run| distance(&run.1, limit))?;
        let change = curve(&|run| distance(&run.0, &run.1))?;
        let at_start: Vec<Vec<f64>> = trained
            .iter()
            .map(|row| row.iter().map(|run| distance(&run.0, limit)).collect())
            .chain(others.iter().map(|row| row.iter().map(|run| distance(run, limit)).collect()))
            .collect();
        let before = slope_over_seeds(&x, &at_start, Average::RootMeanSquare)?;
        let tests = vec![
            Test::equals("slope of the deviation at t = 0", &before.fit.slope, -0.5, SLOPE_MARGIN)?,
            Test::at_most("slope of the change by training", &change.fit.slope, -0.5, 0.0)?,
        ];
        let mut figures = Vec::new();
        for at in [0, widths.len() - 1] {
            figures.push(circle_figure(&gamma, limit, widths[at], trained.iter().map(|row| &row[at])));
        }
        figures.push(slope_figure(
            "Deviation from the limit, and change by training",
            "root mean square over the circle",
            &[("deviation, t = 0", &before), ("deviation, t = 200", &after), ("change", &change)],
            (-0.5, "slope −1/2"),
            format!(
                "{n_seeds} seeds at t = 0, {n_trained} of them trained; bars are pointwise 95 % \
                 intervals."
            ),
        ));
        let tables = vec![
            slope_table("Deviation at $t = 0$", "deviation", &before),
            slope_table("Deviation at $t = 200$", "deviation", &after),
            slope_table("Change from $t = 0$ to $t = 200$", "change", &change),
        ];
        let notes = vec![
            "The four training points are fixed draws of $N(0, I_2)$, those of the golden file \
             jacot_circle. Computed in single precision."
                .to_owned(),
        ];
        Ok(Outcome { tests, tables, figures, notes })
    }
}

fn network(inputs: u32) -> anyhow::Result<Verified<Network>> {
    let activation = Activation::Relu;
    let network = Mlp { inputs, dim: 2, hidden: 3, activation, b_std: 0.1, ..Mlp::default() };
    Ok(verify_network(network.network()?)?)
}

fn circle_inputs(circle: &Network, points: &[f64]) -> anyhow::Result<Inputs> {
    Ok(Inputs::new().with(find(&circle.program, "xi")?, points.to_vec()))
}

/// The kernel of x_0 and all points of the circle.
fn row(circle: &Verified<Network>, inputs: &Inputs, n: usize, seed: u64) -> anyhow::Result<Vec<f64>> {
    let kernel = empirical_kernel::<f32>(circle, inputs, &Options::new(n, seed))?.remove(0);
    Ok(kernel.ntk[1..kernel.size].to_vec())
}

/// The kernel's row before and after training. The two networks differ in their inputs only, so
/// they have the same parameters, drawn alike from one seed.
fn measure(
    circle: &Verified<Network>,
    training: &Verified<Network>,
    points: &[f64],
    n: usize,
    seed: u64,
) -> anyhow::Result<Run> {
    let on_circle = circle_inputs(circle, points)?;
    let before = row(circle, &on_circle, n, seed)?;
    let four = Inputs::new().with(find(&training.program, "xi")?, TRAINING.concat());
    let mut trainer = Trainer::<f32>::new(training, &four, Options::new(n, seed))?;
    for _ in 0..STEPS {
        let f = trainer.outputs()?.remove(0);
        let cotangents = f.iter().zip(&TRAINING).map(|(f, x)| f - x[0] * x[1]).collect();
        // Learning rate 1 for the loss sum (f - f*)^2 / (2 N).
        trainer.step(1.0 / TRAINING.len() as f64, &[cotangents])?;
    }
    let after = row(circle, &trainer.resume(on_circle), n, seed)?;
    Ok((before, after))
}

/// All seeds at one width, before and after training, and the limit.
fn circle_figure<'a>(gamma: &[f64], limit: &[f64], n: usize, runs: impl Iterator<Item = &'a Run>) -> Figure {
    let points = |values: &[f64]| -> Vec<(f64, f64)> { gamma.iter().copied().zip(values.iter().copied()).collect() };
    let runs: Vec<&Run> = runs.collect();
    let band = |name: &str, of: &dyn Fn(&Run) -> &Vec<f64>| {
        let middle_half: Vec<[f64; 3]> = (0..gamma.len())
            .map(|k| {
                let mut values: Vec<f64> = runs.iter().map(|run| of(run)[k]).collect();
                values.sort_by(f64::total_cmp);
                let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
                [at(0.1), at(0.5), at(0.9)]
            })
            .collect();
        let median: Vec<f64> = middle_half.iter().map(|q| q[1]).collect();
        Series::new(name, Style::Band, points(&median)).with_interval(middle_half.iter().map(|q| (q[0], q[2])))
    };
    Figure {
        title: format!("$\\Theta(x_0, x(\\gamma))$ at width {n}"),
        x: Axis::linear("angle γ"),
        y: Axis::linear("kernel"),
        series: vec![
            band(&format!("n = {n}, t = 0"), &|run| &run.0),
            band(&format!("n = {n}, t = 200"), &|run| &run.1),
            Series::new("n = ∞", Style::Dashed, points(limit)),
        ],
        caption: "Median over seeds, with the band from the 10 % to the 90 % quantile.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The golden was integrated independently, to seven digits or more.
    #[test]
    fn the_limit_curve_is_that_of_the_golden() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/programs/jacot_circle.json");
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let numbers =
            |key: &str| -> Vec<f64> { golden[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
        let gamma = numbers("gamma");
        let mut points = vec![1.0, 0.0];
        points.extend(gamma.iter().flat_map(|gamma| [gamma.cos(), gamma.sin()]));
        let circle = network(gamma.len() as u32 + 1).unwrap();
        let limit = limit_kernel(&circle, &points, 1, 1e-10).unwrap();
        for (found, expected) in limit.ntk[1..=gamma.len()].iter().zip(numbers("limit_theta")) {
            assert!((found - expected).abs() < 1e-7, "{found} against {expected}");
        }
    }
}
