//! Scaling of inputs. What is fitted is fitted on training points and applied to any others.

use crate::{DataError, Dataset, Matrix};

/// An affine map of each column: `x -> (x - shift[j]) * factor[j]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    shift: Vec<f64>,
    factor: Vec<f64>,
}

impl Scaling {
    /// Maps the range of all training entries to [0, 1], with the same map for every column, as suits pixels.
    /// Constant data go to 0.
    pub fn unit_range(train: &Matrix) -> Self {
        let (low, high) = range(train.as_slice().iter());
        Self { shift: vec![low; train.n_cols()], factor: vec![1.0 / positive_or_one(high - low); train.n_cols()] }
    }

    /// Maps each column's training range to [0, 1]. Constant columns go to 0.
    pub fn unit_range_by_column(train: &Matrix) -> Self {
        let (shift, factor) = (0..train.n_cols())
            .map(|column| range(train.rows().map(|row| &row[column])))
            .map(|(low, high)| (low, 1.0 / positive_or_one(high - low)))
            .unzip();
        Self { shift, factor }
    }

    /// Gives every column mean 0 and variance 1 over the training points (the variance divides by `n`).
    /// Constant columns go to 0.
    pub fn standard(train: &Matrix) -> Self {
        let n = train.n_rows() as f64;
        let (shift, factor) = (0..train.n_cols())
            .map(|column| {
                let (low, high) = range(train.rows().map(|row| &row[column]));
                if low == high {
                    return (low, 1.0);
                }
                let mean = train.rows().map(|row| row[column]).sum::<f64>() / n;
                let variance = train.rows().map(|row| (row[column] - mean).powi(2)).sum::<f64>() / n;
                (mean, 1.0 / positive_or_one(variance.sqrt()))
            })
            .unzip();
        Self { shift, factor }
    }

    /// The scaled matrix.
    ///
    /// # Errors
    /// [`DataError::Shape`] for another number of columns, [`DataError::NotFinite`] on overflow.
    pub fn apply(&self, name: &str, inputs: &Matrix) -> Result<Matrix, DataError> {
        if inputs.n_cols() != self.shift.len() {
            return Err(DataError::Shape {
                name: name.to_owned(),
                what: "columns",
                expected: self.shift.len(),
                found: inputs.n_cols(),
            });
        }
        inputs.map(name, |column, x| (x - self.shift[column]) * self.factor[column])
    }
}

/// Scales every row to the sphere `|x|^2 = d`, on which the kernels of the papers live
/// (a first-layer variance of `x.x/d` is then 1 for every point).
///
/// # Errors
/// [`DataError::ZeroNorm`] naming the first row of norm zero.
pub fn to_sphere(name: &str, inputs: &Matrix) -> Result<Matrix, DataError> {
    let mut entries = Vec::with_capacity(inputs.as_slice().len());
    for (row_idx, row) in inputs.rows().enumerate() {
        // Dividing by the largest entry first keeps the squares of huge and tiny rows in range.
        let largest = row.iter().fold(0.0_f64, |acc, x| acc.max(x.abs()));
        if largest == 0.0 {
            return Err(DataError::ZeroNorm { name: name.to_owned(), row: row_idx });
        }
        let norm = row.iter().map(|x| (x / largest).powi(2)).sum::<f64>().sqrt();
        let radius = (inputs.n_cols() as f64).sqrt();
        entries.extend(row.iter().map(|x| x / largest / norm * radius));
    }
    Matrix::new(name, entries, inputs.n_rows(), inputs.n_cols())
}

impl Dataset {
    /// The data set with its inputs through a fitted [`Scaling`].
    ///
    /// # Errors
    /// As [`Scaling::apply`].
    pub fn scaled(self, scaling: &Scaling) -> Result<Self, DataError> {
        let inputs = scaling.apply(self.name(), self.inputs())?;
        self.with_inputs(inputs)
    }

    /// The data set with its inputs on the sphere `|x|^2 = d` ([`to_sphere`]).
    ///
    /// # Errors
    /// As [`to_sphere`].
    pub fn on_sphere(self) -> Result<Self, DataError> {
        let inputs = to_sphere(self.name(), self.inputs())?;
        self.with_inputs(inputs)
    }
}

fn range<'a>(values: impl Iterator<Item = &'a f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
}

fn positive_or_one(x: f64) -> f64 {
    if 0.0 < x { x } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toy() -> Matrix {
        Matrix::new("toy", vec![0.0, 2.0, 7.0, 4.0, 6.0, 7.0, 2.0, 4.0, 7.0], 3, 3).unwrap()
    }

    #[test]
    fn unit_ranges() {
        let all = Scaling::unit_range(&toy()).apply("toy", &toy()).unwrap();
        assert_eq!(range(all.as_slice().iter()), (0.0, 1.0));
        let each = Scaling::unit_range_by_column(&toy()).apply("toy", &toy()).unwrap();
        assert_eq!(each.as_slice(), [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.5, 0.5, 0.0]);
    }

    #[test]
    fn standardised_columns_have_mean_zero_and_variance_one() {
        let scaling = Scaling::standard(&toy());
        let out = scaling.apply("toy", &toy()).unwrap();
        for column in 0..2 {
            let values: Vec<f64> = out.rows().map(|row| row[column]).collect();
            // Three terms of size one: rounding only.
            assert!(values.iter().sum::<f64>().abs() < 8.0 * f64::EPSILON);
            assert!((values.iter().map(|x| x * x).sum::<f64>() / 3.0 - 1.0).abs() < 8.0 * f64::EPSILON);
        }
        assert!(out.rows().all(|row| row[2] == 0.0), "a constant column goes to zero");
        let other = Matrix::new("other", vec![4.0, 6.0, 7.0], 1, 3).unwrap();
        let other = scaling.apply("other", &other).unwrap();
        assert_eq!(other.row(0), out.row(1), "statistics come from the training points");
        let narrow = Matrix::new("narrow", vec![1.0], 1, 1).unwrap();
        assert_eq!(scaling.apply("narrow", &narrow).unwrap_err().to_string(), "narrow: columns: expected 3, found 1");
    }

    #[test]
    fn the_sphere_is_reached_from_any_scale() {
        let rows = vec![3.0, 4.0, 1e200, -1e200, 1e-200, 0.0];
        let rows = to_sphere("rows", &Matrix::new("rows", rows, 3, 2).unwrap()).unwrap();
        for row in rows.rows() {
            assert!((row.iter().map(|x| x * x).sum::<f64>() - 2.0).abs() < 16.0 * f64::EPSILON);
        }
        let zero = Matrix::new("zero", vec![1.0, 0.0, 0.0, 0.0], 2, 2).unwrap();
        assert!(matches!(to_sphere("zero", &zero), Err(DataError::ZeroNorm { row: 1, .. })));
    }
}
