//! How good a prediction is.

use faer::MatRef;

use crate::{PredictError, matrix::check};

/// The column of the largest output of each row; the first of equals.
///
/// # Errors
/// [`PredictError::Empty`] without columns, [`PredictError::NotFinite`].
pub fn predicted_classes(outputs: MatRef<'_, f64>) -> Result<Vec<usize>, PredictError> {
    check("outputs", outputs, outputs.shape())?;
    if outputs.ncols() == 0 {
        return Err(PredictError::Empty { what: "outputs" });
    }
    let largest =
        |i: usize| (1..outputs.ncols()).fold(0, |best, j| if outputs[(i, best)] < outputs[(i, j)] { j } else { best });
    Ok((0..outputs.nrows()).map(largest).collect())
}

/// The share of rows whose largest output is at their class.
///
/// # Errors
/// As [`predicted_classes`]; [`PredictError::Shape`] unless there is one class a row and at least one row;
/// [`PredictError::NoSuchClass`].
pub fn accuracy(outputs: MatRef<'_, f64>, classes: &[usize]) -> Result<f64, PredictError> {
    let predicted = predicted_classes(outputs)?;
    if predicted.is_empty() {
        return Err(PredictError::Empty { what: "outputs" });
    }
    if predicted.len() != classes.len() {
        return Err(PredictError::Shape {
            what: "the list of classes",
            expected: (predicted.len(), 1),
            found: (classes.len(), 1),
        });
    }
    let n_classes = outputs.ncols();
    if let Some(row) = classes.iter().position(|&class| n_classes <= class) {
        return Err(PredictError::NoSuchClass { row, class: classes[row], n_classes });
    }
    let right = predicted.iter().zip(classes).filter(|(a, b)| a == b).count();
    Ok(right as f64 / classes.len() as f64)
}

/// The mean of `(f - y)^2` over all entries.
///
/// # Errors
/// [`PredictError::Shape`], [`PredictError::NotFinite`], [`PredictError::Empty`].
pub fn mean_squared_error(outputs: MatRef<'_, f64>, targets: MatRef<'_, f64>) -> Result<f64, PredictError> {
    check("targets", targets, targets.shape())?;
    check("outputs", outputs, targets.shape())?;
    let n_entries = targets.nrows() * targets.ncols();
    if n_entries == 0 {
        return Err(PredictError::Empty { what: "outputs" });
    }
    Ok((outputs - targets).squared_norm_l2() / n_entries as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_errors() {
        let f = MatRef::from_row_major_slice(&[0.1, 0.9, 2.0, 2.0, -1.0, -2.0], 3, 2);
        assert_eq!(predicted_classes(f).unwrap(), [1, 0, 0]);
        assert_eq!(accuracy(f, &[1, 1, 0]).unwrap(), 2.0 / 3.0);
        assert!(accuracy(f, &[1, 1]).is_err());
        assert_eq!(accuracy(f, &[1, 2, 0]).unwrap_err().to_string(), "row 1 has class 2, but there are 2 outputs");
        let y = MatRef::from_row_major_slice(&[0.1, 0.9, 2.0, 1.0, -1.0, -2.0], 3, 2);
        assert_eq!(mean_squared_error(f, y).unwrap(), 1.0 / 6.0);
        assert!(accuracy(f.subrows(0, 0), &[]).is_err());
    }
}
