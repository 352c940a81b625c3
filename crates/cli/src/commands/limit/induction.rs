//! `netsor limit --induction`: eq. 107 for every G-var, Theorem 5.3 for every output, Prop. D.3 for every pair.

use std::process::ExitCode;

use netsor_ir::{ExprId, Network};
use netsor_limit::induction::{GVarCheck, Induction, InductionError, RandomCheck, RandomVerdict, Steps, Verdict};
use serde_json::{Value, json};

use crate::output;

/// Checks and prints. That eq. 107 fails where `W` and `W'` meet is a finding and no error. What is too long to be written
/// out is compared at random points, which says so.
pub(super) fn run(network: &Network, steps: usize, json: bool) -> anyhow::Result<ExitCode> {
    let steps = Steps { steps, ..Steps::default() };
    let induction = match Induction::check(network, &steps) {
        Ok(induction) => induction,
        Err(too_long @ InductionError::TooLong { .. }) => return at_points(network, &steps, &too_long, json),
        Err(error) => return Err(error.into()),
    };
    if json {
        output::emit_json(&to_json(network, &induction))?;
    } else {
        output::emit(&to_text(&induction))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn at_points(network: &Network, steps: &Steps, too_long: &InductionError, json: bool) -> anyhow::Result<ExitCode> {
    let found = RandomCheck::new(network, steps).map_err(|e| anyhow::anyhow!("{too_long}; {e}"))?;
    if json {
        output::emit_json(&random_to_json(network, &found))?;
    } else {
        output::emit(&random_to_text(&found))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn random_to_text(found: &RandomCheck) -> String {
    let mut rows = output::table(&["G-var", "steps", "eq. 107"]);
    for check in &found.g_vars {
        rows.add_row([&check.name, &check.time.to_string(), random_word(check)]);
    }
    let mut out = format!("{rows}\n\n");
    out.push_str(&match found.g_vars.iter().find(|v| !v.agrees) {
        None => "eq. 107 holds at random points for every G-var\n".to_owned(),
        Some(first) => format!("eq. 107 is open first at `{}`: its two sides differ at random points\n", first.name),
    });
    for (claim, what, all) in [
        ("Theorem 5.3, kernel gradient descent with the kernel of eq. 100", "outputs and times", &found.outputs),
        ("Prop. D.3, that kernel by paths", "pairs of outputs", &found.kernels),
    ] {
        let held = all.iter().filter(|v| v.agrees).count();
        let verdict = if held == all.len() { "holds at random points" } else { "is open" };
        out.push_str(&format!("{claim}: {verdict} ({held} of {} {what})\n", all.len()));
    }
    out.push_str(&format!(
        "This is no proof: the integrands are too long to be written out. They were compared in {} runs at random points \
         of a field with 2^61 - 1 elements, where a wrong identity of degree d passes with a chance of about \
         (d / 2^61)^{}. {} points stand for the law of the Gaussian variables; the degree in expectations is {}, roots \
         and functions counted as symbols.\n",
        found.runs, found.runs, found.points, found.degree
    ));
    out
}

fn random_word(check: &RandomVerdict) -> &'static str {
    if check.agrees { "holds at random points" } else { "open" }
}

fn random_to_json(network: &Network, found: &RandomCheck) -> Value {
    let list = |all: &[RandomVerdict]| -> Vec<Value> {
        let one = |v: &RandomVerdict| json!({ "name": v.name, "steps": v.time, "verdict": random_word(v) });
        all.iter().map(one).collect()
    };
    json!({
        "name": network.program.name,
        "method": "random points of a field",
        "runs": found.runs,
        "points": found.points,
        "degree": found.degree,
        "agree": found.all_agree(),
        "g_vars": list(&found.g_vars),
        "outputs": list(&found.outputs),
        "kernels": list(&found.kernels),
    })
}

fn to_text(induction: &Induction) -> String {
    let mut rows = output::table(&["G-var", "steps", "eq. 107"]);
    for check in &induction.g_vars {
        rows.add_row([induction.name(check.g), &check.time.to_string(), check.verdict.name()]);
    }
    let mut out = format!("{rows}\n");
    match induction.first_failure() {
        None => out.push_str("\neq. 107 holds for every G-var\n"),
        Some(check) => out.push_str(&failure(induction, check)),
    }
    out.push_str(&summary(
        "Theorem 5.3, kernel gradient descent with the kernel of eq. 100",
        "outputs and times",
        induction.outputs.iter().map(|check| check.verdict),
    ));
    out.push_str(&summary(
        "Prop. D.3, that kernel by paths",
        "pairs of outputs",
        induction.kernels.iter().map(|check| check.verdict),
    ));
    out
}

fn summary(claim: &str, what: &str, verdicts: impl Iterator<Item = Verdict>) -> String {
    let all: Vec<Verdict> = verdicts.collect();
    let count = |name: &str| all.iter().filter(|v| v.name() == name).count();
    let (held, failed, open) = (count("holds"), count("fails"), count("open"));
    let worst = all.iter().find(|v| v.name() == "fails").or(all.iter().find(|v| !v.holds()));
    let verdict = worst.map_or("holds", |v| v.name());
    let mut counts = format!("{held} of {} {what}", all.len());
    if 0 < failed {
        counts.push_str(&format!(", {failed} differ in numbers"));
    }
    if 0 < open {
        counts.push_str(&format!(", {open} neither shown nor refuted"));
    }
    format!("{claim}: {verdict} ({counts})\n")
}

/// The first G-var at which the induction breaks: both sides, what is left, and why.
fn failure(induction: &Induction, check: &GVarCheck) -> String {
    let Some(difference) = check.difference else { return String::new() };
    let verdict = match check.verdict {
        Verdict::Fails(size) => format!("fails first at `{}`, by {size:.3} at generic data", induction.name(check.g)),
        _ => format!("is neither shown nor refuted at `{}`", induction.name(check.g)),
    };
    let mut out = format!(
        "\neq. 107 {verdict}, modulo what its own matrix makes:\n  derived     {}\n  eq. 107     {}\n  difference  {}\n",
        induction.text(check.derived),
        induction.text(check.claimed),
        induction.text(difference)
    );
    out.push_str(&format!("because {}\n", induction.reason(check)));
    let mut mentioned = vec![check.derived, check.claimed, difference];
    mentioned.extend(check.returns.iter().map(|r| r.coefficient));
    out.push_str("where\n");
    for (name, text) in induction.definitions(&mentioned) {
        out.push_str(&format!("  {name} = {text}\n"));
    }
    out.push('\n');
    out
}

/// By how much two sides differ at generic data.
fn size(verdict: Verdict) -> Option<f64> {
    match verdict {
        Verdict::Fails(size) => Some(size),
        Verdict::Holds | Verdict::Open => None,
    }
}

fn to_json(network: &Network, induction: &Induction) -> Value {
    let text = |expr: ExprId| induction.text(expr);
    let mut mentioned = Vec::new();
    let g_vars: Vec<Value> = induction
        .g_vars
        .iter()
        .map(|check| {
            mentioned.extend([check.derived, check.claimed].into_iter().chain(check.difference));
            let returns: Vec<Value> = check
                .returns
                .iter()
                .map(|r| {
                    mentioned.push(r.coefficient);
                    json!({
                        "product": induction.name(r.product),
                        "vector": induction.name(r.vector),
                        "coefficient": text(r.coefficient),
                    })
                })
                .collect();
            json!({
                "g_var": induction.name(check.g),
                "steps": check.time,
                "verdict": check.verdict.name(),
                "size": size(check.verdict),
                "derived": text(check.derived),
                "claimed": text(check.claimed),
                "difference": check.difference.map(text),
                "returns": returns,
            })
        })
        .collect();
    let outputs: Vec<Value> = induction
        .outputs
        .iter()
        .map(|check| {
            mentioned.extend(check.difference);
            json!({
                "output": induction.name(check.output),
                "component": check.component,
                "steps": check.time,
                "verdict": check.verdict.name(),
                "size": size(check.verdict),
                "difference": check.difference.map(text),
            })
        })
        .collect();
    let kernels: Vec<Value> = induction
        .kernels
        .iter()
        .map(|check| {
            mentioned.extend([check.by_paths, check.by_moments].into_iter().chain(check.difference));
            json!({
                "outputs": [induction.name(check.first), induction.name(check.second)],
                "verdict": check.verdict.name(),
                "size": size(check.verdict),
                "by_paths": text(check.by_paths),
                "by_moments": text(check.by_moments),
                "difference": check.difference.map(text),
            })
        })
        .collect();
    let definitions: serde_json::Map<String, Value> =
        induction.definitions(&mentioned).into_iter().map(|(name, text)| (name, text.into())).collect();
    let first = induction.first_failure().map(|check| {
        json!({
            "g_var": induction.name(check.g),
            "steps": check.time,
            "verdict": check.verdict.name(),
            "reason": induction.reason(check),
        })
    });
    json!({
        "name": network.program.name,
        "induction_holds": induction.holds(),
        "theorem_holds": induction.theorem_holds(),
        "path_formula_holds": induction.path_formula_holds(),
        "first_failure": first,
        "g_vars": g_vars,
        "outputs": outputs,
        "kernels": kernels,
        "definitions": definitions,
    })
}
