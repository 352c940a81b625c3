//! The two sides of eq. 107, of the conclusion, and of the path formula.
//!
//! In the order of the proof, for limits of any kind ([`Limits`]): the change of each G-var by the Z rules against the sum
//! over paths; the kernel by paths (Prop. D.3) against that by moments (eq. 100); the change of each output against
//! kernel gradient descent (Theorem 5.3). What is equal is for an [`Equality`] to say.

use netsor_ir::number::Number;
use netsor_ir::paths::defining_matrix;
use netsor_ir::{Dim, Kind, ValueId};
use num_traits::Zero;

use super::InductionError;
use super::training::{Signals, Unrolled};
use crate::paths::{Limits, PairSums, Paths};

/// A matrix and the side that it multiplies from.
pub(super) type Side = (ValueId, bool);

/// Tells whether differences of limits are zero.
pub(super) trait Equality<L: Limits> {
    /// What is left of a difference.
    type Left;

    /// What is left of a vector modulo scalar multiples of the base variables `Zhat^{W u}` of one side of one matrix (TP
    /// IIb App. Def. D.4). In messages it is called `name`.
    fn modulo(
        &mut self,
        limits: &mut L,
        difference: L::Vector,
        side: Option<Side>,
        name: &str,
    ) -> Result<Self::Left, InductionError>;

    /// What is left of a scalar.
    fn of_scalars(&mut self, limits: &mut L, difference: L::Scalar, name: &str) -> Result<Self::Left, InductionError>;
}

/// Eq. 107 for one G-var after some steps.
pub(super) struct Change<L: Limits, X> {
    pub(super) g: ValueId,
    pub(super) time: usize,
    /// `delta g` in the training program.
    pub(super) delta: ValueId,
    /// `Z` of it.
    pub(super) derived: L::Vector,
    /// The right side.
    pub(super) claimed: L::Vector,
    pub(super) left: X,
}

/// Prop. D.3 for two components of outputs, by their places in [`Unrolled::signals`], the earlier one second.
pub(super) struct Kernel<L: Limits, X> {
    pub(super) at: (usize, usize),
    pub(super) by_paths: L::Scalar,
    pub(super) by_moments: L::Scalar,
    pub(super) left: X,
}

/// Theorem 5.3 for one component of an output, by its place in [`Unrolled::signals`].
pub(super) struct Descent<X> {
    pub(super) signals: usize,
    pub(super) time: usize,
    pub(super) left: X,
}

/// Everything that is compared.
pub(super) struct Sides<L: Limits, X> {
    pub(super) changes: Vec<Change<L, X>>,
    pub(super) kernels: Vec<Kernel<L, X>>,
    pub(super) descents: Vec<Descent<X>>,
}

/// Compares everything.
pub(super) fn compare<L: Limits, E: Equality<L>>(
    unrolled: &Unrolled,
    paths: &Paths<'_>,
    limits: &mut L,
    equality: &mut E,
) -> Result<Sides<L, E::Left>, InductionError>
where
    InductionError: From<L::Error>,
{
    let sums = paths.pair_sums(limits)?;
    let mut proof = Proof { unrolled, paths, sums, limits, equality };
    let changes = proof.changes()?;
    let kernels = proof.kernels()?;
    let descents = proof.descents(&kernels)?;
    Ok(Sides { changes, kernels, descents })
}

struct Proof<'a, L: Limits, E> {
    unrolled: &'a Unrolled,
    paths: &'a Paths<'a>,
    sums: PairSums<L::Scalar>,
    limits: &'a mut L,
    equality: &'a mut E,
}

impl<L: Limits, E: Equality<L>> Proof<'_, L, E>
where
    InductionError: From<L::Error>,
{
    /// Eq. 107, in the order of the induction: by time, then by G-var.
    fn changes(&mut self) -> Result<Vec<Change<L, E::Left>>, InductionError> {
        let program = &self.unrolled.network.program;
        let mut found = Vec::new();
        for time in 1..=self.unrolled.steps.steps {
            for g in program.value_ids() {
                let Some(delta) = self.unrolled.deviation(g, time) else { continue };
                let derived = self.limits.vector(delta)?;
                let claimed = self.claimed(g, time)?;
                let one = self.limits.number(&Number::from_integer(1.into()));
                let difference = self.limits.minus_multiple(derived.clone(), &one, &claimed);
                let side = defining_matrix(program, g);
                let left = self.equality.modulo(self.limits, difference, side, &program.value(g).name)?;
                found.push(Change { g, time, delta, derived, claimed, left });
            }
        }
        Ok(found)
    }

    /// `- sum over s, j of C_ts chi_s(j) sum over g' of A(g, g') Z^{dg'} (size of g' / n)^(-1/2)`
    fn claimed(&mut self, g: ValueId, time: usize) -> Result<L::Vector, InductionError> {
        let program = &self.unrolled.network.program;
        let mut total = self.limits.zero_vector();
        for other in program.value_ids() {
            let Some(sum) = self.sums.get(g, other) else { continue };
            // Adjoints have the root of their own size in front.
            let scale = match program.value(other).ty.kind {
                Kind::Vector(Dim::Width(class)) => program.classes[class.index()].ratio.clone(),
                _ => Number::from_integer(1.into()),
            };
            for signals in &self.unrolled.signals {
                let Some(&adjoint) = signals.adjoints.get(&other) else { continue };
                let weight = weight(self.limits, self.unrolled, signals, time)?;
                let factor = self.limits.product(&weight, sum);
                let scale = self.limits.inverse_root(&scale);
                let factor = self.limits.product(&factor, &scale);
                let signal = self.limits.vector(adjoint)?;
                total = self.limits.minus_multiple(total, &factor, &signal);
            }
        }
        Ok(total)
    }

    /// Both kernels for every pair of components of outputs.
    fn kernels(&mut self) -> Result<Vec<Kernel<L, E::Left>>, InductionError> {
        let all = &self.unrolled.signals;
        let mut found = Vec::new();
        for (i, first) in all.iter().enumerate() {
            for (j, second) in all[..=i].iter().enumerate() {
                // Components have independent readouts.
                let by_paths = if first.component == second.component {
                    self.paths.kernel(self.limits, &self.sums, first.output, second.output)?
                } else {
                    self.limits.number(&Number::zero())
                };
                let by_moments = self.kernel_by_moments(first, second)?;
                let difference = self.limits.difference(&by_paths, &by_moments);
                let left = self.equality.of_scalars(self.limits, difference, "the kernel")?;
                found.push(Kernel { at: (i, j), by_paths, by_moments, left });
            }
        }
        Ok(found)
    }

    /// `sum over W and g = W h, g' = W h' of E[Z^dg Z^dg'] E[Z^h Z^h']` (eq. 100), with the first and last layers.
    fn kernel_by_moments(&mut self, first: &Signals, second: &Signals) -> Result<L::Scalar, InductionError> {
        let mut total = self.limits.number(&Number::zero());
        for (&g, &dg) in &first.adjoints {
            for (&h, &dh) in &second.adjoints {
                let Some(share) = self.sums.shortest(g, h) else { continue };
                let signals = self.limits.moment(dg, dh)?;
                let term = self.limits.product(share, &signals);
                total = self.limits.sum(&total, &term);
            }
        }
        Ok(total)
    }

    /// Kernel gradient descent for every output and time: `f_t - f_0 + sum of C_ts chi_s(j) K(., j)`.
    fn descents(&mut self, kernels: &[Kernel<L, E::Left>]) -> Result<Vec<Descent<E::Left>>, InductionError> {
        let mut found = Vec::new();
        for time in 1..=self.unrolled.steps.steps {
            for (i, signals) in self.unrolled.signals.iter().enumerate() {
                let now = self.limits.scalar(signals.at[time])?;
                let before = self.limits.scalar(signals.at[0])?;
                let mut difference = self.limits.difference(&now, &before);
                for kernel in kernels {
                    let other = match kernel.at {
                        (a, b) if a == i => b,
                        (a, b) if b == i => a,
                        _ => continue,
                    };
                    let weight = weight(self.limits, self.unrolled, &self.unrolled.signals[other], time)?;
                    let term = self.limits.product(&weight, &kernel.by_moments);
                    difference = self.limits.sum(&difference, &term);
                }
                let left = self.equality.of_scalars(self.limits, difference, "an output")?;
                found.push(Descent { signals: i, time, left });
            }
        }
        Ok(found)
    }
}

/// `sum over s < t of C_ts chi_s` of one component of an output.
fn weight<L: Limits>(
    limits: &mut L,
    unrolled: &Unrolled,
    signals: &Signals,
    time: usize,
) -> Result<L::Scalar, L::Error> {
    let mut total = limits.number(&Number::zero());
    for (s, &chi) in signals.chi.iter().enumerate().take(time) {
        let chi = limits.scalar(chi)?;
        let share = limits.number(&unrolled.steps.share(time, s));
        let term = limits.product(&share, &chi);
        total = limits.sum(&total, &term);
    }
    Ok(total)
}
