//! The hypotheses on activation and data (NTH Assumptions 2.1 and 2.2).

use netsor_ir::expr::Expr;
use netsor_ir::func::Smoothness;
use netsor_ir::network::Network;
use netsor_ir::program::{Instr, Program};

use crate::NthError;

/// Refuses functions with kinks and jumps anywhere in the network (Assumption 2.1).
///
/// # Errors
/// [`NthError::NotSmooth`] names the first such value and function.
pub fn check_smooth(network: &Network) -> Result<(), NthError> {
    for value in &network.program.values {
        let (Instr::Map(expr) | Instr::Moment(expr) | Instr::Scalar(expr)) = value.instr else { continue };
        if let Some((function, what)) = first_rough(&network.program, expr) {
            return Err(NthError::NotSmooth { value: value.name.clone(), function, what });
        }
    }
    Ok(())
}

fn first_rough(program: &Program, expr: netsor_ir::ExprId) -> Option<(&'static str, &'static str)> {
    let mut found = None;
    program.exprs.visit(expr, &mut |node| {
        if let Expr::Apply(function, _) = node {
            let what = match function.facts().smoothness {
                Smoothness::Smooth => return,
                Smoothness::Kink => "kink",
                Smoothness::Jump => "jump",
            };
            found.get_or_insert((function.name(), what));
        }
    });
    found
}

/// Pairs of inputs that are parallel to within `1e-8` of the angle, or zero, which Assumption 2.2 excludes: the
/// smallest eigenvalue of the limiting kernel is then zero, and no time window of the theorems is open. A zero input
/// is reported as a pair with itself.
///
/// A network with biases or with more structure than an MLP may still separate them; hence a warning and no error.
pub fn parallel_points(inputs: &[Vec<f64>]) -> Vec<(usize, usize)> {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
    let mut pairs = Vec::new();
    for (i, x) in inputs.iter().enumerate() {
        let norm = dot(x, x);
        if norm == 0.0 {
            pairs.push((i, i));
            continue;
        }
        for (j, y) in inputs.iter().enumerate().skip(i + 1) {
            // The distance from y to the line through x, relative to |y|: no cancellation as in 1 - cos^2.
            let along = dot(x, y) / norm;
            let off: Vec<f64> = x.iter().zip(y).map(|(a, b)| b - along * a).collect();
            let length = dot(y, y);
            if 0.0 < length && dot(&off, &off) <= 1e-16 * length {
                pairs.push((i, j));
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsor_zoo::{Activation, Mlp};

    #[test]
    fn relu_is_refused_and_softplus_named() {
        for (activation, word) in [(Activation::Relu, "kink"), (Activation::Step, "jump"), (Activation::Elu, "kink")] {
            let network = Mlp { activation, ..Mlp::default() }.network().unwrap();
            let error = check_smooth(&network).unwrap_err().to_string();
            assert!(error.contains("softplus") && error.contains(word) && error.contains("Assumption 2.1"), "{error}");
        }
        let network = Mlp { activation: Activation::Gelu, b_std: 0.3, ..Mlp::default() }.network().unwrap();
        assert_eq!(check_smooth(&network), Ok(()));
    }

    #[test]
    fn parallel_inputs_are_found() {
        let inputs = [vec![1.0, 2.0], vec![-2.0, -4.0], vec![1.0, 2.001], vec![0.0, 0.0], vec![0.3, 0.6]];
        assert_eq!(parallel_points(&inputs), [(0, 1), (0, 4), (1, 4), (3, 3)]);
        assert!(parallel_points(&[]).is_empty());
    }
}
