//! Errors of different passes are reported together, and each once: no error is the echo of another.

use super::diagnostics::errors;

/// The codes of the problems and the lines they are on.
#[track_caller]
fn codes(source: &str) -> String {
    let problems = crate::syntax::parse(source).expect_err("this source has errors");
    let line = |at: usize| source[..at].matches('\n').count() + 1;
    problems.list.iter().map(|d| format!("{}: {}", line(d.span.start), d.code)).collect::<Vec<_>>().join("\n")
}

#[test]
fn syntax_names_and_dimensions_in_one_go() {
    let source = "\
network p {
  data xi : 3
  param U : n x 3 ~ N(0, 1/3)
  param W : n x n ~ N(1, 1/n)
  param v : n x 1 ~ N(0, 1/n)
  g = U * xi
  x = tahn(g) + xi
  h = W * xi
  z = h + yy
  a = tanh(z
  output f = v' * x
  output y = W * x
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[matrix-mean]: the entries of an initial matrix have mean 0
     --> p.netsor:4:23
      |
    4 |   param W : n x n ~ N(1, 1/n)
      |                       ^ must be 0
      |
      = help: add the mean as a rank-one term in the definition that uses the product

    error[unknown-function]: unknown function `tahn`
     --> p.netsor:7:7
      |
    7 |   x = tahn(g) + xi
      |       ^^^^ not a function of the language
      |
      = help: did you mean `tanh`?

    error[dimension-mismatch]: `x` has dimension n, but `xi` has dimension 3
     --> p.netsor:7:17
      |
    7 |   x = tahn(g) + xi
      |                 ^^ dimension 3
      |
      = note: a coordinatewise function takes vectors of one dimension, and scalars

    error[dimension-mismatch]: `W` is n x n, but `xi` has dimension 3
     --> p.netsor:8:11
      |
    4 |   param W : n x n ~ N(1, 1/n)
      |         - a matrix of n x n
    ...
    8 |   h = W * xi
      |           ^^ expected a vector of dimension n

    error[unknown-name]: unknown value `yy`
     --> p.netsor:9:11
      |
    9 |   z = h + yy
      |           ^^ not defined

    error[syntax]: expected `)`, found `output`
      --> p.netsor:11:3
       |
    10 |   a = tanh(z
       |           - opened here
    11 |   output f = v' * x
       |   ^^^^^^ expected `)`

    error[output-kind]: the output `y` is a vector of dimension n
      --> p.netsor:12:10
       |
    12 |   output y = W * x
       |          ^ an output is a scalar or a vector of constant dimension
       |
       = help: read a vector of width `n` out by a matrix: `param v : n x 1 ~ N(0, 1/n)`, `output f = v' * x`
    ");
}

#[test]
fn an_error_does_not_hide_others_of_its_definition() {
    insta::assert_snapshot!(codes("\
program p {
  axis i = 2
  vector a[i] ~ N(0, 1)
  vector b ~ N(0, 1)
  y[i] = foo(a[j]) + b[i] + relu(a[i], b) + tanh(c)
  moment m = mean(foo(a[5]) * qq + d)
  h = b * tahn(a)
}
"), @r"
    5: unknown-function
    5: unknown-index
    5: index-count
    5: argument-count
    5: unknown-name
    6: unknown-function
    6: index-out-of-range
    6: unknown-name
    6: unknown-name
    7: unknown-function
    7: index-count
    ");
}

#[test]
fn users_of_a_broken_definition_are_still_looked_at() {
    insta::assert_snapshot!(codes("\
program p {
  width m = 2 * n
  matrix W : m x n ~ N(0, 1/k)
  vector a ~ N(0, 1), cov(nobody) = 1/2
  vector c : m ~ N(0, unknown)
  h = W * a
  y = tanh(h) + a
  s = relu(undefined) + a
  z = W * s
  q = W * z
  scalar t = mystery + 1
  scalar u = t + a
  moment w = mean(tanh(undefined))
  scalar o = w + c
}
"), @r"
    3: unknown-name
    4: unknown-name
    5: unknown-name
    7: dimension-mismatch
    8: unknown-name
    10: dimension-mismatch
    11: unknown-name
    12: vector-in-scalar
    13: unknown-name
    14: vector-in-scalar
    ");
}

/// A name that is missing could have been a matrix, so nothing is concluded from a product with it, and nothing is said
/// about what depends on it.
#[test]
fn what_is_unknown_has_no_consequences() {
    insta::assert_snapshot!(codes("\
network p {
  data xi : 3
  data yi : 2
  param U : n x three ~ N(0, 1/3)
  matrix W ~ N(0, 1/n)
  g = U * xi
  g2 = V' * xi
  h = W * tanh_of_g
  k = W * g
  l = W * g2
  f = g + g2 + h + k + l
  moment m = mean(g)
  moment m2 = mean(g2 * h)
  scalar s = m + m2
  output o = g
}
"), @r"
    4: unknown-name
    7: unknown-name
    8: unknown-name
    ");
}

#[test]
fn a_product_with_a_wrong_operand_has_its_dimension() {
    insta::assert_snapshot!(codes("\
program p {
  width m = 2 * n
  matrix W : m x n ~ N(0, 1/n)
  vector a ~ N(0, 1)
  vector b : m ~ N(0, 1)
  h = W * nobody
  y = h + a
  k = W * relo(a)
  l = W' * k
  e = k + b
  e2 = l + b
}
"), @r"
    6: unknown-name
    7: dimension-mismatch
    8: unknown-function
    8: matmul-operand
    11: dimension-mismatch
    ");
}
