//! Reading JSON that may be anything: every accessor says what it wanted and where.

use std::sync::Arc;

use netsor_ir::Number;
use netsor_ir::number::from_f64;
use serde_json::Value;

use super::{Case, Checks, Trouble};

/// A field of an object.
pub(super) fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value, Trouble> {
    value.get(name).ok_or_else(|| Trouble::not_covered(format!("there is no field `{name}`")))
}

/// A field, unless it is absent or null.
pub(super) fn optional<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|v| !v.is_null())
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Trouble> {
    field(value, name)?.as_str().ok_or_else(|| Trouble::not_covered(format!("`{name}` is not a text")))
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], Trouble> {
    let found = field(value, name)?.as_array();
    found.map(Vec::as_slice).ok_or_else(|| Trouble::not_covered(format!("`{name}` is not a list")))
}

/// The entries of an object in order of the file; none if the field is absent.
pub(super) fn entries<'a>(value: &'a Value, name: &str) -> Result<Vec<(&'a str, &'a Value)>, Trouble> {
    match optional(value, name) {
        None => Ok(Vec::new()),
        Some(Value::Object(map)) => Ok(map.iter().map(|(k, v)| (k.as_str(), v)).collect()),
        Some(_) => Err(Trouble::not_covered(format!("`{name}` is not an object"))),
    }
}

pub(super) fn float(value: &Value, name: &str) -> Result<f64, Trouble> {
    field(value, name)?.as_f64().ok_or_else(|| Trouble::not_covered(format!("`{name}` is not a number")))
}

/// A number, or a default if the field is absent.
pub(super) fn float_or(value: &Value, name: &str, default: f64) -> Result<f64, Trouble> {
    if optional(value, name).is_some() { float(value, name) } else { Ok(default) }
}

/// A number that is not negative and not fractional.
pub(super) fn count(value: &Value, name: &str) -> Result<usize, Trouble> {
    let found = field(value, name)?.as_u64().and_then(|c| usize::try_from(c).ok());
    found.ok_or_else(|| Trouble::not_covered(format!("`{name}` is not a count")))
}

/// A list of counts.
pub(super) fn counts(value: &Value, name: &str) -> Result<Vec<usize>, Trouble> {
    let count = |v: &Value| v.as_u64().and_then(|c| usize::try_from(c).ok());
    let found: Option<Vec<usize>> = list(value, name)?.iter().map(count).collect();
    found.ok_or_else(|| Trouble::not_covered(format!("`{name}` is not a list of counts")))
}

/// The exact decimal that a JSON number stands for.
pub(super) fn exact(value: f64, name: &str) -> Result<Number, Trouble> {
    from_f64(value).ok_or_else(|| Trouble::not_covered(format!("`{name}` is not finite")))
}

/// A nested list of numbers. `null`, which stands for a number that is not finite, reads as NaN.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    /// Lengths of the lists, outermost first.
    pub(super) shape: Vec<usize>,
    /// The numbers, the last axis fastest.
    pub(super) numbers: Vec<f64>,
}

impl Array {
    /// Reads a nested list in which lists of the same depth have the same length.
    pub(super) fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self { shape: Vec::new(), numbers: vec![f64::NAN] }),
            Value::Number(n) => Some(Self { shape: Vec::new(), numbers: vec![n.as_f64()?] }),
            Value::Array(items) => {
                let parts: Vec<Self> = items.iter().map(Self::read).collect::<Option<_>>()?;
                let inner = parts.first().map(|p| p.shape.clone()).unwrap_or_default();
                if parts.iter().any(|p| p.shape != inner) {
                    return None;
                }
                let shape = std::iter::once(parts.len()).chain(inner).collect();
                Some(Self { shape, numbers: parts.into_iter().flat_map(|p| p.numbers).collect() })
            }
            _ => None,
        }
    }

    /// The field `name` with this many axes.
    pub(super) fn field(value: &Value, name: &str, rank: usize) -> Result<Self, Trouble> {
        let array = Self::read(field(value, name)?).filter(|a| a.shape.len() == rank);
        array.ok_or_else(|| Trouble::not_covered(format!("`{name}` is not an array of numbers with {rank} axes")))
    }

    /// The field `name` with these lengths.
    pub(super) fn shaped(value: &Value, name: &str, shape: &[usize]) -> Result<Self, Trouble> {
        let array = Self::field(value, name, shape.len())?;
        if array.shape == shape {
            return Ok(array);
        }
        Err(Trouble::not_covered(format!("`{name}` has the shape {:?}, expected {shape:?}", array.shape)))
    }

    /// Checks that no number is NaN.
    pub(super) fn finite(self, name: &str) -> Result<Self, Trouble> {
        if self.numbers.iter().all(|x| x.is_finite()) {
            return Ok(self);
        }
        Err(Trouble::not_covered(format!("`{name}` has a number that is not finite")))
    }
}

/// The cases of a file: the entries of `list` by their names, each read by `run`.
pub(super) fn named_cases(
    file: &Value,
    name: &str,
    run: fn(&Value) -> Result<Checks, Trouble>,
) -> Result<Vec<Case>, Trouble> {
    let entries = list(file, name)?.iter().cloned().enumerate();
    Ok(entries.map(|(k, entry)| Case::new(case_name(&entry, k), move || run(&entry))).collect())
}

/// The name of an entry, or its number.
fn case_name(entry: &Value, k: usize) -> String {
    let named = ["name", "kind"].iter().find_map(|key| entry.get(key)?.as_str());
    named.map_or_else(|| format!("case {}", k + 1), str::to_owned)
}

/// One case that is not covered for each entry of the file's list of cases, or one for the whole file.
pub(super) fn unread_cases(file: &Value, reason: &str) -> Vec<Case> {
    let reason: Arc<str> = reason.into();
    let case = |name: String| {
        let reason = reason.clone();
        Case::new(name, move || Err(Trouble::not_covered(reason)))
    };
    match file.get("cases").or_else(|| file.get("programs")).and_then(Value::as_array) {
        Some(entries) => entries.iter().enumerate().map(|(k, entry)| case(case_name(entry, k))).collect(),
        None => vec![case("file".into())],
    }
}
