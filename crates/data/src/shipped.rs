//! The data sets in the repository's `data/` directory; `data/README.md` lists their sources and licences.

use std::path::Path;

use crate::{
    DataError, Dataset, ImageShape, Labels,
    csv::{Header, Table},
    file::read_file,
};

/// Loads a shipped data set by name.
type Loader = fn(&Path) -> Result<Dataset, DataError>;

/// The shipped data sets: the name on the command line, and the loader.
const SHIPPED: [(&str, Loader); 5] = [
    ("digits", load_digits),
    ("breast_cancer", load_breast_cancer),
    ("wine", load_wine),
    ("iris", load_iris),
    ("diabetes", load_diabetes),
];

/// The names that [`load_shipped`] knows.
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    SHIPPED.into_iter().map(|(name, _)| name)
}

/// Loads a shipped data set by name from the directory `data`.
///
/// # Errors
/// [`DataError::Format`] for an unknown name, listing the known ones; otherwise as the loader of that set.
pub fn load_shipped(data: &Path, name: &str) -> Result<Dataset, DataError> {
    match SHIPPED.iter().find(|(it, _)| *it == name) {
        Some((_, load)) => load(data),
        None => Err(DataError::Format {
            name: name.to_owned(),
            problem: format!("no such data set; there are {}", shipped_names().collect::<Vec<_>>().join(", ")),
        }),
    }
}

/// 1,797 handwritten digits of 8 x 8 grey values from 0 to 16, ten classes, as images `[N, 8, 8, 1]`.
///
/// # Errors
/// When `digits.csv.gz` is missing from the directory `data`, or damaged.
pub fn load_digits(data: &Path) -> Result<Dataset, DataError> {
    let table = read_table(&data.join("digits.csv.gz"), b',')?;
    let names: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let labels = table.numbered_classes(&names)?;
    let inputs = table.numbers(|column| column < 64)?;
    Dataset::classification("digits", inputs, labels)?.with_image_shape(ImageShape { height: 8, width: 8, channels: 1 })
}

/// 569 tumours with 30 features, two classes (malignant, benign).
///
/// # Errors
/// When `breast_cancer.csv` is missing from the directory `data`, or damaged.
pub fn load_breast_cancer(data: &Path) -> Result<Dataset, DataError> {
    load_counted("breast_cancer", &data.join("breast_cancer.csv"))
}

/// 178 wines with 13 features, three classes.
///
/// # Errors
/// When `wine_data.csv` is missing from the directory `data`, or damaged.
pub fn load_wine(data: &Path) -> Result<Dataset, DataError> {
    load_counted("wine", &data.join("wine_data.csv"))
}

/// 150 irises with 4 features, three classes.
///
/// # Errors
/// When `iris.csv` is missing from the directory `data`, or damaged.
pub fn load_iris(data: &Path) -> Result<Dataset, DataError> {
    load_counted("iris", &data.join("iris.csv"))
}

/// 442 patients with 10 features, and the progression of diabetes after a year: the regression problem among the five.
///
/// # Errors
/// When one of the two files is missing from the directory `data`, or damaged.
pub fn load_diabetes(data: &Path) -> Result<Dataset, DataError> {
    let inputs = read_table(&data.join("diabetes_data_raw.csv.gz"), b' ')?;
    let targets = read_table(&data.join("diabetes_target.csv.gz"), b' ')?;
    Dataset::regression("diabetes", inputs.numbers(|_| true)?, targets.numbers(|_| true)?)
}

fn read_table(path: &Path, delimiter: u8) -> Result<Table, DataError> {
    Table::parse(&path.display().to_string(), &read_file(path)?, delimiter, Header::Absent)
}

/// A file whose first line counts rows and features and names the classes, as scikit-learn keeps them.
fn load_counted(name: &str, path: &Path) -> Result<Dataset, DataError> {
    let file = path.display().to_string();
    let bytes = read_file(path)?;
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let first = String::from_utf8_lossy(&bytes[..end]);
    let mut counts = first.trim().split(',');
    let mut count = || counts.next()?.parse::<usize>().ok();
    let (Some(n_rows), Some(n_features)) = (count(), count()) else {
        return Err(DataError::Format {
            name: file,
            problem: format!("line 1 must count rows and features, found `{}`", first.trim()),
        });
    };
    let names: Vec<String> = counts.map(str::to_owned).collect();
    // The first line stays, empty, so that line numbers in errors are those of the file.
    let body: Vec<u8> = (bytes.iter().enumerate()).map(|(at, &byte)| if at < end { b' ' } else { byte }).collect();
    let table = Table::parse(&file, &body, b',', Header::Absent)?;
    let inputs = table.numbers(|column| column < n_features)?;
    for (what, expected, found) in [
        ("rows as counted in line 1", n_rows, table.n_rows()),
        ("features as counted in line 1", n_features, inputs.n_cols()),
    ] {
        if expected != found {
            return Err(DataError::Shape { name: file, what, expected, found });
        }
    }
    let labels: Labels = table.numbered_classes(&names)?;
    Dataset::classification(name, inputs, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data")
    }

    #[test]
    fn every_shipped_set_loads() {
        let sizes: Vec<_> = shipped_names()
            .map(|name| load_shipped(&data(), name).unwrap())
            .map(|set| (set.name().to_owned(), set.n_points(), set.n_features(), set.n_outputs()))
            .collect();
        let expected = [
            ("digits", 1797, 64, 10),
            ("breast_cancer", 569, 30, 2),
            ("wine", 178, 13, 3),
            ("iris", 150, 4, 3),
            ("diabetes", 442, 10, 1),
        ];
        assert_eq!(sizes, expected.map(|(name, n, d, k)| (name.to_owned(), n, d, k)));
    }

    #[test]
    fn digits_are_what_they_should_be() {
        let digits = load_digits(&data()).unwrap();
        assert_eq!(digits.images().unwrap().0, [1797, 8, 8, 1]);
        // The first image is a zero: its first line of pixels, and the counts of classes that the source states.
        assert_eq!(digits.inputs().row(0)[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0]);
        let mut counts = [0; 10];
        for &class in digits.classes().unwrap() {
            counts[class] += 1;
        }
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert!(digits.inputs().as_slice().iter().all(|x| (0.0..=16.0).contains(x)));
    }

    #[test]
    fn class_counts_of_the_tables() {
        let counts = |set: Dataset| {
            let mut counts = vec![0; set.n_outputs()];
            set.classes().unwrap().iter().for_each(|&class| counts[class] += 1);
            counts
        };
        assert_eq!(counts(load_breast_cancer(&data()).unwrap()), [212, 357]);
        assert_eq!(counts(load_wine(&data()).unwrap()), [59, 71, 48]);
        assert_eq!(counts(load_iris(&data()).unwrap()), [50, 50, 50]);
    }

    #[test]
    fn a_wrong_count_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("iris.csv");
        std::fs::write(&path, "3,1,a,b\n0.5,0\n0.25,1\n").unwrap();
        let error = load_iris(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("rows as counted in line 1: expected 3, found 2"), "{error}");
        std::fs::write(&path, "2,1,a,b\n0.5,0\n0.25,2\n").unwrap();
        let error = load_iris(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("line 3: `2` is none of 2 classes"), "{error}");
        std::fs::write(&path, "").unwrap();
        assert!(load_iris(dir.path()).is_err());
        assert!(load_shipped(dir.path(), "mnist").is_err());
    }
}
