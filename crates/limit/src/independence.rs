//! The answer under gradient independence, and the smallest program that shows that it is another one.
//!
//! Gradient independence takes `W'` to be independent of `W`: every ZDot is 0 ([`Deriver::assuming_gradient_independence`]).
//! It is right where the Simple GIA Check passes and wrong in general (TP IIb §3.2). Where the two answers differ, the
//! program is reduced as one reduces a failing test: definitions are replaced by simpler ones and dead ones dropped, as
//! long as the answers still differ. What is left is 1-minimal: no single step makes it smaller and keeps the difference.

mod reduce;
#[cfg(test)]
mod tests;

use netsor_ir::transform::{TransformError, dce, unroll_program};
use netsor_ir::{Dim, ExprId, Index, Kind, Program, ValueId};

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::eval::{Data, Evaluator, Value};
use netsor_gauss::Tolerance;

/// A program whose limit is another one under gradient independence.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The program, without families; it prints, verifies and runs like any other.
    pub program: Program,
    /// Its scalar that differs.
    pub target: ValueId,
    /// The numbers of its data, if any are left.
    pub data: Vec<(ValueId, Vec<f64>)>,
    /// The limit.
    pub exact: Value,
    /// The limit under gradient independence.
    pub independent: Value,
}

/// What is asked for: a member of a scalar, or a second moment of members of two vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A scalar at indices.
    Scalar(ValueId, Vec<u32>),
    /// `E Z^a Z^b` at the indices of `a` and then those of `b`.
    Moment(ValueId, ValueId, Vec<u32>),
}

/// Why a program cannot be reduced.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IndependenceError {
    /// Its families cannot be written out.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// One of the limits does not exist.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The target is outside of its family.
    #[error("`{name}` has no member at the indices {at:?}")]
    NoMember {
        /// The value.
        name: String,
        /// The indices given.
        at: Vec<u32>,
    },
}

/// Whether two numbers differ by more than their errors and the rounding of the sums that they come from.
pub fn differ(a: Value, b: Value) -> bool {
    // Expectations are of size one and few enough for 1e-9 to be far above their rounding.
    let rounding = 1e-9 * (1.0 + a.value.abs() + b.value.abs());
    2.0 * (a.error + b.error) + rounding < (a.value - b.value).abs()
}

/// Reduces a program for which the exact answer and the one under gradient independence differ; `None` if they agree.
///
/// ```
/// use netsor_ir::syntax::{parse_program, print_program};
/// use netsor_limit::Tolerance;
/// use netsor_limit::independence::{Target, smallest_difference};
///
/// let program = parse_program("program p {
///   matrix W ~ N(0, 1/n)
///   vector a ~ N(0, 1)
///   y = W * a
///   x = tanh(y)
///   b = W' * x
///   moment m = mean(a * b)
/// }")?;
/// let m = program.find("m").expect("it is there");
/// let found = smallest_difference(&program, &Target::Scalar(m, vec![]), &[], Tolerance::default())?;
/// let found = found.expect("W' is not independent of W");
/// // Without the tanh: y = W * a, b = W' * y.
/// assert_eq!((found.exact.value, found.independent.value), (1.0, 0.0));
/// assert_eq!(found.program.values.len(), 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Cost: some hundreds of derivations of ever smaller programs.
///
/// # Errors
/// [`IndependenceError`] if the program cannot be written out, or has no such limit to begin with.
pub fn smallest_difference(
    program: &Program,
    target: &Target,
    data: &[(ValueId, Vec<f64>)],
    tolerance: Tolerance,
) -> Result<Option<Counterexample>, IndependenceError> {
    let (mut plain, members) = unroll_program(program)?;
    let target = plain_target(program, &mut plain, &members, target)?;
    let mut numbers = Vec::new();
    for (family, values) in data {
        let size = match program.value(*family).ty.kind {
            Kind::Vector(Dim::Finite(size)) => size as usize,
            _ => 1,
        };
        let all = members[family.index()].iter().zip(values.chunks(size.max(1)));
        numbers.extend(all.map(|(&member, values)| (member, values.to_vec())));
    }
    let subject = Subject { program: plain, target, data: numbers }.without_dead_code()?;
    if !answers(&subject, tolerance)?.differ() {
        return Ok(None);
    }
    let smallest = reduce::reduce(subject, tolerance);
    let Answers { exact, independent } = answers(&smallest, tolerance)?;
    let Subject { program, target, data } = smallest;
    Ok(Some(Counterexample { program, target, data, exact, independent }))
}

/// A program without families, with what is asked of it.
#[derive(Clone, Debug)]
struct Subject {
    program: Program,
    target: ValueId,
    data: Vec<(ValueId, Vec<f64>)>,
}

#[derive(Clone, Copy, Debug)]
struct Answers {
    exact: Value,
    independent: Value,
}

impl Answers {
    fn differ(&self) -> bool {
        differ(self.exact, self.independent)
    }
}

impl Subject {
    fn without_dead_code(self) -> Result<Self, TransformError> {
        let (program, map) = dce(&self.program, &[self.target])?;
        let at = |v: ValueId| map[v.index()];
        let target = at(self.target).unwrap_or(self.target);
        let data = self.data.into_iter().filter_map(|(v, numbers)| Some((at(v)?, numbers))).collect();
        Ok(Self { program, target, data })
    }
}

/// The limit of the target, with and without ZDot.
fn answers(subject: &Subject, tolerance: Tolerance) -> Result<Answers, LimitError> {
    let exact = answer(subject, Deriver::new(&subject.program), tolerance)?;
    let independent = answer(subject, Deriver::assuming_gradient_independence(&subject.program), tolerance)?;
    Ok(Answers { exact, independent })
}

fn answer(subject: &Subject, mut deriver: Deriver<'_>, tolerance: Tolerance) -> Result<Value, LimitError> {
    let expr: ExprId = deriver.scalar(subject.target)?;
    let graph = deriver.into_graph();
    let data = subject.data.iter().fold(Data::new(), |data, (id, numbers)| data.with(*id, numbers.clone()));
    Evaluator::new(&graph, &subject.program, &data, tolerance)?.value(expr, &[])
}

fn plain_target(
    program: &Program,
    plain: &mut Program,
    members: &[Vec<ValueId>],
    target: &Target,
) -> Result<ValueId, IndependenceError> {
    let member = |value: ValueId, at: &[u32]| {
        let sizes = program.family_sizes(value);
        let inside = sizes.len() == at.len() && at.iter().zip(&sizes).all(|(&k, &size)| (k as usize) < size);
        let flat = at.iter().zip(&sizes).fold(0, |flat, (&k, &size)| flat * size + k as usize);
        let name = || program.value(value).name.clone();
        let found = inside.then(|| members[value.index()].get(flat).copied()).flatten();
        found.ok_or_else(|| IndependenceError::NoMember { name: name(), at: at.to_vec() })
    };
    match target {
        Target::Scalar(value, at) => member(*value, at),
        Target::Moment(a, b, at) => {
            let rank = program.value(*a).ty.family.len().min(at.len());
            let (a, b) = (member(*a, &at[..rank])?, member(*b, &at[rank..])?);
            let none: [Index; 0] = [];
            let (a, b) = (plain.member(a, &none), plain.member(b, &none));
            let product = plain.exprs.mul(a, b);
            let name = plain.unused_name("m");
            Ok(plain.moment(&name, &[], product))
        }
    }
}

impl Deriver<'_> {
    /// Whether a ZDot that is not 0 by proof was met in what was derived so far: only then can the answer under gradient
    /// independence be another one.
    pub fn has_returns(&self) -> bool {
        self.derived().any(|z| !z.dot.is_empty())
    }
}
