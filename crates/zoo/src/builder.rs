//! Building networks: programs plus a list of parameters and outputs.

use netsor_ir::build::Family;
use netsor_ir::number::{Number, from_f64, integer, power};
use netsor_ir::program::Law;
use netsor_ir::{Dim, ExprId, Index, Instr, Kind, Network, Parameter, Program, Scale, ValueId};

/// Why an architecture cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ZooError {
    /// A size is zero.
    #[error("`{what}` is 0; it must be at least 1")]
    Empty {
        /// Which size.
        what: &'static str,
    },
    /// A number is NaN or infinite.
    #[error("`{what}` is {value}; it must be finite")]
    NotFinite {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
    },
}

/// The exact number that is nearest to `value`.
pub(crate) fn number(what: &'static str, value: f64) -> Result<Number, ZooError> {
    from_f64(value).ok_or(ZooError::NotFinite { what, value })
}

/// Checks that a size is at least 1.
pub(crate) fn positive(what: &'static str, size: u32) -> Result<u32, ZooError> {
    if size == 0 { Err(ZooError::Empty { what }) } else { Ok(size) }
}

/// A network under construction.
#[derive(Clone, Debug)]
pub struct NetworkBuilder {
    /// The program so far; anything may be added to it directly.
    pub program: Program,
    parameters: Vec<Parameter>,
    outputs: Vec<ValueId>,
}

impl NetworkBuilder {
    /// An empty network.
    pub fn new(name: &str) -> Self {
        Self { program: Program::new(name), parameters: Vec::new(), outputs: Vec::new() }
    }

    /// The dimension `n`.
    pub fn n(&self) -> Dim {
        self.program.width()
    }

    /// A dense matrix `W / sqrt(fan_in)` with standard deviation `w_std`: entries have variance `w_std^2 / fan_in`,
    /// where `fan_in` is the number of columns times `further` (the taps of a convolution). For a readout, which is
    /// used transposed, `fan_in` is its number of rows.
    ///
    /// # Errors
    /// If `w_std` is not finite.
    pub fn weight(
        &mut self,
        name: &str,
        family: Family<'_>,
        (rows, cols): (Dim, Dim),
        fan_in: Dim,
        further: u32,
        w_std: f64,
    ) -> Result<ValueId, ZooError> {
        let std = number("w_std", w_std)?;
        let variance = &std * &std / integer(i64::from(further));
        let scale = match fan_in {
            Dim::Finite(size) => Scale::constant(variance / integer(i64::from(size))),
            Dim::Width(class) => Scale::new(variance / &self.program.classes[class.index()].ratio, power(-1, 1)),
        };
        let value = self.program.matrix(name, family, rows, cols, scale.clone());
        self.parameters.push(Parameter::ntk(value, &scale));
        Ok(value)
    }

    /// A bias `b_std * b` with standard normal `b`; `None` if `b_std` is 0.
    ///
    /// # Errors
    /// If `b_std` is not finite.
    pub fn bias(&mut self, name: &str, dim: Dim, b_std: f64) -> Result<Option<ValueId>, ZooError> {
        self.bias_around(name, dim, 0.0, b_std)
    }

    /// A bias `mean + b_std * b` with standard normal `b`; `None` if mean and `b_std` are 0.
    ///
    /// # Errors
    /// If a number is not finite.
    pub fn bias_around(&mut self, name: &str, dim: Dim, mean: f64, b_std: f64) -> Result<Option<ValueId>, ZooError> {
        if b_std == 0.0 && mean == 0.0 {
            return Ok(None);
        }
        let std = number("b_std", b_std)?;
        let mean = number("the mean of a bias", mean)?;
        let variance = &std * &std;
        let law = Law::iid(&mut self.program.exprs, mean, variance.clone());
        let value = self.program.gaussian(name, &[], dim, law);
        self.parameters.push(Parameter::ntk(value, &Scale::constant(variance)));
        Ok(Some(value))
    }

    /// `name = expr + bias`, or `product` itself under its own name if there is no bias.
    pub fn biased(&mut self, name: &str, family: Family<'_>, product: ValueId, bias: Option<ValueId>) -> ValueId {
        let Some(bias) = bias else { return product };
        let indices = own(family.len());
        let h = self.program.member(product, &indices);
        let b = self.program.member(bias, &[]);
        let sum = self.program.exprs.add(h, b);
        let kind = self.program.value(product).ty.kind;
        self.program.define(name, family, kind, Instr::Map(sum))
    }

    /// Data: vectors of constant dimension.
    pub fn input(&mut self, name: &str, family: Family<'_>, dim: u32) -> ValueId {
        self.program.data(name, family, Kind::Vector(Dim::Finite(dim)))
    }

    /// A coordinatewise function of a family, member by member.
    ///
    /// # Errors
    /// As `f`.
    pub fn map(
        &mut self,
        name: &str,
        family: Family<'_>,
        of: ValueId,
        f: impl FnOnce(&mut netsor_ir::Exprs, ExprId) -> Result<ExprId, ZooError>,
    ) -> Result<ValueId, ZooError> {
        let x = self.program.member(of, &own(family.len()));
        let y = f(&mut self.program.exprs, x)?;
        Ok(self.program.map(name, family, y))
    }

    /// Marks an output.
    pub fn output(&mut self, value: ValueId) {
        self.outputs.push(value);
    }

    /// The network.
    pub fn finish(mut self) -> Network {
        self.parameters.sort_by_key(|p| p.value);
        Network { program: self.program, parameters: self.parameters, outputs: self.outputs }
    }
}

/// The index variables of a family with `rank` axes.
pub(crate) fn own(rank: usize) -> Vec<Index> {
    (0..rank as u32).map(Index::Var).collect()
}
