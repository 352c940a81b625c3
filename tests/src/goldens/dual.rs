//! `dual_mpmath.json`: `E f(u) f(v)` and `E f'(u) f'(v)` to 18 digits.

use netsor_ir::ValueId;
use netsor_ir::calculus::Derivative;
use netsor_ir::number::integer;
use netsor_ir::program::{Law, Program};
use netsor_limit::{Data, Deriver, Evaluator};
use netsor_zoo::Activation;
use serde_json::Value;

use super::json::{exact, field, float, named_cases, text};
use super::limits::asked;
use super::{Case, Checks, Trouble};

/// The reference is exact to double precision; quadrature is asked for a hundredth of this.
const TOLERANCE: f64 = 1e-10;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "cases", check)
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    let name = text(case, "fn")?;
    let f = Activation::from_name(name).ok_or_else(|| Trouble::not_covered(format!("unknown function `{name}`")))?;
    let entry = |name: &str| exact(float(case, name)?, name);
    let (q11, q12, q22) = (entry("q11")?, entry("q12")?, entry("q22")?);
    let mut p = Program::new("dual");
    let n = p.width();
    let law = Law::iid(&mut p.exprs, integer(0), q11);
    let u = p.gaussian("u", &[], n, law);
    let mut law = Law::iid(&mut p.exprs, integer(0), q22);
    law.cross.push((u, p.exprs.constant(q12)));
    let v = p.gaussian("v", &[], n, law);
    let mut moments = Vec::new();
    for (key, derivative) in [("E_ff", false), ("E_dfdf", true)] {
        let mut of = |z: ValueId| {
            let z = p.member(z, &[]);
            let y = f.apply(&mut p.exprs, z).map_err(Trouble::not_covered)?;
            if !derivative {
                return Ok(y);
            }
            let slopes = p.exprs.occurrences(y, Derivative::Pointwise, &mut 0, &|_| true);
            Ok(p.exprs.add_all(slopes.iter().map(|o| o.coefficient).collect::<Vec<_>>()))
        };
        let (a, b) = (of(u)?, of(v)?);
        let product = p.exprs.mul(a, b);
        moments.push((key, p.moment(key, &[], product)));
    }
    let mut deriver = Deriver::new(&p);
    let exprs = moments
        .iter()
        .map(|&(key, m)| Ok((key, deriver.scalar(m).map_err(Trouble::failed)?)))
        .collect::<Result<Vec<_>, Trouble>>()?;
    let graph = deriver.into_graph();
    let data = Data::new();
    let mut evaluator = Evaluator::new(&graph, &p, &data, asked(TOLERANCE / 100.0)).map_err(Trouble::failed)?;
    let mut checks = Checks::default();
    for (key, expr) in exprs {
        let digits = field(case, key)?;
        let expected = digits.as_str().and_then(|d| d.parse().ok()).or_else(|| digits.as_f64());
        let expected = expected.ok_or_else(|| Trouble::not_covered(format!("`{key}` is not a number")))?;
        let found = evaluator.value(expr, &[]).map_err(Trouble::failed)?.value;
        checks.close(|| key.to_owned(), found, expected, TOLERANCE * expected.abs().max(1.0));
    }
    Ok(checks)
}
