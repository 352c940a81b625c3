//! Limits by sampling: the same moment graph, evaluated several times with independent points.
//!
//! Feature learning mixes all base variables of all steps, and expectations soon have more of them than quadrature can
//! hold. Then the evaluator takes randomised points, and the error of one integral is known; what the errors of nested
//! integrals do to each other is not, and a bound that adds them up is far too large. Here the *whole* program is
//! evaluated with independent points `replicates` times, and the scatter of its results is the error, correlations and
//! all. A nonlinear function of an estimate is biased by `O(1/points)`: each result with `points` is compared with one
//! that has twice as many, and the difference is part of the error that is stated.
//!
//! What has a closed form or few variables is exact in every replicate and does not scatter.

use netsor_gauss::Tolerance;
use netsor_ir::{ExprId, Program};
use netsor_num::streams::Streams;

use crate::error::LimitError;
use crate::eval::{Data, Evaluator};
use crate::graph::Graph;

/// How much is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Independent evaluations of the whole program, at least two; 16 give a standard error to a fifth.
    pub replicates: usize,
    /// About the number of points of one expectation, in the coarse evaluations; the fine ones have twice as many.
    pub points: usize,
    /// The seed; replicates have streams of their own.
    pub seed: u64,
}

impl Default for Sampling {
    /// Sixteen replicates of 4096 points.
    fn default() -> Self {
        Self { replicates: 16, points: 1 << 12, seed: 0 }
    }
}

/// A limit that was sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// The mean of the fine evaluations.
    pub value: f64,
    /// Its standard error, from the scatter of the replicates.
    pub standard_error: f64,
    /// The mean of the coarse evaluations minus that of the fine ones: twice the bias of the latter, up to its own
    /// standard error.
    pub shift: f64,
}

impl Sampled {
    /// A standard deviation for the distance to the limit: that of the mean and the shift together.
    pub fn error(&self) -> f64 {
        netsor_num::special::sqrt(self.standard_error.powi(2) + self.shift.powi(2))
    }
}

/// Evaluates expressions of a graph at indices, by replicates of the whole program.
///
/// ```
/// use netsor_ir::syntax::parse_program;
/// use netsor_limit::sampled::{Sampling, sampled};
/// use netsor_limit::{Data, Deriver};
///
/// let program = parse_program("program p {
///   vector a ~ N(0, 1)
///   vector b ~ N(0, 1)
///   vector c ~ N(0, 1)
///   vector d ~ N(0, 1)
///   moment m = mean(tanh(a + tanh(b + tanh(c + tanh(d))))^2)
/// }")?;
/// let mut deriver = Deriver::new(&program);
/// let m = deriver.scalar(program.find("m").expect("it is there"))?;
/// let graph = deriver.into_graph();
/// let found = sampled(&graph, &program, &Data::new(), &[(m, vec![])], &Sampling::default())?;
/// assert!(0.3 < found[0].value && found[0].value < 0.6 && found[0].error() < 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Cost: three times `replicates` evaluations with `points`.
///
/// # Errors
/// [`LimitError::Replicates`] if there are fewer than two, and those of [`Evaluator::value`].
pub fn sampled(
    graph: &Graph,
    program: &Program,
    data: &Data,
    wanted: &[(ExprId, Vec<u32>)],
    sampling: &Sampling,
) -> Result<Vec<Sampled>, LimitError> {
    if sampling.replicates < 2 {
        return Err(LimitError::Replicates { found: sampling.replicates });
    }
    let streams = Streams::new(sampling.seed);
    let run = |purpose: &str, replicate: usize, points: usize| {
        // 53 random bits name the points.
        let uniform = netsor_num::streams::uniform(&mut streams.stream(purpose, replicate as u64));
        let seed = (uniform * (1_u64 << 53) as f64) as u64;
        // What is met exactly by quadrature stays exact; everything else uses all its points.
        let tolerance = Tolerance { absolute: 1e-12, relative: 1e-12, max_points: points, seed };
        let mut evaluator = Evaluator::new(graph, program, data, tolerance)?.without_inherited_errors();
        wanted.iter().map(|(expr, at)| Ok(evaluator.value(*expr, at)?.value)).collect::<Result<Vec<f64>, LimitError>>()
    };
    let replicates = 0..sampling.replicates;
    let coarse = replicates.clone().map(|r| run("coarse", r, sampling.points)).collect::<Result<Vec<_>, _>>()?;
    let fine = replicates.map(|r| run("fine", r, 2 * sampling.points)).collect::<Result<Vec<_>, _>>()?;
    let statistics = |runs: &[Vec<f64>], k: usize| {
        let count = runs.len() as f64;
        let mean = runs.iter().map(|run| run[k]).sum::<f64>() / count;
        let scatter = runs.iter().map(|run| (run[k] - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, netsor_num::special::sqrt(scatter / count))
    };
    Ok((0..wanted.len())
        .map(|k| {
            let ((value, standard_error), (rough, _)) = (statistics(&fine, k), statistics(&coarse, k));
            Sampled { value, standard_error, shift: rough - value }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use netsor_ir::syntax::parse_program;

    use super::{Sampling, sampled};
    use crate::{Data, Deriver, Evaluator, LimitError, Tolerance};

    /// `theta` is an expectation in four variables, and `m` one that depends on it: both errors are in the scatter.
    const NESTED: &str = "program p {
  vector a ~ N(0, 1)
  vector b ~ N(0, 1)
  vector c ~ N(0, 1)
  vector d ~ N(0, 1)
  moment theta = mean(tanh(a + tanh(b + tanh(c + tanh(d))))^2)
  moment m = mean(tanh(d + theta * tanh(c + tanh(b + tanh(a))))^2)
}";

    fn run(seed: u64) -> super::Sampled {
        let program = parse_program(NESTED).unwrap();
        let mut deriver = Deriver::new(&program);
        let m = deriver.scalar(program.find("m").unwrap()).unwrap();
        let graph = deriver.into_graph();
        let sampling = Sampling { points: 512, seed, ..Sampling::default() };
        sampled(&graph, &program, &Data::new(), &[(m, vec![])], &sampling).unwrap()[0]
    }

    /// The limit with many more points.
    fn reference() -> f64 {
        let program = parse_program(NESTED).unwrap();
        let mut deriver = Deriver::new(&program);
        let m = deriver.scalar(program.find("m").unwrap()).unwrap();
        let graph = deriver.into_graph();
        let data = Data::new();
        let fine = Tolerance { max_points: 1 << 17, absolute: 0.0, relative: 1e-9, ..Tolerance::default() };
        let evaluator = Evaluator::new(&graph, &program, &data, fine).unwrap();
        evaluator.without_inherited_errors().value(m, &[]).unwrap().value
    }

    #[test]
    fn the_stated_error_is_the_error() {
        // Eight seeds: the mean of the squares of eight standard normal numbers is below 3.3 with probability 0.999.
        let exact = reference();
        let score = |found: super::Sampled| ((found.value - exact) / found.error()).powi(2);
        let scores: Vec<f64> = (0..8).map(|seed| score(run(seed))).collect();
        let mean = scores.iter().sum::<f64>() / 8.0;
        assert!(mean < 3.3, "{scores:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits() {
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn one_replicate_has_no_error() {
        let program = parse_program(NESTED).unwrap();
        let graph = Deriver::new(&program).into_graph();
        let sampling = Sampling { replicates: 1, ..Sampling::default() };
        let error = sampled(&graph, &program, &Data::new(), &[], &sampling).unwrap_err();
        assert_eq!(error, LimitError::Replicates { found: 1 });
    }
}
