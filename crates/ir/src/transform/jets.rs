//! `jets`: derivatives of a network's values along a straight line in its parameters, to any order.
//!
//! With parameters `W + t D`, whose directions `D` are further initial tensors of the program, the `k`-th derivative in
//! `t` of every value is a value of the program: that of `W x` is `W x^(k) + k D x^(k-1)`, and that of a coordinatewise
//! function or a Moment follows from its occurrences. At order one this is the product of the Jacobian with a vector,
//! at order `k` the `k`-th term of the Taylor expansion of the network in its parameters. No powers of the width are
//! split off: derivatives are what they are.

use std::collections::BTreeMap;

use super::TransformError;
use crate::calculus::Derivative;
use crate::expr::ExprId;
use crate::index::Index;
use crate::network::Network;
use crate::number::integer;
use crate::program::{Instr, Kind, Law, Operand, Program, Scale, ValueId, own_indices, value_of};

/// A program with derivatives along a line.
#[derive(Clone, Debug)]
pub struct Jets {
    /// The network's values unchanged, then directions and derivatives.
    pub program: Program,
    /// Each trained parameter and its direction, an initial tensor of variance 0 that is to be supplied.
    pub directions: Vec<(ValueId, ValueId)>,
    /// The derivatives of each output: of order 0 (the output itself), 1, 2, ...
    pub outputs: Vec<Vec<ValueId>>,
}

/// The derivatives of the network's outputs along a line in its trained parameters, up to an order.
///
/// Cost: the values of order `k` are polynomials in those of lower order, as in Faà di Bruno's formula; equal terms are
/// shared.
///
/// # Errors
/// If the network has no output or trained values define laws, as for `backprop`.
pub fn jets(network: &Network, order: usize) -> Result<Jets, TransformError> {
    if network.outputs.is_empty() {
        return Err(TransformError::NoOutput);
    }
    let mut line = Line { program: network.program.clone(), directions: BTreeMap::new(), known: BTreeMap::new() };
    for parameter in network.parameters.iter().filter(|p| p.trained) {
        line.direction(parameter.value);
    }
    let directions = line.directions.iter().map(|(&p, &d)| (p, d)).collect();
    let mut outputs: Vec<Vec<ValueId>> = network.outputs.iter().map(|&o| vec![o]).collect();
    for _ in 0..order {
        let last: Vec<ValueId> = outputs.iter().map(|o| o[o.len() - 1]).collect();
        for (derivatives, next) in outputs.iter_mut().zip(line.differentiate(&last)) {
            derivatives.push(next);
        }
    }
    Ok(Jets { program: line.program, directions, outputs })
}

struct Line {
    program: Program,
    /// The direction of each trained parameter.
    directions: BTreeMap<ValueId, ValueId>,
    /// The derivative of each value that has one.
    known: BTreeMap<ValueId, ValueId>,
}

impl Line {
    /// A tensor of the shape of a parameter.
    fn direction(&mut self, parameter: ValueId) {
        let value = self.program.value(parameter).clone();
        let name = self.program.unused_name(&format!("{}_direction", value.name));
        let instr = match value.ty.kind {
            Kind::Matrix { .. } => Instr::Matrix { variance: Scale::constant(integer(0)) },
            _ => {
                let zero = self.program.exprs.integer(0);
                Instr::Gaussian(Law { mean: zero, covariance: zero, cross: Vec::new() })
            }
        };
        let direction = self.define(&name, parameter, value.ty.kind, instr);
        self.directions.insert(parameter, direction);
    }

    /// A value with the family of another one.
    fn define(&mut self, name: &str, of: ValueId, kind: Kind, instr: Instr) -> ValueId {
        let original = self.program.value(of).clone();
        let names = original.index_names.iter().map(String::as_str);
        let family: Vec<_> = names.zip(original.ty.family.iter().copied()).collect();
        self.program.define(name, &family, kind, instr)
    }

    /// The derivatives of the wanted values; the constant 0 of one that does not move.
    fn differentiate(&mut self, wanted: &[ValueId]) -> Vec<ValueId> {
        let existing: Vec<ValueId> = self.program.value_ids().collect();
        let mut moving = vec![false; existing.len()];
        for &id in &existing {
            let inherited = self.program.arguments(id).iter().any(|a| moving[a.index()]);
            let initial = matches!(self.program.value(id).instr, Instr::Gaussian(_) | Instr::Matrix { .. });
            moving[id.index()] = self.directions.contains_key(&id) || (inherited && !initial);
        }
        let mut needed = vec![false; existing.len()];
        wanted.iter().for_each(|w| needed[w.index()] = true);
        for &id in existing.iter().rev() {
            if needed[id.index()] && moving[id.index()] && !self.known.contains_key(&id) {
                self.program.arguments(id).iter().for_each(|a| needed[a.index()] = true);
            }
        }
        for &id in &existing {
            if needed[id.index()] && moving[id.index()] && !self.known.contains_key(&id) {
                let derivative = match self.directions.get(&id) {
                    Some(&direction) => direction,
                    None => self.derivative(id),
                };
                self.known.insert(id, derivative);
            }
        }
        wanted.iter().map(|w| self.known.get(w).copied().unwrap_or_else(|| self.zero(*w))).collect()
    }

    fn zero(&mut self, of: ValueId) -> ValueId {
        let zero = self.program.exprs.integer(0);
        self.value(of, zero)
    }

    /// A value of the kind and family of `of` with this definition.
    fn value(&mut self, of: ValueId, expr: ExprId) -> ValueId {
        let name = self.program.unused_name(&format!("{}_d", self.program.value(of).name));
        let kind = self.program.value(of).ty.kind;
        let instr = if kind == Kind::Scalar { Instr::Scalar(expr) } else { Instr::Map(expr) };
        self.define(&name, of, kind, instr)
    }

    fn derivative(&mut self, id: ValueId) -> ValueId {
        match self.program.value(id).instr.clone() {
            Instr::MatMul { matrix, transposed, vector } => self.of_product(id, &matrix, transposed, &vector),
            Instr::Moment(expr) => {
                let derivative = self.of_expr(expr);
                let name = self.program.unused_name(&format!("{}_d", self.program.value(id).name));
                let moment = self.program.expr_dim(derivative).is_some();
                let instr = if moment { Instr::Moment(derivative) } else { Instr::Scalar(derivative) };
                self.define(&name, id, Kind::Scalar, instr)
            }
            Instr::Map(expr) | Instr::Scalar(expr) => {
                let derivative = self.of_expr(expr);
                self.value(id, derivative)
            }
            // Initial values that are no parameters do not move.
            _ => self.zero(id),
        }
    }

    fn of_expr(&mut self, expr: ExprId) -> ExprId {
        let known = &self.known;
        let mut fresh = 1_000;
        let wanted = |symbol| known.contains_key(&value_of(symbol));
        let occurrences = self.program.exprs.occurrences(expr, Derivative::Pointwise, &mut fresh, &wanted);
        let mut terms = Vec::new();
        for occurrence in occurrences {
            let moved = self.program.member(self.known[&value_of(occurrence.symbol)], &occurrence.indices);
            let product = self.program.exprs.mul(occurrence.coefficient, moved);
            terms.push(self.program.exprs.sum(&occurrence.variables, occurrence.guards.iter().cloned(), product));
        }
        self.program.exprs.add_all(terms)
    }

    /// `A x' + D x` for a matrix with direction `D`.
    fn of_product(&mut self, id: ValueId, matrix: &Operand, transposed: bool, vector: &Operand) -> ValueId {
        let mut parts = Vec::new();
        if let Some(&moved) = self.known.get(&vector.value) {
            parts.push((matrix.value, moved));
        }
        if let Some(&direction) = self.directions.get(&matrix.value) {
            parts.push((direction, vector.value));
        }
        let kind = self.program.value(id).ty.kind;
        let own: Vec<Index> = own_indices(self.program.value(id).ty.family.len()).collect();
        let mut products = Vec::new();
        for (a, x) in parts {
            let name = self.program.unused_name(&format!("{}_p", self.program.value(id).name));
            let operand = |value: ValueId, of: &Operand| Operand { value, indices: of.indices.clone() };
            let instr = Instr::MatMul { matrix: operand(a, matrix), transposed, vector: operand(x, vector) };
            products.push(self.define(&name, id, kind, instr));
        }
        if let [product] = products[..] {
            return product;
        }
        let terms: Vec<ExprId> = products.iter().map(|&p| self.program.member(p, &own)).collect();
        let sum = self.program.exprs.add_all(terms);
        self.value(id, sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::{parse_network, print_program};

    /// Directions of matrices are constant: a linear network of two layers has a second derivative and no third.
    #[test]
    fn a_linear_network_is_a_polynomial() {
        let network = "network linear {
  data xi : 2
  param U : n x 2 ~ N(0, 1/2)
  param v : n x 1 ~ N(0, 1/n)
  h = U * xi
  output f = v' * h
}";
        let jets = jets(&parse_network(network).unwrap(), 3).unwrap();
        insta::assert_snapshot!(print_program(&jets.program), @r"
        program linear {
          data xi : 2
          matrix U : n x 2 ~ N(0, 0.5)
          matrix v : n x 1 ~ N(0, 1/n)
          h = U * xi
          f = v' * h
          matrix U_direction : n x 2 ~ N(0, 0)
          matrix v_direction : n x 1 ~ N(0, 0)
          h_p = U_direction * xi
          f_p = v' * h_p
          f_p_1 = v_direction' * h
          f_d = f_p + f_p_1
          f_p_p = v_direction' * h_p
          f_p_1_p = v_direction' * h_p
          f_d_d = f_p_p + f_p_1_p
          f_d_d_d : 1 = 0
        }
        ");
    }
}
