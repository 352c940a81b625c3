//! Weak derivatives: the ZDot of a product with what jumps.
//!
//! `v'(W'x) = (Wv)'x`, so the limit of `mean(v * (W' * x))`, which the engine takes from `Zdot` and hence from the weak
//! derivative of `x`, must be `E[y x]` for `y = W * v`: an integral that needs no derivative, and is taken here from the
//! function itself, over one variable in closed panels and over the other between the points where it jumps.

use netsor_ir::syntax::parse_program;
use netsor_limit::{Data, Deriver, Evaluator, LimitError, Tolerance, Value};
use netsor_num::quadrature::gauss_legendre;

const VARIANCE_Y: f64 = 1.3;
const VARIANCE_U: f64 = 0.7;

/// `mean(v * (W' * x))` by the engine, for `x` as text in `y = W * v` and `u`.
fn by_zdot(text: &str) -> Value {
    let source = format!(
        "program p {{\n matrix W ~ N(0, 13/10/n)\n vector v ~ N(0, 1)\n vector u ~ N(0, 7/10)\n y = W * v\n x = {text}\n \
         z = W' * x\n moment m = mean(v * z)\n}}\n"
    );
    let program = parse_program(&source).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    let m = program.find("m").unwrap();
    let mut deriver = Deriver::new(&program);
    let limit = deriver.scalar(m).unwrap_or_else(|e| panic!("{text}: {e}"));
    let graph = deriver.into_graph();
    let data = Data::new();
    let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap();
    evaluator.value(limit, &[]).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// `E[y x(y, u)]`: Gauss-Legendre on panels of half a standard deviation that end where `x` jumps or bends, in `y` at
/// `ends(u)` and in `u` at 0. Twenty points a panel integrate such smooth pieces to rounding.
fn by_integration(x: impl Fn(f64, f64) -> f64, ends: impl Fn(f64) -> Vec<f64>) -> f64 {
    let rule = gauss_legendre(20);
    let over = |variance: f64, ends: Vec<f64>, f: &dyn Fn(f64) -> f64| {
        let deviation = variance.sqrt();
        let mut cuts: Vec<f64> = (-20..=20).map(|k| 0.5 * f64::from(k) * deviation).chain(ends).collect();
        cuts.sort_by(f64::total_cmp);
        let density = |z: f64| (-z * z / (2.0 * variance)).exp() / (std::f64::consts::TAU * variance).sqrt();
        cuts.windows(2).map(|c| rule.integrate(c[0], c[1], |z| density(z) * f(z))).sum::<f64>()
    };
    over(VARIANCE_U, vec![0.0], &|u| over(VARIANCE_Y, ends(u), &|y| y * x(y, u)))
}

#[track_caller]
fn check(text: &str, x: impl Fn(f64, f64) -> f64, ends: impl Fn(f64) -> Vec<f64>) {
    let (zdot, integral) = (by_zdot(text), by_integration(x, ends));
    // The engine states its error, which for jumps along curves is more than the 1e-10 asked for; the panels' is below.
    assert!((zdot.value - integral).abs() <= zdot.error + 1e-9, "{text}: {zdot:?}, expected {integral}");
    assert!(zdot.error < 1e-4, "{text}: {zdot:?}");
}

fn step(x: f64) -> f64 {
    f64::from(u8::from(0.0 < x))
}

/// Functions of one jump, and products of functions that jump at one place: not what the chain rule says.
#[test]
fn functions_of_jumps() {
    let at_zero = |_| vec![0.0];
    check("tanh(sign(y))", |y, _| y.signum().tanh(), at_zero);
    check("exp(step(y))", |y, _| step(y).exp(), at_zero);
    check("sign(y) * step(y)", |y, _| step(y), at_zero);
    check("step(y)^3 * cos(y)", |y, _| step(y) * y.cos(), at_zero);
    check("tanh(sign(y) + u)", |y, u| (y.signum() + u).tanh(), at_zero);
    check("step(y) * step(2 * y) * sign(-y)", |y, _| -step(y), at_zero);
    check("sign(y) * step(y + u)", |y, u| y.signum() * step(y + u), |u| vec![0.0, -u]);
    check("step(y) * y", |y, _| step(y) * y, at_zero);
    check("sign(y + 1/2) * relu(u)", |y, u| (y + 0.5).signum() * u.max(0.0), |_| vec![-0.5]);
}

/// Functions that are constant on an interval make atoms, where a step must not be differentiated.
#[test]
fn steps_of_kinked_functions() {
    let at_zero = |_| vec![0.0];
    check("step(relu(y)) * (1 + u^2)", |y, u| step(y) * (1.0 + u * u), at_zero);
    check("sign(relu(y))", |y, _| step(y), at_zero);
    check("relu(sign(y))", |y, _| step(y), at_zero);
    check("step(max(y, u))", |y, u| step(y.max(u)), at_zero);
    check("step(min(y, u))", |y, u| step(y.min(u)), at_zero);
}

/// Of two arguments that are equal both have their share of the derivative.
#[test]
fn the_larger_of_equal_numbers() {
    check("max(y, y)", |y, _| y, |_| vec![]);
    check("min(y, u) + max(y, u)", |y, u| y + u, |_| vec![]);
    let source = "program p {\n vector v ~ N(0, 2)\n vector w ~ N(0, 2), cov(v) = 2\n x = max(v, w)\n \
                  moment m = mean(x * v)\n}\n";
    let program = parse_program(source).unwrap();
    let mut deriver = Deriver::new(&program);
    let limit = deriver.scalar(program.find("m").unwrap()).unwrap();
    let graph = deriver.into_graph();
    let data = Data::new();
    let value = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap().value(limit, &[]).unwrap();
    assert!((value.value - 2.0).abs() < 1e-12, "equal almost surely, not by name: {value:?}");
}

/// A step across a curve, solved for the variable in which the curve is a graph.
#[test]
fn steps_along_curves() {
    check("sign(y - tanh(u))", |y, u| (y - u.tanh()).signum(), |u| vec![u.tanh()]);
    check(
        "sign(relu(u) - 0.7 * y) * cos(y)",
        |y, u| (u.max(0.0) - 0.7 * y).signum() * y.cos(),
        |u| vec![u.max(0.0) / 0.7],
    );
    // Here it is solved for `u`.
    check("step(exp(y) - u)", |y, u| step(y.exp() - u), |u| if 0.0 < u { vec![u.ln()] } else { vec![] });
}

/// A jump along a curve through a variable that the data make a copy of another: the regression on both is singular.
#[test]
fn curves_through_copies() {
    let source = "program p {
      data c
      matrix W ~ N(0, 13/10/n)
      vector v ~ N(0, 1)
      vector u ~ N(0, 7/10)
      vector b ~ N(0, 1)
      y = W * v
      x = step(y + tanh(u) + tanh(u + c * b) / 2)
      z = W' * x
      moment m = mean(v * z)
    }";
    let program = parse_program(source).unwrap_or_else(|e| panic!("{e:?}"));
    let mut deriver = Deriver::new(&program);
    let limit = deriver.scalar(program.find("m").unwrap()).unwrap();
    let graph = deriver.into_graph();
    let expected = by_integration(|y, u| step(y + 1.5 * u.tanh()), |u| vec![-1.5 * u.tanh()]);
    let data = Data::new().with(program.find("c").unwrap(), vec![0.0]);
    let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap();
    let found = evaluator.value(limit, &[]).unwrap();
    assert!((found.value - expected).abs() <= found.error + 1e-9, "{found:?}, expected {expected}");
    assert!(found.error < 1e-6, "{found:?}");
}

/// `step(a + n^(-1/2) d)` crosses 0 from below where `d` is positive and from above where it is negative, and sees the `d`
/// of that side. Members of a family are one at some positions of their indices: there a product of a delta with a step
/// has no meaning.
#[test]
fn jumps_that_meet_at_some_positions() {
    let text = |guard: &str| {
        format!(
            "program p {{
  axis i = 2
  table C[i, i'] = [[1, 1/2], [1/2, 1]]
  vector a[i] ~ N(0, C[i, i'])
  vector v ~ N(0, 1)
  d[i] = sum i' {guard} v * step(a[i'])
  change[i] = n^(1/2) * (step(a[i] + n^(-1/2) * d[i]) - step(a[i]))
  moment m[i] = mean(change[i] * v)
  moment apart[i] = mean(step(a[i]))
}}
"
        )
    };
    let values = |guard: &str, name: &str| {
        let program = parse_program(&text(guard)).unwrap_or_else(|e| panic!("{e:?}"));
        let mut deriver = Deriver::new(&program);
        let limit = deriver.scalar(program.find(name).unwrap()).unwrap();
        let graph = deriver.into_graph();
        let data = Data::new();
        let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap();
        [0, 1].map(|i| evaluator.value(limit, &[i]))
    };
    for found in values("", "m") {
        assert!(matches!(found, Err(LimitError::JumpTimesJump { .. })), "{found:?}");
    }
    assert_eq!(values("", "apart").map(|v| v.unwrap().value), [0.5, 0.5]);
    // Of the other one only: at a[1] = 0 the step of a[0] is 1 with probability 1/2, and E v^2 = 1.
    let density = 1.0 / std::f64::consts::TAU.sqrt();
    for (found, expected) in values("[i' <= i - 1]", "m").into_iter().zip([0.0, 0.5 * density]) {
        let found = found.unwrap();
        assert!((found.value - expected).abs() <= 1e-14, "{found:?}, expected {expected}");
    }
}

/// The same for data that make two vectors one.
#[test]
fn jumps_that_meet_for_some_data() {
    let text = "program p {
  data c
  vector a ~ N(0, 1)
  vector b ~ N(0, 1)
  vector v ~ N(0, 1)
  d = v * step(a + c * b)
  moment m = mean(n^(1/2) * (step(a + n^(-1/2) * d) - step(a)) * v)
}
";
    let program = parse_program(text).unwrap_or_else(|e| panic!("{e:?}"));
    let mut deriver = Deriver::new(&program);
    let limit = deriver.scalar(program.find("m").unwrap()).unwrap();
    let graph = deriver.into_graph();
    let value = |c: f64| {
        let data = Data::new().with(program.find("c").unwrap(), vec![c]);
        Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap().value(limit, &[])
    };
    let error = value(0.0).unwrap_err();
    assert!(matches!(error, LimitError::JumpTimesJump { .. }), "{error}");
    // Given a = 0 the step of c b is 1 with probability 1/2; below 1e-7 the two are one up to rounding.
    for c in [1.0, -1.0, 1e-3, 1e-6] {
        let found = value(c).unwrap();
        assert!((found.value - 0.5 / std::f64::consts::TAU.sqrt()).abs() <= 1e-14, "{c}: {found:?}");
    }
}

/// So for jumps at places that are not a threshold of one variable.
#[test]
fn jumps_of_kinked_functions_that_meet() {
    let text = "program p {
  axis i = 2
  table C[i, i'] = [[1, 1/2], [1/2, 1]]
  vector h[i] ~ N(0, C[i, i'])
  vector v ~ N(0, 1)
  a[i] = relu(h[i]) - 1/2
  d[i] = sum i' v * step(a[i'])
  moment m[i] = mean(n^(1/2) * (step(a[i] + n^(-1/2) * d[i]) - step(a[i])) * v)
}
";
    let program = parse_program(text).unwrap_or_else(|e| panic!("{e:?}"));
    let mut deriver = Deriver::new(&program);
    let limit = deriver.scalar(program.find("m").unwrap()).unwrap();
    let graph = deriver.into_graph();
    let data = Data::new();
    let found = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap().value(limit, &[0]);
    assert!(matches!(found, Err(LimitError::JumpTimesJump { .. })), "{found:?}");
}

/// `E h_k step(h_i) step(h_j) = (c_ki + c_kj) / (2 sqrt(2 pi))` for unit variances: Stein's lemma for different members, and
/// at `i = j`, where its parts have no meaning, the mean of one step.
#[test]
fn moments_of_two_steps_of_one_family() {
    let text = "program p {
  axis i = 3
  table C[i, i'] = [[1, 1/2, -1/4], [1/2, 1, 1/8], [-1/4, 1/8, 1]]
  vector h[i] ~ N(0, C[i, i'])
  moment m[i, j in i, k in i] = mean(h[k] * step(h[i]) * step(h[j]))
}
";
    let program = parse_program(text).unwrap_or_else(|e| panic!("{e:?}"));
    let mut deriver = Deriver::new(&program);
    let limit = deriver.scalar(program.find("m").unwrap()).unwrap();
    let graph = deriver.into_graph();
    let data = Data::new();
    let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap();
    let covariance = [[1.0, 0.5, -0.25], [0.5, 1.0, 0.125], [-0.25, 0.125, 1.0]];
    for at in 0..27 {
        let [i, j, k] = [at / 9, at / 3 % 3, at % 3];
        let expected = (covariance[k][i] + covariance[k][j]) / (2.0 * std::f64::consts::TAU.sqrt());
        let found = evaluator.value(limit, &[i as u32, j as u32, k as u32]).unwrap();
        // The tolerance that is asked of every integral.
        assert!((found.value - expected).abs() <= 1e-10, "{i}, {j}, {k}: {found:?}, expected {expected}");
    }
}

/// Variables that meet at one of 10,000 pairs of positions.
#[test]
fn jumps_that_meet_at_one_position_of_many() {
    let slopes: Vec<String> = (0..100).map(|k| if k == 71 { -137 } else { 100 + k }.to_string()).collect();
    let text = format!(
        "program p {{
  axis i = 100
  table t[i] = [{}]
  vector a ~ N(0, 1)
  vector b ~ N(0, 1)
  vector v ~ N(0, 1)
  d = sum i, j in i v * step(a + (t[i] + t[j]) / 100 * b)
  moment m = mean(n^(1/2) * (step(a + n^(-1/2) * d) - step(a)) * v)
}}
",
        slopes.join(", ")
    );
    let program = parse_program(&text).unwrap_or_else(|e| panic!("{e:?}"));
    let mut deriver = Deriver::new(&program);
    let limit = deriver.scalar(program.find("m").unwrap()).unwrap();
    let graph = deriver.into_graph();
    let data = Data::new();
    let found = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap().value(limit, &[]);
    assert!(matches!(found, Err(LimitError::JumpTimesJump { .. })), "{found:?}");
}
