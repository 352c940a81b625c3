//! Numbers for the data values of a program.

use std::collections::BTreeMap;

use netsor_ir::{Dim, Instr, Kind, Program, ValueId};

use crate::error::LimitError;

/// Numbers for the data values of a program.
///
/// A family is a flat array with the last index fastest; for vectors of constant dimension the coordinate comes last.
#[derive(Clone, Debug, Default)]
pub struct Data {
    pub(super) values: BTreeMap<ValueId, Vec<f64>>,
}

impl Data {
    /// No data.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the numbers of one data value.
    #[must_use]
    pub fn with(mut self, value: ValueId, numbers: Vec<f64>) -> Self {
        self.values.insert(value, numbers);
        self
    }

    pub(super) fn check(&self, program: &Program) -> Result<(), LimitError> {
        for id in program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data)) {
            let name = || program.value(id).name.clone();
            let Some(numbers) = self.values.get(&id) else { continue };
            let size = match program.value(id).ty.kind {
                Kind::Vector(Dim::Finite(size)) => size as usize,
                _ => 1,
            };
            let expected = program.family_sizes(id).iter().product::<usize>() * size;
            if numbers.len() != expected {
                return Err(LimitError::Data { name: name(), expected, found: numbers.len() });
            }
            if let Some(position) = numbers.iter().position(|x| !x.is_finite()) {
                return Err(LimitError::NotFinite { name: name(), position, value: numbers[position] });
            }
        }
        Ok(())
    }
}
