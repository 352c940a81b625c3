//! What a claim is, and what running one gives.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::figure::Figure;
use crate::verdict::{Test, Verdict};

/// A statement of a paper (or of our errata) with an experiment that could refute it.
///
/// Texts may hold mathematics as `$...$` in LaTeX.
pub trait Claim: Send + Sync {
    /// Name on the command line and of the files of results: lower-case letters, digits, `-`.
    fn id(&self) -> &'static str;

    /// One line for lists.
    fn title(&self) -> &str;

    /// Paper and equation, such as "TP IIb Thm 5.1".
    fn source(&self) -> &str;

    /// What is predicted, margins included, and by whom.
    fn prediction(&self) -> &str;

    /// The page of the book about it, as a path below `docs/`.
    fn page(&self) -> Option<&str> {
        None
    }

    /// To be raised when the experiment changes: older results are then no longer used.
    fn revision(&self) -> u32 {
        1
    }

    /// Runs the experiment. All randomness comes from [`Context::seed`]; units of work go through
    /// [`Context::unit`], where a run can be stopped and resumed.
    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome>;
}

/// Everything an experiment found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Comparisons with the prediction; the verdict follows from these alone.
    pub tests: Vec<Test>,
    /// Numbers.
    pub tables: Vec<Table>,
    /// Pictures.
    pub figures: Vec<Figure>,
    /// Remarks: what was left out, what a reader should know. Mathematics as `$...$`.
    pub notes: Vec<String>,
}

impl Outcome {
    /// The verdict of the tests as they stand (see [`crate::verdict::judge`]).
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::all(self.tests.iter().map(|test| test.verdict))
    }

    /// Refuses numbers that cannot be drawn or written, by the place where they occur.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for figure in &self.figures {
            figure.check()?;
        }
        for table in &self.tables {
            for (i, row) in table.rows.iter().enumerate() {
                ensure!(
                    row.len() == table.columns.len(),
                    "table `{}`: row {i} has {} cells, expected {}",
                    table.title,
                    row.len(),
                    table.columns.len()
                );
                for (cell, column) in row.iter().zip(&table.columns) {
                    if let Cell::Number(value) = cell {
                        ensure!(
                            value.is_finite(),
                            "table `{}`: row {i}, column `{column}` is {value}, expected a finite \
                             number",
                            table.title
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

/// A table of numbers and words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Heading; mathematics as `$...$`.
    pub title: String,
    /// Heads of the columns; mathematics as `$...$`.
    pub columns: Vec<String>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(title: impl Into<String>, columns: impl IntoIterator<Item = S>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { title: title.into(), columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push<C: Into<Cell>>(&mut self, row: impl IntoIterator<Item = C>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }
}

/// An entry of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A finite number.
    Number(f64),
    /// Words; mathematics as `$...$`.
    Text(String),
    /// Nothing to say.
    Missing(()),
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Self::Number(value as f64)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_json_to_the_last_bit() {
        let mut table = Table::new("t", ["n", "value", "remark"]);
        table.push([Cell::from(64_usize), Cell::from(0.1 + 0.2), Cell::from("ok")]);
        table.rows.push(vec![Cell::Number(1.0), Cell::Missing(()), Cell::from("not run")]);
        let outcome = Outcome { tables: vec![table], ..Outcome::default() };
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        assert!(outcome.check().is_ok());
    }

    #[test]
    fn ragged_and_nan_tables_are_refused() {
        let mut table = Table::new("t", ["n", "value"]);
        table.push([1.0]);
        let ragged = Outcome { tables: vec![table.clone()], ..Outcome::default() };
        assert!(ragged.check().unwrap_err().to_string().contains("row 0 has 1 cells, expected 2"));
        table.rows = vec![vec![1.0.into(), f64::NAN.into()]];
        let nan = Outcome { tables: vec![table], ..Outcome::default() };
        assert!(nan.check().unwrap_err().to_string().contains("column `value` is NaN"));
    }
}
