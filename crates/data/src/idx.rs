//! IDX files, the format of MNIST: a magic number, the axes, then big-endian entries.

use std::path::Path;

use crate::{DataError, Dataset, ImageShape, Labels, Matrix, file::read_file};

/// An array of any number of axes, as an IDX file holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct IdxArray {
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The entries, last axis fastest.
    pub entries: Vec<f64>,
}

/// Reads images (axes `[n, height, width]`) and labels (`[n]`) as a classification problem.
/// The classes are the numbers from 0 to the largest label; plain and gzip files are read.
///
/// # Errors
/// [`DataError::Format`] for broken files, other numbers of axes and labels that are no small whole numbers;
/// [`DataError::Shape`] when there is not one label an image.
pub fn load_idx(name: &str, images: &Path, labels: &Path) -> Result<Dataset, DataError> {
    let array = parse_idx(&images.display().to_string(), &read_file(images)?)?;
    let wrong_axes = |path: &Path, expected: &str, array: &IdxArray| DataError::Format {
        name: path.display().to_string(),
        problem: format!("expected axes {expected}, found sizes {:?}", array.shape),
    };
    let [n, height, width] = array.shape[..] else {
        return Err(wrong_axes(images, "[n, height, width]", &array));
    };
    let inputs = Matrix::new(name, array.entries, n, height * width)?;

    let array = parse_idx(&labels.display().to_string(), &read_file(labels)?)?;
    let [_] = array.shape[..] else {
        return Err(wrong_axes(labels, "[n]", &array));
    };
    // A class costs one target column; IDX labels are bytes.
    let classes = array
        .entries
        .iter()
        .map(|&x| ((0.0..=255.0).contains(&x) && x.fract() == 0.0).then_some(x as usize))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| DataError::Format {
            name: labels.display().to_string(),
            problem: "labels must be whole numbers from 0 to 255".to_owned(),
        })?;
    let n_classes = classes.iter().max().map_or(0, |largest| largest + 1);
    let names = (0..n_classes).map(|class| class.to_string()).collect();
    Dataset::classification(name, inputs, Labels::new(name, classes, names)?)?.with_image_shape(ImageShape {
        height,
        width,
        channels: 1,
    })
}

/// Reads an array from the bytes of an IDX file, whatever its type (8 to 32-bit integers, floats, doubles).
///
/// # Errors
/// [`DataError::Format`] when the magic number, the type or the length does not fit.
pub fn parse_idx(name: &str, bytes: &[u8]) -> Result<IdxArray, DataError> {
    parse(bytes).map_err(|problem| DataError::Format { name: name.to_owned(), problem })
}

fn parse(bytes: &[u8]) -> Result<IdxArray, String> {
    let [0, 0, kind, n_axes, rest @ ..] = bytes else {
        return Err("not an IDX file (it does not start with two zero bytes)".to_owned());
    };
    let (sizes, data) = rest.split_at_checked(4 * usize::from(*n_axes)).ok_or("the list of axes is cut off")?;
    let (sizes, _) = sizes.as_chunks::<4>();
    let shape: Vec<usize> = sizes.iter().map(|it| u32::from_be_bytes(*it) as usize).collect();
    let n_entries =
        (shape.iter()).try_fold(1_usize, |acc, &size| acc.checked_mul(size)).ok_or("the shape overflows")?;

    type Decode = fn(&[u8]) -> Vec<f64>;
    fn chunks<const N: usize>(data: &[u8], decode: fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>().0.iter().map(|it| decode(*it)).collect()
    }
    let (size, decode): (usize, Decode) = match kind {
        0x08 => (1, |data| chunks(data, |it| f64::from(u8::from_be_bytes(it)))),
        0x09 => (1, |data| chunks(data, |it| f64::from(i8::from_be_bytes(it)))),
        0x0b => (2, |data| chunks(data, |it| f64::from(i16::from_be_bytes(it)))),
        0x0c => (4, |data| chunks(data, |it| f64::from(i32::from_be_bytes(it)))),
        0x0d => (4, |data| chunks(data, |it| f64::from(f32::from_be_bytes(it)))),
        0x0e => (8, |data| chunks(data, f64::from_be_bytes)),
        other => return Err(format!("type {other:#04x} is unknown to IDX")),
    };
    let expected = n_entries.checked_mul(size).ok_or("the shape overflows")?;
    if data.len() != expected {
        let found = data.len();
        return Err(format!("sizes {shape:?} of {size} bytes need {expected} bytes, found {found}"));
    }
    let entries = decode(data);
    Ok(IdxArray { shape, entries })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const IMAGES: [u8; 24] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 255];

    #[test]
    fn images_and_labels() {
        let dir = tempfile::tempdir().unwrap();
        let (images, labels) = (dir.path().join("images"), dir.path().join("labels"));
        fs::write(&images, IMAGES).unwrap();
        fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 2, 3, 0]).unwrap();
        let set = load_idx("tiny", &images, &labels).unwrap();
        assert_eq!(set.images().unwrap().0, [2, 2, 2, 1]);
        assert_eq!(set.inputs().row(1), [5.0, 6.0, 7.0, 255.0]);
        assert_eq!(set.classes().unwrap(), [3, 0]);
        assert_eq!(set.n_outputs(), 4);

        let error = load_idx("tiny", &labels, &images).unwrap_err().to_string();
        assert!(error.ends_with("expected axes [n, height, width], found sizes [2]"), "{error}");
        fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 1, 3]).unwrap();
        let error = load_idx("tiny", &images, &labels).unwrap_err().to_string();
        assert_eq!(error, "tiny: labels: expected 2, found 1");
    }

    #[test]
    fn broken_files_are_refused() {
        for len in 0..IMAGES.len() {
            assert!(parse_idx("cut", &IMAGES[..len]).is_err(), "cut at {len}");
        }
        let mut huge = IMAGES;
        huge[4..16].fill(255);
        assert!(parse_idx("huge", &huge).is_err());
        let mut unknown = IMAGES;
        unknown[2] = 0x0a;
        assert_eq!(parse_idx("x", &unknown).unwrap_err().to_string(), "x: type 0x0a is unknown to IDX");
    }
}
