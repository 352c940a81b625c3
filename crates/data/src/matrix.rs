//! A dense row-major matrix of finite numbers: the currency of the crate.

use crate::DataError;

/// Row-major `n_rows x n_cols` matrix; every entry is finite.
///
/// It is a plain container: linear algebra lives above this crate,
/// which takes `as_slice` with `n_rows` and `n_cols`.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    entries: Vec<f64>,
    n_rows: usize,
    n_cols: usize,
}

impl Matrix {
    /// Takes `n_rows * n_cols` entries, row after row. `name` appears in errors only.
    ///
    /// # Errors
    /// [`DataError::Shape`] when the number of entries differs, [`DataError::NotFinite`] on NaN and infinities.
    pub fn new(name: &str, entries: Vec<f64>, n_rows: usize, n_cols: usize) -> Result<Self, DataError> {
        let expected = n_rows.checked_mul(n_cols).ok_or_else(|| DataError::Format {
            name: name.to_owned(),
            problem: format!("{n_rows} x {n_cols} entries do not fit into memory"),
        })?;
        if entries.len() != expected {
            return Err(DataError::Shape { name: name.to_owned(), what: "entries", expected, found: entries.len() });
        }
        if let Some(at) = entries.iter().position(|it| !it.is_finite()) {
            return Err(DataError::NotFinite {
                name: name.to_owned(),
                row: at / n_cols,
                column: at % n_cols,
                value: entries[at],
            });
        }
        Ok(Self { entries, n_rows, n_cols })
    }

    /// The number of rows (points).
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The number of columns (features or outputs).
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// All entries, row after row.
    pub fn as_slice(&self) -> &[f64] {
        &self.entries
    }

    /// One row.
    ///
    /// # Panics
    /// When `row >= n_rows`, like slice indexing.
    pub fn row(&self, row: usize) -> &[f64] {
        assert!(row < self.n_rows, "row {row} of a matrix with {} rows", self.n_rows);
        &self.entries[row * self.n_cols..][..self.n_cols]
    }

    /// The rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        (0..self.n_rows).map(|row| self.row(row))
    }

    /// The chosen rows in the given order; repetitions are allowed.
    ///
    /// # Panics
    /// When an index is not below `n_rows`.
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        let mut entries = Vec::with_capacity(rows.len() * self.n_cols);
        for &row in rows {
            entries.extend_from_slice(self.row(row));
        }
        Self { entries, n_rows: rows.len(), n_cols: self.n_cols }
    }

    /// Applies `f(column, value)` to every entry and checks that the results are finite.
    ///
    /// # Errors
    /// [`DataError::NotFinite`] at the first entry where `f` left the finite numbers.
    pub fn map(&self, name: &str, mut f: impl FnMut(usize, f64) -> f64) -> Result<Self, DataError> {
        let entries =
            (self.rows()).flat_map(|row| row.iter().enumerate()).map(|(column, &value)| f(column, value)).collect();
        Self::new(name, entries, self.n_rows, self.n_cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_checked() {
        let too_few = Matrix::new("m", vec![1.0; 5], 2, 3).unwrap_err();
        assert_eq!(too_few.to_string(), "m: entries: expected 6, found 5");
        let nan = Matrix::new("m", vec![0.0, 1.0, 2.0, f64::NAN], 2, 2).unwrap_err();
        assert_eq!(nan.to_string(), "m, row 1, column 1: NaN is not finite");
        assert!(Matrix::new("m", vec![], usize::MAX, 2).is_err());
    }

    #[test]
    fn rows_are_contiguous() {
        let m = Matrix::new("m", vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2).unwrap();
        assert_eq!(m.row(1), [3.0, 4.0]);
        assert_eq!(m.select_rows(&[2, 0, 2]).as_slice(), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        assert_eq!(m.rows().map(|row| row[1]).sum::<f64>(), 12.0);
    }
}
