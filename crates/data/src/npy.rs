//! NPY files: one array, as NumPy's `save` writes them (format 1.0 to 3.0).

use std::path::Path;

use crate::{DataError, Matrix, file::read_file};

/// Reads a numeric array: `f4`, `f8`, signed and unsigned integers of 1 to 8 bytes, either byte order, C or Fortran order.
/// An array of one axis becomes one column.
///
/// # Errors
/// [`DataError::Format`] for another dtype, more axes, or a header or length that does not fit;
/// [`DataError::NotFinite`] on NaN and infinities.
pub fn load_npy(path: &Path) -> Result<Matrix, DataError> {
    parse_npy(&path.display().to_string(), &read_file(path)?)
}

/// Reads a numeric array from the bytes of an NPY file; see [`load_npy`].
///
/// # Errors
/// As [`load_npy`].
pub fn parse_npy(name: &str, bytes: &[u8]) -> Result<Matrix, DataError> {
    let problem = |problem| DataError::Format { name: name.to_owned(), problem };
    let (entries, shape) = parse(bytes).map_err(problem)?;
    match shape[..] {
        [n] => Matrix::new(name, entries, n, 1),
        [n, k] => Matrix::new(name, entries, n, k),
        _ => Err(problem(format!("the shape is {shape:?}, expected one or two axes"))),
    }
}

/// Reads a numeric array with any number of axes: its shape, and its entries with the last index fastest.
///
/// # Errors
/// As [`load_npy`], but for the number of axes.
pub fn load_npy_array(path: &Path) -> Result<(Vec<usize>, Vec<f64>), DataError> {
    let name = path.display().to_string();
    let (entries, shape) =
        parse(&read_file(path)?).map_err(|problem| DataError::Format { name: name.clone(), problem })?;
    // The check for numbers that are not finite is the matrix's.
    let count = entries.len();
    let entries = Matrix::new(&name, entries, 1, count)?.as_slice().to_vec();
    Ok((shape, entries))
}

/// The bytes of an NPY file (version 1.0, `<f8`, C order) with the matrix: what `numpy.load` reads.
pub fn to_npy(matrix: &Matrix) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}, {}), }}", matrix.n_rows(), matrix.n_cols());
    // The data start at a multiple of 64 bytes; the header ends in a line feed.
    let unpadded = PREAMBLE + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(matrix.as_slice().iter().flat_map(|x| x.to_le_bytes()));
    bytes
}

/// Magic string, version and header length of version 1.0.
const PREAMBLE: usize = 10;

fn parse(bytes: &[u8]) -> Result<(Vec<f64>, Vec<usize>), String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("not an NPY file (it does not start with \\x93NUMPY)")?;
    let (header_len, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [major, ..] => {
            return Err(format!("NPY version {major} is unknown, or the header is cut off"));
        }
        [] => return Err("the header is cut off".to_owned()),
    };
    let (header, data) = rest.split_at_checked(header_len).ok_or("the header is cut off")?;
    let header = std::str::from_utf8(header).map_err(|error| format!("the header is not text: {error}"))?;

    let read = reader(unquote(field(header, "descr")?))?;
    let fortran_order = match field(header, "fortran_order")? {
        "True" => true,
        "False" => false,
        other => {
            return Err(format!("fortran_order is `{other}`, expected True or False"));
        }
    };
    let shape = shape(field(header, "shape")?)?;

    let n_entries = shape.iter().try_fold(1_usize, |all, &n| all.checked_mul(n)).ok_or("the shape overflows")?;
    let expected = n_entries.checked_mul(read.size).ok_or("the shape overflows")?;
    if data.len() != expected {
        let (size, found) = (read.size, data.len());
        return Err(format!("the shape {shape:?} of entries of {size} bytes needs {expected} bytes, found {found}"));
    }
    let entry = |idx: usize| (read.decode)(&data[idx * read.size..][..read.size]);
    let entries = if fortran_order {
        (0..n_entries).map(|idx| entry(first_fastest(&shape, idx))).collect()
    } else {
        (0..n_entries).map(entry).collect()
    };
    Ok((entries, shape))
}

/// The place, counted with the first index fastest, of what is at `idx` with the last index fastest.
fn first_fastest(shape: &[usize], mut idx: usize) -> usize {
    let mut at = 0;
    for (axis, &n) in shape.iter().enumerate().rev() {
        at += idx % n * shape[..axis].iter().product::<usize>();
        idx /= n;
    }
    at
}

/// How one entry is stored.
struct Entry {
    size: usize,
    decode: fn(&[u8]) -> f64,
}

/// Integers of 8 bytes beyond 2^53 are rounded to the nearest double.
fn reader(descr: &str) -> Result<Entry, String> {
    macro_rules! decode {
        ($type:ty, $from:ident) => {
            Entry {
                size: size_of::<$type>(),
                decode: |bytes| {
                    let mut entry = [0; size_of::<$type>()];
                    entry.copy_from_slice(bytes);
                    <$type>::$from(entry) as f64
                },
            }
        };
    }
    Ok(match descr {
        "<f4" => decode!(f32, from_le_bytes),
        ">f4" => decode!(f32, from_be_bytes),
        "<f8" => decode!(f64, from_le_bytes),
        ">f8" => decode!(f64, from_be_bytes),
        "|u1" => decode!(u8, from_le_bytes),
        "|i1" => decode!(i8, from_le_bytes),
        "<u2" => decode!(u16, from_le_bytes),
        ">u2" => decode!(u16, from_be_bytes),
        "<i2" => decode!(i16, from_le_bytes),
        ">i2" => decode!(i16, from_be_bytes),
        "<u4" => decode!(u32, from_le_bytes),
        ">u4" => decode!(u32, from_be_bytes),
        "<i4" => decode!(i32, from_le_bytes),
        ">i4" => decode!(i32, from_be_bytes),
        "<u8" => decode!(u64, from_le_bytes),
        ">u8" => decode!(u64, from_be_bytes),
        "<i8" => decode!(i64, from_le_bytes),
        ">i8" => decode!(i64, from_be_bytes),
        other => {
            return Err(format!("dtype `{other}` is not read; save the array as float64 or float32"));
        }
    })
}

/// The text of the value of `key` in the header, a Python dictionary with three known keys.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("the header has no `{key}`: {}", header.trim());
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let after = quoted
        .iter()
        .find_map(|it| header.split_once(it.as_str()))
        .and_then(|(_, after)| after.trim_start().strip_prefix(':'))
        .ok_or_else(missing)?
        .trim_start();
    let end = match after.strip_prefix('(') {
        Some(inside) => inside.find(')').map(|end| end + 2),
        None => after.find([',', '}']),
    };
    Ok(after[..end.ok_or_else(missing)?].trim())
}

fn unquote(text: &str) -> &str {
    text.trim_matches(['\'', '"'])
}

fn shape(text: &str) -> Result<Vec<usize>, String> {
    let bad = || format!("the shape is {text}, expected sizes between parentheses");
    let inside = text.strip_prefix('(').and_then(|it| it.strip_suffix(')')).ok_or_else(bad)?;
    let sizes = inside.split(',').map(str::trim).filter(|it| !it.is_empty());
    sizes.map(|it| it.parse::<usize>().map_err(|_| bad())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn orders_and_types() {
        let data: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let c = parse_npy("c", &npy("<f4", "False", "(2, 3)", &data)).unwrap();
        assert_eq!(c.row(1), [4.0, 5.0, 6.0]);
        let f = parse_npy("f", &npy("<f4", "True", "(2, 3)", &data)).unwrap();
        assert_eq!(f.row(1), [2.0, 4.0, 6.0]);
        let one = parse_npy("one", &npy("|u1", "False", "(3,)", &[7, 8, 255])).unwrap();
        assert_eq!((one.n_cols(), one.as_slice()), (1, &[7.0, 8.0, 255.0][..]));
        let big = parse_npy("big", &npy(">i2", "False", "(1, 1)", &[0xff, 0xfe])).unwrap();
        assert_eq!(big.as_slice(), [-2.0]);
    }

    #[test]
    fn any_number_of_axes() {
        let (shape, order) = ([2, 3, 4], (0..24_u8).collect::<Vec<u8>>());
        let (entries, found) = parse(&npy("|u1", "False", "(2, 3, 4)", &order)).unwrap();
        assert_eq!((entries, found), ((0..24).map(f64::from).collect(), shape.to_vec()));
        let (entries, _) = parse(&npy("|u1", "True", "(2, 3, 4)", &order)).unwrap();
        for (i, j, k) in [(0, 0, 1), (1, 2, 3), (0, 2, 0), (1, 0, 2)] {
            assert_eq!(entries[(i * 3 + j) * 4 + k], (i + 2 * j + 6 * k) as f64);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let m = Matrix::new("m", vec![0.1, -2.5e-300, 3.0, 1e300, 0.0, -0.0], 3, 2).unwrap();
        let bytes = to_npy(&m);
        assert_eq!((bytes.len() - 48) % 64, 0);
        assert_eq!(parse_npy("m", &bytes).unwrap(), m);
    }

    #[test]
    fn broken_files_are_refused() {
        let good = npy("<f8", "False", "(1, 2)", &[0; 16]);
        for len in 0..good.len() {
            assert!(parse_npy("cut", &good[..len]).is_err(), "cut at {len}");
        }
        for (descr, order, shape) in [
            ("<c16", "False", "(1, 1)"),
            ("|O", "False", "(2,)"),
            ("<f8", "Maybe", "(2,)"),
            ("<f8", "False", "(1, 1, 2)"),
            ("<f8", "False", "()"),
            ("<f8", "False", "(18446744073709551615, 16)"),
            ("<f8", "False", "(-1, 2)"),
            ("<f8", "False", "2"),
        ] {
            let bytes = npy(descr, order, shape, &[0; 16]);
            assert!(parse_npy("bad", &bytes).is_err(), "{descr} {order} {shape}");
        }
        let nan = npy("<f8", "False", "(1,)", &f64::NAN.to_le_bytes());
        assert_eq!(parse_npy("x.npy", &nan).unwrap_err().to_string(), "x.npy, row 0, column 0: NaN is not finite");
    }
}
