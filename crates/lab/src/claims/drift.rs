//! `ntk-drift`: along training the tangent kernel changes by O(1/m) (NTH Cor. 2.4).

use netsor_finite::{Inputs, Options, Trainer, empirical_kernel};
use netsor_ir::Network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_zoo::{Activation, Mlp};

use super::setup::{TwoClasses, abscissae, column, find, over_seeds, relative_distance, slope_figure, slope_table};
use crate::stats::{Average, slope_over_seeds};
use crate::{Claim, Context, Outcome, Test};

/// Room around the slope -1.
const SLOPE_MARGIN: f64 = 0.15;
/// Learning rate of full-batch gradient descent on `sum (f - y)^2 / 2`.
const ETA: f64 = 0.05;
const STEPS: usize = 20;

pub(super) struct NtkDrift;

impl Claim for NtkDrift {
    fn id(&self) -> &'static str {
        "ntk-drift"
    }

    fn title(&self) -> &str {
        r"Training changes the tangent kernel by $O(1/m)$"
    }

    fn source(&self) -> &str {
        "NTH Cor. 2.4"
    }

    fn prediction(&self) -> &str {
        r"For one hidden layer of width $m$ and tanh, $\|K_T - K_0\|_F / \|K_0\|_F$ along gradient
          descent on digits has slope $-1$ in $m$ up to $0.15$. (The corollary is an upper bound,
          up to powers of $\ln m$, for smooth activations; that it is attained is our prediction.)"
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/ntk-drift.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let widths: Vec<usize> = ctx.scale.pick(
            vec![128, 256, 512, 1024],
            vec![128, 256, 512, 1024, 2048],
            vec![128, 256, 512, 1024, 2048, 4096, 8192],
        );
        let n_seeds = ctx.scale.pick(64, 128, 400);
        let (n_train, n_test) = ctx.scale.pick((8, 4), (10, 6), (20, 10));
        let data = TwoClasses::load(ctx, (4, 9), (n_train, n_test))?;
        let network = |activation| -> anyhow::Result<Verified<Network>> {
            let inputs = data.n_points() as u32;
            let network = Mlp { inputs, dim: 64, hidden: 1, activation, ..Mlp::default() };
            Ok(verify_network(network.network()?)?)
        };
        let (tanh, relu) = (network(Activation::Tanh)?, network(Activation::Relu)?);
        let rows = over_seeds(ctx, "drift", &ctx.seeds(n_seeds), |seed| {
            let at = |&n: &usize| Ok(vec![drift(&tanh, &data, n, seed)?, drift(&relu, &data, n, seed)?]);
            widths.iter().map(at).collect()
        })?;

        let x = abscissae(&widths);
        let tanh = slope_over_seeds(&x, &column(&rows, 0), Average::RootMeanSquare)?;
        let relu = slope_over_seeds(&x, &column(&rows, 1), Average::RootMeanSquare)?;
        let test = Test::equals("slope of the change, tanh", &tanh.fit.slope, -1.0, SLOPE_MARGIN)?;
        let (low, high) = relu.fit.slope.interval(0.95)?;
        let notes = vec![format!(
            "Relu is outside the corollary. Its slope, measured in the same way, is {:.3} \
             (95 % interval {low:.3} to {high:.3}): the kernel jumps when a unit switches on or off.",
            relu.fit.slope.value
        )];
        let figure = slope_figure(
            "Change of the tangent kernel along training",
            "relative change",
            &[("tanh", &tanh), ("relu", &relu)],
            (-1.0, "slope −1"),
            format!(
                "{STEPS} steps of gradient descent on {n_train} digits, $\\eta = {ETA}$, kernel on \
                 {} digits, {n_seeds} seeds, root mean square; bars are pointwise 95 % intervals.",
                data.n_points()
            ),
        );
        let tables = vec![
            slope_table("Change by width, tanh", "change", &tanh),
            slope_table("Change by width, relu", "change", &relu),
        ];
        Ok(Outcome { tests: vec![test], tables, figures: vec![figure], notes })
    }
}

/// `|K_T - K_0| / |K_0|` on all points.
fn drift(network: &Verified<Network>, data: &TwoClasses, n: usize, seed: u64) -> anyhow::Result<f64> {
    let xi = find(&network.program, "xi")?;
    let inputs = Inputs::new().with(xi, data.inputs.clone());
    let options = Options::new(n, seed);
    let before = empirical_kernel::<f64>(network, &inputs, &options)?.remove(0);
    let mut trainer = Trainer::<f64>::new(network, &inputs, options.clone())?;
    for _ in 0..STEPS {
        let f = trainer.outputs()?.remove(0);
        trainer.step(ETA, &[data.train_residuals(&f)])?;
    }
    let after = empirical_kernel::<f64>(network, &trainer.resume(inputs), &options)?.remove(0);
    Ok(relative_distance(&after.ntk, &before.ntk))
}
