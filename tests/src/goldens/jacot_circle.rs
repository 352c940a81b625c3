//! `jacot_circle.json`: the tangent kernel `Theta(x_0, x(gamma))` on the circle, its limit, and measurements of networks of
//! two widths before and after training.
//!
//! The limit is compared to rounding; the measurements, which are somebody else's, through their means over seeds.

use netsor_limit::Data;
use netsor_zoo::{Activation, Mlp};
use serde_json::Value;

use super::json::{Array, entries, text};
use super::limits::{asked, find, limit_kernels};
use super::{Case, Checks, Trouble};

/// Closed forms on both sides.
const LIMIT: f64 = 1e-10;
/// Standard errors, from as many seeds as there are: with ten seeds (nine degrees of freedom) 7 are exceeded with
/// probability 6e-5 at one angle, and the angles of one width are all but one number.
const DEVIATIONS: f64 = 7.0;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    let file = file.clone();
    Ok(vec![Case::new("circle", move || check(&file))])
}

/// The number that follows `key` in a sentence.
fn number_after(text: &str, key: &str) -> Result<f64, Trouble> {
    let rest = text.split_once(key).map(|(_, rest)| rest);
    let digits = |rest: &str| {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        rest[..end].trim_end_matches('.').parse().ok()
    };
    rest.and_then(digits).ok_or_else(|| Trouble::not_covered(format!("`setup` does not say `{key}` with a number")))
}

fn check(file: &Value) -> Result<Checks, Trouble> {
    let setup = text(file, "setup")?;
    let (depth, beta) = (number_after(setup, "L=")?, number_after(setup, "beta=")?);
    let words = setup.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let activation = words.filter_map(|word| Activation::from_name(&word.to_lowercase())).next();
    let activation = activation.ok_or_else(|| Trouble::not_covered("`setup` names no activation"))?;
    if !(2.0..=64.0).contains(&depth) || depth.fract() != 0.0 {
        return Err(Trouble::not_covered(format!("a depth of {depth} layers")));
    }
    let gamma = Array::field(file, "gamma", 1)?.finite("gamma")?.numbers;
    let count = gamma.len();
    let theta = Array::shaped(file, "limit_theta", &[count])?.finite("limit_theta")?.numbers;
    let sigma = Array::shaped(file, "limit_sigma", &[count])?.finite("limit_sigma")?.numbers;

    // x_0 first, then the circle.
    let inputs = u32::try_from(count + 1).map_err(Trouble::not_covered)?;
    let mlp = Mlp { inputs, dim: 2, hidden: depth as u32 - 1, activation, b_std: beta, ..Mlp::default() };
    let network = mlp.network().map_err(Trouble::not_covered)?;
    let mut points = vec![1.0, 0.0];
    points.extend(gamma.iter().flat_map(|g| [g.cos(), g.sin()]));
    let data = Data::new().with(find(&network.program, "xi")?, points);
    let limit = limit_kernels(&network, &data, asked(1e-12))?;
    let row = 1..=count;
    let mut checks = Checks::default();
    checks.all_close("limit of Theta", &limit.ntk[row.clone()], &theta, LIMIT)?;
    checks.all_close("limit of Sigma", &limit.nngp[row], &sigma, LIMIT)?;

    for (width, runs) in entries(file, "widths")? {
        for key in ["theta_t0", "theta_t200"] {
            let runs = Array::field(runs, key, 2)?.finite(key)?;
            let [seeds, angles] = runs.shape[..] else { continue };
            if angles != count || seeds < 3 {
                return Err(Trouble::not_covered(format!("`{key}` has {seeds} seeds and {angles} angles")));
            }
            for (k, &limit) in theta.iter().enumerate() {
                let values: Vec<f64> = (0..seeds).map(|s| runs.numbers[s * angles + k]).collect();
                let mean = values.iter().sum::<f64>() / seeds as f64;
                let scatter = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (seeds - 1) as f64;
                let error = (scatter / seeds as f64).sqrt();
                checks.close(|| format!("{key} at width {width}, angle {k}"), mean, limit, DEVIATIONS * error);
            }
        }
    }
    Ok(checks)
}
