//! The induction of the proof of TP IIb Theorem 5.3, carried out for one network.
//!
//! The proof (App. D.3) says what the change of *every* G-var `g = W h` in training is, not only that of the output.
//! Modulo linear combinations of `Zhat^{W u}`, which are independent of everything that the output reads,
//!
//! ```text
//! Z^{delta g(xi)} = - sum over steps s and examples j of  C_s chi_s(j)
//!                     sum over g' = W h'  A(g(xi), g'(xi_j)) Z^{dg'(xi_j)}                         (eq. 107)
//! ```
//!
//! where `A(g, g')` is the sum of `<p, q>` over isomorphic paths that end in `g` and `g'` ([`crate::paths`]). Then so is
//! the conclusion, kernel gradient descent with the kernel of eq. 100, and the path formula for that kernel (Prop. D.3).
//!
//! The steps, each in one file:
//!
//! | file | step |
//! | --- | --- |
//! | `training` | the network, its training as a program, its backward passes at initialisation |
//! | `rules.rs` of the crate | the left side: `Z` of what training changes, by the Z rules, ZDot among them |
//! | `paths/forward.rs` of the crate | `A(g, g')`, from the forward pass by the path recursion |
//! | `sides` | the right side, the two kernels, gradient descent; and what is compared with what |
//! | `proof` | the comparison of expressions: `derive` has no numbers, and neither has this |
//! | `random` | the comparison of numbers of a prime field, where expressions are too long to be written out |
//!
//! Rules, paths and sides are written over what they compute with: the deriver's expressions, or numbers at random points.
//!
//! When `W` and `W'` both occur in the forward pass, the conclusion holds and the induction does not: the first G-var at
//! which it breaks is reported with the term of ZDot that the proof leaves out (App. D.4.2 says that there is none).

mod field;
mod proof;
mod random;
mod sides;
#[cfg(test)]
mod tests;
mod training;

use netsor_ir::expr::ExprId;
use netsor_ir::number::Number;
use netsor_ir::paths::PathError;
use netsor_ir::transform::{Decay, Loss, Sgd, TransformError};
use netsor_ir::{Network, Program, ValueId};
use num_traits::Zero;

use crate::error::LimitError;
use crate::graph::{Graph, Leaf};
use crate::paths::PathFormulaError;
use crate::show::{Notation, definition, show};
pub use random::{RandomCheck, RandomVerdict};

/// Most monomials of integrands that are compared: some seconds of work.
const MONOMIALS: usize = 3_000;

/// The training run that the induction is checked for: full batches, so that `chi` holds the weight of every example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Number of steps, at least one.
    pub steps: usize,
    /// The learning rate of each step; the last one goes on.
    pub rates: Vec<Number>,
    /// Heavy-ball momentum.
    pub momentum: Number,
    /// The loss.
    pub loss: Loss,
}

impl Default for Steps {
    /// One step with rate 1 on the squared loss.
    fn default() -> Self {
        let Sgd { steps, rates, momentum, loss, .. } = Sgd::default();
        Self { steps, rates, momentum, loss }
    }
}

impl Steps {
    fn sgd(&self) -> Sgd {
        let Self { steps, rates, momentum, loss } = self.clone();
        Sgd { steps, rates, momentum, loss, decay: Decay::None, ..Sgd::default() }
    }

    /// The share `C_ts` of the gradient of step `s` in the weights at time `t`: the learning rates since then, each with
    /// one more power of the momentum.
    fn share(&self, t: usize, s: usize) -> Number {
        let mut power = Number::from_integer(1.into());
        let mut total = Number::zero();
        for u in s..t {
            if let Some(rate) = self.rates.get(u).or(self.rates.last()) {
                total += rate * &power;
            }
            power *= &self.momentum;
        }
        total
    }
}

/// Why the induction cannot be checked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InductionError {
    /// The network cannot be trained as a program.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// There is no path formula for the network.
    #[error(transparent)]
    Paths(PathFormulaError),
    /// A limit could not be derived.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The two sides have too many terms to be compared.
    #[error(
        "the two sides of `{name}` are not compared: the integrands up to it have more than {limit} monomials; take fewer examples, or layers, or a smaller batch to normalise over; or compare at random points of a field (`RandomCheck`)"
    )]
    TooLong {
        /// The G-var, output or kernel at which the limit was reached.
        name: String,
        /// Most monomials.
        limit: usize,
    },
    /// Not decided at random points.
    #[error("at random points of a field nothing is said of `{name}`: {reason}")]
    NotAtPoints {
        /// The value.
        name: String,
        /// Why.
        reason: String,
    },
    /// Nothing is trained.
    #[error("the induction is about what training changes: expected at least one step, found 0")]
    NoSteps,
}

impl InductionError {
    fn not_at_points(name: &str, reason: &str) -> Self {
        Self::NotAtPoints { name: name.to_owned(), reason: reason.to_owned() }
    }
}

impl From<PathFormulaError> for InductionError {
    fn from(error: PathFormulaError) -> Self {
        match error {
            PathFormulaError::Limit(error) => Self::Limit(error),
            other => Self::Paths(other),
        }
    }
}

impl From<PathError> for InductionError {
    fn from(error: PathError) -> Self {
        PathFormulaError::from(error).into()
    }
}

/// What the induction says of one network: every G-var, then every output.
#[derive(Clone, Debug)]
pub struct Induction {
    /// The training program that was derived, without families.
    pub program: Program,
    /// The expressions and definitions of the checks.
    pub graph: Graph,
    /// One entry a G-var and time, in the order of the induction.
    pub g_vars: Vec<GVarCheck>,
    /// One entry an output and time.
    pub outputs: Vec<OutputCheck>,
    /// One entry a pair of outputs.
    pub kernels: Vec<KernelCheck>,
}

/// How a comparison of two expressions came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// They are one expression: a proof.
    Holds,
    /// They differ, by this number at generic data: the root mean square of a difference of vectors.
    Fails(f64),
    /// What is left of the difference is not 0 by proof, and not above its error at generic data either.
    Open,
}

impl Verdict {
    /// Whether it is a proof.
    pub fn holds(self) -> bool {
        self == Self::Holds
    }

    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails(_) => "fails",
            Self::Open => "open",
        }
    }
}

/// Eq. 107 for one G-var after some steps.
#[derive(Clone, Debug)]
pub struct GVarCheck {
    /// The G-var: a product or a trained initial vector.
    pub g: ValueId,
    /// The number of steps.
    pub time: usize,
    /// `Z` of its change by the Z rules.
    pub derived: ExprId,
    /// What eq. 107 says.
    pub claimed: ExprId,
    /// What is left of the difference modulo `Zhat^{W u}`; `None` if eq. 107 holds.
    pub difference: Option<ExprId>,
    /// Whether it holds.
    pub verdict: Verdict,
    /// If it fails: the terms of ZDot in the change that the proof has no place for.
    pub returns: Vec<ReturnTerm>,
}

/// A term of `Zdot^{W delta h}` whose vector is no error signal.
#[derive(Clone, Copy, Debug)]
pub struct ReturnTerm {
    /// The product `W delta h`.
    pub product: ValueId,
    /// The vector `y` that comes back: `Z^{delta h}` depends on `Zhat^{W' y}`.
    pub vector: ValueId,
    /// Its coefficient `s(W) E dZ^{delta h} / dZhat^{W' y}`.
    pub coefficient: ExprId,
}

/// Theorem 5.3 for one output: `f_t - f_0 + sum of C_ts chi_s(j) K(., j)`.
#[derive(Clone, Debug)]
pub struct OutputCheck {
    /// The output.
    pub output: ValueId,
    /// Its component, for outputs with several.
    pub component: usize,
    /// The number of steps.
    pub time: usize,
    /// What is left of the difference; `None` if the theorem holds symbolically.
    pub difference: Option<ExprId>,
    /// Whether it holds.
    pub verdict: Verdict,
}

/// Prop. D.3 for one pair of outputs: the kernel by paths (eq. 96, 125) against that by moments (eq. 100).
#[derive(Clone, Debug)]
pub struct KernelCheck {
    /// The first output.
    pub first: ValueId,
    /// The second output.
    pub second: ValueId,
    /// By paths, as printed.
    pub by_paths: ExprId,
    /// By moments of the backward pass.
    pub by_moments: ExprId,
    /// What is left of the difference; `None` if the formula holds symbolically.
    pub difference: Option<ExprId>,
    /// Whether it holds.
    pub verdict: Verdict,
}

impl Induction {
    /// Checks eq. 107 for every G-var of the network, in the NTK parametrization.
    ///
    /// ```
    /// use netsor_limit::induction::{Induction, Steps};
    /// use netsor_zoo::Mlp;
    ///
    /// let network = Mlp { inputs: 2, hidden: 2, ..Mlp::default() }.network()?;
    /// let induction = Induction::check(&network, &Steps::default())?;
    /// assert!(induction.holds() && induction.theorem_holds());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Batch norm, whose integrands multiply out to polynomials in the deviations from the mean, is compared up to about
    /// one layer over four inputs; beyond that the check says that it gives up, and [`RandomCheck`] decides.
    ///
    /// Cost: the network and its training program are written out member by member, and every pair of G-vars with one
    /// matrix needs an expectation.
    ///
    /// # Errors
    /// [`InductionError`]: for other parametrizations, outputs that are no sums of readouts, and whatever cannot be
    /// derived.
    pub fn check(network: &Network, steps: &Steps) -> Result<Self, InductionError> {
        proof::check(network, steps, MONOMIALS)
    }

    /// Whether eq. 107 holds for every G-var, by proof.
    pub fn holds(&self) -> bool {
        self.g_vars.iter().all(|check| check.verdict.holds())
    }

    /// The first G-var for which eq. 107 does not hold by proof; for `Fails` there is a number that says so.
    pub fn first_failure(&self) -> Option<&GVarCheck> {
        self.g_vars.iter().find(|check| !check.verdict.holds())
    }

    /// Whether every output descends along the kernel of eq. 100, by proof.
    pub fn theorem_holds(&self) -> bool {
        self.outputs.iter().all(|check| check.verdict.holds())
    }

    /// Whether the path formula gives the kernel of eq. 100 for every pair of outputs, by proof.
    pub fn path_formula_holds(&self) -> bool {
        self.kernels.iter().all(|check| check.verdict.holds())
    }

    /// The definitions that expressions mention, directly or through others, in the order in which they were derived:
    /// names and texts.
    pub fn definitions(&self, exprs: &[ExprId]) -> Vec<(String, String)> {
        let mut wanted = std::collections::BTreeSet::new();
        let mut stack = exprs.to_vec();
        while let Some(expr) = stack.pop() {
            for (symbol, _) in self.graph.pool.refs(expr) {
                if let Leaf::Def(def) = self.graph.leaf(symbol)
                    && wanted.insert(def)
                {
                    stack.extend(self.graph.def(def).body.exprs());
                }
            }
        }
        let show = |def| definition(&self.graph, &self.program, def, Notation::Text);
        wanted.into_iter().map(|def| (format!("E{}", def.index()), show(def))).collect()
    }

    /// An expression of the checks as text.
    pub fn text(&self, expr: ExprId) -> String {
        show(&self.graph, &self.program, expr, Notation::Text, &[])
    }

    /// The name of a value of the training program.
    pub fn name(&self, value: ValueId) -> &str {
        &self.program.value(value).name
    }

    /// Why eq. 107 fails for a G-var, in a sentence for each term that the proof leaves out.
    pub fn reason(&self, check: &GVarCheck) -> String {
        if check.returns.is_empty() {
            return "the two sides are different expressions, and no term of a ZDot explains it".to_owned();
        }
        let terms = check.returns.iter().map(|term| {
            let (product, y) = (self.name(term.product), self.name(term.vector));
            let coefficient = self.text(term.coefficient);
            format!(
                "ZDot of `{product}` contains ({coefficient}) * Z^{{{y}}}, for its operand depends on what the \
                 transposed matrix made of `{y}`; eq. 112 and 120 suppose that only error signals come back"
            )
        });
        terms.collect::<Vec<_>>().join("; ")
    }
}
