//! What goes into a run and what comes out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use netsor_ir::ValueId;

use crate::error::KernelError;
use crate::plan::Plan;

/// Numbers for the data of a program, a row an input.
///
/// A row holds the numbers of one input in the order of the value's further axes, the coordinate last.
#[derive(Clone, Debug, Default)]
pub struct Inputs<'a> {
    rows: usize,
    values: BTreeMap<ValueId, Cow<'a, [f64]>>,
}

impl<'a> Inputs<'a> {
    /// So many inputs, without numbers yet.
    pub fn new(rows: usize) -> Self {
        Self { rows, values: BTreeMap::new() }
    }

    /// With the numbers of one data value, row after row.
    #[must_use]
    pub fn with(mut self, value: ValueId, numbers: impl Into<Cow<'a, [f64]>>) -> Self {
        self.values.insert(value, numbers.into());
        self
    }

    /// The number of inputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The numbers that the plan needs, in its order.
    pub(crate) fn checked(&self, plan: &Plan) -> Result<Vec<&[f64]>, KernelError> {
        if self.rows == 0 {
            return Err(KernelError::NoInputs);
        }
        plan.data
            .iter()
            .map(|data| {
                let name = || data.name.clone();
                let numbers = self.values.get(&data.value).ok_or_else(|| KernelError::MissingData { name: name() })?;
                if self.rows.checked_mul(data.stride) != Some(numbers.len()) {
                    let (rows, columns, found) = (self.rows, data.stride, numbers.len());
                    return Err(KernelError::DataSize { name: name(), rows, columns, found });
                }
                if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
                    let (row, column) = (at / data.stride, at % data.stride);
                    return Err(KernelError::NotFinite { name: name(), row, column, value: numbers[at] });
                }
                Ok(&**numbers)
            })
            .collect()
    }
}

/// How a plan is run.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Number of threads; the pool of the caller if 0. It does not change the result.
    pub threads: usize,
    /// The error that series may leave, relative to `sqrt(E f^2 E g^2)`; integrals without closed form get a tenth.
    pub tolerance: f64,
    /// The most memory, in bytes.
    pub memory: usize,
    /// Called with the number of finished parts and of all, from any thread.
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
    /// Set to stop.
    pub cancel: Option<&'a AtomicBool>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { threads: 0, tolerance: 1e-9, memory: 8 << 30, progress: None, cancel: None }
    }
}

/// Kernel matrices, one a query.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelMatrices {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Names of the queries.
    pub names: Vec<String>,
    /// The entries of each, row after row.
    pub values: Vec<Vec<f64>>,
    /// What it took.
    pub statistics: Statistics,
}

impl KernelMatrices {
    /// The entries of the query called `name`, row after row.
    pub fn get(&self, name: &str) -> Option<&[f64]> {
        self.names.iter().position(|n| n == name).map(|at| &self.values[at][..])
    }
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Integrals by the general integrator, where no closed form or series served.
    pub integrals: usize,
    /// Integrals whose error is above a tenth of the tolerance.
    pub not_met: usize,
    /// Bytes that were estimated beforehand.
    pub memory: usize,
}
