//! Powers of the width: what is finite after they cancel, and what is refused.

use netsor_ir::syntax::parse_program;
use netsor_limit::{Data, Deriver, Evaluator, LimitError, Tolerance};

use crate::files::example_text;

/// The limit of the scalar `name` of a program, given its data.
fn limit(source: &str, name: &str, data: &[(&str, f64)]) -> Result<f64, LimitError> {
    let program = parse_program(source).unwrap();
    let find = |name: &str| program.find(name).unwrap();
    let mut deriver = Deriver::new(&program);
    let expr = deriver.scalar(find(name))?;
    let graph = deriver.into_graph();
    let data = data.iter().fold(Data::new(), |all, &(name, value)| all.with(find(name), vec![value]));
    let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default())?;
    Ok(evaluator.value(expr, &[])?.value)
}

#[track_caller]
fn same(source: &str, a: &str, b: &str) {
    let (x, y) = (limit(source, a, &[]).unwrap(), limit(source, b, &[]).unwrap());
    // Both are the same expectations in other words.
    assert!((x - y).abs() <= 1e-12 * x.abs().max(1.0), "{a} = {x}, {b} = {y}");
}

const START: &str = "program p {
  matrix W ~ N(0, 1/n)
  vector v ~ N(0, 1)
  vector g ~ N(0, 1)
  h = W * tanh(g)
";

fn program(body: &str) -> String {
    // Operands of products are values.
    format!("{}{body}\n}}", START.replace("h = W * tanh(g)", "z = tanh(g)\n  h = W * z"))
}

/// Eq. 84 in one instruction, and with the difference taken two instructions before it is scaled.
#[test]
fn the_divided_difference_is_a_derivative() {
    let source = program(
        "x = tanh(h + n^(-1/2) * v)
  d = x - tanh(h)
  late = n^(1/2) * d
  once = n^(1/2) * (tanh(h + n^(-1/2) * v) - tanh(h))
  moment a = mean(v * once)
  moment b = mean(v * late)
  moment c = mean(1 - tanh(h)^2)
  moment small = mean(v * d)
  scalar e = n^(1/2) * small",
    );
    for name in ["a", "b", "e"] {
        same(&source, name, "c");
    }
}

/// Second differences, quotients, roots and two arguments.
#[test]
fn series_go_beyond_the_first_order() {
    let source = program(
        "moment a = mean(n * (exp(n^(-1/2) * v) + exp(-n^(-1/2) * v) - 2))
  moment b = mean(v * v)
  moment c = mean(n * (cos(n^(-1/2) * h * v) - 1) * h^2)
  moment d = mean(-v^2 * h^4 / 2)
  moment e = mean(n^(1/2) * v * (1 / (1 + h^2 + n^(-1/2) * v) - 1 / (1 + h^2)))
  moment f = mean(-v^2 / (1 + h^2)^2)
  moment g1 = mean(n^(1/2) * v * (sqrt(1 + h^2 + n^(-1/2) * v) - sqrt(1 + h^2)))
  moment g2 = mean(v^2 / (2 * sqrt(1 + h^2)))
  moment k1 = mean(n^(1/2) * v * (max(h + n^(-1/2) * v, g) - max(h, g)))
  moment k2 = mean(v^2 * step(h - g))
  moment r1 = mean(n^(1/2) * relu(n^(-1/2) * h))
  moment r2 = mean(relu(h))",
    );
    for (a, b) in [("a", "b"), ("c", "d"), ("e", "f"), ("g1", "g2"), ("k1", "k2"), ("r1", "r2")] {
        same(&source, a, b);
    }
}

/// Two quantities with the same limit are not the same quantity: `n^(1/2) (mean(v^2) - 1)` has a law.
#[test]
fn limits_do_not_cancel_below_a_positive_power() {
    let source = program(
        "moment m = mean(v * v)
  scalar centred = n^(1/2) * (m - 1)
  scalar harmless = n^(-1/2) * (m - 1)
  moment inside = mean(n^(1/2) * (m - 1) * h^2)
  k = W * z
  difference = n^(1/2) * (k - h)
  moment square = mean(difference^2)
  grows = tanh(n^(1/2) * h)
  moment sign = mean(grows)",
    );
    for name in ["centred", "inside", "square", "sign"] {
        let found = limit(&source, name, &[]);
        assert!(matches!(found, Err(LimitError::NotAScalar { .. })), "{name}: {found:?}");
    }
    assert_eq!(limit(&source, "harmless", &[]), Ok(0.0));
}

/// Vectors that move by `n^(-1/2)` have the limit of the initial one (eq. 94), and products with them are one variable.
#[test]
fn products_with_equal_limits_are_one_variable() {
    let source = program(
        "z2 = z + n^(-1/2) * v
  h2 = W * z2
  z3 = -3 * z2
  h3 = W * z3
  moment one = mean(h * h2)
  moment two = mean(h * h)
  moment three = mean(-h * h3 / 3)
  moment none = mean((h - h2)^2 + (h3 + 3 * h)^2)",
    );
    same(&source, "one", "two");
    same(&source, "three", "two");
    assert_eq!(limit(&source, "none", &[]), Ok(0.0));
}

/// Algorithm 1: the step of the output is `-chi` times the kernel of the middle matrix (TP IIb Figure 7).
#[test]
fn figure_7_has_a_limit() {
    let source = example_text("figure7.netsor");
    let with = format!(
        "{}\n  moment expected = mean(v^2 * (1 - tanh(h)^2) * (1 - tanh(ht)^2))\n  \
         scalar product = -chi * theta * expected\n}}",
        source.trim_end().trim_end_matches('}')
    );
    let data = [("f", 0.3)];
    let (found, expected) = (limit(&with, "df", &data).unwrap(), limit(&with, "product", &data).unwrap());
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    assert!(0.01 < found, "{found}");
}

fn value(body: &str) -> Result<f64, LimitError> {
    let start = "program p { vector a ~ N(0, 1) vector b ~ N(0, 1)";
    limit(&format!("{start}\n{body}\n}}").replace(" vector", "\n vector"), "r", &[])
}

/// A constant less than `n^(1/2)` below a term of mean 0 is larger than that term's fluctuation.
#[test]
fn a_lower_term_outweighs_the_fluctuation_of_a_centred_one() {
    assert_eq!(value("moment r = mean(n^(1/4) * a + 1)"), Ok(1.0));
    assert_eq!(value("moment s = mean(a + n^(-1/4))\nscalar r = n^(1/4) * s"), Ok(1.0));
}

/// What is found only far below the leading powers is not zero.
#[test]
fn a_deep_cancellation_leaves_its_term() {
    assert_eq!(value("x = n^5 * ((a + n^(-5) * b) - a)\nmoment r = mean(x^2)"), Ok(1.0));
}

/// Small powers of the width need one order, not as many as fit above a fixed floor.
#[test]
fn small_powers_are_expanded_to_the_order_needed() {
    let r = value("x = n^(1/40) * (tanh(a + n^(-1/40) * b) - tanh(a))\nmoment r = mean(x * b)").unwrap();
    let derivative = value("moment r = mean(1 - tanh(a)^2)").unwrap();
    assert!((r - derivative).abs() <= 1e-9, "{r} {derivative}");
}

#[test]
fn a_law_that_depends_on_the_width_is_refused() {
    let found = value("vector c ~ N(0, n)\nmoment r = mean(c^2)");
    assert!(matches!(found, Err(LimitError::LawOfWidth { .. })), "{found:?}");
}

/// `V' u` with `u = V` is `n * n^(-2)`, so that `f` is of order `n^(-1/4)` although the leading part, `V' a`, is centred
/// and smaller.
#[test]
fn a_readout_of_several_orders_with_a_vanishing_leading_part_is_refused() {
    let text = "program p {
      data one : 1
      matrix V : n x 1 ~ N(0, n^(-2))
      vector a ~ N(0, 1)
      u = V * one
      y = a + n^(3/4) * u
      f = V' * y
      g = n^(1/4) * f
      moment r = mean(g)
    }";
    let program = parse_program(text).unwrap();
    let found = Deriver::new(&program).scalar(program.find("r").unwrap());
    assert!(matches!(found, Err(LimitError::MixedReadout { .. })), "{found:?}");
}

/// A third difference of a kink needs the derivative of a delta, which the expansion does not have.
#[test]
fn kinks_are_expanded_to_their_deltas_only() {
    let source = program(
        "second = n^(1/2) * (relu(h + n^(-1/2) * v) + relu(h - n^(-1/2) * v) - 2 * relu(h))
  moment a = mean(n^(1/2) * second)
  moment b = mean(n^(3/2) * h * v * (relu(h + 3 * n^(-1/2) * v) - 3 * relu(h + 2 * n^(-1/2) * v)
    + 3 * relu(h + n^(-1/2) * v) - relu(h)))",
    );
    // E delta(h) v^2 is the density of h at 0.
    let variance = limit(&source, "a", &[]).unwrap().powi(-2) / std::f64::consts::TAU;
    let of_h = limit(&program("moment m = mean(h^2)"), "m", &[]).unwrap();
    assert!((variance - of_h).abs() < 1e-9, "{variance} {of_h}");
    assert!(matches!(limit(&source, "b", &[]), Err(LimitError::Expansion { .. })));
}
