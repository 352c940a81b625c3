//! Numbers for the data of a program: `--data NAME=FILE` or `--data NAME=[[...]]`.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use netsor_ir::{Dim, Instr, Kind, Program, ValueId};

use crate::source;

/// Numbers for data.
#[derive(Args)]
pub(crate) struct DataArgs {
    /// Numbers of a data value: a list such as 'xi=[[1,0],[0,1]]', or a CSV, NPY or JSON file (repeat for more)
    ///
    /// Members of a family come in order, the last index fastest; the coordinates of a vector come last. A list or an
    /// array has an axis for each index and one for the coordinates, or neighbouring ones merged, as in a table.
    #[arg(long = "data", value_name = "NAME=VALUES")]
    data: Vec<String>,
}

impl DataArgs {
    /// Whether nothing was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The numbers of every data value that was given, with their number checked.
    pub(crate) fn read(&self, program: &Program) -> anyhow::Result<Vec<(ValueId, Vec<f64>)>> {
        let mut given: Vec<(ValueId, Vec<f64>)> = Vec::new();
        for text in &self.data {
            let (name, values) =
                text.split_once('=').ok_or_else(|| anyhow!("--data {text}: expected NAME=FILE or NAME=[...]"))?;
            let id =
                program.find(name).filter(|&id| matches!(program.value(id).instr, Instr::Data)).ok_or_else(|| {
                    anyhow!("--data {name}: `{}` has no data of this name{}", program.name, hint(program))
                })?;
            if given.iter().any(|(other, _)| *other == id) {
                bail!("--data {name}: given twice");
            }
            let array = Array::read(values).with_context(|| format!("--data {name}"))?;
            let expected = shape(program, id);
            if !array.fits(&expected) {
                bail!("--data {name}: expected {}, found {}", in_words(&expected), in_words(&array.shape));
            }
            given.push((id, array.numbers));
        }
        Ok(given)
    }

    /// As [`DataArgs::read`], where nothing may be missing.
    pub(crate) fn read_all(&self, program: &Program) -> anyhow::Result<Vec<(ValueId, Vec<f64>)>> {
        let given = self.read(program)?;
        for id in data_of(program) {
            if given.iter().all(|(other, _)| *other != id) {
                let name = &program.value(id).name;
                bail!("no numbers for the data `{name}`: give {} with --data '{name}=[...]'", count(program, id));
            }
        }
        Ok(given)
    }
}

/// The data values of a program.
pub(crate) fn data_of(program: &Program) -> impl Iterator<Item = ValueId> + '_ {
    program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data))
}

/// The sizes of a data value's axes, then the dimension of a vector.
fn shape(program: &Program, id: ValueId) -> Vec<usize> {
    let mut shape = program.family_sizes(id);
    if let Kind::Vector(Dim::Finite(size)) = program.value(id).ty.kind {
        shape.push(size as usize);
    }
    shape
}

/// How many numbers a data value has.
pub(crate) fn count(program: &Program, id: ValueId) -> usize {
    shape(program, id).iter().product()
}

fn hint(program: &Program) -> String {
    let names: Vec<String> = data_of(program).map(|id| format!("`{}`", program.value(id).name)).collect();
    if names.is_empty() { "; it has none at all".to_owned() } else { format!("; it has {}", names.join(", ")) }
}

/// Numbers with the lengths of the lists or axes that they came in.
#[derive(Debug, PartialEq)]
struct Array {
    numbers: Vec<f64>,
    /// Empty for a single number.
    shape: Vec<usize>,
}

impl Array {
    /// A list, or the contents of a file.
    fn read(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        if text.starts_with('[') || text.parse::<f64>().is_ok() {
            return Self::from_json(text);
        }
        let path = Path::new(text);
        if path.extension().is_some_and(|e| e == "npy") {
            let (shape, numbers) = netsor_data::load_npy_array(path)?;
            return Ok(Self { numbers, shape });
        }
        if path.extension().is_some_and(|e| e == "npz") {
            bail!("{text} is an archive of arrays; save the one that is meant by numpy.save, as NPY");
        }
        let content = source::read(path)?;
        if path.extension().is_some_and(|e| e == "json") {
            return Self::from_json(&content).with_context(|| format!("in {text}"));
        }
        Self::from_csv(&content).with_context(|| format!("in {text}"))
    }

    fn from_json(text: &str) -> anyhow::Result<Self> {
        let value: serde_json::Value = serde_json::from_str(text).context("not a list of numbers")?;
        Self::of_value(&value)
    }

    fn of_value(value: &serde_json::Value) -> anyhow::Result<Self> {
        match value {
            serde_json::Value::Array(items) => {
                let parts = items.iter().map(Self::of_value).collect::<anyhow::Result<Vec<_>>>()?;
                let inner = parts.first().map(|part| part.shape.clone()).unwrap_or_default();
                if let Some(other) = parts.iter().find(|part| part.shape != inner) {
                    bail!("lists of different lengths: {} and {}", in_words(&inner), in_words(&other.shape));
                }
                let shape = [vec![parts.len()], inner].concat();
                Ok(Self { numbers: parts.into_iter().flat_map(|part| part.numbers).collect(), shape })
            }
            serde_json::Value::Number(number) => {
                let number = number.as_f64().ok_or_else(|| anyhow!("{number} is not a number of double precision"))?;
                Ok(Self { numbers: vec![number], shape: Vec::new() })
            }
            other => bail!("expected numbers and lists, found {other}"),
        }
    }

    /// Rows of numbers between commas, semicolons or tabs; a first line without numbers is a head.
    fn from_csv(text: &str) -> anyhow::Result<Self> {
        let delimiter = char::from(netsor_data::delimiter_of(text.as_bytes()));
        let (mut numbers, mut rows, mut columns) = (Vec::new(), 0, 0);
        for (k, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split(delimiter).map(str::trim).collect();
            if k == 0 && fields.iter().all(|field| field.parse::<f64>().is_err()) {
                continue;
            }
            if rows != 0 && fields.len() != columns {
                bail!("line {}: expected {columns} numbers as in the lines before, found {}", k + 1, fields.len());
            }
            (rows, columns) = (rows + 1, fields.len());
            for field in fields {
                let number: f64 = field.parse().map_err(|_| anyhow!("line {}: `{field}` is not a number", k + 1))?;
                if !number.is_finite() {
                    bail!("line {}: {number} is not finite", k + 1);
                }
                numbers.push(number);
            }
        }
        Ok(Self { numbers, shape: vec![rows, columns] })
    }

    /// Whether the axes are the expected ones, or neighbours of them merged; axes of one member do not count.
    fn fits(&self, expected: &[usize]) -> bool {
        let mut left = expected.iter().filter(|&&n| n != 1);
        self.shape.iter().filter(|&&n| n != 1).all(|&n| {
            let mut merged = 1;
            while merged < n {
                let Some(next) = left.next() else { return false };
                merged *= next;
            }
            merged == n
        }) && left.next().is_none()
    }
}

/// `3 x 2 numbers`
fn in_words(shape: &[usize]) -> String {
    match shape {
        [] => "one number".to_owned(),
        shape => format!("{} numbers", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")),
    }
}

/// The indices of member `flat` of a family, the last one fastest.
pub(crate) fn member(sizes: &[usize], mut flat: usize) -> Vec<u32> {
    let mut at = vec![0; sizes.len()];
    for k in (0..sizes.len()).rev() {
        at[k] = (flat % sizes[k]) as u32;
        flat /= sizes[k];
    }
    at
}

/// `name[0,2]`, or the name alone.
pub(crate) fn member_name(name: &str, at: &[u32]) -> String {
    if at.is_empty() {
        return name.to_owned();
    }
    format!("{name}[{}]", at.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_tables_keep_their_shape() {
        let array = |numbers: &[f64], shape: &[usize]| Array { numbers: numbers.to_vec(), shape: shape.to_vec() };
        assert_eq!(Array::read("[[1, 2], [3, -4.5]]").unwrap(), array(&[1.0, 2.0, 3.0, -4.5], &[2, 2]));
        assert_eq!(Array::read("2").unwrap(), array(&[2.0], &[]));
        assert_eq!(Array::from_csv("a,b\n1, 2\n\n3,4\n5,6").unwrap().shape, [3, 2]);
        assert_eq!(Array::from_csv("a;b\n1; 2\n").unwrap(), array(&[1.0, 2.0], &[1, 2]));
        assert_eq!(Array::from_csv("1\t-2e3\n").unwrap(), array(&[1.0, -2000.0], &[1, 2]));
        for bad in ["1,x\n", "1,inf\n", "1,2\n3\n"] {
            assert!(Array::from_csv(bad).is_err(), "{bad}");
        }
        for bad in ["[1, \"a\"]", "[[1, 2], [3]]", "[1, [2]]", "no/such/file.csv"] {
            assert!(Array::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn axes_may_be_merged_but_not_cut_anew() {
        let fits =
            |shape: &[usize], expected: &[usize]| Array { numbers: vec![], shape: shape.to_vec() }.fits(expected);
        assert!(fits(&[2, 3, 4], &[2, 3, 4]) && fits(&[6, 4], &[2, 3, 4]) && fits(&[24], &[2, 3, 4]));
        assert!(fits(&[3], &[3, 1]) && fits(&[3, 1], &[3]) && fits(&[], &[1, 1]) && fits(&[1], &[]));
        assert!(!fits(&[2, 3], &[3, 2]) && !fits(&[4, 6], &[2, 3, 4]) && !fits(&[2, 3], &[2, 3, 4]));
        assert!(!fits(&[0], &[2]) && !fits(&[5], &[2, 3]));
    }

    #[test]
    fn members_are_counted_like_digits() {
        assert_eq!(member(&[2, 3], 5), [1, 2]);
        assert_eq!(member_name("K", &member(&[2, 3], 1)), "K[0,1]");
        assert_eq!(member_name("m", &member(&[], 0)), "m");
    }
}
