//! Every example file is formatted, parses, verifies, and prints as it was read.

use crate::syntax::{Item, format, parse, print_network, print_program};
use crate::verify::{verify_network, verify_program};

#[track_caller]
fn check(file: &str, source: &str) -> String {
    let parsed = parse(source).unwrap_or_else(|e| panic!("{}", e.render(source, file)));
    assert_eq!(format(source).unwrap(), source, "{file} is not formatted");
    let core: Vec<String> = parsed.iter().map(|p| p.item.print()).collect();
    for (p, text) in parsed.into_iter().zip(&core) {
        let again = parse(text).unwrap_or_else(|e| panic!("{}", e.render(text, "printed")));
        assert_eq!(again[0].item.print(), *text);
        assert_eq!(format(text).unwrap(), *text);
        match p.item {
            Item::Program(program) => drop(verify_program(program).unwrap()),
            Item::Network(network) => drop(verify_network(network).unwrap()),
        }
    }
    core.join("\n")
}

macro_rules! example {
    ($name:literal) => {
        check($name, include_str!(concat!("../../../../../examples/", $name)))
    };
}

#[test]
fn all_examples_round_trip() {
    example!("mlp.netsor");
    example!("tied.netsor");
    example!("square.netsor");
    example!("layernorm.netsor");
    let conv = example!("conv.netsor");
    insta::assert_snapshot!(conv, @r"
    network conv {
      axis i = 2
      axis pos = 8
      axis tap = 3
      data xi[i, pos] : 3
      param U[tap] : n x 3 ~ N(0, 1/9)
      param K[tap] : n x n ~ N(0, 1/(3 * n))
      param b : n ~ N(0, 0.01)
      param v : n x 1 ~ N(0, 1/n)
      g[i, pos, tap] = U[tap] * xi[i, pos]
      z[i, pos] = relu(sum tap, pos' [pos' = pos + tap - 1] g[i, pos', tap])
      h[i, pos, tap] = K[tap] * z[i, pos]
      x[i, pos] = relu(b + sum tap, pos' [pos' = pos + tap - 1] h[i, pos', tap])
      pooled[i] = 0.125 * sum pos x[i, pos]
      output f[i] = v' * pooled[i]
    }
    ");
}

/// The sources in the language reference, between ```netsor and ```.
#[test]
fn the_reference_is_right() {
    let pages = [
        include_str!("../../../../../docs/src/language/README.md"),
        include_str!("../../../../../docs/src/language/definitions.md"),
    ];
    for page in pages {
        let mut blocks = page.split("```netsor\n").skip(1).peekable();
        assert!(blocks.peek().is_some());
        for block in blocks {
            let (source, _) = block.split_once("```").unwrap();
            check("reference", source);
        }
    }
}

/// The forms in the tables of the reference.
#[test]
fn every_form_in_the_reference_parses() {
    let core = check(
        "forms.netsor",
        "\
network forms {
  axis i = 2
  axis k = 2
  axis pos = 4
  axis tap = 3
  width m = 3/2 * n
  table C[i, i'] = [[1, 0.5], [0.5, 1]]
  table t = 3
  table T[k, tap] = [[1, 0, 0], [0, -1/3, 1e-3]]
  data xi[i] : 3
  data c
  data d : scalar
  const e[k] : 3 = T[k]
  matrix W ~ N(0, 1/n)
  matrix A : m x n ~ N(0, 2/n)
  matrix K[k] : n x n ~ N(0, 1/(3 * n))
  vector a ~ N(0, 1)
  vector am : m ~ N(1/2, 1)
  vector g[i] ~ N(0, C[i, i'])
  vector one[i] ~ N(0, 1) joint
  vector b ~ N(0, 1.2), cov(a) = 0.5
  vector h[i] ~ N(c, 1), cov(g[i']) = 1/2 * C[i, i']
  vector gg[i, i'] ~ N(0, C[i, i''] * C[i', i'''])
  param u : n ~ N(0, 0.01) frozen with a = 0, b = 1/2, c = -1, multiplier = 2
  y = W * a
  w = W' * y
  z[i] = tanh(g[i]) - c * y
  const_y : n = 1
  moment mm[i, i'] = mean(g[i] * h[i'])
  scalar s = mm[0, 1] / (1 + pi * n^(-1/2)) - m
  vector x[p in pos] ~ N(0, 1)
  conv[p in pos, tap] = sum q in pos [q = 2*p + tap - 1] [q <= 5] x[q]
  ring[p in pos] = sum q in pos [q = p + 1 mod pos] x[q]
  pool[p in pos] = 1/2 * sum q in pos [2*p <= q] [q <= 2*p + 1] x[q]
  shape = leaky_relu(-a^2, 0.1) / max(a, (-2)^2) * (1/3)
  output moment r = mean(shape)
}
",
    );
    insta::assert_snapshot!(core, @r"
    network forms {
      axis i = 2
      axis k = 2
      axis pos = 4
      axis tap = 3
      width m = 1.5 * n
      table C[i, i'] = [[1, 0.5], [0.5, 1]]
      table t = 3
      table T[k, tap] = [[1, 0, 0], [0, -1/3, 0.001]]
      data xi[i] : 3
      data c
      data d
      const e[k] : 3 = T[k]
      matrix W ~ N(0, 1/n)
      matrix A : m x n ~ N(0, 2/n)
      matrix K[k] ~ N(0, 1/(3 * n))
      vector a ~ N(0, 1)
      vector am : m ~ N(0.5, 1)
      vector g[i] ~ N(0, C[i, i'])
      vector one[i] ~ N(0, 1) joint
      vector b ~ N(0, 1.2), cov(a) = 0.5
      vector h[i] ~ N(c, 1), cov(g[i']) = 0.5 * C[i, i']
      vector gg[i, i'] ~ N(0, C[i, i''] * C[i', i'''])
      param u : n ~ N(0, 0.01) frozen with b = 0.5, c = -1, multiplier^2 = 4
      y = W * a
      w = W' * y
      z[i] = tanh(g[i]) - c * y
      const_y : n = 1
      moment mm[i, i'] = mean(g[i] * h[i'])
      scalar s = mm[0, 1] / (1 + pi * n^(-1/2)) - 1.5 * n
      vector x[p in pos] ~ N(0, 1)
      conv[p in pos, tap] = sum pos [pos = 2*p + tap - 1] [pos <= 5] x[pos]
      ring[p in pos] = sum pos [pos = p + 1 mod 4] x[pos]
      pool[p in pos] = 0.5 * sum pos [2*p <= pos] [pos <= 2*p + 1] x[pos]
      shape = leaky_relu(-a^2, 0.1) / max(a, (-2)^2) * (1/3)
      output moment r = mean(shape)
    }
    ");
}

#[test]
fn sugar_elaborates_to_core_text() {
    let core = check(
        "rnn.netsor",
        "\
# A recurrent network over three steps.
network rnn {
  axis i = 2
  axis t = 3

  table C[t, t'] = [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]
  data xi[i, t] : 2
  param U : n x 2 ~ N(0, 1/2)
  param W : n x n ~ N(0, 1/n) with a = 0, b = 1/2, c = 1
  param b[t] : n ~ N(0, C[t, t']) frozen
  param v : n x 1 ~ N(0, 1/n) with multiplier^2 = 2

  x@0[i] : n = 0  # nothing is remembered at first
  for s in 1..=3 {
    u@s[i] = U * xi[i, s - 1]
    r@s[i] = W * x@(s - 1)[i]
    x@s[i] = tanh(u@s[i] + r@s[i] + b[s - 1] / s)
  }

  # All steps as one family.
  stack xs[t, i] = x@s[i] for s in 1..=3
  mean_x[i] = 1/3 * sum t xs[t, i]
  output f[i] = v' * mean_x[i]
}
",
    );
    insta::assert_snapshot!(core, @r"
    network rnn {
      axis i = 2
      axis t = 3
      table C[t, t'] = [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]
      data xi[i, t] : 2
      param U : n x 2 ~ N(0, 0.5)
      param W : n x n ~ N(0, 1/n) with a = 0, b = 0.5, c = 1
      param b[t] : n ~ N(0, C[t, t']) frozen
      param v : n x 1 ~ N(0, 1/n) with multiplier^2 = 2
      x@0[i] : n = 0
      u@1[i] = U * xi[i, 0]
      r@1[i] = W * x@0[i]
      x@1[i] = tanh(u@1[i] + r@1[i] + b[0] / 1)
      u@2[i] = U * xi[i, 1]
      r@2[i] = W * x@1[i]
      x@2[i] = tanh(u@2[i] + r@2[i] + b[1] / 2)
      u@3[i] = U * xi[i, 2]
      r@3[i] = W * x@2[i]
      x@3[i] = tanh(u@3[i] + r@3[i] + b[2] / 3)
      xs[t, i] = (sum [t = 0] x@1[i]) + (sum [t = 1] x@2[i]) + sum [t = 2] x@3[i]
      mean_x[i] = 1/3 * sum t xs[t, i]
      output f[i] = v' * mean_x[i]
    }
    ");
}

/// What the transforms make of the examples is a program like any other: it verifies, and its text gives it back.
#[test]
fn transformed_examples_round_trip() {
    use crate::syntax::parse_network;
    use crate::transform::kernels::kernels;
    use crate::transform::unroll::unroll_network;

    for source in [
        include_str!("../../../../../examples/mlp.netsor"),
        include_str!("../../../../../examples/tied.netsor"),
        include_str!("../../../../../examples/conv.netsor"),
        include_str!("../../../../../examples/layernorm.netsor"),
    ] {
        let network = parse_network(source).unwrap();
        let (unrolled, _) = unroll_network(&network).unwrap();
        let unrolled = verify_network(unrolled).unwrap_or_else(|e| panic!("{}", e.render("", "unrolled")));
        let program = verify_program(kernels(&network).unwrap().program)
            .unwrap_or_else(|e| panic!("{}", e.render("", "kernels")));
        for text in [print_network(&unrolled), print_program(&program)] {
            let again = parse(&text).unwrap_or_else(|e| panic!("{}", e.render(&text, "printed")));
            assert_eq!(again[0].item.print(), text);
        }
    }
}
