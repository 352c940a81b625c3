//! Numbers for the data of a program: `--data NAME=FILE` or `--data NAME=[[...]]`.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use netsor_ir::{Dim, Instr, Kind, Program, ValueId};

/// Numbers for data.
#[derive(Args)]
pub(crate) struct DataArgs {
    /// Numbers of a data value: a list such as 'xi=[[1,0],[0,1]]', or a CSV, NPY or JSON file (repeat for more)
    ///
    /// Members of a family come in order, the last index fastest; the coordinates of a vector come last.
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
            let numbers = numbers(values).with_context(|| format!("--data {name}"))?;
            let expected = count(program, id);
            if numbers.values.len() != expected {
                bail!("--data {name}: expected {expected} numbers, found {}", numbers.values.len());
            }
            let shape = shape(program, id);
            if !is_grouping(&numbers.shape, &shape) {
                bail!(
                    "--data {name}: the numbers are {}, the data {}: give them in this shape, or in one list",
                    times(&numbers.shape),
                    times(&shape)
                );
            }
            given.push((id, numbers.values));
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

/// How many numbers a data value has.
pub(crate) fn count(program: &Program, id: ValueId) -> usize {
    shape(program, id).iter().product()
}

/// The sizes of the axes of a data value: its indices, then its coordinates.
fn shape(program: &Program, id: ValueId) -> Vec<usize> {
    let mut sizes = program.family_sizes(id);
    if let Kind::Vector(Dim::Finite(size)) = program.value(id).ty.kind {
        sizes.push(size as usize);
    }
    sizes
}

/// Whether `given` has the axes of `expected` in order, some of them taken as one: an image may be one row of numbers.
fn is_grouping(given: &[usize], expected: &[usize]) -> bool {
    let products = |sizes: &[usize]| -> Vec<usize> {
        sizes
            .iter()
            .scan(1, |product, size| {
                *product *= size;
                Some(*product)
            })
            .collect()
    };
    let whole = products(expected);
    products(given).iter().all(|product| *product == 1 || whole.contains(product))
}

/// `2 x 3`
fn times(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

fn hint(program: &Program) -> String {
    let names: Vec<String> = data_of(program).map(|id| format!("`{}`", program.value(id).name)).collect();
    if names.is_empty() { "; it has none at all".to_owned() } else { format!("; it has {}", names.join(", ")) }
}

/// Numbers with the lengths of the lists that they came in.
#[derive(Debug, PartialEq)]
struct Numbers {
    values: Vec<f64>,
    shape: Vec<usize>,
}

/// A list, or the contents of a file.
fn numbers(text: &str) -> anyhow::Result<Numbers> {
    let text = text.trim();
    if text.starts_with('[') || text.parse::<f64>().is_ok() {
        return from_json(text);
    }
    let path = Path::new(text);
    if path.extension().is_some_and(|e| e == "npy") {
        let table = netsor_data::load_npy(path)?;
        let values = table.as_slice().to_vec();
        return Ok(Numbers { shape: vec![table.n_rows(), table.n_cols()], values });
    }
    let bytes = netsor_data::read_file(path)?;
    let content = String::from_utf8(bytes).with_context(|| format!("{text} is not UTF-8"))?;
    if path.extension().is_some_and(|e| e == "json") {
        return from_json(&content).with_context(|| format!("in {text}"));
    }
    from_csv(&content).with_context(|| format!("in {text}"))
}

fn from_json(text: &str) -> anyhow::Result<Numbers> {
    fn flatten(value: &serde_json::Value, out: &mut Vec<f64>) -> anyhow::Result<Vec<usize>> {
        match value {
            serde_json::Value::Array(items) => {
                let inner = items.iter().map(|item| flatten(item, out)).collect::<anyhow::Result<Vec<_>>>()?;
                if let Some(pair) = inner.windows(2).find(|pair| pair[0] != pair[1]) {
                    let [a, b] = [&pair[0], &pair[1]].map(|s| if s.is_empty() { "a number".into() } else { times(s) });
                    bail!("a list has items of different shapes, {a} and {b}");
                }
                let inner = inner.into_iter().next().unwrap_or_default();
                Ok([vec![items.len()], inner].concat())
            }
            serde_json::Value::Number(number) => {
                out.push(number.as_f64().ok_or_else(|| anyhow!("{number} is not a number of double precision"))?);
                Ok(Vec::new())
            }
            other => bail!("expected numbers and lists, found {other}"),
        }
    }
    let value: serde_json::Value = serde_json::from_str(text).context("not a list of numbers")?;
    let mut values = Vec::new();
    let shape = flatten(&value, &mut values)?;
    Ok(Numbers { values, shape })
}

/// Rows of numbers between commas; a first line without numbers is a head.
fn from_csv(text: &str) -> anyhow::Result<Numbers> {
    let (mut values, mut rows, mut columns) = (Vec::new(), 0, None);
    for (k, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if k == 0 && fields.iter().all(|field| field.parse::<f64>().is_err()) {
            continue;
        }
        let expected = *columns.get_or_insert(fields.len());
        if fields.len() != expected {
            bail!("line {}: {} numbers, {expected} in the lines before", k + 1, fields.len());
        }
        rows += 1;
        for field in fields {
            let number: f64 = field.parse().map_err(|_| anyhow!("line {}: `{field}` is not a number", k + 1))?;
            if !number.is_finite() {
                bail!("line {}: {number} is not finite", k + 1);
            }
            values.push(number);
        }
    }
    Ok(Numbers { values, shape: vec![rows, columns.unwrap_or(0)] })
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
    fn lists_and_tables_are_flattened() {
        let of = |values: &[f64], shape: &[usize]| Numbers { values: values.to_vec(), shape: shape.to_vec() };
        assert_eq!(numbers("[[1, 2], [3, -4.5]]").unwrap(), of(&[1.0, 2.0, 3.0, -4.5], &[2, 2]));
        assert_eq!(numbers("2").unwrap(), of(&[2.0], &[]));
        assert_eq!(from_csv("a,b\n1, 2\n\n3,4\n").unwrap(), of(&[1.0, 2.0, 3.0, 4.0], &[2, 2]));
        assert_eq!(from_csv("1\n2\n").unwrap(), of(&[1.0, 2.0], &[2, 1]));
        let error = from_csv("1,2\n3\n").unwrap_err().to_string();
        assert_eq!(error, "line 2: 1 numbers, 2 in the lines before");
        let error = from_json("[[1, 2], [3]]").unwrap_err().to_string();
        assert_eq!(error, "a list has items of different shapes, 2 and 1");
        assert!(from_csv("1,x\n").is_err() && from_csv("1,inf\n").is_err());
        assert!(from_json("[1, \"a\"]").is_err() && numbers("no/such/file.csv").is_err());
    }

    /// Three inputs of two coordinates are not two of three, which have as many numbers.
    #[test]
    fn axes_may_be_taken_as_one_and_not_exchanged() {
        for (given, expected, fits) in [
            (vec![6], vec![3, 2], true),
            (vec![3, 2], vec![3, 2], true),
            (vec![2, 3], vec![3, 2], false),
            (vec![2, 25, 2], vec![2, 5, 5, 2], true),
            (vec![2, 50], vec![2, 5, 5, 2], true),
            (vec![50, 2], vec![2, 5, 5, 2], true),
            (vec![2, 2, 25], vec![2, 5, 5, 2], false),
            (vec![1, 6], vec![3, 2], true),
            (vec![], vec![1], true),
        ] {
            assert_eq!(is_grouping(&given, &expected), fits, "{given:?} for {expected:?}");
        }
    }

    #[test]
    fn members_are_counted_like_digits() {
        assert_eq!(member(&[2, 3], 5), [1, 2]);
        assert_eq!(member_name("K", &member(&[2, 3], 1)), "K[0,1]");
        assert_eq!(member_name("m", &member(&[], 0)), "m");
    }
}
