//! `coordinates`: in training no vector of a wide network moves, and coordinates stay independent (TP IIb eq. 94).

use anyhow::Context as _;
use netsor_finite::{Inputs, Options, Trainer, execute};
use netsor_ir::transform::{Seed, backprop};
use netsor_ir::verify::{Verified, verify_network, verify_program};
use netsor_ir::{Dim, Index, Indices, Instr, Kind, Network, Program, ValueId};

use super::architecture;
use super::setup::{
    TwoClasses, abscissae, draws, draws_text, find, limit_kernel, limits, over_draws, relative_distance, slope_figure,
    slope_table,
};
use crate::stats::{Average, Curve, slope_of_samples};
use crate::{Claim, Context, Outcome, Table, Test};

/// Room around the slopes -1/2.
const SLOPE_MARGIN: f64 = 0.15;
/// Error asked of each integral of the limit.
const TOLERANCE: f64 = 1e-6;

/// Networks whose activations have a continuous derivative: with a jump, adjoints change by order one where a unit
/// passes it, which `n^(-1/4)` of them do in root mean square.
const NETWORKS: [(&str, architecture::Build); 3] =
    [("MLP", architecture::mlp), ("W and its transpose", architecture::tied), ("recurrent", architecture::rnn)];

pub(super) struct Coordinates;

impl Claim for Coordinates {
    fn id(&self) -> &'static str {
        "coordinates"
    }

    fn title(&self) -> &str {
        r"Training moves no vector, and its coordinates stay independent"
    }

    fn source(&self) -> &str {
        "TP IIb App. eq. 94; Thm B.4"
    }

    fn prediction(&self) -> &str {
        r"SGD on digits changes all vectors $x$ and all adjoints $\sqrt{n}\,\partial f/\partial x$ of a network by
          $O(n^{-1/2})$, so that $Z^{x_t} = Z^{x_0}$: the relative root mean square changes have slope $-1/2$ in $n$ up
          to $0.15$. After training, the means over coordinates $x_\alpha(\xi) x_\alpha(\xi')$ of the last embedding,
          and those over pairs of neighbours $x_\alpha(\xi)^2 x_{\alpha+1}(\xi')^2$, approach the limit at the start and
          the product of limits (independent coordinates) with the same slope. For an MLP, a network with $W$ and
          $W^\top$, and a recurrent network."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/coordinates.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let (n_train, n_test, steps) = ctx.scale.pick((3, 1, 6), (6, 2, 12), (12, 4, 48));
        let draws = ctx.scale.pick(
            draws(&[64, 128, 256], 80),
            draws(&[64, 128, 256, 512], 128),
            draws(&[64, 128, 256, 512, 1024, 2048], 128),
        );
        let data = TwoClasses::load(ctx, (4, 9), (n_train, n_test))?;
        let x = abscissae(&draws.iter().map(|d| d.0).collect::<Vec<_>>());
        let mut outcome = Outcome::default();
        for (name, network) in NETWORKS {
            ctx.progress().message(name);
            let experiment = Experiment::new(network(data.n_points() as u32)?, &data, steps)?;
            let columns = over_draws(ctx, name, &draws, |n, seed| experiment.run(n, seed))?;
            let curve = |k: usize| {
                let column = |runs: &Vec<Vec<f64>>| runs.iter().map(|run| run[k]).collect();
                slope_of_samples(&x, &columns.iter().map(column).collect::<Vec<_>>(), Average::RootMeanSquare)
            };
            let summary = (0..SUMMARY.len()).map(curve).collect::<Result<Vec<_>, _>>()?;
            for (what, curve) in SUMMARY.into_iter().zip(&summary) {
                let test = format!("slope, {name}: {what}");
                outcome.tests.push(Test::equals(test, &curve.fit.slope, -0.5, SLOPE_MARGIN)?);
                outcome.tables.push(slope_table(&format!("{name}: {what}"), "relative size", curve));
            }
            let mut each = Table::new(
                format!("{name}: slope of the relative change of each vector"),
                ["vector", "slope", "standard error", "change at the largest width"],
            );
            for (k, (_, vector)) in experiment.vectors.iter().enumerate() {
                let Curve { fit, points } = curve(SUMMARY.len() + k)?;
                let last = points.last().map_or(0.0, |point| point.y);
                each.push(
                    [vector.as_str().into(), fit.slope.value.into(), fit.slope.standard_error.into(), last.into()]
                        as [crate::Cell; 4],
                );
            }
            outcome.tables.push(each);
            let curves: Vec<(&str, &Curve)> = SUMMARY.into_iter().zip(&summary).collect();
            outcome.figures.push(slope_figure(
                &format!("{name}: what training changes"),
                "relative size",
                &curves,
                (-0.5, "slope −1/2"),
                format!(
                    "{steps} steps of SGD on {n_train} digits, {} digits looked at, {}, root mean square; bars are \
                     pointwise 95 % intervals.",
                    data.n_points(),
                    draws_text(&draws)
                ),
            ));
        }
        Ok(outcome)
    }
}

/// What is tested of each network.
const SUMMARY: [&str; 4] =
    ["change of vectors", "change of adjoints", "means over coordinates", "means over neighbours"];

/// A network, its backward pass, and the limit of its last embedding.
struct Experiment<'a> {
    network: Verified<Network>,
    data: &'a TwoClasses,
    steps: usize,
    eta: f64,
    /// Forward and backward pass.
    passes: Verified<Program>,
    /// The vectors of width `n` that are computed, with their names: forward first.
    vectors: Vec<(ValueId, String)>,
    n_forward: usize,
    embedding: ValueId,
    /// Means of products of coordinates of the embedding, by rows.
    gram: Vec<f64>,
}

impl<'a> Experiment<'a> {
    fn new(network: Network, data: &'a TwoClasses, steps: usize) -> anyhow::Result<Self> {
        let limit = limit_kernel(&network, &data.inputs, data.n_train, 1e-3)?;
        let diagonal = (0..data.n_train).map(|i| limit.ntk[i * limit.size + i]);
        // As in `ntk-train-*`; the rate need not be exact.
        let eta = 0.5 / diagonal.fold(0.0, f64::max);
        let passes = backprop(&network, Seed::Components)?.program;
        let of_width = |id: &ValueId| {
            let value = passes.value(*id);
            let computed = matches!(value.instr, Instr::MatMul { .. } | Instr::Map(_));
            computed && matches!(value.ty.kind, Kind::Vector(Dim::Width(_)))
        };
        let vectors: Vec<(ValueId, String)> =
            passes.value_ids().filter(of_width).map(|id| (id, passes.value(id).name.clone())).collect();
        let forward = network.program.values.len();
        let n_forward = vectors.iter().filter(|(id, _)| id.index() < forward).count();
        let (embedding, gram) = embedding(&network, data)?;
        let (network, passes) = (verify_network(network)?, verify_program(passes)?);
        Ok(Self { network, data, steps, eta, passes, vectors, n_forward, embedding, gram })
    }

    /// The numbers of [`SUMMARY`], then the relative change of each vector.
    fn run(&self, n: usize, seed: u64) -> anyhow::Result<Vec<f64>> {
        let inputs = Inputs::new().with(find(&self.network.program, "xi")?, self.data.inputs.clone());
        let mut trainer = Trainer::<f64>::new(&self.network, &inputs, Options::new(n, seed))?;
        let before = self.values(&trainer.resume(inputs.clone()), n, seed)?;
        for t in 0..self.steps {
            let f = trainer.outputs()?.remove(0);
            let example = t % self.data.n_train;
            let mut cotangents = vec![0.0; f.len()];
            cotangents[example] = f[example] - self.data.targets[example];
            trainer.step(self.eta, &[cotangents])?;
        }
        let after = self.values(&trainer.resume(inputs), n, seed)?;
        let changes: Vec<f64> = after.iter().zip(&before).map(|(a, b)| relative_distance(a, b)).collect();
        let (forward, backward) = changes.split_at(self.n_forward);
        let size = |changes: &[f64]| (changes.iter().map(|c| c * c).sum::<f64>() / changes.len() as f64).sqrt();
        let at = self.vectors.iter().position(|(id, _)| *id == self.embedding).context("the embedding is a vector")?;
        let (means, neighbours) = self.averages(&after[at], n);
        let summary = [size(forward), size(backward), means, neighbours];
        Ok(summary.into_iter().chain(changes).collect())
    }

    fn values(&self, parameters: &Inputs, n: usize, seed: u64) -> anyhow::Result<Vec<Vec<f64>>> {
        let wanted: Vec<ValueId> = self.vectors.iter().map(|(id, _)| *id).collect();
        let state = execute::<f64>(&self.passes, parameters, &wanted, &Options::new(n, seed))?;
        Ok(wanted.iter().map(|&id| state.numbers(id)).collect())
    }

    /// Relative distances of means over coordinates, and over pairs of neighbours, from what independent coordinates
    /// with the law of the limit have.
    fn averages(&self, embedding: &[f64], n: usize) -> (f64, f64) {
        let members: Vec<&[f64]> = embedding.chunks(n).collect();
        let size = members.len();
        let mean = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..size * size).map(|k| f(k / size, k % size) / n as f64).collect()
        };
        let own = mean(&|i, j| members[i].iter().zip(members[j]).map(|(a, b)| a * b).sum());
        let next = |x: &[f64], a: usize| x[(a + 1) % n];
        let pairs = mean(&|i, j| (0..n).map(|a| (members[i][a] * next(members[j], a)).powi(2)).sum());
        let square = |i: usize| self.gram[i * size + i];
        let product: Vec<f64> = (0..size * size).map(|k| square(k / size) * square(k % size)).collect();
        (relative_distance(&own, &self.gram), relative_distance(&pairs, &product))
    }
}

/// The vector that the readout reads, and the limits of the means of its products over coordinates.
fn embedding(network: &Network, data: &TwoClasses) -> anyhow::Result<(ValueId, Vec<f64>)> {
    let Instr::MatMul { vector, .. } = &network.program.value(network.outputs[0]).instr else {
        anyhow::bail!("the output of `{}` is no readout", network.program.name)
    };
    let mut program = network.program.clone();
    let axis = *program.value(vector.value).ty.family.first().context("the embedding is a family")?;
    let at = |var: u32| -> Indices { vector.indices.iter().map(|_| Index::Var(var)).collect() };
    let (a, b) = (program.member(vector.value, &at(0)), program.member(vector.value, &at(1)));
    let product = program.exprs.mul(a, b);
    let moment = program.moment("gram", &[("i", axis), ("j", axis)], product);
    let (mut gram, _) = limits(&program, &[moment], &data.inputs, data.n_points(), TOLERANCE)?;
    Ok((vector.value, gram.remove(0)))
}
