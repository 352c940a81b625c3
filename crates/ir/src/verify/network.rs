//! Parameters and outputs.

use num_traits::Signed;

use super::{Place, Problem, Verifier, too_large, too_long};
use crate::network::Network;
use crate::program::{Dim, Instr, Kind, ValueId};

impl Verifier<'_> {
    pub(super) fn network(&mut self, network: &Network) {
        let ids: Vec<ValueId> = network.parameters.iter().map(|p| p.value).collect();
        self.ordered(&ids, "parameters");
        for parameter in &network.parameters {
            let Some(value) = self.program.values.get(parameter.value.index()) else { continue };
            let place = Place::Value(parameter.value);
            if !matches!(value.instr, Instr::Matrix { .. } | Instr::Gaussian(_)) {
                let message = format!("the parameter `{}` is not an initial matrix or vector", value.name);
                self.report(Problem::new("parameter-kind", message, place));
            }
            if parameter.multiplier_squared.is_negative() || too_long(&parameter.multiplier_squared) {
                let message = format!("the squared multiplier of `{}` is negative or too long", value.name);
                self.report(Problem::new("bad-multiplier", message, place));
            }
            if [parameter.a, parameter.b, parameter.c].into_iter().any(too_large) {
                let message = format!("an exponent of the parameter `{}` is too large", value.name);
                self.report(Problem::new("exponent-too-large", message, place));
            }
        }
        self.ordered(&network.outputs, "outputs");
        for &output in &network.outputs {
            let Some(value) = self.program.values.get(output.index()) else { continue };
            if !matches!(value.ty.kind, Kind::Scalar | Kind::Vector(Dim::Finite(_))) {
                let message = format!("the output `{}` is {}", value.name, self.kind_text(value.ty.kind));
                self.report(
                    Problem::new("output-kind", message, Place::Value(output))
                        .label("an output is a scalar or a vector of constant dimension")
                        .help("read a vector of width `n` out by a matrix: `param v : n x 1 ~ N(0, 1/n)`, `output f = v' * x`"),
                );
            }
        }
    }

    /// Ids in range, ascending and each once.
    fn ordered(&mut self, ids: &[ValueId], what: &str) {
        if ids.iter().any(|id| self.program.values.len() <= id.index()) {
            self.report(Problem::new("unknown-id", format!("one of the {what} does not exist"), Place::Item));
        }
        if !ids.is_sorted_by(|a, b| a < b) {
            let message = format!("the {what} are not in the order of their definitions, each once");
            self.report(Problem::new("order", message, Place::Item));
        }
    }
}
