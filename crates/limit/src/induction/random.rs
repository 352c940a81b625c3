//! The comparison at random points of a prime field, for networks whose integrands are too long to be written out.

mod evaluate;
mod limits;
mod points;
mod polynomial;
mod rules;

use netsor_ir::{Network, Program, ValueId};

use self::limits::Agreement;
use self::points::Points;
use self::rules::AtPoints;
use super::sides::{Sides, compare};
use super::training::Unrolled;
use super::{InductionError, Steps};
use crate::paths::{Limits, Paths};
use crate::rules::Rules;

/// Independent runs: a wrong identity has to pass all of them.
const RUNS: u64 = 2;
/// Points of the first attempt.
const FEW: usize = 6;
/// Most times that a variable is drawn again in one attempt.
const DRAWS: usize = 4_096;
/// Further attempts with other numbers, as roots of data need.
const ATTEMPTS: u64 = 48;

/// What random points say of the induction.
///
/// `agrees` is no proof. An identity that follows from linearity, from equality of functions and from independence always
/// agrees. One that does not is a rational function of the numbers that were drawn, and without square roots it vanishes
/// in one run with a chance of at most its degree over `2^61` (Schwartz and Zippel). With square roots this is an
/// estimate: numbers are drawn under the condition that roots exist, and what is left of the bound then, a factor of four
/// for each root at each point, is more than the field has. Where an identity does not agree, it may yet hold for another
/// reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomCheck {
    /// Eq. 107 for each G-var and number of steps, in the order of the induction.
    pub g_vars: Vec<RandomVerdict>,
    /// Theorem 5.3 for each output and number of steps.
    pub outputs: Vec<RandomVerdict>,
    /// Prop. D.3 for each pair of outputs.
    pub kernels: Vec<RandomVerdict>,
    /// The points that stand for the law of the Gaussian variables: more than the degree in expectations of anything
    /// that was compared.
    pub points: usize,
    /// The largest degree in expectations, with powers and functions of expectations as symbols: fractions are not put
    /// over one denominator.
    pub degree: usize,
    /// How often everything was done, with other numbers.
    pub runs: usize,
}

/// Whether two sides agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomVerdict {
    /// The G-var, the output, or the two outputs.
    pub name: String,
    /// The number of steps; 0 for kernels.
    pub time: usize,
    /// Whether they agree in every run.
    pub agrees: bool,
}

impl RandomCheck {
    /// Checks eq. 107, Theorem 5.3 and Prop. D.3 of a network at random points.
    ///
    /// Instead of an expectation there is a weighted sum over random points, which stand for the Gaussian variables of
    /// the forward pass; error signals are kept as linear forms. Cost: the number of instructions of the training program
    /// times the number of error signals, so that batch norm over a dozen values takes a second.
    ///
    /// ```
    /// use netsor_limit::induction::{RandomCheck, Steps};
    /// use netsor_zoo::Mlp;
    ///
    /// let network = Mlp { inputs: 2, hidden: 2, ..Mlp::default() }.network()?;
    /// let found = RandomCheck::new(&network, &Steps::default())?;
    /// assert!(found.all_agree() && found.degree < found.points);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InductionError::NotAtPoints`] where the forward pass has a matrix and its transpose, or an error signal enters
    /// otherwise than as a factor; and as for [`super::Induction::check`].
    pub fn new(network: &Network, steps: &Steps) -> Result<Self, InductionError> {
        let unrolled = Unrolled::new(network, steps)?;
        let paths = Paths::new(&unrolled.network)?;
        let mut found = run(&unrolled, &paths, 0)?;
        for number in 1..RUNS {
            found = found.and(&run(&unrolled, &paths, number)?);
        }
        Ok(found)
    }

    /// Whether everything agrees.
    pub fn all_agree(&self) -> bool {
        self.g_vars.iter().chain(&self.outputs).chain(&self.kernels).all(|v| v.agrees)
    }

    fn and(mut self, other: &Self) -> Self {
        let pairs = |a: &mut Vec<RandomVerdict>, b: &[RandomVerdict]| {
            a.iter_mut().zip(b).for_each(|(a, b)| a.agrees &= b.agrees);
        };
        pairs(&mut self.g_vars, &other.g_vars);
        pairs(&mut self.outputs, &other.outputs);
        pairs(&mut self.kernels, &other.kernels);
        self.points = self.points.min(other.points);
        self.degree = self.degree.max(other.degree);
        self.runs += other.runs;
        self
    }
}

/// Both sides with numbers of one run; with more points until there are more of them than the degree.
fn run(unrolled: &Unrolled, paths: &Paths<'_>, run: u64) -> Result<RandomCheck, InductionError> {
    let own = unrolled.network.program.values.len();
    let mut wanted = FEW;
    for attempt in 0..ATTEMPTS {
        let points = Points::new(run * ATTEMPTS + attempt, wanted);
        let mut rules = AtPoints::new(&unrolled.program, own, points);
        if !forward(&unrolled.network.program, &mut rules)? {
            continue;
        }
        let mut agreement = Agreement::default();
        let sides = compare(unrolled, paths, &mut rules, &mut agreement)?;
        // Training takes roots of what the forward pass does, and of nothing else that was drawn for.
        if rules.rooted.contains(&false) {
            continue;
        }
        if agreement.degree < wanted {
            return Ok(verdicts(unrolled, &sides, wanted, agreement.degree));
        }
        wanted = agreement.degree + 1;
    }
    Err(InductionError::not_at_points(
        &unrolled.network.program.name,
        "no points were found at which all square roots exist",
    ))
}

/// The forward pass, value by value: where a number has no square root, the last variable that it depends on is drawn
/// again. Each root takes two draws on average, so that their number does not matter; `false` if there is no such
/// variable.
///
/// Readouts have no limit, and whatever else has none is an error where it is needed.
fn forward(program: &Program, rules: &mut AtPoints<'_>) -> Result<bool, InductionError> {
    // The last variable of each value.
    let mut last: Vec<Option<ValueId>> = vec![None; program.values.len()];
    let mut draws = 0;
    let mut next = 0;
    while next < last.len() {
        let value = ValueId::new(next);
        if let Err(error @ InductionError::NotAtPoints { .. }) = rules.derive(value) {
            return Err(error);
        }
        let arguments = program.arguments(value).into_iter();
        let variable = arguments.filter_map(|argument| last[argument.index()]).max();
        last[next] = if rules.is_variable(value) { Some(value) } else { variable };
        next += 1;
        if rules.rooted.contains(&false) {
            let Some(variable) = variable.filter(|_| draws < DRAWS) else { return Ok(false) };
            rules.redraw(variable);
            draws += 1;
            next = variable.index();
        }
    }
    Ok(true)
}

fn verdicts<L: Limits>(unrolled: &Unrolled, sides: &Sides<L, bool>, points: usize, degree: usize) -> RandomCheck {
    let name = |value: ValueId| unrolled.network.program.value(value).name.clone();
    let signals = &unrolled.signals;
    let changes = sides.changes.iter();
    let descents = sides.descents.iter();
    let kernels = sides.kernels.iter().map(|k| (&signals[k.at.0], &signals[k.at.1], k.left));
    let kernels = kernels.filter(|(first, second, _)| first.component == second.component);
    RandomCheck {
        g_vars: changes.map(|c| RandomVerdict { name: name(c.g), time: c.time, agrees: c.left }).collect(),
        outputs: descents
            .map(|d| RandomVerdict { name: name(signals[d.signals].output), time: d.time, agrees: d.left })
            .collect(),
        kernels: kernels
            .map(|(first, second, agrees)| RandomVerdict {
                name: format!("{}, {}", name(first.output), name(second.output)),
                time: 0,
                agrees,
            })
            .collect(),
        points,
        degree,
        runs: 1,
    }
}

#[cfg(test)]
mod tests {
    use netsor_ir::number::fraction;
    use netsor_ir::syntax::parse_network;
    use netsor_ir::transform::unroll_network;

    use super::super::field::{plus, times};
    use super::*;

    const SOURCE: &str = "network net {
axis i = 3
data xi[i] : 2
param U : n x 2 ~ N(0, 1/2)
param W : n x n ~ N(0, 2/n)
param v : n x 1 ~ N(0, 1/n)
g[i] = U * xi[i]
mean = 1/3 * sum i g[i]
x[i] = relu(g[i] - mean)
h[i] = W * x[i]
y[i] = tanh(h[i])
output f[i] = v' * y[i]
}";

    /// Training with one learning rate against the claim with another: no G-var and no output agrees, the kernels do.
    #[track_caller]
    fn wrong_claim(source: &str) {
        let network = parse_network(source).unwrap();
        let wrong = Steps { rates: vec![fraction(1_000_001, 1_000_000)], ..Steps::default() };
        let mut unrolled = Unrolled::new(&network, &Steps::default()).unwrap();
        for (steps, agrees) in [(Steps::default(), true), (wrong, false)] {
            unrolled.steps = steps;
            let found = run(&unrolled, &Paths::new(&unrolled.network).unwrap(), 0).unwrap();
            assert!(found.g_vars.iter().chain(&found.outputs).all(|v| v.agrees == agrees), "{found:?}");
            assert!(found.kernels.iter().all(|v| v.agrees));
            assert_eq!((found.g_vars.len(), found.outputs.len(), found.kernels.len()), (6, 3, 6));
        }
    }

    #[test]
    fn a_wrong_claim_does_not_agree() {
        wrong_claim(SOURCE);
    }

    /// Roots of expectations in the forward pass are drawn for as roots of functions are.
    #[test]
    fn a_wrong_claim_about_layer_norm_does_not_agree() {
        let norm = "moment variance[i] = mean(g[i]^2)\nx[i] = relu(g[i] / sqrt(variance[i] + 1/10) - mean)";
        wrong_claim(&SOURCE.replace("x[i] = relu(g[i] - mean)", norm));
    }

    /// The functional keeps `E f g` apart from `E f E g`, and `E f` from `E g`.
    #[test]
    fn the_functional_is_linear_and_not_multiplicative() {
        let network = parse_network(SOURCE).unwrap();
        let (plain, _) = unroll_network(&network).unwrap();
        let program = &plain.program;
        let mut rules = AtPoints::new(program, program.values.len(), Points::new(1, 4));
        let [x, y] = ["x@0", "x@1"].map(|name| {
            let value = program.find(name).unwrap();
            rules.vector(value).unwrap()
        });
        let [a, b, sum] = [(*x).clone(), (*y).clone(), x.plus(&y)].map(|f| rules.mean(&f).unwrap().value);
        assert_eq!(plus(a, b), sum);
        assert_ne!(a, b);
        assert_ne!(times(a, b), rules.mean_of_product(&x, &y).unwrap().value);
    }
}
