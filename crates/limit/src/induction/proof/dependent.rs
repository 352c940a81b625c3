//! Gaussian variables that are fixed linear combinations of others, found from their covariance.

use netsor_ir::expr::ExprId;
use netsor_ir::number::Number;
use rustc_hash::FxHashMap;

use crate::graph::Graph;
use crate::induction::field::{fraction, inverse, minus, plus, random, scramble, times, value};

/// A slot, and the slots with their coefficients that it is equal to.
pub(super) type Combination = (usize, Vec<(usize, Number)>);

/// The slots among `used` that are combinations with rational coefficients of the others, for all values of what the
/// covariance mentions. Which slots stay is decided by the covariance, not by how they are numbered.
pub(super) fn dependent(graph: &Graph, used: &[usize], covariance: &[ExprId]) -> Vec<Combination> {
    let matrices = [0, 1].map(|seed| matrix(graph, used, covariance, seed));
    let mut order: Vec<usize> = (0..used.len()).collect();
    let colour = |k: usize| {
        let row = &matrices[0][k];
        // Slots that are independent of this one have no say, or the choice would depend on what else is in the integrand.
        let correlated = row.iter().filter(|&&entry| entry != 0);
        scramble(&[row[k], correlated.fold(0, |sum, &entry| plus(sum, scramble(&[entry])))])
    };
    order.sort_by_key(|&k| (colour(k), k));
    let [first, second] = matrices.map(|matrix| eliminated(&matrix, &order, used));
    // What is so at one point only is a coincidence.
    first.into_iter().filter(|combination| second.contains(combination)).collect()
}

/// The covariance at a random point.
fn matrix(graph: &Graph, used: &[usize], covariance: &[ExprId], seed: u64) -> Vec<Vec<u64>> {
    let mut known: FxHashMap<ExprId, u64> = FxHashMap::default();
    let mut entry = |a: usize, b: usize| {
        let id = covariance[a.max(b) * (a.max(b) + 1) / 2 + a.min(b)];
        *known.entry(id).or_insert_with(|| value(graph, id, &|symbol, at| random(seed, symbol, at)))
    };
    used.iter().map(|&a| used.iter().map(|&b| entry(a, b)).collect()).collect()
}

/// Positions in the order given, each with its share of the ones before taken out (Gram and Schmidt).
fn eliminated(matrix: &[Vec<u64>], order: &[usize], used: &[usize]) -> Vec<Combination> {
    let size = matrix.len();
    // Each with its products with all positions, and as a combination of them.
    let mut basis: Vec<(Vec<u64>, u64, Vec<u64>)> = Vec::new();
    let mut found = Vec::new();
    for &position in order {
        let mut products = matrix[position].clone();
        let mut made_of = vec![0; size];
        made_of[position] = 1;
        for (other, square, parts) in &basis {
            let factor = times(other[position], inverse(*square));
            for k in 0..size {
                products[k] = minus(products[k], times(factor, other[k]));
                made_of[k] = minus(made_of[k], times(factor, parts[k]));
            }
        }
        let square = products[position];
        if square != 0 {
            basis.push((products, square, made_of));
            continue;
        }
        // The rest has no variance: the slot is minus the others in it.
        made_of[position] = 0;
        let others = (0..size).filter(|&k| made_of[k] != 0);
        let combination: Option<Vec<(usize, Number)>> =
            others.map(|k| Some((used[k], fraction(minus(0, made_of[k]))?))).collect();
        found.extend(combination.map(|combination| (used[position], combination)));
    }
    found
}

#[cfg(test)]
mod tests {
    use netsor_ir::Program;
    use netsor_ir::number::integer;

    use super::*;

    /// Deviations of two independent variables of variances a and b from their mean: one is minus the other.
    #[test]
    fn deviations_from_a_mean_add_up_to_zero() {
        let mut graph = Graph::new(&Program::new("p"));
        let [a, b] = [0, 1].map(|k| graph.pool.reference(Graph::parameter_symbol(k), []));
        let sum = graph.pool.add(a, b);
        let minus_sum = graph.pool.neg(sum);
        let found = dependent(&graph, &[0, 1], &[sum, minus_sum, sum]);
        assert_eq!(found, [(1, vec![(0, integer(-1))])]);
        assert_eq!(dependent(&graph, &[0, 1], &[sum, a, sum]), []);
    }
}
