//! The Z rules (TP IIb App. Def. B.3), over whatever values a [`Carrier`] computes with.
//!
//! The deriver's values are expressions in base Gaussian variables; at random points of a field they are numbers. The
//! walk over a program's definitions, what each instruction does, and what powers of the width do to it
//! ([`crate::order`]) are the same.

use netsor_ir::expr::Exprs;
use netsor_ir::number::Power;
use netsor_ir::program::Table;
use netsor_ir::{Dim, ExprId, Id, Indices, Instr, Kind, Program, ValueId};

use crate::error::LimitError;
use crate::graph::Graph;
use crate::order::{Leading, Order, Orders};
use crate::product::Product;

/// What the Z rules compute with.
pub(crate) trait Carrier<'p> {
    /// `n^(-power) Z^x` in the limit: an expression, or numbers.
    type Coefficient: Clone;
    /// Where vectors of constant dimension are looked at.
    type Coordinate: Copy;
    /// What is known of a matrix product besides its `Z`.
    type Dot: Default;
    /// Why there is no `Z`.
    type Error: From<LimitError>;

    /// The program.
    fn program(&self) -> &'p Program;
    /// The terms that definitions are expanded in, and the next bound variable.
    fn terms(&mut self) -> (&mut Graph, &mut u32);

    /// The order of a value whose `Z` is known.
    fn order(&self, value: ValueId) -> Option<Order>;
    /// `Z` of such a value.
    fn known(&self, value: ValueId) -> Option<Leading<Self::Coefficient>>;
    /// Makes the `Z` of a value known; `mixed` as in [`Order`].
    fn define(&mut self, value: ValueId, z: Leading<Self::Coefficient>, dot: Self::Dot, mixed: bool);

    /// Applies the rule for a value, and notes what is presumed meanwhile ([`crate::provided`]).
    fn noting(
        &mut self,
        _: ValueId,
        rule: impl FnOnce(&mut Self) -> Result<(), Self::Error>,
    ) -> Result<(), Self::Error> {
        rule(self)
    }
    /// What is being derived presumes what a known value does.
    fn rely_on(&mut self, _: ValueId) {}

    /// The coefficient 0.
    fn zero(&mut self) -> Self::Coefficient;
    /// Whether a coefficient is zero for certain, as it is written.
    fn is_zero(&self, coefficient: &Self::Coefficient) -> bool;
    /// The coefficient, or 0 if it is 0 when more is done to see that.
    fn settled(&mut self, coefficient: Self::Coefficient) -> Self::Coefficient {
        coefficient
    }
    /// A term without powers of the width, with the coefficients of the values that it mentions put in.
    fn put_in(
        &mut self,
        term: ExprId,
        coordinate: Option<Self::Coordinate>,
        name: &str,
    ) -> Result<Self::Coefficient, Self::Error>;

    /// The own coordinate of a vector of constant dimension.
    fn coordinate(&self, value: ValueId, size: u32) -> Self::Coordinate;
    /// A coordinate to take a mean over.
    fn bound_coordinate(&mut self, size: u32) -> Self::Coordinate;
    /// The mean over coordinates.
    fn mean_over(
        &mut self,
        coordinate: Self::Coordinate,
        size: u32,
        coefficient: &Self::Coefficient,
    ) -> Self::Coefficient;

    /// Data.
    fn data(&mut self, value: ValueId) -> Self::Coefficient;
    /// A row of a table.
    fn table(&mut self, value: ValueId, table: Id<Table>, at: &Indices) -> Result<Self::Coefficient, Self::Error>;
    /// ZINIT: an initial vector with this mean.
    fn initial(&mut self, value: ValueId, mean: &Self::Coefficient) -> Result<Self::Coefficient, Self::Error>;
    /// The expectation of a coefficient.
    fn expectation(&mut self, coefficient: &Self::Coefficient, name: &str) -> Result<Self::Coefficient, Self::Error>;
    /// A mean that fluctuates, as a symbol that stands for itself.
    fn fluctuation(&mut self, of: ValueId) -> Self::Coefficient;
    /// ZMATMUL, ZHAT and ZDOT: `Zhat + Zdot` of the product with an operand that is not 0.
    fn zhat_plus_zdot(
        &mut self,
        value: ValueId,
        product: &Product<'_>,
        operand: &Self::Coefficient,
    ) -> Result<(Self::Coefficient, Self::Dot), Self::Error>;
    /// The operand of a product, over the product's own indices.
    fn operand_of(&mut self, value: ValueId, product: &Product<'_>) -> Result<Leading<Self::Coefficient>, Self::Error>;
    /// A product that is a vector of constant dimension.
    fn readout(&mut self, value: ValueId, product: &Product<'_>) -> Result<Leading<Self::Coefficient>, Self::Error>;
}

/// The rules.
pub(crate) trait Rules<'p>: Carrier<'p> + Sized {
    /// The pool of the terms that definitions are expanded in.
    fn pool(&mut self) -> &mut Exprs {
        &mut self.terms().0.pool
    }

    /// Makes the `Z` of a value known, and of what it depends on.
    fn derive(&mut self, value: ValueId) -> Result<Order, Self::Error> {
        if let Some(known) = self.order(value) {
            self.rely_on(value);
            return Ok(known);
        }
        // Depth-first over arguments with an explicit stack: programs may be tens of thousands of instructions deep.
        let program = self.program();
        let mut stack = vec![value];
        while let Some(&next) = stack.last() {
            if self.order(next).is_some() {
                stack.pop();
                continue;
            }
            let before = stack.len();
            for argument in program.arguments(next) {
                let matrix = matches!(program.value(argument).ty.kind, Kind::Matrix { .. });
                if next <= argument {
                    let name = program.value(next).name.clone();
                    let reason = "it mentions a later definition".to_owned();
                    return Err(LimitError::IllFormed { name, reason }.into());
                }
                if !matrix && self.order(argument).is_none() {
                    stack.push(argument);
                }
            }
            if stack.len() == before {
                self.noting(next, |rules| rules.apply_rule(next))?;
                stack.pop();
            }
        }
        self.rely_on(value);
        Ok(self.order(value).expect("the loop ends when it is derived"))
    }

    /// `Z` of a value: its power of the width and its coefficient.
    fn leading_of(&mut self, value: ValueId) -> Result<Leading<Self::Coefficient>, Self::Error> {
        self.derive(value)?;
        Ok(self.known(value).expect("it was derived"))
    }

    /// The limit of a scalar, or `Z^x` of a vector: 0 if it vanishes.
    ///
    /// # Errors
    /// [`LimitError::NotAScalar`] if a positive power of the width is left, or a fluctuation of order 1.
    fn limit(&mut self, value: ValueId) -> Result<Self::Coefficient, Self::Error> {
        let leading = self.leading_of(value)?;
        let program = self.program();
        self.limit_of(leading, &program.value(value).name)
    }

    /// The rule for one instruction, when all arguments are known.
    fn apply_rule(&mut self, id: ValueId) -> Result<(), Self::Error> {
        let program = self.program();
        let value = program.value(id);
        let name = &value.name;
        let size = match value.ty.kind {
            Kind::Vector(Dim::Finite(size)) => Some(size),
            _ => None,
        };
        let own = size.map(|size| self.coordinate(id, size));
        let leading = match &value.instr {
            Instr::Data => Leading::plain(self.data(id)),
            Instr::Constant(table, indices) => Leading::plain(self.table(id, *table, indices)?),
            Instr::Matrix { .. } => return Err(LimitError::Matrix { name: name.clone() }.into()),
            Instr::Gaussian(_) if size.is_some() => return Err(LimitError::Readout { name: name.clone() }.into()),
            // ZINIT
            Instr::Gaussian(law) => {
                for expr in [law.mean, law.covariance].into_iter().chain(law.cross.iter().map(|&(_, c)| c)) {
                    if self.carries_width(expr)? {
                        return Err(LimitError::LawOfWidth { name: name.clone() }.into());
                    }
                }
                let mean = self.leading(law.mean, None, name)?;
                let mean = self.limit_of(mean, name)?;
                Leading::plain(self.initial(id, &mean)?)
            }
            // ZNONLIN+
            Instr::Map(expr) => self.leading(*expr, own, name)?,
            Instr::Scalar(expr) => self.leading(*expr, None, name)?,
            // ZMOMENT
            Instr::Moment(expr) => match program.expr_dim(*expr) {
                // The mean of a scalar expression is itself.
                None => self.leading(*expr, None, name)?,
                Some(Dim::Finite(size)) => {
                    let coordinate = self.bound_coordinate(size);
                    let body = self.leading(*expr, Some(coordinate), name)?;
                    Leading { coefficient: self.mean_over(coordinate, size, &body.coefficient), ..body }
                }
                Some(Dim::Width(_)) => {
                    let body = self.leading(*expr, None, name)?;
                    self.mean_of(body, *expr, Some(id), name)?
                }
            },
            Instr::MatMul { matrix, transposed, vector } => {
                let product = Product::new(program, matrix, *transposed, vector)?;
                match product.out_dim {
                    Dim::Width(_) => return self.matmul(id, &product),
                    Dim::Finite(_) => self.readout(id, &product)?,
                }
            }
        };
        let mixed = match value.instr {
            Instr::Map(expr) | Instr::Scalar(expr) => self.carries_width(expr)?,
            _ => false,
        };
        self.define(id, leading, Self::Dot::default(), mixed);
        Ok(())
    }

    /// ZMATMUL, with the powers of the width of `A` and `x` in front.
    fn matmul(&mut self, id: ValueId, product: &Product<'_>) -> Result<(), Self::Error> {
        let x = self.operand_of(id, product)?;
        // Columns of an input matrix are initial vectors.
        let sum_of = Power::from_integer(i64::from(!matches!(product.in_dim, Dim::Finite(_))));
        let power = (product.variance.power + sum_of) * Power::new(1, 2) + x.power;
        let (coefficient, dot) = if self.is_zero(&x.coefficient) {
            (x.coefficient, Self::Dot::default())
        } else {
            self.zhat_plus_zdot(id, product, &x.coefficient)?
        };
        self.define(id, Leading { power, coefficient, law: x.law }, dot, false);
        Ok(())
    }
}

impl<'p, C: Carrier<'p>> Rules<'p> for C {}
