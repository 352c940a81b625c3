//! Data sets in, matrices out.
//!
//! Everything that Netsor computes on is a matrix of inputs and a matrix of targets.
//! This crate reads them from files, refuses what is not finite or not rectangular with the line where it is,
//! and brings them to the scale that a kernel wants. It knows no networks and no linear algebra.
//!
//! ```
//! use std::path::Path;
//! use netsor_data::{Encoding, Scaling, load_digits};
//!
//! # fn main() -> Result<(), netsor_data::DataError> {
//! # let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
//! # let data = data.as_path();
//! let digits = load_digits(data)?.encoded(Encoding::Centred)?;
//! let split = digits.split(1_437, 0)?;
//! let scaling = Scaling::unit_range(split.train.inputs());
//! let train = split.train.scaled(&scaling)?.on_sphere()?;
//! let test = split.test.scaled(&scaling)?.on_sphere()?;
//! assert_eq!((train.n_points(), test.n_points(), train.n_outputs()), (1_437, 360, 10));
//! # Ok(()) }
//! ```
//!
//! | module's subject | entry points |
//! | --- | --- |
//! | the shipped sets | [`load_digits`], [`load_shipped`], [`shipped_names`] |
//! | text tables | [`load_csv`], [`CsvOptions`] |
//! | NumPy arrays | [`load_npy`], [`load_npy_array`], [`to_npy`] |
//! | MNIST's format | [`load_idx`], [`parse_idx`] |
//! | splits, encodings, images | [`Dataset`], [`permutation`] |
//! | scaling | [`Scaling`], [`to_sphere`] |
//! | files | [`read_file`] (gzip or plain), [`write_atomic`] |
//!
//! Invariants: every entry of a [`Matrix`] is finite; a [`Dataset`] has at least one row and one feature,
//! one target row an input row, and every label has a class name; a split is a function of its seed alone.

mod csv;
mod dataset;
mod error;
mod file;
mod idx;
mod matrix;
mod npy;
mod shipped;
mod transform;

pub use crate::{
    csv::{Column, CsvOptions, Header, Target, delimiter_of, load_csv, parse_csv},
    dataset::{Dataset, Encoding, ImageShape, Labels, Split, permutation},
    error::DataError,
    file::{read_file, write_atomic},
    idx::{IdxArray, load_idx, parse_idx},
    matrix::Matrix,
    npy::{load_npy, load_npy_array, parse_npy, to_npy},
    shipped::{load_breast_cancer, load_diabetes, load_digits, load_iris, load_shipped, load_wine, shipped_names},
    transform::{Scaling, to_sphere},
};
