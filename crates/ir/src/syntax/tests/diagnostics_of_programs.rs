//! Mistakes that concern a whole definition or program: loops, readouts, laws, declarations, blocks.

use super::diagnostics::errors;

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
