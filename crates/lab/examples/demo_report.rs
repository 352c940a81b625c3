//! How to write a claim, and what a report looks like: four small claims about sums of random
//! variables, one for each way a claim can end.
//!
//! ```sh
//! cargo run -p netsor-lab --example demo_report -- --out /tmp/demo
//! ```
//!
//! The exit status is 1, since two of the claims are made to go wrong.

use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use netsor_lab::stats::{self, Average};
use netsor_lab::{Axis, Cell, Claim, Context, Figure, Outcome, ReproduceArgs, Series, Style, Table, Test};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

const WIDTHS: [usize; 5] = [64, 128, 256, 512, 1024];

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    reproduce: ReproduceArgs,
}

fn main() -> anyhow::Result<ExitCode> {
    let claims: Vec<Box<dyn Claim>> = vec![Box::new(Rate), Box::new(Bias), Box::new(TooFewSeeds), Box::new(NoData)];
    netsor_lab::run(&claims, &Arguments::parse().reproduce)
}

/// `mean of u^2 over n coordinates` for each seed and width; one seed serves all widths.
fn measure(ctx: &Context, n_seeds: usize) -> anyhow::Result<Vec<Vec<f64>>> {
    ctx.progress().add_units(n_seeds);
    ctx.seeds(n_seeds)
        .into_par_iter()
        .map(|seed| {
            ctx.unit(&format!("mean of squares, seed={seed}"), || {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut square = || {
                    let gauss: f64 = StandardNormal.sample(&mut rng);
                    gauss * gauss
                };
                Ok(WIDTHS.iter().map(|n| (0..*n).map(|_| square()).sum::<f64>() / *n as f64).collect())
            })
        })
        .collect()
}

/// A rate: an error falls like n^(-1/2).
struct Rate;

impl Claim for Rate {
    fn id(&self) -> &'static str {
        "moment-rate"
    }

    fn title(&self) -> &str {
        "An average over $n$ coordinates is off by $n^{-1/2}$"
    }

    fn source(&self) -> &str {
        "Central limit theorem"
    }

    fn prediction(&self) -> &str {
        r"For $u \sim \mathcal{N}(0, I_n)$ the error
          $\epsilon_n = \left|\frac{1}{n}\sum_{i=1}^n u_i^2 - 1\right|$ has root mean square
          $\sqrt{2/n}$: the slope of $\log \epsilon_n$ over $\log n$ is $-1/2$ up to $0.1$."
    }

    fn page(&self) -> Option<&str> {
        Some("experiments/moment-rate.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let samples = measure(ctx, ctx.scale.pick(60, 200, 1000))?;
        let errors: Vec<Vec<f64>> = samples.iter().map(|row| row.iter().map(|y| y - 1.0).collect()).collect();
        let x = WIDTHS.map(|n| n as f64);
        let curve = stats::slope_over_seeds(&x, &errors, Average::RootMeanSquare)?;
        let limit = stats::extrapolate_over_seeds(&x, &samples, &[1.0])?;

        let mut table = Table::new("Errors by width", ["$n$", "error", r"$\sqrt{2/n}$", "remark"]);
        for point in &curve.points {
            let remark = if point.x < 100.0 { Cell::from("smallest") } else { Cell::Missing(()) };
            table.push([point.x.into(), point.y.into(), (2.0 / point.x).sqrt().into(), remark]);
        }
        let range = (x[0], x[4]);
        let measured = curve.points.iter().map(|point| (point.x, point.y));
        let figure = Figure {
            title: r"Error of $\frac{1}{n}\sum u_i^2$".to_owned(),
            x: Axis::log("width n"),
            y: Axis::log("root mean square error over seeds"),
            series: vec![
                Series::reference_slope("slope −1/2", -0.5, (x[0], 2.0 * curve.fit.at(x[0])), range),
                Series::reference_slope("slope −1", -1.0, (x[0], 2.0 * curve.fit.at(x[0])), range),
                Series::new("measured", Style::Markers, measured)
                    .with_interval(curve.points.iter().map(|point| point.interval)),
                Series::new("", Style::Line, x.map(|n| (n, curve.fit.at(n)))),
                Series::new("predicted", Style::Markers, x.map(|n| (n, (2.0 / n).sqrt()))),
            ],
            caption: "Bars are pointwise 95 % intervals.".to_owned(),
        };
        let spread = Figure {
            title: "The average itself".to_owned(),
            x: Axis::log("width n"),
            y: Axis::linear("average of u²"),
            series: vec![
                Series::new("mean ± one standard deviation", Style::Band, x.map(|n| (n, 1.0)))
                    .with_interval(x.map(|n| (1.0 - (2.0 / n).sqrt(), 1.0 + (2.0 / n).sqrt()))),
                Series::new("seed 1", Style::Line, x.iter().copied().zip(samples[0].clone())),
                Series::new("seed 2", Style::Line, x.iter().copied().zip(samples[1].clone())),
                Series::new("seed 3", Style::Markers, x.iter().copied().zip(samples[2].clone())),
            ],
            caption: "Three seeds of many.".to_owned(),
        };
        Ok(Outcome {
            tests: vec![
                Test::equals(r"slope of $\log \epsilon_n$", &curve.fit.slope, -0.5, 0.1)?,
                Test::equals(r"limit of $\frac{1}{n}\sum u_i^2$", &limit.limit, 1.0, 0.05)?,
                Test::within("$2 + 2$", 2.0 + 2.0, 4.0, 0.0)?,
            ],
            tables: vec![table],
            figures: vec![figure, spread],
            notes: vec!["One seed serves all widths; intervals are over seeds.".to_owned()],
        })
    }
}

/// A wrong prediction, which the data refute.
struct Bias;

impl Claim for Bias {
    fn id(&self) -> &'static str {
        "moment-bias"
    }

    fn title(&self) -> &str {
        r"$\mathbb{E}\, u^2$ is $1.2$ (it is not)"
    }

    fn source(&self) -> &str {
        "Nobody"
    }

    fn prediction(&self) -> &str {
        r"$\mathbb{E}\, u^2 = 1.2 \pm 0.05$"
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let samples = measure(ctx, ctx.scale.pick(60, 200, 1000))?;
        let widest: Vec<f64> = samples.iter().map(|row| row[4]).collect();
        let estimate = stats::mean(&widest)?;
        let test = Test::equals(r"$\mathbb{E}\, u^2$", &estimate, 1.2, 0.05)?;
        Ok(Outcome { tests: vec![test], ..Outcome::default() })
    }
}

/// A right prediction that three seeds cannot confirm.
struct TooFewSeeds;

impl Claim for TooFewSeeds {
    fn id(&self) -> &'static str {
        "three-seeds"
    }

    fn title(&self) -> &str {
        "Three seeds are not enough"
    }

    fn source(&self) -> &str {
        "Student 1908"
    }

    fn prediction(&self) -> &str {
        r"The slope of the claim moment-rate is $-\tfrac12 \pm 0.1$."
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let mut errors = measure(ctx, 3)?;
        errors.iter_mut().flatten().for_each(|y| *y -= 1.0);
        let x = WIDTHS.map(|n| n as f64);
        let slope = stats::slope_over_seeds(&x, &errors, Average::RootMeanSquare)?.fit.slope;
        let test = Test::equals("slope", &slope, -0.5, 0.1)?;
        Ok(Outcome { tests: vec![test], ..Outcome::default() })
    }
}

/// An experiment that cannot be done.
struct NoData;

impl Claim for NoData {
    fn id(&self) -> &'static str {
        "no-data"
    }

    fn title(&self) -> &str {
        "An experiment without its data"
    }

    fn source(&self) -> &str {
        "This example"
    }

    fn prediction(&self) -> &str {
        "None."
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        bail!("{}: no such file", ctx.data_dir.join("missing.csv").display())
    }
}
