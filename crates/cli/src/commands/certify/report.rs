//! What was certified, as text and as JSON.

use std::process::ExitCode;

use netsor_lab::stats::holm;
use netsor_lab::{LEVEL, Prediction, Test, Verdict, format};
use serde_json::{Value, json};

use super::statistics::{Difference, Number};
use super::{Certified, CertifyArgs};
use crate::output;

/// Most numbers that are listed when many programs are certified.
const LISTED: usize = 40;

/// Prints everything; the exit code says whether a test failed.
pub(super) fn print(all: &[Certified], args: &CertifyArgs) -> anyhow::Result<ExitCode> {
    let totals = Totals::of(all.iter().flat_map(|c| &c.numbers));
    if args.json {
        output::emit_json(&to_json(all, args, &totals))?;
    } else if let [only] = all {
        output::emit(&one(only, &totals))?;
    } else {
        output::emit(&many(all, &totals))?;
    }
    Ok(if totals.verdict == Verdict::Fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Counts over numbers.
struct Totals {
    numbers: usize,
    tests: usize,
    holds: usize,
    fails: usize,
    undecided: usize,
    verdict: Verdict,
    /// The largest difference in standard errors.
    largest_z: f64,
    /// The least p-value of "the limit is exact and the bias is c/n", corrected for the number of numbers.
    p_exact: f64,
}

impl Totals {
    fn of<'a>(numbers: impl Iterator<Item = &'a Number> + Clone) -> Self {
        let count = |verdict| numbers.clone().filter(|n| n.verdict() == verdict).count();
        let differences: Vec<&Difference> = numbers.clone().filter_map(|n| n.difference.as_ref()).collect();
        let p: Vec<f64> = differences.iter().map(|d| d.p).collect();
        Self {
            numbers: numbers.clone().count(),
            tests: numbers.clone().map(|n| n.tests.len()).sum(),
            holds: count(Verdict::Holds),
            fails: count(Verdict::Fails),
            undecided: count(Verdict::Undecided),
            verdict: Verdict::all(numbers.map(Number::verdict)),
            largest_z: differences.iter().map(|d| d.z.abs()).fold(0.0, f64::max),
            p_exact: holm(&p).into_iter().fold(1.0, f64::min),
        }
    }

    fn sentence(&self) -> String {
        format!(
            "{} of {} numbers hold, {} fail, {} undecided ({} tests): {}\n",
            self.holds,
            self.numbers,
            self.fails,
            self.undecided,
            self.tests,
            self.verdict.word()
        )
    }

    fn exactness(&self) -> String {
        format!(
            "without a margin: the largest difference is {:.1} standard errors, p {} for all numbers together\n",
            self.largest_z,
            p_text(self.p_exact)
        )
    }
}

fn p_text(p: f64) -> String {
    let text = format::p_value(p);
    if text.starts_with('<') { text } else { format!("= {text}") }
}

/// Every number of one program.
fn one(found: &Certified, totals: &Totals) -> String {
    let mut out = format!(
        "{}\n{}{}",
        rows(found.numbers.iter().map(|n| (String::new(), n))),
        totals.sentence(),
        totals.exactness()
    );
    out.push_str(&notes(found, ""));
    if 0 < totals.undecided {
        out.push_str("more --seeds or a larger --margin would decide\n");
    }
    out
}

/// One row a program, then the numbers that do not hold.
fn many(all: &[Certified], totals: &Totals) -> String {
    let mut rows_of_programs =
        output::table(&["file", "program", "numbers", "hold", "fail", "undecided", "largest z", "verdict"]);
    for found in all {
        let own = Totals::of(found.numbers.iter());
        let counts = [own.numbers, own.holds, own.fails, own.undecided].map(|count| count.to_string());
        let [numbers, holds, fails, undecided] = counts;
        let z = if own.numbers == 0 { String::new() } else { format!("{:.1}", own.largest_z) };
        let verdict = if own.numbers == 0 { "not tested" } else { own.verdict.word() };
        let (file, name) = (found.file.clone(), found.name.clone());
        rows_of_programs.add_row([file, name, numbers, holds, fails, undecided, z, verdict.to_owned()]);
    }
    let mut out = format!("{rows_of_programs}\n");
    let open: Vec<(String, &Number)> = all
        .iter()
        .flat_map(|found| found.numbers.iter().map(move |n| (format!("{}: ", found.name), n)))
        .filter(|(_, n)| n.verdict() != Verdict::Holds)
        .collect();
    if !open.is_empty() {
        out.push_str(&format!("{}\n", rows(open.iter().take(LISTED).map(|(name, n)| (name.clone(), *n)))));
    }
    if LISTED < open.len() {
        out.push_str(&format!("{} more are in the output of --json\n", open.len() - LISTED));
    }
    out.push_str(&format!("{} programs: {}{}", all.len(), totals.sentence(), totals.exactness()));
    for found in all {
        out.push_str(&notes(found, &format!("{}: ", found.name)));
    }
    out
}

fn rows<'a>(numbers: impl Iterator<Item = (String, &'a Number)>) -> comfy_table::Table {
    let mut rows =
        output::table(&["number", "limit", "margin", "simulated, n to infinity", "exponent", "p", "verdict"]);
    for (program, number) in numbers {
        let (limit, margin) = match number.value().prediction {
            Prediction::Equals { target, margin } => (format::number(target), format::number(margin)),
            other => (other.to_string(), String::new()),
        };
        // Both tests have to hold, so that the larger p-value counts.
        let p = number.tests.iter().filter_map(|t| t.p_adjusted).reduce(f64::max);
        rows.add_row([
            format!("{program}{}", number.target.name),
            limit,
            margin,
            with_error(number.value()),
            number.rate().map(with_error).unwrap_or_default(),
            p.map(format::p_value).unwrap_or_default(),
            number.verdict().word().to_owned(),
        ]);
    }
    rows
}

fn with_error(test: &Test) -> String {
    if test.standard_error == 0.0 {
        return format::number(test.estimate);
    }
    let [value, error] = [test.estimate, test.standard_error].map(|x| format::with_error(x, test.standard_error));
    format!("{value} ± {error}")
}

/// What was drawn, left out and not tested.
fn notes(found: &Certified, program: &str) -> String {
    let mut out = String::new();
    if !found.drawn.is_empty() && program.is_empty() {
        out.push_str(&format!("drawn from N(0, 1): {}\n", found.drawn.join(", ")));
    }
    if 0 < found.left_out {
        out.push_str(&format!("{program}{} more numbers were left out; see --max-numbers\n", found.left_out));
    }
    for reason in &found.without {
        out.push_str(&format!("{program}not tested: {reason}\n"));
    }
    out
}

fn to_json(all: &[Certified], args: &CertifyArgs, totals: &Totals) -> Value {
    let number = |n: &Number| {
        json!({
            "name": n.target.name, "limit": n.target.limit, "scale": n.target.scale, "z": n.difference.as_ref().map(|d| d.z),
            "verdict": n.verdict().word(), "value": n.value(), "rate": n.rate(),
        })
    };
    let program = |found: &Certified| {
        let own = Totals::of(found.numbers.iter());
        json!({
            "file": found.file, "name": found.name, "verdict": own.verdict.word(),
            "holds": own.holds, "fails": own.fails, "undecided": own.undecided, "largest_z": own.largest_z,
            "drawn": found.drawn, "left_out": found.left_out, "without_limit": found.without,
            "numbers": found.numbers.iter().map(number).collect::<Vec<_>>(),
        })
    };
    json!({
        "verdict": totals.verdict.word(), "level": LEVEL, "widths": args.widths, "seeds": args.seeds, "seed": args.seed,
        "gradient_independence": args.gradient_independence,
        "count": totals.numbers, "tests": totals.tests,
        "holds": totals.holds, "fails": totals.fails, "undecided": totals.undecided,
        "largest_z": totals.largest_z, "p_exact": totals.p_exact,
        "programs": all.iter().map(program).collect::<Vec<_>>(),
    })
}
