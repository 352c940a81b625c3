//! Which theorem covers a program or a network, and which hypothesis is missing otherwise.
//!
//! "Not covered" is an answer and not an error: the rules still give numbers, and for jumps and kinks these are
//! supported by Stein's lemma and by simulation. But a reader should know where a proof stops. Every hypothesis that
//! fails is a [`Missing`] with the values that show it and the place where the hypothesis stands.
//!
//! ```
//! use netsor_ir::theorem::{Missing, Status, Theorem, of_network};
//!
//! let network = netsor_ir::syntax::parse_network(
//!     "network shallow {
//!        data xi : 2
//!        param U : n x 2 ~ N(0, 1/2)
//!        param v : n x 1 ~ N(0, 1/n)
//!        h = U * xi
//!        x = relu(h)
//!        output f = v' * x
//!      }",
//! )?;
//! let covered = of_network(&network);
//! let of = |theorem: Theorem| covered.iter().find(|c| c.theorem == theorem).unwrap();
//! assert_eq!(of(Theorem::Master).status(), Status::Covered);
//! // ReLU has a kink, and eq. 84 needs a derivative that is pseudo-Lipschitz.
//! assert_eq!(of(Theorem::NtkTrain).status(), Status::Supported);
//! assert!(matches!(&of(Theorem::NtkTrain).missing[..], [Missing::LipschitzDerivative { value, .. }] if value == "x"));
//! # Ok::<(), netsor_ir::diagnostic::Diagnostics>(())
//! ```

mod functions;
mod missing;
mod network;
mod range;
#[cfg(test)]
mod tests;
mod width;

use serde::Serialize;

pub use missing::{Missing, Status};

use crate::network::Network;
use crate::program::{Instr, Program};

/// A theorem about tensor programs or networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Theorem {
    /// The Master Theorem: scalars converge almost surely to what the Z rules say (TP IIb App. Thm B.4).
    Master,
    /// The Simple GIA Check: the matrices of the backward pass may be taken to be independent copies (Yang 2020a).
    GradientIndependence,
    /// NTKInit: the tangent kernel at initialisation has a limit (TP IIb Thm 5.1).
    NtkInit,
    /// The path formula for this limit (TP IIb App. Prop. D.3 with eq. 125).
    PathFormula,
    /// NTKTrain: SGD follows kernel gradient descent with this limit (TP IIb Thm 5.3, App. Thm D.2).
    NtkTrain,
    /// The neural tangent hierarchy and its truncation (Huang & Yau 2020, Thms 2.3 and 2.6).
    Hierarchy,
}

impl Theorem {
    /// All theorems, those about programs first.
    pub const ALL: [Theorem; 6] = [
        Theorem::Master,
        Theorem::GradientIndependence,
        Theorem::NtkInit,
        Theorem::PathFormula,
        Theorem::NtkTrain,
        Theorem::Hierarchy,
    ];

    /// Where it stands.
    pub fn source(self) -> &'static str {
        match self {
            Theorem::Master => "TP IIb App. Thm B.4",
            Theorem::GradientIndependence => "Simple GIA Check",
            Theorem::NtkInit => "TP IIb Thm 5.1",
            Theorem::PathFormula => "TP IIb App. Prop. D.3",
            Theorem::NtkTrain => "TP IIb Thm 5.3",
            Theorem::Hierarchy => "NTH Thms 2.3, 2.6",
        }
    }

    /// What it says.
    pub fn subject(self) -> &'static str {
        match self {
            Theorem::Master => "scalars converge almost surely",
            Theorem::GradientIndependence => "backward pass with independent copies of the matrices",
            Theorem::NtkInit => "the tangent kernel at initialisation converges",
            Theorem::PathFormula => "that kernel is a sum over isomorphic paths",
            Theorem::NtkTrain => "SGD follows kernel gradient descent with the limit's tangent kernel",
            Theorem::Hierarchy => "the kernel moves by a hierarchy of differential equations",
        }
    }
}

/// Whether a theorem applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The theorem.
    pub theorem: Theorem,
    /// The hypotheses that fail; empty if the theorem applies.
    pub missing: Vec<Missing>,
    /// What else a reader should know: extensions that are used, and conditions that numbers will decide.
    pub remarks: Vec<String>,
}

impl Coverage {
    /// The weakest of what the missing hypotheses leave.
    pub fn status(&self) -> Status {
        self.missing.iter().map(|m| m.status(self.theorem)).max().unwrap_or(Status::Covered)
    }
}

/// The theorems about programs.
///
/// Cost: one pass over the distinct terms of the program.
pub fn of_program(program: &Program) -> Vec<Coverage> {
    vec![master(program, &[])]
}

/// The theorems about networks, and about the programs that they are.
pub fn of_network(network: &Network) -> Vec<Coverage> {
    let program = &network.program;
    let master = master(program, &network.outputs);
    let kinks = |m: &&Missing| matches!(m, Missing::LipschitzDerivative { .. });
    let base: Vec<Missing> = master.missing.clone();
    let readouts = network::readouts(network);
    let both = network::both_directions(program);
    let moments = program.values.iter().any(|v| matches!(v.instr, Instr::Moment(_)));
    let parametrization = network::parametrization(network);
    let all_kinks: Vec<Missing> = functions::check(program).iter().filter(kinks).cloned().collect();

    let gradient_independence = Coverage {
        theorem: Theorem::GradientIndependence,
        missing: readouts.iter().chain(&both).cloned().collect(),
        remarks: Vec::new(),
    };
    // The backward pass has the derivatives for functions. Without Moments polynomial bounds are enough for it.
    let in_backward = if moments { all_kinks.clone() } else { Vec::new() };
    let init = |theorem| Coverage {
        theorem,
        missing: base.iter().chain(&in_backward).chain(&readouts).chain(&parametrization).cloned().collect(),
        remarks: Vec::new(),
    };
    let ntk_init = init(Theorem::NtkInit);
    let mut path = init(Theorem::PathFormula);
    path.missing.extend(both.iter().cloned());
    let mut remarks = Vec::new();
    if moments {
        remarks.push("the network has Moments: App. D.4.5".to_owned());
    }
    if !both.is_empty() {
        remarks.push("matrices are also used transposed: App. D.4.2".to_owned());
    }
    remarks.push("the loss has to have a continuous derivative".to_owned());
    let train = Coverage {
        theorem: Theorem::NtkTrain,
        missing: base.iter().chain(&all_kinks).chain(&readouts).chain(&parametrization).cloned().collect(),
        remarks,
    };
    let mut hierarchy = network::fully_connected(network);
    hierarchy.extend(parametrization.iter().cloned());
    let remarks = if hierarchy.is_empty() {
        vec!["any few inputs have to be linearly independent, with norms of order one (Assumption 2.2)".to_owned()]
    } else {
        Vec::new()
    };
    let hierarchy = Coverage { theorem: Theorem::Hierarchy, missing: hierarchy, remarks };
    let mut all = vec![master, gradient_independence, ntk_init, path, train, hierarchy];
    all.iter_mut().for_each(|c| dedup(&mut c.missing));
    all
}

fn dedup(missing: &mut Vec<Missing>) {
    let mut kept: Vec<Missing> = Vec::new();
    missing.retain(|m| {
        let new = !kept.contains(m);
        if new {
            kept.push(m.clone());
        }
        new
    });
}

fn master(program: &Program, outputs: &[crate::ValueId]) -> Coverage {
    // Kinks are pseudo-Lipschitz; only divided differences and derivatives need more.
    let functions = functions::check(program).into_iter();
    let mut missing: Vec<Missing> = functions.filter(|m| !matches!(m, Missing::LipschitzDerivative { .. })).collect();
    let widths = width::check(program, outputs);
    missing.extend(width::entry_variances(program));
    missing.extend(widths.missing);
    let mut remarks = Vec::new();
    let moments = program.values.iter().any(|v| matches!(v.instr, Instr::Moment(_)));
    remarks.push(if moments { "it has Moments: NETSOR⊤⁺" } else { "it has no Moments: NETSOR⊤" }.to_owned());
    if let Some(first) = widths.differences.first() {
        remarks.push(format!("`{first}` is a divided difference with step n^-r: App. eq. 84"));
    }
    if 1 < program.classes.len() {
        remarks.push("the widths grow in fixed ratios: the variable-width rules (§5, extension 2)".to_owned());
    }
    for both in network::both_directions(program) {
        if let Missing::OneDirection { matrix, .. } = both {
            remarks.push(format!("{matrix} is used in both directions: ZDot terms are not zero in general"));
        }
    }
    dedup(&mut missing);
    Coverage { theorem: Theorem::Master, missing, remarks }
}
