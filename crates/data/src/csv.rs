//! Tables in text: CSV and its relatives, with an exact line number for whatever is wrong.

use std::{collections::BTreeMap, path::Path};

use crate::{DataError, Dataset, Labels, Matrix, file::read_file};

/// How to read a table of text. The default: separator and header found by themselves, the class in the last column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// The byte between fields; by default a tab or a semicolon if the first line has one, else a comma.
    pub delimiter: Option<u8>,
    /// Whether the first line names the columns.
    pub header: Header,
    /// What is to be predicted.
    pub target: Target,
    /// Columns that are left out, as those of names and numbers of rows.
    pub drop: Vec<Column>,
}

/// Whether the first line names the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// It does if none of its fields is a number.
    Auto,
    /// It does.
    Present,
    /// It is data.
    Absent,
}

/// A column by place or by the name in the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// Counted from 0.
    Index(usize),
    /// The last one.
    Last,
    /// As the header spells it.
    Name(String),
}

/// Which columns are the answer; all others are inputs and must be numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A class, of any text. Classes are ordered as numbers if all are numbers, else by the alphabet.
    Class(Column),
    /// Numbers.
    Values(Vec<Column>),
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: None, header: Header::Auto, target: Target::Class(Column::Last), drop: Vec::new() }
    }
}

/// Reads a data set from a text file (plain or gzip). The data set takes the name of the file.
///
/// # Errors
/// [`DataError`] with the line of the first ragged row, missing number, NaN or infinity; an empty file;
/// a column that does not exist.
pub fn load_csv(path: &Path, options: &CsvOptions) -> Result<Dataset, DataError> {
    let name = path.file_name().map_or_else(|| path.display().to_string(), |it| it.to_string_lossy().into_owned());
    parse_csv(&name, &read_file(path)?, options)
}

/// Reads a data set from the bytes of a text file.
///
/// # Errors
/// As [`load_csv`].
pub fn parse_csv(name: &str, bytes: &[u8], options: &CsvOptions) -> Result<Dataset, DataError> {
    if bytes.starts_with(b"PK\x03\x04") {
        let problem = "a ZIP archive (NPZ, XLSX), expected text; save its array as NPY or CSV".to_owned();
        return Err(DataError::Format { name: name.to_owned(), problem });
    }
    let delimiter = options.delimiter.unwrap_or_else(|| delimiter_of(bytes));
    let table = Table::parse(name, bytes, delimiter, options.header)?;
    let dropped = options.drop.iter().map(|it| table.find(it)).collect::<Result<Vec<_>, _>>()?;
    let targets = match &options.target {
        // The last of those that are left.
        Target::Class(Column::Last) => (0..table.n_cols).rev().find(|it| !dropped.contains(it)).into_iter().collect(),
        Target::Class(column) => vec![table.find(column)?],
        Target::Values(columns) => {
            let last = (0..table.n_cols).rev().find(|it| !dropped.contains(it));
            let found =
                |it: &Column| if let (Column::Last, Some(last)) = (it, last) { Ok(last) } else { table.find(it) };
            columns.iter().map(found).collect::<Result<Vec<_>, _>>()?
        }
    };
    if let Some(both) = targets.iter().find(|it| dropped.contains(it)) {
        let column = table.header.get(*both).map_or_else(|| both.to_string(), |it| format!("`{it}`"));
        let problem = format!("column {column} is both the target and left out");
        return Err(DataError::Format { name: name.to_owned(), problem });
    }
    let inputs = |it: usize| !targets.contains(&it) && !dropped.contains(&it);
    match (&options.target, &targets[..]) {
        (Target::Class(_), [column]) => {
            let labels = labels_of(name, table.rows.iter().map(|row| row.fields[*column].as_str()))?;
            Dataset::classification(name, table.numbers(inputs)?, labels)
        }
        (Target::Class(_), _) => Err(DataError::Empty { name: name.to_owned() }),
        (Target::Values(_), targets) => {
            let values = table.numbers(|it| targets.contains(&it))?;
            Dataset::regression(name, table.numbers(inputs)?, values)
        }
    }
}

/// The byte between the fields of a text: a tab or a semicolon if the first line that is not empty has one outside of
/// quotes, because a comma beside them is part of a number or of a name; else a comma. Tabs that follow commas only pad
/// the fields between these.
#[must_use]
pub fn delimiter_of(bytes: &[u8]) -> u8 {
    let line = bytes.split(|it| *it == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let mut quoted = false;
    let outside: Vec<u8> = line
        .iter()
        .copied()
        .filter(|&it| {
            quoted ^= it == b'"';
            !quoted
        })
        .collect();
    let pads = |at: usize| at == 0 || matches!(outside[at - 1], b',' | b'\t' | b' ');
    let separates = |byte: u8| {
        (0..outside.len()).any(|at| outside[at] == byte && !(byte == b'\t' && outside.contains(&b',') && pads(at)))
    };
    [b'\t', b';'].into_iter().find(|&it| separates(it)).unwrap_or(b',')
}

/// The cells of a text file: equally long rows, each with its line.
pub(crate) struct Table {
    name: String,
    header: Vec<String>,
    rows: Vec<Row>,
    n_cols: usize,
}

struct Row {
    line: u64,
    fields: Vec<String>,
}

impl Table {
    pub(crate) fn parse(name: &str, bytes: &[u8], delimiter: u8, header: Header) -> Result<Self, DataError> {
        let mut reader = ::csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .trim(::csv::Trim::All)
            .from_reader(bytes);
        let mut rows = Vec::new();
        for record in reader.records() {
            let record =
                record.map_err(|error| DataError::Format { name: name.to_owned(), problem: error.to_string() })?;
            let line = record.position().map_or(0, |at| line_of(bytes, at));
            let fields: Vec<String> = record.iter().map(str::to_owned).collect();
            // A line of blanks is no row.
            if fields.iter().any(|it| !it.is_empty()) {
                rows.push(Row { line, fields });
            }
        }
        let is_header = |row: &Row| match header {
            Header::Auto => row.fields.iter().all(|it| it.parse::<f64>().is_err()),
            Header::Present => true,
            Header::Absent => false,
        };
        let header = match rows.first() {
            Some(row) if is_header(row) => rows.remove(0).fields,
            _ => Vec::new(),
        };
        let Some(first) = rows.first() else {
            return Err(DataError::Empty { name: name.to_owned() });
        };
        let n_cols = if header.is_empty() { first.fields.len() } else { header.len() };
        if let Some(row) = rows.iter().find(|row| row.fields.len() != n_cols) {
            return Err(DataError::Ragged {
                name: name.to_owned(),
                line: row.line,
                expected: n_cols,
                found: row.fields.len(),
            });
        }
        Ok(Self { name: name.to_owned(), header, rows, n_cols })
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.rows.len()
    }

    fn find(&self, column: &Column) -> Result<usize, DataError> {
        let missing = |column: String| DataError::NoSuchColumn {
            name: self.name.clone(),
            column,
            found: self.n_cols,
            header: self.header.clone(),
        };
        match column {
            Column::Index(idx) if *idx < self.n_cols => Ok(*idx),
            Column::Index(idx) => Err(missing(idx.to_string())),
            Column::Last => Ok(self.n_cols - 1),
            Column::Name(it) => {
                (self.header.iter().position(|other| other == it)).ok_or_else(|| missing(format!("`{it}`")))
            }
        }
    }

    /// The numbers of the columns that `keep` accepts.
    pub(crate) fn numbers(&self, keep: impl Fn(usize) -> bool) -> Result<Matrix, DataError> {
        let mut entries = Vec::new();
        for row in &self.rows {
            for (column, text) in row.fields.iter().enumerate().filter(|(column, _)| keep(*column)) {
                let (name, line, field) = (self.name.clone(), row.line, column + 1);
                let text = text.clone();
                match text.parse::<f64>() {
                    Ok(value) if value.is_finite() => entries.push(value),
                    Ok(_) => {
                        return Err(DataError::NotFiniteAtLine { name, line, field, text });
                    }
                    Err(_) => {
                        return Err(DataError::NotANumber { name, line, field, text });
                    }
                }
            }
        }
        let n_cols = entries.len() / self.rows.len();
        Matrix::new(&self.name, entries, self.rows.len(), n_cols)
    }

    /// The last column as classes that a list of names numbers.
    pub(crate) fn numbered_classes(&self, names: &[String]) -> Result<Labels, DataError> {
        let column = self.n_cols - 1;
        let mut classes = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let text = &row.fields[column];
            match text.parse::<usize>() {
                Ok(class) if class < names.len() => classes.push(class),
                _ => {
                    return Err(DataError::Format {
                        name: self.name.clone(),
                        problem: format!("line {}: `{text}` is none of {} classes", row.line, names.len()),
                    });
                }
            }
        }
        Labels::new(&self.name, classes, names.to_vec())
    }
}

/// The line of the record that the reader met from `position` on: it counts from before the empty lines that it skips.
fn line_of(bytes: &[u8], position: &::csv::Position) -> u64 {
    let rest = usize::try_from(position.byte()).ok().and_then(|at| bytes.get(at..));
    let skipped = rest.unwrap_or_default().iter().take_while(|it| matches!(it, b'\r' | b'\n'));
    position.line() + skipped.filter(|&&it| it == b'\n').count() as u64
}

/// Numbers the distinct texts of a class column.
fn labels_of<'a>(name: &str, texts: impl Iterator<Item = &'a str> + Clone) -> Result<Labels, DataError> {
    let mut names: Vec<&str> = {
        let distinct: BTreeMap<&str, ()> = texts.clone().map(|it| (it, ())).collect();
        distinct.into_keys().collect()
    };
    let as_numbers: Option<Vec<f64>> = names.iter().map(|it| it.parse().ok()).collect();
    if as_numbers.is_some_and(|numbers| numbers.iter().all(|it| it.is_finite())) {
        let value = |it: &str| it.parse::<f64>().unwrap_or(f64::NAN);
        names.sort_by(|a, b| value(a).total_cmp(&value(b)));
    }
    let index: BTreeMap<&str, usize> = names.iter().enumerate().map(|(idx, &it)| (it, idx)).collect();
    let classes = texts.map(|it| index[it]).collect();
    Labels::new(name, classes, names.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Dataset, DataError> {
        parse_csv("t.csv", text.as_bytes(), &CsvOptions::default())
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        assert_eq!(parse(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn classes_of_text_and_of_numbers() {
        let set = parse("a,b,kind\n1,2,pear\n3,4,apple\n5,6,pear\n").unwrap();
        assert_eq!(set.labels().unwrap().names(), ["apple", "pear"]);
        assert_eq!(set.classes().unwrap(), [1, 0, 1]);
        assert_eq!(set.inputs().row(2), [5.0, 6.0]);
        let set = parse("1, 2, 10\r\n\r\n3, 4, 9\r\n").unwrap();
        assert_eq!(set.labels().unwrap().names(), ["9", "10"]);
    }

    #[test]
    fn targets_by_name() {
        let options = CsvOptions {
            target: Target::Values(vec![Column::Name("y".into()), Column::Index(0)]),
            ..CsvOptions::default()
        };
        let set = parse_csv("t", b"z,x,y\n1,2,3\n4,5,6\n", &options).unwrap();
        assert_eq!(set.targets().as_slice(), [1.0, 3.0, 4.0, 6.0]);
        assert_eq!(set.inputs().as_slice(), [2.0, 5.0]);
        let error = parse_csv("t", b"z,x\n1,2\n", &options).unwrap_err();
        assert_eq!(error.to_string(), "t: no column `y`; there are 2 columns: z, x");
    }

    #[test]
    fn separators_are_found_and_columns_left_out() {
        assert_eq!([&b"1;2\n"[..], b"a\tb;c", b"\n\"a;b\",c", b"", b"1,5;2"].map(delimiter_of), *b";\t,,;");
        let options = CsvOptions { drop: vec![Column::Name("id".into()), Column::Last], ..CsvOptions::default() };
        let set = parse_csv("t", b"id;x;kind;note\nr1;2;a;?\nr2;3;b;?\n", &options).unwrap();
        assert_eq!(set.inputs().as_slice(), [2.0, 3.0]);
        assert_eq!(set.labels().unwrap().names(), ["a", "b"]);
        let clash = CsvOptions { target: Target::Class(Column::Index(0)), ..options };
        let error = parse_csv("t", b"id;x;note\n1;2;3\n", &clash).unwrap_err();
        assert_eq!(error.to_string(), "t: column `id` is both the target and left out");
        let all = CsvOptions { drop: vec![Column::Index(0)], ..CsvOptions::default() };
        assert!(matches!(parse_csv("t", b"1\n2\n", &all), Err(DataError::Empty { .. })));
    }

    #[test]
    fn what_is_wrong_has_a_line() {
        check_error("", "t.csv: no rows of data");
        check_error("a,b\n", "t.csv: no rows of data");
        check_error("\n\n", "t.csv: no rows of data");
        check_error("1,2\n3,4\n5\n", "t.csv, line 3: expected 2 fields as in the first row, found 1");
        check_error("1,2\n\n?,4\n", "t.csv, line 3, field 1: `?` is not a number");
        check_error(
            "1,5;2\n",
            "t.csv, line 1, field 1: `1,5` is not a number; decimals are written with a point: `1.5`",
        );
        check_error("1,2\n,4\n", "t.csv, line 2, field 1: the field is empty; fill the gap or remove the row");
        check_error("PK\x03\x04", "t.csv: a ZIP archive (NPZ, XLSX), expected text; save its array as NPY or CSV");
        check_error(
            "1,2\nnan,4\n",
            "t.csv, line 2, field 1: `nan` is not finite; remove the row or fill the gap before loading",
        );
        check_error(
            "-inf,0\n",
            "t.csv, line 1, field 1: `-inf` is not finite; remove the row or fill the gap before loading",
        );
        // Only a class and no input.
        check_error("1\n2\n", "t.csv: no rows of data");
        assert!(parse_csv("t", b"1,\xff\n", &CsvOptions::default()).is_err());
    }
}
