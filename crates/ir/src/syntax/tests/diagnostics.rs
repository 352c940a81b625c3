//! What every mistake looks like to the person who made it.

use crate::syntax::parse;

#[track_caller]
pub(super) fn errors(source: &str) -> String {
    let problems = parse(source).expect_err("this source has errors");
    assert!(problems.printed.is_none());
    problems.render(source, "p.netsor")
}

#[test]
fn a_missing_bracket_does_not_hide_the_next_error() {
    let source = "\
program p {
  vector a ~ N(0, 1)
  y = tanh(a
  z = a * * a
  w = a a
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[syntax]: expected `)`, found `z`
     --> p.netsor:4:3
      |
    3 |   y = tanh(a
      |           - opened here
    4 |   z = a * * a
      |   ^ expected `)`

    error[syntax]: expected an expression, found `*`
     --> p.netsor:4:11
      |
    4 |   z = a * * a
      |           ^ expected an expression

    error[syntax]: expected the end of the line, found `a`
     --> p.netsor:5:9
      |
    5 |   w = a a
      |         ^ expected the end of the line
      |
      = help: a product is written with `*`
    ");
}

#[test]
fn words_are_corrected() {
    let source = "\
program p {
  vectr a ~ N(0, 1)
  vector b ~ N(0, 1)
  y = tahn(b)
  z = bb + relu
  w = b + later
  later = b
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[syntax]: unknown keyword `vectr`
     --> p.netsor:2:3
      |
    2 |   vectr a ~ N(0, 1)
      |   ^^^^^ no statement begins with this
      |
      = help: did you mean `vector`?

    error[unknown-function]: unknown function `tahn`
     --> p.netsor:4:7
      |
    4 |   y = tahn(b)
      |       ^^^^ not a function of the language
      |
      = help: did you mean `tanh`?

    error[unknown-name]: unknown value `bb`
     --> p.netsor:5:7
      |
    5 |   z = bb + relu
      |       ^^ not defined
      |
      = help: did you mean `b`?

    error[unknown-name]: unknown value `relu`
     --> p.netsor:5:12
      |
    5 |   z = bb + relu
      |            ^^^^ this is a function
      |
      = help: write `relu(...)`

    error[used-before-definition]: `later` is used before it is defined
     --> p.netsor:6:11
      |
    6 |   w = b + later
      |           ^^^^^ not defined yet
    7 |   later = b
      |   ----- defined here
      |
      = note: a program is a list of definitions, each over earlier ones
    ");
}

#[test]
fn characters_outside_the_language() {
    let source = "\
program p {
  vector a ~ N(0, 1);
  y = a − 1
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[unknown-character]: unknown character `;`
     --> p.netsor:2:21
      |
    2 |   vector a ~ N(0, 1);
      |                     ^ not part of the language
      |
      = help: a statement ends at the end of its line

    error[unknown-character]: unknown character `−`
     --> p.netsor:3:9
      |
    3 |   y = a − 1
      |         ^ not part of the language
      |
      = help: write `-`

    error[syntax]: expected the end of the line, found `1`
     --> p.netsor:3:11
      |
    3 |   y = a − 1
      |           ^ expected the end of the line
      |
      = help: a product is written with `*`
    ");
}

#[test]
fn initial_tensors_need_their_word() {
    let source = "\
program p {
  W ~ N(0, 1/n)
  vector sum ~ N(0, 1)
  matrix A : n 3 ~ N(0, 1)
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[syntax]: expected `=`, found `~`
     --> p.netsor:2:5
      |
    2 |   W ~ N(0, 1/n)
      |     ^ expected `=`
      |
      = help: initial tensors begin with `matrix`, `vector` or `param`: `vector W ~ N(0, 1)`

    error[syntax]: expected a name, found the keyword `sum`
     --> p.netsor:3:10
      |
    3 |   vector sum ~ N(0, 1)
      |          ^^^ a keyword cannot be a name

    error[syntax]: expected `x` and the number of columns, found `3`
     --> p.netsor:4:16
      |
    4 |   matrix A : n 3 ~ N(0, 1)
      |                ^ expected `x` and the number of columns
    ");
}

#[test]
fn a_matrix_stands_alone() {
    let source = "\
program p {
  matrix W ~ N(0, 1/n)
  vector a ~ N(0, 1)
  y = tanh(W * a)
  z = W * a + a
  w = W * tanh(a)
  u = a' * a
  k = 2 * W' * a
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[matrix-in-expression]: the matrix `W` inside an expression
     --> p.netsor:4:12
      |
    4 |   y = tanh(W * a)
      |            ^ a matrix product stands alone on its right-hand side
      |
      = help: give the product a name: `h = W * x` on a line of its own, and use `h` here

    error[matrix-in-expression]: the matrix `W` inside an expression
     --> p.netsor:5:7
      |
    5 |   z = W * a + a
      |       ^ a matrix product stands alone on its right-hand side
      |
      = help: give the product a name: `h = W * x` on a line of its own, and use `h` here

    error[matmul-operand]: `W` multiplies an expression
     --> p.netsor:6:11
      |
    6 |   w = W * tanh(a)
      |           ^^^^^^^ expected the name of a vector
      |
      = help: give the expression a name: `z = ...` on a line before, and multiply `z`

    error[misplaced-transpose]: `a` is not a matrix
     --> p.netsor:7:7
      |
    7 |   u = a' * a
      |       ^^ only a matrix is transposed, at the start of a product: `W' * x`

    error[matrix-in-expression]: the matrix `W'` inside an expression
     --> p.netsor:8:11
      |
    8 |   k = 2 * W' * a
      |           ^^ a matrix product stands alone on its right-hand side
      |
      = help: give the product a name: `h = W' * x` on a line of its own, and use `h` here
    ");
}

#[test]
fn dimensions_of_products() {
    let source = "\
network p {
  data xi : 3
  param U : n x 3 ~ N(0, 1/3)
  param v : n x 1 ~ N(0, 1/n)
  g = U * xi
  h = U * g
  output f = v * g
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[dimension-mismatch]: `U` is n x 3, but `g` has dimension n
     --> p.netsor:6:11
      |
    3 |   param U : n x 3 ~ N(0, 1/3)
      |         - a matrix of n x 3
    ...
    6 |   h = U * g
      |           ^ expected a vector of dimension 3
      |
      = help: did you mean `U' * g`?

    error[output-kind]: the output `f` is a vector of dimension n
     --> p.netsor:7:10
      |
    7 |   output f = v * g
      |          ^ an output is a scalar or a vector of constant dimension
      |
      = help: read a vector of width `n` out by a matrix: `param v : n x 1 ~ N(0, 1/n)`, `output f = v' * x`

    error[dimension-mismatch]: `v` is n x 1, but `g` has dimension n
     --> p.netsor:7:18
      |
    4 |   param v : n x 1 ~ N(0, 1/n)
      |         - a matrix of n x 1
    ...
    7 |   output f = v * g
      |                  ^ expected a vector of dimension 1
      |
      = help: did you mean `v' * g`?
    ");
}

#[test]
fn dimensions_of_functions() {
    let source = "\
program p {
  width m = 2 * n
  vector a ~ N(0, 1)
  vector b : m ~ N(0, 1)
  y = a * b
  moment c = mean(a + b)
  z : m = a
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[dimension-mismatch]: `a` has dimension n, but `b` has dimension m
     --> p.netsor:5:11
      |
    5 |   y = a * b
      |           ^ dimension m
      |
      = note: a coordinatewise function takes vectors of one dimension, and scalars

    error[dimension-mismatch]: `a` has dimension n, but `b` has dimension m
     --> p.netsor:6:23
      |
    6 |   moment c = mean(a + b)
      |                       ^ dimension m
      |
      = note: a coordinatewise function takes vectors of one dimension, and scalars

    error[dimension-mismatch]: `z` has dimension m, but `a` has dimension n
     --> p.netsor:7:11
      |
    7 |   z : m = a
      |           ^ dimension n
      |
      = note: a coordinatewise function takes vectors of one dimension, and scalars
    ");
}

#[test]
fn indices() {
    let source = "\
program p {
  axis i = 2
  axis pos = 4
  vector x[i, pos] ~ N(0, 1)
  y[i] = x[i]
  z[i, pos] = x[pos, i]
  w[i] = x[i, 4]
  u[i, pos] = x[i, pos + 1]
  v[i] = x[i, pos]
  s[i] = sum k [k = i] x[i, 0]
  r[i, i] = x[i, 0]
  q[k] = x[0, 0]
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[index-count]: `x` has 2 indices, but 1 is given
     --> p.netsor:5:10
      |
    5 |   y[i] = x[i]
      |          ^^^^ expected 2 indices
      |
      = help: write `x[i, pos]`

    error[index-axis]: `pos` ranges over the axis `pos`, but `x` has the axis `i` here
     --> p.netsor:6:17
      |
    6 |   z[i, pos] = x[pos, i]
      |                 ^^^ expected an index over `i`
      |
      = help: relate positions of two axes by a guard: `sum i' [i' = pos] ...`

    error[index-axis]: `i` ranges over the axis `i`, but `x` has the axis `pos` here
     --> p.netsor:6:22
      |
    6 |   z[i, pos] = x[pos, i]
      |                      ^ expected an index over `pos`
      |
      = help: relate positions of two axes by a guard: `sum pos' [pos' = i] ...`

    error[index-out-of-range]: position 4 is not on the axis `pos`
     --> p.netsor:7:15
      |
    7 |   w[i] = x[i, 4]
      |               ^ the positions are 0 to 3

    error[index-arithmetic]: an index of `x` is computed from `pos`
     --> p.netsor:8:20
      |
    8 |   u[i, pos] = x[i, pos + 1]
      |                    ^^^^^^^ an index is a variable or a fixed position
      |
      = help: write a guarded sum, which says what happens at the ends: `sum pos' [pos' = pos + 1] ...`

    error[unknown-index]: unknown index variable `pos`
     --> p.netsor:9:15
      |
    9 |   v[i] = x[i, pos]
      |               ^^^ not in scope
      |
      = note: in scope: `i`
      = help: make the definition a family over `pos`, or sum over it: `sum pos ...`

    error[unknown-axis]: there is no axis `k`
      --> p.netsor:10:14
       |
    10 |   s[i] = sum k [k = i] x[i, 0]
       |              ^ an index variable ranges over the axis of the same name
       |
       = help: declare `axis k = ...` before, or name one: `k in i`

    error[duplicate-index]: the index variable `i` is already in use
      --> p.netsor:11:8
       |
    11 |   r[i, i] = x[i, 0]
       |        ^ introduced again here
       |
       = help: add a prime: `i'` also ranges over the axis `i`

    error[unknown-axis]: there is no axis `k`
      --> p.netsor:12:5
       |
    12 |   q[k] = x[0, 0]
       |     ^ an index variable ranges over the axis of the same name
       |
       = help: declare `axis k = ...` before, or name one: `k in i`
    ");
}

#[test]
fn guards() {
    let source = "\
program p {
  axis pos = 4
  vector x[pos] ~ N(0, 1)
  y[pos] = sum pos' [pos' = qos + 1] x[pos']
  z[pos] = sum pos' [pos' <= pos mod 4] x[pos']
  w[pos] = sum pos' [pos' + 1] x[pos']
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[unknown-index]: unknown index variable `qos`
     --> p.netsor:4:29
      |
    4 |   y[pos] = sum pos' [pos' = qos + 1] x[pos']
      |                             ^^^ not in scope
      |
      = note: in scope: `pos`, `pos'`
      = help: did you mean `pos`?

    error[bad-modulus]: `mod` goes with `=` only
     --> p.netsor:5:38
      |
    5 |   z[pos] = sum pos' [pos' <= pos mod 4] x[pos']
      |                                      ^ this modulus

    error[syntax]: expected `=`, `<=`, `<`, `>=` or `>`, found `]`
     --> p.netsor:6:30
      |
    6 |   w[pos] = sum pos' [pos' + 1] x[pos']
      |                              ^ expected `=`, `<=`, `<`, `>=` or `>`
      |
      = help: after the variables of a sum, brackets hold a condition such as `[q = p + 1]`
    ");
}

#[test]
fn names_are_unique() {
    let source = "\
program p {
  axis i = 2
  vector a ~ N(0, 1)
  a = a
  data i
  for t in 1..=2 {
    h = a
  }
  width n = 2 * n
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[duplicate-name]: `a` is defined twice
     --> p.netsor:4:3
      |
    3 |   vector a ~ N(0, 1)
      |          - first defined here
    4 |   a = a
      |   ^ defined again here
      |
      = note: axes, widths, tables and values share their names

    error[duplicate-name]: `i` is defined twice
     --> p.netsor:5:8
      |
    2 |   axis i = 2
      |        - first defined here
    ...
    5 |   data i
      |        ^ defined again here
      |
      = note: axes, widths, tables and values share their names

    error[duplicate-name]: `h` is defined twice
     --> p.netsor:7:5
      |
    7 |     h = a
      |     ^ defined again here
      |
      = note: every round of the loop defines it
      = help: make the loop variable part of the name: `h@t`

    error[duplicate-name]: `n` is defined twice
     --> p.netsor:9:9
      |
    9 |   width n = 2 * n
      |         ^ defined again here
      |
      = note: `n` is the width; it is always defined
    ");
}
