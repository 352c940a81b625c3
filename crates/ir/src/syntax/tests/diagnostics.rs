//! What every mistake looks like to the person who made it.

use crate::syntax::parse;

#[track_caller]
fn errors(source: &str) -> String {
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

#[test]
fn loops() {
    let source = "\
program p {
  axis t = 3
  vector h@0 ~ N(0, 1)
  for s in 1..=3 {
    h@s = tanh(h@(s - 2))
  }
  y = h@7
  z = h@k
  stack hs[t] = h@0, h@1
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[negative-name-part]: `h@-1` is not a name
     --> p.netsor:5:19
      |
    5 |     h@s = tanh(h@(s - 2))
      |                   ^^^^^ this is -1 here
      |
      = help: the numbers in names start at 0; start the loop later or shift the names

    error[unknown-name]: unknown value `h@7`
     --> p.netsor:7:7
      |
    7 |   y = h@7
      |       ^^^ not defined
      |
      = note: there are `h@0`, `h@2`

    error[unknown-loop-variable]: `k` is not a loop variable
     --> p.netsor:8:9
      |
    8 |   z = h@k
      |         ^ only variables of a `for` around this can stand here

    error[stack-length]: the axis `t` has 3 positions, but 2 members are given
     --> p.netsor:9:9
      |
    9 |   stack hs[t] = h@0, h@1
      |         ^^ stacked along `t`
    ");
}

#[test]
fn scalars_moments_and_readouts() {
    let source = "\
network p {
  data xi : 3
  param U : n x 3 ~ N(0, 1/3)
  param v : n x 1 ~ N(0, 1/n)
  x = U * xi
  output f = v' * x
  scalar s = f / 2
  scalar q = x^2
  moment m = mean(2)
  y = 3
  output x2 = x
  moment k = 2 * mean(x)
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[vector-in-scalar]: `f` is a vector of dimension 1, not a scalar
     --> p.netsor:7:14
      |
    7 |   scalar s = f / 2
      |              ^ `s` is a function of scalars
      |
      = note: a readout has no limit as a scalar of the program: it converges to a Gaussian process
      = help: compute with its coordinates: `s = ...` without `scalar`

    error[vector-in-scalar]: `x` is a vector of dimension n, not a scalar
     --> p.netsor:8:14
      |
    8 |   scalar q = x^2
      |              ^ `q` is a function of scalars
      |
      = help: average its coordinates, `moment m = mean(x)`, or drop the word `scalar`

    error[no-vector]: the moment `m` mentions no vector
     --> p.netsor:9:10
      |
    9 |   moment m = mean(2)
      |          ^ there are no coordinates to average over
      |
      = help: functions of scalars are written `scalar m = ...`

    error[no-vector]: no vector is mentioned
      --> p.netsor:10:7
       |
    10 |   y = 3
       |       ^ of what dimension is this?
       |
       = help: write `scalar s = ...` for a scalar, or `s : n = ...` for a constant vector

    error[output-kind]: the output `x2` is a vector of dimension n
      --> p.netsor:11:10
       |
    11 |   output x2 = x
       |          ^^ an output is a scalar or a vector of constant dimension
       |
       = help: read a vector of width `n` out by a matrix: `param v : n x 1 ~ N(0, 1/n)`, `output f = v' * x`

    error[syntax]: expected `mean(...)`, found `2`
      --> p.netsor:12:14
       |
    12 |   moment k = 2 * mean(x)
       |              ^ expected `mean(...)`
       |
       = help: a moment is the mean over coordinates: `moment m = mean(x * y)`; functions of scalars are `scalar s = ...`
    ");
}

#[test]
fn laws() {
    let source = "\
program p {
  axis i = 2
  table C[i, i'] = [[1, 2], [2, 1]]
  table D[i, i'] = [[1, 2], [3, 1]]
  vector g[i] ~ N(0, C[i, i'])
  vector h[i] ~ N(0, D[i, i'])
  vector a ~ N(0, 1)
  vector b ~ N(0, -1)
  vector c ~ N(0, 1), cov(a) = 3/2
  y = tanh(a)
  vector d ~ N(0, 1), cov(y) = 1
  moment m = mean(a)
  vector e ~ N(m, 1)
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[covariance-not-psd]: the covariance of the initial vectors is not positive semi-definite
     --> p.netsor:5:10
      |
    5 |   vector g[i] ~ N(0, C[i, i'])
      |          ^ given the vectors before it, `g[1]` would have variance -3
      |
      = note: covariances are bounded by cov(a, b)^2 <= var(a) var(b)

    error[covariance-not-symmetric]: the covariance of `h` is not symmetric
     --> p.netsor:6:10
      |
    6 |   vector h[i] ~ N(0, D[i, i'])
      |          ^ cov(h[1], h[0]) is 3, but cov(h[0], h[1]) is 2

    error[negative-variance]: the variance of `b` is negative
     --> p.netsor:8:10
      |
    8 |   vector b ~ N(0, -1)
      |          ^ it is -1

    error[covariance-not-psd]: the covariance of the initial vectors is not positive semi-definite
     --> p.netsor:9:10
      |
    9 |   vector c ~ N(0, 1), cov(a) = 3/2
      |          ^ given the vectors before it, `c` would have variance -1.25
      |
      = note: covariances are bounded by cov(a, b)^2 <= var(a) var(b)

    error[covariance-with]: `y` is not an initial vector
      --> p.netsor:11:27
       |
    11 |   vector d ~ N(0, 1), cov(y) = 1
       |                           ^ only initial vectors have a covariance

    error[law-mentions-value]: the law of `e` depends on `m`
      --> p.netsor:13:16
       |
    13 |   vector e ~ N(m, 1)
       |                ^ means and covariances depend on tables and scalar data only
    ");
}

#[test]
fn matrices() {
    let source = "\
program p {
  matrix W ~ N(0, -1/n)
  matrix V ~ N(1, 1/n)
  matrix U ~ N(0, 1 + 1/n)
  matrix T : k x n ~ N(0, 1)
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[negative-variance]: a variance is not negative
     --> p.netsor:2:19
      |
    2 |   matrix W ~ N(0, -1/n)
      |                   ^^^^ this is -1
      |
      = help: the second argument of `N` is the variance, not the standard deviation

    error[matrix-mean]: the entries of an initial matrix have mean 0
     --> p.netsor:3:16
      |
    3 |   matrix V ~ N(1, 1/n)
      |                ^ must be 0
      |
      = help: add the mean as a rank-one term in the definition that uses the product

    error[not-a-scale]: expected a number times a power of a width, found a sum of different powers of n
     --> p.netsor:4:19
      |
    4 |   matrix U ~ N(0, 1 + 1/n)
      |                   ^^^^^^^ not an exact multiple of a power of `n`
      |
      = help: for example `1/n`, `2/(3 * n)`, `0.1` or `n^(-1/2)`

    error[unknown-name]: unknown width `k`
     --> p.netsor:5:14
      |
    5 |   matrix T : k x n ~ N(0, 1)
      |              ^ not defined
    ");
}

#[test]
fn tables_and_declarations() {
    let source = "\
program p {
  axis i = 0
  axis k = 2
  table T[k] = [1, 2, 3]
  table S[k, k'] = [1, 2]
  width m = n^2
  const c[k] : 3 = R[k]
  table Q[k, k'] = [[1, 0], [0, 1]]
  const e[k] : 3 = Q[k]
  data d : n
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[empty-axis]: the axis `i` has no positions
     --> p.netsor:2:12
      |
    2 |   axis i = 0
      |            ^ must be at least 1

    error[table-shape]: the axis `k` has 2 positions, but 3 entries are given
     --> p.netsor:4:16
      |
    4 |   table T[k] = [1, 2, 3]
      |                ^^^^^^^^^ expected 2 entries

    error[table-shape]: a number where a list is expected
     --> p.netsor:5:21
      |
    5 |   table S[k, k'] = [1, 2]
      |                     ^ expected a list over the axis `k`

    error[bad-width]: a width is a positive multiple of `n`
     --> p.netsor:6:13
      |
    6 |   width m = n^2
      |             ^^^ expected for example `3/2 * n`

    error[unknown-name]: unknown table `R`
     --> p.netsor:7:20
      |
    7 |   const c[k] : 3 = R[k]
      |                    ^ not defined

    error[dimension-mismatch]: `e` has dimension 3, but the last axis of its table, `k`, has 2 positions
     --> p.netsor:9:20
      |
    9 |   const e[k] : 3 = Q[k]
      |                    ^^^^

    error[data-dimension]: the data `d` has a width as its dimension
      --> p.netsor:10:8
       |
    10 |   data d : n
       |        ^ data are scalars or vectors of constant dimension
       |
       = help: map data into the width by a matrix: `param U : n x 3 ~ N(0, 1/3)`, `g = U * xi`
    ");
}

#[test]
fn networks_and_programs() {
    let source = "\
program p {
  param W : n x n ~ N(0, 1/n)
  output a = 2
}
network p {
  param W ~ N(0, 1/n)
  param U : n x n ~ N(0, 1/n) with a = 1/2, a = 1, d = 2
}
programme q { }
";
    insta::assert_snapshot!(errors(source), @r"
    error[param-in-program]: a parameter outside a network
     --> p.netsor:2:9
      |
    2 |   param W : n x n ~ N(0, 1/n)
      |         ^ programs have no parameters
      |
      = help: make the item a `network`, or the parameter a `matrix` or `vector`

    error[no-vector]: no vector is mentioned
     --> p.netsor:3:14
      |
    3 |   output a = 2
      |              ^ of what dimension is this?
      |
      = help: write `scalar s = ...` for a scalar, or `s : n = ...` for a constant vector

    error[duplicate-name]: `p` is defined twice
     --> p.netsor:5:9
      |
    1 | program p {
      |         - first defined here
    ...
    5 | network p {
      |         ^ defined again here

    error[syntax]: expected `:` and the dimensions, found `~`
     --> p.netsor:6:11
      |
    6 |   param W ~ N(0, 1/n)
      |           ^ expected `:` and the dimensions
      |
      = help: a parameter says its dimensions: `param W : n x n ~ N(0, 1/n)` or `param b : n ~ N(0, 1)`

    error[syntax]: expected `a`, `b`, `c`, `multiplier` or `multiplier^2`, found `d`
     --> p.netsor:7:52
      |
    7 |   param U : n x n ~ N(0, 1/n) with a = 1/2, a = 1, d = 2
      |                                                    ^ expected `a`, `b`, `c`, `multiplier` or `multiplier^2`

    error[syntax]: expected `program` or `network`, found `programme`
     --> p.netsor:9:1
      |
    9 | programme q { }
      | ^^^^^^^^^ not inside an item
      |
      = help: did you mean `program`?
    ");
}

#[test]
fn blocks_are_closed() {
    let source = "\
program p {
  for t in 1.=3 {
    data c@t
  }
  vector a ~ N(0, 1)
program q {
}
";
    insta::assert_snapshot!(errors(source), @r"
    error[unknown-character]: unknown character `.`
     --> p.netsor:2:13
      |
    2 |   for t in 1.=3 {
      |             ^ not part of the language

    error[syntax]: expected `..=`, found `=`
     --> p.netsor:2:14
      |
    2 |   for t in 1.=3 {
      |              ^ expected `..=`

    error[syntax]: a program inside another item
     --> p.netsor:6:1
      |
    6 | program q {
      | ^^^^^^^ is the `}` of the item before missing?

    error[syntax]: this block is not closed
     --> p.netsor:7:3
      |
    1 | program p {
      |           - opened here
    ...
    7 | }
      |  ^ expected `}`
    ");
}

#[test]
fn programs_built_in_rust_point_into_their_print() {
    use crate::number::{integer, power};
    use crate::program::{Instr, Kind, Law, Program, Scale};

    let mut p = Program::new("p");
    let n = p.width();
    let m = p.class("m", integer(2));
    let w = p.matrix("W", &[], n, m, Scale::new(integer(1), power(-1, 1)));
    let law = Law::iid(&mut p.exprs, integer(0), integer(1));
    let a = p.gaussian("a b", &[], n, law);
    p.matmul("y", &[], (w, &[]), false, (a, &[]));
    let gone = p.exprs.reference(crate::expr::Symbol(7), []);
    p.define("z", &[], Kind::Vector(n), Instr::Map(gone));
    p.data("c", &[], Kind::Vector(m));
    let problems = crate::verify::verify_program(p).unwrap_err();
    insta::assert_snapshot!(problems.render("", "printed program"), @r"
    error[bad-name]: `a b` cannot be a name
     --> printed program:4:3
      |
    4 |   vector a b ~ N(0, 1)
      |   ^^^^^^^^^^^^^^^^^^^^ expected an identifier that is no keyword

    error[dimension-mismatch]: `W` is n x m, but `a b` has dimension n
     --> printed program:5:3
      |
    3 |   matrix W : n x m ~ N(0, 1/n)
      |   ---------------------------- a matrix of n x m
    4 |   vector a b ~ N(0, 1)
    5 |   y = W * a b
      |   ^^^^^^^^^^^ expected a vector of dimension m
      |
      = help: did you mean `W' * a b`?

    error[unknown-id]: `z` mentions a value that does not exist
     --> printed program:6:3
      |
    6 |   z : n = ?7
      |   ^^^^^^^^^^
      |
      = note: a program is a list of definitions, each over earlier ones

    error[data-dimension]: the data `c` has a width as its dimension
     --> printed program:7:3
      |
    7 |   data c : m
      |   ^^^^^^^^^^ data are scalars or vectors of constant dimension
      |
      = help: map data into the width by a matrix: `param U : n x 3 ~ N(0, 1/3)`, `g = U * xi`
    ");
}
