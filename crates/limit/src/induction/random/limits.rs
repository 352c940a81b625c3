//! What the two sides are made of, in the field, and when they agree.

use std::rc::Rc;

use netsor_ir::expr::{ExprId, Exprs};
use netsor_ir::number::Number;
use netsor_ir::{Instr, Program, ValueId};

use super::polynomial::Polynomial;
use super::rules::{AtPoints, Scalar};
use crate::induction::InductionError;
use crate::induction::field::{inverse, is_square, minus, number, root};
use crate::induction::sides::{Equality, Side};
use crate::paths::Limits;

/// Numbers of the field.
impl Limits for AtPoints<'_> {
    type Scalar = Scalar;
    type Vector = Rc<Polynomial>;
    type Error = InductionError;

    fn number(&mut self, value: &Number) -> Scalar {
        Scalar { value: number(value), degree: 0 }
    }

    fn inverse_root(&mut self, value: &Number) -> Scalar {
        let square = number(value);
        if !is_square(square) {
            self.rooted.fill(false);
        }
        Scalar { value: inverse(root(square)), degree: 0 }
    }

    fn sum(&mut self, a: &Scalar, b: &Scalar) -> Scalar {
        a.plus(*b)
    }

    fn difference(&mut self, a: &Scalar, b: &Scalar) -> Scalar {
        a.plus(Scalar { value: minus(0, b.value), ..*b })
    }

    fn product(&mut self, a: &Scalar, b: &Scalar) -> Scalar {
        a.times(*b)
    }

    fn is_zero(&self, a: &Scalar) -> bool {
        a.value == 0
    }

    fn zero_vector(&mut self) -> Rc<Polynomial> {
        Rc::new(self.constant(0, 0))
    }

    fn minus_multiple(&mut self, x: Rc<Polynomial>, factor: &Scalar, y: &Rc<Polynomial>) -> Rc<Polynomial> {
        let mut difference = Rc::unwrap_or_clone(x);
        difference.add(&y.scaled(minus(0, factor.value), factor.degree), 1);
        Rc::new(difference)
    }

    fn mean_of_product(&mut self, x: &Rc<Polynomial>, y: &Rc<Polynomial>) -> Result<Scalar, InductionError> {
        self.mean_of_two(x, y)
    }

    fn scalar(&mut self, value: ValueId) -> Result<Scalar, InductionError> {
        Ok(self.coordinates(value)?[0].number())
    }

    fn vector(&mut self, value: ValueId) -> Result<Rc<Polynomial>, InductionError> {
        Ok(self.coordinates(value)?[0].clone())
    }

    fn moment(&mut self, x: ValueId, y: ValueId) -> Result<Scalar, InductionError> {
        let (left, right) = (self.coordinates(x)?, self.coordinates(y)?);
        self.inner(self.program.value(x).ty.kind, &left, &right)
    }

    fn function(&mut self, exprs: &Exprs, term: ExprId, of: &str) -> Result<Rc<Polynomial>, InductionError> {
        self.evaluated(exprs, term, of)
    }

    fn coefficient(&mut self, exprs: &Exprs, term: ExprId, of: &str) -> Result<Scalar, InductionError> {
        Ok(self.evaluated(exprs, term, of)?.number())
    }
}

/// Equality as numbers.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// The largest degree in expectations of what was compared.
    pub(super) degree: usize,
}

impl Equality<AtPoints<'_>> for Agreement {
    type Left = bool;

    fn modulo(
        &mut self,
        rules: &mut AtPoints<'_>,
        difference: Rc<Polynomial>,
        side: Option<Side>,
        _: &str,
    ) -> Result<bool, InductionError> {
        self.degree = self.degree.max(difference.degree);
        Ok(vanishes_modulo(rules.program, &difference, side))
    }

    fn of_scalars(&mut self, _: &mut AtPoints<'_>, difference: Scalar, _: &str) -> Result<bool, InductionError> {
        self.degree = self.degree.max(difference.degree);
        Ok(difference.value == 0)
    }
}

/// Whether nothing is left but scalar multiples of base variables of one matrix and side.
fn vanishes_modulo(program: &Program, difference: &Polynomial, side: Option<Side>) -> bool {
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
