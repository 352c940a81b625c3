//! A network whose backward pass uses independent copies of its hidden matrices: what the
//! assumption of gradient independence would mean, as a program.

use std::collections::BTreeMap;

use netsor_ir::expr::ExprId;
use netsor_ir::program::{symbol_of, value_of};
use netsor_ir::transform::{Gradient, Seed, backprop};
use netsor_ir::verify::{Verified, verify_program};
use netsor_ir::{Index, Indices, Instr, Network, Operand, Program, Role, ValueId};

/// A forward pass, its backward pass, and a second backward pass in which every product with a
/// hidden matrix has an independent matrix of the same law.
pub(super) struct TwoBackwardPasses {
    pub(super) program: Verified<Program>,
    /// The uses of parameters, in the order of backprop.
    pub(super) shares: Vec<Share>,
}

/// The gradient of one use of a parameter, in the true and in the independent backward pass.
pub(super) struct Share {
    pub(super) parameter: ValueId,
    /// The adjoint vectors of the true backward pass.
    pub(super) adjoint: ValueId,
    /// The same with independent matrices.
    pub(super) independent: ValueId,
    /// `<grad, grad>`, up to the rate, as a scalar `[i, i']` of the program.
    pub(super) within: ValueId,
    /// `<grad, grad'>` with `grad'` from the independent backward pass.
    pub(super) across: ValueId,
    /// `<grad', grad'>`.
    pub(super) independent_within: ValueId,
}

/// The two backward passes of a network with one output `f[i]`. Readouts, whose gradients see no
/// adjoint, and parameters that are vectors have no share.
pub(super) fn two_backward_passes(network: &Network) -> anyhow::Result<TwoBackwardPasses> {
    let backprop = backprop(network, Seed::Components)?;
    let mut program = backprop.program;
    let n_forward = network.program.values.len();
    let backward: Vec<ValueId> = program.value_ids().skip(n_forward).collect();
    let mut copies = BTreeMap::new();
    for id in backward {
        copy(&mut program, network, id, &mut copies);
    }
    let mut shares = Vec::new();
    for gradient in &backprop.outputs[0].gradients {
        let Some(cols) = &gradient.cols else { continue };
        if network.role(gradient.parameter) != Role::OutputLike {
            shares.push(share(&mut program, gradient, cols, &copies));
        }
    }
    Ok(TwoBackwardPasses { program: verify_program(program)?, shares })
}

/// Appends a copy of one definition of the backward pass that refers to earlier copies.
fn copy(program: &mut Program, network: &Network, id: ValueId, copies: &mut BTreeMap<ValueId, ValueId>) {
    let value = program.value(id).clone();
    let own = |value: ValueId, copies: &BTreeMap<_, _>| copies.get(&value).copied().unwrap_or(value);
    let instr = match value.instr {
        Instr::MatMul { mut matrix, transposed, mut vector } => {
            vector.value = own(vector.value, copies);
            if network.role(matrix.value) == Role::Hidden {
                let mut fresh = program.value(matrix.value).clone();
                fresh.name = program.unused_name(&format!("of_{}", value.name));
                program.values.push(fresh);
                matrix.value = ValueId::new(program.values.len() - 1);
            }
            Instr::MatMul { matrix, transposed, vector }
        }
        Instr::Map(expr) => Instr::Map(renamed(program, value.ty.family.len(), expr, copies)),
        Instr::Scalar(expr) => Instr::Scalar(renamed(program, value.ty.family.len(), expr, copies)),
        Instr::Moment(expr) => Instr::Moment(renamed(program, value.ty.family.len(), expr, copies)),
        Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } | Instr::Gaussian(_) => return,
    };
    let name = program.unused_name(&format!("own_{}", value.name));
    program.values.push(netsor_ir::Value { name, instr, ..value });
    copies.insert(id, ValueId::new(program.values.len() - 1));
}

fn renamed(program: &mut Program, rank: usize, expr: ExprId, copies: &BTreeMap<ValueId, ValueId>) -> ExprId {
    let mut fresh = rank as u32;
    program.exprs.replace_refs(expr, &mut fresh, &mut |exprs, symbol, indices, _| {
        let copy = copies.get(&value_of(symbol))?;
        Some(exprs.reference(symbol_of(*copy), indices.iter().copied()))
    })
}

fn share(program: &mut Program, gradient: &Gradient, cols: &Operand, copies: &BTreeMap<ValueId, ValueId>) -> Share {
    let own = |value: ValueId| copies.get(&value).copied().unwrap_or(value);
    let independent_rows = Operand { value: own(gradient.rows.value), ..gradient.rows.clone() };
    let independent_cols = Operand { value: own(cols.value), ..cols.clone() };
    let mut product = |rows: [&Operand; 2], cols: [&Operand; 2]| {
        let rows = gram(program, rows);
        let cols = gram(program, cols);
        let family = program.value(rows).ty.family.clone();
        let indices = [Index::Var(0), Index::Var(1)];
        let (rows, cols) = (program.member(rows, &indices), program.member(cols, &indices));
        let product = program.exprs.mul(rows, cols);
        let name = program.unused_name("share");
        program.scalar(&name, &[("i", family[0]), ("j", family[1])], product)
    };
    let (rows, own_rows, own_cols) = (&gradient.rows, &independent_rows, &independent_cols);
    Share {
        parameter: gradient.parameter,
        adjoint: rows.value,
        independent: own_rows.value,
        within: product([rows, rows], [cols, cols]),
        across: product([rows, own_rows], [cols, own_cols]),
        independent_within: product([own_rows, own_rows], [own_cols, own_cols]),
    }
}

/// `mean(a[i] * b[j])` as a scalar family.
fn gram(program: &mut Program, [a, b]: [&Operand; 2]) -> ValueId {
    let axis = program.value(a.value).ty.family[0];
    let at = |operand: &Operand, var: u32| -> Indices { operand.indices.iter().map(|_| Index::Var(var)).collect() };
    let first = program.member(a.value, &at(a, 0));
    let second = program.member(b.value, &at(b, 1));
    let product = program.exprs.mul(first, second);
    let name = program.unused_name("gram");
    program.moment(&name, &[("i", axis), ("j", axis)], product)
}

#[cfg(test)]
mod tests {
    use netsor_zoo::{Mlp, Tied};

    use super::super::setup::limits;
    use super::*;

    const XI: [f64; 4] = [1.0, 0.5, -0.3, 1.2];

    fn two_points(network: &Network) -> (TwoBackwardPasses, Vec<[Vec<f64>; 3]>) {
        let passes = two_backward_passes(network).unwrap();
        let values: Vec<ValueId> =
            passes.shares.iter().flat_map(|share| [share.within, share.across, share.independent_within]).collect();
        let (matrices, _) = limits(&passes.program, &values, &XI, 2, 1e-8).unwrap();
        let shares = matrices.chunks(3).map(|m| [m[0].clone(), m[1].clone(), m[2].clone()]);
        (passes, shares.collect())
    }

    /// Only the top hidden matrix, whose gradient sees no product with a hidden matrix, keeps its
    /// share; within one backward pass an MLP does not notice that its matrices are copies.
    #[test]
    fn an_mlp_keeps_the_share_of_its_top_matrix() {
        let network = Mlp { inputs: 2, dim: 2, hidden: 3, ..Mlp::default() }.network().unwrap();
        let (passes, shares) = two_points(&network);
        let top = passes.shares.iter().map(|share| share.parameter).max();
        for (share, [within, across, independent]) in passes.shares.iter().zip(shares) {
            for k in 0..4 {
                let expected = if Some(share.parameter) == top { within[k] } else { 0.0 };
                assert!((across[k] - expected).abs() < 1e-7);
                assert!((independent[k] - within[k]).abs() < 1e-7);
            }
        }
    }

    /// The tied network does notice: the return path is missing from the share of U.
    #[test]
    fn a_tied_network_has_a_return_path() {
        let network = Tied { inputs: 2, dim: 2, ..Tied::default() }.network().unwrap();
        let (passes, shares) = two_points(&network);
        let first = (0..shares.len()).min_by_key(|&k| passes.shares[k].parameter).unwrap();
        let [within, _, independent] = &shares[first];
        assert!(independent[0] < 0.7 * within[0], "{independent:?} {within:?}");
    }
}
