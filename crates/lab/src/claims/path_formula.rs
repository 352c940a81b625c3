//! `path-formula`: Prop. D.3 holds without, and fails with, a matrix and its transpose in the forward pass.

use netsor_finite::{Inputs, Options, empirical_kernel};
use netsor_ir::transform::unroll_network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_ir::{Dim, Kind, Network, ValueId};
use netsor_limit::paths::{PathFormula, PathRule};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};

use super::architecture::{self, Build};
use super::setup::{abscissae, column, digits, find, limit_kernel, over_seeds, projection, relative_distance};
use crate::stats::extrapolate_over_seeds;
use crate::{Cell, Claim, Context, Outcome, Table, Test, format};

/// Networks whose forward pass never uses a matrix and its transpose.
const WITHOUT: [(&str, Build); 4] = [
    ("an MLP", architecture::mlp),
    ("a recurrent network", architecture::rnn),
    ("layer norm", architecture::layer_norm),
    ("a graph network", architecture::graph),
];
const INPUTS: usize = 3;
/// Error asked of each integral, relative to the largest entry of a kernel.
const TOLERANCE: f64 = 1e-7;
/// Largest relative distance of two kernels that counts as equal: ten times what the errors of a sum of some ten
/// integrals may add up to.
const EQUAL: f64 = 1e-5;
/// Room around the limits of simulated kernels, and the least by which the printed formula misses them.
const MARGIN: f64 = 0.05;

pub(super) struct PathFormulaClaim;

impl Claim for PathFormulaClaim {
    fn id(&self) -> &'static str {
        "path-formula"
    }

    fn title(&self) -> &str {
        r"The tangent kernel is a sum over paths, with return paths where $W$ and $W^\top$ meet"
    }

    fn source(&self) -> &str {
        "TP IIb App. Prop. D.3, eqs. 95, 100, 125; D.4.2 corrected"
    }

    fn prediction(&self) -> &str {
        r"On three digits the sum over pairs of isomorphic paths is the kernel by moments of the backward pass for an
          MLP, a recurrent network, layer norm and a graph network, to a relative $10^{-5}$ of numerical integration.
          With $W$ and $W^\top$ in the forward pass the formula as printed is not: the kernel of a network, extrapolated
          by $m + c/n$ and projected onto the kernel by moments, is 1 up to $0.05$, and differs by more than $0.05$ from
          the projection of the printed sum. With derivatives in base variables, which adds the return paths, the two
          agree again."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/path-formula.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let xi = digits(ctx, &[0, 1, 2], 1)?;
        let mut outcome = Outcome::default();
        let mut table = Table::new(
            "Relative distance of the kernel by paths from that by moments",
            ["network", "as printed", "with return paths"],
        );
        for (name, build) in WITHOUT {
            ctx.checkpoint()?;
            ctx.progress().message(name);
            let network = verify_network(build(INPUTS as u32)?)?;
            let moments = limit_kernel(&network, &xi, INPUTS, TOLERANCE)?.ntk;
            let [printed, returns] = [PathRule::Printed, PathRule::WithReturns]
                .map(|rule| Ok(relative_distance(&by_paths(&network, &xi, rule)?, &moments)));
            let (printed, returns): (anyhow::Result<f64>, anyhow::Result<f64>) = (printed, returns);
            let (printed, returns) = (printed?, returns?);
            outcome.tests.push(Test::within(format!("{name}: distance of the two kernels"), printed, 0.0, EQUAL)?);
            table.push([Cell::from(name), Cell::from(printed), Cell::from(returns)]);
        }

        ctx.progress().message("W and its transpose");
        let network = verify_network(architecture::tied(INPUTS as u32)?)?;
        let moments = limit_kernel(&network, &xi, INPUTS, TOLERANCE)?.ntk;
        let printed = by_paths(&network, &xi, PathRule::Printed)?;
        let returns = by_paths(&network, &xi, PathRule::WithReturns)?;
        let distances = [&printed, &returns].map(|kernel| relative_distance(kernel, &moments));
        table.push([Cell::from("W and its transpose"), Cell::from(distances[0]), Cell::from(distances[1])]);
        let title = "W and its transpose: distance of the kernel with return paths";
        outcome.tests.push(Test::within(title, distances[1], 0.0, EQUAL)?);

        let widths: Vec<usize> =
            ctx.scale.pick(vec![64, 128, 256], vec![64, 128, 256, 512], vec![64, 128, 256, 512, 1024, 2048]);
        let seeds = ctx.seeds(ctx.scale.pick(192, 384, 512));
        let rows = over_seeds(ctx, "kernel", &seeds, |seed| {
            widths.iter().map(|&n| Ok(vec![projection(&simulated(&network, &xi, n, seed)?, &moments)])).collect()
        })?;
        let fit = extrapolate_over_seeds(&abscissae(&widths), &column(&rows, 0), &[1.0])?;
        outcome.tests.push(Test::equals("simulated kernel over that by moments", &fit.limit, 1.0, MARGIN)?);
        let wrong = projection(&printed, &moments);
        outcome.tests.push(Test::differs("simulated kernel is not the printed sum", &fit.limit, wrong, MARGIN)?);
        outcome.tables.push(table);
        outcome.notes.push(format!(
            "With $W$ and $W^\\top$ the printed sum is {} of the kernel by moments, and the network's kernel {} of it at \
             infinite width ({} seeds).",
            format::number(wrong),
            format::with_error(fit.limit.value, fit.limit.standard_error),
            seeds.len()
        ));
        Ok(outcome)
    }
}

/// The tangent kernel by the path formula, as a matrix by rows.
fn by_paths(network: &Network, xi: &[f64], rule: PathRule) -> anyhow::Result<Vec<f64>> {
    let (plain, members) = unroll_network(network)?;
    let family = find(&network.program, "xi")?;
    let size = match network.program.value(family).ty.kind {
        Kind::Vector(Dim::Finite(size)) => size as usize,
        _ => 1,
    };
    let given = members[family.index()].iter().zip(xi.chunks(size));
    let data = given.fold(Data::new(), |data, (&member, numbers)| data.with(member, numbers.to_vec()));
    let outputs: &[ValueId] = &members[network.outputs[0].index()];

    let mut deriver = Deriver::new(&plain.program);
    let mut formula = PathFormula::new(&plain, &mut deriver, rule)?;
    let mut entries = Vec::new();
    for &first in outputs {
        for &second in outputs {
            entries.push(formula.kernel(first.min(second), first.max(second))?.total);
        }
    }
    let graph = deriver.into_graph();
    let tolerance = Tolerance { absolute: TOLERANCE, relative: 0.0, ..Tolerance::default() };
    let mut evaluator = Evaluator::new(&graph, &plain.program, &data, tolerance)?;
    entries.into_iter().map(|entry| Ok(evaluator.value(entry, &[])?.value)).collect()
}

fn simulated(network: &Verified<Network>, xi: &[f64], n: usize, seed: u64) -> anyhow::Result<Vec<f64>> {
    let inputs = Inputs::new().with(find(&network.program, "xi")?, xi.to_vec());
    Ok(empirical_kernel::<f64>(network, &inputs, &Options::new(n, seed))?.remove(0).ntk)
}
