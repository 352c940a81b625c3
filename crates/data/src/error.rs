//! The one error type of the crate: what was read, where in it, what was found and what was expected.

use std::{io, path::PathBuf};

/// Why a data set could not be read, built or written.
///
/// Messages name the file (or the data set), the line where there is one, and the offending value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was attempted: `read`, `write`, `rename`.
        action: &'static str,
        /// The path as given.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A source without a single row.
    #[error("{name}: no rows of data")]
    Empty {
        /// File or data set.
        name: String,
    },
    /// A row has more or fewer fields than the first one.
    #[error("{name}, line {line}: expected {expected} fields as in the first row, found {found}")]
    Ragged {
        /// File or data set.
        name: String,
        /// Line, counted from 1.
        line: u64,
        /// Fields of the first row.
        expected: usize,
        /// Fields of this row.
        found: usize,
    },
    /// A field that had to be a number is not one.
    #[error("{name}, line {line}, field {field}: {}", not_a_number(text))]
    NotANumber {
        /// File or data set.
        name: String,
        /// Line, counted from 1.
        line: u64,
        /// Field in the line, counted from 1.
        field: usize,
        /// The text of the field.
        text: String,
    },
    /// NaN or infinity in a text file.
    #[error(
        "{name}, line {line}, field {field}: `{text}` is not finite; remove the row or fill the gap before loading"
    )]
    NotFiniteAtLine {
        /// File or data set.
        name: String,
        /// Line, counted from 1.
        line: u64,
        /// Field in the line, counted from 1.
        field: usize,
        /// The text of the field.
        text: String,
    },
    /// NaN or infinity in memory or in a binary file.
    #[error("{name}, row {row}, column {column}: {value} is not finite")]
    NotFinite {
        /// File or data set.
        name: String,
        /// Row, counted from 0.
        row: usize,
        /// Column, counted from 0.
        column: usize,
        /// The value.
        value: f64,
    },
    /// A file that does not follow its format.
    #[error("{name}: {problem}")]
    Format {
        /// File or data set.
        name: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// Sizes that do not fit together.
    #[error("{name}: {what}: expected {expected}, found {found}")]
    Shape {
        /// File or data set.
        name: String,
        /// Which size.
        what: &'static str,
        /// The size that fits.
        expected: usize,
        /// The size that was given.
        found: usize,
    },
    /// A split that leaves the training or the test points empty.
    #[error("{name}: {n_train} training points of {n_points} leave no point to train on or none to test on; expected 1 to {}", n_points.saturating_sub(1))]
    Split {
        /// File or data set.
        name: String,
        /// All points.
        n_points: usize,
        /// Those that were asked for.
        n_train: usize,
    },
    /// A column that the header does not name, or beyond the last one.
    #[error("{name}: no column {column}; there are {found} columns{}", if header.is_empty() { String::new() } else { format!(": {}", header.join(", ")) })]
    NoSuchColumn {
        /// File or data set.
        name: String,
        /// The column asked for.
        column: String,
        /// How many columns there are.
        found: usize,
        /// Their names, if there is a header.
        header: Vec<String>,
    },
    /// An operation on labels met a data set without them.
    #[error("{name}: this data set has no classes (it is a regression problem)")]
    NoClasses {
        /// File or data set.
        name: String,
    },
    /// A row of norm zero cannot be scaled to a sphere.
    #[error("{name}, row {row}: the norm is zero, so the row cannot be normalised; remove it")]
    ZeroNorm {
        /// File or data set.
        name: String,
        /// Row, counted from 0.
        row: usize,
    },
}

/// What is wrong with a text that should be a number, and how to mend it where that is known.
fn not_a_number(text: &str) -> String {
    let point = text.replace(',', ".");
    if text.is_empty() {
        "the field is empty; fill the gap or remove the row".to_owned()
    } else if point != text && point.parse::<f64>().is_ok() {
        format!("`{text}` is not a number; decimals are written with a point: `{point}`")
    } else {
        format!("`{text}` is not a number")
    }
}
