//! `ntk-train-*`: SGD of a wide network is kernel gradient descent with the limit kernel (TP IIb Thm 5.3, eq. 22), for
//! one architecture each, in the manner of Figure 1 of "Tensor Programs II: Neural Tangent Kernel for Any Architecture".

use std::ops::ControlFlow;

use netsor_finite::{Inputs, Loss, Options, Order, Rate, Trainer, Training, train};
use netsor_ir::Network;
use netsor_ir::verify::{Verified, verify_network};

use super::architecture;
use super::regression::{Comparison, Comparisons, Regression};
use super::setup::{LimitKernel, TwoClasses, draws, draws_text, find, limit_kernel, over_draws, slope_table};
use crate::stats::Average;
use crate::{Claim, Context, Outcome, Scale, Test, format};

/// Room around the slope -1/2.
const SLOPE_MARGIN: f64 = 0.15;
/// Error asked of each integral of the limit, a thousandth of the deviation of the widest network or less.
const TOLERANCE: f64 = 1e-6;

/// One claim an architecture.
pub(super) fn all() -> impl Iterator<Item = Box<dyn Claim>> {
    ARCHITECTURES.iter().map(|architecture| Box::new(NtkTrain { architecture }) as Box<dyn Claim>)
}

struct Architecture {
    id: &'static str,
    title: &'static str,
    page: &'static str,
    network: architecture::Build,
    cost: Cost,
}

/// Sizes of the experiment.
#[derive(Clone, Copy)]
enum Cost {
    /// A product or two an input.
    Light,
    /// A product for each position or step, or several.
    Heavy,
    /// One batch of all points, whose statistics every entry of the kernel depends on.
    Batch,
}

const PAGE: &str = "src/experiments/ntk-train-architectures.md";

const ARCHITECTURES: [Architecture; 9] = [
    Architecture {
        id: "ntk-train-mlp",
        title: r"SGD of a wide MLP is kernel gradient descent with $\mathring{K}$",
        page: "src/experiments/ntk-train-mlp.md",
        network: architecture::mlp,
        cost: Cost::Light,
    },
    Architecture {
        id: "ntk-train-tied",
        title: r"SGD of a wide network with $W$ and $W^\top$ is kernel gradient descent with $\mathring{K}$",
        page: PAGE,
        network: architecture::tied,
        cost: Cost::Light,
    },
    Architecture {
        id: "ntk-train-conv",
        title: r"SGD of a wide convolutional network is kernel gradient descent with $\mathring{K}$",
        page: PAGE,
        network: architecture::conv,
        cost: Cost::Heavy,
    },
    Architecture {
        id: "ntk-train-rnn",
        title: r"SGD of a wide recurrent network is kernel gradient descent with $\mathring{K}$",
        page: PAGE,
        network: architecture::rnn,
        cost: Cost::Heavy,
    },
    Architecture {
        id: "ntk-train-gru",
        title: r"SGD of a wide gated recurrent unit is kernel gradient descent with $\mathring{K}$",
        page: PAGE,
        network: architecture::gru,
        cost: Cost::Heavy,
    },
    Architecture {
        id: "ntk-train-layer-norm",
        title: r"SGD of a wide network with layer norm is kernel gradient descent with $\mathring{K}$",
        page: PAGE,
        network: architecture::layer_norm,
        cost: Cost::Light,
    },
    Architecture {
        id: "ntk-train-batch-norm",
        title: r"SGD of a wide network with batch norm is kernel gradient descent with $\mathring{K}$",
        page: PAGE,
        network: architecture::batch_norm,
        cost: Cost::Batch,
    },
    Architecture {
        id: "ntk-train-transformer",
        title: r"SGD of a wide transformer is kernel gradient descent with $\mathring{K}$",
        page: PAGE,
        network: architecture::transformer,
        cost: Cost::Heavy,
    },
    Architecture {
        id: "ntk-train-graph",
        title: r"SGD of a wide graph network is kernel gradient descent with $\mathring{K}$",
        page: PAGE,
        network: architecture::graph,
        cost: Cost::Heavy,
    },
];

struct NtkTrain {
    architecture: &'static Architecture,
}

/// Numbers of points, steps and draws.
struct Size {
    n_train: usize,
    n_test: usize,
    steps: usize,
    /// Widths and numbers of draws.
    draws: Vec<(usize, usize)>,
}

impl Cost {
    fn size(self, scale: Scale) -> Size {
        let full = &[64, 128, 256, 512, 1024, 2048];
        let size = |n_train, n_test, steps, widths: &[usize], widest| Size {
            n_train,
            n_test,
            steps,
            draws: draws(widths, widest),
        };
        match self {
            Self::Light => scale.pick(
                size(4, 2, 12, &[64, 128, 256], 160),
                size(12, 6, 36, &[64, 128, 256, 512], 256),
                size(40, 20, 200, full, 256),
            ),
            Self::Heavy => scale.pick(
                size(3, 1, 6, &[64, 128, 256], 160),
                size(6, 2, 12, &[64, 128, 256, 512], 256),
                size(12, 6, 48, full, 256),
            ),
            Self::Batch => scale.pick(
                size(6, 2, 12, &[64, 128, 256], 160),
                size(6, 2, 24, &[64, 128, 256, 512], 256),
                size(6, 2, 48, full, 256),
            ),
        }
    }
}

impl Claim for NtkTrain {
    fn id(&self) -> &'static str {
        self.architecture.id
    }

    fn title(&self) -> &str {
        self.architecture.title
    }

    fn source(&self) -> &str {
        "TP IIb Thm 5.3, eq. 22"
    }

    fn prediction(&self) -> &str {
        r"SGD with batch size 1 on two classes of digits ($\pm 1$, squared loss) follows
          $\mathring{f}_{t+1}(\xi) = \mathring{f}_t(\xi) - \eta \mathring{K}(\xi, \xi_t)
          \mathcal{L}'_t(\mathring{f}_t(\xi_t))$ from the same $f_0$: the root mean square of
          $f_t - \mathring{f}_t$ over steps and points, relative to that of $\mathring{f}_t - f_0$, has slope
          $-1/2$ in $n$ up to $0.15$."
    }

    fn page(&self) -> Option<&str> {
        Some(self.architecture.page)
    }

    fn revision(&self) -> u32 {
        2
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let Size { n_train, n_test, steps, draws } = self.architecture.cost.size(ctx.scale);
        let data = TwoClasses::load(ctx, (4, 9), (n_train, n_test))?;
        let network = verify_network((self.architecture.network)(data.n_points() as u32)?)?;
        ctx.progress().message("limit");
        let limit = limit_kernel(&network, &data.inputs, n_train, TOLERANCE)?;
        let run = Run::new(&network, &data, &limit, steps);
        ctx.progress().message(format!("{steps} steps of SGD"));
        let columns = over_draws(ctx, "train", &draws, |n, seed| run.compare(n, seed))?;
        let comparisons = Comparisons { draws: &draws, columns };
        let curve = comparisons.curve(Average::RootMeanSquare)?;
        let test = Test::equals("slope of the deviation", &curve.fit.slope, -0.5, SLOPE_MARGIN)?;
        let figures = comparisons.figures(
            "Deviation of SGD from kernel gradient descent",
            &curve,
            format!(
                "{n_train} training and {n_test} test digits (4 and 9), {steps} steps, $\\eta = {}$, {}; bars are \
                  pointwise 95 % intervals.",
                format::number(run.eta),
                draws_text(&draws)
            ),
            ("step t", 1.0),
        );
        let tables = vec![slope_table("Deviation by width", "relative deviation", &curve)];
        let notes = vec![format!(
            "The limit engine states an error of at most {} for an entry of $\\mathring{{K}}$.",
            format::number(limit.error)
        )];
        Ok(Outcome { tests: vec![test], tables, figures, notes })
    }
}

/// SGD on the training points in turn, one a step.
struct Run<'a> {
    network: &'a Verified<Network>,
    data: &'a TwoClasses,
    regression: Regression,
    /// Half of `1 / max K(xi, xi)`: a step takes at most half of the residual of its own example away.
    eta: f64,
    steps: usize,
}

impl<'a> Run<'a> {
    fn new(network: &'a Verified<Network>, data: &'a TwoClasses, limit: &LimitKernel, steps: usize) -> Self {
        let diagonal = (0..data.n_train).map(|i| limit.ntk[i * limit.size + i]);
        let eta = 0.5 / diagonal.fold(0.0, f64::max);
        Self { network, data, regression: Regression::new(data, limit), eta, steps }
    }

    /// In single precision: some dozens of steps round by 1e-5, and deviations are 1e-2 and more.
    fn compare(&self, n: usize, seed: u64) -> anyhow::Result<Comparison> {
        let Self { network, data, regression, eta, steps } = self;
        let inputs = Inputs::new().with(find(&network.program, "xi")?, data.inputs.clone());
        let mut trainer = Trainer::<f32>::new(network, &inputs, Options::new(n, seed))?;
        let examples: Vec<usize> = (0..data.n_train).collect();
        let training = Training {
            loss: Loss::Squared,
            targets: vec![data.targets.clone()],
            rate: Rate::Constant(*eta),
            order: Order::single(&examples),
            steps: *steps,
        };
        let history = train(&mut trainer, &training, &mut |_| ControlFlow::Continue(()))?;
        let outputs: Vec<Vec<f64>> = history.snapshots.into_iter().map(|mut s| s.outputs.remove(0)).collect();
        let order: Vec<usize> = (0..*steps).map(|t| t % data.n_train).collect();
        let theory = regression.descent(&outputs[0], *eta, &order)?;
        Ok(Comparison::new(&outputs, &theory, data.n_train))
    }
}
