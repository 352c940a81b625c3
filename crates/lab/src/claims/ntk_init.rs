//! `ntk-init-*`: the tangent kernel at initialisation converges to its limit (TP IIb Thm 5.1).

use anyhow::Context as _;
use netsor_finite::{Inputs, Options, empirical_kernel};
use netsor_ir::Network;
use netsor_ir::verify::{Verified, verify_network};

use super::architecture;
use super::independence::two_backward_passes;
use super::setup::{
    LimitKernel, abscissae, column, digits, find, limit_kernel, limits, name, over_seeds, projection,
    relative_distance, slope_figure, slope_table,
};
use crate::format;
use crate::stats::{Average, extrapolate_over_seeds, slope_over_seeds};
use crate::{Cell, Claim, Context, Outcome, Scale, Table, Test};

/// Room around the slope -1/2.
const SLOPE_MARGIN: f64 = 0.15;
/// Room around the limit, relative.
const LIMIT_MARGIN: f64 = 0.05;
/// What the tied network must be away from the wrong formula by, relative.
const DIFFERENCE_MARGIN: f64 = 0.05;
/// Error asked of each integral of the limit; a thousandth of the margin is enough by far.
const TOLERANCE: f64 = 1e-6;

/// One claim an architecture.
pub(super) fn all() -> impl Iterator<Item = Box<dyn Claim>> {
    ARCHITECTURES.iter().map(|architecture| Box::new(NtkInit { architecture }) as Box<dyn Claim>)
}

/// An architecture on the digits: 64 numbers an input, in whatever shape its data has.
struct Architecture {
    id: &'static str,
    title: &'static str,
    source: &'static str,
    page: &'static str,
    network: architecture::Build,
    cost: Cost,
    /// Whether the path formula is wrong for it, so that its shares must differ from those of independent gradients.
    return_path: bool,
}

/// Widths and numbers of seeds.
#[derive(Clone, Copy)]
enum Cost {
    /// Two dense layers, with many seeds.
    Dense,
    /// A convolution, whose kernel varies more from seed to seed.
    Conv,
    /// A product or two an input.
    Light,
    /// A product for each position or step, and several for each.
    Heavy,
}

const ARCHITECTURES: [Architecture; 9] = [
    Architecture {
        id: "ntk-init-mlp",
        title: r"The tangent kernel of an MLP tends to $\mathring{K}$",
        source: "TP IIb Thm 5.1",
        page: "src/experiments/ntk-init-mlp.md",
        network: architecture::mlp,
        cost: Cost::Dense,
        return_path: false,
    },
    Architecture {
        id: "ntk-init-tied",
        title: r"The tangent kernel of a network with $W$ and $W^\top$ tends to $\mathring{K}$",
        source: "TP IIb Thm 5.1; erratum to Prop. D.3",
        page: "src/experiments/ntk-init-tied.md",
        network: architecture::tied,
        cost: Cost::Dense,
        return_path: true,
    },
    Architecture {
        id: "ntk-init-conv",
        title: r"The tangent kernel of a convolutional network tends to $\mathring{K}$",
        source: "TP IIb Thm 5.1",
        page: "src/experiments/ntk-init-conv.md",
        network: architecture::conv,
        cost: Cost::Conv,
        return_path: false,
    },
    Architecture {
        id: "ntk-init-rnn",
        title: r"The tangent kernel of a recurrent network tends to $\mathring{K}$",
        source: "TP IIb Thm 5.1",
        page: "src/experiments/ntk-init-architectures.md",
        network: architecture::rnn,
        cost: Cost::Heavy,
        return_path: false,
    },
    Architecture {
        id: "ntk-init-gru",
        title: r"The tangent kernel of a gated recurrent unit tends to $\mathring{K}$",
        source: "TP IIb Thm 5.1",
        page: "src/experiments/ntk-init-architectures.md",
        network: architecture::gru,
        cost: Cost::Heavy,
        return_path: false,
    },
    Architecture {
        id: "ntk-init-layer-norm",
        title: r"The tangent kernel of a network with layer norm tends to $\mathring{K}$",
        source: "TP IIb Thm 5.1",
        page: "src/experiments/ntk-init-architectures.md",
        network: architecture::layer_norm,
        cost: Cost::Light,
        return_path: false,
    },
    Architecture {
        id: "ntk-init-batch-norm",
        title: r"The tangent kernel of a network with batch norm tends to $\mathring{K}$",
        source: "TP IIb Thm 5.1",
        page: "src/experiments/ntk-init-architectures.md",
        network: architecture::batch_norm,
        cost: Cost::Light,
        return_path: false,
    },
    Architecture {
        id: "ntk-init-transformer",
        title: r"The tangent kernel of a transformer tends to $\mathring{K}$",
        source: "TP IIb Thm 5.1",
        page: "src/experiments/ntk-init-architectures.md",
        network: architecture::transformer,
        cost: Cost::Heavy,
        return_path: false,
    },
    Architecture {
        id: "ntk-init-graph",
        title: r"The tangent kernel of a graph network tends to $\mathring{K}$",
        source: "TP IIb Thm 5.1",
        page: "src/experiments/ntk-init-architectures.md",
        network: architecture::graph,
        cost: Cost::Heavy,
        return_path: false,
    },
];

struct NtkInit {
    architecture: &'static Architecture,
}

impl Architecture {
    fn verified(&self, inputs: u32) -> anyhow::Result<Verified<Network>> {
        Ok(verify_network((self.network)(inputs)?)?)
    }

    /// Widths and number of seeds. A seed costs about `n^2` normals and `20 n^2` multiplications an
    /// input (and position).
    fn size(&self, scale: Scale) -> (Vec<usize>, usize) {
        match self.cost {
            Cost::Dense => scale.pick(
                (vec![64, 128, 256, 512], 256),
                (vec![64, 128, 256, 512, 1024], 384),
                (vec![64, 128, 256, 512, 1024, 2048, 4096], 512),
            ),
            Cost::Conv => scale.pick(
                (vec![64, 128, 256, 512], 256),
                (vec![64, 128, 256, 512, 1024], 256),
                (vec![64, 128, 256, 512, 1024, 2048], 512),
            ),
            Cost::Light => scale.pick(
                (vec![64, 128, 256], 512),
                (vec![64, 128, 256, 512, 1024], 256),
                (vec![64, 128, 256, 512, 1024, 2048], 512),
            ),
            Cost::Heavy => scale.pick(
                (vec![64, 128, 256], 384),
                (vec![64, 128, 256, 512], 512),
                (vec![64, 128, 256, 512, 1024, 2048], 512),
            ),
        }
    }
}

impl Claim for NtkInit {
    fn id(&self) -> &'static str {
        self.architecture.id
    }

    fn title(&self) -> &str {
        self.architecture.title
    }

    fn source(&self) -> &str {
        self.architecture.source
    }

    fn prediction(&self) -> &str {
        r"The relative distance $\|K_n - \mathring{K}\|_F / \|\mathring{K}\|_F$ on digits falls like
          $n^{-1/2}$: its slope is $-1/2$ up to $0.15$ (the exponent is that of the central limit
          theorem; the theorem itself states convergence).
          The mean over seeds of each parameter's share, extrapolated by $m + c/n$, is the limit's
          share up to $5\,\%$."
    }

    fn page(&self) -> Option<&str> {
        Some(self.architecture.page)
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let xi = digits(ctx, &[0, 1, 2, 3, 4, 5], 1)?;
        let network = self.architecture.verified(6)?;
        ctx.progress().message("limit");
        let limit = limit_kernel(&network, &xi, 6, TOLERANCE)?;
        let (widths, n_seeds) = self.architecture.size(ctx.scale);
        ctx.progress().message(format!("{} digits, {n_seeds} seeds", limit.size));
        let rows = over_seeds(ctx, "kernel", &ctx.seeds(n_seeds), |seed| {
            widths.iter().map(|&n| measure(&network, &xi, &limit, n, seed)).collect()
        })?;

        let x = abscissae(&widths);
        let curve = slope_over_seeds(&x, &column(&rows, 0), Average::RootMeanSquare)?;
        let mut tests = vec![Test::equals("slope of the distance", &curve.fit.slope, -0.5, SLOPE_MARGIN)?];
        let mut shares = Table::new(
            r"Shares of $\mathring{K}$: the mean over seeds of $\langle K_n, \mathring{K}\rangle / \langle \mathring{K}, \mathring{K}\rangle$, extrapolated to $n = \infty$ by $m + c/n$",
            ["parameter", r"$\|\mathring{K}\|_F$", "$m$", "standard error", "$c$"],
        );
        for (k, (parameter, part)) in limit.parts.iter().enumerate() {
            let fit = extrapolate_over_seeds(&x, &column(&rows, k + 1), &[1.0])?;
            tests.push(Test::equals(format!("share of {parameter} at infinite width"), &fit.limit, 1.0, LIMIT_MARGIN)?);
            let norm = part.iter().map(|k| k * k).sum::<f64>().sqrt();
            let numbers = [norm, fit.limit.value, fit.limit.standard_error, fit.coefficients[0].value];
            shares.push([Cell::from(parameter.as_str())].into_iter().chain(numbers.map(Cell::from)));
        }
        let mut notes = vec![format!(
            "The limit engine states an error of at most {} for an entry of $\\mathring{{K}}$.",
            format::number(limit.error)
        )];
        if self.architecture.return_path {
            let passes = two_backward_passes(&network)?;
            let first = passes.shares.iter().min_by_key(|share| share.parameter);
            let first = first.context("the network has no matrices below its readout")?;
            let parameter = name(&network, first.parameter);
            let values = [first.independent_within];
            let (wrong, _) = limits(&passes.program, &values, &xi, 6, TOLERANCE)?;
            let right = &limit.parts[&parameter];
            let share = projection(&wrong[0], right);
            let at = limit.parts.keys().position(|it| *it == parameter);
            let at = at.context("both programs have the same parameters")?;
            let fit = extrapolate_over_seeds(&x, &column(&rows, at + 1), &[1.0])?;
            tests.push(Test::differs(
                format!("share of {parameter} is not that of independent gradients"),
                &fit.limit,
                share,
                DIFFERENCE_MARGIN,
            )?);
            notes.push(format!(
                "With independent matrices in the backward pass (the path formula of Prop. D.3) \
                 the limit of the share of {parameter} would be {share:.4} of the true one."
            ));
        }
        let figure = slope_figure(
            "Distance of the tangent kernel from its limit",
            "relative Frobenius distance",
            &[("root mean square over seeds", &curve)],
            (-0.5, "slope −1/2"),
            format!("Six digits, {n_seeds} seeds; bars are pointwise 95 % intervals."),
        );
        let tables = vec![slope_table("Distance by width", "distance", &curve), shares];
        Ok(Outcome { tests, tables, figures: vec![figure], notes })
    }
}

/// Relative distance of the kernel, then the projections of the shares, in the limit's order.
fn measure(
    network: &Verified<Network>,
    xi: &[f64],
    limit: &LimitKernel,
    n: usize,
    seed: u64,
) -> anyhow::Result<Vec<f64>> {
    let data = find(&network.program, "xi")?;
    let inputs = Inputs::new().with(data, xi.to_vec());
    let kernel = empirical_kernel::<f64>(network, &inputs, &Options::new(n, seed))?.remove(0);
    let mut measured = vec![relative_distance(&kernel.ntk, &limit.ntk)];
    for (parameter, part) in &limit.parts {
        let own = kernel.parts.iter().find(|(value, _)| name(network, *value) == *parameter);
        let (_, own) = own.expect("both engines have the same parameters");
        measured.push(projection(own, part));
    }
    Ok(measured)
}
