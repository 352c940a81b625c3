//! The induction, the theorem and the path formula at random points of a prime field, for networks whose integrands are too
//! long to be written out.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use netsor_ir::expr::ExprId;
use netsor_ir::number::Number;
use netsor_ir::paths::{Reduced, defining_matrix};
use netsor_ir::transform::{Seed, Training, backprop, unroll_network, unroll_program, unroll_sgd};
use netsor_ir::{Dim, Instr, Kind, Network, Program, ValueId};
use rustc_hash::FxHashMap;

use super::at_points::{AtPoints, Points, Scalar};
use super::field::{inverse, minus, number, plus, root, times};
use super::polynomial::Polynomial;
use super::{InductionError, Steps};
use crate::paths::{PathFormulaError, check_scales, same_origin, strength};

/// Independent runs: a wrong identity has to pass all of them.
const RUNS: u64 = 2;
/// Points of the first attempt.
const FEW: usize = 6;
/// Points that are tried for each that is wanted: square roots of functions exist at half of them, for each root.
const CANDIDATES: usize = 16;
/// Further attempts with other numbers, as roots of scalars need, and after every four with twice as many points.
const ATTEMPTS: u64 = 48;
const DOUBLINGS: u64 = 5;

/// What random points say of the induction.
///
/// `agrees` is no proof. An identity that follows from linearity, from equality of functions and from independence always
/// agrees. One that does not is a polynomial in random numbers of a field with `2^61 - 1` elements that is not zero; it
/// passes one run with a chance of its degree over `2^61` (Schwartz and Zippel), and all of them with that to the power
/// of their number. Roots are taken where they exist and values of functions are symbols, each of which counts for one: with
/// roots the chance is an estimate. Where an identity does not agree, it may yet hold for another reason.
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
    /// The largest degree in expectations: of numerators, with a root or a function of expectations as one symbol.
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
        if steps.steps == 0 {
            return Err(InductionError::NoSteps);
        }
        let (plain, _) = unroll_network(network)?;
        check_scales(&plain)?;
        let training = unroll_sgd(&plain, &steps.sgd())?;
        let adjoints = backprop(&plain, Seed::Components)?.outputs;
        let (program, members) = unroll_program(&training.program)?;
        let mut reduced = Reduced::new(&plain).map_err(PathFormulaError::from)?;
        let mut signals = Vec::new();
        for (k, output) in adjoints.iter().enumerate() {
            for component in 0..members[training.outputs[k].target.index()].len() {
                let of = |v: ValueId| members[v.index()].get(component).or(members[v.index()].first()).copied();
                signals.push(Signals {
                    output: output.output,
                    component,
                    chi: training.outputs[k].chi.iter().filter_map(|&v| of(v)).collect(),
                    at: training.outputs[k].at.iter().filter_map(|&v| of(v)).collect(),
                    adjoints: output.adjoints.iter().filter_map(|(&v, &d)| Some((v, of(d)?))).collect(),
                });
            }
        }
        let two_sides = TwoSides { plain: &plain, steps, training: &training, members: &members, signals: &signals };
        let mut total: Option<Self> = None;
        for run in 0..RUNS {
            let found = two_sides.run(&program, &mut reduced, run)?;
            total = Some(match total {
                None => found,
                Some(earlier) => earlier.and(&found),
            });
        }
        Ok(total.unwrap_or_else(|| unreachable!("there is at least one run")))
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

/// The backward pass of one component of one output.
struct Signals {
    output: ValueId,
    component: usize,
    chi: Vec<ValueId>,
    at: Vec<ValueId>,
    adjoints: BTreeMap<ValueId, ValueId>,
}

/// What is compared.
struct TwoSides<'a> {
    plain: &'a Network,
    steps: &'a Steps,
    training: &'a Training,
    members: &'a [Vec<ValueId>],
    signals: &'a [Signals],
}

/// `A(g, g')` for pairs that it is not zero for, the later G-var first, and its part from paths of length two.
#[derive(Default)]
struct Sums {
    all: FxHashMap<(ValueId, ValueId), Scalar>,
    shortest: FxHashMap<(ValueId, ValueId), Scalar>,
}

impl TwoSides<'_> {
    /// Both sides with numbers of one run; with more points until there are more of them than the degree.
    fn run(&self, program: &Program, reduced: &mut Reduced, run: u64) -> Result<RandomCheck, InductionError> {
        let own = self.plain.program.values.len();
        let mut wanted = FEW;
        for attempt in 0..ATTEMPTS {
            let count = (CANDIDATES * wanted) << (attempt / 4).min(DOUBLINGS);
            let candidates = Points::candidates(run * ATTEMPTS + attempt, count);
            let mut forward = AtPoints::new(program, own, candidates.clone());
            self.forward(&mut forward)?;
            let points = candidates.among(&forward.rooted, wanted);
            drop(forward);
            let mut rules = AtPoints::new(program, own, points.clone());
            self.forward(&mut rules)?;
            if points.count() < wanted || rules.rooted.contains(&false) {
                continue;
            }
            let found = self.compare(&mut rules, reduced)?;
            if rules.rooted.contains(&false) {
                continue;
            }
            if found.degree < points.count() {
                return Ok(found);
            }
            wanted = found.degree + 1;
        }
        Err(InductionError::NotAtPoints {
            name: self.plain.program.name.clone(),
            reason: "no points were found at which all square roots exist".to_owned(),
        })
    }

    /// The forward pass. Readouts have no limit, and whatever else has none is an error where it is needed.
    fn forward(&self, rules: &mut AtPoints<'_>) -> Result<(), InductionError> {
        for value in self.plain.program.value_ids() {
            if let Err(error @ InductionError::NotAtPoints { .. }) = rules.z(value) {
                return Err(error);
            }
        }
        Ok(())
    }

    fn compare(&self, rules: &mut AtPoints<'_>, reduced: &mut Reduced) -> Result<RandomCheck, InductionError> {
        let mut found =
            RandomCheck { g_vars: Vec::new(), outputs: Vec::new(), kernels: Vec::new(), points: 0, degree: 0, runs: 1 };
        found.points = rules.zero().constant.len();
        let sums = self.pair_sums(rules, reduced)?;
        let program = &self.plain.program;
        for t in 1..=self.steps.steps {
            for g in program.value_ids() {
                let value = program.value(g);
                let width = matches!(value.ty.kind, Kind::Vector(Dim::Width(_)));
                let Some(&delta) = self.training.deviations[t].get(&g).filter(|_| width) else { continue };
                if !matches!(value.instr, Instr::MatMul { .. } | Instr::Gaussian(_)) {
                    continue;
                }
                let mut difference = (*rules.limit(self.members[delta.index()][0])?[0]).clone();
                self.subtract_claim(rules, &sums, t, g, &mut difference)?;
                let agrees = vanishes_modulo(rules.program(), &difference, defining_matrix(program, g));
                found.degree = found.degree.max(difference.degree);
                found.g_vars.push(RandomVerdict { name: value.name.clone(), time: t, agrees });
            }
        }
        let kernels = self.kernels(rules, reduced, &sums, &mut found)?;
        self.outputs(rules, &kernels, &mut found)?;
        Ok(found)
    }

    /// Subtracts `- sum over s, j of C_ts chi_s(j) sum over g' of A(g, g') Z^{dg'} (size of g' / n)^(-1/2)`.
    fn subtract_claim(
        &self,
        rules: &mut AtPoints<'_>,
        sums: &Sums,
        t: usize,
        g: ValueId,
        difference: &mut Polynomial,
    ) -> Result<(), InductionError> {
        let program = &self.plain.program;
        for other in program.value_ids() {
            let Some(&sum) = sums.all.get(&(g.max(other), g.min(other))) else { continue };
            let scale = match program.value(other).ty.kind {
                Kind::Vector(Dim::Width(class)) => inverse(root(number(&program.classes[class.index()].ratio))),
                _ => 1,
            };
            for signals in self.signals {
                let Some(&adjoint) = signals.adjoints.get(&other) else { continue };
                let chi = self.descent(rules, t, signals)?;
                let signal = rules.limit(adjoint)?;
                let factor = times(times(chi.value, sum.value), scale);
                difference.add(&signal[0].scaled(factor, chi.degree + sum.degree), 1);
            }
        }
        Ok(())
    }

    /// `sum over s of C_ts chi_s` of one component of an output.
    fn descent(&self, rules: &mut AtPoints<'_>, t: usize, signals: &Signals) -> Result<Scalar, InductionError> {
        let mut total = Scalar { value: 0, degree: 0 };
        for s in 0..t {
            let chi = rules.scalar(signals.chi[s])?;
            total.value = plus(total.value, times(number(&self.steps.share(t, s)), chi.value));
            total.degree = total.degree.max(chi.degree);
        }
        Ok(total)
    }

    /// As [`crate::paths::PairSums`].
    fn pair_sums(&self, rules: &mut AtPoints<'_>, reduced: &Reduced) -> Result<Sums, InductionError> {
        let program = &self.plain.program;
        let mut operands: Vec<Vec<(ValueId, ExprId)>> = vec![Vec::new(); program.values.len()];
        let mut derivatives: FxHashMap<ExprId, Polynomial> = FxHashMap::default();
        for (source, list) in reduced.consumers().into_iter().enumerate() {
            for (product, derivative) in list {
                if strength(program, product).is_none() {
                    continue;
                }
                operands[product.index()].push((ValueId::new(source), derivative));
                let pool = &reduced.program.exprs;
                if let Entry::Vacant(unknown) = derivatives.entry(derivative) {
                    rules.prepare(pool, derivative)?;
                    unknown.insert(rules.value_in(pool, derivative, 0, &program.value(product).name)?);
                }
            }
        }
        let mut means: FxHashMap<(ExprId, ExprId), Scalar> = FxHashMap::default();
        let mut sums = Sums::default();
        for g in program.value_ids() {
            for h in program.value_ids().take_while(|&h| h <= g).filter(|&h| same_origin(program, g, h)) {
                let mut total = self.own_share(rules, g, h)?;
                if total.value != 0 {
                    sums.shortest.insert((g, h), total);
                }
                let through = strength(program, g).map_or(0, |s| number(&s));
                for &(source, left) in &operands[g.index()] {
                    for &(other, right) in &operands[h.index()] {
                        let pair = (source.max(other), source.min(other));
                        let Some(&below) = sums.all.get(&pair) else { continue };
                        let key = (left.min(right), left.max(right));
                        let mean = match means.get(&key) {
                            Some(&known) => known,
                            None => {
                                let mean = rules.mean_of_product(&derivatives[&left], &derivatives[&right])?;
                                means.insert(key, mean);
                                mean
                            }
                        };
                        total.value = plus(total.value, times(times(through, below.value), mean.value));
                        total.degree = total.degree.max(below.degree + mean.degree);
                    }
                }
                if total.value != 0 {
                    sums.all.insert((g, h), total);
                }
            }
        }
        Ok(sums)
    }

    /// The pair of paths of length two: `rate of W * E[x x']`.
    fn own_share(&self, rules: &mut AtPoints<'_>, g: ValueId, h: ValueId) -> Result<Scalar, InductionError> {
        let program = &self.plain.program;
        let (parameter, operands) = match (&program.value(g).instr, &program.value(h).instr) {
            (Instr::MatMul { matrix, vector, .. }, Instr::MatMul { vector: other, .. }) => {
                (matrix.value, Some((vector.value, other.value)))
            }
            (Instr::Gaussian(_), _) => (g, None),
            _ => return Ok(Scalar { value: 0, degree: 0 }),
        };
        let Some(parameter) = self.plain.parameter(parameter).filter(|p| p.trained) else {
            return Ok(Scalar { value: 0, degree: 0 });
        };
        let rate = number(&parameter.rate().coefficient);
        let Some((x, y)) = operands else { return Ok(Scalar { value: rate, degree: 0 }) };
        let (left, right) = (rules.limit(x)?, rules.limit(y)?);
        let size = match program.value(x).ty.kind {
            Kind::Vector(Dim::Width(class)) => program.classes[class.index()].ratio.clone(),
            _ => Number::from_integer(1.into()),
        };
        self.inner(rules, x, &left, &right, times(rate, number(&size)))
    }

    /// `factor` times `x . y` or `E x y`.
    fn inner(
        &self,
        rules: &mut AtPoints<'_>,
        x: ValueId,
        left: &[std::rc::Rc<Polynomial>],
        right: &[std::rc::Rc<Polynomial>],
        factor: u64,
    ) -> Result<Scalar, InductionError> {
        let wide = matches!(rules.program().value(x).ty.kind, Kind::Vector(Dim::Width(_)));
        let mut total = Scalar { value: 0, degree: 0 };
        for (a, b) in left.iter().zip(right) {
            let product = match wide {
                true => rules.mean_of_product(a, b)?,
                false => Scalar { value: times(a.constant[0], b.constant[0]), degree: a.degree + b.degree },
            };
            total.value = plus(total.value, times(factor, product.value));
            total.degree = total.degree.max(product.degree);
        }
        Ok(total)
    }

    /// Kernels by moments for each pair of components of outputs, compared with those by paths.
    fn kernels(
        &self,
        rules: &mut AtPoints<'_>,
        reduced: &mut Reduced,
        sums: &Sums,
        found: &mut RandomCheck,
    ) -> Result<BTreeMap<(usize, usize), Scalar>, InductionError> {
        let program = &self.plain.program;
        let mut kernels = BTreeMap::new();
        for (i, first) in self.signals.iter().enumerate() {
            for (j, second) in self.signals[..=i].iter().enumerate() {
                let mut total = Scalar { value: 0, degree: 0 };
                for (&g, &dg) in &first.adjoints {
                    for (&h, &dh) in &second.adjoints {
                        let Some(&share) = sums.shortest.get(&(g.max(h), g.min(h))) else { continue };
                        let (left, right) = (rules.limit(dg)?, rules.limit(dh)?);
                        let term = self.inner(rules, dg, &left, &right, share.value)?;
                        total.value = plus(total.value, term.value);
                        total.degree = total.degree.max(term.degree + share.degree);
                    }
                }
                kernels.insert((i, j), total);
                let mut by_paths = Scalar { value: 0, degree: 0 };
                if first.component == second.component {
                    by_paths = self.kernel_by_paths(rules, reduced, sums, first.output, second.output)?;
                    let name = |s: &Signals| program.value(s.output).name.clone();
                    let agrees = by_paths.value == total.value;
                    let name = format!("{}, {}", name(first), name(second));
                    found.kernels.push(RandomVerdict { name, time: 0, agrees });
                }
                found.degree = found.degree.max(total.degree).max(by_paths.degree);
            }
        }
        Ok(kernels)
    }

    fn kernel_by_paths(
        &self,
        rules: &mut AtPoints<'_>,
        reduced: &mut Reduced,
        sums: &Sums,
        first: ValueId,
        second: ValueId,
    ) -> Result<Scalar, InductionError> {
        let program = &self.plain.program;
        let mut total = Scalar { value: 0, degree: 0 };
        let heads = [first, second].map(|output| self.heads(rules, reduced, output));
        let [left, right] = heads;
        let right = right?;
        for (g, a) in left? {
            for &(h, b) in &right {
                let pair = (g.max(h), g.min(h));
                let Some(sum) = sums.all.get(&pair).filter(|_| same_origin(program, g, h)) else { continue };
                total.value = plus(total.value, times(times(a.value, b.value), sum.value));
                total.degree = total.degree.max(a.degree + b.degree + sum.degree);
            }
        }
        Ok(total)
    }

    /// The readouts and biases that an output is a sum of.
    fn heads(
        &self,
        rules: &mut AtPoints<'_>,
        reduced: &mut Reduced,
        output: ValueId,
    ) -> Result<Vec<(ValueId, Scalar)>, InductionError> {
        let program = &self.plain.program;
        let readouts = reduced.heads(output).map_err(PathFormulaError::from)?;
        let mut parts: Vec<(ValueId, ExprId)> = readouts.iter().map(|head| (head.readout, head.coefficient)).collect();
        let biases = reduced.derivatives[output.index()].iter().copied();
        parts.extend(biases.filter(|&(part, _)| matches!(program.value(part).instr, Instr::Gaussian(_))));
        let mut heads = Vec::new();
        for (part, coefficient) in parts {
            rules.prepare(&reduced.program.exprs, coefficient)?;
            let value = rules.value_in(&reduced.program.exprs, coefficient, 0, &program.value(output).name)?;
            heads.push((part, Scalar { value: value.constant[0], degree: value.degree }));
        }
        Ok(heads)
    }

    /// Kernel gradient descent for every output and time.
    fn outputs(
        &self,
        rules: &mut AtPoints<'_>,
        kernels: &BTreeMap<(usize, usize), Scalar>,
        found: &mut RandomCheck,
    ) -> Result<(), InductionError> {
        for t in 1..=self.steps.steps {
            for (i, signals) in self.signals.iter().enumerate() {
                let (now, before) = (rules.scalar(signals.at[t])?, rules.scalar(signals.at[0])?);
                let mut difference = minus(now.value, before.value);
                let mut degree = now.degree.max(before.degree);
                for (&(a, b), kernel) in kernels {
                    let other = match (a == i, b == i) {
                        (true, _) => b,
                        (_, true) => a,
                        _ => continue,
                    };
                    let chi = self.descent(rules, t, &self.signals[other])?;
                    difference = plus(difference, times(chi.value, kernel.value));
                    degree = degree.max(chi.degree + kernel.degree);
                }
                found.degree = found.degree.max(degree);
                let name = self.plain.program.value(signals.output).name.clone();
                found.outputs.push(RandomVerdict { name, time: t, agrees: difference == 0 });
            }
        }
        Ok(())
    }
}

/// Whether nothing is left but scalar multiples of base variables of one matrix and side.
fn vanishes_modulo(program: &Program, difference: &Polynomial, side: Option<(ValueId, bool)>) -> bool {
    let of_side = |id: &ValueId| match (&program.value(*id).instr, side) {
        (Instr::MatMul { matrix, transposed, .. }, Some((of, from_left))) => {
            matrix.value == of && *transposed == from_left
        }
        _ => false,
    };
    let dropped = |(id, at): (&ValueId, &Vec<u64>)| of_side(id) && at.iter().all(|&c| c == at[0]);
    difference.quadratic.is_empty()
        && difference.constant.iter().all(|&c| c == 0)
        && difference.linear.iter().all(dropped)
}

#[cfg(test)]
mod tests {
    use netsor_ir::number::fraction;
    use netsor_ir::syntax::parse_network;

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
    #[test]
    fn a_wrong_claim_does_not_agree() {
        let network = parse_network(SOURCE).unwrap();
        let (plain, _) = unroll_network(&network).unwrap();
        let (right, wrong) =
            (Steps::default(), Steps { rates: vec![fraction(1_000_001, 1_000_000)], ..Steps::default() });
        let training = unroll_sgd(&plain, &right.sgd()).unwrap();
        let adjoints = backprop(&plain, Seed::Components).unwrap().outputs;
        let (program, members) = unroll_program(&training.program).unwrap();
        let signals: Vec<Signals> = adjoints
            .iter()
            .zip(&training.outputs)
            .map(|(output, trained)| Signals {
                output: output.output,
                component: 0,
                chi: trained.chi.iter().map(|v| members[v.index()][0]).collect(),
                at: trained.at.iter().map(|v| members[v.index()][0]).collect(),
                adjoints: output.adjoints.iter().map(|(&v, d)| (v, members[d.index()][0])).collect(),
            })
            .collect();
        let mut reduced = Reduced::new(&plain).unwrap();
        for (steps, agrees) in [(&right, true), (&wrong, false)] {
            let sides = TwoSides { plain: &plain, steps, training: &training, members: &members, signals: &signals };
            let found = sides.run(&program, &mut reduced, 0).unwrap();
            assert!(found.g_vars.iter().chain(&found.outputs).all(|v| v.agrees == agrees), "{found:?}");
            assert!(found.kernels.iter().all(|v| v.agrees));
            assert_eq!((found.g_vars.len(), found.outputs.len(), found.kernels.len()), (6, 3, 6));
        }
    }

    /// The functional keeps `E f g` apart from `E f E g`, and `E f` from `E g`.
    #[test]
    fn the_functional_is_linear_and_not_multiplicative() {
        let network = parse_network(SOURCE).unwrap();
        let (plain, _) = unroll_network(&network).unwrap();
        let program = &plain.program;
        let mut rules = AtPoints::new(program, program.values.len(), Points::candidates(1, 4));
        let [x, y] = ["x@0", "x@1"].map(|name| {
            let value = program.find(name).unwrap();
            rules.limit(value).unwrap()[0].clone()
        });
        let [a, b, sum] = [(*x).clone(), (*y).clone(), x.plus(&y)].map(|f| rules.mean(&f).unwrap().value);
        assert_eq!(plus(a, b), sum);
        assert_ne!(a, b);
        assert_ne!(times(a, b), rules.mean_of_product(&x, &y).unwrap().value);
    }
}
