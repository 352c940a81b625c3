//! `zcalculus.json`: programs with the limits of all their second moments.
//!
//! A program is printed as text of the language, which is the parser's test as well, and read back. The joint law of
//! its initial vectors is then set exactly.

use std::collections::HashMap;
use std::fmt::Write as _;

use netsor_ir::number::print;
use netsor_ir::program::{Law, Program};
use netsor_ir::syntax::parse_program;
use netsor_ir::{ExprId, Instr, Kind, ValueId};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};
use serde_json::Value;

use super::json::{Array, entries, exact, field, float, float_or, list, named_cases, optional, text};
use super::{Case, Checks, Trouble};

/// Agreement with a reference by quadrature, or with a closed form.
const TOLERANCE: f64 = 1e-7;
/// The reference integrates up to this many Gaussian variables on a grid; beyond it samples.
const GRID: usize = 5;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "programs", check)
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    let Converted { program, names } = convert(case)?;
    let find = |name: &str| {
        names.get(name).copied().ok_or_else(|| Trouble::not_covered(format!("`{name}` is not a value of the program")))
    };
    let tolerances = Tolerances::of(case, &program)?;
    let mut deriver = Deriver::new(&program);
    let mut wanted = Vec::new();
    let closed: HashMap<&str, f64> = entries(case, "closed_forms")?
        .into_iter()
        .map(|(key, form)| Ok((key, float(form, "value")?)))
        .collect::<Result<_, Trouble>>()?;
    let limits = numbers(case, "limits")?;
    let scalars = numbers(case, "scalar_limits")?;
    for (key, expected) in limits.iter().chain(&scalars) {
        if !closed.contains_key(key.as_str()) {
            wanted.push((key.clone(), quantity(&mut deriver, key, &find)?, *expected, tolerances.numeric));
        }
    }
    for (key, &expected) in &closed {
        wanted.push(((*key).to_owned(), quantity(&mut deriver, key, &find)?, expected, TOLERANCE));
    }
    let dots = entries(case, "zdot")?
        .into_iter()
        .map(|(out, terms)| Dot::derive(&mut deriver, &program, out, terms, &find))
        .collect::<Result<Vec<_>, _>>()?;

    let graph = deriver.into_graph();
    let data = Data::new();
    // A tenth of what is compared, and work that ends in seconds.
    let asked = Tolerance { absolute: TOLERANCE / 10.0, relative: 0.0, max_points: 1 << 20, ..Tolerance::default() };
    let mut evaluator = Evaluator::new(&graph, &program, &data, asked).map_err(Trouble::failed)?;
    let mut value = |what: &str, expr: ExprId| {
        evaluator.value(expr, &[]).map(|v| v.value).map_err(|e| Trouble::failed(format!("{what}: {e}")))
    };
    let mut checks = Checks::default();
    for (key, expr, expected, tolerance) in wanted {
        let found = value(&key, expr)?;
        checks.close(|| key.clone(), found, expected, tolerance);
    }
    for dot in dots {
        dot.check(&mut checks, &mut value, tolerances.numeric)?;
    }
    Ok(checks)
}

struct Tolerances {
    /// For references without a closed form.
    numeric: f64,
}

impl Tolerances {
    fn of(case: &Value, program: &Program) -> Result<Self, Trouble> {
        let estimate = float_or(case, "limit_abs_err_estimate", 0.0)?;
        let nonsmooth = optional(case, "nonsmooth").and_then(Value::as_bool).unwrap_or(false);
        let random = |v: &&netsor_ir::Value| matches!(v.instr, Instr::Gaussian(_) | Instr::MatMul { .. });
        let dimensions = program.values.iter().filter(random).count();
        let numeric = if nonsmooth {
            TOLERANCE.max(3.0 * estimate)
        } else if GRID < dimensions {
            TOLERANCE.max(estimate)
        } else {
            TOLERANCE
        };
        Ok(Self { numeric })
    }
}

/// The expression of `E a`, `E a*b` or of a scalar.
fn quantity(
    deriver: &mut Deriver<'_>,
    key: &str,
    find: &dyn Fn(&str) -> Result<ValueId, Trouble>,
) -> Result<ExprId, Trouble> {
    let expectation = key.strip_prefix("E ").map(str::trim);
    let result = match expectation.map(|e| e.split_once('*')) {
        None => deriver.scalar(find(key)?),
        Some(None) => deriver.scalar(find(expectation.unwrap_or(key))?),
        Some(Some((a, b))) => deriver.second_moment(find(a.trim())?, find(b.trim())?),
    };
    result.map_err(|e| Trouble::failed(format!("{key}: {e}")))
}

/// The ZDot of a matrix product: by coefficients where they are unique, and always by its moments.
struct Dot {
    out: String,
    /// Vectors that the reference or the derivation names: coefficient found and expected.
    terms: Vec<(ValueId, Vec<ExprId>, f64)>,
    /// `E Z^y Z^b` for the vectors `y` above and `b` before the product.
    moments: Vec<Vec<ExprId>>,
    /// `E Z^y Z^y'` among the vectors above.
    gram: Vec<Vec<ExprId>>,
}

impl Dot {
    fn derive(
        deriver: &mut Deriver<'_>,
        program: &Program,
        out: &str,
        expected: &Value,
        find: &dyn Fn(&str) -> Result<ValueId, Trouble>,
    ) -> Result<Self, Trouble> {
        let failed = |e: netsor_limit::LimitError| Trouble::failed(format!("zdot of {out}: {e}"));
        let id = find(out)?;
        let malformed = || Trouble::not_covered(format!("`zdot` of {out} is not a list of vectors with coefficients"));
        let mut terms: Vec<(ValueId, Vec<ExprId>, f64)> = Vec::new();
        for pair in expected.as_array().ok_or_else(malformed)? {
            let name = pair.get(0).and_then(Value::as_str).ok_or_else(malformed)?;
            let coefficient = pair.get(1).and_then(Value::as_f64).ok_or_else(malformed)?;
            terms.push((find(name)?, Vec::new(), coefficient));
        }
        let z = deriver.z(id).map_err(failed)?;
        for term in z.dot {
            let coefficient = deriver.provided(term.coefficient, z.premises);
            match terms.iter_mut().find(|(y, ..)| *y == term.vector) {
                Some((_, found, _)) => found.push(coefficient),
                None => terms.push((term.vector, vec![coefficient], 0.0)),
            }
        }
        let before = program.value_ids().take_while(|v| *v < id);
        let vectors: Vec<ValueId> = before.filter(|&v| matches!(program.value(v).ty.kind, Kind::Vector(_))).collect();
        let mut against = |others: &[ValueId]| {
            let row = |y: ValueId| others.iter().map(|&b| deriver.second_moment(y, b)).collect::<Result<Vec<_>, _>>();
            let mut row = row;
            terms.iter().map(|&(y, ..)| row(y)).collect::<Result<Vec<_>, _>>().map_err(failed)
        };
        let moments = against(&vectors)?;
        let named: Vec<ValueId> = terms.iter().map(|&(y, ..)| y).collect();
        let gram = against(&named)?;
        Ok(Self { out: out.to_owned(), terms, moments, gram })
    }

    fn check(
        &self,
        checks: &mut Checks,
        value: &mut dyn FnMut(&str, ExprId) -> Result<f64, Trouble>,
        tolerance: f64,
    ) -> Result<(), Trouble> {
        let what = format!("zdot of {}", self.out);
        let mut found = Vec::new();
        for (_, coefficients, _) in &self.terms {
            let mut total = 0.0;
            for &c in coefficients {
                total += value(&what, c)?;
            }
            found.push(total);
        }
        let mut gram = Vec::new();
        for row in &self.gram {
            gram.push(row.iter().map(|&e| value(&what, e)).collect::<Result<Vec<_>, _>>()?);
        }
        if !singular(gram) {
            for (k, (_, _, expected)) in self.terms.iter().enumerate() {
                checks.close(|| format!("{what}, coefficient {k}"), found[k], *expected, tolerance);
            }
        }
        let count = self.moments.first().map_or(0, Vec::len);
        for b in 0..count {
            let (mut left, mut right) = (0.0, 0.0);
            for (k, row) in self.moments.iter().enumerate() {
                let moment = value(&what, row[b])?;
                left += found[k] * moment;
                right += self.terms[k].2 * moment;
            }
            checks.close(|| format!("{what}, moment with vector {b}"), left, right, tolerance);
        }
        Ok(())
    }
}

/// Whether a Gram matrix is singular to the accuracy of its entries: a pivot of its Cholesky factorisation is below
/// 1e-6 of its diagonal entry, where 1e-7 would already be noise.
fn singular(mut gram: Vec<Vec<f64>>) -> bool {
    let diagonal: Vec<f64> = gram.iter().enumerate().map(|(k, row)| row[k]).collect();
    for k in 0..gram.len() {
        let pivot = gram[k][k];
        if pivot.is_nan() || pivot <= 1e-6 * diagonal[k] {
            return true;
        }
        let lead = gram[k].clone();
        for row in &mut gram[k + 1..] {
            let factor = row[k] / pivot;
            for (x, y) in row.iter_mut().zip(&lead) {
                *x -= factor * y;
            }
        }
    }
    false
}

fn numbers(case: &Value, name: &str) -> Result<Vec<(String, f64)>, Trouble> {
    let number = |(key, value): (&str, &Value)| {
        let value =
            value.as_f64().ok_or_else(|| Trouble::not_covered(format!("`{key}` of `{name}` is not a number")))?;
        Ok((key.to_owned(), value))
    };
    entries(case, name)?.into_iter().map(number).collect()
}

/// A program, and its values by the names in the file.
struct Converted {
    program: Program,
    names: HashMap<String, ValueId>,
}

/// Writes the case as text with names `x0, x1, ...`, which collide with nothing, and reads it.
fn convert(case: &Value) -> Result<Converted, Trouble> {
    let mut renamed: HashMap<String, String> = HashMap::new();
    let mut rename = |name: &str| {
        let new = format!("x{}", renamed.len());
        if renamed.insert(name.to_owned(), new.clone()).is_some() {
            return Err(Trouble::not_covered(format!("`{name}` is defined twice")));
        }
        Ok((new, renamed.clone()))
    };
    let mut body = String::new();
    let mut known: HashMap<String, String> = HashMap::new();
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(body, "  {text}");
    };
    for (name, variance) in entries(case, "matrices")? {
        let variance = variance.as_f64().ok_or_else(|| Trouble::not_covered("a variance is not a number"))?;
        let variance = print(&exact(variance, "matrices")?);
        let (new, all) = rename(name)?;
        known = all;
        line(format!("matrix {new} ~ N(0, ({variance})/n)"));
    }
    let strings = |v: &Value| v.as_str().map(str::to_owned);
    let vectors: Option<Vec<String>> = list(case, "vectors")?.iter().map(strings).collect();
    let vectors = vectors.ok_or_else(|| Trouble::not_covered("`vectors` is not a list of names"))?;
    for name in &vectors {
        let (new, all) = rename(name)?;
        known = all;
        line(format!("vector {new} ~ N(0, 1)"));
    }
    for instr in list(case, "instr")? {
        let out = text(instr, "out")?;
        let known_name = |name: &str| {
            known.get(name).cloned().ok_or_else(|| Trouble::not_covered(format!("`{name}` is not defined")))
        };
        let right = match text(instr, "op")? {
            "matmul" => {
                let transposed = field(instr, "T")?.as_bool();
                let transposed = transposed.ok_or_else(|| Trouble::not_covered("`T` is neither true nor false"))?;
                let prime = if transposed { "'" } else { "" };
                format!("{}{prime} * {}", known_name(text(instr, "mat")?)?, known_name(text(instr, "in")?)?)
            }
            "nonlin" => substitute(text(instr, "expr")?, &known),
            "moment" => format!("mean({})", substitute(text(instr, "expr")?, &known)),
            other => return Err(Trouble::not_covered(format!("unknown instruction `{other}`"))),
        };
        let keyword = if text(instr, "op")? == "moment" { "moment " } else { "" };
        let (new, all) = rename(out)?;
        known = all;
        line(format!("{keyword}{new} = {right}"));
    }
    let source = format!("program golden {{\n{body}}}\n");
    let mut program = parse_program(&source).map_err(|e| Trouble::not_covered(format!("not a program: {e}")))?;
    let names: HashMap<String, ValueId> =
        known.into_iter().filter_map(|(old, new)| Some((old, program.find(&new)?))).collect();
    let initial: Vec<ValueId> = vectors.iter().filter_map(|v| names.get(v).copied()).collect();
    set_laws(&mut program, case, &initial)?;
    Ok(Converted { program, names })
}

/// Gives the initial vectors their means and joint covariance.
fn set_laws(program: &mut Program, case: &Value, vectors: &[ValueId]) -> Result<(), Trouble> {
    let count = vectors.len();
    let covariance = Array::shaped(case, "cov", &[count, count])?.finite("cov")?;
    let mean = match optional(case, "mean") {
        Some(_) => Array::shaped(case, "mean", &[count])?.finite("mean")?.numbers,
        None => vec![0.0; count],
    };
    let mut constant = |value: f64| -> Result<ExprId, Trouble> {
        let value = exact(value, "cov")?;
        Ok(program.exprs.constant(value))
    };
    let mut laws = Vec::new();
    for (k, &mean) in mean.iter().enumerate() {
        let mut cross = Vec::new();
        for (j, &earlier) in vectors.iter().enumerate().take(k) {
            let entry = covariance.numbers[k * count + j];
            if entry != 0.0 {
                cross.push((earlier, constant(entry)?));
            }
        }
        let own = constant(covariance.numbers[k * count + k])?;
        laws.push(Law { mean: constant(mean)?, covariance: own, cross });
    }
    for (vector, law) in vectors.iter().zip(laws) {
        program.values[vector.index()].instr = Instr::Gaussian(law);
    }
    Ok(())
}

/// The expression with every name of the file replaced by its new one; names of functions stay. `**` is `^`.
fn substitute(expr: &str, known: &HashMap<String, String>) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        out.push_str(known.get(word.as_str()).unwrap_or(word));
        word.clear();
    };
    for c in expr.chars() {
        let starts = c.is_alphabetic() || c == '_';
        // `1e5` is a number, not the name `e5`.
        let in_number = word.is_empty() && out.ends_with(|p: char| p.is_ascii_digit() || p == '.');
        if (starts && !in_number) || (!word.is_empty() && c.is_alphanumeric()) {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out.replace("**", "^")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_functions_and_numbers_stay() {
        let known = HashMap::from([("e1".to_owned(), "x0".to_owned()), ("v".to_owned(), "x1".to_owned())]);
        assert_eq!(substitute("tanh(e1 + 1e-3*v**2)", &known), "tanh(x0 + 1e-3*x1^2)");
    }

    #[test]
    fn equal_vectors_have_a_singular_gram_matrix() {
        assert!(singular(vec![vec![1.0, 1.0], vec![1.0, 1.0]]));
        assert!(!singular(vec![vec![1.0, 0.5], vec![0.5, 1.0]]));
    }
}
