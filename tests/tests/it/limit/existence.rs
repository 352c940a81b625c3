//! Expectations that do not exist are refused, also where symmetry or independence would make them vanish.

use netsor_gauss::GaussError;
use netsor_ir::syntax::parse_program;
use netsor_limit::{Data, Deriver, Evaluator, LimitError, Tolerance};

/// The limit of the mean of a function of `a`, `b`, `c`, standard normal, the first and the third with covariance 1/2; `t`
/// is a moment that tends to 0 and `s` one that tends to 1; `z` tends to 0, too, but only quadrature says so, up to an error.
fn mean(function: &str) -> Result<f64, LimitError> {
    let text = format!(
        "program p {{
          vector a ~ N(0, 1)
          vector b ~ N(0, 1)
          vector c ~ N(0, 1), cov(a) = 1/2
          moment t = mean(b)
          moment s = mean(b^2)
          moment z = mean(sigmoid(c) - 1/2)
          moment m = mean({function})
        }}"
    );
    let program = parse_program(&text).unwrap();
    let mut deriver = Deriver::new(&program);
    let m = deriver.scalar(program.find("m").unwrap())?;
    let graph = deriver.into_graph();
    let data = Data::new();
    Ok(Evaluator::new(&graph, &program, &data, Tolerance::default())?.value(m, &[])?.value)
}

#[test]
fn zeros_without_an_expectation_are_refused() {
    for function in [
        "1 / a",
        "a / a^4",
        "sin(a) * exp(a^2)",
        "b * exp(a^2)",
        "b * exp(a * c * 3/4)",
        "b / a",
        "c / a",
        "a / (a^2 + b^2)^(3/2)",
        "b * exp(exp(a))",
        "a * log(t)",
        "a / (s - 1)",
        "a / z",
        "a * log(z)",
    ] {
        let error = mean(function).expect_err(function);
        let (LimitError::Existence { source, .. } | LimitError::Expectation { source, .. }) = &error else {
            assert!(matches!(error, LimitError::Multiplier { .. }), "{function}: {error}");
            continue;
        };
        let infinite = match source {
            GaussError::Outgrown { .. } | GaussError::Unsettled { .. } | GaussError::DivergentPower { .. } => true,
            // Bisection ends where the function is no number.
            GaussError::Value { value, .. } => value.is_infinite(),
            _ => false,
        };
        assert!(infinite, "{function}: {error}");
    }
}

/// `E exp(b Z1 Z2)` is infinite for `b = 1` and `(1 - b^2)^(-1/2)` below, though its range of integration ends in any case.
#[test]
fn growth_beyond_the_density_is_refused() {
    assert!((mean("exp(a * b / 2)").unwrap() - f64::powf(0.75, -0.5)).abs() < 1e-10);
    for function in
        ["exp(a * b)", "relu(b) * exp(a * b)", "exp(c * a * 2/3)", "exp(abs(a * b * c) / 1000)", "exp(a^4 / 10000)"]
    {
        let error = mean(function).expect_err(function);
        assert!(error.to_string().contains("does not exist"), "{function}: {error}");
    }
}

#[test]
fn zeros_with_an_expectation_stay() {
    for function in [
        "a * log(abs(a))",
        "a / (a^2 + b^2)",
        "a / (a^2 + b^2)^(1/2)",
        "b * exp(a^2 / 4)",
        "b / (1 + a^2)",
        "b * log(a^2)",
        "a * abs(a)^(-3/2)",
        "b / (1 - tanh(a)^2)",
        "a * log(s)",
        "tanh(a) * exp(-b^2) / s",
        "a * (z / s)",
    ] {
        assert_eq!(mean(function), Ok(0.0), "{function}");
    }
}
