//! Expectations that do not exist are refused, also where symmetry or independence would make them vanish.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use netsor_gauss::GaussError;
use netsor_ir::syntax::parse_program;
use netsor_ir::{Instr, ValueId};
use netsor_kernel::{Inputs, KernelError, Options, Query, lower};
use netsor_limit::{Data, Datum, Deriver, Evaluator, LimitError, Tolerance};

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

/// What every moment of a program is, all derived together in the given order.
fn together(text: &str, order: impl Fn(&mut Vec<ValueId>)) -> BTreeMap<String, Result<f64, LimitError>> {
    let program = parse_program(text).unwrap();
    let mut wanted: Vec<ValueId> =
        program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Moment(_))).collect();
    order(&mut wanted);
    let mut deriver = Deriver::new(&program);
    let exprs: Vec<_> = wanted.iter().map(|&id| deriver.scalar(id).unwrap()).collect();
    let graph = deriver.into_graph();
    let data = Data::new();
    let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap();
    let name = |id: &ValueId| program.value(*id).name.clone();
    wanted.iter().map(name).zip(exprs.into_iter().map(|expr| Ok(evaluator.value(expr, &[])?.value))).collect()
}

/// A zero without an expectation refuses what was derived from it, also by way of what the deriver remembers, and nothing
/// else: each number is what it is alone, in whatever order they are derived.
#[test]
fn a_number_is_refused_for_its_own_zeros_only() {
    let text = "program p {
      matrix W ~ N(0, 1/n)
      vector a ~ N(0, 1)
      vector b ~ N(0, 1)
      vector c ~ N(0, 1)
      moment good = mean(a^2)
      # Twice one expectation, and one that contains it.
      moment bad = mean(b * exp(a^2))
      moment bad_again = mean(b * exp(a^2))
      moment bad_sum = mean(a^2 + b * exp(a^2))
      # Through numbers.
      moment bad_argument = mean(relu(a + bad)^2)
      moment bad_scale = mean(bad * a^2)
      moment good_argument = mean(relu(a + good)^2)
      # A covariance of products, used twice; the variance of the first does not exist.
      x = b * exp(a^2)
      y = cos(a)
      g = W * x
      h = W * y
      moment bad_covariance = mean(g * h)
      moment bad_covariance_again = mean((g + c) * (h + c))
      moment good_variance = mean((h + c)^2)
      # A coefficient of a ZDot, in a product and in a multiple of it.
      u = W * c
      s = u * x
      t = W' * s
      s2 = 2 * s
      t2 = W' * s2
      moment bad_return = mean(t * c)
      moment bad_return_again = mean(t2 * c)
      v = tanh(u)
      r = W' * v
      moment good_return = mean(r * c)
    }";
    let program = parse_program(text).unwrap();
    let alone = |name: &str| {
        let id = program.find(name).unwrap();
        together(text, |wanted| wanted.retain(|&other| other == id)).remove(name).unwrap()
    };
    let orders: [fn(&mut Vec<ValueId>); 3] = [|_| (), |wanted| wanted.reverse(), |wanted| wanted.rotate_left(5)];
    for order in orders {
        for (name, found) in together(text, order) {
            match (&found, alone(&name)) {
                (Ok(value), alone) => {
                    assert!(name.starts_with("good"), "{name}");
                    assert_eq!(Ok(*value), alone, "{name}");
                }
                (Err(LimitError::Existence { name: at_fault, .. }), Err(LimitError::Existence { .. })) => {
                    assert!(name.starts_with("bad") && at_fault != "good", "{name} {at_fault}");
                }
                (found, alone) => panic!("{name}: {found:?} {alone:?}"),
            }
        }
    }
    // E a^2, E relu(a + 1)^2 = 2 Phi(1) + phi(1), E cos(a)^2 + 1, E tanh'(u).
    let numbers = together(text, |_| ());
    let sech = |x: f64| f64::exp(-x * x / 2.0) / x.cosh().powi(2) / f64::sqrt(2.0 * PI);
    // Trapezoids converge geometrically for a function that is analytic in a strip.
    let sech: f64 = (-400..=400).map(|k| sech(f64::from(k) / 40.0) / 40.0).sum();
    for (name, expected) in [
        ("good", 1.0),
        ("good_argument", 2.0 * 0.841_344_746_068_542_9 + 0.241_970_724_519_143_37),
        ("good_variance", 0.5 * (1.0 + f64::exp(-2.0)) + 1.0),
        ("good_return", sech),
    ] {
        let found = *numbers[name].as_ref().unwrap();
        assert!((found - expected).abs() < 1e-12, "{name}: {found} {expected}");
    }
}

/// What a moment of such a program is differentiated to is refused with it, also where the derivative is another number.
#[test]
fn derivatives_presume_what_values_do() {
    let text = "program p {
      data s: scalar
      vector a ~ N(0, 1)
      vector b ~ N(0, 1)
      moment bad = mean(s * a^2 + b * exp(a^2))
      moment good = mean(s * a^2)
    }";
    let program = parse_program(text).unwrap();
    let [s, bad, good] = ["s", "bad", "good"].map(|name| program.find(name).unwrap());
    let mut deriver = Deriver::new(&program);
    let [bad, good] = [bad, good].map(|id| deriver.scalar(id).unwrap());
    let [d_bad, d_good] =
        [bad, good].map(|expr| deriver.with_respect_to(Datum::scalar(s)).unwrap().derivative(expr).unwrap());
    let graph = deriver.into_graph();
    let data = Data::new().with(s, vec![3.0]);
    let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap();
    for expr in [bad, d_bad] {
        let error = evaluator.value(expr, &[]).unwrap_err();
        assert!(matches!(&error, LimitError::Existence { name, .. } if name == "bad"), "{error}");
    }
    assert_eq!([good, d_good].map(|expr| evaluator.value(expr, &[]).unwrap().value), [3.0, 1.0]);
}

/// A compiled kernel is refused for what its own entries presume.
#[test]
fn a_compiled_kernel_is_refused_for_its_own_zeros_only() {
    let text = "program p {
      axis i = 2
      data xi[i]: 2
      matrix W: n x 2 ~ N(0, 1)
      vector b ~ N(0, 1)
      h[i] = W * xi[i]
      moment good[i, j in i] = mean(relu(h[i]) * relu(h[j]))
      moment bad[i, j in i] = mean(relu(h[i]) * relu(h[j]) + b * exp(h[i] * h[j]))
    }";
    let program = parse_program(text).unwrap();
    let mut deriver = Deriver::new(&program);
    let [good, bad] = ["good", "bad"].map(|name| deriver.scalar(program.find(name).unwrap()).unwrap());
    let graph = deriver.into_graph();
    let lowered = |name: &str, expr| lower(&graph, &program, &[Query::new(name, expr)]);
    assert!(matches!(lowered("bad", bad), Err(KernelError::Existence { name }) if name == "bad"));
    let plan = lowered("good", good).unwrap();
    let xi = program.find("xi").unwrap();
    let points = [0.6, -0.8, 0.3, 0.4];
    let inputs = Inputs::new(2).with(xi, points.to_vec());
    let found = plan.run(&inputs, None, &Options::default()).unwrap();
    // |x| |y| (sin t + (pi - t) cos t) / (2 pi), Cho and Saul 2009.
    for (k, &entry) in found.get("good").unwrap().iter().enumerate() {
        let (x, y) = (&points[k / 2 * 2..][..2], &points[k % 2 * 2..][..2]);
        let norm = |v: &[f64]| v[0].hypot(v[1]);
        let cosine = ((x[0] * y[0] + x[1] * y[1]) / (norm(x) * norm(y))).clamp(-1.0, 1.0);
        let t = cosine.acos();
        let expected = norm(x) * norm(y) * (t.sin() + (PI - t) * cosine) / (2.0 * PI);
        assert!((entry - expected).abs() < 1e-12, "{k}: {entry} {expected}");
    }
}
