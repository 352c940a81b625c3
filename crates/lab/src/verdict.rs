//! Tests of a claim and the verdict that follows from them.
//!
//! A [`Test`] compares one estimate with one prediction. By itself it is judged at the level
//! [`LEVEL`]; in a run all claims are judged together by [`judge`], which corrects for their number.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::format;
use crate::stats::{Estimate, Evidence, StatsError, holm, p_at_least, p_at_most, p_differs, p_equals};

/// Chance, over a whole run, of confirming any claim that is wrong (and, separately, of refuting anything that is
/// right).
pub const LEVEL: f64 = 0.05;

/// What the data say of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The prediction is confirmed.
    Holds,
    /// The prediction is refuted.
    Fails,
    /// The data do not decide: more seeds, larger widths or a wider margin are needed.
    Undecided,
}

impl Verdict {
    /// Verdict on a claim whose tests have these verdicts: it holds when all hold, fails when any
    /// fails. A claim without tests is undecided.
    #[must_use]
    pub fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        let mut result = None;
        for verdict in verdicts {
            result = Some(match (result.unwrap_or(Self::Holds), verdict) {
                (Self::Fails, _) | (_, Self::Fails) => Self::Fails,
                (Self::Undecided, _) | (_, Self::Undecided) => Self::Undecided,
                (Self::Holds, Self::Holds) => Self::Holds,
            });
        }
        result.unwrap_or(Self::Undecided)
    }

    /// The word used in records, tables and the report.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Undecided => "undecided",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What is predicted of a number, margins included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Prediction {
    /// `|truth - target| < margin`.
    Equals {
        /// Predicted value.
        target: f64,
        /// Largest difference that still counts as equal.
        margin: f64,
    },
    /// `|truth - target| > margin`.
    Differs {
        /// Value that is not taken.
        target: f64,
        /// Smallest difference that counts.
        margin: f64,
    },
    /// `truth < bound + margin`.
    AtMost {
        /// Upper bound.
        bound: f64,
        /// Room above it.
        margin: f64,
    },
    /// `truth > bound - margin`.
    AtLeast {
        /// Lower bound.
        bound: f64,
        /// Room below it.
        margin: f64,
    },
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, value, room, margin) = match *self {
            Self::Equals { target, margin } => ("", target, " ± ", margin),
            Self::Differs { target, margin } => ("not ", target, " ± ", margin),
            Self::AtMost { bound, margin } => ("≤ ", bound, " + ", margin),
            Self::AtLeast { bound, margin } => ("≥ ", bound, " − ", margin),
        };
        write!(f, "{sign}{}", format::number(value))?;
        if margin == 0.0 { Ok(()) } else { write!(f, "{room}{}", format::number(margin)) }
    }
}

/// One comparison of an estimate with a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// What is estimated; mathematics as `$...$`.
    pub name: String,
    /// What is predicted of it.
    pub prediction: Prediction,
    /// The estimate.
    pub estimate: f64,
    /// Its standard error; zero for a deterministic number.
    pub standard_error: f64,
    /// 95 % confidence interval; absent for a deterministic number.
    pub interval: Option<(f64, f64)>,
    /// p-value of "the prediction is wrong": small confirms. Absent for a deterministic number.
    pub p_value: Option<f64>,
    /// p-value of "the prediction is right": small refutes. Absent for a deterministic number.
    pub p_against: Option<f64>,
    /// `p_value` after Holm's correction over the claims of the run; absent before [`judge`].
    pub p_adjusted: Option<f64>,
    /// `p_against` after Holm's correction over the tests of the run; absent before [`judge`].
    pub p_against_adjusted: Option<f64>,
    /// The verdict: of this test by itself before [`judge`], within its run afterwards.
    pub verdict: Verdict,
}

impl Test {
    /// Equivalence: the number is `target` up to `margin`, which is part of the prediction.
    pub fn equals(name: impl Into<String>, estimate: &Estimate, target: f64, margin: f64) -> Result<Self, StatsError> {
        let prediction = Prediction::Equals { target, margin };
        Self::new(name.into(), prediction, estimate, p_equals(estimate, target, margin)?)
    }

    /// Difference: the number is away from `target` by more than `margin`.
    pub fn differs(name: impl Into<String>, estimate: &Estimate, target: f64, margin: f64) -> Result<Self, StatsError> {
        let prediction = Prediction::Differs { target, margin };
        Self::new(name.into(), prediction, estimate, p_differs(estimate, target, margin)?)
    }

    /// Upper bound, such as a slope that is at most -1/2. A bound that theory says is attained needs
    /// a positive margin.
    pub fn at_most(name: impl Into<String>, estimate: &Estimate, bound: f64, margin: f64) -> Result<Self, StatsError> {
        let prediction = Prediction::AtMost { bound, margin };
        Self::new(name.into(), prediction, estimate, p_at_most(estimate, bound, margin)?)
    }

    /// Lower bound.
    pub fn at_least(name: impl Into<String>, estimate: &Estimate, bound: f64, margin: f64) -> Result<Self, StatsError> {
        let prediction = Prediction::AtLeast { bound, margin };
        Self::new(name.into(), prediction, estimate, p_at_least(estimate, bound, margin)?)
    }

    /// A deterministic number against a target and a tolerance. It has no p-value, and takes no part
    /// in the correction for many tests.
    pub fn within(name: impl Into<String>, value: f64, target: f64, tolerance: f64) -> Result<Self, StatsError> {
        // The tolerance itself still counts, so that zero asks for equality.
        let verdict = if (value - target).abs() <= tolerance { Verdict::Holds } else { Verdict::Fails };
        let test = Self::equals(name, &Estimate::exact(value), target, tolerance)?;
        Ok(Self { verdict, ..test })
    }

    fn new(name: String, prediction: Prediction, estimate: &Estimate, evidence: Evidence) -> Result<Self, StatsError> {
        crate::stats::all_finite("estimate", &[estimate.value, estimate.standard_error])?;
        let exact = estimate.standard_error == 0.0;
        let interval = if exact { None } else { Some(estimate.interval(0.95)?) };
        Ok(Self {
            name,
            prediction,
            estimate: estimate.value,
            standard_error: estimate.standard_error,
            interval,
            p_value: (!exact).then_some(evidence.p_value),
            p_against: (!exact).then_some(evidence.p_against),
            p_adjusted: None,
            p_against_adjusted: None,
            verdict: decide(evidence.p_value, evidence.p_against),
        })
    }
}

/// Judges all claims of a run together, each given by its tests.
///
/// A claim is confirmed only if *every* test of it confirms, so the chance to confirm a wrong claim is at most that of
/// confirming the one test that is wrong: tests within a claim need no correction (intersection-union tests, Berger
/// 1982), and the p-value of a claim is the largest of its tests. Holm's correction is applied to the p-values of the
/// claims. A claim is refuted as soon as *one* of its tests is refuted, so that here all tests of the run are one
/// family. Whatever the dependence between tests, which share seeds and networks, the chance that the run confirms any
/// claim that is wrong is at most [`LEVEL`], and so is the chance that it refutes anything right.
pub fn judge(claims: &mut [&mut [Test]]) {
    let mut claims: Vec<Vec<&mut Test>> = claims
        .iter_mut()
        .map(|tests| tests.iter_mut().filter(|test| test.p_value.is_some()).collect())
        .filter(|tests: &Vec<_>| !tests.is_empty())
        .collect();
    let p = |p: Option<f64>| p.unwrap_or(1.0);
    let of_claims: Vec<f64> =
        claims.iter().map(|tests| tests.iter().map(|t| p(t.p_value)).fold(0.0, f64::max)).collect();
    let against: Vec<f64> = claims.iter().flatten().map(|test| p(test.p_against)).collect();
    let n_claims = claims.len() as f64;
    let mut refute = holm(&against).into_iter();
    for (tests, confirm) in claims.iter_mut().zip(holm(&of_claims)) {
        for (test, refute) in tests.iter_mut().zip(&mut refute) {
            // The largest p-value decides the claim; the others are shown as if their claim had no other test.
            let adjusted = confirm.min(n_claims * p(test.p_value));
            test.p_adjusted = Some(adjusted);
            test.p_against_adjusted = Some(refute);
            test.verdict = decide(adjusted, refute);
        }
    }
}

fn decide(p_value: f64, p_against: f64) -> Verdict {
    if p_value <= LEVEL {
        Verdict::Holds
    } else if p_against <= LEVEL {
        Verdict::Fails
    } else {
        Verdict::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Reference;

    fn gaussian(value: f64, standard_error: f64) -> Estimate {
        Estimate { value, standard_error, reference: Reference::Normal }
    }

    #[test]
    fn the_three_answers() {
        let verdict = |value, error| Test::equals("x", &gaussian(value, error), 0.0, 0.5).unwrap().verdict;
        assert_eq!(verdict(0.1, 0.1), Verdict::Holds);
        assert_eq!(verdict(1.0, 0.1), Verdict::Fails);
        assert_eq!(verdict(0.1, 1.0), Verdict::Undecided);
    }

    fn at_z(z: f64) -> Test {
        Test::at_most("z", &gaussian(z, 1.0), 0.0, 0.0).unwrap()
    }

    fn judged(mut claims: Vec<Vec<Test>>) -> Vec<Vec<Test>> {
        judge(&mut claims.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
        claims
    }

    /// z = -2 against a bound has p = 0.023: confirmed alone, not among ten such claims (10 * 0.023 > 0.05), while
    /// z = -6 (p = 1e-9) stays confirmed and a deterministic test is not touched.
    #[test]
    fn a_run_corrects_for_its_claims() {
        let mut claims = vec![vec![at_z(-2.0)]; 9];
        claims.push(vec![at_z(-6.0), Test::within("exact", 1.0, 1.0, 0.0).unwrap()]);
        assert!(claims.iter().flatten().all(|t| t.verdict == Verdict::Holds));
        let claims = judged(claims);
        assert!(claims[..9].iter().flatten().all(|t| t.verdict == Verdict::Undecided));
        assert_eq!(claims[9][0].verdict, Verdict::Holds);
        assert_eq!(claims[9][1].verdict, Verdict::Holds);
        assert_eq!(claims[9][1].p_adjusted, None);
    }

    /// Ten tests of one claim are confirmed together at the level of one; ten tests refute at the level of ten.
    #[test]
    fn tests_of_one_claim_are_an_intersection() {
        let claims = judged(vec![vec![at_z(-2.0); 10]]);
        assert!(claims[0].iter().all(|t| t.verdict == Verdict::Holds && t.p_adjusted == t.p_value));
        let claims = judged(vec![vec![at_z(2.0); 10]]);
        assert!(claims[0].iter().all(|t| t.verdict == Verdict::Undecided));
    }

    /// One test of the first claim is just wrong (its truth is the bound) and the other is clearly right: over 2000
    /// runs beside two clear claims, the first is confirmed in at most 5 %: 100, plus four binomial standard
    /// deviations, 39.
    #[test]
    fn a_wrong_claim_is_rarely_confirmed() {
        use rand_chacha::ChaCha8Rng;
        use rand_chacha::rand_core::SeedableRng;
        use rand_distr::{Distribution, StandardNormal};
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut confirmed = 0;
        for _ in 0..2000 {
            let z: f64 = StandardNormal.sample(&mut rng);
            let claims = judged(vec![vec![at_z(z), at_z(-9.0)], vec![at_z(-8.0)], vec![at_z(-7.0); 3]]);
            confirmed += i32::from(Verdict::all(claims[0].iter().map(|t| t.verdict)) == Verdict::Holds);
        }
        assert!((20..=139).contains(&confirmed), "{confirmed}");
    }

    #[test]
    fn a_claim_holds_when_all_its_tests_hold() {
        use Verdict::{Fails, Holds, Undecided};
        assert_eq!(Verdict::all([Holds, Holds]), Holds);
        assert_eq!(Verdict::all([Holds, Undecided]), Undecided);
        assert_eq!(Verdict::all([Undecided, Fails, Holds]), Fails);
        assert_eq!(Verdict::all([]), Undecided);
    }

    #[test]
    fn predictions_read_as_mathematics() {
        let equals = Prediction::Equals { target: -0.5, margin: 0.1 };
        assert_eq!(equals.to_string(), "−0.5 ± 0.1");
        assert_eq!(Prediction::AtMost { bound: -0.5, margin: 0.0 }.to_string(), "≤ −0.5");
        assert_eq!(Prediction::AtLeast { bound: 2.0, margin: 1e-7 }.to_string(), "≥ 2 − 10⁻⁷");
    }

    #[test]
    fn tests_survive_json() {
        let test = Test::differs("$x$", &gaussian(0.1, 0.3), 0.0, 0.05).unwrap();
        let text = serde_json::to_string(&test).unwrap();
        assert_eq!(serde_json::from_str::<Test>(&text).unwrap(), test);
        assert!(Test::within("x", f64::NAN, 0.0, 1.0).is_err());
    }
}
