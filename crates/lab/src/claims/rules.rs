//! `claim-3-2`, `there-and-back`, `remark-b5`, `remark-b6`: the Z rules on the examples with which TP IIb explains them.
//!
//! Each is a program in `examples/` whose scalars have limits in closed form. Three numbers meet: the closed form,
//! worked out by hand below, the limit engine, and the program at growing widths.

use anyhow::Context as _;
use netsor_finite::{Inputs, Options, execute};
use netsor_ir::ValueId;
use netsor_ir::syntax::parse_program;
use netsor_ir::verify::{Verified, verify_program};
use netsor_ir::{Instr, Program};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};

use super::setup::{abscissae, column, over_seeds, slope_figure, slope_table};
use crate::stats::{Average, extrapolate_over_seeds, slope_over_seeds};
use crate::{Cell, Claim, Context, Outcome, Table, Test};

/// Room around the slope -1/2.
const SLOPE_MARGIN: f64 = 0.15;
/// Room around the limit, as a share of it or, for limits below 1, by itself.
const LIMIT_MARGIN: f64 = 0.05;
/// The limit engine against the closed form: its quadrature is asked for 1e-10.
const TOLERANCE: f64 = 1e-9;

pub(super) fn all() -> impl Iterator<Item = Box<dyn Claim>> {
    [Example::Claim32, Example::ThereAndBack, Example::RemarkB5, Example::RemarkB6]
        .into_iter()
        .map(|example| Box::new(example) as Box<dyn Claim>)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Example {
    Claim32,
    ThereAndBack,
    RemarkB5,
    RemarkB6,
}

impl Example {
    fn text(self) -> &'static str {
        match self {
            Self::Claim32 => include_str!("../../../../examples/claim_3_2.netsor"),
            Self::ThereAndBack => include_str!("../../../../examples/there_and_back.netsor"),
            Self::RemarkB5 => include_str!("../../../../examples/remark_b5.netsor"),
            Self::RemarkB6 => include_str!("../../../../examples/remark_b6.netsor"),
        }
    }

    /// The limit of each scalar of the program, by hand.
    fn closed_form(self, scalar: &str) -> Option<f64> {
        let (half, pi) = (0.5_f64, std::f64::consts::PI);
        // For Gaussians of variances s, t and covariance c, with u = (s + t) / 2:
        // E sin sin = exp(-u) sinh c and E cos cos = exp(-u) cosh c.
        let slope = (-1.0_f64).exp() * half.cosh();
        let (variance, covariance) = ((-1.0_f64).exp() * 1.0_f64.sinh(), (-1.0_f64).exp() * half.sinh());
        Some(match (self, scalar) {
            (Self::Claim32, "echo") => slope * (-variance).exp() * variance.cosh(),
            (Self::Claim32, "share") => slope * (-variance).exp() * covariance.cosh(),
            (Self::ThereAndBack, "echo" | "variance") => 1.0,
            (Self::ThereAndBack, "absolute") => (2.0 / pi).sqrt(),
            (Self::ThereAndBack, "correlation") => 0.0,
            // sigma^2 E (y + z)^2 E cos(Z) with sigma^2 = 2 and Z of variance 4.
            (Self::RemarkB5, "once" | "twice") => 4.0 * (-2.0_f64).exp(),
            (Self::RemarkB6, "echo") => pi.sqrt().recip(),
            _ => return None,
        })
    }
}

impl Claim for Example {
    fn id(&self) -> &'static str {
        match self {
            Self::Claim32 => "claim-3-2",
            Self::ThereAndBack => "there-and-back",
            Self::RemarkB5 => "remark-b5",
            Self::RemarkB6 => "remark-b6",
        }
    }

    fn title(&self) -> &str {
        match self {
            Self::Claim32 => r"After a step of SGD, $W$ returns what its transpose has seen",
            Self::ThereAndBack => r"$W W^\top x$ is a Gaussian vector plus $x$",
            Self::RemarkB5 => "One vector written in two ways has one limit",
            Self::RemarkB6 => "Stein's lemma gives the derivative of a step function",
        }
    }

    fn source(&self) -> &str {
        match self {
            Self::Claim32 => "TP IIb Claim 3.2, eqs. 16 to 19 (eq. 16 as corrected)",
            Self::ThereAndBack => "TP IIb eqs. 20, 21",
            Self::RemarkB5 => "TP IIb App. Remark B.5, as corrected",
            Self::RemarkB6 => "TP IIb App. Remark B.6, eq. 67",
        }
    }

    fn prediction(&self) -> &str {
        r"The limit engine gives each scalar of the program its closed form, up to $10^{-9}$. Over widths the scalars,
          extrapolated by $m + c/n$, tend to these up to $0.05$ (relative where the limit exceeds 1), and
          their root mean square distance has slope $-1/2$ in $n$ up to $0.15$."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/z-rules.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let program = verify_program(parse_program(self.text())?)?;
        let scalars: Vec<ValueId> =
            program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Moment(_))).collect();
        let limits = limits(&program, &scalars)?;
        let widths: Vec<usize> =
            ctx.scale.pick(vec![64, 128, 256, 512], vec![64, 128, 256, 512, 1024], vec![64, 128, 256, 512, 1024, 2048]);
        let n_seeds = ctx.scale.pick(256, 512, 1024);
        ctx.progress().message(format!("{n_seeds} seeds"));
        let rows = over_seeds(ctx, "scalars", &ctx.seeds(n_seeds), |seed| {
            widths.iter().map(|&n| measure(&program, &scalars, &limits, n, seed)).collect()
        })?;

        let x = abscissae(&widths);
        let mut tests = Vec::new();
        let mut table = Table::new(
            "Scalars of the program",
            ["scalar", "closed form", "limit engine", "program, extrapolated", "standard error"],
        );
        for (k, (&scalar, &limit)) in scalars.iter().zip(&limits).enumerate() {
            let name = program.value(scalar).name.as_str();
            let exact = self.closed_form(name).with_context(|| format!("no closed form for `{name}`"))?;
            tests.push(Test::within(format!("limit of {name}"), limit, exact, TOLERANCE)?);
            let fit = extrapolate_over_seeds(&x, &column(&rows, k + 1), &[1.0])?.limit;
            let margin = LIMIT_MARGIN * exact.abs().max(1.0);
            tests.push(Test::equals(format!("{name} at infinite width"), &fit, exact, margin)?);
            table.push([Cell::from(name), exact.into(), limit.into(), fit.value.into(), fit.standard_error.into()]);
        }
        if *self == Self::RemarkB5 {
            let without = self.closed_form("once").map(|exact| exact / 2.0).context("`once` has a closed form")?;
            let fit = extrapolate_over_seeds(&x, &column(&rows, 1), &[1.0])?.limit;
            tests.push(Test::differs("once is not the printed formula's, without σ²", &fit, without, LIMIT_MARGIN)?);
        }
        let curve = slope_over_seeds(&x, &column(&rows, 0), Average::RootMeanSquare)?;
        tests.push(Test::equals("slope of the distance", &curve.fit.slope, -0.5, SLOPE_MARGIN)?);
        let figure = slope_figure(
            "Distance of the scalars from their limits",
            "distance",
            &[("root mean square over seeds", &curve)],
            (-0.5, "slope −1/2"),
            format!("Euclidean distance of all scalars, {n_seeds} seeds; bars are pointwise 95 % intervals."),
        );
        let tables = vec![table, slope_table("Distance by width", "distance", &curve)];
        Ok(Outcome { tests, tables, figures: vec![figure], notes: Vec::new() })
    }
}

/// The limits of scalars of a program without data.
fn limits(program: &Program, scalars: &[ValueId]) -> anyhow::Result<Vec<f64>> {
    let mut deriver = Deriver::new(program);
    let exprs = scalars.iter().map(|&s| deriver.scalar(s)).collect::<Result<Vec<_>, _>>()?;
    let graph = deriver.into_graph();
    let tolerance = Tolerance { absolute: 1e-10, relative: 0.0, ..Tolerance::default() };
    let data = Data::new();
    let mut evaluator = Evaluator::new(&graph, program, &data, tolerance)?;
    exprs.into_iter().map(|expr| Ok(evaluator.value(expr, &[])?.value)).collect()
}

/// The distance of the scalars from their limits, then the scalars.
fn measure(
    program: &Verified<Program>,
    scalars: &[ValueId],
    limits: &[f64],
    n: usize,
    seed: u64,
) -> anyhow::Result<Vec<f64>> {
    let state = execute::<f64>(program, &Inputs::new(), scalars, &Options::new(n, seed))?;
    let values: Vec<f64> = scalars.iter().flat_map(|&s| state.numbers(s)).collect();
    let distance: f64 = values.iter().zip(limits).map(|(value, limit)| (value - limit).powi(2)).sum();
    Ok([distance.sqrt()].into_iter().chain(values).collect())
}
